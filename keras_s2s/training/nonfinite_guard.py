"""Reporting of training steps whose gradients are non-finite."""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from keras_s2s.data.batching import DataPosition
from keras_s2s.utils.console import log
from keras_s2s.utils.errors import InputError
from keras_s2s.utils.files import atomic_write


class NonFiniteGradientGuard(keras.callbacks.Callback):
    """Report the steps that the optimizer skipped because their gradients were non-finite.

    `keras_s2s.optimizers.FusedAdam` leaves the weights unchanged in such a step, so it is enough to
    check after each call of the training function. The policy `stop` ends the training, `skip`
    continues; the pairs of the batch are written to the folder.
    """

    # Consecutive skipped steps after which the training has diverged.
    MAX_CONSECUTIVE = 100
    MAX_FILES = 10

    def __init__(
        self,
        policy: str,
        num_batches: int,
        batch_as_text: Callable[[DataPosition], Sequence[tuple[str, str]]],
        folder: Path,
    ) -> None:
        super().__init__()
        self._policy, self._num_batches = policy, num_batches
        self._batch_as_text, self._folder = batch_as_text, folder
        self._skipped = self._consecutive = self._num_files = self._batch = 0

    def on_train_begin(self, logs: Any = None) -> None:
        if self.model.skipped_steps is not None:
            self._skipped = int(tf.convert_to_tensor(self.model.skipped_steps.count))

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._batch = 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        num_steps, self._batch = batch + 1 - self._batch, batch + 1
        skipped_steps = self.model.skipped_steps
        if skipped_steps is None:
            return
        skipped = int(tf.convert_to_tensor(skipped_steps.count)) - self._skipped
        if not skipped:
            self._consecutive = 0
            return
        self._skipped += skipped
        self._consecutive += skipped if skipped == num_steps else 0
        iteration = int(tf.convert_to_tensor(skipped_steps.iteration))
        norm = float(tf.convert_to_tensor(skipped_steps.norm))
        self._report(DataPosition(*divmod(iteration, self._num_batches)), norm)

    def _report(self, position: DataPosition, norm: float) -> None:
        epoch, step = position.epoch + 1, position.batch + 1
        message = f"epoch {epoch}, step {step}: the gradient norm is {norm}"
        if self._num_files < self.MAX_FILES:
            self._num_files += 1
            path = self._folder / f"nonfinite-{epoch}-{step}.tsv"
            with (
                atomic_write(path) as temporary,
                open(temporary, "w", newline="", encoding="utf-8") as file,
            ):
                writer = csv.writer(file, delimiter="\t", lineterminator="\n")
                writer.writerows(self._batch_as_text(position))
            message += f" for the pairs in {path}"
        if self._consecutive >= self.MAX_CONSECUTIVE:
            raise InputError(
                f"{message}; gradients were non-finite for {self._consecutive} consecutive steps; "
                "start over with a lower --learning-rate or --global-clipnorm"
            )
        if self._policy == "stop":
            raise InputError(
                f"{message}; check them and start over with a lower --learning-rate, or skip such "
                "steps with --resume --nonfinite skip"
            )
        log(f"{message}; step skipped")
