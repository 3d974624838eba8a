"""What several workers have to see alike, so that they decide alike."""

from typing import Any

import keras

from keras_s2s.training.distribution import Workers


class SyncLogsFromChief(keras.callbacks.Callback):
    """Gives all workers the figures of an epoch that the chief has.

    Speed differs, and processors of different makes may translate a sentence differently; early
    stopping on one worker alone would leave the others waiting for it.

    Args:
        workers: those that train together.
    """

    def __init__(self, workers: Workers) -> None:
        super().__init__()
        self._workers = workers

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if logs:
            names = sorted(logs)
            values = self._workers.of_chief([float(logs[name]) for name in names])
            logs.update(zip(names, values, strict=True))
