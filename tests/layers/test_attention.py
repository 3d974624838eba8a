"""Attention: the scores of the papers, and padding that gets none of it."""

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
    """Builds a layer with random weights; gives it and the outputs of an encoder."""

    def make(score, **options):
        size = HIDDENS if score == "luong-dot" else MEMORY_SIZE
        layer = Attention(score, HIDDENS, size, **options)
        layer.build()
        layer.set_weights(
            [normal(seed, *weight.shape) for seed, weight in enumerate(layer.weights)]
        )
        return layer, normal(2, BATCH, STEPS, size)

    return make


def in_numpy(score, weights, query, memory, length):
    """Context and weights of one query, from the tokens of one source."""
    memory = memory[:length]
    if score == "luong-dot":
        scores = memory @ query
    elif score == "luong":
        (general,) = weights
        scores = memory @ general @ query
    else:
        for_keys, for_queries, for_score = weights
        scores = np.tanh(query @ for_queries + memory @ for_keys) @ for_score[:, 0]
    exponentials = np.exp(scores.astype("float64"))
    shares = exponentials / exponentials.sum()
    return shares @ memory, shares


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("lengths", [LENGTHS, None], ids=["masked", "all"])
def test_equals_the_formulas(make, queries, score, lengths):
    layer, outputs = make(score)
    memory = layer.setup_memory(outputs, None if lengths is None else tf.constant(lengths))
    contexts, weights = layer(queries, memory)
    assert contexts.shape == (BATCH, QUERIES, outputs.shape[2])
    assert weights.shape == (BATCH, QUERIES, STEPS)
    for row, length in enumerate(lengths or [STEPS] * BATCH):
        assert not np.any(weights[row, :, length:]), "padding gets none, to the bit"
        for place in range(QUERIES):
            if not length:
                assert not np.any(contexts[row, place])
                continue
            context, shares = in_numpy(
                score, layer.get_weights(), queries[row, place], outputs[row], length
            )
            np.testing.assert_allclose(weights[row, place, :length], shares, atol=1e-5)
            np.testing.assert_allclose(contexts[row, place], context, atol=1e-5)


@pytest.mark.parametrize("score", SCORES)
def test_what_is_written_in_padding_has_no_part_in_it(make, queries, score):
    layer, outputs = make(score)
    valid = np.arange(STEPS) < np.array(LENGTHS)[:, None]
    # Large enough to outweigh everything else, had it a weight.
    noisy = np.where(valid[..., None], outputs, np.float32(1e4))
    wider = np.pad(noisy, [(0, 0), (0, 4), (0, 0)], constant_values=-1e4)
    contexts, weights = layer(queries, layer.setup_memory(outputs, LENGTHS))
    for other in (noisy, wider):
        found_contexts, found_weights = layer(queries, layer.setup_memory(other, LENGTHS))
        np.testing.assert_allclose(found_contexts, contexts, atol=1e-6)
        np.testing.assert_allclose(found_weights[..., :STEPS], weights, atol=1e-6)
        assert not np.any(found_weights[..., STEPS:])


@pytest.mark.parametrize("score", SCORES)
def test_scores_that_are_far_apart_are_no_crash(make, queries, score):
    layer, outputs = make(score)
    with tf.GradientTape() as tape:
        given = tf.constant(queries * 1e3), tf.constant(outputs * 1e3)
        tape.watch(given)
        contexts, weights = layer(given[0], layer.setup_memory(given[1], LENGTHS))
        total = tf.reduce_sum(contexts) + tf.reduce_sum(weights**2)
    for part in (contexts, weights, *tape.gradient(total, [*given, *layer.trainable_weights])):
        assert np.isfinite(part).all()
    np.testing.assert_allclose(np.sum(weights, axis=2)[0], 1, atol=1e-6)


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_is_near_and_its_weights_are_not_half(make, queries, score, policy):
    # Smaller queries, since what a score of 30 loses in half precision is worth a factor.
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
def test_nothing_to_attend_to(make, queries, score, batch, steps):
    layer, outputs = make(score)
    memory = layer.setup_memory(outputs[:batch, :steps], tf.zeros(batch, tf.int32))
    contexts, weights = layer(queries[:batch], memory)
    assert weights.shape == (batch, QUERIES, steps)
    assert contexts.shape == (batch, QUERIES, outputs.shape[2])
    assert not np.any(contexts)


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match="attention is 'dot'; give one of luong, luong-dot, bahda"):
        Attention("dot", 8, 8)
    with pytest.raises(
        ValueError, match="'luong-dot' compares the decoder's 8 values with the enc"
    ):
        Attention("luong-dot", 8, 16)


def test_weights_can_be_built_in_either_order(queries):
    for score in SCORES:
        layer = Attention(score, HIDDENS, HIDDENS)
        layer(queries, layer.setup_memory(normal(2, BATCH, STEPS, HIDDENS), LENGTHS))
        other = Attention(score, HIDDENS, HIDDENS)
        other.build()
        shapes = [[weight.shape for weight in each.weights] for each in (layer, other)]
        assert shapes[0] == shapes[1]
