"""Training runs: reproducible, resumable, and safe from changes."""

import dataclasses
import importlib.util
import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from run_files import assert_equal_runs, history_of, weights_of

import keras_s2s as s2s
from keras_s2s.run_directory import RunDirectory, git_revision
from keras_s2s.training.checkpoint_callbacks import CheckpointCallback
from keras_s2s.training.checkpoints import CheckpointFolder
from keras_s2s.training.data_source import CorpusSpec

# Everything random: dropout, and another order of several batches in each epoch.
CONFIG = s2s.TrainingConfig(
    embed_size=8,
    num_hiddens=8,
    num_layers=1,
    embed_dropout=0.3,
    min_freq=1,
    batch_size=4,
    epochs=6,
)


@pytest.fixture(scope="module")
def corpus(pairs_file):
    return CorpusSpec(str(pairs_file))


@pytest.fixture(scope="module")
def whole_run(corpus, tmp_path_factory):
    """Six uninterrupted epochs. Read-only."""
    run_dir = tmp_path_factory.mktemp("whole") / "run"
    s2s.train(corpus, run_dir, CONFIG, seed=1)
    return run_dir


def record_of(run_dir):
    return json.loads((run_dir / "run.json").read_text(encoding="utf-8"))


def contents(folder):
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def interrupt_after(monkeypatch):
    """Save each epoch up to `last_saved`, and raise KeyboardInterrupt after `epoch`."""

    def interrupt(epoch, last_saved=None):
        original = CheckpointCallback.on_epoch_end

        def on_epoch_end(self, index, logs=None):
            original(self, index, logs)
            monkeypatch.setattr(
                CheckpointCallback, "SECONDS", 0.0 if index + 1 < last_saved else 1e9
            )
            if index + 1 == epoch:
                monkeypatch.setattr(CheckpointCallback, "on_epoch_end", original)
                raise KeyboardInterrupt

        last_saved = epoch if last_saved is None else last_saved
        monkeypatch.setattr(CheckpointCallback, "SHARE", 1e9)
        monkeypatch.setattr(CheckpointCallback, "SECONDS", 0.0 if last_saved else 1e9)
        monkeypatch.setattr(CheckpointCallback, "on_epoch_end", on_epoch_end)

    return interrupt


def test_files_of_a_run(trained_run, pairs_file):
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
    assert [row["epoch"] for row in rows] == [1, 2]
    record = record_of(trained_run)
    assert record.keys() == {
        *("corpus", "recipe", "seed", "devices", "sizes", "versions", "git"),
        *("started", "result", "finished"),
    }
    pairs = s2s.load_corpus(pairs_file)
    assert record["corpus"] == {
        "corpus": str(pairs_file),
        "reverse": False,
        "skip_bad_lines": False,
        "sha256": pairs.fingerprint(),
    }
    assert record["seed"] == 3
    assert record["git"] == git_revision()
    if importlib.util.find_spec("tensorboard"):
        assert list((trained_run / "logs" / "tensorboard").rglob("events.out.*"))
    assert record["recipe"]["epochs"] == 2
    assert record["recipe"]["valid_fraction"] == 0.2
    splits = pairs.split(0.2, 0.2, seed=0)
    assert [record["sizes"][f"{name}_pairs"] for name in ("train", "valid", "test")] == [
        len(split) for split in splits
    ]
    assert all(len(split) for split in splits)
    assert record["versions"]["tensorflow"] == tf.__version__
    assert record["result"]["loss"] == rows[-1]["loss"]
    assert record["started"] <= record["finished"]


def test_sizes_count_training_pairs(corpus, tmp_path):
    config = s2s.TrainingConfig(
        embed_size=8, num_hiddens=8, min_freq=1, epochs=1, num_steps=5, drop_long=True
    )
    translator = s2s.train(corpus, tmp_path / "run", config)
    pairs = corpus.load(None)
    source, target = (
        [tokens.numpy().tolist() for tokens in tokenizer.tokenize(tf.constant(side))]
        for tokenizer, side in (
            (translator.source_tokenizer, pairs.source),
            (translator.target_tokenizer, pairs.target),
        )
    )
    kept = [len(t) for s, t in zip(source, target, strict=True) if len(s) <= 5 and len(t) <= 3]
    sizes = record_of(tmp_path / "run")["sizes"]
    assert 0 < len(kept) < len(pairs)
    assert sizes["train_pairs"] == len(kept)
    assert sizes["target_tokens_an_epoch"] == sum(kept) + len(kept)
    assert sizes["source_vocabulary"] == len(translator.source_tokenizer)
    assert sizes["parameters"] == translator.model.count_params()


def test_a_seed_determines_the_run(corpus, whole_run, tmp_path):
    s2s.train(corpus, tmp_path / "again", CONFIG, seed=np.int64(1))
    assert_equal_runs(tmp_path / "again", whole_run)
    s2s.train(corpus, tmp_path / "other", dataclasses.replace(CONFIG, epochs=1), seed=2)
    assert history_of(tmp_path / "other")[0] != history_of(whole_run)[0]
    assert not np.array_equal(weights_of(tmp_path / "other")[0], weights_of(whole_run)[0])


@pytest.mark.parametrize(
    ("epoch", "last_saved"),
    [(5, 2), (2, 0)],
    ids=["after a checkpoint", "without a checkpoint"],
)
def test_an_interrupted_run_equals_an_uninterrupted_one(
    epoch, last_saved, interrupt_after, corpus, whole_run, tmp_path, capsys
):
    run_dir = tmp_path / "run"
    interrupt_after(epoch, last_saved)
    with pytest.raises(KeyboardInterrupt, match=f"run keeps {last_saved} of 6 epochs"):
        s2s.train(corpus, run_dir, CONFIG, seed=1)
    assert len(history_of(run_dir)) == epoch
    assert CheckpointFolder(run_dir / "checkpoints").newest()[0] == last_saved
    assert not (run_dir / "model.keras").exists()
    assert "finished" not in record_of(run_dir)
    s2s.resume(run_dir)
    assert f"resuming after epoch {last_saved}\n" in capsys.readouterr().err
    assert_equal_runs(run_dir, whole_run)
    assert record_of(run_dir)["result"]["loss"] == record_of(whole_run)["result"]["loss"]


def test_a_run_killed_before_saving_its_model(corpus, whole_run, tmp_path, monkeypatch):
    run_dir = tmp_path / "run"

    def kill(self, path):
        raise KeyboardInterrupt

    monkeypatch.setattr(s2s.Translator, "save", kill)
    with pytest.raises(KeyboardInterrupt):
        s2s.train(corpus, run_dir, CONFIG, seed=1)
    monkeypatch.undo()
    s2s.resume(run_dir)
    assert_equal_runs(run_dir, whole_run)
    record = record_of(run_dir)
    assert record["result"]["loss"] == record_of(whole_run)["result"]["loss"]
    assert "finished" in record


def test_a_finished_run_can_be_extended(interrupt_after, corpus, whole_run, tmp_path, capsys):
    run_dir = tmp_path / "run"
    s2s.train(corpus, run_dir, dataclasses.replace(CONFIG, epochs=2), seed=1)
    before = contents(run_dir)
    translator = s2s.resume(run_dir)
    assert "has completed its 2 epochs" in capsys.readouterr().err
    assert translator.translate(["Go."]) == s2s.Translator.load(run_dir / "model.keras").translate(
        ["Go."]
    )
    assert contents(run_dir) == before
    # The new number is kept when the run is interrupted again.
    interrupt_after(4)
    with pytest.raises(KeyboardInterrupt, match="run keeps 4 of 6 epochs"):
        s2s.resume(run_dir, epochs=6)
    assert "finished" not in record_of(run_dir)
    s2s.resume(run_dir)
    assert_equal_runs(run_dir, whole_run)
    assert record_of(run_dir)["recipe"]["epochs"] == 6


def test_a_damaged_checkpoint_repeats_its_epochs(interrupt_after, corpus, whole_run, tmp_path):
    run_dir = tmp_path / "run"
    interrupt_after(4)
    with pytest.raises(KeyboardInterrupt):
        s2s.train(corpus, run_dir, CONFIG, seed=1)
    newest = CheckpointFolder(run_dir / "checkpoints").all()[-1] / "variables.npz"
    newest.write_bytes(newest.read_bytes()[:-500])
    s2s.resume(run_dir)
    assert_equal_runs(run_dir, whole_run)


@pytest.fixture
def finished_run(trained_run, tmp_path):
    """A copy of `trained_run`."""
    return Path(shutil.copytree(trained_run, tmp_path / "run"))


def test_a_moved_corpus(finished_run, pairs_file, tmp_path):
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


def test_a_run_directory_has_one_writer(corpus, finished_run, tmp_path):
    before = contents(finished_run)
    with RunDirectory(finished_run).lock():
        for call in (
            lambda: s2s.train(corpus, finished_run, CONFIG, overwrite=True),
            lambda: s2s.resume(finished_run, epochs=3),
        ):
            with pytest.raises(s2s.InputError, match=r"is writing there; .*--run-dir"):
                call()
    assert contents(finished_run) == before
    with pytest.raises(s2s.InputError, match="nowhere"):
        s2s.train("nowhere.tsv", tmp_path / "new", CONFIG)
    assert not (tmp_path / "new").exists()


def test_overwrite(command, finished_run, pairs_file, tiny):
    (finished_run / "notes.txt").write_text("of the user", encoding="utf-8")
    options = ["--run-dir", finished_run, *tiny, "--epochs", 1, "--overwrite"]
    assert command("train", pairs_file, *options).status == 0
    assert record_of(finished_run)["recipe"]["epochs"] == 1
    assert len(history_of(finished_run)) == 1
    assert [path.name for path in (finished_run / "checkpoints").iterdir()] == [
        "epoch-000001-batch-00000000"
    ]
    assert (finished_run / "notes.txt").read_text(encoding="utf-8") == "of the user"


def test_progress_goes_to_stderr(command, pairs_file, tiny, tmp_path):
    options = ["--run-dir", tmp_path / "my run", *tiny, "--epochs", 2]
    outcome = command("train", pairs_file, *options)
    assert (outcome.status, outcome.out) == (0, "")
    pair, summary, *epochs, result, report, model = outcome.err.splitlines()
    pairs = s2s.load_corpus(pairs_file)
    assert pair.endswith(f"first pair: {pairs.source[0]!r} to {pairs.target[0]!r}")
    assert f"{tmp_path}/my run/report.html" in report
    assert summary.startswith("24 pairs, vocabularies of ")
    assert summary.endswith(", 2 epochs on the CPU")
    assert [line[:9] for line in epochs] == ["epoch 1/2", "epoch 2/2"]
    assert result.startswith("loss ")
    hint, sentence = shlex.split(model)[-2:]
    assert model.endswith(f"keras-s2s translate '{tmp_path}/my run' {shlex.quote(sentence)}")
    assert (hint, sentence in pairs.source) == (f"{tmp_path}/my run", True)


def test_the_same_command_with_resume(command, interrupt_after, pairs_file, tiny, tmp_path):
    words = ["train", pairs_file, "--run-dir", tmp_path / "my run", "--epochs", 4, *tiny]
    interrupt_after(2)
    outcome = command(*words, "--seed", 5)
    assert (outcome.status, outcome.out) == (130, "")
    message = outcome.err.splitlines()[-1]
    assert message.startswith(f"keras-s2s: interrupted; {tmp_path}/my run keeps 2 of 4 epochs; ")
    assert message.endswith(
        f": keras-s2s train {pairs_file} --run-dir '{tmp_path}/my run' --resume"
    )
    outcome = command(*words, "--seed", 5, "--preset", "chapter", "--resume")
    assert outcome.status == 0, outcome.err
    assert "resuming after epoch 2" in outcome.err
    assert len(history_of(tmp_path / "my run")) == 4


def test_an_epoch_takes_no_batches_of_the_next(tmp_path):
    """A prime number of batches per epoch, more than the maximum of steps per execution."""
    lines = [f"{n} dogs\tchiens {n} .\n" for n in range(37)]
    (tmp_path / "pairs.tsv").write_text("".join(lines), encoding="utf-8")
    corpus = str(tmp_path / "pairs.tsv")
    config = dataclasses.replace(CONFIG, batch_size=1, epochs=3)
    s2s.train(corpus, tmp_path / "whole", config, seed=1)
    s2s.train(corpus, tmp_path / "run", dataclasses.replace(config, epochs=1), seed=1)
    newest = CheckpointFolder(tmp_path / "run" / "checkpoints").all()[-1]
    with np.load(newest / "variables.npz") as arrays:
        assert 37 in [arrays[name] for name in arrays if not arrays[name].shape]  # steps
    s2s.resume(tmp_path / "run", epochs=3)
    assert_equal_runs(tmp_path / "run", tmp_path / "whole")


def test_out_of_memory(corpus, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    monkeypatch.setattr(s2s.Seq2Seq, "compile", fail)
    with pytest.raises(s2s.InputError, match="not enough memory for this model"):
        s2s.train(corpus, tmp_path / "run", CONFIG)
    assert not (tmp_path / "run").exists()


def test_python_arguments_are_checked(corpus, tmp_path):
    with pytest.raises(s2s.InputError, match="seed is -1"):
        s2s.train(corpus, tmp_path / "run", CONFIG, seed=-1)
    with pytest.raises(s2s.InputError, match="holds no run"):
        s2s.resume(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_old_keyword_arguments(corpus, tmp_path):
    with pytest.raises(s2s.InputError, match="seed is -1"):
        s2s.train(choice=corpus, run_dir=tmp_path / "run", recipe=CONFIG, seed=-1, devices=None)
    with pytest.raises(s2s.InputError, match="holds no run"):
        s2s.resume(tmp_path / "run", devices=None)
