"""Losses: the chapter's values, masking of padding, label smoothing."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_s2s as s2s
from keras_s2s.losses import label_smoothed_loss

VALID_LENGTH = [4, 2, 0]


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    return rng.integers(0, 10, (3, 4)), rng.normal(0, 3, (3, 4, 10)).astype("float32")


def losses_in_numpy(labels, logits):
    """Compute each token's cross-entropy, zero at padding."""
    exponentials = np.exp(logits.astype("float64"))
    chosen = np.take_along_axis(exponentials, labels[..., None], axis=-1)[..., 0]
    losses = np.log(exponentials.sum(axis=-1)) - np.log(chosen)
    return np.where(np.arange(labels.shape[1]) < np.array(VALID_LENGTH)[:, None], losses, 0)


@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 2), (3, 4, 2, 5)])
@pytest.mark.parametrize(("dtype", "value"), [("int32", 0), ("int64", -7), ("float32", -1e6)])
def test_sequence_mask(shape, dtype, value):
    x = (np.arange(np.prod(shape)).reshape(shape) + 1).astype(dtype)
    expected = x.copy()
    for row, length in enumerate(VALID_LENGTH):
        expected[row, length:] = value
    result = s2s.sequence_mask(x, VALID_LENGTH, value)
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, expected)


def test_sequence_mask_with_infinity_and_dynamic_shapes():
    @tf.function(
        input_signature=[tf.TensorSpec([None, None, None]), tf.TensorSpec([None], "int64")]
    )
    def mask(x, valid_length):
        return s2s.sequence_mask(x, valid_length, value=-np.inf)

    result = mask(tf.ones((2, 3, 1)), tf.constant([1, 3], tf.int64))
    assert result.numpy()[..., 0].tolist() == [[1, -np.inf, -np.inf], [1, 1, 1]]


def test_values_of_the_chapter():
    loss = s2s.MaskedSoftmaxCELoss(reduction="sequence_mean")
    ones = tf.ones((3, 4), tf.int32), tf.ones((3, 4, 10))
    result = loss(*ones, valid_length=VALID_LENGTH)
    np.testing.assert_allclose(result, [2.3026, 1.1513, 0], atol=5e-5)


@pytest.mark.parametrize(
    ("reduction", "reduced"),
    [
        ("none", lambda losses: losses),
        ("sequence_mean", lambda losses: losses.mean(axis=1)),
        ("sum", np.sum),
        ("token_mean", lambda losses: losses.sum() / sum(VALID_LENGTH)),
    ],
)
def test_reductions_in_both_orders_of_arguments(batch, reduction, reduced):
    labels, logits = batch
    loss = s2s.MaskedSoftmaxCELoss(reduction)
    expected = reduced(losses_in_numpy(labels, logits))
    in_keras_order = loss(labels, logits, valid_length=VALID_LENGTH)
    np.testing.assert_allclose(in_keras_order, expected, rtol=1e-5)
    np.testing.assert_allclose(loss(logits, labels, VALID_LENGTH), expected, rtol=1e-5)


def test_default_reduction(batch):
    assert s2s.MaskedSoftmaxCELoss()(*batch) == s2s.MaskedSoftmaxCELoss("token_mean")(*batch)


def test_without_valid_lengths(batch):
    for reduction in ("none", "token_mean"):
        loss = s2s.MaskedSoftmaxCELoss(reduction)
        np.testing.assert_array_equal(loss(*batch), loss(*batch, valid_length=[4, 4, 4]))


def test_loss_of_padding_is_zero(batch):
    assert s2s.MaskedSoftmaxCELoss()(*batch, valid_length=[0, 0, 0]) == 0


def test_gradient_at_padding_is_zero(batch):
    labels, logits = batch
    logits = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = s2s.MaskedSoftmaxCELoss()(labels, logits, valid_length=VALID_LENGTH)
    gradient = tape.gradient(loss, logits).numpy()
    valid = np.arange(4) < np.array(VALID_LENGTH)[:, None]
    assert (gradient[~valid] == 0).all()
    assert np.abs(gradient[valid]).max(axis=-1).min() > 1e-6
    # Softmax minus one-hot, divided by the number of tokens.
    expected = (tf.nn.softmax(logits) - tf.one_hot(labels, 10)).numpy() / sum(VALID_LENGTH)
    np.testing.assert_allclose(gradient[valid], expected[valid], atol=1e-6)


def test_half_precision_logits_are_summed_in_full_precision():
    labels, logits = np.zeros((64, 200), "int32"), np.ones((64, 200, 10), "float16")
    result = s2s.MaskedSoftmaxCELoss("sum")(labels, logits)
    # 64 × 200 × ln 10 is near half of float16's maximum, where its spacing is 16.
    assert result.dtype == "float32"
    np.testing.assert_allclose(result, 64 * 200 * np.log(10), rtol=1e-5)


def test_serialization(batch):
    loss = s2s.MaskedSoftmaxCELoss("sequence_mean", name="mine")
    restored = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert restored.name == "mine"
    results = [one(*batch, valid_length=VALID_LENGTH) for one in (restored, loss)]
    np.testing.assert_array_equal(*results)


# In a user's own `compile`


def test_the_third_argument_is_the_sample_weight_of_keras(batch):
    labels, logits = batch
    losses = losses_in_numpy(labels, logits)
    every = np.asarray(keras.losses.sparse_categorical_crossentropy(labels, logits, True))
    loss = s2s.MaskedSoftmaxCELoss()
    np.testing.assert_allclose(loss(labels, logits, np.ones(3)), every.mean(), rtol=1e-6)
    rows = np.array([2.0, 0.5, 3.0])
    expected = (every * rows[:, None]).sum() / (4 * rows.sum())
    for weights in (rows, rows[:, None], np.repeat(rows[:, None], 4, axis=1)):
        np.testing.assert_allclose(loss(labels, logits, weights), expected, rtol=1e-6)
    tokens = np.random.default_rng(1).random((3, 4))
    valid = np.arange(4) < np.array(VALID_LENGTH)[:, None]
    result = loss(labels, logits, tokens, valid_length=VALID_LENGTH)
    np.testing.assert_allclose(result, (losses * tokens).sum() / tokens[valid].sum(), rtol=1e-5)
    result = s2s.MaskedSoftmaxCELoss("none")(labels, logits, tokens, VALID_LENGTH)
    np.testing.assert_allclose(result, losses * tokens, rtol=1e-5)


def test_valid_lengths_as_the_third_argument_of_keras_are_refused(batch):
    labels, logits = batch
    with pytest.raises(s2s.InputError, match="valid_length="):
        s2s.MaskedSoftmaxCELoss()(labels, logits, VALID_LENGTH)


def test_a_model_compiled_with_it_has_the_mean_of_its_tokens():
    """The mask of `mask_zero` and the sample weights of `fit` reach the loss."""
    ids = np.array([[4, 5, 6, 0], [7, 0, 0, 0], [5, 4, 0, 0]])
    labels = np.array([[1, 2, 3, 1], [2, 2, 3, 3], [0, 4, 4, 4]])
    layers = [
        keras.layers.Embedding(8, 5, mask_zero=True),
        keras.layers.LSTM(5, return_sequences=True, use_cudnn=False),
        keras.layers.Dense(6),
    ]
    model = keras.Sequential([keras.Input((None,), dtype="int32"), *layers])
    model.compile(loss=s2s.MaskedSoftmaxCELoss(), run_eagerly=True)
    losses = keras.losses.sparse_categorical_crossentropy(labels, model(ids), True).numpy()
    mask = ids != 0
    expected = losses[mask].mean()
    assert abs(expected - losses.mean()) > 1e-4
    np.testing.assert_allclose(model.test_on_batch(ids, labels), expected, rtol=1e-5)
    weights = np.array([1.0, 0.0, 3.0])
    expected = np.average(losses, weights=mask * weights[:, None])
    result = model.test_on_batch(ids, labels, sample_weight=weights)
    np.testing.assert_allclose(result, expected, rtol=1e-5)


def test_unknown_reduction():
    with pytest.raises(
        ValueError, match="reduction is 'mean'; give one of token_mean, sequence_mea"
    ):
        s2s.MaskedSoftmaxCELoss("mean")


# Label smoothing


def dense_loss(labels, logits, smoothing):
    """Compute cross-entropy with the dense target distribution."""
    size = logits.shape[1]
    target = (1 - smoothing) * tf.one_hot(labels, size) + smoothing / size
    return tf.nn.softmax_cross_entropy_with_logits(target, logits)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
@pytest.mark.parametrize("run", [lambda function: function, tf.function], ids=["eager", "graph"])
def test_label_smoothing_equals_a_dense_computation(smoothing, run):
    rng = np.random.default_rng(0)
    labels = tf.constant(rng.integers(0, 7, 20), tf.int32)
    logits = tf.constant(rng.normal(0, 3, (20, 7)), tf.float32)
    weights = tf.constant(rng.normal(size=20), tf.float32)

    @run
    def of(loss):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            losses = loss()
            total = tf.reduce_sum(weights * losses[0])
        return *losses, tape.gradient(total, logits)

    result = of(lambda: label_smoothed_loss(labels, logits, smoothing))
    plain = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    expected = of(lambda: (dense_loss(labels, logits, smoothing), plain))
    for actual, desired in zip(result, expected, strict=True):
        np.testing.assert_allclose(actual, desired, rtol=1e-5, atol=1e-5)
    assert (np.abs(result[0] - result[1]).max() > 0.01) == (smoothing > 0)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_reported_loss_has_no_gradient(smoothing):
    logits = tf.random.stateless_normal((5, 7), (0, 0))
    with tf.GradientTape() as tape:
        tape.watch(logits)
        _, losses = label_smoothed_loss(tf.range(5), logits, smoothing)
        total = tf.reduce_sum(losses)
    gradient = tape.gradient(total, logits)
    assert gradient is None or not np.any(gradient)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_no_tokens(smoothing):
    logits = tf.zeros((0, 7))
    with tf.GradientTape() as tape:
        tape.watch(logits)
        smoothed, losses = label_smoothed_loss(tf.zeros((0,), tf.int32), logits, smoothing)
        total = tf.reduce_sum(smoothed)
    assert smoothed.shape == losses.shape == (0,)
    assert tape.gradient(total, logits).shape == (0, 7)


def test_the_least_likely_label_has_a_finite_loss():
    # Its probability underflows in float32.
    logits = tf.constant([[1000.0, 0.0, -500.0]] * 3)
    smoothed, losses = label_smoothed_loss(tf.range(3), logits, 0.0)
    np.testing.assert_allclose(losses, [0, 1000, 1500])
    np.testing.assert_array_equal(smoothed, losses)


def test_incompatible_shapes(batch):
    labels, logits = batch
    loss = s2s.MaskedSoftmaxCELoss()
    for wrong in ((labels, labels), (labels, logits[:, 1:]), (labels[:, 0], logits)):
        with pytest.raises(s2s.InputError, match=r"give \(batch, steps\) and \(batch, steps, voc"):
            loss(*wrong)
    # A scalar length would be broadcast.
    with pytest.raises(s2s.InputError, match=r"valid_length \(1,\); give"):
        loss(labels, logits, valid_length=[2])
    for wrong in (np.ones(2), np.ones((3, 3)), np.ones((3, 4, 1))):
        with pytest.raises(s2s.InputError, match="sample_weight has the shape"):
            loss(labels, logits, wrong)
    with pytest.raises(s2s.InputError, match=r"x has the shape \(3,\)"):
        s2s.sequence_mask([1, 2, 3], [1])
