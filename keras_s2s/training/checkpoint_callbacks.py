"""A training that is saved from time to time, ends when asked to, and goes on in an epoch."""

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


class ResumedEpoch(keras.callbacks.Callback):
    """Goes on in the middle of an epoch: with its sums so far, and after its batches so far.

    Of other callbacks of `fit` it has to be the first.

    Args:
        state: where the training goes on.
    """

    def __init__(self, state: TrainingState) -> None:
        super().__init__()
        self._state = state
        self._epoch = -1
        self._began = self._ended = 0.0
        self._tokens = 0.0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch = epoch
        self._began = self._ended = time.perf_counter()
        if not self._is_resumed():
            return
        for variable, value in zip(self.model.metrics_variables, self._state.metrics, strict=True):
            variable.assign(value)
        calls, rest = divmod(self._state.position.batch, self.model.steps_per_execution)
        if rest:
            raise InputError(
                f"the checkpoint is {self._state.position.batch} batches into an epoch, which is "
                f"no multiple of {self.model.steps_per_execution}; begin anew with --overwrite"
            )
        self.model.train_function = _AfterCalls(self.model, calls)

    def _is_resumed(self) -> bool:
        return self._epoch == self._state.position.epoch and self._state.position.batch > 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self._is_resumed():
            self._tokens = float(self.model.loss_metric.num_tokens.numpy())
            self._ended = time.perf_counter()
            self._tell(logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._tell(logs)

    def _tell(self, logs: dict[str, float] | None) -> None:
        if self._is_resumed() and logs is not None:
            seconds = self._state.seconds + self._ended - self._began
            logs["tokens_per_second"] = self._tokens / seconds


class _AfterCalls:
    """A model's training function that does nothing in its first calls, and then is as before."""

    def __init__(self, model: keras.Model, calls: int) -> None:
        self._model, self._calls = model, calls
        self._function: Callable[[Any], Any] = model.train_function
        self._logs = model.get_metrics_result()

    def __call__(self, iterator: Any) -> Any:
        if not self._calls:
            self._model.train_function = self._function
            return self._function(iterator)
        self._calls -= 1
        return self._logs


class CheckpointCallback(keras.callbacks.Callback):
    """Saves the state of the training every so often, and ends it when asked to.

    Of other callbacks of `fit` it has to be the last.

    Args:
        folder: where the checkpoints go.
        callbacks: those that remember something from epoch to epoch; see `MEMORY`.
        state: where the training begins.
        every: batches after which to save; None for some time, which is longer where saving takes
            long.
        request: what may ask to end.
        workers: those that train together; only the chief saves, and all end when one is asked to.
        at_a_time: batches after which a training on one device could save, which may go on with it.
    """

    # How long to wait after one save before the next: saving after each epoch would take longer
    # than the epochs of a small model. The last epoch is saved in any case.
    SECONDS = 30.0
    # Saving takes at most this share of the time.
    SHARE = 0.02

    def __init__(
        self,
        folder: CheckpointFolder,
        callbacks: Sequence[keras.callbacks.Callback],
        state: TrainingState,
        every: int | None,
        request: GracefulShutdown,
        workers: Workers | None = None,
        at_a_time: int = 1,
    ) -> None:
        super().__init__()
        self._folder, self._callbacks, self._state = folder, callbacks, state
        self._every, self._request = every, request
        self._workers = Workers() if workers is None else workers
        self._asked_to_end: int | None = None
        self._at_a_time = at_a_time
        self._epoch = 0
        self._batches = 0
        self._since_saved = 0
        self._metrics: list[Any] = []
        self._saved = self._began = time.perf_counter()
        self._took = 0.0

    def on_train_begin(self, logs: Any = None) -> None:
        if self._workers.is_chief:
            check_writable(self._folder.path)
            remove_stale_temporaries(self._folder.path)
        # After all others, which forget what they know when training begins.
        self._state.remember(self._callbacks)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch, self._batches = epoch, 0
        self._began = time.perf_counter()
        if epoch == self._state.position.epoch:
            self._began -= self._state.seconds

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        batches, self._batches = self._batches, batch + 1
        if self._position() <= self._state.position:  # not made, but passed over
            return
        self._since_saved += self._batches - batches
        if self._batches % self._at_a_time:
            return
        if self._is_due():
            self._save(self._position(), self._values())
        self._end_if_asked()

    def on_test_begin(self, logs: Any = None) -> None:
        # Validation counts with the same metrics.
        self._metrics = self._values()

    def on_test_end(self, logs: Any = None) -> None:
        self._is_due()
        if self._asked_to_end is not None:
            self._save(self._position(), self._metrics)
            self._end_if_asked()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        is_last = epoch + 1 == self.params["epochs"] or self.model.stop_training
        # Its row is in the history, so that it must not be done again because of what comes now.
        if is_last or self._is_due():
            self._began = time.perf_counter()
            self._save(DataPosition(epoch + 1), [])
        if not is_last:
            self._end_if_asked()

    def _is_due(self) -> bool:
        """Whether to save, and whether to end then; all workers find the same."""
        if self._every is not None:
            due = self._since_saved >= self._every
        else:
            wait = max(self.SECONDS, self._took / self.SHARE)
            due = time.perf_counter() - self._saved >= wait
        answers = self._workers.all_gather([self._request.signal_number or 0, due])
        self._asked_to_end = int(answers[:, 0].max()) or None
        return self._asked_to_end is not None or bool(answers[0, 1])

    def _end_if_asked(self) -> None:
        if self._asked_to_end is not None:
            self._workers.barrier()  # above all for the one that saves
            raise Interrupted(self._asked_to_end)

    def _position(self) -> DataPosition:
        return DataPosition(self._epoch, self._batches)

    def _values(self) -> list[Any]:
        return [variable.numpy().tolist() for variable in self.model.metrics_variables]

    def _save(self, position: DataPosition, metrics: list[Any]) -> None:
        began = time.perf_counter()
        known, best_weights = callback_state(self._callbacks)
        seconds = began - self._began
        state = TrainingState(position, seconds, metrics, known, best_weights)
        if self._workers.is_chief:
            self._folder.save(self.model, state)
        self._saved = time.perf_counter()
        self._took = self._saved - began
        self._since_saved = 0
