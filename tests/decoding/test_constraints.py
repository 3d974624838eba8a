"""Constraints on the next token, and top-k over the vocabulary."""

import numpy as np
import pytest
import tensorflow as tf
from small_models import Rules

import keras_s2s as s2s
from keras_s2s.decoding.constraints import BLOCK_SIZE, Constraints, top_k_tokens
from keras_s2s.tokenizers.tokenizer import EOS, PAD, UNK

SIZE, MAX_STEPS = 9, 8


def logits_of(rows, size, seed=0):
    return np.random.default_rng(seed).normal(0, 3, (rows, size)).astype("float32")


@pytest.mark.parametrize(
    "size", [1, 5, BLOCK_SIZE, 10 * BLOCK_SIZE, 21 * BLOCK_SIZE, 21 * BLOCK_SIZE + 7]
)
@pytest.mark.parametrize("k", [1, 4, 10])
@pytest.mark.parametrize("rows", [0, 1, 30])
def test_top_k_tokens(rows, k, size):
    logits = logits_of(rows, size)
    # Several of the highest lie in one block, and some in the remainder after the blocks.
    logits[::2, : min(size, 7)] += 20
    logits[1::3, -3:] += 20
    values, indices = (part.numpy() for part in top_k_tokens(tf.constant(logits), k))
    expected = np.argsort(-logits, axis=1)[:, :k]
    assert indices.dtype == np.int32
    np.testing.assert_array_equal(indices, expected)
    np.testing.assert_array_equal(values, np.take_along_axis(logits, expected, axis=1))


@pytest.mark.parametrize("size", [3, 40 * BLOCK_SIZE])
def test_top_k_tokens_with_nan(size):
    for nan_columns in (slice(None), slice(0, None, 2)):
        logits = logits_of(5, size)
        logits[:, nan_columns] = np.nan
        _, indices = top_k_tokens(tf.constant(logits), 4)
        assert ((indices.numpy() >= 0) & (indices.numpy() < size)).all()


def test_log_probabilities_are_those_of_the_whole_vocabulary_and_never_above_zero():
    logits = logits_of(50, SIZE)
    logits[0, UNK] = 90
    logits = tf.constant(logits)
    constraints = Constraints(min_length=3, no_repeat_ngram_size=1, forbid_unknown=True)
    ids = np.full((50, MAX_STEPS), PAD, "int32")
    candidates = constraints.candidates(logits, tf.constant(0), ids)
    expected = tf.nn.log_softmax(logits).numpy()
    actual = candidates.log_probabilities(logits[:, EOS])
    np.testing.assert_allclose(actual, expected[:, EOS], rtol=1e-5)
    actual = candidates.log_probabilities(logits[:, 2:4])
    np.testing.assert_allclose(actual, expected[:, 2:4], rtol=1e-5, atol=1e-6)
    certain = np.full((200, SIZE), -40, "float32")
    certain[:, 5] = np.linspace(1, 90, 200)
    certain = tf.constant(certain)
    candidates = Constraints().candidates(certain, tf.constant(0), ids)
    assert (candidates.log_probabilities(certain[:, 5]).numpy() <= 0).all()


@pytest.mark.parametrize("min_length", [0, 3])
@pytest.mark.parametrize("size", [0, 1, 2, 3])
@pytest.mark.parametrize("forbid_unknown", [False, True])
def test_allowed_tokens(min_length, size, forbid_unknown):
    """Random prefixes of each length, compared with a check of whole hypotheses."""
    rules = Rules(0.0, 0.0, min_length, size, forbid_unknown)
    constraints = Constraints(min_length, size, forbid_unknown)
    rng = np.random.default_rng(0)
    forbidden = 0
    for step in range(MAX_STEPS):
        prefixes = rng.integers(UNK, 6, (40, step))
        # Prefixes that satisfy the constraints, as in a search.
        prefixes = [row for row in prefixes.tolist() if rules.allow(tuple(row))]
        if not prefixes:
            continue
        ids = np.full((len(prefixes), MAX_STEPS), PAD, "int32")
        ids[:, :step] = prefixes
        logits = logits_of(len(prefixes), SIZE, step)
        candidates = constraints.candidates(
            tf.constant(logits), tf.constant(step), tf.constant(ids)
        )
        # Indexing a tensor takes a hundred times longer than indexing an array.
        eos_logits, token_logits = candidates.eos_logits.numpy(), candidates.token_logits.numpy()
        min_token_id = int(candidates.min_token_id)
        for row, prefix in enumerate(prefixes):
            for token in range(EOS, SIZE):
                if token == EOS:
                    actual = eos_logits[row]
                elif token >= min_token_id:
                    actual = token_logits[row, token - min_token_id]
                else:
                    actual = -np.inf
                allowed = rules.allow((*prefix, token))
                forbidden += not allowed
                assert float(actual) == (logits[row, token] if allowed else -np.inf)
    assert bool(forbidden) == (min_length > 0 or size > 0 or forbid_unknown)


@pytest.mark.parametrize(
    ("options", "max_steps", "vocab_size", "message"),
    [
        ({}, 0, 9, "max_steps is 0"),
        ({"min_length": -1}, 5, 9, "min_length is -1; .*max_steps is 5"),
        ({"min_length": 5}, 5, 9, "min_length is 5; .*max_steps is 5"),
        ({"no_repeat_ngram_size": -1}, 5, 9, "no_repeat_ngram_size is -1"),
        ({"forbid_unknown": True}, 5, 4, "the decoder has 4 tokens, none of which is allowed"),
    ],
)
def test_constraints_that_no_hypothesis_can_satisfy(options, max_steps, vocab_size, message):
    with pytest.raises(s2s.InputError, match=message):
        Constraints(**options).validate(vocab_size, max_steps)
    Constraints(**{**options, "min_length": 0, "no_repeat_ngram_size": 2}).validate(9, 5)
