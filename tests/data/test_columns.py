"""Corpora of several columns."""

import gzip
import logging

import pytest

from keras_s2s.data.columns import parse_columns
from keras_s2s.data.corpus_spec import CorpusSpec, describe_overlap
from keras_s2s.data.parallel_corpus import ParallelCorpus, load_corpus
from keras_s2s.utils.errors import InputError

LINES = "walk\twalked\tV;PST\nrun\truns\tV;PRS;3;SG\n"
SOURCES = ["walk\tV;PST", "run\tV;PRS;3;SG"]


@pytest.fixture
def file(tmp_path):
    def file(content, name="verbs.tsv"):
        path = tmp_path / name
        path.write_bytes(content.encode())
        return str(path)

    return file


@pytest.mark.parametrize("columns", ["source,target,features", "1,3,2", [1, 3, 2]])
def test_names_and_numbers(file, columns):
    corpus = load_corpus(file(LINES), columns=columns)
    assert (corpus.source, corpus.target) == (SOURCES, ["walked", "runs"])
    assert corpus.columns == ("source", "features")
    assert corpus.split(valid=0.5, test=0).valid.columns == corpus.columns


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ("features,source,target", ["V\tgo\twent"]),
        ("features,source,features,target", ["V\tgo\twent\tPST"]),
        ("_,source,target", ["go\twent"]),
        ("_,target,source,source", ["went\tPST\tgo"]),
        ("source,_,_,target", ["V\tPST"]),
        ("4,2", ["PST\tgo"]),
        ("2,1,4,3", ["go\tV\tPST\twent"]),
    ],
)
def test_any_order(file, columns, expected):
    corpus = load_corpus(file("V\tgo\twent\tPST\n"), columns=columns)
    [source], [target] = corpus.source, corpus.target
    assert [f"{source}\t{target}"] == expected


def test_space_is_removed_around_each_column_and_features_may_be_empty(file):
    corpus = load_corpus(file(" \t go \t went \r\n"), columns="features,source,target")
    assert (corpus.source, corpus.target) == (["\tgo"], ["went"])


def test_every_form_of_a_corpus(file, tmp_path):
    packed = tmp_path / "verbs.gz"
    packed.write_bytes(gzip.compress(LINES.encode()))
    inputs, outputs = file("walk\tV;PST\nrun\tV;PRS;3;SG\n", "a"), file("walked\nruns\n", "b")
    for name, columns in (
        (str(packed), "source,target,features"),
        (f"{inputs},{outputs}", "source,features,target"),
    ):
        corpus = load_corpus(name, columns=columns)
        assert (corpus.source, corpus.target) == (SOURCES, ["walked", "runs"])


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("go\twent\n", "line 3: 'has 2 columns: go"),
        ("go\t \tV\n", "line 3: 'has an empty target: go"),
        ("\twent\tV\n", "line 3: 'has an empty source: "),
    ],
)
def test_incomplete_lines(file, caplog, bad, reason):
    path = file(LINES + bad + "\n")
    with pytest.raises(InputError) as error:
        load_corpus(path, columns="source,target,features")
    assert f"{path}: 1 of 4 lines has no text in the columns source,target,features" in str(
        error.value
    )
    assert reason in str(error.value)
    assert "\n" not in str(error.value)
    with caplog.at_level(logging.WARNING, logger="keras_s2s"):
        corpus = load_corpus(path, columns="source,target,features", skip_bad_lines=True)
    assert corpus.source == SOURCES
    assert "skipped 1 of 4 lines" in caplog.text


def test_more_columns_than_named(file, caplog):
    path = file(LINES + "a\tb\tc\td\n")
    with caplog.at_level(logging.WARNING, logger="keras_s2s"):
        load_corpus(path, columns="source,target,features")
        assert "3 to 4 columns" in caplog.text
        assert "a tab inside a text" in caplog.text
        caplog.clear()
        load_corpus(path, columns="source,target,features,_")
        load_corpus(file(LINES), columns="1,2")
    assert "3 to 4" in caplog.text
    assert "has 3 columns" not in caplog.text


@pytest.mark.parametrize(
    "columns",
    ["source", "source,features", "source,target,target", "features,target", "1", "0,1", "1,1"],
)
def test_invalid_columns(columns):
    with pytest.raises(InputError, match="columns is"):
        parse_columns(columns)


def test_misspelled_column():
    with pytest.raises(InputError, match="did you mean features"):
        parse_columns("source,feature,target")


def test_columns_and_reverse_exclude_each_other(file):
    with pytest.raises(InputError, match="omit reverse"):
        load_corpus(file(LINES), columns="1,2", reverse=True)


def test_held_out_files_are_read_like_the_corpus(file):
    spec = CorpusSpec(
        file(LINES), columns="source,target,features", valid=file("go\twent\tV;PST\n", "dev")
    )
    assert spec.load_held_out()["valid"].source == ["go\tV;PST"]
    assert spec.load(None).source == SOURCES


def test_held_out_file_with_other_columns(file):
    spec = CorpusSpec(file(LINES), columns="1,3,2", valid=file("go\twent\n", "dev"))
    with pytest.raises(InputError, match="dev: 1 of 1 lines has no text in the columns 1,3,2"):
        spec.load_held_out()


def test_overlap():
    assert describe_overlap("dev", ["a", "c", "c"], ["d"]) is None
    line = describe_overlap("dev", ["c", "a", "b", "c"], ["c", "b"])
    assert line == "dev: 2 of 3 sources also stand in the training pairs (first: 'c')"


def test_earlier_records_have_no_columns():
    record = {"corpus": "a.tsv", "reverse": True, "skip_bad_lines": False, "sha256": "0"}
    assert CorpusSpec.from_record(record) == CorpusSpec("a.tsv", reverse=True)


def test_derived_corpora_keep_their_columns():
    corpus = ParallelCorpus(["a\tb"], ["c"], "x", ("source", "features"))
    assert corpus.split(0, 0).train == corpus
