"""Metrics that are weighted by tokens, so that the value of an epoch is exact."""

from typing import Any

import keras
import tensorflow as tf

from keras_s2s.utils.dtypes import sum_dtype


@keras.saving.register_keras_serializable(package="keras_s2s")
class TokenMean(keras.metrics.Metric):
    """A mean over tokens.

    Keras's metrics weight the batches of `fit` by their number of examples, but batches of equally
    many sentences have different numbers of tokens. Sums are float32 or, on request or where
    Keras's `floatx` is that, float64: half precision cannot count beyond 2048.

    Example:

    >>> metric = TokenMean(name="loss")
    >>> metric.update_state(total=3.0, num_tokens=2)
    >>> metric.update_state(total=1.0, num_tokens=6)
    >>> float(metric.result())
    0.5
    """

    def __init__(self, name: str = "token_mean", dtype: Any = None, **kwargs: Any) -> None:
        policy = keras.dtype_policies.get(dtype or keras.config.floatx())
        super().__init__(name=name, dtype=sum_dtype(policy.compute_dtype).name, **kwargs)
        # Without a dtype, Keras takes `floatx`.
        options = {"initializer": "zeros", "dtype": self.dtype}
        self.total = self.add_variable((), name="total", **options)
        self.num_tokens = self.add_variable((), name="num_tokens", **options)

    def update_state(self, total: Any, num_tokens: Any) -> None:
        """Add the sum of a quantity over `num_tokens` tokens."""
        self.total.assign_add(tf.cast(total, self.dtype))
        self.num_tokens.assign_add(tf.cast(num_tokens, self.dtype))

    def result(self) -> tf.Tensor:
        return tf.math.divide_no_nan(
            tf.convert_to_tensor(self.total), tf.convert_to_tensor(self.num_tokens)
        )


@keras.saving.register_keras_serializable(package="keras_s2s")
class Perplexity(TokenMean):
    """The exponential of the mean loss per token; `update_state` takes the sum of the losses.

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
