"""Searches with a copying decoder, whose vocabulary grows with the sources of a batch."""

import numpy as np
import pytest
import tensorflow as tf
from small_models import (
    SIZES,
    Rules,
    all_hypotheses,
    assert_scores_are_reproduced,
    best_first,
    greedy_in_python,
)

import keras_s2s as s2s
from keras_s2s.tokenizers.copied_tokens import copying_ids
from keras_s2s.tokenizers.tokenizer import BOS, EOS

VOCAB_SIZE, MAX_STEPS = 7, 3
TEXTS = ["a b x x", "y c", "x a y x", "a z a b c", "", "c y z"]
SOURCE = s2s.WordTokenizer(["<pad>", "<bos>", "<eos>", "<unk>", "a", "b"])
TARGET = s2s.WordTokenizer(["<pad>", "<bos>", "<eos>", "<unk>", "b", "c", "q"])


@pytest.fixture(scope="module")
def model():
    decoder = s2s.Seq2SeqDecoder(
        len(TARGET), **SIZES, attention="luong", copy=s2s.copy_map(SOURCE, TARGET)
    )
    model = s2s.Seq2Seq(s2s.Seq2SeqEncoder(len(SOURCE), **SIZES), decoder)
    rng = np.random.default_rng(2)
    model.set_weights([rng.normal(0, 0.9, weight.shape) for weight in model.get_weights()])
    bias = decoder.dense.bias
    bias.assign(tf.tensor_scatter_nd_add(bias.value, [[EOS]], [4.0]))
    return model


@pytest.fixture(scope="module")
def source():
    ids, _ = copying_ids(SOURCE, TARGET, tf.constant(TEXTS), None, 5)
    ids, lengths = SOURCE.pad(ids, 5)
    return ids.numpy(), lengths.numpy()


def tokens(ids, length):
    return tuple(ids[:length].tolist())


@pytest.mark.parametrize("rules", [Rules(), Rules(0.8, 0.5, 1, 1, True)])
def test_a_large_beam_equals_exhaustive_search(model, source, rules):
    result = s2s.beam_search(model, *source, MAX_STEPS, 300, n_best=8, **rules._asdict())
    copied = 0
    for row, (ids, length) in enumerate(zip(*source, strict=True)):
        if not length:
            continue
        expected = best_first(all_hypotheses(model, ids, length, MAX_STEPS), rules)
        for rank in range(8):
            actual = tokens(result.ids[row, rank].numpy(), int(result.lengths[row, rank]))
            assert actual == expected[rank].tokens, (row, rank)
            np.testing.assert_allclose(
                result.log_probabilities[row, rank], expected[rank].log_probability, atol=1e-4
            )
            copied += any(token >= VOCAB_SIZE for token in actual)
    assert copied > 5


def test_greedy_search_and_a_beam_of_one(model, source):
    greedy = s2s.greedy_search(model, *source, 6)
    beam = s2s.beam_search(model, *source, 6, 1)
    np.testing.assert_array_equal(greedy.ids, beam.ids[:, 0])
    np.testing.assert_array_equal(greedy.log_probabilities, beam.log_probabilities[:, 0])
    for row, (ids, length) in enumerate(zip(*source, strict=True)):
        if length:
            expected = greedy_in_python(model, ids, length, 6, Rules())
            assert tokens(greedy.ids[row].numpy(), int(greedy.lengths[row])) == expected.tokens
    assert_scores_are_reproduced(model, *source, greedy)


def test_a_result_does_not_depend_on_the_batch(model, source):
    def searches(*source):
        beam = s2s.beam_search(model, *source, 6, 4, n_best=2)
        sampled = s2s.sample_search(model, *source, 6, seed=3, num_samples=2, top_p=0.9)
        return beam.ids, beam.scores, sampled.ids, sampled.log_probabilities

    together = searches(*source)
    assert (together[2].numpy() >= VOCAB_SIZE).any()
    for row in (0, 1, 4):
        length = source[1][row]
        alone = searches(source[0][row : row + 1, : max(length, 1)], source[1][row : row + 1])
        for expected, actual in zip(together, alone, strict=True):
            np.testing.assert_allclose(actual[0], expected[row], rtol=1e-4, atol=1e-5)


def test_hypotheses_that_do_not_exist_are_empty(model):
    """A beam larger than the vocabulary, with rules that few hypotheses satisfy."""
    source = tf.constant([[4]]), tf.constant([1])
    result = s2s.beam_search(
        model, *source, 4, 50, n_best=50, no_repeat_ngram_size=1, forbid_unknown=True
    )
    ids, scores = result.ids.numpy()[0], result.scores.numpy()[0]
    assert np.isfinite(scores).sum() > 10
    assert not result.lengths.numpy()[0][~np.isfinite(scores)].any()
    assert ids.max() <= VOCAB_SIZE
    assert not (ids == BOS).any()


def test_ids_out_of_range_are_refused(model):
    limit = len(SOURCE) + len(TARGET) + 2
    with pytest.raises(s2s.InputError, match=f"source_ids contains {limit}"):
        s2s.greedy_search(model, tf.constant([[4, limit]]), tf.constant([2]), 4)
