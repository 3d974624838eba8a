"""Preparing corpora: content of the files, filters, and resuming after interruptions."""

import dataclasses
import functools
import gzip
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import zipfile
from collections import Counter

import numpy as np
import pytest
import tensorflow as tf

import keras_s2s as s2s
from keras_s2s.data.corpus_reader import CorpusReader
from keras_s2s.data.prepared import deduplication, shards, stages, statistics, tokenization
from keras_s2s.data.prepared import prepare as prepare_module
from keras_s2s.data.prepared.corpus import PreparedCorpus
from keras_s2s.data.prepared.spec import PreparationSpec
from keras_s2s.data.vocabulary import make_tokenizers
from keras_s2s.utils.errors import InputError
from keras_s2s.utils.folder_lock import lock_folder
from keras_s2s.utils.signals import Interrupted

# Without worker processes, each of which would import TensorFlow.
prepare = functools.partial(prepare_module.prepare, processes=1)
CONFIG = s2s.Recipe(min_freq=1, num_steps=12, valid_fraction=0.1, test_fraction=0.1)


@pytest.fixture
def small_shards(monkeypatch):
    """Shards of 100 lines and blocks of 16 pairs."""
    monkeypatch.setattr(PreparationSpec, "CHUNK_LINES", 100)
    monkeypatch.setattr(shards, "BLOCK_PAIRS", 16)


@pytest.fixture(scope="module")
def book_file(phrasebook, tmp_path_factory):
    """A file of 530 pairs: 28 or more duplicates, and two with identical sides."""
    pairs = list(zip(phrasebook.source, phrasebook.target, strict=True))[:500]
    pairs += [("Hotel!", "Hotel!"), ("Taxi.", "Taxi."), *pairs[40:68]]
    path = tmp_path_factory.mktemp("book") / "book.tsv"
    write(path, pairs)
    return path


def write(path, pairs):
    path.write_text("".join(f"{a}\t{b}\n" for a, b in pairs), encoding="utf-8")
    return path


def read_files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def read_ids(folder):
    """Return the pairs of all shards as tuples of ids, read with TensorFlow only."""
    pairs = []
    files = sorted(map(str, folder.glob("*.tfrecord")))
    names = ("source_lengths", "target_lengths", "source_ids", "target_ids")
    features = {name: tf.io.FixedLenFeature([], tf.string) for name in names}
    for record in tf.data.TFRecordDataset(files):
        example = tf.io.parse_single_example(record, features)
        columns = [tf.io.decode_raw(example[name], tf.uint16).numpy().tolist() for name in names]
        source_ids, target_ids = map(iter, columns[2:])
        for source, target in zip(*columns[:2], strict=True):
            pair = (
                [next(source_ids) for _ in range(source)],
                [next(target_ids) for _ in range(target)],
            )
            pairs.append(tuple(map(tuple, pair)))
    return pairs


def test_prepared_files(book_file, small_shards, tmp_path):
    index = prepare(PreparationSpec([str(book_file)], CONFIG), tmp_path / "out")
    folder = tmp_path / "out"
    assert index == json.loads((folder / "index.json").read_text(encoding="utf-8"))
    assert {path.name for path in folder.iterdir()} == {
        *(f"shard-{i:05}.tfrecord" for i in range(6)),
        *("index.json", "source.txt", "target.txt", "valid.tsv", "test.tsv", "samples.txt"),
    }
    # The same in memory.
    corpus = s2s.load_corpus(book_file)
    kept = [
        pair
        for pair in dict.fromkeys(zip(corpus.source, corpus.target, strict=True))
        if pair[0] != pair[1]
    ]
    splits = s2s.ParallelCorpus(*map(list, zip(*kept, strict=True))).split(0.1, 0.1)
    source, target = (
        s2s.WordTokenizer.fit(side) for side in (splits.train.source, splits.train.target)
    )
    prepared = PreparedCorpus(folder)
    assert [side.vocabulary for side in prepared.tokenizers()] == [
        source.vocabulary,
        target.vocabulary,
    ]
    assert (prepared.index.held_out("valid").source, prepared.index.held_out("valid").target) == (
        splits.valid.source,
        splits.valid.target,
    )
    assert prepared.index.held_out("test").source == splits.test.source
    assert set(prepared.index.samples()) == set(splits.train.source)
    ids = [
        side.tokenize(tf.constant(texts)).to_list()
        for side, texts in ((source, splits.train.source), (target, splits.train.target))
    ]
    assert read_ids(folder) == [(tuple(a[:12]), tuple(b[:10])) for a, b in zip(*ids, strict=True)]
    (report,) = index["corpora"]
    duplicates = 530 - 2 - len(kept)
    assert report["dropped"] == {
        **{"bad_lines": 0, "identical": 2, "duplicates": duplicates},
        **{"too_long": 0, "length_ratio": 0},
    }
    assert duplicates >= 28
    assert (report["lines"], report["pairs"]) == (530, 530)
    parts = (len(splits.train), len(splits.valid), len(splits.test))
    assert (report["train_pairs"], report["valid_pairs"], report["test_pairs"]) == parts
    assert report["target_tokens"] == sum(min(len(row), 10) + 1 for row in ids[1])
    assert report["cut"] == sum(len(a) > 12 or len(b) > 10 for a, b in zip(*ids, strict=True))
    assert len(prepared) == parts[0]


def test_filters_can_be_disabled(book_file, small_shards, tmp_path):
    spec = PreparationSpec([str(book_file)], CONFIG, keep_duplicates=True, keep_identical=True)
    (report,) = prepare(spec, tmp_path / "out")["corpora"]
    assert not any(report["dropped"].values())
    splits = s2s.load_corpus(book_file).split(0.1, 0.1)
    assert report["train_pairs"] == len(splits.train)


def test_length_filters(tmp_path):
    pairs = [("a b c", "d e"), ("a", "b c d e"), ("a b c d e f g", "a b c d"), ("a b", "c d e f")]
    path = write(tmp_path / "pairs.tsv", pairs)
    config = s2s.Recipe(min_freq=1, num_steps=5, drop_long=True)
    (report,) = prepare(PreparationSpec([str(path)], config, max_length_ratio=2), tmp_path / "out")[
        "corpora"
    ]
    # The third pair is too long; the fourth too, since <bos> and <eos> count.
    assert report["dropped"] == {
        **{"bad_lines": 0, "identical": 0, "duplicates": 0},
        **{"too_long": 2, "length_ratio": 1},
    }
    assert statistics.format_statistics(report) == [
        f"{path}: 4 pairs in 4 lines",
        "             2 dropped: too long",
        "             1 dropped: length ratio",
        "             0 held out for validation",
        "             0 held out for testing",
        "             1 to train on",
    ]


def test_deduplication_over_hash_ranges_and_corpora(monkeypatch, small_shards, tmp_path):
    monkeypatch.setattr(deduplication, "HASHES_PER_RANGE", 50)
    chance = random.Random(3)
    pairs = [(f"a{chance.randrange(150)}", f"b{chance.randrange(3)}") for _ in range(400)]
    files = [write(tmp_path / f"{n}.tsv", pairs[n * 250 : n * 250 + 250]) for n in range(2)]
    config = s2s.Recipe(min_freq=1)
    index = prepare(PreparationSpec(list(map(str, files)), config), tmp_path / "out")
    source, target = PreparedCorpus(tmp_path / "out").tokenizers()
    words = [
        (source.vocabulary[a], target.vocabulary[b]) for (a,), (b,) in read_ids(tmp_path / "out")
    ]
    assert words == list(dict.fromkeys(pairs))
    dropped = [corpus["dropped"]["duplicates"] for corpus in index["corpora"]]
    assert dropped[0] == 250 - len(set(pairs[:250]))
    assert sum(dropped) == 400 - len(set(pairs))


def test_stored_held_out_pairs_are_bounded(
    complete_folder, monkeypatch, book_file, small_shards, tmp_path
):
    monkeypatch.setattr(statistics, "MAX_HELD_OUT", 7)
    prepare(PreparationSpec([str(book_file)], CONFIG), tmp_path / "few")
    few, complete = (PreparedCorpus(folder).index for folder in (tmp_path / "few", complete_folder))
    assert few.content["corpora"] == complete.content["corpora"]
    assert len(few.held_out("valid")) == 7
    assert set(few.held_out("valid").source) <= set(complete.held_out("valid").source)


@pytest.mark.parametrize("file_format", ["tsv", "gz", "zip", "aligned"])
def test_stream_equals_load_corpus(file_format, pairs_file, tmp_path):
    lines = pairs_file.read_bytes().replace(b"\n", b"\r\n", 3) + b"\n\xc2\xa0Ah\tOh \n"
    path = tmp_path / f"corpus.{file_format}"
    if file_format == "tsv":
        path.write_bytes(b"\xef\xbb\xbf" + lines)
    elif file_format == "gz":
        path.write_bytes(gzip.compress(lines))
    elif file_format == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("about.html", "<html>")
            archive.writestr("pairs.txt", lines)
    else:
        pairs = [line.split(b"\t") for line in lines.rstrip(b"\n").split(b"\n") if line]
        for side in range(2):
            content = b"\n".join(pair[side].rstrip(b"\r") for pair in pairs)
            (tmp_path / f"{side}").write_bytes(content)
        path = f"{tmp_path / '0'},{tmp_path / '1'}"
    stream, loaded = CorpusReader(str(path)), s2s.load_corpus(path)
    bad = stream.malformed_lines()
    result = [pair for chunk in stream.chunks(7) for pair in stream.pairs(chunk, bad)]
    assert result == list(zip(loaded.source, loaded.target, strict=True))
    assert len(stream.sha256) == (2 if file_format == "aligned" else 1)


def test_rules_for_words_belong_to_the_corpus(tmp_path):
    path, out = tmp_path / "pairs.tsv", tmp_path / "out"
    path.write_text("Go！\tE\u0301te\u0301?\nStop！\tÉté !\n", encoding="utf-8")
    config = s2s.Recipe(min_freq=1, word_rules="unicode")
    prepare(PreparationSpec([str(path)], config), out)
    source, target = PreparedCorpus(out).tokenizers()
    assert source.vocabulary[4:] == ["！", "go", "stop"]
    assert target.vocabulary[4:] == ["été", "!", "?"]
    assert source.rules == target.rules == "unicode"
    with pytest.raises(InputError, match="was prepared with word_rules unicode instead of chapter"):
        prepare(PreparationSpec([str(path)], s2s.Recipe(min_freq=1)), out)
    assert prepare(PreparationSpec([str(path)], config), out)["vocabularies"] == [7, 7]


def test_another_tokenizer_on_each_side(small_shards, tmp_path):
    pairs = [("Go {n}", "G OW1"), ("No", "N OW1"), ("no", "N OW1 <2x>"), ("Too long", "T UW1")]
    path, out = write(tmp_path / "pairs.tsv", pairs), tmp_path / "out"
    config = s2s.Recipe(
        source_tokenizer="character",
        target_tokenizer="whitespace",
        symbols=["{n}", "<2x>"],
        num_steps=6,
        drop_long=True,
    )
    prepare(PreparationSpec([str(path)], config), out)
    source, target = PreparedCorpus(out).tokenizers()
    assert source.vocabulary[4:] == ["{n}", "<2x>", "o", " ", "G", "N", "n"]
    assert target.vocabulary[4:] == ["{n}", "<2x>", "OW1", "N", "G"]
    in_memory = make_tokenizers(config, s2s.ParallelCorpus(*map(list, zip(*pairs, strict=True))))
    assert [t.options() for t in in_memory] == [source.options(), target.options()]
    assert [t.vocabulary for t in in_memory] == [source.vocabulary, target.vocabulary]
    words = [
        ([source.vocabulary[a] for a in left], [target.vocabulary[b] for b in right])
        for left, right in read_ids(out)
    ]
    assert words[0] == (["G", "o", " ", "{n}"], ["G", "OW1"])
    assert words[2] == (["n", "o"], ["N", "OW1", "<2x>"])
    assert len(words) == 3
    others = dataclasses.replace(config, target_tokenizer="word")
    with pytest.raises(InputError, match="with target_tokenizer whitespace instead of word"):
        prepare(PreparationSpec([str(path)], others), out)
    others = dataclasses.replace(config, symbols=())
    with pytest.raises(InputError, match=r"with symbols \('{n}', '<2x>'\) instead of \(\)"):
        prepare(PreparationSpec([str(path)], others), out)
    written_out = dataclasses.replace(config, tokenizer="character", min_freq=1)
    assert prepare(PreparationSpec([str(path)], written_out), out)["vocabularies"] == [11, 9]


def test_subwords_beside_characters(book_file, small_shards, tmp_path):
    config = s2s.Recipe(tokenizer="sentencepiece", target_tokenizer="character", vocab_size=90)
    keep = {"keep_duplicates": True, "keep_identical": True}
    prepare(PreparationSpec([str(book_file)], config, **keep), tmp_path / "out")
    source, target = PreparedCorpus(tmp_path / "out").tokenizers()
    in_memory = make_tokenizers(config, s2s.load_corpus(book_file))
    assert [t.vocabulary for t in in_memory] == [source.vocabulary, target.vocabulary]
    assert {type(source), type(target)} == {s2s.SentencePieceTokenizer, s2s.CharacterTokenizer}


def test_columns_are_reported_once(small_shards, tmp_path, caplog):
    path = tmp_path / "wide.tsv"
    path.write_bytes(b"Go.\tVa !\tCC-BY\n" * 250 + b"Hi.\tSalut !\n")
    prepare(PreparationSpec([str(path)], CONFIG), tmp_path / "out")
    (record,) = caplog.records
    assert f"{path}: has 2 to 3 columns; the first two are read" in record.getMessage()


def damaged_corpora(folder):
    good = b"Go.\tVa !\n" * 30
    yield folder / "bad.tsv", good + b"nothing\n" + good + b"here\n"
    yield folder / "latin.tsv", good + b"Hi\tSalut \xe9\n" + good
    yield folder / "empty.tsv", b""
    yield folder / "blank.tsv", b"\n\n\n"
    yield folder / "nul.tsv", good + b"\0" + good
    yield folder / "binary.tsv", bytes(90) + good
    yield folder / "wide.tsv", "Go.\tVa !\n".encode("utf-16")
    packed = gzip.compress(random.Random(0).randbytes(5000).hex().encode() + b"\ta\n")
    yield folder / "cut.gz", packed[:-100]
    yield folder / "tar.gz", gzip.compress(bytes(257) + b"ustar" + bytes(800))
    yield folder / "none.zip", b"PK\x03\x04" + bytes(100)


def test_errors_equal_those_of_load_corpus(small_shards, tmp_path):
    names = []
    for path, content in damaged_corpora(tmp_path):
        path.write_bytes(content)
        names.append(str(path))
    (tmp_path / "a").write_bytes(b"1\n2\n")
    (tmp_path / "b").write_bytes(b"1\n2\n3\n")
    names += [f"{tmp_path / 'a'},{tmp_path / 'b'}", "a,b,c", str(tmp_path), "fra-engg"]
    for corpus in names:
        with pytest.raises(InputError) as expected:
            s2s.load_corpus(corpus)
        with pytest.raises(InputError) as error:
            prepare(PreparationSpec([corpus], CONFIG), tmp_path / "out")
        assert str(error.value) == str(expected.value)
        assert not (tmp_path / "out").exists()
    good = str(tmp_path / "latin.tsv")
    spec = PreparationSpec([good], s2s.Recipe(min_freq=1), skip_bad_lines=True)
    (report,) = prepare(spec, tmp_path / "out")["corpora"]
    assert report["dropped"]["bad_lines"] == 1
    assert report["train_pairs"] == 1


@pytest.fixture(scope="module")
def complete_folder(book_file, tmp_path_factory):
    """The corpus prepared without interruption, in shards of 100 lines. Read-only."""
    folder = tmp_path_factory.mktemp("prepared") / "complete"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PreparationSpec, "CHUNK_LINES", 100)
        prepare(PreparationSpec([str(book_file)], CONFIG), folder)
    return folder


KILLED = """
import os, signal, sys
import keras_s2s as s2s
from keras_s2s.data.prepared import stages
from keras_s2s.data.prepared.prepare import prepare
from keras_s2s.data.prepared.spec import PreparationSpec
PreparationSpec.CHUNK_LINES = 100
path, output, function, call = sys.argv[1:]
original, calls = getattr(stages, function), []
def killed(*arguments):
    calls.append(arguments)
    if len(calls) == int(call):
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*arguments)
setattr(stages, function, killed)
config = s2s.Recipe(min_freq=1, num_steps=12, valid_fraction=0.1, test_fraction=0.1)
prepare(PreparationSpec([path], config), output, processes=1)
"""


def test_resume_after_sigkill(book_file, complete_folder, monkeypatch, tmp_path):
    monkeypatch.setattr(PreparationSpec, "CHUNK_LINES", 100)
    output = tmp_path / "out"
    arguments = [sys.executable, "-c", KILLED, book_file, output, "make_shard", "4"]
    assert subprocess.run(list(map(str, arguments)), check=False).returncode == -signal.SIGKILL
    assert len(list(output.glob("*.tfrecord"))) == 3
    assert not (output / "index.json").exists()
    with pytest.raises(InputError, match="no prepared corpus"):
        PreparedCorpus(output)
    before = {path: path.stat().st_mtime_ns for path in output.glob("*.tfrecord")}
    prepare(PreparationSpec([str(book_file)], CONFIG), output)
    assert read_files(output) == read_files(complete_folder)
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.parametrize(
    ("module", "function", "call"),
    [
        (stages, "filter_chunk", 4),
        (prepare_module, "deduplicate", 1),
        (stages, "count_chunk", 3),
        (stages, "make_shard", 6),
    ],
)
def test_resume_after_sigterm(
    module, function, call, book_file, complete_folder, monkeypatch, tmp_path
):
    monkeypatch.setattr(PreparationSpec, "CHUNK_LINES", 100)
    original, calls = getattr(module, function), []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(*arguments)

    spec = PreparationSpec([str(book_file)], CONFIG)
    monkeypatch.setattr(module, function, interrupted)
    with pytest.raises(Interrupted, match="run the same command to resume"):
        prepare(spec, tmp_path / "out")
    others = PreparationSpec([str(book_file)], s2s.Recipe(min_freq=2))
    with pytest.raises(InputError, match="was prepared with min_freq 1 instead of 2, num_steps"):
        prepare(others, tmp_path / "out")
    prepare(spec, tmp_path / "out")
    assert read_files(tmp_path / "out") == read_files(complete_folder)


def test_text_changed_during_an_interruption(book_file, complete_folder, monkeypatch, tmp_path):
    monkeypatch.setattr(PreparationSpec, "CHUNK_LINES", 100)
    path = tmp_path / "book.tsv"
    content = book_file.read_bytes()
    path.write_bytes(content.replace(b"Go.", b"Goes."))
    spec = PreparationSpec([str(path)], CONFIG)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare_module, "write_json", _fail_at_index(prepare_module.write_json))
        with pytest.raises(ZeroDivisionError):
            prepare(spec, tmp_path / "out")
    path.write_bytes(content)
    prepare(spec, tmp_path / "out")
    files, expected = read_files(tmp_path / "out"), read_files(complete_folder)
    assert files.pop("index.json") != expected.pop("index.json")  # the name of the corpus
    assert files == expected
    # Once it is complete, another text is refused.
    path.write_bytes(content + b"One\tmore\n")
    (tmp_path / "out" / "shard-00000.tfrecord").unlink()
    for _ in range(2):
        with pytest.raises(InputError, match=r"differs from .* prepared from"):
            prepare(spec, tmp_path / "out")


def _fail_at_index(write_json):
    def fails(path, content):
        if path.name == "index.json":
            raise ZeroDivisionError
        write_json(path, content)

    return fails


def test_result_does_not_depend_on_processes(book_file, complete_folder, monkeypatch, tmp_path):
    monkeypatch.setattr(PreparationSpec, "CHUNK_LINES", 100)
    prepare(PreparationSpec([str(book_file)], CONFIG), tmp_path / "out", processes=2)
    assert read_files(tmp_path / "out") == read_files(complete_folder)


def test_only_damaged_files_are_rewritten(
    book_file, complete_folder, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(PreparationSpec, "CHUNK_LINES", 100)
    folder, spec = tmp_path / "out", PreparationSpec([str(book_file)], CONFIG)
    shutil.copytree(complete_folder, folder)
    prepare(spec, folder)
    assert "already prepared" in capsys.readouterr().err
    # As an earlier version wrote it; the index is the fingerprint, so it must stay as it is.
    index = (folder / "index.json").read_bytes().replace(b'"vocab_size"', b'"max_tokens"')
    (folder / "index.json").write_bytes(index)
    for name in ("shard-00002.tfrecord", "valid.tsv", "target.txt"):
        (folder / name).write_bytes((folder / name).read_bytes()[:-1])
    before = (folder / "shard-00003.tfrecord").stat().st_mtime_ns
    prepare(spec, folder)
    assert read_files(folder) == {**read_files(complete_folder), "index.json": index}
    assert (folder / "shard-00003.tfrecord").stat().st_mtime_ns == before
    assert "repaired: shard-00002.tfrecord\n" in capsys.readouterr().err


def test_damaged_shards_are_detected(complete_folder, tmp_path):
    folder = tmp_path / "out"
    shutil.copytree(complete_folder, folder)
    chance, files = random.Random(5), sorted(folder.glob("*.tfrecord"))
    for trial in range(50):
        path = chance.choice([path for path in files if path.stat().st_size])
        content = path.read_bytes()
        at = chance.randrange(len(content))
        if trial % 3:
            damaged = bytearray(content)
            damaged[at] ^= 1 << chance.randrange(8)
            path.write_bytes(damaged)
        else:
            path.write_bytes(content[:at])
        with pytest.raises(InputError, match=f"{path.name}: is damaged, "):
            PreparedCorpus(folder).verify()
        path.write_bytes(content)
    PreparedCorpus(folder).verify()


def test_a_folder_has_one_writer(book_file, tmp_path):
    spec = PreparationSpec([str(book_file)], CONFIG)
    with lock_folder(tmp_path, "--output"), pytest.raises(InputError, match="is writing there"):
        prepare(spec, tmp_path)
    assert os.listdir(tmp_path) == []


def test_folder_with_other_content_is_refused(book_file, tmp_path):
    spec = PreparationSpec([str(book_file)], CONFIG)
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match="is not empty and holds no prepared corpus"):
        prepare(spec, tmp_path, overwrite=True)
    with pytest.raises(InputError, match="is a file; give a folder"):
        prepare(spec, tmp_path / "notes.txt")
    assert os.listdir(tmp_path) == ["notes.txt"]


def test_index_of_another_version(book_file, complete_folder, monkeypatch, tmp_path):
    monkeypatch.setattr(PreparationSpec, "CHUNK_LINES", 100)
    folder, spec = tmp_path / "out", PreparationSpec([str(book_file)], CONFIG)
    shutil.copytree(complete_folder, folder)
    index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    index["configuration"]["fields"]["new"] = 1
    for version, message in (
        (2, r"prepared by another version \(format 2, not 1\)"),
        (1, r"index.json: is damaged \(.*new"),
    ):
        index["format"] = version
        (folder / "index.json").write_text(json.dumps(index), encoding="utf-8")
        with pytest.raises(InputError, match=message):
            PreparedCorpus(folder)
        with pytest.raises(InputError, match=message):
            prepare(spec, folder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": [1, 2]}, "2 weights for 1 corpora"),
        ({"weights": [0]}, "a weight is 0"),
        ({"weights": [float("nan")]}, "a weight is nan"),
        ({"max_length_ratio": 0.5}, "max_length_ratio is 0.5"),
        ({"corpora": []}, "no corpus to prepare"),
        ({"config": s2s.Recipe(max_pairs=5)}, "cannot be prepared with max_pairs"),
    ],
)
def test_invalid_specs(options, message):
    with pytest.raises(InputError, match=message):
        PreparationSpec(**{"corpora": ["phrasebook"], "config": CONFIG, **options})


def test_subword_vocabulary_equals_that_of_fit(book_file, monkeypatch, tmp_path):
    config = s2s.Recipe(
        tokenizer="sentencepiece", vocab_size=120, joint_vocabulary=True, num_steps=60
    )
    spec = PreparationSpec([str(book_file)], config, keep_duplicates=True, keep_identical=True)
    prepare(spec, tmp_path / "out")
    corpus = s2s.load_corpus(book_file)
    texts = [*corpus.source, *corpus.target]
    joint = s2s.SentencePieceTokenizer.fit(texts, 120, normalization="nfc")
    source, target = PreparedCorpus(tmp_path / "out").tokenizers()
    assert source is target
    assert source.vocabulary == joint.vocabulary
    joint.save(tmp_path / "joint.model")
    assert (tmp_path / "joint.model").read_bytes() == (tmp_path / "out/both.model").read_bytes()
    assert read_ids(tmp_path / "out")[7] == tuple(
        tuple(joint.tokenize(tf.constant([side[7]])).to_list()[0])
        for side in (corpus.source, corpus.target)
    )
    # Learned from a sample of larger corpora.
    monkeypatch.setattr("keras_s2s.data.prepared.tokenization.VOCABULARY_PAIRS", 200)
    prepare(spec, tmp_path / "few")
    few, _ = PreparedCorpus(tmp_path / "few").tokenizers()
    assert few.vocabulary != joint.vocabulary


def test_word_counts_discard_the_rarest(monkeypatch):
    monkeypatch.setattr(tokenization, "MAX_COUNTED_WORDS", 3)
    words = tokenization.WordCounts()
    words.add((Counter({b"a": 5, b"b": 1, b"c": 2}), Counter(b"x")))
    assert words.max_discarded == 0
    words.add((Counter({b"d": 2, b"a": 1}), Counter()))
    assert words.counts[0] == {b"a": 6, b"c": 2, b"d": 2}
    assert words.max_discarded == 1


def test_large_vocabularies(tmp_path):
    pair = shards.Block(*(np.array(column) for column in ([1], [2], [70_000], [1, 65_536])))
    shard = shards.write_shard(tmp_path / "shard", 0, pair, "uint32")
    block = shards.read_block(
        tmp_path / "shard", shard.offsets()[0], shard.block_bytes[0], shard.block_crc32[0], "uint32"
    )
    assert (block.source_ids.tolist(), block.target_ids.tolist()) == ([70_000], [1, 65_536])
