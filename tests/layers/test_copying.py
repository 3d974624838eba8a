"""The mixture of a copying decoder, compared with its definition in NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_s2s as s2s
from keras_s2s.layers.copying import Copying, Mixture
from keras_s2s.models.token_sums import sum_over_tokens
from keras_s2s.tokenizers.tokenizer import BOS, EOS, UNK

SOURCE_SIZE, TARGET_SIZE = 7, 9
# Source tokens 4 and 6 are the target's 5 and 7; 5 is not in the target vocabulary.
COPY = [-1, -1, -1, -1, 5, -1, 7]
ONLY_TARGET, NEITHER = SOURCE_SIZE, SOURCE_SIZE + TARGET_SIZE
SOURCE = [
    [4, 5, 5, 6, 4],
    [ONLY_TARGET + 8, NEITHER + 1, 4, NEITHER + 1, NEITHER + 4],
    [UNK, UNK, 5, 0, 0],
    [0, 0, 0, 0, 0],
]
LENGTHS = [5, 5, 3, 0]
# The tokens of the sources as ids of the extended vocabulary.
NAMES = [[5, 10, 10, 7, 5], [8, 10, 5, 10, 13], [9, 10, 11], []]
TARGET = [[BOS, 5, 10, 7, EOS], [BOS, 8, 10, 13, 4], [BOS, 9, 11, UNK, EOS], [BOS, 4, 6, EOS, 0]]
TARGET_LENGTHS = [5, 5, 5, 4]
OPTIONS = [{"attention": "luong"}, {"attention": "bahdanau", "input_feeding": True}]


def make_model(dtype="float32", sizes=(6, 8), **options):
    sizes = {"embed_size": sizes[0], "num_hiddens": sizes[1], "num_layers": 1, "dtype": dtype}
    model = s2s.Seq2Seq(
        s2s.Seq2SeqEncoder(SOURCE_SIZE, **sizes),
        s2s.Seq2SeqDecoder(TARGET_SIZE, **sizes, **{"attention": "luong", "copy": COPY, **options}),
        dtype=dtype,
    )
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(0, 0.7, weight.shape) for weight in model.get_weights()])
    return model


@pytest.fixture
def batch():
    return tuple(
        (tf.constant(ids), tf.constant(lengths))
        for ids, lengths in ((SOURCE, LENGTHS), (TARGET, TARGET_LENGTHS))
    )


def expected_probabilities(model, batch):
    """Compute the mixture from its definition, (batch, steps, TARGET_SIZE + source steps)."""
    (source, (target_ids, _)) = batch
    decoder = model.decoder
    outputs, _, attention = decoder.decode_attending(target_ids[:, :-1], *model.encode(source))
    outputs, attention = np.transpose(outputs, (1, 0, 2)), np.array(attention)
    logits = outputs @ np.array(decoder.dense.kernel) + np.array(decoder.dense.bias)
    generated = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    gate = decoder.copying.gate
    p_gen = 1 / (1 + np.exp(-(outputs @ np.array(gate.kernel) + np.array(gate.bias))))
    probabilities = np.zeros((*logits.shape[:2], TARGET_SIZE + len(SOURCE[0])))
    probabilities[..., :TARGET_SIZE] = p_gen * generated
    for row, names in enumerate(NAMES):
        for position, name in enumerate(names):
            copied = (1 - p_gen[row, :, 0]) * attention[row, :, position]
            probabilities[row, :, name] += copied
    return probabilities


@pytest.mark.parametrize("options", OPTIONS)
def test_probabilities_equal_their_definition(batch, options):
    model = make_model(**options)
    expected = expected_probabilities(model, batch)
    actual = np.exp(model(batch))
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(actual[:3].sum(-1), 1, rtol=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_losses_equal_those_of_all_probabilities(batch, smoothing):
    model = make_model(output_dropout=0.0)
    model.label_smoothing = smoothing
    sums = sum_over_tokens(model, batch, None, None, training=True)
    logs = np.log(np.maximum(expected_probabilities(model, batch), 1e-300))
    labels = np.array(TARGET)[:, 1:]
    valid = np.arange(4) < np.array(TARGET_LENGTHS)[:, None] - 1
    label_logs = np.take_along_axis(logs, labels[..., None], -1)[..., 0]
    smoothed = (1 - smoothing) * label_logs + smoothing * logs[..., :TARGET_SIZE].mean(-1)
    correct = (logs.argmax(-1) == labels) & (labels != UNK)
    np.testing.assert_allclose(sums.cross_entropy, -label_logs[valid].sum(), rtol=1e-5)
    np.testing.assert_allclose(sums.objective, -smoothed[valid].sum(), rtol=1e-5)
    assert float(sums.num_correct) == correct[valid].sum()
    assert float(sums.num_tokens) == valid.sum() == 15


@pytest.mark.parametrize("options", OPTIONS)
def test_gradients_equal_differences(batch, options):
    model = make_model("float64", sizes=(3, 4), **options)
    model.label_smoothing = 0.1

    def objective():
        return sum_over_tokens(model, batch, None, None, training=True).objective

    with tf.GradientTape() as tape:
        value = objective()
    weights = model.trainable_weights
    gradients = tape.gradient(value, weights)
    assert {"gate", "dense"} <= {weight.path.split("/")[-2] for weight in weights}
    rng, step = np.random.default_rng(1), 1e-5
    before = [np.array(weight) for weight in weights]
    everything = [rng.normal(size=value.shape) for value in before]
    gate = [
        direction * ("/gate/" in weight.path)
        for direction, weight in zip(everything, weights, strict=True)
    ]
    for directions in (everything, gate):
        values = []
        for sign in (1, -1):
            for weight, value, direction in zip(weights, before, directions, strict=True):
                weight.assign(value + sign * step * direction)
            values.append(float(objective()))
        expected = (values[0] - values[1]) / (2 * step)
        pairs = zip(gradients, directions, strict=True)
        actual = sum(float(tf.reduce_sum(tf.convert_to_tensor(a) * b)) for a, b in pairs)
        np.testing.assert_allclose(actual, expected, rtol=1e-6)


@pytest.mark.parametrize("options", [*OPTIONS, {"tie_embeddings": True}])
def test_all_steps_at_once_equal_single_steps(batch, options):
    model = make_model(**options)
    source, (target_ids, _) = batch
    expected = model(batch)
    state, memory = model.encode(source)
    for step in range(4):
        logits, state, _ = model.decoder.step(target_ids[:, step], state, memory)
        np.testing.assert_allclose(np.exp(logits), np.exp(expected[:, step]), atol=1e-6)


def test_losses_stay_finite_where_probabilities_vanish():
    logits, weights = tf.constant([[1e4, 0.0, -1e4]] * 4), tf.constant([[1.0, 0.0]] * 4)
    labels = tf.constant([1, 2, 4, 3])
    with tf.GradientTape() as tape:
        tape.watch([logits, weights])
        gate = tf.constant([500.0, -500.0, 500.0, -500.0])
        mixture = Mixture(logits, gate, weights, tf.constant([[3, 4]] * 4))
        objectives, losses, correct = mixture.losses(labels, 0.1)
    assert np.isfinite(objectives).all()
    assert losses.numpy()[[0, 3]].tolist() == [1e4, 0.0]
    assert correct.numpy().tolist() == [False, False, False, True]
    for gradient in tape.gradient(objectives, [logits, weights]):
        assert np.isfinite(gradient).all()


def test_user_metrics_see_the_extended_vocabulary(batch):
    model = make_model()
    metric = keras.metrics.SparseCategoricalAccuracy(name="other")
    model.compile(metrics=[metric], run_eagerly=True)
    data = tf.data.Dataset.from_tensors(batch)
    logs = model.evaluate(data, verbose=0, return_dict=True)
    probabilities = expected_probabilities(model, batch)
    labels = np.array(TARGET)[:, 1:]
    valid = np.arange(4) < np.array(TARGET_LENGTHS)[:, None] - 1
    right = probabilities.argmax(-1) == labels
    np.testing.assert_allclose(logs["other"], right[valid].mean(), rtol=1e-6)


def test_half_precision(batch):
    """The mixture is computed in float32."""
    full, half = make_model(), make_model("mixed_bfloat16")
    assert half(batch).dtype == tf.float32
    np.testing.assert_allclose(np.exp(half(batch)), np.exp(full(batch)), atol=0.05)
    with tf.GradientTape() as tape:
        objective = sum_over_tokens(half, batch, None, None, training=True).objective
    gate = half.decoder.copying.gate.kernel
    assert np.isfinite(tape.gradient(objective, gate.value)).all()


def test_a_label_that_is_nowhere_is_refused(batch):
    model = make_model()
    model.compile(run_eagerly=True)
    (source, (target_ids, lengths)) = batch
    target_ids = tf.where(target_ids == 13, 12, target_ids)  # token 1 occurs again there
    with pytest.raises(s2s.InputError, match="does not fit the model"):
        model.fit(tf.data.Dataset.from_tensors((source, (target_ids, lengths))), verbose=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attention": None}, "copy needs attention"),
        ({"copy": [-1, -1, -1, -1, 5, 5, -1]}, "holds an id twice"),
        ({"copy": [-1, -1, -1, -1, 5, 9, -1]}, "beyond the 9 tokens"),
        ({"copy": COPY[:-1]}, "copy is for 6 source tokens, and the encoder has 7"),
        ({"copy": True}, "copy is for 9 source tokens, and the encoder has 7"),
    ],
)
def test_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make_model(**options)


def test_a_memory_needs_the_source_ids(batch):
    model = make_model()
    outputs = model.encoder(tf.zeros_like(batch[0][0]), batch[0][1])
    with pytest.raises(ValueError, match="source_ids"):
        model.decoder.setup_memory(outputs, batch[0][1])


def test_one_vocabulary_for_both_sides():
    assert Copying(5, range(5), 4).source_to_target == (0, 1, 2, 3, 4)
    decoder = s2s.Seq2SeqDecoder(5, 4, 4, 1, attention="luong", copy=True)
    again = s2s.Seq2SeqDecoder.from_config(decoder.get_config())
    assert again.get_config() == decoder.get_config()
    assert s2s.Seq2SeqDecoder(5, 4, 4, 1).get_config()["copy"] is False
