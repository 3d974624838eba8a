"""Unicode's normalization form C as graph code of core TensorFlow ops, which any server runs."""

import functools
import unicodedata
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

# The arithmetic of Hangul syllables: lead consonant, vowel, and no or one of 27 final consonants.
LEAD, VOWEL, FINAL, SYLLABLE = 0x1100, 0x1161, 0x11A7, 0xAC00
NUM_LEADS, NUM_VOWELS, NUM_FINALS = 19, 21, 28
MAX_CODE_POINTS = 1 << 21
MAX_DECOMPOSITION = 4


class Tables(NamedTuple):
    """What form C needs to know of the characters; keys in rising order.

    Attributes:
        decomposed: characters with a canonical decomposition, Hangul excepted.
        decompositions: these, padded by -1, shape (characters, `MAX_DECOMPOSITION`).
        marks: characters that canonical ordering moves.
        classes: their combining classes.
        pairs: first character times `MAX_CODE_POINTS` plus the second, int64.
        composites: what they become.
        suspects: a pattern of the texts that may not be in form C yet.
    """

    decomposed: np.ndarray
    decompositions: np.ndarray
    marks: np.ndarray
    classes: np.ndarray
    pairs: np.ndarray
    composites: np.ndarray
    suspects: str


@functools.cache
def tables() -> Tables:
    """Return the tables, made from Python's Unicode database."""
    decompositions: dict[int, list[int]] = {}
    classes: dict[int, int] = {}
    pairs: dict[int, int] = {}
    suspects = {*range(VOWEL, VOWEL + NUM_VOWELS), *range(FINAL + 1, FINAL + NUM_FINALS)}
    for code in (*range(0xC0, 0xAC00), *range(0xE000, 0x30000)):
        character = chr(code)
        if combining := unicodedata.combining(character):
            classes[code] = combining
            suspects.add(code)
        decomposition = unicodedata.decomposition(character)
        if not decomposition or decomposition.startswith("<"):
            continue
        decompositions[code] = list(map(ord, unicodedata.normalize("NFD", character)))
        parts = [int(part, 16) for part in decomposition.split()]
        if unicodedata.normalize("NFC", character) == character:
            pairs[parts[0] * MAX_CODE_POINTS + parts[1]] = code
            suspects.add(parts[1])
        else:
            suspects.add(code)
    padded = np.full((len(decompositions), MAX_DECOMPOSITION), -1, np.int32)
    for row, code in enumerate(sorted(decompositions)):
        padded[row, : len(decompositions[code])] = decompositions[code]
    return Tables(
        np.array(sorted(decompositions), np.int32),
        padded,
        np.array(sorted(classes), np.int32),
        np.array([classes[code] for code in sorted(classes)], np.int32),
        np.array(sorted(pairs), np.int64),
        np.array([pairs[pair] for pair in sorted(pairs)], np.int32),
        f"(?s).*[{character_class(suspects)}].*",
    )


def character_class(codes: Iterable[int]) -> str:
    """Return the inside of a regular expression's character class."""
    ranges: list[list[int]] = []
    for code in sorted(codes):
        if ranges and code == ranges[-1][1] + 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return "".join(f"\\x{{{first:X}}}-\\x{{{last:X}}}" for first, last in ranges)


def compose(text: tf.Tensor) -> tf.Tensor:
    """Normalize text to form C: letters and accents become one character where there is one.

    Text that is in form C already costs one regular expression.

    Args:
        text: string tensor, shape (batch,); valid UTF-8.

    Returns:
        String tensor, shape (batch,).

    Reference: Unicode Standard Annex #15, "Unicode Normalization Forms".

    Example:

    >>> compose(tf.constant(["e\\u0301te\\u0301", "go"])).numpy()[0].decode()
    'été'
    """
    suspects = tf.strings.regex_full_match(text, tables().suspects)
    composed = tf.cond(
        tf.reduce_any(suspects), lambda: _compose_rows(text, tf.where(suspects)), lambda: text
    )
    composed.set_shape(text.shape)
    return composed


# Traced once in a process: with the tables it is 700 ops, which an export would otherwise have for
# each text of each signature.
@tf.function(
    input_signature=[tf.TensorSpec([None], tf.string), tf.TensorSpec([None, 1], tf.int64)],
    autograph=False,
)
def _compose_rows(text: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    points = tf.strings.unicode_decode(tf.gather_nd(text, rows), "UTF-8")
    codes, row_ids = in_canonical_order(*_decompose(points.values, points.value_rowids()))
    state = codes, row_ids, tf.constant(True)
    shapes = tf.TensorShape([None]), tf.TensorShape([None]), tf.TensorShape([])
    codes, row_ids, _ = tf.while_loop(
        lambda codes, row_ids, changed: changed, _compose_once, state, shape_invariants=shapes
    )
    composed = tf.RaggedTensor.from_value_rowids(codes, row_ids, points.nrows(), validate=False)
    return tf.tensor_scatter_nd_update(text, rows, tf.strings.unicode_encode(composed, "UTF-8"))


def _decompose(codes: tf.Tensor, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the decomposed characters and their rows."""
    table = tables()
    position = find(table.decomposed, codes)
    padding = tf.constant([[-1] * (MAX_DECOMPOSITION - 1)])
    same = tf.concat([codes[:, None], tf.repeat(padding, tf.size(codes), axis=0)], axis=1)
    found = tf.gather(tf.constant(table.decompositions), tf.maximum(position, 0))
    parts = tf.where(position[:, None] >= 0, found, same)
    is_part = parts >= 0
    lengths = tf.reduce_sum(tf.cast(is_part, tf.int32), axis=1)
    return tf.boolean_mask(parts, is_part), tf.repeat(rows, lengths)


def in_canonical_order(codes: tf.Tensor, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Sort the marks of each letter by their classes, keeping the order of equal ones."""
    classes = _classes(codes)
    is_start = (classes == 0) | (rows != _previous(rows, -1))
    sequence = tf.cumsum(tf.cast(is_start, tf.int32))
    order = tf.argsort(sequence * 256 + classes, stable=True)
    return tf.gather(codes, order), rows


def _compose_once(
    codes: tf.Tensor, rows: tf.Tensor, _: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Compose each letter with its first mark that it composes with, or with the next letter."""
    classes, index = _classes(codes), tf.range(tf.size(codes))
    is_new_row = rows != _previous(rows, -1)
    is_start = (classes == 0) | is_new_row
    starts = tf.cast(tf.where(is_start)[:, 0], tf.int32)
    start = tf.gather(starts, tf.cumsum(tf.cast(is_start, tf.int32)) - 1)
    is_mark = ~is_start & (tf.gather(classes, start) == 0)
    previous_class = _previous(classes, -1)
    # A mark of the same or a higher class in between blocks.
    is_mark &= (index - 1 == start) | (previous_class < classes)
    is_letter = (classes == 0) & ~is_new_row & (previous_class == 0)
    left = tf.where(is_mark, tf.gather(codes, start), _previous(codes, 0))
    composite = _composite(left, codes)
    letters = is_letter & (composite > 0)
    letters &= ~_previous(letters, False)
    marks = is_mark & (composite > 0) & ~tf.gather(letters, start)
    counts = tf.cumsum(tf.cast(marks, tf.int32))
    before = tf.gather(tf.cumsum(tf.cast(marks, tf.int32), exclusive=True), start)
    chosen = letters | (marks & (counts - before == 1))
    target = tf.boolean_mask(tf.where(classes > 0, start, index - 1), chosen)
    codes = tf.tensor_scatter_nd_update(codes, target[:, None], tf.boolean_mask(composite, chosen))
    return (
        tf.boolean_mask(codes, ~chosen),
        tf.boolean_mask(rows, ~chosen),
        tf.reduce_any(chosen),
    )


def _composite(first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
    """Return what pairs of characters become; 0 for those that do not compose."""
    table = tables()
    keys = tf.cast(first, tf.int64) * MAX_CODE_POINTS + tf.cast(second, tf.int64)
    position = find(table.pairs, keys)
    composite = tf.gather(tf.constant(table.composites), tf.maximum(position, 0))
    composite = tf.where(position >= 0, composite, 0)
    lead, vowel, final, syllable = first - LEAD, second - VOWEL, second - FINAL, first - SYLLABLE
    is_open = (lead >= 0) & (lead < NUM_LEADS) & (vowel >= 0) & (vowel < NUM_VOWELS)
    opened = SYLLABLE + (lead * NUM_VOWELS + vowel) * NUM_FINALS
    is_closed = (syllable >= 0) & (syllable < NUM_LEADS * NUM_VOWELS * NUM_FINALS)
    is_closed &= (syllable % NUM_FINALS == 0) & (final > 0) & (final < NUM_FINALS)
    return tf.where(is_open, opened, tf.where(is_closed, first + final, composite))


def _classes(codes: tf.Tensor) -> tf.Tensor:
    """Return combining classes, 0 for a letter."""
    position = find(tables().marks, codes)
    classes = tf.gather(tf.constant(tables().classes), tf.maximum(position, 0))
    return tf.where(position >= 0, classes, 0)


def find(keys: np.ndarray, values: tf.Tensor) -> tf.Tensor:
    """Return the position of each value among sorted keys, -1 where it is none of them."""
    position = tf.minimum(tf.searchsorted(tf.constant(keys), values), len(keys) - 1)
    return tf.where(tf.gather(tf.constant(keys), position) == values, position, -1)


def _previous(values: tf.Tensor, first: int | bool) -> tf.Tensor:
    """Shift values by one, with another one at the beginning."""
    return tf.concat([tf.cast([first], values.dtype), values[:-1]], axis=0)
