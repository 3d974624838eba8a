"""The recurrent layers: fused LSTMs, Keras's layers and single steps are equal."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_s2s.layers import stacked_rnn
from keras_s2s.layers.stacked_rnn import StackedRNN

STEPS, BATCH, FEATURES, HIDDENS, LAYERS = 7, 6, 4, 8, 2
VALID_LENGTH = [7, 0, 3, 1, 7, 5]
# Both fused LSTM implementations, selected by the number of units.
MAX_UNITS = (1, 1000)
FUSED_IMPLEMENTATIONS = pytest.mark.parametrize("max_units", MAX_UNITS)


@pytest.fixture
def make_lstm():
    """Return a function that makes recurrent layers with random weights and biases."""

    def make(**options):
        lstm = StackedRNN(HIDDENS, options.pop("num_layers", LAYERS), **options)
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
    """Return valid outputs, final state, and the gradients of a random function of both."""
    rng = np.random.default_rng(3)
    valid = tf.transpose(tf.sequence_mask(valid_length, STEPS, tf.float32))[..., None]
    with tf.GradientTape() as tape:
        tape.watch([inputs, *state])
        outputs, final = lstm(inputs, state=state, valid_length=tf.constant(valid_length))
        results = [outputs * valid, *final]
        total = sum(tf.reduce_sum(rng.normal(size=value.shape) * value) for value in results)
    gradients = tape.gradient(total, [inputs, *state, *lstm.trainable_weights])
    return results, gradients


def assert_same(result, expected, **tolerance):
    for value, expected_value in zip(result, expected, strict=True):
        np.testing.assert_allclose(value, expected_value, **tolerance)


def operations(lstm, inputs, **options):
    graph = tf.function(lambda x: lstm(x, **options)).get_concrete_function(inputs).graph
    return {operation.type for operation in graph.get_operations()}


@pytest.mark.parametrize(
    "valid_length", [VALID_LENGTH, [STEPS] * BATCH, [4, 2, 0, 3, 1, 4], [0] * BATCH]
)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_both_fused_implementations_equal_the_keras_layer(
    make_lstm, inputs, state, valid_length, bidirectional, monkeypatch
):
    keras_layer = make_lstm(bidirectional=bidirectional)
    keras_layer.fused = False
    expected = run_with_gradients(keras_layer, inputs, state, valid_length)
    for max_units in MAX_UNITS:
        monkeypatch.setattr(stacked_rnn, "BLOCK_LSTM_MAX_UNITS", max_units)
        lstm = make_lstm(bidirectional=bidirectional)
        results, gradients = run_with_gradients(lstm, inputs, state, valid_length)
        assert_same(results, expected[0], atol=1e-6)
        assert len(gradients) == 3 + 3 * LAYERS * (1 + bidirectional)
        assert_same(gradients, expected[1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("training", [False, True])
def test_xla_compiles_a_layer_in_the_callers_function(make_lstm, inputs, training):
    """XLA has no kernel for `BlockLSTM`, nor the shapes of the loops."""
    lstm = make_lstm()

    def gradient(inputs):
        with tf.GradientTape() as tape:
            _, state = lstm(inputs, valid_length=tf.constant(VALID_LENGTH), training=training)
        return state, tape.gradient(state, lstm.trainable_weights)

    compiled = tf.nest.flatten(tf.function(gradient, jit_compile=True)(inputs))
    assert_same(compiled, tf.nest.flatten(gradient(inputs)), rtol=1e-5, atol=1e-5)


def test_the_number_of_units_selects_the_implementation(make_lstm, inputs, monkeypatch):
    lstm = make_lstm()
    assert "BlockLSTM" in operations(lstm, inputs)
    lstm.fused = False
    assert "BlockLSTM" not in operations(lstm, inputs)
    # Each direction has half of the units.
    for units, uses_block_lstm in ((HIDDENS, False), (HIDDENS + 1, True)):
        monkeypatch.setattr(stacked_rnn, "BLOCK_LSTM_MAX_UNITS", units)
        assert ("BlockLSTM" in operations(make_lstm(), inputs)) == uses_block_lstm
        assert "BlockLSTM" in operations(make_lstm(bidirectional=True), inputs)


@pytest.mark.parametrize(
    ("policy", "tolerance"), [("mixed_bfloat16", 0.1), ("mixed_float16", 0.02)]
)
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_half_precision_uses_no_block_lstm(make_lstm, inputs, cell, policy, tolerance):
    rnn = make_lstm(dtype=policy, cell=cell)
    assert "BlockLSTM" not in operations(rnn, inputs)
    outputs, state = rnn(inputs)
    assert {outputs.dtype, *(value.dtype for value in state)} == {tf.as_dtype(rnn.compute_dtype)}
    expected, _ = make_lstm(cell=cell)(inputs)
    np.testing.assert_allclose(tf.cast(outputs, tf.float32), expected, atol=tolerance)


def test_weights_fit_the_keras_layers(make_lstm, inputs):
    for cell, layer in (("lstm", keras.layers.LSTM), ("gru", keras.layers.GRU)):
        rnn = make_lstm(cell=cell, num_layers=1)
        alone = layer(HIDDENS, return_sequences=True)
        alone.build((None, None, FEATURES))
        alone.set_weights(rnn.get_weights())
        expected = alone(tf.transpose(inputs, (1, 0, 2)))
        np.testing.assert_allclose(rnn(inputs)[0], tf.transpose(expected, (1, 0, 2)), atol=1e-6)


def test_an_unknown_cell_or_odd_units_raise():
    with pytest.raises(ValueError, match="cell is 'rnn'; give one of lstm, gru"):
        StackedRNN(8, 1, cell="rnn")
    with pytest.raises(ValueError, match=r"num_hiddens is 7; half of them .* give an even number"):
        StackedRNN(7, 1, bidirectional=True)


# Two directions


@pytest.mark.parametrize("valid_length", [[STEPS] * BATCH, VALID_LENGTH], ids=["full", "padded"])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_bidirectional_equals_keras(make_lstm, inputs, state, cell, valid_length):
    rnn = make_lstm(cell=cell, bidirectional=True, num_layers=1)
    layer = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU}[cell]
    both = keras.layers.Bidirectional(
        layer(HIDDENS // 2, return_sequences=True, return_state=True, use_cudnn=False)
    )
    both.build((None, STEPS, FEATURES))
    for ours, theirs in (
        (rnn.forward_layers[0], both.forward_layer),
        (rnn.backward_layers[0], both.backward_layer),
    ):
        theirs.set_weights(ours.get_weights())
    num_tensors = {"lstm": 2, "gru": 1}[cell]
    state = [value[:1] for value in state[:num_tensors]]
    initial = [value[0, :, half] for half in (slice(0, 4), slice(4, 8)) for value in state]
    mask = tf.sequence_mask(valid_length, STEPS)
    expected, *expected_final = both(
        tf.transpose(inputs, (1, 0, 2)), initial_state=initial, mask=mask
    )
    outputs, final = rnn(inputs, state=state, valid_length=tf.constant(valid_length))
    valid = mask.numpy()
    np.testing.assert_allclose(
        tf.transpose(outputs, (1, 0, 2)).numpy()[valid], expected.numpy()[valid], atol=1e-6
    )
    for index, value in enumerate(final):
        halves = [expected_final[index], expected_final[num_tensors + index]]
        np.testing.assert_allclose(value[0], tf.concat(halves, axis=1), atol=1e-6)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_row_is_the_same_alone_padded_and_in_a_batch(make_lstm, inputs, cell, fused):
    rnn = make_lstm(cell=cell, bidirectional=True, residual=True)
    rnn.fused = fused
    outputs, final = rnn(inputs, valid_length=tf.constant(VALID_LENGTH))
    for row, length in enumerate(VALID_LENGTH):
        if not length:
            continue
        alone, final_alone = rnn(inputs[:length, row : row + 1])
        noise = tf.ones((3, 1, FEATURES)) * 9
        padded, final_padded = rnn(
            tf.concat([inputs[:length, row : row + 1], noise], axis=0),
            valid_length=tf.constant([length]),
        )
        for result in (alone, padded[:length]):
            np.testing.assert_allclose(outputs[:length, row], result[:, 0], atol=1e-6)
        for result in (final_alone, final_padded):
            for value, value_alone in zip(final, result, strict=True):
                np.testing.assert_allclose(value[:, row], value_alone[:, 0], atol=1e-6)
    backward = slice(HIDDENS // 2, None)
    changed = tf.tensor_scatter_nd_add(inputs, [[STEPS - 1, 0, 0]], [1.0])
    difference = rnn(changed, valid_length=tf.constant(VALID_LENGTH))[0] - outputs
    assert np.abs(difference[0, 0, backward]).max() > 1e-4, "the first step depends on the last one"


# Residual layers


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_residual_layers_add_their_inputs(make_lstm, inputs, cell, bidirectional):
    rnn = make_lstm(cell=cell, bidirectional=bidirectional, residual=True, num_layers=3)
    outputs, final = rnn(inputs, valid_length=tf.constant(VALID_LENGTH))
    layer_inputs = inputs
    for index in range(3):
        single = StackedRNN(HIDDENS, 1, cell=cell, bidirectional=bidirectional)
        single.build(layer_inputs.shape)
        layers = [rnn.forward_layers[index], *rnn.backward_layers[index : index + 1]]
        single.set_weights([weight for layer in layers for weight in layer.get_weights()])
        layer_outputs, last = single(layer_inputs, valid_length=tf.constant(VALID_LENGTH))
        for value, expected in zip(final, last, strict=True):
            np.testing.assert_allclose(value[index], expected[0], atol=1e-6)
        layer_inputs = layer_outputs + layer_inputs if index else layer_outputs
    valid = tf.transpose(tf.sequence_mask(VALID_LENGTH, STEPS)).numpy()
    np.testing.assert_allclose(outputs.numpy()[valid], layer_inputs.numpy()[valid], atol=1e-6)


# Steps and states


@pytest.mark.parametrize(("cell", "fused"), [("lstm", True), ("lstm", False), ("gru", True)])
@pytest.mark.parametrize("residual", [False, True])
def test_steps_equal_the_whole_call(make_lstm, inputs, state, cell, fused, residual):
    lstm = make_lstm(dropout=0.5, recurrent_dropout=0.5, cell=cell, residual=residual)
    lstm.fused = fused
    state = state[: len(lstm(inputs)[1])]
    outputs, final = lstm(inputs, state=state)
    for step in range(STEPS):
        output, state = lstm.step(inputs[step], state)
        np.testing.assert_allclose(output, outputs[step], atol=1e-6)
    for result, expected in zip(state, final, strict=True):
        np.testing.assert_allclose(result, expected, atol=1e-6)


def test_the_default_state_is_zero(make_lstm, inputs):
    lstm = make_lstm()
    zeros = tf.zeros((LAYERS, BATCH, HIDDENS))
    outputs, _ = lstm(inputs)
    np.testing.assert_array_equal(outputs, lstm(inputs, state=[zeros, zeros])[0])


@pytest.mark.parametrize("fused", [True, False])
def test_an_empty_row_keeps_its_state(make_lstm, inputs, state, fused):
    lstm = make_lstm()
    lstm.fused = fused
    _, final = lstm(inputs, state=state, valid_length=tf.constant(VALID_LENGTH))
    for result, initial in zip(final, state, strict=True):
        np.testing.assert_array_equal(result[:, 1], initial[:, 1])
        assert np.abs(result - initial).max(axis=(0, 2))[[0, 2, 3, 4, 5]].min() > 0.01


@FUSED_IMPLEMENTATIONS
@pytest.mark.parametrize("options", [{}, {"bidirectional": True}, {"cell": "gru"}], ids=str)
def test_an_empty_batch(make_lstm, options, max_units, monkeypatch):
    # A replica gets one when the last batch has fewer rows than there are replicas.
    monkeypatch.setattr(stacked_rnn, "BLOCK_LSTM_MAX_UNITS", max_units)
    for valid_length in (None, tf.zeros((0,), tf.int32)):
        rnn = make_lstm(**options)
        outputs, state = rnn(tf.zeros((STEPS, 0, FEATURES)), valid_length=valid_length)
        assert outputs.shape == (STEPS, 0, HIDDENS)
        assert {tuple(value.shape) for value in state} == {(LAYERS, 0, HIDDENS)}


# Dropout


@pytest.mark.parametrize("fused", [True, False])
def test_dropout_between_layers_in_training_only(make_lstm, inputs, fused):
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
    # Neither the inputs of the first layer nor the outputs of the last one.
    np.testing.assert_array_equal(dropped_state[0], plain_state[0])
    assert (dropped != 0).all()
    np.testing.assert_array_equal(run(0.5, True, num_layers=1)[0], run(0, True, num_layers=1)[0])


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(("cell", "fused"), [("lstm", True), ("lstm", False), ("gru", True)])
def test_recurrent_dropout_is_random_reproducible_and_in_training_only(
    make_lstm, inputs, cell, fused, bidirectional
):
    options = {"cell": cell, "bidirectional": bidirectional, "num_layers": 1}

    def run(seed, training=True, calls=1, rate=0.5):
        keras.utils.set_random_seed(seed)
        rnn = make_lstm(recurrent_dropout=rate, **options)
        rnn.fused = fused
        for _ in range(calls):
            outputs, _ = rnn(inputs, training=training)
        return outputs.numpy()

    plain = run(0, rate=0.0)
    for training in (False, None):
        np.testing.assert_allclose(run(1, training), plain, atol=1e-6)
    dropped = run(1)
    np.testing.assert_array_equal(run(1), dropped)
    assert np.abs(run(2) - dropped).max() > 0.01
    assert np.abs(run(1, calls=2) - dropped).max() > 0.01
    # The first step has no previous one; all others differ.
    half = HIDDENS // 2 if bidirectional else HIDDENS
    np.testing.assert_allclose(dropped[0, :, :half], plain[0, :, :half], atol=1e-6)
    differences = np.abs(dropped - plain)[..., :half].max(axis=(1, 2))
    assert (differences[1:] > 0.01).all()


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize(("cell", "fused"), [("lstm", True), ("lstm", False), ("gru", True)])
def test_recurrent_dropout_has_one_mask_for_all_steps(
    make_lstm, inputs, state, cell, fused, residual, policy, monkeypatch
):
    rng = np.random.default_rng(0)
    mask = tf.constant(rng.integers(0, 2, (BATCH, HIDDENS)) * 2.0, tf.float32)
    rnn = make_lstm(recurrent_dropout=0.5, cell=cell, residual=residual, dtype=policy)
    rnn.fused = fused
    mask = tf.cast(mask, rnn.compute_dtype)
    state = [tf.cast(value, rnn.compute_dtype) for value in state[: len(rnn(inputs)[1])]]
    inputs = tf.cast(inputs, rnn.compute_dtype)
    monkeypatch.setattr(StackedRNN, "_recurrent_mask", lambda *_: mask)
    # Keras has one mask per gate.
    for layer in rnn.forward_layers:
        monkeypatch.setattr(layer.cell, "_create_dropout_mask", lambda *_: [mask] * 4)
    outputs, final = rnn(inputs, state=state, training=True)
    masks = rnn.dropout_masks(tf.constant(STEPS), tf.constant(BATCH), training=True)
    assert [input_mask for input_mask, _ in masks] == [None] * LAYERS
    tolerance = 1e-6 if policy == "float32" else 0.1
    for step in range(STEPS):
        output, state = rnn.step(inputs[step], state, masks)
        difference = tf.cast(output, tf.float32) - tf.cast(outputs[step], tf.float32)
        assert np.abs(difference).max() < tolerance, step
    for result, expected in zip(state, final, strict=True):
        assert np.abs(tf.cast(result - expected, tf.float32)).max() < tolerance


def test_dropout_masks_have_the_rates_of_the_layers(make_lstm):
    keras.utils.set_random_seed(0)
    rnn = make_lstm(dropout=0.25, recurrent_dropout=0.5, num_layers=3)
    assert rnn.dropout_masks(4, 50, training=False) == [(None, None)] * 3
    masks = rnn.dropout_masks(4, 50, training=True)
    assert masks[0][0] is None, "no dropout of the first layer's inputs"
    for input_mask, _ in masks[1:]:
        assert input_mask.shape == (4, 50, HIDDENS)
        assert set(np.unique(input_mask)) == {0, np.float32(4 / 3)}
        assert np.mean(input_mask == 0) == pytest.approx(0.25, abs=0.05)
        assert np.any(input_mask[0] != input_mask[1]), "another mask at each step"
    for _, state_mask in masks:
        assert state_mask.shape == (50, HIDDENS)
        assert set(np.unique(state_mask)) == {0, 2}
        assert np.mean(state_mask == 0) == pytest.approx(0.5, abs=0.1)
