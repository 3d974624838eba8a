"""The two LSTM loops: Keras's layer and a plain loop say what they should give."""

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
    """A Keras LSTM whose weights, biases too, are all unlike each other."""
    layer = keras.layers.LSTM(UNITS, return_sequences=True, return_state=True, use_cudnn=False)
    layer.build((None, None, FEATURES))
    layer.set_weights([normal(seed, *weight.shape) for seed, weight in enumerate(layer.weights)])
    return layer


@pytest.fixture
def given(layer):
    """All that gradients are wanted of: inputs, state, and the layer's weights."""
    tensors = [
        normal(10, STEPS, BATCH, FEATURES),
        normal(11, BATCH, UNITS),
        normal(12, BATCH, UNITS),
    ]
    return tensors + [tf.convert_to_tensor(weight) for weight in layer.weights]


def plain(inputs, hidden, cell, kernel, recurrent_kernel, bias, mask=1.0):
    """The textbook's equations, in a Python loop that TensorFlow differentiates by itself."""
    hiddens, cells = [], []
    for step in range(inputs.shape[0]):
        gates = inputs[step] @ kernel + (hidden * mask) @ recurrent_kernel + bias
        i, f, g, o = tf.split(gates, 4, axis=1)
        cell = tf.sigmoid(f) * cell + tf.sigmoid(i) * tf.tanh(g)
        hidden = tf.sigmoid(o) * tf.tanh(cell)
        hiddens.append(hidden)
        cells.append(cell)
    return tf.stack(hiddens), tf.stack(cells)


def step_by_step(inputs, hidden, cell, *weights, mask=None):
    return loop_lstm(inputs, [hidden, cell], weights, mask)


def in_one_operation(inputs, hidden, cell, *weights):
    return block_lstm(inputs, [hidden, cell], weights, tf.shape(inputs)[0])


def with_gradients(run, given, seed=20):
    """h and c of all steps, and the gradients of a random function of both."""
    with tf.GradientTape() as tape:
        tape.watch(given)
        results = run(*given)
        total = sum(
            tf.reduce_sum(normal(seed + place, *part.shape) * tf.cast(part, tf.float32))
            for place, part in enumerate(results)
        )
    return results, tape.gradient(total, given)


def assert_equal(found, expected, tolerance=2e-6):
    for place, (part, wanted) in enumerate(zip(found, expected, strict=True)):
        largest = max(1.0, float(np.abs(wanted).max(initial=0)))
        np.testing.assert_allclose(
            tf.cast(part, tf.float32), wanted, atol=tolerance * largest, err_msg=str(place)
        )


@pytest.mark.parametrize("run", [step_by_step, in_one_operation])
def test_results_and_gradients_are_those_of_the_equations(run, given):
    results, gradients = with_gradients(run, given)
    expected_results, expected_gradients = with_gradients(plain, given)
    assert_equal(results, expected_results)
    assert_equal(gradients, expected_gradients)
    assert all(np.abs(gradient).max() > 0.1 for gradient in gradients)


@pytest.mark.parametrize("run", [step_by_step, in_one_operation])
def test_weights_are_those_of_the_keras_layer(run, given, layer):
    def keras_layer(inputs, hidden, cell, *_):
        outputs, hidden, cell = layer(tf.transpose(inputs, (1, 0, 2)), initial_state=[hidden, cell])
        return tf.transpose(outputs, (1, 0, 2)), hidden, cell

    def last_steps(*given):
        hiddens, cells = run(*given)
        return hiddens, hiddens[-1], cells[-1]

    # The layer's own weights are variables; those of the state and the inputs are told apart.
    results, gradients = with_gradients(last_steps, given)
    expected_results, expected_gradients = with_gradients(keras_layer, given)
    assert_equal(results, expected_results)
    assert_equal(gradients[:3], expected_gradients[:3])


def test_a_recurrent_mask_is_the_same_in_all_steps(given):
    rng = np.random.default_rng(0)
    mask = tf.constant(rng.integers(0, 2, (BATCH, UNITS)) * 2.0, tf.float32)

    def masked(run):
        return with_gradients(lambda *given: run(*given, mask=mask), given)

    results, gradients = masked(step_by_step)
    expected_results, expected_gradients = masked(plain)
    assert_equal(results, expected_results)
    assert_equal(gradients, expected_gradients)
    assert np.abs(results[0] - step_by_step(*given)[0]).max() > 0.1


@pytest.mark.parametrize("batch", [0, 1, 2])
@pytest.mark.parametrize("known", ["nothing", "batch", "batch of the state", "everything"])
def test_batches_of_any_size_in_a_graph(given, batch, known):
    inputs, *state = given[0][:, :batch], given[1][:batch], given[2][:batch]
    of_inputs = {"nothing": (None, None), "everything": (STEPS, batch)}.get(known, (None, batch))
    of_state = None if known == "nothing" else batch
    if known == "batch of the state":
        of_inputs = (None, None)

    def with_gradients(run, *parts):
        with tf.GradientTape() as tape:
            tape.watch(parts)
            results = run(*parts, *given[3:])
            total = tf.reduce_sum(results[0]) + tf.reduce_sum(results[1] ** 2)
        return results, tape.gradient(total, parts)

    specification = [
        tf.TensorSpec(shape) for shape in ((*of_inputs, FEATURES), *[(of_state, UNITS)] * 2)
    ]

    @tf.function(autograph=False, input_signature=specification)
    def in_graph(*parts):
        return with_gradients(step_by_step, *parts)

    results, gradients = in_graph(inputs, *state)
    expected_results, expected_gradients = with_gradients(plain, inputs, *state)
    assert_equal(results, expected_results)
    assert_equal(gradients, expected_gradients)


def test_an_empty_batch_adds_nothing_to_the_weights_gradients(given):
    empty = [given[0][:, :0], given[1][:0], given[2][:0], *given[3:]]
    _, gradients = with_gradients(step_by_step, empty)
    for gradient, part in zip(gradients, empty, strict=True):
        np.testing.assert_array_equal(gradient, tf.zeros_like(part))


@pytest.mark.parametrize(("kind", "tolerance"), [(tf.bfloat16, 0.03), (tf.float16, 0.005)])
def test_half_precision_is_near(given, kind, tolerance):
    results, gradients = with_gradients(plain, given)
    half = [tf.cast(part, kind) for part in given[:3]] + given[3:]
    half_results, half_gradients = with_gradients(step_by_step, half)
    assert {part.dtype for part in half_results} == {tf.float32}, "only products are made in half"
    assert [part.dtype for part in half_gradients] == [part.dtype for part in half]
    assert_equal(half_results, results, tolerance)
    assert_equal(half_gradients, gradients, tolerance)
    assert np.abs(half_results[0] - results[0]).max() > 1e-5, "it is half precision"


def test_the_operation_stops_at_the_number_of_steps(given):
    inputs, hidden, cell, *weights = given
    hiddens, cells = block_lstm(inputs, [hidden, cell], tuple(weights), tf.constant(4))
    expected = plain(inputs[:4], hidden, cell, *weights)
    assert_equal((hiddens[:4], cells[:4]), expected)
    assert not np.any(hiddens[4:]), "and not at the last one"
