"""The training run: the same again, gone on with, or as it was."""

import csv
import dataclasses
import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import keras_s2s as s2s
from keras_s2s.run_directory import git_revision
from keras_s2s.training.checkpoint_callbacks import CheckpointCallback
from keras_s2s.training.checkpoints import CheckpointFolder
from keras_s2s.training.train import CorpusSpec

# Dropout and several batches in another order each epoch: all that is random.
RECIPE = s2s.Recipe(
    embed_size=8,
    num_hiddens=8,
    num_layers=2,
    dropout=0.3,
    min_freq=1,
    batch_size=4,
    epochs=6,
)
TIMES = {"tokens_per_second", "seconds"}


@pytest.fixture(scope="module")
def choice(pairs_file):
    return CorpusSpec(str(pairs_file))


@pytest.fixture(scope="module")
def whole_run(choice, tmp_path_factory):
    """Six epochs in one go."""
    run_dir = tmp_path_factory.mktemp("whole") / "run"
    s2s.train(choice, run_dir, RECIPE, seed=1)
    return run_dir


def weights_of(run_dir):
    return s2s.Translator.load(run_dir / "model.keras").model.get_weights()


def history_of(run_dir):
    """The rows of the history, without what depends on the time."""
    with open(run_dir / "history.csv", newline="", encoding="utf-8") as file:
        return [
            {name: value for name, value in row.items() if name not in TIMES}
            for row in csv.DictReader(file)
        ]


def record_of(run_dir):
    return json.loads((run_dir / "run.json").read_text(encoding="utf-8"))


def assert_same_run(run_dir, other):
    for mine, theirs in zip(weights_of(run_dir), weights_of(other), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert history_of(run_dir) == history_of(other)


def contents(folder):
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def interrupt_after(monkeypatch):
    """Makes each epoch leave a checkpoint up to one epoch, and Ctrl-C come after another."""

    def interrupt(epoch, last_saved=None):
        saved = CheckpointCallback.on_epoch_end

        def on_epoch_end(self, index, logs=None):
            saved(self, index, logs)
            monkeypatch.setattr(
                CheckpointCallback, "SECONDS", 0.0 if index + 1 < last_saved else 1e9
            )
            if index + 1 == epoch:
                monkeypatch.setattr(CheckpointCallback, "on_epoch_end", saved)
                raise KeyboardInterrupt

        last_saved = epoch if last_saved is None else last_saved
        monkeypatch.setattr(CheckpointCallback, "SHARE", 1e9)
        monkeypatch.setattr(CheckpointCallback, "SECONDS", 0.0 if last_saved else 1e9)
        monkeypatch.setattr(CheckpointCallback, "on_epoch_end", on_epoch_end)

    return interrupt


def test_what_a_run_leaves(trained_run, pairs_file):
    assert {path.name for path in trained_run.iterdir()} == {
        *("model.keras", "run.json", "history.csv", "report.html", "samples.txt"),
        *("checkpoints", "logs"),
    }
    assert (trained_run / "logs" / "train.log").read_text(encoding="utf-8").count("\n") == 2
    rows = history_of(trained_run)
    assert list(rows[0]) == [
        *("epoch", "loss", "accuracy", "perplexity"),
        *("val_accuracy", "val_loss", "val_perplexity", "val_bleu", "val_chrf"),
    ]
    assert [row["epoch"] for row in rows] == ["1", "2"]
    record = record_of(trained_run)
    assert record.keys() == {
        *("corpus", "recipe", "seed", "devices", "sizes", "versions", "git"),
        *("started", "result", "finished"),
    }
    corpus = s2s.load_corpus(pairs_file)
    assert record["corpus"] == {
        "corpus": str(pairs_file),
        "reverse": False,
        "skip_bad_lines": False,
        "sha256": corpus.fingerprint(),
    }
    assert record["seed"] == 3
    assert record["git"] == git_revision()
    if importlib.util.find_spec("tensorboard"):
        assert list((trained_run / "logs" / "tensorboard").rglob("events.out.*"))
    assert record["recipe"]["epochs"] == 2
    assert record["recipe"]["valid_fraction"] == 0.2
    parts = corpus.split(0.2, 0.2, seed=0)
    assert [record["sizes"][f"{part}_pairs"] for part in ("train", "valid", "test")] == [
        len(part) for part in parts
    ]
    assert all(len(part) for part in parts)
    assert record["versions"]["tensorflow"] == tf.__version__
    assert record["result"]["loss"] == float(rows[-1]["loss"])
    assert record["started"] <= record["finished"]


def test_sizes_count_what_is_trained_on(choice, tmp_path):
    recipe = s2s.Recipe(
        embed_size=8, num_hiddens=8, min_freq=1, epochs=1, num_steps=5, drop_long=True
    )
    translator = s2s.train(choice, tmp_path / "run", recipe)
    corpus = choice.load(None)
    source, target = (
        [tokens.numpy().tolist() for tokens in tokenizer.tokenize(tf.constant(side))]
        for tokenizer, side in (
            (translator.source_tokenizer, corpus.source),
            (translator.target_tokenizer, corpus.target),
        )
    )
    kept = [len(t) for s, t in zip(source, target, strict=True) if len(s) <= 5 and len(t) <= 3]
    sizes = record_of(tmp_path / "run")["sizes"]
    assert 0 < len(kept) < len(corpus)
    assert sizes["train_pairs"] == len(kept)
    assert sizes["target_tokens_an_epoch"] == sum(kept) + len(kept)
    assert sizes["source_vocabulary"] == len(translator.source_tokenizer)
    assert sizes["parameters"] == translator.model.count_params()


def test_one_seed_gives_one_model(choice, whole_run, tmp_path):
    s2s.train(choice, tmp_path / "again", RECIPE, seed=1)
    assert_same_run(tmp_path / "again", whole_run)
    s2s.train(choice, tmp_path / "other", RECIPE, seed=2)
    assert history_of(tmp_path / "other") != history_of(whole_run)
    assert not np.array_equal(weights_of(tmp_path / "other")[0], weights_of(whole_run)[0])


@pytest.mark.parametrize(
    ("epoch", "last_saved"),
    [(5, 2), (2, 0)],
    ids=["past what was saved", "before anything was saved"],
)
def test_an_interrupted_run_ends_as_if_nothing_had_happened(
    epoch, last_saved, interrupt_after, choice, whole_run, tmp_path, capsys
):
    run_dir = tmp_path / "run"
    interrupt_after(epoch, last_saved)
    with pytest.raises(KeyboardInterrupt, match=f"run keeps {last_saved} of 6 epochs"):
        s2s.train(choice, run_dir, RECIPE, seed=1)
    assert len(history_of(run_dir)) == epoch
    assert CheckpointFolder(run_dir / "checkpoints").newest().epoch == last_saved
    assert not (run_dir / "model.keras").exists()
    assert "finished" not in record_of(run_dir)
    s2s.resume(run_dir)
    assert f"goes on after epoch {last_saved}\n" in capsys.readouterr().err
    assert_same_run(run_dir, whole_run)
    assert record_of(run_dir)["result"]["loss"] == record_of(whole_run)["result"]["loss"]


def test_a_run_that_was_killed_before_it_saved_its_model(choice, whole_run, tmp_path, monkeypatch):
    run_dir = tmp_path / "run"

    def kill(self, path):
        raise KeyboardInterrupt

    monkeypatch.setattr(s2s.Translator, "save", kill)
    with pytest.raises(KeyboardInterrupt):
        s2s.train(choice, run_dir, RECIPE, seed=1)
    monkeypatch.undo()
    s2s.resume(run_dir)
    assert_same_run(run_dir, whole_run)
    record = record_of(run_dir)
    assert record["result"]["loss"] == record_of(whole_run)["result"]["loss"]
    assert "finished" in record


def test_a_finished_run_can_have_more_epochs(interrupt_after, choice, whole_run, tmp_path, capsys):
    run_dir = tmp_path / "run"
    s2s.train(choice, run_dir, s2s.Recipe(**{**vars(RECIPE), "epochs": 2}), seed=1)
    before = contents(run_dir)
    translator = s2s.resume(run_dir)
    assert "has all its 2 epochs; give a larger number of --epochs" in capsys.readouterr().err
    assert translator.translate(["Go."]) == s2s.Translator.load(run_dir / "model.keras").translate(
        ["Go."]
    )
    assert contents(run_dir) == before
    # The number is kept when the run is interrupted once more.
    interrupt_after(4)
    with pytest.raises(KeyboardInterrupt, match="run keeps 4 of 6 epochs"):
        s2s.resume(run_dir, epochs=6)
    assert "finished" not in record_of(run_dir)
    s2s.resume(run_dir)
    assert_same_run(run_dir, whole_run)
    assert record_of(run_dir)["recipe"]["epochs"] == 6


def test_a_damaged_checkpoint_costs_its_epochs_only(interrupt_after, choice, whole_run, tmp_path):
    run_dir = tmp_path / "run"
    interrupt_after(4)
    with pytest.raises(KeyboardInterrupt):
        s2s.train(choice, run_dir, RECIPE, seed=1)
    newest = CheckpointFolder(run_dir / "checkpoints").all()[-1] / "variables.npz"
    newest.write_bytes(newest.read_bytes()[:-500])
    s2s.resume(run_dir)
    assert_same_run(run_dir, whole_run)


@pytest.fixture
def finished_run(trained_run, tmp_path):
    """A run that may be changed."""
    return Path(shutil.copytree(trained_run, tmp_path / "run"))


def test_a_corpus_that_has_moved(finished_run, pairs_file, tmp_path):
    moved = tmp_path / "moved.tsv"
    moved.write_bytes(pairs_file.read_bytes() + b"One.\tUn.\n")
    with pytest.raises(s2s.InputError, match="is not the one this run began with"):
        s2s.resume(finished_run, epochs=3, corpus=str(moved))
    assert record_of(finished_run)["recipe"]["epochs"] == 2
    moved.write_bytes(pairs_file.read_bytes())
    s2s.resume(finished_run, epochs=3, corpus=str(moved))
    assert len(history_of(finished_run)) == 3
    assert record_of(finished_run)["corpus"]["corpus"] == str(moved)
    assert record_of(finished_run)["recipe"]["epochs"] == 3


def test_overwriting_replaces_the_run(command, finished_run, pairs_file, tiny):
    (finished_run / "notes.txt").write_text("mine", encoding="utf-8")
    options = ["--run-dir", finished_run, *tiny, "--epochs", 1, "--overwrite"]
    assert command("train", pairs_file, *options).status == 0
    assert record_of(finished_run)["recipe"]["epochs"] == 1
    assert len(history_of(finished_run)) == 1
    assert [path.name for path in (finished_run / "checkpoints").iterdir()] == [
        "epoch-000001-batch-00000000"
    ]
    assert (finished_run / "notes.txt").read_text(encoding="utf-8") == "mine"


def test_progress_goes_to_stderr(command, pairs_file, tiny, tmp_path):
    options = ["--run-dir", tmp_path / "my run", *tiny, "--epochs", 2]
    outcome = command("train", pairs_file, *options)
    assert (outcome.status, outcome.out) == (0, "")
    pair, first, *epochs, result, page, model = outcome.err.splitlines()
    corpus = s2s.load_corpus(pairs_file)
    assert pair == f"the first pair: {corpus.source[0]!r} to {corpus.target[0]!r}"
    assert page.endswith(f"{tmp_path}/my run/report.html")
    assert first.startswith("24 pairs, vocabularies of ")
    assert first.endswith("target tokens an epoch, 2 epochs on the CPU")
    assert [line[:9] for line in epochs] == ["epoch 1/2", "epoch 2/2"]
    assert result.startswith("loss ")
    assert "nats per token" in result
    assert model.endswith(f"try: keras-s2s translate '{tmp_path}/my run' 'Go.'")


def test_the_same_command_with_resume_goes_on(command, interrupt_after, pairs_file, tiny, tmp_path):
    words = ["train", pairs_file, "--run-dir", tmp_path / "my run", "--epochs", 4, *tiny]
    interrupt_after(2)
    outcome = command(*words, "--seed", 5)
    assert (outcome.status, outcome.out) == (130, "")
    assert outcome.err.splitlines()[-1] == (
        f"keras-s2s: interrupted; {tmp_path}/my run keeps 2 of 4 epochs; resume with: "
        f"keras-s2s train {pairs_file} --run-dir '{tmp_path}/my run' --resume"
    )
    outcome = command(*words, "--seed", 5, "--preset", "chapter", "--resume")
    assert outcome.status == 0, outcome.err
    assert "goes on after epoch 2" in outcome.err
    assert len(history_of(tmp_path / "my run")) == 4


def test_an_epoch_of_many_batches_has_none_of_the_next(tmp_path):
    """More batches than one call of the training function takes, and a prime number of them."""
    lines = [f"{number} dogs\tchiens {number} .\n" for number in range(37)]
    (tmp_path / "pairs.tsv").write_text("".join(lines), encoding="utf-8")
    choice = CorpusSpec(str(tmp_path / "pairs.tsv"))
    recipe = dataclasses.replace(RECIPE, batch_size=1, num_layers=1, epochs=3)
    s2s.train(choice, tmp_path / "whole", recipe, seed=1)
    s2s.train(choice, tmp_path / "run", dataclasses.replace(recipe, epochs=1), seed=1)
    newest = CheckpointFolder(tmp_path / "run" / "checkpoints").all()[-1]
    with np.load(newest / "variables.npz") as arrays:
        assert 37 in [arrays[name] for name in arrays if not arrays[name].shape]  # steps
    s2s.resume(tmp_path / "run", epochs=3)
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_too_large_for_the_memory(choice, tmp_path, monkeypatch):
    def no_memory(*arguments, **options):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    monkeypatch.setattr(s2s.Seq2Seq, "compile", no_memory)
    with pytest.raises(s2s.InputError, match="not enough memory for this model; lower --num"):
        s2s.train(choice, tmp_path / "run", RECIPE)
    assert not (tmp_path / "run").exists()


def test_python_gets_the_same_checks(choice, tmp_path):
    with pytest.raises(s2s.InputError, match="seed is -1"):
        s2s.train(choice, tmp_path / "run", RECIPE, seed=-1)
    with pytest.raises(s2s.InputError, match="holds no run"):
        s2s.resume(tmp_path / "run")
    assert not (tmp_path / "run").exists()
