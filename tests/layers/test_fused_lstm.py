"""Both LSTM implementations equal Keras's layer and a plain loop, with their gradients."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_s2s.layers.fused_lstm import block_lstm, loop_lstm

STEPS, BATCH, FEATURES, UNITS = 6, 5, 4, 3


def normal(seed, *shape):
    return tf.constant(np.random.default_rng(seed).normal(0, 0.8, shape), tf.float32)


@pytest.fixture
def layer():
    """Return a Keras LSTM with random weights and biases."""
    layer = keras.layers.LSTM(UNITS, return_sequences=True, return_state=True, use_cudnn=False)
    layer.build((None, None, FEATURES))
    layer.set_weights([normal(seed, *weight.shape) for seed, weight in enumerate(layer.weights)])
    return layer


@pytest.fixture
def arguments(layer):
    """Return inputs, state and the layer's weights: the differentiable arguments."""
    tensors = [
        normal(10, STEPS, BATCH, FEATURES),
        normal(11, BATCH, UNITS),
        normal(12, BATCH, UNITS),
    ]
    return tensors + [tf.convert_to_tensor(weight) for weight in layer.weights]


def reference_lstm(inputs, hidden, cell, kernel, recurrent_kernel, bias, mask=1.0):
    """Compute the textbook's equations in a Python loop, differentiated by TensorFlow."""
    hiddens, cells = [], []
    for step in range(inputs.shape[0]):
        gates = inputs[step] @ kernel + (hidden * mask) @ recurrent_kernel + bias
        i, f, g, o = tf.split(gates, 4, axis=1)
        cell = tf.sigmoid(f) * cell + tf.sigmoid(i) * tf.tanh(g)
        hidden = tf.sigmoid(o) * tf.tanh(cell)
        hiddens.append(hidden)
        cells.append(cell)
    return tf.stack(hiddens), tf.stack(cells)


def run_loop(inputs, hidden, cell, *weights, mask=None):
    return loop_lstm(inputs, [hidden, cell], weights, mask)


def run_block(inputs, hidden, cell, *weights):
    return block_lstm(inputs, [hidden, cell], weights, tf.shape(inputs)[0])


def with_gradients(run, arguments, seed=20):
    """Return h and c of all steps, and the gradients of a random function of both."""
    with tf.GradientTape() as tape:
        tape.watch(arguments)
        results = run(*arguments)
        total = sum(
            tf.reduce_sum(normal(seed + index, *value.shape) * tf.cast(value, tf.float32))
            for index, value in enumerate(results)
        )
    return results, tape.gradient(total, arguments)


def assert_close(results, expected, tolerance=2e-6):
    for index, (result, value) in enumerate(zip(results, expected, strict=True)):
        scale = max(1.0, float(np.abs(value).max(initial=0)))
        np.testing.assert_allclose(
            tf.cast(result, tf.float32), value, atol=tolerance * scale, err_msg=str(index)
        )


@pytest.mark.parametrize("run", [run_loop, run_block])
def test_results_and_gradients_equal_the_equations(run, arguments):
    results, gradients = with_gradients(run, arguments)
    expected_results, expected_gradients = with_gradients(reference_lstm, arguments)
    assert_close(results, expected_results)
    assert_close(gradients, expected_gradients)
    assert all(np.abs(gradient).max() > 0.1 for gradient in gradients)


@pytest.mark.parametrize("run", [run_loop, run_block])
def test_results_and_gradients_equal_the_keras_layer(run, arguments, layer):
    def keras_layer(inputs, hidden, cell, *_):
        outputs, hidden, cell = layer(tf.transpose(inputs, (1, 0, 2)), initial_state=[hidden, cell])
        return tf.transpose(outputs, (1, 0, 2)), hidden, cell

    def last_steps(*arguments):
        hiddens, cells = run(*arguments)
        return hiddens, hiddens[-1], cells[-1]

    # The layer reads its own variables, so only inputs and state have gradients here.
    results, gradients = with_gradients(last_steps, arguments)
    expected_results, expected_gradients = with_gradients(keras_layer, arguments)
    assert_close(results, expected_results)
    assert_close(gradients[:3], expected_gradients[:3])


def test_a_recurrent_mask_is_the_same_in_all_steps(arguments):
    rng = np.random.default_rng(0)
    mask = tf.constant(rng.integers(0, 2, (BATCH, UNITS)) * 2.0, tf.float32)

    def masked(run):
        return with_gradients(lambda *arguments: run(*arguments, mask=mask), arguments)

    results, gradients = masked(run_loop)
    expected_results, expected_gradients = masked(reference_lstm)
    assert_close(results, expected_results)
    assert_close(gradients, expected_gradients)
    assert np.abs(results[0] - run_loop(*arguments)[0]).max() > 0.1


@pytest.mark.parametrize("batch", [0, 1, 2])
@pytest.mark.parametrize("static", ["none", "batch", "state batch", "all"])
def test_batches_of_any_size_in_a_graph(arguments, batch, static):
    inputs, *state = arguments[0][:, :batch], arguments[1][:batch], arguments[2][:batch]
    inputs_shape = {"none": (None, None), "all": (STEPS, batch)}.get(static, (None, batch))
    state_batch = None if static == "none" else batch
    if static == "state batch":
        inputs_shape = (None, None)

    def with_gradients(run, *tensors):
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            results = run(*tensors, *arguments[3:])
            total = tf.reduce_sum(results[0]) + tf.reduce_sum(results[1] ** 2)
        return results, tape.gradient(total, tensors)

    specification = [
        tf.TensorSpec(shape) for shape in ((*inputs_shape, FEATURES), *[(state_batch, UNITS)] * 2)
    ]

    @tf.function(autograph=False, input_signature=specification)
    def in_graph(*tensors):
        return with_gradients(run_loop, *tensors)

    results, gradients = in_graph(inputs, *state)
    expected_results, expected_gradients = with_gradients(reference_lstm, inputs, *state)
    assert_close(results, expected_results)
    assert_close(gradients, expected_gradients)


def test_an_empty_batch_has_zero_gradients(arguments):
    empty = [arguments[0][:, :0], arguments[1][:0], arguments[2][:0], *arguments[3:]]
    _, gradients = with_gradients(run_loop, empty)
    for gradient, value in zip(gradients, empty, strict=True):
        np.testing.assert_array_equal(gradient, tf.zeros_like(value))


@pytest.mark.parametrize(("dtype", "tolerance"), [(tf.bfloat16, 0.03), (tf.float16, 0.005)])
def test_half_precision(arguments, dtype, tolerance):
    results, gradients = with_gradients(reference_lstm, arguments)
    half = [tf.cast(value, dtype) for value in arguments[:3]] + arguments[3:]
    half_results, half_gradients = with_gradients(run_loop, half)
    assert {value.dtype for value in half_results} == {tf.float32}, (
        "only matrix products are half precision"
    )
    assert [value.dtype for value in half_gradients] == [value.dtype for value in half]
    assert_close(half_results, results, tolerance)
    assert_close(half_gradients, gradients, tolerance)
    assert np.abs(half_results[0] - results[0]).max() > 1e-5, "it is half precision"


def test_block_lstm_stops_at_num_steps(arguments):
    inputs, hidden, cell, *weights = arguments
    hiddens, cells = block_lstm(inputs, [hidden, cell], tuple(weights), tf.constant(4))
    expected = reference_lstm(inputs[:4], hidden, cell, *weights)
    assert_close((hiddens[:4], cells[:4]), expected)
    assert not np.any(hiddens[4:]), "zero from there on"
