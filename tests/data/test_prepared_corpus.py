"""Prepared corpora in training: batches and runs."""

import dataclasses
import json
import random
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_s2s as s2s
from keras_s2s.data.batching import DataPosition, count_token_batches
from keras_s2s.data.dataset import TokenizedPairs
from keras_s2s.data.prepared import corpus as corpus_module
from keras_s2s.data.prepared import shards
from keras_s2s.data.prepared.corpus import PreparedCorpus
from keras_s2s.data.prepared.prepare import prepare
from keras_s2s.data.prepared.spec import PreparationSpec
from keras_s2s.training.checkpoint_callbacks import CheckpointCallback
from keras_s2s.training.data_source import CorpusSpec

BATCHING = [
    {},
    {"bucket_by_length": True},
    {"bucket_by_length": True, "batch_tokens": 60},
]
BATCHING_IDS = ["shuffled", "bucketed", "by tokens"]


def unpad(data):
    """Return the pairs of each batch, without padding."""
    return [
        [
            (tuple(source[:source_length]), tuple(target[:target_length]))
            for source, source_length, target, target_length in zip(
                sources, source_lengths, targets, target_lengths, strict=True
            )
        ]
        for (sources, source_lengths), (targets, target_lengths) in data.as_numpy_iterator()
    ]


def flatten(batches):
    return [pair for batch in batches for pair in batch]


@pytest.fixture(scope="module")
def book(phrasebook, tmp_path_factory):
    """A file of 400 distinct pairs."""
    pairs = dict.fromkeys(zip(phrasebook.source, phrasebook.target, strict=True))
    pairs = [pair for pair in pairs if pair[0] != pair[1]][:400]
    path = tmp_path_factory.mktemp("book") / "book.tsv"
    path.write_text("".join(f"{a}\t{b}\n" for a, b in pairs), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def folder(book, tmp_path_factory):
    """The prepared file, in 8 shards of blocks of 8 pairs. Read-only."""
    path = tmp_path_factory.mktemp("prepared") / "book"
    config = s2s.Recipe(min_freq=1, num_steps=12)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PreparationSpec, "CHUNK_LINES", 50)
        patch.setattr(shards, "BLOCK_PAIRS", 8)
        prepare(PreparationSpec([str(book)], config), path, processes=1)
    return path


@pytest.fixture
def small_windows(monkeypatch):
    """Shuffle windows of 96 pairs."""
    monkeypatch.setattr(corpus_module, "WINDOW_PAIRS", 96)


@pytest.mark.parametrize("batching", BATCHING[1:], ids=BATCHING_IDS[1:])
def test_batches_equal_those_in_memory(batching, book, folder):
    corpus = PreparedCorpus(folder)
    pairs = TokenizedPairs(s2s.load_corpus(book), *corpus.tokenizers(), 12, False)
    num_batches = corpus.num_batches(16, batching.get("batch_tokens"))
    keras.utils.set_random_seed(1)
    result = corpus.batches(16, 5, **batching).take(2 * num_batches)
    keras.utils.set_random_seed(1)
    expected = pairs.batches(16, True, 5, **batching, start=DataPosition()).take(2 * num_batches)
    assert unpad(result) == unpad(expected)
    assert (len(corpus), corpus.target_tokens) == (len(pairs), pairs.target_tokens)


@pytest.mark.parametrize("batching", BATCHING, ids=BATCHING_IDS)
def test_each_epoch_is_a_permutation(batching, folder, small_windows):
    corpus = PreparedCorpus(folder)
    num_batches = corpus.num_batches(16, batching.get("batch_tokens"))
    keras.utils.set_random_seed(0)
    batches = unpad(corpus.batches(16, 5, **batching).take(3 * num_batches))
    epochs = [flatten(batches[i * num_batches : (i + 1) * num_batches]) for i in range(3)]
    in_order = flatten(unpad(tokenized(corpus).batches(400)))
    for epoch in epochs:
        if "batch_tokens" in batching:
            # Drops the remainder: at most one batch of each window.
            assert 400 - 5 * 60 // 3 <= len(epoch) <= 400
            assert set(epoch) <= set(in_order)
        else:
            assert num_batches == 25
            assert sorted(epoch) == sorted(in_order)
    assert epochs[0] != epochs[1] != epochs[2]
    # The first window has pairs from the whole corpus, nearly evenly.
    positions = {pair: i for i, pair in enumerate(in_order)}
    first = np.array([positions[pair] for pair in epochs[0][:96]])
    assert np.histogram(first, 4, (0, 400))[0].min() >= 8


def tokenized(corpus):
    name = corpus.index.content["corpora"][0]["corpus"]
    return TokenizedPairs(s2s.load_corpus(name), *corpus.tokenizers(), 12, False)


@pytest.mark.parametrize("batching", BATCHING, ids=BATCHING_IDS)
def test_start_at_any_position(batching, folder, small_windows):
    corpus = PreparedCorpus(folder)
    size = corpus.num_batches(16, batching.get("batch_tokens"))

    def batches(start, count):
        keras.utils.set_random_seed(7)
        return unpad(corpus.batches(16, 3, **batching, start=start).take(count))

    whole = batches(DataPosition(), 3 * size)
    for epoch, batch in ((0, 1), (0, 6), (1, 0), (1, size - 1), (1, size), (2, 13)):
        skipped = epoch * size + batch
        assert batches(DataPosition(epoch, batch), 3 * size - skipped) == whole[skipped:]


def test_workers_partition_the_same_batches(folder, small_windows):
    corpus = PreparedCorpus(folder)

    def batches(**worker):
        keras.utils.set_random_seed(7)
        return unpad(corpus.batches(16, 3, bucket_by_length=True, **worker).take(30))

    by_worker = [batches(worker=worker, num_workers=3) for worker in range(3)]
    combined = [sorted(flatten(rows)) for rows in zip(*by_worker, strict=True)]
    assert combined == [sorted(batch) for batch in batches()]
    assert {len(rows[0]) for rows in by_worker} == {5, 6}


def test_weights(book, monkeypatch, tmp_path):
    lines = book.read_text(encoding="utf-8").splitlines(keepends=True)
    for name, content in (("a", lines[:100]), ("b", lines[100:240])):
        (tmp_path / name).write_text("".join(content), encoding="utf-8")
    monkeypatch.setattr(shards, "BLOCK_PAIRS", 8)
    monkeypatch.setattr(corpus_module, "WINDOW_PAIRS", 64)
    config = s2s.Recipe(min_freq=1, num_steps=12)
    names = [str(tmp_path / name) for name in "ab"]
    prepare(PreparationSpec(names, config, weights=[2.5, 0.25]), tmp_path / "out")
    corpus = PreparedCorpus(tmp_path / "out")
    assert len(corpus) == 2 * 100 + 50 + 35
    size = corpus.num_batches(16, None)
    keras.utils.set_random_seed(0)
    batches = unpad(corpus.batches(16, 0).take(2 * size))
    sides = [
        TokenizedPairs(s2s.load_corpus(name), *corpus.tokenizers(), 12, False).batches(400)
        for name in names
    ]
    first, second = (set(flatten(unpad(side))) for side in sides)
    extra = []
    for epoch in (flatten(batches[:size]), flatten(batches[size:])):
        assert len(epoch) == 285
        assert sum(pair in first for pair in epoch) >= 250
        assert sum(pair in second for pair in epoch) >= 35
        counts = {pair: epoch.count(pair) for pair in first - second}
        assert set(counts.values()) <= {2, 3, 4, 5, 6}
        extra.append({pair for pair, count in counts.items() if count > 2})
    assert extra[0] != extra[1]


def test_num_batches_by_tokens():
    from keras_s2s.data.batching import _token_batch_starts

    chance = np.random.default_rng(0)
    for _ in range(50):
        counts = chance.integers(0, chance.integers(2, 30), 12)
        counts[:2] = 0
        lengths = np.repeat(np.arange(12), counts)
        tokens = int(chance.integers(12, 60))
        if len(lengths):
            assert count_token_batches(counts, tokens) == len(_token_batch_starts(lengths, tokens))


def test_damaged_block_ends_the_dataset(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    corpus, chance = PreparedCorpus(copy), random.Random(1)
    path = copy / "shard-00003.tfrecord"
    content = bytearray(path.read_bytes())
    content[corpus._shards[3].offsets()[2] + chance.randrange(100)] ^= 4
    path.write_bytes(content)
    with pytest.raises(tf.errors.OpError):
        unpad(corpus.batches(16, 0).take(25))
    assert "shard-00003.tfrecord: is damaged in the block at byte" in str(corpus.damage)


@pytest.mark.parametrize(
    ("side", "length", "token"),
    [("source", 12, 999), ("target", 10, 999), ("source", 13, 4), ("target", 11, 4)],
)
def test_pairs_of_another_corpus_that_match_their_checksums(side, length, token, folder, tmp_path):
    """An id past the vocabulary, and a sentence past `num_steps`."""
    copy = shutil.copytree(folder, tmp_path / "copy")
    index = json.loads((copy / "index.json").read_text())
    size = sum(index["shards"][0]["block_pairs"])
    columns = {
        f"{name}_{column}": np.full(size, value)
        for name in ("source", "target")
        for column, value in (("lengths", 1), ("ids", 4))
    }
    columns[f"{side}_lengths"] = np.full(size, length)
    columns[f"{side}_ids"] = np.full(size * length, token)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "BLOCK_PAIRS", 8)
        forged = shards.write_shard(
            copy / index["shards"][0]["file"], 0, shards.Block(**columns), "uint16"
        )
    index["shards"][0] |= dataclasses.asdict(forged)
    (copy / "index.json").write_text(json.dumps(index))
    corpus = PreparedCorpus(copy)
    corpus.verify()
    with pytest.raises(s2s.InputError, match=r"shard-00000\.tfrecord: holds pairs of another"):
        corpus._read_block(0)
    with pytest.raises(tf.errors.OpError):
        unpad(corpus.batches(16, 0).take(25))
    assert "holds pairs of another corpus" in str(corpus.damage)


def test_vocabularies_of_another_size(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    index = json.loads((copy / "index.json").read_text())
    index["vocabularies"][1] += 1
    (copy / "index.json").write_text(json.dumps(index))
    with pytest.raises(s2s.InputError, match=r"index\.json: is damaged \(vocabularies"):
        PreparedCorpus(copy).tokenizers()


# ---- runs

SIZES = {"embed_size": 8, "num_hiddens": 8, "num_layers": 1, "batch_size": 32, "epochs": 4}
CONFIG = s2s.Recipe(
    min_freq=1,
    num_steps=12,
    valid_fraction=0.1,
    test_fraction=0.1,
    bucket_by_length=True,
    dropout=0.2,
    **SIZES,
)


@pytest.fixture(scope="module")
def folder_with_held_out(book, tmp_path_factory):
    """The file prepared with held-out pairs. Read-only."""
    path = tmp_path_factory.mktemp("prepared") / "parts"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PreparationSpec, "CHUNK_LINES", 100)
        prepare(PreparationSpec([str(book)], CONFIG), path, processes=1)
    return path


@pytest.fixture(scope="module")
def run(folder_with_held_out, tmp_path_factory):
    """A run on the prepared file. Read-only."""
    path = tmp_path_factory.mktemp("runs") / "run"
    s2s.train(CorpusSpec(str(folder_with_held_out)), path, CONFIG, seed=2)
    return path


def weights_of(run_dir):
    return s2s.Translator.load(run_dir / "model.keras").model.get_weights()


def assert_same_weights(run_dir, other):
    for weight, expected in zip(weights_of(run_dir), weights_of(other), strict=True):
        np.testing.assert_array_equal(weight, expected)


def test_run_equals_run_in_memory(book, run, tmp_path):
    s2s.train(CorpusSpec(str(book)), tmp_path / "run", CONFIG, seed=2)
    assert_same_weights(run, tmp_path / "run")
    records = [
        json.loads((path / "run.json").read_text(encoding="utf-8"))
        for path in (run, tmp_path / "run")
    ]
    assert records[0]["sizes"] == records[1]["sizes"]


def interrupt_after(num_batches, monkeypatch):
    """Make training save a checkpoint and stop after some batches."""
    saved, calls = CheckpointCallback.on_train_batch_end, []

    def on_train_batch_end(self, batch, logs=None):
        saved(self, batch, logs)
        calls.append(batch)
        if len(calls) == num_batches:
            raise KeyboardInterrupt

    monkeypatch.setattr(CheckpointCallback, "on_train_batch_end", on_train_batch_end)


def test_resume(folder_with_held_out, run, monkeypatch, tmp_path):
    monkeypatch.setattr("keras_s2s.training.job.MAX_STEPS_PER_EXECUTION", 1)
    config = s2s.Recipe(**{**vars(CONFIG), "checkpoint_steps": 5})
    copy = tmp_path / "copy"
    shutil.copytree(folder_with_held_out, copy)
    with monkeypatch.context() as patch:
        interrupt_after(17, patch)
        with pytest.raises(KeyboardInterrupt):
            s2s.train(CorpusSpec(str(copy)), tmp_path / "run", config, seed=2)
    # Resuming verifies the corpus.
    shard = copy / "shard-00001.tfrecord"
    content = shard.read_bytes()
    shard.write_bytes(content[:-1])
    with pytest.raises(s2s.InputError, match=r"shard-00001.tfrecord: is damaged"):
        s2s.resume(tmp_path / "run")
    shard.write_bytes(content)
    index = (copy / "index.json").read_bytes()
    (copy / "index.json").write_bytes(index.replace(b'"weight": 1.0', b'"weight": 2.0'))
    with pytest.raises(s2s.InputError, match="is not the one this run began with"):
        s2s.resume(tmp_path / "run")
    (copy / "index.json").write_bytes(index)
    s2s.resume(tmp_path / "run")
    assert_same_weights(tmp_path / "run", run)


def test_damaged_block_ends_the_run(folder_with_held_out, monkeypatch, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder_with_held_out, copy)
    monkeypatch.setattr(PreparedCorpus, "verify", lambda self: None)
    path = copy / "shard-00000.tfrecord"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        s2s.InputError, match=r"shard-00000.tfrecord: is damaged in the block .*; then resume"
    ):
        s2s.train(CorpusSpec(str(copy)), tmp_path / "run", CONFIG)


def test_commands(command, book, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    fields = (
        "--num-steps",
        12,
        "--vocab-size",
        200,
        "--valid-fraction",
        0.1,
        "--test-fraction",
        0.1,
    )
    prepare_command = ("prepare", book, "phrasebook", "--weights", 2, 0.5, *fields, "--output", "p")
    outcome = command(*prepare_command)
    assert outcome.status == 0
    assert outcome.out.startswith(f"{book}: 400 pairs in 400 lines\n")
    assert "dropped: duplicates\n" in outcome.out
    assert outcome.out.count("times an epoch\n") == 2
    assert "keras-s2s train p --run-dir DIR\n" in outcome.err
    outcome = command(*prepare_command, "--json")
    assert json.loads(outcome.out)["corpora"][0]["pairs"] == 400
    sizes = ("--embed-size", 8, "--num-layers", 1, "--epochs", 1, "--batch-size", 200)
    # The options of `prepare` are the defaults.
    train = ("train", "p", "--preset", "chapter", "--run-dir", "r", *sizes)
    assert command(*train).status == 0
    recipe = json.loads((tmp_path / "r/run.json").read_text(encoding="utf-8"))["recipe"]
    assert [recipe[name] for name in ("num_steps", "vocab_size", "valid_fraction")] == [
        12,
        200,
        0.1,
    ]
    # Also for --resume, here of a complete run.
    outcome = command(*train, "--resume")
    assert outcome.status == 0
    assert "has completed its 1 epoch" in outcome.err
    outcome = command("evaluate", "r", "p", "--split", "test", "--json", "--max-pairs", 5)
    assert outcome.status == 0
    assert json.loads(outcome.out)["num_pairs"] == 5


def test_plot_of_a_run_on_a_prepared_corpus(command, run, refused, tmp_path):
    out = tmp_path / "out"
    outcome = command("plot", run, "--output", out)
    assert outcome.status == 0, outcome.err
    assert (out / "bleu_by_length.png").is_file()
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "of the validation pairs" in page
    assert "Lengths of the validation pairs (targets" in page
    other = tmp_path / "other"
    assert command("prepare", "phrasebook", "--output", other).status == 0
    assert f"was not trained on {other}; give the corpus" in refused("plot", run, other)


def test_refused_options(command, refused, folder_with_held_out, trained_run, tmp_path):
    train = ("train", folder_with_held_out, "--run-dir", tmp_path / "run")
    assert "was prepared with num_steps 12, not 20; omit --num-steps" in refused(
        *train, "--num-steps", 20
    )
    assert "max_pairs needs a text corpus" in refused(*train, "--max-pairs", 5)
    assert "copy needs a text corpus" in refused(*train, "--copy", "--attention=luong")
    assert "omit --reverse, --skip-bad-lines and --columns" in refused(*train, "--reverse")
    evaluate = ("evaluate", trained_run, folder_with_held_out)
    kept = "keeps only the text of the valid and test splits; give --split valid"
    assert kept in refused(*evaluate)
    assert kept in refused(*evaluate, "--split", "train")
    assert "was not trained on" in refused(*evaluate, "--split", "valid")
    (tmp_path / "no").mkdir()
    (tmp_path / "no" / "index.json").write_text("{}", encoding="utf-8")
    assert "index.json: is damaged" in refused("train", tmp_path / "no", "--run-dir", "r")
    assert "give one for each" in refused(
        "prepare", "phrasebook", "--weights", 1, 2, "--output", tmp_path / "out"
    )
