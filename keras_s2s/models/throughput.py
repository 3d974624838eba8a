"""Throughput in the logs of each epoch."""

import time
from typing import Any

import keras
import tensorflow as tf

from keras_s2s.metrics import TokenMean
from keras_s2s.models.replicas import has_several_workers


class TokensPerSecond(keras.callbacks.Callback):
    """Puts `tokens_per_second` into the logs of each epoch, and of its batches for who looks on.

    Counts the target tokens that are not padding, over the time from the beginning of the epoch
    to the end of its last training batch; validation is not part of it.

    Args:
        token_mean: the metric that has counted the epoch's tokens.
    """

    def __init__(self, token_mean: TokenMean) -> None:
        super().__init__()
        self._token_mean = token_mean
        self._began = 0.0
        self._ended = 0.0
        self._num_tokens = 0.0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._began = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        # Several workers would have to exchange their counts each time.
        if not has_several_workers(self.model.distribute_strategy):
            self._count()
            self._tell(logs)

    def on_test_begin(self, logs: Any = None) -> None:
        # Not at the end of the epoch, since validation resets the metrics before.
        if has_several_workers(self.model.distribute_strategy):
            self._count()

    def _count(self) -> None:
        self._num_tokens = float(tf.convert_to_tensor(self._token_mean.num_tokens))
        self._ended = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self._ended < self._began:
            self._count()
        self._tell(logs)

    def _tell(self, logs: dict[str, float] | None) -> None:
        if logs is not None and self._ended > self._began:
            logs["tokens_per_second"] = self._num_tokens / (self._ended - self._began)
