"""Dtypes of sums."""

from typing import Any

import tensorflow as tf


def sum_dtype(dtype: Any) -> tf.DType:
    """Return the dtype in which values of a floating-point dtype are added up.

    Half precision is too coarse for sums over a vocabulary, a batch or many steps.

    Args:
        dtype: a floating-point dtype, or its name.

    Example:

    >>> [sum_dtype(dtype).name for dtype in ("bfloat16", "float32", "float64")]
    ['float32', 'float32', 'float64']
    """
    return tf.float64 if tf.as_dtype(dtype) == tf.float64 else tf.float32
