"""Tokenizers of characters and of what white space separates: text comes back as it was."""

import os
import random
import unicodedata
from pathlib import Path

import keras
import pytest
import tensorflow as tf
from holder import Holder

import keras_s2s as s2s
from keras_s2s.tokenizers.tokenizer import SPECIAL_TOKENS

BOTH = pytest.mark.parametrize("cls", [s2s.CharacterTokenizer, s2s.WhitespaceTokenizer])


def characters(*texts, **options):
    split = s2s.CharacterTokenizer(**options).split_text(tf.constant(texts)).to_list()
    return ["|".join(token.decode() for token in row) for row in split]


def written(tokenizer, texts):
    """Return the texts of the tokens of some texts."""
    ids = tokenizer.tokenize(tf.constant(texts))
    result = tokenizer.detokenize(ids.to_tensor(), ids.row_lengths()).numpy()
    return [text.decode() for text in result]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Go on", "G|o| |o|n"),
        ("E\u0301te\u0301", "É|t|é"),
        ("  two  spaces \n", "t|w|o| | |s|p|a|c|e|s"),
        ("", ""),
        ("   ", ""),
        ("\ufeffa\x00b\tc\x7f", "a| |b| |c"),
        (b"caf\xe9", "c|a|f|\ufffd"),
        ("你好。…", "你|好|。|…"),
        ("👍🏽", "👍|🏽"),
        ("<unk>", "<|u|n|k|>"),
        ("thin\u2009sp", "t|h|i|n|\u2009|s|p"),
    ],
)
def test_characters_of_a_text(text, expected):
    assert characters(text) == [expected]


@pytest.mark.parametrize("form", ["nfc", "nfd", "nfkc", "nfkd", "none"])
def test_normalization(form):
    text = "ﬁancé e\u0301 한국 ①"
    expected = text if form == "none" else unicodedata.normalize(form.upper(), text)
    assert characters(text, normalization=form) == ["|".join(expected)]


def test_decomposed_tokens_are_written_composed():
    tokenizer = s2s.CharacterTokenizer.fit(["한국 été"], normalization="nfd")
    assert len(tokenizer) == 4 + len(set(unicodedata.normalize("NFD", "한국 été")))
    assert written(tokenizer, ["국한", "étée\u0301"]) == ["국한", "étéé"]
    # A model may write any accent after any letter.
    nfc = s2s.CharacterTokenizer([*SPECIAL_TOKENS, "e", "\u0301"])
    assert nfc.detokenize(tf.constant([[4, 5]]), tf.constant([2])).numpy()[0].decode() == "é"


@BOTH
def test_any_bytes_become_valid_utf8(cls):
    rng = random.Random(0)
    texts = [rng.randbytes(rng.randrange(9)) for _ in range(1000)]
    tokenizer = cls.fit([*texts, "x" * 10_000])
    split = tokenizer.split_text(tf.constant(texts))
    assert all(token.decode() for token in split.values.numpy())
    assert written(tokenizer, texts)[0] == written(tokenizer, texts[:1])[0]
    assert written(tokenizer, ["x" * 10_000]) == ["x" * 10_000]


def test_white_space_is_that_of_python():
    spaces = [chr(code) for code in range(0x110000) if chr(code).isspace()]
    text = "ʃ" + "a".join(spaces) + "AH0"
    split = s2s.WhitespaceTokenizer().split_text(tf.constant([text])).to_list()[0]
    assert [token.decode() for token in split] == text.split()
    tokenizer = s2s.WhitespaceTokenizer.fit(["HH AH0", "ʃ ɑ̃ <eos>"])
    assert written(tokenizer, ["  ʃ\u00a0 HH\n", "ɑ̃ ah0", ""]) == ["ʃ HH", "ɑ̃ <unk>", ""]
    assert "<eos>" not in tokenizer.vocabulary[4:]


def test_symbols_are_never_split():
    symbols = ["<2fr>", "{name}", "<2fr>>", "(a|b)*"]
    tokenizer = s2s.CharacterTokenizer.fit(["Go on"], symbols=symbols)
    assert tokenizer.vocabulary[:9] == [*SPECIAL_TOKENS, *symbols, "o"]
    texts = ["<2fr>Go{name}", "{name}{name} (a|b)*o", "<2fr>>o", "", "Go"]
    rows = tokenizer.split_text(tf.constant(texts)).to_list()
    assert [b"|".join(row).decode() for row in rows] == [
        "<2fr>|G|o|{name}",
        "{name}|{name}| |(a|b)*|o",
        "<2fr>>|o",
        "",
        "G|o",
    ]
    assert written(tokenizer, texts) == texts
    assert written(tokenizer, ["{nam}<2FR>"]) == ["<unk>n" + "<unk>" * 8]


def test_symbols_of_words_and_of_white_space():
    words = s2s.WordTokenizer.fit(["Go on."], rules="unicode", symbols=["{Name}"])
    assert written(words, ["Go on{Name}."]) == ["go on {Name}."]
    phones = s2s.WhitespaceTokenizer.fit(["a: a"], symbols=["{Name}", ":"])
    assert phones.vocabulary[4:] == ["{Name}", ":", "a", "a:"]
    assert written(phones, ["a: {Name} :"]) == ["a: {Name} :"]


@pytest.mark.parametrize(
    ("symbols", "message"),
    [
        ([""], "'' is no symbol"),
        (["a b"], "'a b' is no symbol"),
        (["<unk>"], "'<unk>' is no symbol"),
        (["a\n"], r"'a\\n' is no symbol"),
        (["a", "a"], "'a' is given twice"),
        ("abc", "give a list"),
    ],
)
def test_invalid_symbols(symbols, message):
    with pytest.raises(s2s.InputError, match=f"^symbols.*{message}"):
        s2s.CharacterTokenizer.fit(["a"], symbols=symbols)


def test_invalid_options():
    with pytest.raises(s2s.InputError, match="normalization is 'nfx'; give one of nfkc, nfc, none"):
        s2s.CharacterTokenizer(normalization="nfx")
    with pytest.raises(s2s.InputError, match="entry 5: '  ' is not a token"):
        s2s.CharacterTokenizer([*SPECIAL_TOKENS, "  "])
    with pytest.raises(s2s.InputError, match="the symbols <a> do not follow the special tokens"):
        s2s.CharacterTokenizer([*SPECIAL_TOKENS, "a", "<a>"], symbols=["<a>"])
    with pytest.raises(s2s.InputError, match="max_tokens is 5; give 6 or more"):
        s2s.CharacterTokenizer.fit(["a"], max_tokens=5, symbols=["<a>", "<b>"])


@BOTH
def test_files(cls, tmp_path):
    options = {"normalization": "nfd", "symbols": ["<2fr>"]}
    tokenizer = cls.fit(["Go on", "été 한 \u2028 \x85"], **options)
    texts = ["<2fr> Go 한", "étrange on"]
    expected = tokenizer.tokenize(tf.constant(texts)).to_list()
    tokenizer.save(tmp_path / "vocabulary.txt")
    Holder(tokenizer).save(tmp_path / "holder.keras")
    copies = [
        cls.load(tmp_path / "vocabulary.txt", **options),
        tokenizer.as_asset(tmp_path / "asset.txt"),
        keras.saving.load_model(tmp_path / "holder.keras").tokenizer,
    ]
    for copy in copies:
        assert copy.vocabulary == tokenizer.vocabulary
        assert copy.get_config().items() >= tokenizer.options().items()
        assert copy.tokenize(tf.constant(texts)).to_list() == expected
        assert written(copy, texts) == written(tokenizer, texts)


def test_chinese_comes_back_unchanged():
    file = Path(os.environ.get("KERAS_S2S_DATA", "nowhere")) / "eng-cmn-4000.tsv"
    if not file.exists():
        pytest.skip("the real corpus, eng-cmn-4000.tsv, is not in a folder named by KERAS_S2S_DATA")
    lines = file.read_text(encoding="utf-8").splitlines()
    targets = [line.split("\t")[1] for line in lines]
    assert len(targets) == 4000
    tokenizer = s2s.CharacterTokenizer.fit(targets)
    assert written(tokenizer, targets) == targets
