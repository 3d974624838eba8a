"""The encoder: shapes, state, and independence from padding."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_s2s as s2s

LENGTHS = [7, 3, 0, 1]
OPTIONS = [{}, {"bidirectional": True}, {"cell": "gru", "bidirectional": True, "residual": True}]


def make(**options):
    keras.utils.set_random_seed(0)
    return s2s.Seq2SeqEncoder(vocab_size=10, embed_size=8, num_hiddens=16, num_layers=2, **options)


@pytest.fixture
def encoder():
    return make()


@pytest.fixture
def ids():
    ids = np.random.default_rng(0).integers(4, 10, (4, 7))
    return np.where(np.arange(7) < np.array(LENGTHS)[:, None], ids, 0)


def test_shapes(encoder):
    outputs, state = encoder(tf.zeros((4, 7), tf.int32))
    assert outputs.shape == (4, 7, 16)
    assert [value.shape for value in state] == [(2, 4, 16), (2, 4, 16)]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_padded_row_equals_the_row_alone(ids, options):
    encoder = make(**options)
    outputs, state = encoder(ids, tf.constant(LENGTHS))
    for row, length in enumerate(LENGTHS):
        if length:
            alone, state_alone = encoder(ids[row : row + 1, :length])
            np.testing.assert_allclose(outputs[row, :length], alone[0], atol=1e-6)
            for value, value_alone in zip(state, state_alone, strict=True):
                np.testing.assert_allclose(value[:, row], value_alone[:, 0], atol=1e-6)


def test_an_empty_row_has_a_zero_state(encoder, ids):
    _, state = encoder(ids, tf.constant(LENGTHS))
    for value in state:
        empty = np.abs(value).max(axis=(0, 2)) == 0
        assert empty.tolist() == [False, False, True, False]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_padding_does_not_affect_results(ids, options):
    encoder = make(**options)
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


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_an_empty_batch(options):
    outputs, state = make(**options)(tf.zeros((0, 7), tf.int32), tf.zeros((0,), tf.int32))
    assert outputs.shape == (0, 7, 16)
    assert {tuple(value.shape) for value in state} == {(2, 0, 16)}


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_lengths_of_any_integer_dtype_or_none(ids, options):
    encoder = make(**options)
    _, expected = encoder(ids, tf.constant(LENGTHS))
    for lengths in (np.array(LENGTHS, "int64"), tf.constant(LENGTHS, tf.int64)):
        for value, expected_value in zip(encoder(ids, lengths)[1], expected, strict=True):
            np.testing.assert_array_equal(value, expected_value)
    _, full = encoder(ids, tf.fill([4], 7))
    for value, expected_value in zip(encoder(ids)[1], full, strict=True):
        np.testing.assert_array_equal(value, expected_value)


def test_the_second_half_reads_backwards(ids):
    encoder = s2s.Seq2SeqEncoder(10, 8, num_hiddens=16, num_layers=1, bidirectional=True)
    outputs, (hidden, _) = encoder(ids)
    changed = ids.copy()
    changed[:, -1] = (ids[:, -1] + 1) % 10
    differences = np.abs(encoder(changed)[0] - outputs).max(axis=0)
    assert differences[0, :8].max() == 0
    assert differences[0, 8:].max() > 1e-6
    np.testing.assert_array_equal(hidden[0, :, :8], outputs[:, -1, :8])
    np.testing.assert_array_equal(hidden[0, :, 8:], outputs[:, 0, 8:])


def test_invalid_options_raise():
    with pytest.raises(ValueError, match="cell is 'rnn'; give one of lstm, gru"):
        make(cell="rnn")
    with pytest.raises(ValueError, match="num_hiddens is 5; half of them read in each direction"):
        s2s.Seq2SeqEncoder(10, 8, num_hiddens=5, num_layers=2, bidirectional=True)


def test_embedding_dropout_in_training_only(ids):
    encoder = make(embed_dropout=0.5)
    embedded, dropped = (encoder.embed(ids, training).numpy() for training in (False, True))
    kept = dropped != 0
    assert 0.3 < kept.mean() < 0.7
    np.testing.assert_allclose(dropped[kept], 2 * embedded[kept], rtol=1e-6)
    plain = encoder(ids)[0]
    encoder.embed_dropout_layer.rate = 0.0
    np.testing.assert_array_equal(encoder(ids, training=True)[0], plain)


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


def test_config_round_trip_of_all_options():
    rates = {"dropout": 0.1, "embed_dropout": 0.2, "recurrent_dropout": 0.3}
    options = {"cell": "gru", "bidirectional": True, "residual": True, **rates}
    encoder = make(**options)
    config = encoder.get_config()
    assert {**config, **options} == config
    restored = s2s.Seq2SeqEncoder.from_config(config)
    assert restored.get_config() == config
    restored.build()
    encoder.build()
    shapes = [[weight.shape for weight in each.weights] for each in (encoder, restored)]
    assert shapes[0] == shapes[1]
    assert len(shapes[0]) == 1 + 2 * 2 * 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vocab_size": 0}, "vocab_size is 0; give"),
        ({"embed_size": -8}, "embed_size is -8; give"),
        ({"num_hiddens": "16"}, "num_hiddens is '16'; give"),
        ({"num_layers": 0}, "num_layers is 0; give"),
        ({"dropout": 1}, "dropout is 1; give"),
        ({"embed_dropout": -0.1}, "embed_dropout is -0.1; give"),
        ({"recurrent_dropout": 2}, "recurrent_dropout is 2; give"),
    ],
)
def test_invalid_sizes_raise(options, message):
    sizes = {"vocab_size": 10, "embed_size": 8, "num_hiddens": 16, "num_layers": 2}
    with pytest.raises(s2s.InputError, match=message):
        s2s.Seq2SeqEncoder(**{**sizes, **options})


def test_a_length_past_the_steps_raises(encoder, ids):
    with pytest.raises(tf.errors.InvalidArgumentError):
        encoder(ids, tf.constant([8, 7, 7, 7]))
