"""Greedy search, compared with a loop in Python, and its independence of the batch."""

from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf
from small_models import (
    VARIANTS,
    Rules,
    assert_scores_are_reproduced,
    greedy_in_python,
    make_model,
    sources,
)

import keras_s2s as s2s
from keras_s2s.tokenizers.tokenizer import EOS, PAD

VOCAB_SIZE = 12
MAX_STEPS = 7


@pytest.fixture(scope="module", params=VARIANTS)
def model(request):
    # Some hypotheses end with <eos>, others are truncated.
    end_bias = 4.0 if request.param == "feeds" else 1.5
    return make_model(request.param, seed=3, vocab_size=VOCAB_SIZE, end_bias=end_bias)


def some_sources(rows):
    return sources(rows, steps=9, vocab_size=VOCAB_SIZE)


@pytest.mark.parametrize(
    "rules",
    [Rules(), Rules(min_length=3), Rules(no_repeat_ngram_size=1), Rules(0, 0, 2, 2, True)],
)
def test_equals_a_python_loop(model, rules):
    ids, lengths = some_sources(16)
    options = rules._asdict()
    del options["length_penalty"], options["coverage_penalty"]
    result = s2s.greedy_search(model, ids, lengths, MAX_STEPS, **options)
    ends = 0
    for row in range(len(ids)):
        if not lengths[row]:
            assert not result.ids[row].numpy().any()
            assert float(result.log_probabilities[row]) == int(result.lengths[row]) == 0
            continue
        expected = greedy_in_python(model, ids[row], lengths[row], MAX_STEPS, rules)
        tokens = list(expected.tokens)
        assert result.ids[row].numpy().tolist() == tokens + [PAD] * (MAX_STEPS - len(tokens))
        assert int(result.lengths[row]) == len(tokens)
        np.testing.assert_allclose(
            result.log_probabilities[row], expected.log_probability, atol=1e-4
        )
        ends += expected.finished
        if result.attention is not None:
            attention = np.zeros((MAX_STEPS, ids.shape[1]))
            attention[: len(tokens), : lengths[row]] = expected.attention
            np.testing.assert_allclose(result.attention[row], attention, atol=1e-5)
    assert (result.attention is None) == (model.decoder.attention is None)
    # Both finished and truncated hypotheses occur.
    assert rules != Rules() or 0 < ends < np.count_nonzero(lengths)


def test_a_hypothesis_does_not_depend_on_the_batch_or_on_padding(model):
    ids, lengths = some_sources(30)
    input_signature = [tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None], tf.int32)]

    @tf.function(autograph=False, input_signature=input_signature)
    def run(ids, lengths):
        return s2s.greedy_search(model, ids, lengths, MAX_STEPS)

    together = run(ids, lengths)
    wider = run(np.pad(ids, [(0, 0), (0, 20)]), lengths)
    np.testing.assert_array_equal(wider.ids, together.ids)
    for row in range(len(ids)):
        alone = run(ids[row : row + 1, : max(1, lengths[row])], lengths[row : row + 1])
        np.testing.assert_array_equal(alone.ids[0], together.ids[row])
        np.testing.assert_allclose(
            alone.log_probabilities[0], together.log_probabilities[row], atol=1e-5
        )
        if alone.attention is not None:
            steps = alone.attention.shape[2]
            attention = together.attention[row].numpy()
            np.testing.assert_allclose(alone.attention[0], attention[:, :steps], atol=1e-5)
            assert not attention[:, steps:].any()


class Lengths(NamedTuple):
    """A memory that holds the length of each source."""

    valid_length: tf.Tensor


class Counting:
    """A decoder whose hypotheses are as long as the source."""

    vocab_size = VOCAB_SIZE
    copying, encode = None, s2s.Seq2Seq.encode

    def __init__(self, encoder):
        self.encoder, self.decoder = encoder, self
        self.steps = []

    def init_state(self, outputs):
        return [tf.zeros((1, len(outputs[0]), 1))]

    def setup_memory(self, outputs, valid_length):
        return Lengths(tf.constant(valid_length))

    def step(self, tokens, state, memory):
        self.steps.append(len(tokens))
        ends = tf.cast(state[0][0, :, 0] + 1, tf.int32) >= memory.valid_length
        logits = tf.one_hot(tf.where(ends, EOS, 5), VOCAB_SIZE) * 9.0
        attention = tf.repeat(tf.cast(memory.valid_length, tf.float32)[:, None], 5, axis=1)
        return logits, [state[0] + 1], attention


def test_stops_when_every_row_is_finished_and_drops_finished_rows(model):
    lengths = np.array([0, 1, 3, 1, 1, 2, 5, 1, 5], "int32")
    ids = np.full((9, 5), 4, "int32")
    counting = Counting(model.encoder)
    result = s2s.greedy_search(counting, ids, lengths, 1000)
    np.testing.assert_array_equal(result.lengths, lengths)
    for row, length in enumerate(lengths):
        expected = ([5] * (length - 1) + [EOS])[:length]
        assert result.ids[row, :length].numpy().tolist() == expected
        # Each row keeps its own memory.
        np.testing.assert_array_equal(result.attention[row, :length], length)
        assert not result.attention[row, length:].numpy().any()
    # 8 sources are not empty; 4 hypotheses finish at the first step and one at the second, and of
    # the last three the one with 3 tokens is dropped first.
    assert counting.steps == [8, 4, 3, 2, 2]


@pytest.mark.parametrize("shape", [(0, 4), (3, 4)])
def test_empty_batches_and_sources(model, shape):
    ids = tf.zeros(shape, tf.int32)
    result = s2s.greedy_search(model, ids, tf.zeros(shape[:1], tf.int32), MAX_STEPS)
    assert result.ids.shape == (shape[0], MAX_STEPS)
    assert result.log_probabilities.shape == (shape[0],)
    if result.attention is not None:
        assert result.attention.shape == (shape[0], MAX_STEPS, 4)
    assert not result.ids.numpy().any()


def test_nan_logits_end_the_hypothesis():
    model = make_model(vocab_size=VOCAB_SIZE)
    model.decoder.dense.bias.assign(tf.fill([VOCAB_SIZE], np.nan))
    ids, lengths = sources(5, vocab_size=VOCAB_SIZE, shortest=1)
    result = s2s.greedy_search(model, ids, lengths, MAX_STEPS)
    np.testing.assert_array_equal(result.ids[:, :2], [[EOS, PAD]] * 5)
    assert np.isnan(result.log_probabilities).all()


def test_options_out_of_range(model):
    ids, lengths = some_sources(2)
    with pytest.raises(s2s.InputError, match="min_length is 7"):
        s2s.greedy_search(model, ids, lengths, MAX_STEPS, min_length=MAX_STEPS)


def test_scoring_a_hypothesis_gives_the_score_of_the_search(model):
    ids, lengths = some_sources(30)
    result = s2s.greedy_search(model, ids, lengths, MAX_STEPS)
    assert_scores_are_reproduced(model, ids, lengths, result)
