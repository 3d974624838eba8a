"""Unicode's normalization forms D, KC and KD as graph code of core TensorFlow ops.

Form C is in `composition`.
"""

import functools
import unicodedata
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
import tensorflow as tf

from keras_s2s.tokenizers.unicode.composition import (
    FINAL,
    LEAD,
    NUM_FINALS,
    NUM_LEADS,
    NUM_VOWELS,
    SYLLABLE,
    VOWEL,
    character_class,
    compose,
    find,
    in_canonical_order,
)

_NUM_SYLLABLES = NUM_LEADS * NUM_VOWELS * NUM_FINALS
Form = Literal["NFD", "NFKD"]


class Decompositions(NamedTuple):
    """The decompositions of characters, Hangul excepted.

    Attributes:
        characters: those that have one, in rising order.
        ends: where the decomposition of each ends among `parts`.
        parts: the characters of all decompositions.
        suspects: a pattern of the texts that may not be decomposed yet.
    """

    characters: np.ndarray
    ends: np.ndarray
    parts: np.ndarray
    suspects: str


@functools.cache
def decompositions(form: Form) -> Decompositions:
    """Return the decompositions of the form `NFD` or `NFKD`, from Python's Unicode database."""
    found: dict[int, list[int]] = {}
    suspects = set(range(SYLLABLE, SYLLABLE + _NUM_SYLLABLES))
    for code in (*range(0xA0, SYLLABLE), *range(0xD7A4, 0xD800), *range(0xE000, 0x30000)):
        character = chr(code)
        if unicodedata.combining(character):
            suspects.add(code)
        if (decomposed := unicodedata.normalize(form, character)) != character:
            found[code] = list(map(ord, decomposed))
            suspects.add(code)
    return Decompositions(
        np.array(list(found), np.int32),
        np.cumsum([len(parts) for parts in found.values()], dtype=np.int32),
        np.array([part for parts in found.values() for part in parts], np.int32),
        f"(?s).*[{character_class(suspects)}].*",
    )


def normalize(text: tf.Tensor, normalization: str) -> tf.Tensor:
    """Normalize text; see `CharacterTokenizer`.

    Args:
        text: string tensor, shape (batch,); valid UTF-8.
        normalization: one of `utils.text.ALL_NORMALIZATIONS`.

    Returns:
        String tensor, shape (batch,).

    Reference: Unicode Standard Annex #15, "Unicode Normalization Forms".

    Example:

    >>> texts = tf.constant(["ﬁancé", "한"])
    >>> [text.decode() for text in normalize(texts, "nfkc").numpy()]
    ['fiancé', '한']
    >>> [len(text.decode()) for text in normalize(texts, "nfd").numpy()]
    [6, 3]
    """
    if normalization in ("nfkc", "nfkd"):
        text = decompose(text, "NFKD")
    elif normalization == "nfd":
        text = decompose(text, "NFD")
    return compose(text) if normalization in ("nfc", "nfkc") else text


def decompose(text: tf.Tensor, form: Form = "NFD") -> tf.Tensor:
    """Normalize text to form D or KD: letters and accents become characters of their own.

    Text without accents and the like costs one regular expression.

    Args:
        text: string tensor, shape (batch,); valid UTF-8.
        form: `NFD` or `NFKD`.

    Returns:
        String tensor, shape (batch,).
    """
    suspects = tf.strings.regex_full_match(text, decompositions(form).suspects)
    decomposed = tf.cond(
        tf.reduce_any(suspects),
        lambda: _decompose_rows(form)(text, tf.where(suspects)),
        lambda: text,
    )
    decomposed.set_shape(text.shape)
    return decomposed


# Traced once in a process, as `compose` is, since the tables are part of the graph.
@functools.cache
def _decompose_rows(form: Form) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.string), tf.TensorSpec([None, 1], tf.int64)],
        autograph=False,
    )
    def decompose_rows(text: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        points = tf.strings.unicode_decode(tf.gather_nd(text, rows), "UTF-8")
        codes, row_ids = _without_hangul(points.values, points.value_rowids())
        codes, row_ids = in_canonical_order(*_parts(codes, row_ids, form))
        result = tf.RaggedTensor.from_value_rowids(codes, row_ids, points.nrows(), validate=False)
        return tf.tensor_scatter_nd_update(text, rows, tf.strings.unicode_encode(result, "UTF-8"))

    return decompose_rows


def _without_hangul(codes: tf.Tensor, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the characters and their rows, with two or three jamo for each Hangul syllable."""
    syllable = codes - SYLLABLE
    is_syllable = (syllable >= 0) & (syllable < _NUM_SYLLABLES)
    final = syllable % NUM_FINALS
    open_syllable = syllable // NUM_FINALS
    jamo = tf.stack(
        [
            tf.where(is_syllable, LEAD + open_syllable // NUM_VOWELS, codes),
            VOWEL + open_syllable % NUM_VOWELS,
            FINAL + final,
        ],
        axis=1,
    )
    lengths = tf.where(is_syllable, tf.where(final > 0, 3, 2), 1)
    return tf.boolean_mask(jamo, tf.sequence_mask(lengths, 3)), tf.repeat(rows, lengths)


def _parts(codes: tf.Tensor, rows: tf.Tensor, form: Form) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the parts of the characters and their rows."""
    table = decompositions(form)
    position = find(table.characters, codes)
    is_found, index = position >= 0, tf.maximum(position, 0)
    begins = np.concatenate([[0], table.ends[:-1]]).astype(np.int32)
    lengths = np.diff(table.ends, prepend=0).astype(np.int32)
    length = tf.where(is_found, tf.gather(tf.constant(lengths), index), 1)
    begin = tf.where(is_found, tf.gather(tf.constant(begins), index), 0)
    owner = tf.repeat(tf.range(tf.size(codes)), length)
    within = tf.range(tf.size(owner)) - tf.gather(tf.cumsum(length, exclusive=True), owner)
    part = tf.gather(tf.constant(table.parts), tf.gather(begin, owner) + within)
    is_part = tf.gather(is_found, owner)
    return tf.where(is_part, part, tf.gather(codes, owner)), tf.gather(rows, owner)
