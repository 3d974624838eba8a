"""Callbacks that validate, record and display the epochs of a training run."""

import contextlib
import csv
import logging
import math
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

from keras_s2s.evaluation.metrics.level import answer_level, source_texts
from keras_s2s.evaluation.metrics.sacrebleu_scores import SacreBleuMetric, default_tokenization
from keras_s2s.evaluation.metrics.scorer import make_metrics
from keras_s2s.training.checkpoints import apply_ema, inner_optimizer
from keras_s2s.translation.base import SentenceTranslator
from keras_s2s.utils.console import log, pluralize, progress_bar
from keras_s2s.utils.files import atomic_write
from keras_s2s.utils.scores import FITTING_SCORES, SCORES

_logger = logging.getLogger("keras_s2s")

# Epochs with a score of zero before a warning.
ZERO_EPOCHS = 3

HISTORY_COLUMNS = ("epoch", "loss", "accuracy", "perplexity", "tokens_per_second")


class HistoryFile(keras.callbacks.Callback):
    """Append a row to `history.csv` after each epoch.

    Columns: epoch (from 1), loss (nats per target token), accuracy, perplexity, tokens_per_second,
    the validation metrics prefixed with `val_`, and the duration of the epoch in seconds. A resumed
    run starts with the rows of the completed epochs, and the seconds of the current one so far.
    """

    def __init__(self, path: Path, rows: list[dict[str, str]], seconds: float = 0.0) -> None:
        super().__init__()
        self._path = path
        self._rows = rows
        self._seconds = seconds
        self._columns: list[str] = []
        self._epoch_start = 0.0

    def on_train_begin(self, logs: Any = None) -> None:
        # Atomically drop the rows of epochs that will be repeated.
        with atomic_write(self._path) as temporary:
            temporary.touch()
            if self._rows:
                self._columns = list(self._rows[0])
                self._append(temporary, self._rows, header=True)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch_start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        seconds = self._seconds + time.perf_counter() - self._epoch_start
        self._seconds = 0.0
        values = {**(logs or {}), "seconds": seconds}
        row = {name: f"{value:.6g}" for name, value in values.items()} | {"epoch": str(epoch + 1)}
        is_first = not self._columns
        if is_first:
            validation = [name for name in values if name.startswith("val_")]
            self._columns = [*HISTORY_COLUMNS, *validation, "seconds"]
        self._append(self._path, [row], header=is_first)

    def _append(self, path: Path, rows: list[dict[str, str]], header: bool) -> None:
        # Opened for each row, so that an interruption leaves no open file.
        with open(path, "a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self._columns, extrasaction="ignore", lineterminator="\n")
            if header:
                writer.writeheader()
            writer.writerows(rows)


class TrainingProgress(keras.callbacks.Callback):
    """Show a progress bar on a terminal, else log about ten of the epochs; write all to a file."""

    LINES = 10
    # Minimum time between updates of the bar.
    SECONDS = 0.2
    BAR_WIDTH = 12

    def __init__(self, epochs: int, log: Path) -> None:
        super().__init__()
        self._epochs = epochs
        self._log_path = log
        self._bar = progress_bar(
            TextColumn("epoch {task.fields[epoch]}/{task.total:.0f}"),
            BarColumn(bar_width=self.BAR_WIDTH),
            TextColumn("{task.description}"),
            TimeRemainingColumn(),
        )
        # rich averages the speed over 30 seconds, in which long epochs show no progress.
        self._bar.speed_estimate_period = 600.0
        self._task = self._bar.add_task("", total=epochs, epoch=0)
        self._epoch = 0
        self._last_update = 0.0

    def on_train_begin(self, logs: Any = None) -> None:
        self._bar.start()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        now = time.perf_counter()
        if self._bar.disable or now - self._last_update < self.SECONDS:
            return
        self._last_update = now
        fraction = (batch + 1) / (self.params.get("steps") or batch + 1)
        # Validation and saving are still to come, so the epoch is not complete.
        self._update(self._epoch + min(fraction, 0.99), logs or {})

    def _update(self, completed: float, logs: Mapping[str, float]) -> None:
        epoch, description = math.ceil(completed), format_logs(logs)
        other_columns = f"epoch {epoch}/{self._epochs} {'━' * self.BAR_WIDTH}  0:00:00"
        if len(other_columns) + len(description) > self._bar.console.width:
            # Otherwise rich truncates the remaining time.
            description = format_logs(
                {name: logs[name] for name in logs if name != "tokens_per_second"}
            )
        self._bar.update(self._task, completed=completed, description=description, epoch=epoch)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        completed = epoch + 1
        self._update(completed, logs or {})
        line = f"epoch {completed}/{self._epochs}  {format_logs(logs or {})}"
        with open(self._log_path, "a", encoding="utf-8") as file:
            file.write(line + "\n")
        is_shown = completed % max(1, self._epochs // self.LINES) == 0 or completed == self._epochs
        if self._bar.disable and is_shown:
            log(line)

    def on_train_end(self, logs: Any = None) -> None:
        self.close()

    def close(self) -> None:
        """Stop updating the bar, and leave the cursor below it; also after an interruption."""
        self._bar.stop()


def format_logs(logs: Mapping[str, float]) -> str:
    """Return the main metrics of an epoch in one line."""
    names = [name for name in ("loss", "accuracy", "val_loss") if name in logs]
    values = [f"{name} {logs[name]:.3f}" for name in names]
    # Of words, the share that is wrong is what matters; BLEU of sentences is in the history.
    if (column := SCORES["wer"].column) in logs:
        values.append(f"{column} {logs[column]:.2f}")
    if "tokens_per_second" in logs:
        values.append(f"{logs['tokens_per_second']:,.0f} tokens/s")
    return "  ".join(values)


class ValidationScores(keras.callbacks.Callback):
    """Add the scores that fit the answers to the logs of each epoch.

    Those are `val_bleu` and `val_chrf` for sentences; for words `val_exact`, `val_wer` and
    `val_ter`; and the others of `also`, by name. They are of greedy search and in percent;
    `tokenize` and `lowercase` are as in `evaluate`. A score of sacreBLEU that is zero in each of
    the first epochs is warned about once. If the optimizer keeps an exponential moving average of
    the weights, it is used. The file `samples` gets the first translations of each epoch,
    tab-separated: epoch, source, translation, first reference.
    """

    def __init__(
        self,
        translator: SentenceTranslator,
        sources: list[str],
        references: list[list[str]],
        samples: Path | None = None,
        num_samples: int = 10,
        *,
        tokenize: str | None = None,
        lowercase: bool = True,
        also: Iterable[str] = (),
    ) -> None:
        super().__init__()
        flat = [text for texts in references for text in texts]
        self.tokenize = tokenize or default_tokenization(flat)
        tokenizer = getattr(translator, "target_tokenizer", None)
        level = answer_level(tokenizer, source_texts(translator, sources), flat)
        self._metrics = make_metrics(
            self.tokenize,
            lowercase,
            names=[*FITTING_SCORES[level], *also],
            level=level,
            tokenizer=tokenizer,
        )
        self._always_zero = {
            name for name, metric in self._metrics.items() if isinstance(metric, SacreBleuMetric)
        }
        self._num_epochs = 0
        self._translator = translator
        self._sources = sources
        self._references = references
        self._samples = samples
        self._num_samples = num_samples

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        with ema_weights(self.model):
            translations = self._translator.translate(self._sources)
        for name, metric in self._metrics.items():
            value = metric.score(metric.statistics(translations, self._references))
            if round(value, 2):
                self._always_zero.discard(name)
            if logs is not None:
                logs[SCORES[name].column] = value
        self._num_epochs += 1
        if self._num_epochs == ZERO_EPOCHS:
            self._warn_of_zeros()
        if self._samples is not None:
            self._write_samples(self._samples, epoch + 1, translations[: self._num_samples])

    def on_train_end(self, logs: Any = None) -> None:
        # Early stopping may have ended the training before the number of epochs to warn at.
        if 0 < self._num_epochs < ZERO_EPOCHS:
            self._warn_of_zeros()

    def _warn_of_zeros(self) -> None:
        names = [name for name in self._metrics if name in self._always_zero]
        if not names:
            return
        suitable = default_tokenization(text for row in self._references for text in row)
        if "chrf" in names or suitable == self.tokenize:
            advice = "no translation shares a word with its reference yet; look at some of them"
        else:
            advice = (
                f"sacreBLEU's {self.tokenize} does not split words of this script; give "
                f"--sacrebleu-tokenize {suitable}, or choose by --early-stopping chrf or loss"
            )
        _logger.warning(
            "%s 0 after each of %s: %s",
            " and ".join(SCORES[name].column for name in names),
            pluralize(self._num_epochs, "epoch"),
            advice,
        )

    def _write_samples(self, path: Path, epoch: int, translations: list[str]) -> None:
        columns = self._sources, translations, (texts[0] for texts in self._references)
        with open(path, "a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, delimiter="\t", lineterminator="\n")
            # The translations are the shortest column.
            writer.writerows((epoch, *row) for row in zip(*columns, strict=False))


@contextlib.contextmanager
def ema_weights(model: keras.Model) -> Iterator[None]:
    """Use the exponential moving average of the weights, if any, within a `with` block."""
    if not inner_optimizer(model).use_ema:
        yield
        return
    weights = [weight.numpy() for weight in model.trainable_variables]
    apply_ema(model)
    try:
        yield
    finally:
        for variable, weight in zip(model.trainable_variables, weights, strict=True):
            variable.assign(weight)
