"""Words by Unicode's rules: what is one, how answers are written, in files and in graphs."""

import unicodedata

import keras
import numpy as np
import pytest
import tensorflow as tf
from holder import Holder

import keras_s2s as s2s
from keras_s2s.serving.contract import inspect_export
from keras_s2s.tokenizers.word_tokenizer import split_words

KNOWN = ["Go now!", "L'été, j'ai dit : « Va ! »", 'He said "go".', "It's 3.50 (or 1,000)…"]


def words(text):
    return [word.decode() for word in split_words(tf.constant([text]), "unicode").to_list()[0]]


@pytest.fixture(scope="module")
def tokenizer():
    return s2s.WordTokenizer.fit(KNOWN, rules="unicode")


@pytest.mark.parametrize(
    "space", ["\u2009", "\u2003", "\u3000", "\u200b", "\u00a0", "\u202f", "\u2028", "\x85", "\t"]
)
def test_each_space_separates(space):
    assert words(f"{space}go{space}now{space}") == ["go", "now"]


INVISIBLE = ["\xad", "\u200e", "\u200f", "\u2060", "\ufeff", "\u202a", "\u2069", "\U000e0041"]


@pytest.mark.parametrize("mark", INVISIBLE)
def test_invisible_marks_are_dropped(mark):
    assert words(f"{mark}g{mark}o{mark}") == ["go"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("go！", "go ！"),
        ('"go"', '" go "'),
        ("Go!! (now)?", "go ! ! ( now ) ?"),
        ("j'ai l\u2019ami well-known", "j'ai l\u2019ami well-known"),
        ("'go' -- -go dogs'", "' go ' -- - go dogs '"),
        ("3.14, 1,000: 10:30 2.", "3.14 , 1,000 : 10:30 2 ."),
        ("go.now e.g... ...", "go . now e . g ... ..."),
        ("<unk> a_b 5$", "< unk > a _ b 5 $"),
        ("你好，世界。", "你好 ， 世界 。"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("E\u0301TE\u0301 I\u0307", "été i\u0307"),
        ("", ""),
    ],
)
def test_words(text, expected):
    assert words(text) == expected.split()


def test_composed_and_decomposed_text_are_the_same(tokenizer):
    for form in ("NFC", "NFD"):
        texts = [unicodedata.normalize(form, text) for text in KNOWN]
        ids = tokenizer.tokenize(tf.constant(texts))
        assert ids.to_list() == tokenizer.tokenize(tf.constant(KNOWN)).to_list()
        assert 3 not in ids.flat_values.numpy(), "nothing known is <unk>"


def test_answers_are_written_as_text(tokenizer):
    ids = tokenizer.tokenize(tf.constant(KNOWN))
    result = tokenizer.detokenize(ids.to_tensor(), ids.row_lengths()).numpy()
    assert [text.decode() for text in result] == [
        "go now!",
        "l'été, j'ai dit: «va!»",
        'he said "go".',
        "it's 3.50 (or 1,000)…",
    ]


def test_the_rules_belong_to_the_tokenizer(tokenizer, tmp_path):
    texts = tf.constant(["«\u202fVa\u202f!\u202f»", "e\u0301te\u0301,go"])
    expected = tokenizer.tokenize(texts).to_list()
    tokenizer.save(tmp_path / "words.txt")
    assert s2s.WordTokenizer.load(tmp_path / "words.txt", "unicode").tokenize(texts).to_list() == (
        expected
    )
    assert tokenizer.as_asset(tmp_path / "asset.txt").tokenize(texts).to_list() == expected
    Holder(tokenizer).save(tmp_path / "holder.keras")
    loaded = keras.saving.load_model(tmp_path / "holder.keras").tokenizer
    assert loaded.rules == "unicode"
    assert loaded.tokenize(texts).to_list() == expected
    config = tokenizer.get_config()
    del config["rules"]  # as in files of earlier versions
    assert s2s.WordTokenizer.from_config(config).rules == "chapter"
    with pytest.raises(s2s.InputError, match="rules is 'none'; give chapter or unicode"):
        s2s.WordTokenizer.fit(["Go."], rules="none")


def test_an_export_applies_the_rules(tokenizer, tmp_path):
    sizes = {"embed_size": 6, "num_hiddens": 8, "num_layers": 1}
    model = s2s.Seq2Seq(
        s2s.Seq2SeqEncoder(len(tokenizer), **sizes), s2s.Seq2SeqDecoder(len(tokenizer), **sizes)
    )
    rng = np.random.default_rng(4)
    model.set_weights([rng.normal(0, 0.9, weight.shape) for weight in model.get_weights()])
    translator = s2s.Translator(model, tokenizer, tokenizer, num_steps=8)
    sentences = [*KNOWN, "E\u0301te\u0301 go！", "\ufeffGo\u200b now!"]
    version = translator.export(tmp_path / "words", sentences=sentences)
    inspection = inspect_export(version)
    assert inspection.passed, inspection.report()
    answers = s2s.ExportedTranslator(version).translate(sentences)
    assert answers == translator.translate(sentences)
    assert answers[0] == answers[-1]


def test_any_bytes_give_valid_text(tokenizer):
    texts = tf.constant([bytes(range(256)), b"\xff\xfe\xcc\x81", "\u0301\u200d\ufffe".encode()])
    ids = tokenizer.tokenize(texts)
    for text in tokenizer.detokenize(ids.to_tensor(), ids.row_lengths()).numpy():
        text.decode()
    alone = [tokenizer.tokenize(texts[row : row + 1]).to_list()[0] for row in range(3)]
    assert ids.to_list() == alone, "independent of the other texts of a batch"
