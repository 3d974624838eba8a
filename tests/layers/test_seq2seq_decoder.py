"""The decoder: all steps at once equal single steps."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_s2s as s2s
from keras_s2s.layers.attention import SCORES

VOCAB_SIZE, STEPS, BATCH = 10, 7, 4
SOURCE_LENGTHS = [5, 2, 0, 4]
ATTENTION_OPTIONS = [
    {},
    *({"attention": score} for score in SCORES),
    *({"attention": score, "input_feeding": True} for score in SCORES),
]
ALL_OPTIONS = [
    {**attention_options, "tie_embeddings": tied, "cell": cell, "residual": residual}
    for attention_options, tied, cell, residual in itertools.product(
        ATTENTION_OPTIONS, (False, True), ("lstm", "gru"), (False, True)
    )
]
# Each option at least once.
SAMPLE_OPTIONS = [
    {"cell": "gru", "tie_embeddings": True},
    {"attention": "luong", "residual": True},
    {"attention": "luong-dot", "input_feeding": True, "cell": "gru"},
    {"attention": "bahdanau", "input_feeding": True, "tie_embeddings": True},
]


def name(options):
    """Return a test id."""
    return " ".join(key if value is True else str(value) for key, value in options.items() if value)


def make(**options):
    keras.utils.set_random_seed(0)
    decoder = s2s.Seq2SeqDecoder(VOCAB_SIZE, embed_size=8, num_hiddens=16, num_layers=2, **options)
    decoder.build()
    return decoder


def make_random(**options):
    """Return a decoder with random weights and biases, and random encoder outputs for it."""
    decoder = make(**options)
    rng = np.random.default_rng(2)
    decoder.set_weights([rng.normal(0, 0.5, weight.shape) for weight in decoder.weights])
    num_tensors = {"lstm": 2, "gru": 1}[decoder.cell]
    layers, width = decoder.encoder_num_layers, decoder.encoder_num_hiddens
    state = [
        tf.constant(rng.normal(size=(layers, BATCH, width)), "float32") for _ in range(num_tensors)
    ]
    return decoder, (tf.constant(rng.normal(size=(BATCH, 5, width)), "float32"), state)


def prepare(decoder, encoded, lengths=SOURCE_LENGTHS):
    """Return the initial state and the attention memory."""
    return decoder.init_state(encoded), decoder.setup_memory(encoded, tf.convert_to_tensor(lengths))


def decode_by_steps(decoder, ids, state, memory):
    """Return the logits of all steps, and the state after them."""
    logits = []
    for step in range(ids.shape[1]):
        step_logits, state, _ = decoder.step(ids[:, step], state, memory)
        logits.append(step_logits)
    return tf.stack(logits, axis=1), state


@pytest.fixture
def ids():
    return np.random.default_rng(0).integers(0, VOCAB_SIZE, (BATCH, STEPS))


@pytest.fixture
def state():
    rng = np.random.default_rng(1)
    return [tf.constant(rng.normal(size=(2, BATCH, 16)), "float32") for _ in range(2)]


def test_shapes(ids, state):
    logits, new_state = make()(ids, state)
    assert logits.shape == (BATCH, STEPS, VOCAB_SIZE)
    assert [value.shape for value in new_state] == [(2, BATCH, 16), (2, BATCH, 16)]


def test_the_initial_state_is_the_encoders(ids, state):
    decoder = make()
    assert decoder.init_state((tf.zeros((BATCH, STEPS, 16)), state)) is state
    zeros = [tf.zeros_like(value) for value in state]
    difference = decoder(ids, state)[0] - decoder(ids, zeros)[0]
    assert np.abs(difference[:, 0]).max() > 1e-3


@pytest.mark.parametrize(
    ("policy", "tolerance"), [("float32", 1e-6), ("mixed_bfloat16", 0.03), ("mixed_float16", 5e-3)]
)
def test_steps_equal_the_whole_call_in_float32_logits(ids, state, policy, tolerance):
    decoder = make(dtype=policy)
    logits, final = decoder(ids, state)
    assert logits.dtype == tf.float32
    state = [tf.cast(value, decoder.compute_dtype) for value in state]
    for step in range(STEPS):
        step_logits, state, _ = decoder.step(ids[:, step], state)
        assert step_logits.dtype == tf.float32
        np.testing.assert_allclose(step_logits, logits[:, step], atol=tolerance)
    for value, expected in zip(state, final, strict=True):
        assert value.dtype == expected.dtype == decoder.compute_dtype
        np.testing.assert_allclose(
            tf.cast(value, tf.float32), tf.cast(expected, tf.float32), atol=tolerance
        )


@pytest.mark.parametrize("options", ALL_OPTIONS, ids=name)
def test_steps_equal_the_whole_call_with_all_options(ids, options):
    rates = {"dropout": 0.5, "embed_dropout": 0.5, "recurrent_dropout": 0.5, "output_dropout": 0.5}
    decoder, encoded = make_random(**options, **rates)
    state, memory = prepare(decoder, encoded)
    ids = ids[:, :3]
    logits, final = decoder(ids, state, memory)
    result, result_final = decode_by_steps(decoder, ids, state, memory)
    np.testing.assert_allclose(result, logits, atol=2e-5)
    for value, expected in zip(result_final, final, strict=True):
        np.testing.assert_allclose(value, expected, atol=1e-5)
    assert np.abs(logits[:, 1:] - logits[:, :-1]).max() > 0.1


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("options", SAMPLE_OPTIONS, ids=name)
def test_options_in_half_precision(ids, options, policy):
    decoder, encoded = make_random(**options)
    exact, _ = decoder(ids, *prepare(decoder, encoded))
    decoder, encoded = make_random(**options, dtype=policy)
    state, memory = prepare(decoder, encoded)
    logits, final = decoder(ids, state, memory)
    result, result_final = decode_by_steps(decoder, ids, state, memory)
    assert result.dtype == logits.dtype == tf.float32
    for value, expected in zip(result_final, final, strict=True):
        assert value.dtype == expected.dtype == decoder.compute_dtype
    # The mean, since rounding in one step can grow in later ones.
    tolerance = {"mixed_bfloat16": 0.05, "mixed_float16": 0.01}[policy]
    for other in (result, exact):
        assert np.mean(np.abs(other - logits)) < tolerance
    assert np.abs(exact - logits).max() > 1e-5, "it is half precision"


@pytest.mark.parametrize("options", [{}, *SAMPLE_OPTIONS], ids=name)
def test_gradients_equal_those_of_single_steps(ids, options):
    decoder, encoded = make_random(**options)
    decoder.rnn.fused = "input_feeding" in options
    mixed = tf.constant(np.random.default_rng(3).normal(size=(BATCH, 4, VOCAB_SIZE)), "float32")

    def gradients(run, encoded):
        with tf.GradientTape() as tape:
            tape.watch(encoded)
            state, memory = prepare(decoder, encoded)
            total = tf.reduce_sum(mixed * run(decoder, ids[:, :4], state, memory)[0])
        state_gradients, weight_gradients = tape.gradient(
            total, [encoded[1], decoder.trainable_weights]
        )
        return [*state_gradients, *map(tf.convert_to_tensor, weight_gradients)]

    in_graph = tf.function(
        lambda encoded: gradients(lambda decoder, *args: decoder(*args), encoded), autograph=False
    )
    expected = gradients(decode_by_steps, encoded)
    assert len(expected) == len(encoded[1]) + len(decoder.weights)
    for result, expected_value in zip(in_graph(encoded), expected, strict=True):
        assert np.abs(expected_value).max() > 1e-3, "every weight has a gradient"
        np.testing.assert_allclose(result, expected_value, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("options", [{}, *SAMPLE_OPTIONS], ids=name)
def test_rows_can_be_hypotheses_of_a_sentence(ids, options):
    decoder, encoded = make_random(**options)
    state, memory = prepare(decoder, encoded)
    num_hypotheses = 3
    # The hypotheses of a sentence are adjacent rows, each with its own tokens.
    tokens = np.random.default_rng(5).integers(0, VOCAB_SIZE, (2, BATCH, num_hypotheses))
    wide = [tf.repeat(value, num_hypotheses, axis=1) for value in state]
    narrow = [state] * num_hypotheses
    for step_tokens in tokens:
        logits, wide, weights = decoder.step(step_tokens.reshape(-1), wide, memory)
        for hypothesis in range(num_hypotheses):
            alone, narrow_state, weights_alone = decoder.step(
                step_tokens[:, hypothesis], narrow[hypothesis], memory
            )
            narrow[hypothesis : hypothesis + 1] = [narrow_state]
            np.testing.assert_allclose(logits[hypothesis::num_hypotheses], alone, atol=1e-5)
            for value, expected in zip(wide, narrow_state, strict=True):
                np.testing.assert_allclose(
                    value[:, hypothesis::num_hypotheses], expected, atol=1e-5
                )
            if weights is not None:
                np.testing.assert_allclose(
                    weights[hypothesis::num_hypotheses], weights_alone, atol=1e-6
                )
    assert (weights is None) == ("attention" not in options)


@pytest.mark.parametrize("options", SAMPLE_OPTIONS[1:], ids=name)
def test_attention_affects_the_logits_and_ignores_padding(ids, options):
    decoder, (outputs, state) = make_random(**options)
    logits, _ = decoder(ids, *prepare(decoder, (outputs, state)))
    _, _, weights = decoder.step(ids[:, 0], *prepare(decoder, (outputs, state)))
    assert weights.shape == (BATCH, 5)
    valid = np.arange(5) < np.array(SOURCE_LENGTHS)[:, None]
    assert not np.any(weights.numpy()[~valid])
    np.testing.assert_allclose(np.sum(weights, axis=1), np.sign(SOURCE_LENGTHS), atol=1e-6)

    padding = tf.where(valid[..., None], outputs, 9.0)
    np.testing.assert_array_equal(decoder(ids, *prepare(decoder, (padding, state)))[0], logits)
    changed = tf.where(valid[..., None], -outputs, outputs)
    difference = np.abs(decoder(ids, *prepare(decoder, (changed, state)))[0] - logits)
    assert (difference.max(axis=(1, 2)) > 0.01).tolist() == [True, True, False, True]


@pytest.mark.parametrize("static_shape", [(None, None), (BATCH, None), (1, None), (1, 3)])
def test_input_feeding_with_static_and_dynamic_shapes(ids, static_shape):
    decoder, (outputs, state) = make_random(attention="luong", input_feeding=True)
    batch = static_shape[0] or BATCH
    ids = tf.constant(ids[:batch, :3], tf.int32)
    encoded = outputs[:batch], [value[:, :batch] for value in state]

    @tf.function(
        autograph=False,
        input_signature=[
            tf.TensorSpec(static_shape, tf.int32),
            tf.TensorSpec((static_shape[0], None, 16)),
            [tf.TensorSpec((2, static_shape[0], 16))] * 2,
        ],
    )
    def run(ids, outputs, state):
        return decoder(ids, *prepare(decoder, (outputs, state), SOURCE_LENGTHS[:batch]))

    logits, final = run(ids, *encoded)
    expected, expected_final = decoder(ids, *prepare(decoder, encoded, SOURCE_LENGTHS[:batch]))
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    for value, expected_value in zip(final, expected_final, strict=True):
        np.testing.assert_allclose(value, expected_value, atol=1e-5)


@pytest.mark.parametrize("options", [{}, *SAMPLE_OPTIONS], ids=name)
def test_an_empty_batch(options):
    decoder, (outputs, state) = make_random(**options)

    @tf.function(autograph=False)
    def run(ids, outputs, state):
        lengths = tf.zeros(tf.shape(ids)[0], tf.int32)
        state, memory = prepare(decoder, (outputs, state), lengths)
        return decoder(ids, state, memory)[0], decoder.step(ids[:, 0], state, memory)[0]

    # With a dynamic batch size, because Keras's cells refuse a static one of 0.
    state_spec = tf.TensorSpec((2, None, 16))
    run = run.get_concrete_function(
        tf.TensorSpec((None, None), tf.int32),
        tf.TensorSpec((None, None, 16)),
        [state_spec] * len(state),
    )
    empty = [value[:, :0] for value in state]
    logits, step_logits = run(tf.zeros((0, STEPS), tf.int32), outputs[:0], *empty)
    assert logits.shape == (0, STEPS, VOCAB_SIZE)
    assert step_logits.shape == (0, VOCAB_SIZE)


def test_no_step_sees_the_tokens_after_it(ids, state):
    decoder = make()
    changed = ids.copy()
    changed[:, 4:] = (ids[:, 4:] + 1) % VOCAB_SIZE
    logits, other = decoder(ids, state)[0], decoder(changed, state)[0]
    np.testing.assert_array_equal(logits[:, :4], other[:, :4])
    assert np.abs(logits[:, 4:] - other[:, 4:]).max() > 1e-3


def test_decode_hidden_and_logits_equal_the_whole_call(ids, state):
    decoder = make()
    outputs, _ = decoder.decode_hidden(ids, state)
    np.testing.assert_array_equal(decoder.read(ids, state)[0], outputs)
    assert outputs.shape == (STEPS, BATCH, 16)
    logits = tf.transpose(decoder.logits(outputs), (1, 0, 2))
    np.testing.assert_allclose(logits, decoder(ids, state)[0], atol=1e-6)


def test_tied_embeddings_are_the_dense_layer(ids):
    tied, encoded = make_random(tie_embeddings=True)
    names = [weight.path.split("/")[-1] for weight in tied.weights]
    assert names.count("embeddings") == names.count("output_bias") == 1
    assert [weight.shape for weight in tied.weights].count((VOCAB_SIZE, 8)) == 1
    outputs, _ = tied.decode_hidden(ids, *prepare(tied, encoded))
    assert outputs.shape == (STEPS, BATCH, 8)
    expected = outputs @ tf.transpose(tied.embedding.embeddings.value) + tied.output_bias.value
    np.testing.assert_allclose(tied.logits(outputs), expected, atol=1e-5)
    # No projection between equal widths.
    square = s2s.Seq2SeqDecoder(VOCAB_SIZE, 16, 16, 1, tie_embeddings=True)
    assert square.output_layer is None


@pytest.mark.parametrize("options", [{}, {"cell": "gru"}, {"attention": "luong"}], ids=name)
def test_bridges_convert_the_state_of_another_encoder(ids, options):
    decoder, encoded = make_random(encoder_num_hiddens=6, encoder_num_layers=3, **options)
    state, memory = prepare(decoder, encoded)
    assert len(decoder.bridges) == len(state) == len(encoded[1])
    for bridge, value, encoder_value, activation in zip(
        decoder.bridges, state, encoded[1], (np.tanh, np.asarray), strict=False
    ):
        assert value.shape == (2, BATCH, 16)
        for row in range(BATCH):
            values = encoder_value[:, row].numpy().reshape(-1) @ bridge.kernel.numpy()
            values += bridge.bias.numpy()
            np.testing.assert_allclose(
                value[:, row], activation(values).reshape(2, 16), rtol=1e-5, atol=1e-5
            )
    logits, _ = decoder(ids, state, memory)
    assert logits.shape == (BATCH, STEPS, VOCAB_SIZE)
    for same in ({}, {"encoder_num_hiddens": 16}, {"encoder_num_layers": 2}):
        assert make(**same).bridges == []


def test_invalid_options_raise(ids, state):
    with pytest.raises(ValueError, match="input_feeding needs attention; give attention='luong'"):
        make(input_feeding=True)
    with pytest.raises(ValueError, match="attention is 'dot'; give one of luong"):
        make(attention="dot")
    with pytest.raises(ValueError, match="not 16 in the decoder and 8 in the encoder"):
        make(attention="luong-dot", encoder_num_hiddens=8)
    with pytest.raises(ValueError, match="cell is 'rnn'; give one of lstm, gru"):
        make(cell="rnn")
    with pytest.raises(ValueError, match="cannot be bidirectional"):
        make(bidirectional=True)
    with pytest.raises(ValueError, match="needs memory"):
        make(attention="luong")(ids, state)
    assert make().remember((None, None)) is make().setup_memory((None, None)) is None, (
        "no attention, no memory"
    )


@pytest.mark.parametrize(
    "rate", ["dropout", "embed_dropout", "recurrent_dropout", "output_dropout"]
)
@pytest.mark.parametrize("input_feeding", [False, True])
def test_each_dropout_in_training_only_and_reproducible(ids, input_feeding, rate):
    attention_options = {"attention": "luong", "input_feeding": input_feeding}
    plain, encoded = make_random(**attention_options)
    decoder, _ = make_random(**attention_options, **{rate: 0.5})
    weights = {id(weight) for weight in decoder.weights}
    generators = [state for state in decoder.variables if id(state) not in weights]

    def run(decoder, training):
        return decoder.decode_hidden(ids, *prepare(decoder, encoded), training)[0].numpy()

    plain = run(plain, training=True)
    np.testing.assert_allclose(run(decoder, training=False), plain, atol=1e-5)
    states = [state.numpy() for state in generators]
    first, second = run(decoder, training=True), run(decoder, training=True)
    assert np.abs(second - first).max() > 0.01, "random"
    for state, value in zip(generators, states, strict=True):
        state.assign(value)
    np.testing.assert_array_equal(run(decoder, training=True), first)
    if rate == "output_dropout":
        kept = first != 0
        assert 0.4 < kept.mean() < 0.6
        np.testing.assert_allclose(first[kept], 2 * plain[kept], atol=1e-5)
    else:
        # Which values were dropped cannot be observed here, but they differ by more than rounding.
        assert np.abs(first - plain).max() > 0.01
        assert (first != 0).all()


def test_lstm_dropout_in_training_only(ids, state):
    plain, decoder = make(), make(dropout=0.5)
    decoder.set_weights(plain.get_weights())
    plain = plain(ids, state)[0]
    np.testing.assert_array_equal(decoder(ids, state)[0], plain)
    assert np.abs(decoder(ids, state, training=True)[0] - plain).max() > 1e-3


def test_config_round_trip():
    decoder = make(dropout=0.25, name="mine", dtype="mixed_bfloat16")
    restored = s2s.Seq2SeqDecoder.from_config(decoder.get_config())
    assert restored.get_config() == decoder.get_config()
    assert restored.get_config()["dropout"] == 0.25
    for layer in (restored.embedding, restored.dense, *restored.rnn.forward_layers):
        assert layer.compute_dtype == "bfloat16"


@pytest.mark.parametrize("options", SAMPLE_OPTIONS, ids=name)
def test_config_round_trip_of_all_options(options):
    rates = {"dropout": 0.1, "embed_dropout": 0.2, "recurrent_dropout": 0.3, "output_dropout": 0.4}
    decoder = make(**options, **rates, encoder_num_layers=3)
    config = decoder.get_config()
    assert {**config, **options, **rates, "encoder_num_layers": 3} == config
    assert config["encoder_num_hiddens"] == 16
    restored = s2s.Seq2SeqDecoder.from_config(config)
    restored.build()
    assert restored.get_config() == config
    shapes = [[weight.shape for weight in each.weights] for each in (decoder, restored)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize(
    "options",
    [*SAMPLE_OPTIONS, {"attention": "luong", "encoder_num_hiddens": 6, "encoder_num_layers": 1}],
    ids=name,
)
def test_a_file_of_a_model_keeps_all_options(ids, options, tmp_path):
    decoder, _ = make_random(**options)
    encoder = s2s.Seq2SeqEncoder(
        7,
        8,
        decoder.encoder_num_hiddens,
        decoder.encoder_num_layers,
        bidirectional=True,
        cell=decoder.cell,
        residual=decoder.residual,
    )
    model = s2s.Seq2Seq(encoder, decoder)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.get_config() == model.get_config()
    source = np.random.default_rng(0).integers(0, 7, (BATCH, 5)), np.array(SOURCE_LENGTHS)
    element = source, (ids, np.full(BATCH, STEPS))
    np.testing.assert_array_equal(loaded(element), model(element))
