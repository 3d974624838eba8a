"""Throughput in the logs of each epoch."""

import time
from typing import Any

import keras
import tensorflow as tf

from keras_s2s.metrics import TokenMean
from keras_s2s.models.replicas import has_several_workers


class TokensPerSecond(keras.callbacks.Callback):
    """Add `tokens_per_second` to the logs of each epoch and of its batches.

    The throughput counts target tokens without padding, from the start of the epoch to the end of
    its last training batch, without validation.

    Args:
        token_mean: the metric that counts the epoch's tokens.
    """

    def __init__(self, token_mean: TokenMean) -> None:
        super().__init__()
        self._token_mean = token_mean
        self._start_time = 0.0
        self._end_time = 0.0
        self._num_tokens = 0.0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._start_time = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        # Several workers would have to exchange their counts for every batch.
        if not has_several_workers(self.model.distribute_strategy):
            self._measure()
            self._write(logs)

    def on_test_begin(self, logs: Any = None) -> None:
        # Before the end of the epoch, because validation resets the metrics.
        if has_several_workers(self.model.distribute_strategy):
            self._measure()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self._end_time < self._start_time:
            self._measure()
        self._write(logs)

    def _measure(self) -> None:
        self._num_tokens = float(tf.convert_to_tensor(self._token_mean.num_tokens))
        self._end_time = time.perf_counter()

    def _write(self, logs: dict[str, float] | None) -> None:
        seconds = self._end_time - self._start_time
        if logs is not None and seconds > 0:
            logs["tokens_per_second"] = self._num_tokens / seconds
