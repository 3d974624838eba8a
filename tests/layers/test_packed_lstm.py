"""The LSTM loop without padding: the loop with it says what it should give."""

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


def given(batch):
    return normal(10, STEPS, batch, FEATURES), [normal(seed, batch, UNITS) for seed in (11, 12)]


@pytest.mark.parametrize(
    "lengths",
    [[6, 0, 3, 1, 6, 5], [2, 2, 2], [6], [1], [0], [0, 0], [], list(range(7)), [6, 5, 4, 3, 2, 1]],
)
@pytest.mark.parametrize("compiled", [False, True])
def test_it_equals_the_loop_with_padding_at_all_that_is_none(lengths, compiled):
    inputs, initial = given(len(lengths))
    run = packed_lstm
    if compiled:
        run = tf.function(run, autograph=False, reduce_retracing=True)
    found = run(inputs, initial, WEIGHTS, tf.constant(lengths, tf.int32))
    expected = loop_lstm(inputs, initial, WEIGHTS)
    valid = np.arange(STEPS)[:, None] < np.array(lengths, int)
    for part, wanted in zip(found, expected, strict=True):
        assert part.shape == wanted.shape
        np.testing.assert_allclose(part.numpy()[valid], wanted.numpy()[valid], atol=1e-6)


def test_padding_is_never_looked_at():
    lengths = tf.constant([2, 6, 0, 5])
    inputs, initial = given(4)
    padding = ~(tf.range(STEPS)[:, None] < lengths)
    # A sentence without a token counts as one with one, which nobody reads.
    spoiled = tf.where(padding[..., None], float("nan"), inputs)
    found = packed_lstm(spoiled, initial, WEIGHTS, lengths)
    for part in found:
        assert np.isfinite(part.numpy()[:, [0, 1, 3]]).all()


def test_the_rows_of_a_step_are_the_sentences_that_go_on():
    """What it is for: the products of all steps together have as many rows as there are tokens."""
    rows = []

    @tf.function(autograph=False)
    def run(inputs, initial, lengths):
        product = tf.matmul

        def counted(left, right):
            rows.append(tf.py_function(lambda value: taken.append(len(value)), [left], []))
            with tf.control_dependencies([rows[-1]]):
                return product(left, right)

        tf.matmul = counted
        try:
            return packed_lstm(inputs, initial, WEIGHTS, lengths)
        finally:
            tf.matmul = product

    taken = []
    inputs, initial = given(4)
    run(inputs, initial, tf.constant([2, 6, 1, 5]))
    assert taken == [14, 4, 3, 2, 2, 2, 1]


def test_half_precision():
    lengths = tf.constant([2, 6, 0, 5])
    inputs, initial = given(4)
    found = packed_lstm(tf.cast(inputs, tf.bfloat16), initial, WEIGHTS, lengths)
    expected = packed_lstm(inputs, initial, WEIGHTS, lengths)
    for part, wanted in zip(found, expected, strict=True):
        assert part.dtype == tf.float32
        np.testing.assert_allclose(part, wanted, atol=0.05)
