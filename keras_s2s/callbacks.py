"""What happens at the end of each epoch of a training run."""

import csv
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import keras
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from keras_s2s.files import written_aside

HISTORY_COLUMNS = ("epoch", "loss", "accuracy", "perplexity", "tokens_per_second")


class HistoryFile(keras.callbacks.Callback):
    """Writes a row of `history.csv` at the end of each epoch.

    Columns: epoch (from 1), loss (nats a target token), accuracy, perplexity, tokens_per_second,
    the same of the validation pairs with `val_` before, and the seconds the epoch took.

    Args:
        path: the file.
        rows: what to begin with: the rows of the epochs before the one resumed from.
    """

    def __init__(self, path: Path, rows: list[dict[str, str]]) -> None:
        super().__init__()
        self._path = path
        self._rows = rows
        self._file: TextIO | None = None
        self._writer: csv.DictWriter[str] | None = None
        self._began = 0.0

    def on_train_begin(self, logs: Any = None) -> None:
        self._file = open(self._path, "w", newline="", encoding="utf-8")

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._began = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        logs = logs or {}
        assert self._file is not None
        if self._writer is None:
            validation = [name for name in logs if name.startswith("val_")]
            columns = [*HISTORY_COLUMNS, *validation, "seconds"]
            self._writer = csv.DictWriter(self._file, columns, extrasaction="ignore")
            self._writer.writeheader()
            self._writer.writerows(self._rows)
        seconds = time.perf_counter() - self._began
        self._writer.writerow(
            {name: f"{value:.6g}" for name, value in {**logs, "seconds": seconds}.items()}
            | {"epoch": epoch + 1}
        )
        self._file.flush()

    def on_train_end(self, logs: Any = None) -> None:
        if self._file is not None:
            self._file.close()


class Checkpoints(keras.callbacks.Callback):
    """Saves the training state (weights, optimizer, random state) from time to time.

    Keras's `BackupAndRestore` writes its weights and its epoch to two files, which a kill in
    between leaves at odds. Here the epoch is part of the file's name, and the file is renamed
    into place when it is complete; the last two are kept.

    Args:
        folder: where the files go.
        seconds: how long to wait after one save before the next. Saving after each epoch would
            take longer than the epochs of a small model. The last epoch is saved in any case.
    """

    SUFFIX = ".weights.h5"

    def __init__(self, folder: Path, seconds: float = 30.0) -> None:
        super().__init__()
        self._folder = folder
        self._seconds = seconds
        self._last = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        is_last = epoch + 1 == self.params["epochs"]
        if is_last or time.perf_counter() - self._last >= self._seconds:
            self.save(epoch + 1)

    def save(self, epochs_done: int) -> None:
        with written_aside(self._folder / f"epoch-{epochs_done:06d}{self.SUFFIX}") as aside:
            self.model.save_weights(aside)
        for outdated in self.files(self._folder)[:-2]:
            outdated.unlink()
        self._last = time.perf_counter()

    @classmethod
    def files(cls, folder: Path) -> list[Path]:
        """The checkpoints in a folder, the newest last."""
        return sorted(folder.glob(f"epoch-*{cls.SUFFIX}"))

    @classmethod
    def restore(cls, folder: Path, model: keras.Model) -> int:
        """Loads the newest checkpoint; returns the number of epochs that it has behind it."""
        files = cls.files(folder)
        if not files:
            return 0
        model.load_weights(files[-1])
        return int(files[-1].name.removeprefix("epoch-").removesuffix(cls.SUFFIX))


class TrainingProgress(keras.callbacks.Callback):
    """Shows how far the training is: a bar on a terminal, else a line now and then.

    Args:
        epochs: how many there will be.
        log: a file that gets the lines as well.
    """

    LINES = 10

    def __init__(self, epochs: int, log: Path) -> None:
        super().__init__()
        self._epochs = epochs
        self._log_path = log
        console = Console(file=sys.stderr)
        self._bar = Progress(
            TextColumn("epoch {task.completed:.0f}/{task.total:.0f}"),
            BarColumn(),
            TextColumn("{task.description}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=epochs)

    def on_train_begin(self, logs: Any = None) -> None:
        self._bar.start()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        done, figures = epoch + 1, describe(logs or {})
        self._bar.update(self._task, completed=done, description=figures)
        line = f"epoch {done}/{self._epochs}  {figures}"
        with open(self._log_path, "a", encoding="utf-8") as log:
            log.write(line + "\n")
        shown = done == self._epochs or done % max(1, self._epochs // self.LINES) == 0
        if self._bar.disable and shown:
            print(line, file=sys.stderr, flush=True)

    def on_train_end(self, logs: Any = None) -> None:
        self._bar.stop()


def describe(logs: Mapping[str, float]) -> str:
    """The figures of an epoch in one line."""
    parts = [f"loss {logs['loss']:.3f}", f"accuracy {logs['accuracy']:.3f}"]
    if "val_loss" in logs:
        parts.append(f"val_loss {logs['val_loss']:.3f}")
    parts.append(f"{logs['tokens_per_second']:,.0f} tokens/s")
    return "  ".join(parts)
