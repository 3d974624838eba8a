"""What happens at the end of each epoch of a training run."""

import csv
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import keras
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

from keras_s2s.console import progress_bar, say
from keras_s2s.errors import InputError
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
        self._columns: list[str] = []
        self._began = 0.0

    def on_train_begin(self, logs: Any = None) -> None:
        # Rows of epochs that will be done again have to go, but not before the others are safe.
        with written_aside(self._path) as aside:
            aside.touch()
            if self._rows:
                self._columns = list(self._rows[0])
                self._append(aside, self._rows, header=True)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._began = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        figures = {**(logs or {}), "seconds": time.perf_counter() - self._began}
        row = {name: f"{value:.6g}" for name, value in figures.items()} | {"epoch": str(epoch + 1)}
        is_first = not self._columns
        if is_first:
            validation = [name for name in figures if name.startswith("val_")]
            self._columns = [*HISTORY_COLUMNS, *validation, "seconds"]
        self._append(self._path, [row], header=is_first)

    def _append(self, path: Path, rows: list[dict[str, str]], header: bool) -> None:
        # Opened for each row: there is no file to close when the training is interrupted.
        with open(path, "a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self._columns, extrasaction="ignore", lineterminator="\n")
            if header:
                writer.writeheader()
            writer.writerows(rows)


class Checkpoints(keras.callbacks.Callback):
    """Saves the training state (weights, optimizer, random state) from time to time.

    Keras's `BackupAndRestore` writes its weights and its epoch to two files, which a kill in
    between leaves at odds, and leaves out the random state, so that dropout would begin anew.
    Here the epoch is part of the file's name, and the file is renamed into place when it is
    complete; the last two are kept.

    Args:
        folder: where the files go.
    """

    # How long to wait after one save before the next: saving after each epoch would take longer
    # than the epochs of a small model. The last epoch is saved in any case.
    SECONDS = 30.0
    PREFIX = "epoch-"
    SUFFIX = ".weights.h5"
    RANDOM_STATE = "random_state"

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._last = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        is_last = epoch + 1 == self.params["epochs"]
        if is_last or time.perf_counter() - self._last >= self.SECONDS:
            self.save(epoch + 1)

    def save(self, epochs_done: int) -> None:
        """Writes a checkpoint and removes those that are out of date."""
        name = f"{self.PREFIX}{epochs_done:06d}{self.SUFFIX}"
        with written_aside(self._folder / name) as aside:
            self.model.save_weights(aside)
            with h5py.File(aside, "a") as file:
                for index, state in enumerate(random_states(self.model)):
                    file[f"{self.RANDOM_STATE}/{index}"] = state.numpy()
        for outdated in self.files(self._folder)[:-2]:
            outdated.unlink()
        self._last = time.perf_counter()

    @classmethod
    def files(cls, folder: Path) -> list[Path]:
        """The checkpoints in a folder, the newest last."""
        return sorted(folder.glob(f"{cls.PREFIX}*{cls.SUFFIX}"), key=cls._epochs_done)

    @classmethod
    def newest(cls, folder: Path) -> int:
        """The epochs that the newest checkpoint has behind it; 0 when there is none."""
        files = cls.files(folder)
        return cls._epochs_done(files[-1]) if files else 0

    @classmethod
    def _epochs_done(cls, file: Path) -> int:
        number = file.name.removeprefix(cls.PREFIX).removesuffix(cls.SUFFIX)
        return int(number) if number.isdecimal() else 0

    @classmethod
    def restore(cls, folder: Path, model: keras.Model) -> int:
        """Loads the newest checkpoint that is whole; returns the epochs it has behind it.

        Raises:
            InputError: there are checkpoints, but none can be loaded.
        """
        damaged: list[Path] = []
        for file in reversed(cls.files(folder)):
            try:
                model.load_weights(file)
                with h5py.File(file, "r") as content:
                    for index, state in enumerate(random_states(model)):
                        state.assign(content[f"{cls.RANDOM_STATE}/{index}"][()])
            # What Keras and h5py raise depends on the byte that is wrong.
            except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
                say(f"{file}: damaged, left out ({' '.join(str(error).split())[:100]})")
                damaged.append(file)
            else:
                return cls._epochs_done(file)
        if damaged:
            raise InputError(f"{folder}: no checkpoint can be loaded; begin anew with --overwrite")
        return 0


def random_states(model: keras.Model) -> list[keras.Variable]:
    """The states of the random generators in a model (for dropout), which Keras does not save."""
    weights = {id(weight) for weight in model.weights}
    return [variable for variable in model.variables if id(variable) not in weights]


class TrainingProgress(keras.callbacks.Callback):
    """Shows how far the training is: a bar on a terminal, else a line now and then.

    Args:
        epochs: how many there will be.
        log: a file that gets a line for each epoch.
    """

    LINES = 10

    def __init__(self, epochs: int, log: Path) -> None:
        super().__init__()
        self._epochs = epochs
        self._log_path = log
        self._bar = progress_bar(
            TextColumn("epoch {task.completed:.0f}/{task.total:.0f}"),
            BarColumn(),
            TextColumn("{task.description}"),
            TimeRemainingColumn(),
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
            say(line)

    def on_train_end(self, logs: Any = None) -> None:
        self.close()

    def close(self) -> None:
        """Leaves the terminal as a message needs it, also when the training is interrupted."""
        self._bar.stop()


def describe(logs: Mapping[str, float]) -> str:
    """The figures of an epoch in one line."""
    parts = [f"loss {logs['loss']:.3f}", f"accuracy {logs['accuracy']:.3f}"]
    if "val_loss" in logs:
        parts.append(f"val_loss {logs['val_loss']:.3f}")
    parts.append(f"{logs['tokens_per_second']:,.0f} tokens/s")
    return "  ".join(parts)
