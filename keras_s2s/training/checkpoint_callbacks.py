"""Callbacks that save checkpoints, stop on request, and resume in the middle of an epoch."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import keras

from keras_s2s.data.batching import DataPosition
from keras_s2s.training.checkpoints import CheckpointFolder, TrainingState, callback_state
from keras_s2s.training.distribution import Workers
from keras_s2s.utils.errors import InputError
from keras_s2s.utils.files import check_writable, remove_stale_temporaries
from keras_s2s.utils.signals import GracefulShutdown, Interrupted


class ResumeEpoch(keras.callbacks.Callback):
    """Resume in the middle of an epoch: restore its metrics, and skip its completed batches.

    Has to be the first callback of `fit`.

    Args:
        state: the state to resume from.
    """

    def __init__(self, state: TrainingState) -> None:
        super().__init__()
        self._state = state
        self._epoch = -1
        self._start = self._end = 0.0
        self._num_tokens = 0.0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch = epoch
        self._start = self._end = time.perf_counter()
        if not self._is_resumed_epoch():
            return
        for variable, value in zip(self.model.metrics_variables, self._state.metrics, strict=True):
            variable.assign(value)
        batch, steps = self._state.position.batch, self.model.steps_per_execution
        if batch % steps:
            raise InputError(
                f"the checkpoint is at batch {batch} of an epoch, not a multiple of the {steps} "
                "steps per execution; start over with --overwrite"
            )
        self.model.train_function = _SkipCalls(self.model, batch // steps)

    def _is_resumed_epoch(self) -> bool:
        return self._epoch == self._state.position.epoch and self._state.position.batch > 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self._is_resumed_epoch():
            self._num_tokens = float(self.model.accuracy_metric.num_tokens.numpy())
            self._end = time.perf_counter()
            self._set_throughput(logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._set_throughput(logs)

    def _set_throughput(self, logs: dict[str, float] | None) -> None:
        if self._is_resumed_epoch() and logs is not None:
            seconds = self._state.seconds + self._end - self._start
            logs["tokens_per_second"] = self._num_tokens / seconds


# WORKAROUND(keras<=3.15.1): `fit` has `initial_epoch`, but starts every epoch at batch 0.
class _SkipCalls:
    """A training function that does nothing for its first calls, then is the model's again."""

    def __init__(self, model: keras.Model, num_calls: int) -> None:
        self._model, self._num_calls = model, num_calls
        self._train_function: Callable[[Any], Any] = model.train_function
        self._logs = model.get_metrics_result()

    def __call__(self, iterator: Any) -> Any:
        if not self._num_calls:
            self._model.train_function = self._train_function
            return self._train_function(iterator)
        self._num_calls -= 1
        return self._logs


class CheckpointCallback(keras.callbacks.Callback):
    """Save checkpoints at intervals, and stop the training after a signal.

    Has to be the last callback of `fit`.

    Args:
        folder: the checkpoints.
        callbacks: those with state; see `CALLBACK_ATTRIBUTES`.
        state: the state that training starts from.
        interval: batches between checkpoints; None for an interval in time, longer where saving
            is slow.
        shutdown: receives the signals.
        workers: those that train together; only the chief saves, and all stop when one is asked to.
        save_multiple: save only at multiples of this number of batches, where a run on one device
            with its steps per execution can resume.
    """

    # Minimum time between checkpoints: longer than an epoch of a small model. The end of training
    # is saved in any case.
    SECONDS = 30.0
    # Maximum share of the time spent on saving.
    SHARE = 0.02

    def __init__(
        self,
        folder: CheckpointFolder,
        callbacks: Sequence[keras.callbacks.Callback],
        state: TrainingState,
        interval: int | None,
        shutdown: GracefulShutdown,
        workers: Workers | None = None,
        save_multiple: int = 1,
    ) -> None:
        super().__init__()
        self._folder, self._callbacks, self._state = folder, callbacks, state
        self._interval, self._shutdown = interval, shutdown
        self._workers = Workers() if workers is None else workers
        self._signal_number: int | None = None  # of any worker
        self._save_multiple = save_multiple
        self._epoch = 0
        self._batch = 0
        self._batches_since_save = 0
        self._metrics: list[Any] = []
        self._save_end = self._epoch_start = time.perf_counter()
        self._save_seconds = 0.0

    def on_train_begin(self, logs: Any = None) -> None:
        if self._workers.is_chief:
            check_writable(self._folder.path)
            remove_stale_temporaries(self._folder.path)
        # After `on_train_begin` of the others, which resets their state.
        self._state.restore_callbacks(self._callbacks)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch, self._batch = epoch, 0
        self._epoch_start = time.perf_counter()
        if epoch == self._state.position.epoch:
            self._epoch_start -= self._state.seconds

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        num_steps, self._batch = batch + 1 - self._batch, batch + 1
        if self._position() <= self._state.position:  # skipped by `ResumeEpoch`
            return
        self._batches_since_save += num_steps
        if self._batch % self._save_multiple:
            return
        if self._is_due():
            self._save(self._position(), self._metric_values())
        self._stop_if_requested()

    def on_test_begin(self, logs: Any = None) -> None:
        # Validation resets and reuses the metrics.
        self._metrics = self._metric_values()

    def on_test_end(self, logs: Any = None) -> None:
        self._is_due()
        if self._signal_number is not None:
            self._save(self._position(), self._metrics)
            self._stop_if_requested()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        is_last = epoch + 1 == self.params["epochs"] or self.model.stop_training
        # The history has the epoch's row by now, so a failure below must not repeat the epoch.
        if is_last or self._is_due():
            self._epoch_start = time.perf_counter()
            self._save(DataPosition(epoch + 1), [])
        if not is_last:
            self._stop_if_requested()

    def _is_due(self) -> bool:
        """Return whether to save, and update the signal; a collective, equal on all workers."""
        if self._interval is not None:
            due = self._batches_since_save >= self._interval
        else:
            seconds = max(self.SECONDS, self._save_seconds / self.SHARE)
            due = time.perf_counter() - self._save_end >= seconds
        rows = self._workers.all_gather([self._shutdown.signal_number or 0, due])
        self._signal_number = int(rows[:, 0].max()) or None
        return self._signal_number is not None or bool(rows[0, 1])

    def _stop_if_requested(self) -> None:
        if self._signal_number is not None:
            self._workers.barrier()  # until the chief has saved
            raise Interrupted(self._signal_number)

    def _position(self) -> DataPosition:
        return DataPosition(self._epoch, self._batch)

    def _metric_values(self) -> list[Any]:
        return [variable.numpy().tolist() for variable in self.model.metrics_variables]

    def _save(self, position: DataPosition, metrics: list[Any]) -> None:
        start = time.perf_counter()
        states, best_weights = callback_state(self._callbacks)
        state = TrainingState(position, start - self._epoch_start, metrics, states, best_weights)
        if self._workers.is_chief:
            self._folder.save(self.model, state)
        self._save_end = time.perf_counter()
        self._save_seconds = self._save_end - start
        self._batches_since_save = 0
