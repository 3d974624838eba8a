"""Pairs that are too long and tokens that are unknown: counted, and told."""

import json
import logging

import pytest

import keras_s2s as s2s
from keras_s2s.data.dataset import TokenizedPairs
from keras_s2s.data.prepared.corpus import PreparedCorpus
from keras_s2s.data.prepared.prepare import prepare
from keras_s2s.data.prepared.spec import PreparationSpec
from keras_s2s.data.text_counts import TextCounts, log_counts
from keras_s2s.data.vocabulary import make_tokenizers
from keras_s2s.run_directory import RunDirectory
from keras_s2s.training.data_source import CorpusSpec, resolve_for_corpus
from keras_s2s.training.job import TrainingJob
from keras_s2s.utils.errors import InputError

# "rare" occurs once. With five steps, sources have at most five words and targets three.
PAIRS = [
    *[("a b c", "x y")] * 4,
    *[("a b c d e f", "x y")] * 2,
    *[("a", "x y z z")] * 3,
    ("g g g g g g g", "w w w w w"),
    ("a rare", "x"),
]
SIZES = {"embed_size": 4, "num_hiddens": 4, "num_layers": 1, "epochs": 1}


def write(path, pairs):
    path.write_text("".join(f"{a}\t{b}\n" for a, b in pairs), encoding="utf-8")
    return path


def prepared(path, folder, config):
    prepare(PreparationSpec([str(path)], config, keep_duplicates=True), folder, processes=1)
    return PreparedCorpus(folder)


@pytest.mark.parametrize(
    ("drop_long", "expected"),
    [
        # a b c d e f becomes a b c d e; x y z z becomes x y z. Words that occur once are unknown.
        (False, TextCounts(11, 6, 3, 4, 4 * 3 + 2 * 5 + 3 + 5 + 2, 1, 4 * 2 + 2 * 2 + 9 + 3 + 1)),
        (True, TextCounts(11, 6, 3, 4, 4 * 3 + 2, 1, 4 * 2 + 1)),
    ],
)
def test_counts_in_memory_and_prepared(drop_long, expected, tmp_path):
    config = s2s.TrainingConfig(min_freq=2, num_steps=5, drop_long=drop_long, **SIZES)
    path = write(tmp_path / "pairs.tsv", PAIRS)
    corpus = s2s.load_corpus(path)
    pairs = TokenizedPairs(corpus, *make_tokenizers(config, corpus), 5, drop_long)
    assert pairs.counts == expected
    folder = prepared(path, tmp_path / "prepared", config)
    assert folder.counts == expected
    jobs = [
        TrainingJob(CorpusSpec(str(name)).load(None), config, 0)
        for name in (path, tmp_path / "prepared")
    ]
    assert jobs[0].sizes == jobs[1].sizes
    assert jobs[0].sizes["train_long_pairs"] == 6
    assert jobs[0].sizes["train_unknown_source"] == round(1 / expected.source_tokens, 4)


@pytest.mark.parametrize("tokenizer", ["word", "sentencepiece"])
def test_vocabularies_are_learned_from_what_is_kept(tokenizer, tmp_path, phrasebook):
    options = {"min_freq": 1} if tokenizer == "word" else {"vocab_size": 60}
    config = s2s.TrainingConfig(tokenizer=tokenizer, num_steps=60, drop_long=True, **options)
    # Letters that only pairs have that are too long.
    long = [("ζ θ " * 80, "ж щ " * 80)] * 20
    short = list(zip(phrasebook.source, phrasebook.target, strict=True))[:200]
    path = write(tmp_path / "pairs.tsv", long + short)
    expected = make_tokenizers(config, s2s.ParallelCorpus(*map(list, zip(*short, strict=True))))
    vocabularies = {
        "in memory": make_tokenizers(config, s2s.load_corpus(path)),
        "prepared": prepared(path, tmp_path / "prepared", config).tokenizers(),
    }
    for name, (source, target) in vocabularies.items():
        assert source.vocabulary == expected[0].vocabulary, name
        assert target.vocabulary == expected[1].vocabulary, name
    earlier = s2s.TrainingConfig(
        tokenizer=tokenizer, num_steps=60, drop_long=True, vocabulary_pairs="all", **options
    )
    for source, target in (
        make_tokenizers(earlier, s2s.load_corpus(path)),
        prepared(path, tmp_path / "all", earlier).tokenizers(),
    ):
        assert any("ζ" in token for token in source.vocabulary)
        assert any("щ" in token for token in target.vocabulary)


def test_corpora_prepared_by_earlier_versions(tmp_path, caplog):
    config = s2s.TrainingConfig(min_freq=1, num_steps=5, drop_long=True, **SIZES)
    path = write(tmp_path / "pairs.tsv", PAIRS)
    folder = tmp_path / "prepared"
    earlier = s2s.TrainingConfig(
        min_freq=1, num_steps=5, drop_long=True, vocabulary_pairs="all", **SIZES
    )
    prepared(path, folder, earlier)
    index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    del index["configuration"]["fields"]["vocabulary_pairs"]
    for entry in (*index["corpora"], *index["shards"]):
        del entry["counts"]
    (folder / "index.json").write_text(json.dumps(index), encoding="utf-8")
    corpus = PreparedCorpus(folder)
    assert corpus.counts is None
    resolved = resolve_for_corpus(config, corpus)
    assert resolved.vocabulary_pairs == "all"
    job = TrainingJob(corpus, resolved, 0)
    assert "train_long_pairs" not in job.sizes
    log_counts(resolved, training=job.counts["train"])
    assert not caplog.records
    # The same command repairs it, with the vocabularies that it had.
    (shard,) = folder.glob("*.tfrecord")
    content = shard.read_bytes()
    shard.write_bytes(b"")
    prepared(path, folder, config)
    assert shard.read_bytes() == content
    assert json.loads((folder / "index.json").read_text(encoding="utf-8")) == index


def messages(caplog, capsys, config, **splits):
    """Return the warnings, and the lines that are none."""
    caplog.clear()
    log_counts(config, **splits)
    assert all(record.levelno == logging.WARNING for record in caplog.records)
    return [record.getMessage() for record in caplog.records], capsys.readouterr().err


def test_warnings_begin_at_five_percent(caplog, capsys):
    config = s2s.TrainingConfig(num_steps=40, drop_long=True)
    few = TextCounts(1000, 49, 30, 40, 1000, 49, 1000, 49)
    warnings, info = messages(caplog, capsys, config, training=few, validation=None)
    assert warnings == []
    assert info.startswith("49 of 1,000 training pairs (30 sources, 40 targets) have more than 40")
    many = TextCounts(1000, 50, 30, 40, 1000, 50, 1000, 50)
    warnings, info = messages(caplog, capsys, config, training=many, validation=few)
    assert info == ""
    long, source, target = warnings
    assert "50 of 1,000 training pairs" in long
    assert "49 of 1,000 validation pairs" in long
    assert "dropped" in long
    assert "--no-drop-long" in long
    for side, text in (("source", source), ("target", target)):
        assert text.startswith(f"{side}: 5.0% of the training tokens and 4.9% of the validation")
        assert "--tokenizer sentencepiece" in text
        assert "--min-freq" in text
    subwords = s2s.TrainingConfig(tokenizer="sentencepiece")
    long, source, _ = messages(caplog, capsys, subwords, training=many)[0]
    assert "truncated" in long
    assert "--no-drop-long" not in long
    assert "--tokenizer" not in source
    assert messages(caplog, capsys, config, training=TextCounts(5)) == ([], "")


@pytest.fixture
def unique_words(tmp_path):
    """300 lines whose targets are a unique Chinese word and a full stop."""
    words = (chr(0x4E00 + i) + chr(0x5E00 + i) for i in range(300))
    return write(
        tmp_path / "unique.tsv", [(f"go {i % 7}", f"{word} 。") for i, word in enumerate(words)]
    )


def test_train_and_evaluate_tell_of_unknown_words(unique_words, tmp_path, capsys, caplog):
    run = tmp_path / "run"
    config = s2s.TrainingConfig(**SIZES)
    with caplog.at_level(logging.WARNING, "keras_s2s"):
        translator = s2s.train(str(unique_words), run, config)
    summary = "vocabularies of 12 (0.0% of tokens unknown) and 5 (50.0% of tokens unknown), "
    assert summary in capsys.readouterr().err
    (warning,) = (record.getMessage() for record in caplog.records)
    assert warning.startswith("target: 50.0% of the training tokens are <unk>")
    sizes = RunDirectory(run).read_record()["sizes"]
    assert (sizes["train_unknown_source"], sizes["train_unknown_target"]) == (0, 0.5)
    report = RunDirectory(run).report.read_text(encoding="utf-8")
    assert "unknown tokens 0.0% of the source, 50.0% of the target" in report
    scores = s2s.evaluate(translator, s2s.load_corpus(unique_words))
    assert (scores["unknown_source"], scores["unknown_target"]) == (0, 0.5)


@pytest.mark.parametrize(
    "options", [{"early_stopping": "loss"}, {"early_stopping": "chrf"}, {"lr_schedule": "plateau"}]
)
def test_few_validation_pairs_decide_nothing(options, tmp_path):
    pairs = [(f"a {i}", "x" if i % 3 else "x y z z") for i in range(100)]
    path = write(tmp_path / "pairs.tsv", pairs)
    config = s2s.TrainingConfig(
        min_freq=1, num_steps=5, drop_long=True, valid_fraction=0.1, **options, **SIZES
    )
    corpus = s2s.load_corpus(path)
    valid = corpus.split(0.1, 0, 0).valid
    dropped = sum(text != "x" for text in valid.target)
    assert len(valid) - dropped < 10
    with pytest.raises(InputError, match=rf"too few .*: {len(valid) - dropped}, after {dropped} "):
        s2s.train(str(path), tmp_path / "run", config)
    assert not (tmp_path / "run").exists()
