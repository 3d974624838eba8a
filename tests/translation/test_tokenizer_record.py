"""The tokenizers that an export records: read as they were, or not at all."""

import json

import pytest

import keras_s2s as s2s
from keras_s2s.tokenizers.columns_tokenizer import ColumnsTokenizer
from keras_s2s.translation.tokenizer_record import (
    TOKENIZERS_FILE,
    read_tokenizer,
    vocabulary_name,
    write_tokenizers,
)

TEXTS = ["Go on.", "I go.", "{x} went"]


def write(folder, **tokenizers):
    (folder / "assets").mkdir()
    for side, tokenizer in tokenizers.items():
        tokenizer.save(folder / "assets" / vocabulary_name(side, tokenizer))
    write_tokenizers(folder, **tokenizers)


@pytest.mark.parametrize(
    "make",
    [
        lambda: s2s.WordTokenizer.fit(TEXTS, rules="unicode"),
        lambda: s2s.CharacterTokenizer.fit(TEXTS, normalization="nfd", symbols=["{x}"]),
        lambda: s2s.WhitespaceTokenizer.fit(TEXTS),
        lambda: s2s.SentencePieceTokenizer.fit(TEXTS, vocab_size=30),
    ],
)
def test_round_trip(make, tmp_path):
    tokenizer = make()
    write(tmp_path, target=tokenizer)
    read = read_tokenizer(tmp_path, "target")
    assert type(read) is type(tokenizer)
    assert read.vocabulary == tokenizer.vocabulary
    texts = [*TEXTS, "GO é {x}!"]
    assert read.tokenize(texts).to_list() == tokenizer.tokenize(texts).to_list()
    assert read_tokenizer(tmp_path, "source") is None


def test_columns(tmp_path):
    sources = ["walk\tV;PST", "go\tV;PRS"]
    words = s2s.CharacterTokenizer.fit(["walk", "go"])
    tokenizer = ColumnsTokenizer.fit(words, sources, ["source", "features"])
    write(tmp_path, source=tokenizer)
    read = read_tokenizer(tmp_path, "source")
    assert read.tokenize(sources).to_list() == tokenizer.tokenize(sources).to_list()
    assert read.columns == ("source", "features")


@pytest.mark.parametrize(
    "record",
    [
        "{",
        "[]",
        '{"target": 3}',
        '{"target": {"class": "Layer", "options": {}}}',
        '{"target": {"class": ["x"], "options": {}}}',
        '{"target": {"class": "WordTokenizer", "options": {"rules": "none"}}}',
        '{"target": {"class": "WordTokenizer", "options": {"path": "/"}}}',
        '{"target": {"class": "WordTokenizer", "options": 3}}',
        None,
    ],
)
def test_damaged_records(record, tmp_path):
    write(tmp_path, target=s2s.WordTokenizer.fit(TEXTS))
    if record is None:
        (tmp_path / "assets" / "target_vocabulary.txt").write_text("x", encoding="utf-8")
    else:
        (tmp_path / TOKENIZERS_FILE).write_text(record, encoding="utf-8")
    assert read_tokenizer(tmp_path, "target") is None


def test_other_classes_are_left_out(tmp_path):
    class Upper(s2s.WordTokenizer):
        pass

    write(tmp_path, target=Upper.fit(TEXTS))
    assert json.loads((tmp_path / TOKENIZERS_FILE).read_text(encoding="utf-8")) == {}


def test_export(exported_run, trained_run):
    """An export has its run's tokenizers, and works without the record, as earlier ones."""
    export = s2s.ExportedTranslator(exported_run)
    run = s2s.Translator.load(trained_run / "model.keras")
    for side in ("source", "target"):
        tokenizers = [getattr(model, f"{side}_tokenizer") for model in (export, run)]
        assert tokenizers[0].vocabulary == tokenizers[1].vocabulary
