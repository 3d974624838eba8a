"""Training steps whose loss or gradient is no number: named, kept for a look, left out."""

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
    """Looks after each call of the training function whether steps were left out in it.

    The step itself leaves the weights as they are where the norm of its gradient is infinite or no
    number (`keras_s2s.optimizers.FusedAdam`), so that nothing is spoilt before this is asked.

    Args:
        policy: `stop` ends the training, `skip` goes on without the step.
        num_batches: batches in an epoch.
        batch_as_text: gives the pairs of a batch, from the place where it comes.
        folder: gets a file of the pairs of each such batch.
    """

    # More of them in a row are no accident of some pairs.
    MOST_IN_A_ROW = 100
    MOST_FILES = 10

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
        self._left_out = self._in_a_row = self._files = self._batches = 0

    def on_train_begin(self, logs: Any = None) -> None:
        if self.model.skipped_steps is not None:
            self._left_out = int(tf.convert_to_tensor(self.model.skipped_steps.count))

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._batches = 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        made, self._batches = batch + 1 - self._batches, batch + 1
        skipped = self.model.skipped_steps
        if skipped is None:
            return
        left_out = int(tf.convert_to_tensor(skipped.count)) - self._left_out
        if not left_out:
            self._in_a_row = 0
            return
        self._left_out += left_out
        self._in_a_row += left_out if left_out == made else 0
        iteration = int(tf.convert_to_tensor(skipped.iteration))
        norm = float(tf.convert_to_tensor(skipped.norm))
        self._report(DataPosition(*divmod(iteration, self._num_batches)), norm)

    def _report(self, position: DataPosition, norm: float) -> None:
        what = (
            f"epoch {position.epoch + 1}, step {position.batch + 1}: the norm of the gradient "
            f"is {norm}"
        )
        if self._files < self.MOST_FILES:
            self._files += 1
            file = self._folder / f"nonfinite-{position.epoch + 1}-{position.batch + 1}.tsv"
            with (
                atomic_write(file) as aside,
                open(aside, "w", newline="", encoding="utf-8") as out,
            ):
                writer = csv.writer(out, delimiter="\t", lineterminator="\n")
                writer.writerows(self._batch_as_text(position))
            what += f", of the pairs in {file}"
        if self._in_a_row >= self.MOST_IN_A_ROW:
            raise InputError(
                f"{what}; it has been none for {self._in_a_row} steps, so begin anew with a lower "
                "--learning-rate or --global-clipnorm"
            )
        if self._policy == "stop":
            raise InputError(
                f"{what}; look at them, and begin anew with a lower --learning-rate, or leave such "
                "steps out with --resume --nonfinite skip"
            )
        log(f"{what}; left out")
