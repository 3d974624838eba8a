"""Form C in the graph: equal to Python's `unicodedata` for any text."""

import random
import unicodedata

import pytest
import tensorflow as tf

from keras_s2s.tokenizers.unicode.composition import compose, tables

CHARACTERS = [chr(code) for code in range(1, 0x30000) if not 0xD800 <= code < 0xE000]


def check(texts):
    result = tf.function(compose)(tf.constant(texts)).numpy()
    expected = [unicodedata.normalize("NFC", text) for text in texts]
    assert [text.decode() for text in result] == expected


def test_each_character_composed_and_decomposed():
    # Of the 11,172 Hangul syllables, which are computed, one in ten.
    characters = [c for c in CHARACTERS if not "\uac00" <= c <= "\ud7a3"] + CHARACTERS[
        0xAC00:0xD7A3:10
    ]
    lines = ["".join(characters[start : start + 50]) for start in range(0, len(characters), 50)]
    decomposed = [c for c in characters if unicodedata.normalize("NFD", c) != c]
    check(lines + decomposed + [unicodedata.normalize("NFD", c) for c in decomposed])


def test_random_sequences():
    generator = random.Random(0)
    special = [chr(code) for code in (*tables().marks, *tables().decomposed)]
    special += [
        *map(chr, range(0x1100, 0x1200)),
        *"aeiouAEIOUyn \u0915\u05d3\uac00\u0cc6\u0cc2\u0cd5",
    ]
    check(["".join(generator.choices(special, k=generator.randrange(9))) for _ in range(20_000)])


@pytest.mark.parametrize("texts", [[], [""], ["go", "\u0301", "\u0301\u0323a", "e\u0301"]])
def test_few_texts(texts):
    result = compose(tf.constant(texts, tf.string)).numpy().tolist()
    assert result == [unicodedata.normalize("NFC", text).encode() for text in texts]
