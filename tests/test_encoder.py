"""The encoder: what it gives back, and that padding has no part in it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_s2s as s2s

LENGTHS = [7, 3, 0, 1]


@pytest.fixture
def encoder():
    keras.utils.set_random_seed(0)
    return s2s.Seq2SeqEncoder(vocab_size=10, embed_size=8, num_hiddens=16, num_layers=2)


@pytest.fixture
def ids():
    ids = np.random.default_rng(0).integers(4, 10, (4, 7))
    return np.where(np.arange(7) < np.array(LENGTHS)[:, None], ids, 0)


def test_shapes_are_the_chapters(encoder):
    outputs, state = encoder(tf.zeros((4, 7), tf.int32))
    assert outputs.shape == (4, 7, 16)
    assert [part.shape for part in state] == [(2, 4, 16), (2, 4, 16)]


def test_the_state_is_that_of_the_row_alone_cut_to_its_length(encoder, ids):
    outputs, state = encoder(ids, tf.constant(LENGTHS))
    for row, length in enumerate(LENGTHS):
        if length:
            alone, state_alone = encoder(ids[row : row + 1, :length])
            np.testing.assert_allclose(outputs[row, :length], alone[0], atol=1e-6)
            for part, part_alone in zip(state, state_alone, strict=True):
                np.testing.assert_allclose(part[:, row], part_alone[:, 0], atol=1e-6)


def test_an_empty_row_has_a_zero_state(encoder, ids):
    _, state = encoder(ids, tf.constant(LENGTHS))
    for part in state:
        empty = np.abs(part).max(axis=(0, 2)) == 0
        assert empty.tolist() == [False, False, True, False]


def test_neither_content_nor_amount_of_padding_matters(encoder, ids):
    outputs, state = encoder(ids, tf.constant(LENGTHS))
    valid = np.arange(7) < np.array(LENGTHS)[:, None]
    noise = np.random.default_rng(1).integers(0, 10, (4, 12))
    noise[:, :7][valid] = ids[valid]
    noisy_outputs, noisy_state = encoder(noise, tf.constant(LENGTHS))
    np.testing.assert_array_equal(noisy_outputs[:, :7][valid], outputs[valid])
    np.testing.assert_array_equal(noisy_state, state)


def test_the_last_output_is_the_hidden_state_of_the_last_layer(encoder, ids):
    outputs, (hidden, _) = encoder(ids)
    np.testing.assert_array_equal(outputs[:, -1], hidden[-1])


def test_an_empty_batch(encoder):
    outputs, state = encoder(tf.zeros((0, 7), tf.int32), tf.zeros((0,), tf.int32))
    assert outputs.shape == (0, 7, 16)
    assert state[0].shape == (2, 0, 16)


def test_dropout_reaches_the_lstm():
    sizes = {"vocab_size": 10, "embed_size": 8, "num_hiddens": 16, "num_layers": 2}
    encoder = s2s.Seq2SeqEncoder(**sizes, dropout=0.5)
    ids = tf.ones((4, 7), tf.int32)
    assert np.abs(encoder(ids, training=True)[0] - encoder(ids)[0]).max() > 1e-3


def test_config_round_trip():
    encoder = s2s.Seq2SeqEncoder(10, 8, 16, 3, dropout=0.25, name="mine", dtype="mixed_bfloat16")
    restored = s2s.Seq2SeqEncoder.from_config(encoder.get_config())
    assert restored.get_config() == encoder.get_config()
    assert restored.get_config()["dropout"] == 0.25
    assert [layer.compute_dtype for layer in restored.rnn.forward_layers] == ["bfloat16"] * 3
    assert restored.embedding.compute_dtype == "bfloat16"
