"""What happens at the end of each epoch of a training run."""

import contextlib
import csv
import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

from keras_s2s.evaluation.metrics import make_metrics, score, sentence_statistics
from keras_s2s.translation.base import SentenceTranslator
from keras_s2s.utils.console import log, progress_bar
from keras_s2s.utils.files import atomic_write

HISTORY_COLUMNS = ("epoch", "loss", "accuracy", "perplexity", "tokens_per_second")


class HistoryFile(keras.callbacks.Callback):
    """Writes a row of `history.csv` at the end of each epoch.

    Columns: epoch (from 1), loss (nats a target token), accuracy, perplexity, tokens_per_second,
    the same of the validation pairs with `val_` before, and the seconds the epoch took.

    Args:
        path: the file.
        rows: what to begin with: the rows of the epochs before the one resumed from.
        seconds: what the first epoch took already, before it was interrupted.
    """

    def __init__(self, path: Path, rows: list[dict[str, str]], seconds: float = 0.0) -> None:
        super().__init__()
        self._path = path
        self._rows = rows
        self._seconds = seconds
        self._columns: list[str] = []
        self._began = 0.0

    def on_train_begin(self, logs: Any = None) -> None:
        # Rows of epochs that will be done again have to go, but not before the others are safe.
        with atomic_write(self._path) as aside:
            aside.touch()
            if self._rows:
                self._columns = list(self._rows[0])
                self._append(aside, self._rows, header=True)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._began = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        seconds = self._seconds + time.perf_counter() - self._began
        self._seconds = 0.0
        figures = {**(logs or {}), "seconds": seconds}
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


class TrainingProgress(keras.callbacks.Callback):
    """Shows how far the training is: a bar on a terminal, else a line now and then.

    The bar moves with the batches, and has the figures of the epoch so far and the time that is
    left of the whole training.

    Args:
        epochs: how many there will be.
        log: a file that gets a line for each epoch.
    """

    LINES = 10
    # Between two looks of the bar.
    SECONDS = 0.2
    # Characters of the bar.
    BAR = 12

    def __init__(self, epochs: int, log: Path) -> None:
        super().__init__()
        self._epochs = epochs
        self._log_path = log
        self._bar = progress_bar(
            TextColumn("epoch {task.fields[epoch]}/{task.total:.0f}"),
            BarColumn(bar_width=self.BAR),
            TextColumn("{task.description}"),
            TimeRemainingColumn(),
        )
        # Of the last ten minutes, since an epoch may take longer than rich's usual half a minute.
        self._bar.speed_estimate_period = 600.0
        self._task = self._bar.add_task("", total=epochs, epoch=0)
        self._epoch = 0
        self._shown = 0.0

    def on_train_begin(self, logs: Any = None) -> None:
        self._bar.start()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        now = time.perf_counter()
        if self._bar.disable or now - self._shown < self.SECONDS:
            return
        self._shown = now
        share = (batch + 1) / (self.params.get("steps") or batch + 1)
        # An epoch is over when it is written down, and validation is still to come.
        self._show(self._epoch + min(share, 0.99), logs or {})

    def _show(self, completed: float, logs: Mapping[str, float]) -> None:
        epoch, figures = math.ceil(completed), format_logs(logs)
        others = f"epoch {epoch}/{self._epochs} {'━' * self.BAR}  0:00:00"
        if len(others) + len(figures) > self._bar.console.width:
            # rich would cut off the time that is left.
            figures = format_logs(
                {name: logs[name] for name in logs if name != "tokens_per_second"}
            )
        self._bar.update(self._task, completed=completed, description=figures, epoch=epoch)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        done = epoch + 1
        self._show(done, logs or {})
        line = f"epoch {done}/{self._epochs}  {format_logs(logs or {})}"
        with open(self._log_path, "a", encoding="utf-8") as file:
            file.write(line + "\n")
        shown = done == self._epochs or done % max(1, self._epochs // self.LINES) == 0
        if self._bar.disable and shown:
            log(line)

    def on_train_end(self, logs: Any = None) -> None:
        self.close()

    def close(self) -> None:
        """Leaves the terminal as a message needs it, also when the training is interrupted."""
        self._bar.stop()


def format_logs(logs: Mapping[str, float]) -> str:
    """The figures of an epoch, or of the part of it that is over, in one line."""
    names = [name for name in ("loss", "accuracy", "val_loss") if name in logs]
    parts = [f"{name} {logs[name]:.3f}" for name in names]
    if "tokens_per_second" in logs:
        parts.append(f"{logs['tokens_per_second']:,.0f} tokens/s")
    return "  ".join(parts)


class ValidationScores(keras.callbacks.Callback):
    """Puts `val_bleu` and `val_chrf` into the logs of each epoch.

    They are sacreBLEU's, of greedy search, without regard to case, from 0 to 100. Where the
    optimizer keeps a moving average of the weights, that is what is scored.

    Args:
        translator: made of the model that is trained.
        sources: sentences to translate.
        references: of each of them one or more translations.
        samples: a file that gets some of the translations of each epoch, tab-separated: epoch,
            source, translation, first reference.
        num_samples: how many.
    """

    def __init__(
        self,
        translator: SentenceTranslator,
        sources: list[str],
        references: list[list[str]],
        samples: Path | None = None,
        num_samples: int = 10,
    ) -> None:
        super().__init__()
        self._translator = translator
        self._sources = sources
        self._references = references
        self._samples = samples
        self._num_samples = num_samples

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        with ema_weights(self.model):
            translations = self._translator.translate(self._sources)
        for name, metric in make_metrics().items():
            counts = sentence_statistics(metric, translations, self._references)
            if logs is not None:
                logs[f"val_{name}"] = score(metric, counts)
        if self._samples is not None:
            self._write_samples(self._samples, epoch + 1, translations[: self._num_samples])

    def _write_samples(self, path: Path, epoch: int, translations: list[str]) -> None:
        columns = self._sources, translations, (texts[0] for texts in self._references)
        with open(path, "a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, delimiter="\t", lineterminator="\n")
            # The translations are the fewest; there are that many rows.
            writer.writerows((epoch, *row) for row in zip(*columns, strict=False))


@contextlib.contextmanager
def ema_weights(model: keras.Model) -> Iterator[None]:
    """Gives a model the moving average of its weights for a while, where there is one."""
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    if not optimizer.use_ema:
        yield
        return
    weights = [weight.numpy() for weight in model.trainable_variables]
    optimizer.finalize_variable_values(model.trainable_variables)
    try:
        yield
    finally:
        for variable, weight in zip(model.trainable_variables, weights, strict=True):
            variable.assign(weight)
