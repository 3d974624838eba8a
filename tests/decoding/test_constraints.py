"""What may come next in an answer, and the most probable of it."""

import numpy as np
import pytest
import tensorflow as tf
from small_models import Rules

import keras_s2s as s2s
from keras_s2s.decoding.constraints import BLOCK, Constraints, top_k_tokens
from keras_s2s.tokenizers.tokenizer import EOS, PAD, UNK

SIZE, MAX_STEPS = 9, 8


def logits_of(rows, size, seed=0):
    return np.random.default_rng(seed).normal(0, 3, (rows, size)).astype("float32")


@pytest.mark.parametrize("size", [1, 5, BLOCK, 10 * BLOCK, 21 * BLOCK, 21 * BLOCK + 7])
@pytest.mark.parametrize("number", [1, 4, 10])
@pytest.mark.parametrize("rows", [0, 1, 30])
def test_most_probable(rows, number, size):
    logits = logits_of(rows, size)
    # Several of the highest lie in one block, and some in what is left over of the blocks.
    logits[::2, : min(size, 7)] += 20
    logits[1::3, -3:] += 20
    values, places = (part.numpy() for part in top_k_tokens(tf.constant(logits), number))
    expected = np.argsort(-logits, axis=1)[:, :number]
    assert places.dtype == np.int32
    np.testing.assert_array_equal(places, expected)
    np.testing.assert_array_equal(values, np.take_along_axis(logits, expected, axis=1))


@pytest.mark.parametrize("size", [3, 40 * BLOCK])
def test_most_probable_among_what_is_no_number(size):
    for spoiled in (slice(None), slice(0, None, 2)):
        logits = logits_of(5, size)
        logits[:, spoiled] = np.nan
        _, places = top_k_tokens(tf.constant(logits), 4)
        assert ((places.numpy() >= 0) & (places.numpy() < size)).all()


def test_log_probabilities_are_those_of_the_whole_vocabulary_and_never_above_zero():
    logits = logits_of(50, SIZE)
    logits[0, UNK] = 90
    logits = tf.constant(logits)
    constraints = Constraints(min_length=3, no_repeat_ngram_size=1, forbid_unknown=True)
    ids = np.full((50, MAX_STEPS), PAD, "int32")
    choices = constraints.choices(logits, tf.constant(0), ids)
    expected = tf.nn.log_softmax(logits).numpy()
    found = choices.log_probabilities(logits[:, EOS])
    np.testing.assert_allclose(found, expected[:, EOS], rtol=1e-5)
    found = choices.log_probabilities(logits[:, 2:4])
    np.testing.assert_allclose(found, expected[:, 2:4], rtol=1e-5, atol=1e-6)
    certain = np.full((200, SIZE), -40, "float32")
    certain[:, 5] = np.linspace(1, 90, 200)
    certain = tf.constant(certain)
    choices = Constraints().choices(certain, tf.constant(0), ids)
    assert (choices.log_probabilities(certain[:, 5]).numpy() <= 0).all()


@pytest.mark.parametrize("min_length", [0, 3])
@pytest.mark.parametrize("size", [0, 1, 2, 3])
@pytest.mark.parametrize("forbid_unknown", [False, True])
def test_what_is_allowed(min_length, size, forbid_unknown):
    """All beginnings of random answers, against a check of whole answers."""
    rules = Rules(0.0, 0.0, min_length, size, forbid_unknown)
    constraints = Constraints(min_length, size, forbid_unknown)
    rng = np.random.default_rng(0)
    forbidden = 0
    for step in range(MAX_STEPS):
        beginnings = rng.integers(UNK, 6, (40, step))
        # Without repetitions so far, as they are in a search.
        beginnings = [row for row in beginnings.tolist() if rules.allow(tuple(row))]
        if not beginnings:
            continue
        ids = np.full((len(beginnings), MAX_STEPS), PAD, "int32")
        ids[:, :step] = beginnings
        logits = logits_of(len(beginnings), SIZE, step)
        choices = constraints.choices(tf.constant(logits), tf.constant(step), tf.constant(ids))
        for row, beginning in enumerate(beginnings):
            for token in range(EOS, SIZE):
                if token == EOS:
                    found = choices.end[row]
                elif token >= choices.first_word:
                    found = choices.words[row, token - choices.first_word]
                else:
                    found = -np.inf
                allowed = rules.allow((*beginning, token))
                forbidden += not allowed
                assert float(found) == (logits[row, token] if allowed else -np.inf)
    assert bool(forbidden) == (min_length > 0 or size > 0 or forbid_unknown)


@pytest.mark.parametrize(
    ("options", "max_steps", "vocab_size", "message"),
    [
        ({}, 0, 9, "max_steps is 0; give 1 or more"),
        ({"min_length": -1}, 5, 9, "min_length is -1; give 0 or more, and less than max_steps, 5"),
        ({"min_length": 5}, 5, 9, "min_length is 5; give 0 or more, and less than max_steps, 5"),
        ({"no_repeat_ngram_size": -1}, 5, 9, "no_repeat_ngram_size is -1; give 0 or more"),
        ({"forbid_unknown": True}, 5, 4, "the decoder knows 4 tokens, none of which may be taken"),
    ],
)
def test_what_no_answer_can_keep_to(options, max_steps, vocab_size, message):
    with pytest.raises(s2s.InputError, match=message):
        Constraints(**options).check(vocab_size, max_steps)
    Constraints(**{**options, "min_length": 0, "no_repeat_ngram_size": 2}).check(9, 5)
