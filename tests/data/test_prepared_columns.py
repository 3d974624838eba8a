"""Prepared corpora of several columns, and with files of validation and test pairs."""

import json
import logging

import numpy as np
import pytest

import keras_s2s as s2s
from keras_s2s.data.config import DataConfig
from keras_s2s.data.corpus_spec import CorpusSpec
from keras_s2s.data.prepared.corpus import PreparedCorpus
from keras_s2s.data.prepared.prepare import prepare
from keras_s2s.data.prepared.spec import PreparationSpec
from keras_s2s.data.vocabulary import make_tokenizers

COLUMNS = "source,target,features"
LINES = [
    f"{verb}\t{form.format(verb)}\t{tags}\n"
    for verb in ("walk", "talk", "look", "help", "call")
    for tags, form in {"V;PST": "{}ed", "V;PRS;3;SG": "{}s"}.items()
]
OPTIONS = {"min_freq": 1, "num_steps": 12}


@pytest.fixture
def files(tmp_path):
    paths = [tmp_path / name for name in ("verbs.tsv", "dev.tsv", "test.tsv")]
    contents = (LINES, ["walk\twalked\tV;PST\n", "fill\tfills\tV;PRS;3;SG\n"], LINES[:3])
    for path, lines in zip(paths, contents, strict=True):
        path.write_text("".join(lines), encoding="utf-8")
    return [str(path) for path in paths]


def prepared(files, folder, **options):
    spec = {"columns": COLUMNS, "valid": files[1], "test": files[2], **options}
    config = DataConfig(**{**OPTIONS, **spec.pop("config", {})})
    prepare(PreparationSpec([files[0]], config, **spec), folder, processes=1)
    return PreparedCorpus(folder), config


@pytest.mark.parametrize(
    "config",
    [
        {"tokenizer": "character"},
        {"tokenizer": "sentencepiece", "vocab_size": 40, "joint_vocabulary": True},
    ],
)
def test_equals_the_corpus_in_memory(files, tmp_path, config):
    corpus, config = prepared(files, tmp_path / "out", config=config)
    texts = s2s.load_corpus(files[0], columns=COLUMNS)
    expected = make_tokenizers(config, texts)
    tokenizers = corpus.tokenizers()
    for ours, theirs in zip(tokenizers, expected, strict=True):
        assert ours.vocabulary == theirs.vocabulary
    assert corpus.index.columns == texts.columns
    (ids, lengths), _ = next(iter(corpus.batches(10, seed=0)))
    data = s2s.make_dataset(texts, *expected, batch_size=10, num_steps=12)
    (expected_ids, expected_lengths), _ = next(iter(data))
    rows, expected_rows = (
        sorted(map(tuple, np.concatenate([length[:, None], row], axis=1).tolist()))
        for row, length in (
            (ids.numpy(), lengths.numpy()),
            (expected_ids.numpy(), expected_lengths.numpy()),
        )
    )
    assert rows == expected_rows


def test_held_out_pairs_are_those_of_the_files(files, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, logger="keras_s2s"):
        corpus, _ = prepared(files, tmp_path / "out")
    for split, file in (("valid", files[1]), ("test", files[2])):
        pairs = s2s.load_corpus(file, columns=COLUMNS)
        held_out = corpus.index.held_out(split)
        assert (held_out.source, held_out.target) == (pairs.source, pairs.target)
        assert held_out.columns == ("source", "features")
    assert corpus.index.samples()[0].count("\t") == 1
    assert f"{files[1]}: 1 of 2 sources also stands in the training pairs" in caplog.text
    assert f"{files[2]}: 3 of 3 sources also stand" in caplog.text
    spec = CorpusSpec(str(corpus.path))
    assert (spec.prepared_file("valid"), spec.prepared_columns()) == (files[1], COLUMNS)
    with pytest.raises(s2s.InputError, match=r"was prepared with valid .*; omit --valid"):
        spec._replace(valid=files[1]).load_held_out()
    with pytest.raises(s2s.InputError, match="omit --reverse, --skip-bad-lines and --columns"):
        spec._replace(columns=COLUMNS).load(None)


def test_prepared_again(files, tmp_path):
    folder = tmp_path / "out"
    prepared(files, folder)
    index = (folder / "index.json").read_bytes()
    prepared(files, folder)
    (folder / "source_features.txt").write_text("[]\n")
    prepared(files, folder)
    assert (folder / "index.json").read_bytes() == index
    assert (folder / "source_features.txt").read_text().count("\n") == 6
    with pytest.raises(s2s.InputError, match=f"columns {COLUMNS} instead of 1,2"):
        prepared(files, folder, columns="1,2")
    with pytest.raises(s2s.InputError, match=f"valid {files[1]} instead of None"):
        prepared(files, folder, valid=None)
    with open(files[1], "a", encoding="utf-8") as file:
        file.write("turn\tturned\tV;PST\n")
    with pytest.raises(s2s.InputError, match=r"dev\.tsv: differs from the valid pairs"):
        prepared(files, folder)


def test_incomplete_line(files, tmp_path):
    with open(files[0], "a", encoding="utf-8") as file:
        file.write("turn\tturned\n")
    with pytest.raises(s2s.InputError, match=r"1 of 11 lines has .* \(line 11: 'has 2 columns"):
        prepared(files, tmp_path / "out")
    corpus, _ = prepared(files, tmp_path / "out", skip_bad_lines=True)
    assert len(corpus) == 10


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reverse": True}, "omit reverse"),
        ({"columns": "source,x"}, "'x' is none of"),
        ({"config": {"valid_fraction": 0.1}}, "valid_fraction 0.1; give one of them"),
    ],
)
def test_refused(files, tmp_path, options, message):
    with pytest.raises(s2s.InputError, match=message):
        prepared(files, tmp_path / "out", **options)


def test_nothing_of_it_in_the_index_of_other_corpora(files, tmp_path):
    folder = tmp_path / "out"
    prepared(files, folder, columns=None, valid=None, test=None)
    index = json.loads((folder / "index.json").read_text())
    assert not {"columns", "valid", "test"} & index["configuration"].keys()
    assert "held_out" not in index


def test_trained_on(files, tmp_path):
    lines = [line for line in LINES for _ in range(2)]
    with open(files[1], "w", encoding="utf-8") as file:
        file.writelines(lines)
    corpus, config = prepared(files, tmp_path / "out")
    sizes = {"embed_size": 4, "num_hiddens": 4, "num_layers": 1, "epochs": 1}
    config = s2s.TrainingConfig(**OPTIONS, early_stopping="loss", **sizes)
    translator = s2s.train(str(corpus.path), tmp_path / "run", config)
    assert translator.source_tokenizer.columns == ("source", "features")
    sizes = json.loads((tmp_path / "run" / "run.json").read_text())["sizes"]
    assert (sizes["train_pairs"], sizes["valid_pairs"], sizes["test_pairs"]) == (10, 20, 3)
