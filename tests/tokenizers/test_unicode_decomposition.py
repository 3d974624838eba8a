"""Forms D, KC and KD in the graph: equal to Python's `unicodedata` for any text."""

import random
import unicodedata

import pytest
import tensorflow as tf

from keras_s2s.tokenizers.unicode.composition import tables
from keras_s2s.tokenizers.unicode.decomposition import decompositions, normalize

FORMS = pytest.mark.parametrize("form", ["nfd", "nfkd", "nfkc"])


def check(texts, form):
    result = tf.function(normalize)(tf.constant(texts), form).numpy()
    expected = [unicodedata.normalize(form.upper(), text) for text in texts]
    assert [text.decode() for text in result] == expected


@pytest.mark.parametrize("form", ["nfd", "nfkd"])
def test_every_character(form):
    characters = [chr(code) for code in range(1, 0x30000) if not 0xD800 <= code < 0xE000]
    check(["".join(characters[i : i + 200]) for i in range(0, len(characters), 200)], form)


@pytest.mark.parametrize(("form", "step"), [("nfkd", 1), ("nfkc", 4)])
def test_characters_that_have_a_decomposition(form, step):
    check([chr(code) for code in decompositions("NFKD").characters[::step].tolist()], form)


# Form KC is KD and then C, which has its own test.
@pytest.mark.parametrize(("form", "count"), [("nfd", 20_000), ("nfkd", 20_000), ("nfkc", 4_000)])
def test_random_sequences(form, count):
    generator = random.Random(0)
    special = [chr(code) for code in (*tables().marks, *decompositions("NFKD").characters)]
    special += [
        *map(chr, range(0x1100, 0x1200)),
        *"aeiouAEIOUyn \u0915\u05d3\uac00\uac01\ud7a3\u0cc6\u0cc2\u0cd5",
    ]
    texts = ["".join(generator.choices(special, k=generator.randrange(9))) for _ in range(count)]
    check(texts, form)


@FORMS
@pytest.mark.parametrize("texts", [[], [""], ["go", "\u0301", "\u0301\u0323a", "é", "한"]])
def test_few_texts(texts, form):
    result = normalize(tf.constant(texts, tf.string), form).numpy().tolist()
    assert result == [unicodedata.normalize(form.upper(), text).encode() for text in texts]


def test_characters_beyond_the_tables_have_no_decomposition():
    beyond = map(chr, range(0x30000, 0x110000))
    assert not [c for c in beyond if unicodedata.normalize("NFKD", c) != c]
