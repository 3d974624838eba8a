"""The LSTM loop without padding equals the loop with it."""

import numpy as np
import pytest
import tensorflow as tf

from keras_s2s.layers.fused_lstm import loop_lstm
from keras_s2s.layers.packed_lstm import packed_lstm

STEPS, FEATURES, UNITS = 6, 4, 3


def normal(seed, *shape):
    return tf.constant(np.random.default_rng(seed).normal(0, 0.8, shape), tf.float32)


WEIGHTS = tuple(
    normal(seed, *shape)
    for seed, shape in enumerate([(FEATURES, 4 * UNITS), (UNITS, 4 * UNITS), (4 * UNITS,)])
)


def make_arguments(batch):
    return normal(10, STEPS, batch, FEATURES), [normal(seed, batch, UNITS) for seed in (11, 12)]


@pytest.mark.parametrize(
    "lengths",
    [[6, 0, 3, 1, 6, 5], [2, 2, 2], [6], [1], [0], [0, 0], [], list(range(7)), [6, 5, 4, 3, 2, 1]],
)
@pytest.mark.parametrize("compiled", [False, True])
def test_results_equal_the_loop_at_valid_steps(lengths, compiled):
    inputs, initial = make_arguments(len(lengths))
    run = packed_lstm
    if compiled:
        run = tf.function(run, autograph=False, reduce_retracing=True)
    results = run(inputs, initial, WEIGHTS, tf.constant(lengths, tf.int32))
    expected = loop_lstm(inputs, initial, WEIGHTS)
    valid = np.arange(STEPS)[:, None] < np.array(lengths, int)
    for result, value in zip(results, expected, strict=True):
        assert result.shape == value.shape
        np.testing.assert_allclose(result.numpy()[valid], value.numpy()[valid], atol=1e-6)


def test_padding_is_never_read():
    lengths = tf.constant([2, 6, 0, 5])
    inputs, initial = make_arguments(4)
    padding = ~(tf.range(STEPS)[:, None] < lengths)
    # An empty sentence counts as one of length 1, whose result is undefined.
    spoiled = tf.where(padding[..., None], float("nan"), inputs)
    results = packed_lstm(spoiled, initial, WEIGHTS, lengths)
    for result in results:
        assert np.isfinite(result.numpy()[:, [0, 1, 3]]).all()


def test_products_have_one_row_per_token():

    @tf.function(autograph=False)
    def run(inputs, initial, lengths):
        product = tf.matmul

        def counted(left, right):
            count = tf.py_function(lambda value: row_counts.append(len(value)), [left], [])
            with tf.control_dependencies([count]):
                return product(left, right)

        tf.matmul = counted
        try:
            return packed_lstm(inputs, initial, WEIGHTS, lengths)
        finally:
            tf.matmul = product

    row_counts = []
    inputs, initial = make_arguments(4)
    run(inputs, initial, tf.constant([2, 6, 1, 5]))
    assert row_counts == [14, 4, 3, 2, 2, 2, 1]


def test_half_precision():
    lengths = tf.constant([2, 6, 0, 5])
    inputs, initial = make_arguments(4)
    results = packed_lstm(tf.cast(inputs, tf.bfloat16), initial, WEIGHTS, lengths)
    expected = packed_lstm(inputs, initial, WEIGHTS, lengths)
    for result, value in zip(results, expected, strict=True):
        assert result.dtype == tf.float32
        np.testing.assert_allclose(result, value, atol=0.05)
