"""History and progress of a training run."""

import csv
import io
import re
import sys
import types

import pytest

from keras_s2s.training.callbacks import HistoryFile, TrainingProgress

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
        # Each row is written at the end of its epoch.
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


def test_history_is_resumed(tmp_path):
    path = tmp_path / "history.csv"
    path.write_text("epoch,loss,seconds\n1,2.5,1\n2,2.25,1\n3,2,1\n", encoding="utf-8")
    history = HistoryFile(path, rows_of(path)[:2])
    history.on_train_begin()
    # Killed here, the run still has the rows of its completed epochs.
    assert [row["epoch"] for row in rows_of(path)] == ["1", "2"]
    history.on_epoch_begin(2)
    history.on_epoch_end(2, LOGS)
    assert [row["loss"] for row in rows_of(path)] == ["2.5", "2.25", "2.34568"]
    assert list(rows_of(path)[0]) == ["epoch", "loss", "seconds"]


def use_terminal(monkeypatch):
    """Replace stderr by a terminal of 100 columns; in the test, as pytest sets it before."""
    terminal = io.StringIO()
    terminal.isatty = types.MethodType(lambda self: True, terminal)
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    return terminal


def run_epochs(progress, epochs):
    progress.on_train_begin()
    for epoch in range(epochs):
        progress.on_epoch_end(epoch, LOGS)
    progress.on_train_end()


def test_progress_without_a_terminal_logs_some_epochs(tmp_path, capsys):
    run_epochs(TrainingProgress(45, tmp_path / "train.log"), 45)
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 12
    last = "epoch 45/45  loss 2.346  accuracy 0.500  12,346 tokens/s"
    assert err.splitlines()[-1] == last
    log = (tmp_path / "train.log").read_text(encoding="utf-8").splitlines()
    assert len(log) == 45
    assert log[-1] == last


def test_progress_of_a_short_training_logs_each_epoch(tmp_path, capsys):
    run_epochs(TrainingProgress(3, tmp_path / "train.log"), 3)
    assert len(capsys.readouterr().err.splitlines()) == 3


def test_progress_on_a_terminal_is_a_bar(tmp_path, monkeypatch):
    terminal = use_terminal(monkeypatch)
    run_epochs(TrainingProgress(3, tmp_path / "train.log"), 3)
    assert "epoch 3/3" in terminal.getvalue()
    assert "loss 2.346  accuracy 0.500" in terminal.getvalue()
    assert terminal.getvalue().endswith("\x1b[?25h"), "the cursor is back"


def test_the_bar_advances_with_the_batches(tmp_path, monkeypatch):
    use_terminal(monkeypatch)
    monkeypatch.setattr(TrainingProgress, "SECONDS", 0.0)
    progress = TrainingProgress(2, tmp_path / "train.log")
    progress.set_params({"steps": 4})
    updates = []
    monkeypatch.setattr(progress._bar, "update", lambda task, **fields: updates.append(fields))
    for epoch in range(2):
        progress.on_epoch_begin(epoch)
        for batch in (1, 3):
            progress.on_train_batch_end(batch, LOGS)
        progress.on_epoch_end(epoch, LOGS)
    assert [fields["completed"] for fields in updates] == [0.5, 0.99, 1, 1.5, 1.99, 2]
    assert [fields["epoch"] for fields in updates] == [1, 1, 1, 2, 2, 2]
    assert updates[0]["description"] == "loss 2.346  accuracy 0.500  12,346 tokens/s"


def test_remaining_time_of_long_epochs(tmp_path, monkeypatch):
    use_terminal(monkeypatch)
    progress = TrainingProgress(10, tmp_path / "train.log")
    progress.set_params({"steps": 10})
    clock = [0.0]
    progress._bar.get_time = lambda: clock[0]
    monkeypatch.setattr(TrainingProgress, "SECONDS", -1.0)
    progress.on_epoch_begin(0)
    # Further apart than rich's default estimate period.
    for batch in range(3):
        clock[0] += 100.0
        progress.on_train_batch_end(batch, {"loss": 1.0})
    [task] = progress._bar.tasks
    assert task.time_remaining == 100 * 97


@pytest.mark.parametrize(("columns", "has_throughput"), [(80, False), (120, True)])
def test_remaining_time_is_not_truncated(columns, has_throughput, tmp_path, monkeypatch):
    terminal = use_terminal(monkeypatch)
    monkeypatch.setenv("COLUMNS", str(columns))
    progress = TrainingProgress(300, tmp_path / "train.log")
    progress.on_train_begin()
    progress.on_epoch_end(298, LOGS | {"val_loss": 3.21})
    progress.close()
    last = re.sub(r"\x1b\[[\d;?]*\w", "", terminal.getvalue()).rstrip().splitlines()[-1]
    assert "val_loss 3.210" in last
    assert ("tokens/s" in last) == has_throughput
    assert re.search(r" -?[\d:-]+$", last)
    assert "…" not in last
    assert "tokens/s" in (tmp_path / "train.log").read_text(encoding="utf-8")


def test_validation_loss_is_shown(tmp_path, capsys):
    progress = TrainingProgress(1, tmp_path / "train.log")
    progress.on_epoch_end(0, LOGS | {"val_loss": 3.21})
    assert "val_loss 3.210" in capsys.readouterr().err
