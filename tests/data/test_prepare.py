"""Corpora prepared: what comes of the text, what is left out, and what an interruption leaves."""

import gzip
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import tensorflow as tf

import keras_s2s as s2s
from keras_s2s.data.corpus_reader import CorpusStream
from keras_s2s.data.prepared import filtering as sifting
from keras_s2s.data.prepared import prepare as preparing
from keras_s2s.data.prepared import shards
from keras_s2s.data.prepared import spec as preparation
from keras_s2s.data.prepared import statistics as preparation_counts
from keras_s2s.data.prepared.corpus import PreparedCorpus
from keras_s2s.data.prepared.prepare import prepare
from keras_s2s.data.prepared.spec import PreparationSpec
from keras_s2s.utils.errors import InputError
from keras_s2s.utils.signals import Interrupted

RECIPE = s2s.Recipe(min_freq=1, num_steps=12, valid_fraction=0.1, test_fraction=0.1)


@pytest.fixture
def small_shards(monkeypatch):
    """Shards of 100 lines and blocks of 16 pairs."""
    monkeypatch.setattr(preparation, "CHUNK_LINES", 100)
    monkeypatch.setattr(preparing, "CHUNK_LINES", 100)
    monkeypatch.setattr(shards, "BLOCK_PAIRS", 16)


@pytest.fixture(scope="module")
def book_file(phrasebook, tmp_path_factory):
    """530 pairs, some of which come again later, and two with equal sides."""
    pairs = list(zip(phrasebook.source, phrasebook.target, strict=True))[:500]
    pairs += [("Hotel!", "Hotel!"), ("Taxi.", "Taxi."), *pairs[40:68]]
    path = tmp_path_factory.mktemp("book") / "book.tsv"
    write(path, pairs)
    return path


def write(path, pairs):
    path.write_text("".join(f"{a}\t{b}\n" for a, b in pairs), encoding="utf-8")
    return path


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def ids_of(folder):
    """The pairs of all shards as tuples of ids, read with TensorFlow alone."""
    found = []
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
            found.append(tuple(map(tuple, pair)))
    return found


def test_what_is_prepared(book_file, small_shards, tmp_path):
    index = prepare(PreparationSpec([str(book_file)], RECIPE), tmp_path / "out")
    folder = tmp_path / "out"
    assert index == json.loads((folder / "index.json").read_text(encoding="utf-8"))
    assert {path.name for path in folder.iterdir()} == {
        *(f"shard-{number:05}.tfrecord" for number in range(6)),
        *("index.json", "source.txt", "target.txt", "valid.tsv", "test.tsv", "samples.txt"),
    }
    # What all of it together should be, by way of memory.
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
    assert (prepared.index.part("valid").source, prepared.index.part("valid").target) == (
        splits.valid.source,
        splits.valid.target,
    )
    assert prepared.index.part("test").source == splits.test.source
    assert set(prepared.index.samples()) == set(splits.train.source)
    ids = [
        side.tokenize(tf.constant(texts)).to_list()
        for side, texts in ((source, splits.train.source), (target, splits.train.target))
    ]
    assert ids_of(folder) == [(tuple(a[:12]), tuple(b[:10])) for a, b in zip(*ids, strict=True)]
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


def test_all_is_kept_that_is_asked_for(book_file, small_shards, tmp_path):
    asked = PreparationSpec([str(book_file)], RECIPE, keep_duplicates=True, keep_identical=True)
    (report,) = prepare(asked, tmp_path / "out")["corpora"]
    assert not any(report["dropped"].values())
    splits = s2s.load_corpus(book_file).split(0.1, 0.1)
    assert report["train_pairs"] == len(splits.train)


def test_pairs_of_odd_lengths_are_left_out(tmp_path):
    pairs = [("a b c", "d e"), ("a", "b c d e"), ("a b c d e f g", "a b c d"), ("a b", "c d e f")]
    path = write(tmp_path / "pairs.tsv", pairs)
    recipe = s2s.Recipe(min_freq=1, num_steps=5, drop_long=True)
    (report,) = prepare(PreparationSpec([str(path)], recipe, max_length_ratio=2), tmp_path / "out")[
        "corpora"
    ]
    # The third pair is too long; the fourth too, since <bos> and <eos> count.
    assert report["dropped"] == {
        **{"bad_lines": 0, "identical": 0, "duplicates": 0},
        **{"too_long": 2, "length_ratio": 1},
    }
    assert preparation.report(report) == [
        f"{path}: 4 pairs in 4 lines",
        "             2 dropped: too long",
        "             1 dropped: length ratio",
        "             0 held out for validation",
        "             0 held out for testing",
        "             1 to train on",
    ]


def test_duplicates_in_parts_and_across_corpora(monkeypatch, small_shards, tmp_path):
    monkeypatch.setattr(sifting, "HASHES_AT_A_TIME", 50)
    chance = random.Random(3)
    pairs = [(f"a{chance.randrange(150)}", f"b{chance.randrange(3)}") for _ in range(400)]
    files = [write(tmp_path / f"{n}.tsv", pairs[n * 250 : n * 250 + 250]) for n in range(2)]
    recipe = s2s.Recipe(min_freq=1)
    index = prepare(PreparationSpec(list(map(str, files)), recipe), tmp_path / "out")
    source, target = PreparedCorpus(tmp_path / "out").tokenizers()
    words = [
        (source.vocabulary[a], target.vocabulary[b]) for (a,), (b,) in ids_of(tmp_path / "out")
    ]
    assert words == list(dict.fromkeys(pairs))
    dropped = [corpus["dropped"]["duplicates"] for corpus in index["corpora"]]
    assert dropped[0] == 250 - len(set(pairs[:250]))
    assert sum(dropped) == 400 - len(set(pairs))


def test_held_out_pairs_are_bounded(monkeypatch, book_file, small_shards, tmp_path):
    everything = prepare(PreparationSpec([str(book_file)], RECIPE), tmp_path / "all")
    monkeypatch.setattr(preparation_counts, "MOST_HELD_OUT", 7)
    index = prepare(PreparationSpec([str(book_file)], RECIPE), tmp_path / "few")
    assert index["corpora"] == everything["corpora"]
    few, many = (PreparedCorpus(tmp_path / name).index.part("valid") for name in ("few", "all"))
    assert len(few) == 7
    assert set(few.source) <= set(many.source)


@pytest.mark.parametrize("kind", ["tsv", "gz", "zip", "aligned"])
def test_a_stream_reads_what_memory_reads(kind, pairs_file, tmp_path):
    lines = pairs_file.read_bytes().replace(b"\n", b"\r\n", 3) + b"\n\xc2\xa0Ah\tOh \n"
    path = tmp_path / f"corpus.{kind}"
    if kind == "tsv":
        path.write_bytes(b"\xef\xbb\xbf" + lines)
    elif kind == "gz":
        path.write_bytes(gzip.compress(lines))
    elif kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("about.html", "<html>")
            archive.writestr("pairs.txt", lines)
    else:
        sides = [line.split(b"\t") for line in lines.rstrip(b"\n").split(b"\n") if line]
        for number in range(2):
            content = b"\n".join(side[number].rstrip(b"\r") for side in sides)
            (tmp_path / f"{number}").write_bytes(content)
        path = f"{tmp_path / '0'},{tmp_path / '1'}"
    stream, loaded = CorpusStream(str(path)), s2s.load_corpus(path)
    bad = stream.bad_lines()
    found = [pair for chunk in stream.chunks(7) for pair in stream.pairs(chunk, bad)]
    assert found == list(zip(loaded.source, loaded.target, strict=True))
    assert len(stream.sha256) == (2 if kind == "aligned" else 1)


def damaged_corpora(folder):
    good = b"Go.\tVa !\n" * 30
    yield folder / "bad.tsv", good + b"nothing\n" + good + b"here\n"
    yield folder / "latin.tsv", good + b"Hi\tSalut \xe9\n" + good
    yield folder / "empty.tsv", b""
    yield folder / "blank.tsv", b"\n\n\n"
    yield folder / "binary.tsv", good + b"\0" + good
    yield folder / "wide.tsv", "Go.\tVa !\n".encode("utf-16")
    packed = gzip.compress(random.Random(0).randbytes(5000).hex().encode() + b"\ta\n")
    yield folder / "cut.gz", packed[:-100]
    yield folder / "tar.gz", gzip.compress(bytes(257) + b"ustar" + bytes(800))
    yield folder / "none.zip", b"PK\x03\x04" + bytes(100)


def test_errors_are_those_of_memory(small_shards, tmp_path):
    asked = []
    for path, content in damaged_corpora(tmp_path):
        path.write_bytes(content)
        asked.append(str(path))
    (tmp_path / "a").write_bytes(b"1\n2\n")
    (tmp_path / "b").write_bytes(b"1\n2\n3\n")
    asked += [f"{tmp_path / 'a'},{tmp_path / 'b'}", "a,b,c", str(tmp_path), "fra-engg"]
    for corpus in asked:
        with pytest.raises(InputError) as by_memory:
            s2s.load_corpus(corpus)
        with pytest.raises(InputError) as by_stream:
            prepare(PreparationSpec([corpus], RECIPE), tmp_path / "out")
        assert str(by_stream.value) == str(by_memory.value)
        assert not (tmp_path / "out").exists()
    good = str(tmp_path / "latin.tsv")
    left_out = PreparationSpec([good], s2s.Recipe(min_freq=1), skip_bad_lines=True)
    (report,) = prepare(left_out, tmp_path / "out")["corpora"]
    assert report["dropped"]["bad_lines"] == 1
    assert report["train_pairs"] == 1


@pytest.fixture(scope="module")
def whole(book_file, tmp_path_factory):
    """The corpus prepared in one go, in shards of 100 lines. Not to be changed."""
    folder = tmp_path_factory.mktemp("prepared") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preparation, "CHUNK_LINES", 100)
        patch.setattr(preparing, "CHUNK_LINES", 100)
        prepare(PreparationSpec([str(book_file)], RECIPE), folder, processes=1)
    return folder


KILLED = """
import os, signal, sys
import keras_s2s as s2s
from keras_s2s import preparation, preparing
from keras_s2s.preparation import Preparation
preparation.CHUNK_LINES = preparing.CHUNK_LINES = 100
path, output, function, number = sys.argv[1:]
original, calls = getattr(preparing, function), []
def killed(*arguments):
    calls.append(arguments)
    if len(calls) == int(number):
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*arguments)
setattr(preparing, function, killed)
recipe = s2s.Recipe(min_freq=1, num_steps=12, valid_fraction=0.1, test_fraction=0.1)
preparing.prepare(Preparation([path], recipe), output, processes=1)
"""


def test_a_killed_preparation_goes_on(book_file, whole, monkeypatch, tmp_path):
    monkeypatch.setattr(preparation, "CHUNK_LINES", 100)
    monkeypatch.setattr(preparing, "CHUNK_LINES", 100)
    output = tmp_path / "out"
    arguments = [sys.executable, "-c", KILLED, book_file, output, "make_shard", "4"]
    assert subprocess.run(list(map(str, arguments)), check=False).returncode == -signal.SIGKILL
    assert len(list(output.glob("*.tfrecord"))) == 3
    assert not (output / "index.json").exists()
    with pytest.raises(InputError, match="no prepared corpus"):
        PreparedCorpus(output)
    before = {path: path.stat().st_mtime_ns for path in output.glob("*.tfrecord")}
    prepare(PreparationSpec([str(book_file)], RECIPE), output)
    assert files_of(output) == files_of(whole)
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.parametrize(
    ("function", "number"),
    [("sift", 4), ("mark_duplicates", 1), ("count_chunk", 3), ("make_shard", 6)],
)
def test_an_interrupted_preparation_goes_on(
    function, number, book_file, whole, monkeypatch, tmp_path
):
    monkeypatch.setattr(preparation, "CHUNK_LINES", 100)
    monkeypatch.setattr(preparing, "CHUNK_LINES", 100)
    original, calls = getattr(preparing, function), []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == number:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(*arguments)

    asked = PreparationSpec([str(book_file)], RECIPE)
    monkeypatch.setattr(preparing, function, interrupted)
    with pytest.raises(Interrupted, match="give the same command to go on"):
        prepare(asked, tmp_path / "out", processes=1)
    others = PreparationSpec([str(book_file)], s2s.Recipe(min_freq=2))
    with pytest.raises(InputError, match="was prepared with min_freq 1 instead of 2, num_steps"):
        prepare(others, tmp_path / "out")
    prepare(asked, tmp_path / "out", processes=1)
    assert files_of(tmp_path / "out") == files_of(whole)


def test_a_text_that_changes_in_between(book_file, whole, monkeypatch, tmp_path):
    monkeypatch.setattr(preparation, "CHUNK_LINES", 100)
    monkeypatch.setattr(preparing, "CHUNK_LINES", 100)
    path = tmp_path / "book.tsv"
    content = book_file.read_bytes()
    path.write_bytes(content.replace(b"Go.", b"Goes."))
    asked = PreparationSpec([str(path)], RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preparing, "write_json", _fails_at_the_index(preparing.write_json))
        with pytest.raises(ZeroDivisionError):
            prepare(asked, tmp_path / "out")
    path.write_bytes(content)
    prepare(asked, tmp_path / "out")
    mine, theirs = files_of(tmp_path / "out"), files_of(whole)
    assert mine.pop("index.json") != theirs.pop("index.json")  # the name of the corpus
    assert mine == theirs
    # Once it is finished, another text is refused.
    path.write_bytes(content + b"One\tmore\n")
    (tmp_path / "out" / "shard-00000.tfrecord").unlink()
    for _ in range(2):
        with pytest.raises(InputError, match=r"is not what .* was prepared from"):
            prepare(asked, tmp_path / "out")


def _fails_at_the_index(write_json):
    def fails(path, content):
        if path.name == "index.json":
            raise ZeroDivisionError
        write_json(path, content)

    return fails


def test_processes_make_the_same(book_file, whole, monkeypatch, tmp_path):
    monkeypatch.setattr(preparation, "CHUNK_LINES", 100)
    monkeypatch.setattr(preparing, "CHUNK_LINES", 100)
    prepare(PreparationSpec([str(book_file)], RECIPE), tmp_path / "out", processes=2)
    assert files_of(tmp_path / "out") == files_of(whole)


def test_only_what_is_damaged_is_made_anew(book_file, whole, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(preparation, "CHUNK_LINES", 100)
    monkeypatch.setattr(preparing, "CHUNK_LINES", 100)
    folder, asked = tmp_path / "out", PreparationSpec([str(book_file)], RECIPE)
    shutil.copytree(whole, folder)
    prepare(asked, folder)
    assert "is prepared already, and as it was written" in capsys.readouterr().err
    for name in ("shard-00002.tfrecord", "valid.tsv", "target.txt"):
        (folder / name).write_bytes((folder / name).read_bytes()[:-1])
    before = (folder / "shard-00003.tfrecord").stat().st_mtime_ns
    prepare(asked, folder)
    assert files_of(folder) == files_of(whole)
    assert (folder / "shard-00003.tfrecord").stat().st_mtime_ns == before
    assert "made anew: shard-00002.tfrecord\n" in capsys.readouterr().err


def test_each_damage_is_found_and_named(whole, tmp_path):
    folder = tmp_path / "out"
    shutil.copytree(whole, folder)
    chance, files = random.Random(5), sorted(folder.glob("*.tfrecord"))
    for number in range(50):
        path = chance.choice([path for path in files if path.stat().st_size])
        content = path.read_bytes()
        at = chance.randrange(len(content))
        if number % 3:
            damaged = bytearray(content)
            damaged[at] ^= 1 << chance.randrange(8)
            path.write_bytes(damaged)
        else:
            path.write_bytes(content[:at])
        with pytest.raises(InputError, match=f"{path.name}: is damaged, .* give the command"):
            PreparedCorpus(folder).verify()
        path.write_bytes(content)
    PreparedCorpus(folder).verify()


def test_a_folder_of_something_else(book_file, tmp_path):
    asked = PreparationSpec([str(book_file)], RECIPE)
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match="is not empty and holds no prepared corpus"):
        prepare(asked, tmp_path, overwrite=True)
    with pytest.raises(InputError, match="is a file; give a folder"):
        prepare(asked, tmp_path / "notes.txt")
    assert os.listdir(tmp_path) == ["notes.txt"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": [1, 2]}, "2 weights for 1 corpora"),
        ({"weights": [0]}, "a weight is 0"),
        ({"weights": [float("nan")]}, "a weight is nan"),
        ({"max_length_ratio": 0.5}, "max_length_ratio is 0.5"),
        ({"corpora": []}, "no corpus to prepare"),
        ({"recipe": s2s.Recipe(max_pairs=5)}, "cannot be prepared with max_pairs"),
    ],
)
def test_what_makes_no_sense(options, message):
    with pytest.raises(InputError, match=message):
        PreparationSpec(**{"corpora": ["phrasebook"], "recipe": RECIPE, **options})


def test_subwords_as_by_way_of_memory(book_file, monkeypatch, tmp_path):
    recipe = s2s.Recipe(
        tokenizer="sentencepiece", vocab_size=120, joint_vocabulary=True, num_steps=60
    )
    asked = PreparationSpec([str(book_file)], recipe, keep_duplicates=True, keep_identical=True)
    prepare(asked, tmp_path / "out")
    corpus = s2s.load_corpus(book_file)
    joint = s2s.SentencePieceTokenizer.fit([*corpus.source, *corpus.target], 120)
    source, target = PreparedCorpus(tmp_path / "out").tokenizers()
    assert source is target
    assert source.vocabulary == joint.vocabulary
    joint.save(tmp_path / "joint.model")
    assert (tmp_path / "joint.model").read_bytes() == (tmp_path / "out/both.model").read_bytes()
    assert ids_of(tmp_path / "out")[7] == tuple(
        tuple(joint.tokenize(tf.constant([side[7]])).to_list()[0])
        for side in (corpus.source, corpus.target)
    )
    # Of more pairs, some are drawn.
    monkeypatch.setattr("keras_s2s.data.prepared.tokenization.VOCABULARY_PAIRS", 200)
    prepare(asked, tmp_path / "few")
    few, _ = PreparedCorpus(tmp_path / "few").tokenizers()
    assert few.vocabulary != joint.vocabulary


def test_counting_forgets_the_rarest(monkeypatch):
    from collections import Counter

    from keras_s2s.data.prepared import tokenization as tokenizing

    monkeypatch.setattr(tokenizing, "COUNTED_WORDS", 3)
    words = tokenizing.WordCounts()
    words.add((Counter({b"a": 5, b"b": 1, b"c": 2}), Counter(b"x")))
    assert words.forgotten == 0
    words.add((Counter({b"d": 2, b"a": 1}), Counter()))
    assert words.counts[0] == {b"a": 6, b"c": 2, b"d": 2}
    assert words.forgotten == 1


def test_large_vocabularies(tmp_path):
    pair = shards.Block(*(np.array(column) for column in ([1], [2], [70_000], [1, 65_536])))
    shard = shards.write_shard(tmp_path / "shard", 0, pair, "uint32")
    block = shards.read_block(
        tmp_path / "shard", shard.offsets()[0], shard.block_bytes[0], shard.block_crc32[0], "uint32"
    )
    assert (block.source_ids.tolist(), block.target_ids.tolist()) == ([70_000], [1, 65_536])
