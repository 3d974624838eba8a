"""The decoder: over all steps and step by step it says the same."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_s2s as s2s

VOCAB_SIZE, STEPS, BATCH = 10, 7, 4


def make(**options):
    keras.utils.set_random_seed(0)
    decoder = s2s.Seq2SeqDecoder(VOCAB_SIZE, embed_size=8, num_hiddens=16, num_layers=2, **options)
    decoder.build()
    return decoder


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
    assert [part.shape for part in new_state] == [(2, BATCH, 16), (2, BATCH, 16)]


def test_it_starts_from_the_encoders_state(ids, state):
    decoder = make()
    assert decoder.init_state((tf.zeros((BATCH, STEPS, 16)), state)) is state
    zeros = [tf.zeros_like(part) for part in state]
    difference = decoder(ids, state)[0] - decoder(ids, zeros)[0]
    assert np.abs(difference[:, 0]).max() > 1e-3


@pytest.mark.parametrize(
    ("policy", "tolerance"), [("float32", 1e-6), ("mixed_bfloat16", 0.03), ("mixed_float16", 5e-3)]
)
def test_step_by_step_equals_all_at_once_in_float32_logits(ids, state, policy, tolerance):
    decoder = make(dtype=policy)
    logits, final = decoder(ids, state)
    assert logits.dtype == tf.float32
    state = [tf.cast(part, decoder.compute_dtype) for part in state]
    for step in range(STEPS):
        step_logits, state = decoder.step(ids[:, step], state)
        assert step_logits.dtype == tf.float32
        np.testing.assert_allclose(step_logits, logits[:, step], atol=tolerance)
    for part, expected in zip(state, final, strict=True):
        assert part.dtype == expected.dtype == decoder.compute_dtype
        np.testing.assert_allclose(
            tf.cast(part, tf.float32), tf.cast(expected, tf.float32), atol=tolerance
        )


def test_no_step_sees_the_tokens_after_it(ids, state):
    decoder = make()
    changed = ids.copy()
    changed[:, 4:] = (ids[:, 4:] + 1) % VOCAB_SIZE
    logits, other = decoder(ids, state)[0], decoder(changed, state)[0]
    np.testing.assert_array_equal(logits[:, :4], other[:, :4])
    assert np.abs(logits[:, 4:] - other[:, 4:]).max() > 1e-3


def test_reading_then_the_dense_layer_is_the_whole_call(ids, state):
    decoder = make()
    outputs, _ = decoder.read(ids, state)
    assert outputs.shape == (STEPS, BATCH, 16)
    logits = tf.transpose(decoder.logits(outputs), (1, 0, 2))
    np.testing.assert_allclose(logits, decoder(ids, state)[0], atol=1e-6)


def test_dropout_reaches_the_lstm_in_training_only(ids, state):
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
    for layer in (restored.embedding, restored.dense, *restored.rnn.lstm_layers):
        assert layer.compute_dtype == "bfloat16"
