"""The LSTM: one operation for all steps, Keras's layer, and single steps are the same thing."""

import numpy as np
import pytest
import tensorflow as tf

from keras_s2s.recurrent import StackedLSTM

STEPS, BATCH, FEATURES, HIDDENS, LAYERS = 7, 6, 4, 8, 2
VALID_LENGTH = [7, 0, 3, 1, 7, 5]


@pytest.fixture
def make_lstm():
    """Builds an LSTM whose weights, biases too, are all unlike each other."""

    def make(**options):
        lstm = StackedLSTM(HIDDENS, options.pop("num_layers", LAYERS), **options)
        lstm.build((None, None, FEATURES))
        rng = np.random.default_rng(0)
        lstm.set_weights([rng.normal(0, 0.5, weight.shape) for weight in lstm.weights])
        return lstm

    return make


@pytest.fixture
def inputs():
    return tf.constant(np.random.default_rng(1).normal(size=(STEPS, BATCH, FEATURES)), "float32")


@pytest.fixture
def state():
    rng = np.random.default_rng(2)
    return [tf.constant(rng.normal(size=(LAYERS, BATCH, HIDDENS)), "float32") for _ in range(2)]


def run_with_gradients(lstm, inputs, state, valid_length):
    """Outputs at valid steps, final state, and the gradients of a random function of both."""
    rng = np.random.default_rng(3)
    valid = tf.transpose(tf.sequence_mask(valid_length, STEPS, tf.float32))[..., None]
    with tf.GradientTape() as tape:
        tape.watch([inputs, *state])
        outputs, final = lstm(inputs, state=state, valid_length=tf.constant(valid_length))
        results = [outputs * valid, *final]
        total = sum(tf.reduce_sum(rng.normal(size=part.shape) * part) for part in results)
    gradients = tape.gradient(total, [inputs, *state, *lstm.trainable_weights])
    return results, gradients


def operations(lstm, inputs, **options):
    graph = tf.function(lambda x: lstm(x, **options)).get_concrete_function(inputs).graph
    return {operation.type for operation in graph.get_operations()}


@pytest.mark.parametrize(
    "valid_length", [VALID_LENGTH, [STEPS] * BATCH, [4, 2, 0, 3, 1, 4], [0] * BATCH]
)
def test_one_operation_equals_the_keras_layer(make_lstm, inputs, state, valid_length):
    lstm = make_lstm()
    lstm.fused = True
    results, gradients = run_with_gradients(lstm, inputs, state, valid_length)
    lstm.fused = False
    expected_results, expected_gradients = run_with_gradients(lstm, inputs, state, valid_length)
    for found, expected in zip(results, expected_results, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)
    assert len(gradients) == 3 + 3 * LAYERS
    for found, expected in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_the_two_ways_are_not_the_same_code(make_lstm, inputs):
    lstm = make_lstm()
    assert "BlockLSTM" in operations(lstm, inputs)
    lstm.fused = False
    assert "BlockLSTM" not in operations(lstm, inputs)


def test_half_precision_runs_in_the_keras_layer(make_lstm, inputs):
    lstm = make_lstm(dtype="mixed_float16")
    assert "BlockLSTM" not in operations(lstm, inputs)
    outputs, state = lstm(inputs)
    assert {outputs.dtype, state[0].dtype, state[1].dtype} == {tf.float16}
    expected, _ = make_lstm()(inputs)
    np.testing.assert_allclose(outputs, expected, atol=0.02)


@pytest.mark.parametrize("fused", [True, False])
def test_step_by_step_equals_all_at_once(make_lstm, inputs, state, fused):
    lstm = make_lstm(dropout=0.5)
    lstm.fused = fused
    outputs, final = lstm(inputs, state=state)
    for step in range(STEPS):
        output, state = lstm.step(inputs[step], state)
        np.testing.assert_allclose(output, outputs[step], atol=1e-6)
    for found, expected in zip(state, final, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_state_begins_at_zero(make_lstm, inputs):
    lstm = make_lstm()
    zeros = tf.zeros((LAYERS, BATCH, HIDDENS))
    outputs, _ = lstm(inputs)
    np.testing.assert_array_equal(outputs, lstm(inputs, state=[zeros, zeros])[0])


@pytest.mark.parametrize("fused", [True, False])
def test_a_row_without_steps_keeps_its_state(make_lstm, inputs, state, fused):
    lstm = make_lstm()
    lstm.fused = fused
    _, final = lstm(inputs, state=state, valid_length=tf.constant(VALID_LENGTH))
    for found, initial in zip(final, state, strict=True):
        np.testing.assert_array_equal(found[:, 1], initial[:, 1])
        assert np.abs(found - initial).max(axis=(0, 2))[[0, 2, 3, 4, 5]].min() > 0.01


def test_an_empty_batch_is_no_crash(make_lstm):
    # The share of a replica is empty when a last batch has fewer rows than there are replicas.
    for valid_length in (None, tf.zeros((0,), tf.int32)):
        outputs, state = make_lstm()(tf.zeros((STEPS, 0, FEATURES)), valid_length=valid_length)
        assert outputs.shape == (STEPS, 0, HIDDENS)
        assert state[0].shape == state[1].shape == (LAYERS, 0, HIDDENS)


@pytest.mark.parametrize("fused", [True, False])
def test_dropout_works_between_layers_and_in_training_only(make_lstm, inputs, fused):
    def run(dropout, training, num_layers=LAYERS):
        lstm = make_lstm(dropout=dropout, num_layers=num_layers)
        lstm.fused = fused
        outputs, state = lstm(inputs, training=training)
        return outputs.numpy(), state[0].numpy()

    plain, plain_state = run(0.0, True)
    np.testing.assert_array_equal(run(0.5, False)[0], plain)
    np.testing.assert_array_equal(run(0.5, None)[0], plain)
    dropped, dropped_state = run(0.5, True)
    assert np.abs(dropped - plain).max() > 0.01
    # Neither what goes into the first layer nor what comes out of the last one.
    np.testing.assert_array_equal(dropped_state[0], plain_state[0])
    assert (dropped != 0).all()
    np.testing.assert_array_equal(run(0.5, True, num_layers=1)[0], run(0, True, num_layers=1)[0])
