"""Metrics that are summed by token, so that the figure of an epoch is exact."""

import time
from typing import Any

import keras
import tensorflow as tf

from keras_s2s.replicas import has_several_workers


@keras.saving.register_keras_serializable(package="keras_s2s")
class TokenMean(keras.metrics.Metric):
    """A mean over tokens.

    Keras's own metrics weight the batches of `fit` by their number of examples, though batches
    with the same number of sentences hold different numbers of tokens.

    Example:

    >>> metric = TokenMean(name="loss")
    >>> metric.update_state(total=3.0, num_tokens=2)
    >>> metric.update_state(total=1.0, num_tokens=6)
    >>> float(metric.result())
    0.5
    """

    def __init__(self, name: str = "token_mean", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.total = self.add_variable((), initializer="zeros", name="total")
        self.num_tokens = self.add_variable((), initializer="zeros", name="num_tokens")

    def update_state(self, total: Any, num_tokens: Any) -> None:
        """Adds the sum of a quantity over `num_tokens` tokens."""
        self.total.assign_add(tf.cast(total, self.dtype))
        self.num_tokens.assign_add(tf.cast(num_tokens, self.dtype))

    def result(self) -> tf.Tensor:
        return tf.math.divide_no_nan(
            tf.convert_to_tensor(self.total), tf.convert_to_tensor(self.num_tokens)
        )


@keras.saving.register_keras_serializable(package="keras_s2s")
class Perplexity(TokenMean):
    """The exponential of the mean loss of a token: `update_state` takes the sum of the losses.

    Example:

    >>> metric = Perplexity()
    >>> metric.update_state(total=0.0, num_tokens=5)
    >>> float(metric.result())
    1.0
    """

    def __init__(self, name: str = "perplexity", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)

    def result(self) -> tf.Tensor:
        return tf.exp(super().result())


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
