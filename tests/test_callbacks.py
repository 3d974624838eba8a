"""History, checkpoints and progress of a training run."""

import csv
import io
import sys
import types

import keras
import numpy as np
import pytest

from keras_s2s.callbacks import Checkpoints, HistoryFile, TrainingProgress, random_states
from keras_s2s.errors import InputError

LOGS = {"loss": 2.3456789, "accuracy": 0.5, "perplexity": 10.5, "tokens_per_second": 12345.678}


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_history(tmp_path):
    path = tmp_path / "history.csv"
    history = HistoryFile(path, [])
    history.on_train_begin()
    assert path.read_bytes() == b""
    for epoch in range(2):
        history.on_epoch_begin(epoch)
        history.on_epoch_end(epoch, LOGS | {"val_loss": 3.0, "val_accuracy": 0.25})
        # Each row is there as soon as its epoch is over.
        assert len(rows_of(path)) == epoch + 1
    first, second = rows_of(path)
    assert list(first) == [
        *("epoch", "loss", "accuracy", "perplexity", "tokens_per_second"),
        *("val_loss", "val_accuracy", "seconds"),
    ]
    assert (first["epoch"], second["epoch"]) == ("1", "2")
    assert first["loss"] == "2.34568"
    assert first["tokens_per_second"] == "12345.7"
    assert 0 <= float(second["seconds"]) < 1
    assert b"\r" not in path.read_bytes()


def test_history_goes_on_after_the_rows_it_is_given(tmp_path):
    path = tmp_path / "history.csv"
    path.write_text("epoch,loss,seconds\n1,2.5,1\n2,2.25,1\n3,2,1\n", encoding="utf-8")
    history = HistoryFile(path, rows_of(path)[:2])
    history.on_train_begin()
    # Killed here, the run still has the rows of the epochs behind it.
    assert [row["epoch"] for row in rows_of(path)] == ["1", "2"]
    history.on_epoch_begin(2)
    history.on_epoch_end(2, LOGS)
    assert [row["loss"] for row in rows_of(path)] == ["2.5", "2.25", "2.34568"]
    assert list(rows_of(path)[0]) == ["epoch", "loss", "seconds"]


def make_checkpoints(folder, model, epochs=10):
    checkpoints = Checkpoints(folder)
    checkpoints.set_model(model)
    checkpoints.set_params({"epochs": epochs})
    return checkpoints


def state_of(model):
    variables = [*model.variables, *model.optimizer.variables]
    return [np.array(variable) for variable in variables]


def equal(states, others):
    return all(np.array_equal(a, b) for a, b in zip(states, others, strict=True))


def test_checkpoints_hold_the_whole_state(tmp_path, make_model, batches):
    model = make_model(dropout=0.5)
    model.compile()
    assert random_states(model)
    model.fit(batches, epochs=1, verbose=0)
    make_checkpoints(tmp_path, model).save(1)
    saved = state_of(model)
    model.fit(batches, epochs=1, verbose=0)
    assert not equal(saved, state_of(model))
    assert not equal(saved[-1:], state_of(model)[-1:])

    other = make_model(dropout=0.5, seed=1)
    other.compile()
    assert Checkpoints.restore(tmp_path, other) == 1
    assert equal(saved, state_of(other))
    # Not only are they equal: they go on alike.
    other.fit(batches, epochs=1, verbose=0)
    assert equal(state_of(model), state_of(other))


def test_checkpoints_are_saved_from_time_to_time(tmp_path, make_model, monkeypatch):
    model = make_model()
    model.compile()
    now = [100.0]
    monkeypatch.setattr("keras_s2s.callbacks.time.perf_counter", lambda: now[0])
    checkpoints = make_checkpoints(tmp_path, model)
    for epoch in range(10):
        now[0] += 12
        checkpoints.on_epoch_end(epoch)
        if epoch == 4:
            assert [path.name for path in Checkpoints.files(tmp_path)] == [
                "epoch-000003.weights.h5"
            ]
    # The last two, and the last epoch's is one of them.
    names = [path.name for path in Checkpoints.files(tmp_path)]
    assert names == ["epoch-000009.weights.h5", "epoch-000010.weights.h5"]
    assert Checkpoints.newest(tmp_path) == 10


def test_newest_is_that_of_most_epochs(tmp_path):
    assert Checkpoints.newest(tmp_path / "missing") == 0
    for number in ("000009", "999999", "1000000", "copy-of-7"):
        (tmp_path / f"epoch-{number}.weights.h5").write_bytes(b"")
    assert Checkpoints.newest(tmp_path) == 1_000_000


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_taken(
    tmp_path, make_model, batches, capsys
):
    model = make_model()
    model.compile()
    checkpoints = make_checkpoints(tmp_path, model)
    checkpoints.save(1)
    saved = state_of(model)
    model.fit(batches, epochs=1, verbose=0)
    checkpoints.save(2)
    older, newer = Checkpoints.files(tmp_path)
    whole = newer.read_bytes()
    for damaged in (b"", b"text\n", whole[:-1000], whole[:100] + whole[1100:]):
        newer.write_bytes(damaged)
        assert Checkpoints.restore(tmp_path, model) == 1
        assert equal(saved, state_of(model))
        assert capsys.readouterr().err.startswith(f"{newer}: damaged, left out (")
    older.write_bytes(b"")
    with pytest.raises(InputError, match="no checkpoint can be loaded; begin anew"):
        Checkpoints.restore(tmp_path, model)


def test_a_checkpoint_of_another_model_is_none(tmp_path, make_model, capsys):
    small = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    make_checkpoints(tmp_path, small).save(1)
    model = make_model()
    model.compile()
    with pytest.raises(InputError, match="no checkpoint can be loaded"):
        Checkpoints.restore(tmp_path, model)
    assert "damaged, left out" in capsys.readouterr().err


def test_a_failed_save_leaves_the_others(tmp_path, make_model, monkeypatch):
    model = make_model()
    model.compile()
    checkpoints = make_checkpoints(tmp_path, model)
    checkpoints.save(1)
    checkpoints.save(2)

    def interrupt(self, path):
        path.write_bytes(b"half of it")
        raise KeyboardInterrupt

    monkeypatch.setattr(type(model), "save_weights", interrupt)
    with pytest.raises(KeyboardInterrupt):
        checkpoints.save(3)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "epoch-000001.weights.h5",
        "epoch-000002.weights.h5",
    ]


def go_through(progress, epochs):
    progress.on_train_begin()
    for epoch in range(epochs):
        progress.on_epoch_end(epoch, LOGS)
    progress.on_train_end()


def test_progress_without_a_terminal_is_a_line_now_and_then(tmp_path, capsys):
    go_through(TrainingProgress(45, tmp_path / "train.log"), 45)
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 12
    last = "epoch 45/45  loss 2.346  accuracy 0.500  12,346 tokens/s"
    assert err.splitlines()[-1] == last
    log = (tmp_path / "train.log").read_text(encoding="utf-8").splitlines()
    assert len(log) == 45
    assert log[-1] == last


def test_progress_of_a_short_training_is_a_line_an_epoch(tmp_path, capsys):
    go_through(TrainingProgress(3, tmp_path / "train.log"), 3)
    assert len(capsys.readouterr().err.splitlines()) == 3


def test_progress_on_a_terminal_is_a_bar(tmp_path, monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = types.MethodType(lambda self: True, terminal)
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    go_through(TrainingProgress(3, tmp_path / "train.log"), 3)
    assert "epoch 3/3" in terminal.getvalue()
    assert "loss 2.346  accuracy 0.500" in terminal.getvalue()
    assert terminal.getvalue().endswith("\x1b[?25h"), "the cursor is back"


def test_validation_loss_is_shown(tmp_path, capsys):
    progress = TrainingProgress(1, tmp_path / "train.log")
    progress.on_epoch_end(0, LOGS | {"val_loss": 3.21})
    assert "val_loss 3.210" in capsys.readouterr().err
