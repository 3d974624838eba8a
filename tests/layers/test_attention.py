"""Attention: the score functions of the papers, and masking of padding."""

import numpy as np
import pytest
import tensorflow as tf

from keras_s2s.layers.attention import SCORES, Attention

BATCH, QUERIES, STEPS, HIDDENS, MEMORY_SIZE = 4, 3, 5, 6, 8
LENGTHS = [5, 2, 0, 1]


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


@pytest.fixture
def queries():
    return normal(1, BATCH, QUERIES, HIDDENS)


@pytest.fixture
def make():
    """Return a function that makes a layer with random weights and encoder outputs for it."""

    def make(score, **options):
        size = HIDDENS if score == "luong-dot" else MEMORY_SIZE
        layer = Attention(score, HIDDENS, size, **options)
        layer.build()
        layer.set_weights(
            [normal(seed, *weight.shape) for seed, weight in enumerate(layer.weights)]
        )
        return layer, normal(2, BATCH, STEPS, size)

    return make


def reference_attention(score, weights, query, memory, length):
    """Compute context and weights of one query over one source, in NumPy."""
    memory = memory[:length]
    if score == "luong-dot":
        scores = memory @ query
    elif score == "luong":
        (kernel,) = weights
        scores = memory @ kernel @ query
    else:
        key_weights, query_weights, score_weights = weights
        scores = np.tanh(query @ query_weights + memory @ key_weights) @ score_weights[:, 0]
    exponentials = np.exp(scores.astype("float64"))
    attention = exponentials / exponentials.sum()
    return attention @ memory, attention


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("lengths", [LENGTHS, None], ids=["masked", "all"])
def test_equals_the_formulas(make, queries, score, lengths):
    layer, outputs = make(score)
    memory = layer.setup_memory(outputs, None if lengths is None else tf.constant(lengths))
    contexts, weights = layer(queries, memory)
    assert contexts.shape == (BATCH, QUERIES, outputs.shape[2])
    assert weights.shape == (BATCH, QUERIES, STEPS)
    for row, length in enumerate(lengths or [STEPS] * BATCH):
        assert not np.any(weights[row, :, length:]), "padding gets exactly 0"
        for index in range(QUERIES):
            if not length:
                assert not np.any(contexts[row, index])
                continue
            context, attention = reference_attention(
                score, layer.get_weights(), queries[row, index], outputs[row], length
            )
            np.testing.assert_allclose(weights[row, index, :length], attention, atol=1e-5)
            np.testing.assert_allclose(contexts[row, index], context, atol=1e-5)


@pytest.mark.parametrize("score", SCORES)
def test_padding_does_not_affect_results(make, queries, score):
    layer, outputs = make(score)
    valid = np.arange(STEPS) < np.array(LENGTHS)[:, None]
    # Large enough to dominate if it had any weight.
    noisy = np.where(valid[..., None], outputs, np.float32(1e4))
    wider = np.pad(noisy, [(0, 0), (0, 4), (0, 0)], constant_values=-1e4)
    contexts, weights = layer(queries, layer.setup_memory(outputs, LENGTHS))
    for other in (noisy, wider):
        result_contexts, result_weights = layer(queries, layer.setup_memory(other, LENGTHS))
        np.testing.assert_allclose(result_contexts, contexts, atol=1e-6)
        np.testing.assert_allclose(result_weights[..., :STEPS], weights, atol=1e-6)
        assert not np.any(result_weights[..., STEPS:])


@pytest.mark.parametrize("score", SCORES)
def test_extreme_scores_stay_finite(make, queries, score):
    layer, outputs = make(score)
    with tf.GradientTape() as tape:
        inputs = tf.constant(queries * 1e3), tf.constant(outputs * 1e3)
        tape.watch(inputs)
        contexts, weights = layer(inputs[0], layer.setup_memory(inputs[1], LENGTHS))
        total = tf.reduce_sum(contexts) + tf.reduce_sum(weights**2)
    for value in (contexts, weights, *tape.gradient(total, [*inputs, *layer.trainable_weights])):
        assert np.isfinite(value).all()
    np.testing.assert_allclose(np.sum(weights, axis=2)[0], 1, atol=1e-6)


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_with_float32_weights(make, queries, score, policy):
    # Smaller queries: rounding a score of 30 to half precision changes its weight by a factor.
    queries = queries / 4
    layer, outputs = make(score)
    expected_contexts, expected_weights = layer(queries, layer.setup_memory(outputs, LENGTHS))
    layer, _ = make(score, dtype=policy)
    contexts, weights = layer(
        tf.cast(queries, layer.compute_dtype), layer.setup_memory(outputs, LENGTHS)
    )
    assert weights.dtype == tf.float32
    assert contexts.dtype == layer.compute_dtype
    np.testing.assert_allclose(
        np.sum(weights, axis=2), np.sign(LENGTHS)[:, None] * np.ones(QUERIES), atol=1e-6
    )
    assert not np.any(weights[2]), "an empty source"
    np.testing.assert_allclose(weights, expected_weights, atol=0.05)
    np.testing.assert_allclose(tf.cast(contexts, tf.float32), expected_contexts, atol=0.1)


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize(("batch", "steps"), [(0, STEPS), (BATCH, 0)])
def test_empty_batches_and_empty_sources(make, queries, score, batch, steps):
    layer, outputs = make(score)
    memory = layer.setup_memory(outputs[:batch, :steps], tf.zeros(batch, tf.int32))
    contexts, weights = layer(queries[:batch], memory)
    assert weights.shape == (batch, QUERIES, steps)
    assert contexts.shape == (batch, QUERIES, outputs.shape[2])
    assert not np.any(contexts)


def test_invalid_scores_and_widths_raise():
    with pytest.raises(ValueError, match="attention is 'dot'; give one of luong, luong-dot, bahda"):
        Attention("dot", 8, 8)
    with pytest.raises(ValueError, match=r"'luong-dot' needs equal num_hiddens, not 8 .* and 16"):
        Attention("luong-dot", 8, 16)


def test_weights_are_the_same_built_by_call_or_by_build(queries):
    for score in SCORES:
        layer = Attention(score, HIDDENS, HIDDENS)
        layer(queries, layer.setup_memory(normal(2, BATCH, STEPS, HIDDENS), LENGTHS))
        other = Attention(score, HIDDENS, HIDDENS)
        other.build()
        shapes = [[weight.shape for weight in each.weights] for each in (layer, other)]
        assert shapes[0] == shapes[1]
