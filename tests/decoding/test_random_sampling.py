"""Sampling frequencies follow the model, and samples do not depend on the batch."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from small_models import (
    VARIANTS,
    Continuations,
    Hypothesis,
    Rules,
    assert_scores_are_reproduced,
    make_model,
    sources,
)

import keras_s2s as s2s
from keras_s2s.tokenizers.tokenizer import EOS, PAD

VOCAB_SIZE, MAX_STEPS = 30, 6


@pytest.fixture(scope="module")
def model():
    return make_model("attends", vocab_size=VOCAB_SIZE, end_bias=2.0)


def assert_equal(left, right):
    for name in left._fields:
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name), name)


def sequence_probabilities(model, ids, length, max_steps, temperature, top_k, top_p, rules):
    """Compute the probability of sampling each hypothesis from the definitions."""
    continuations = Continuations(model, ids, length)
    prefixes, complete = {(): 1.0}, {}
    while prefixes:
        rows, _ = continuations.after([Hypothesis(tokens) for tokens in prefixes])
        extended = {}
        for (tokens, probability), row in zip(prefixes.items(), rows, strict=True):
            allowed = [token for token in range(len(row)) if rules.allow((*tokens, token))]
            allowed.sort(key=lambda token, row=row: -row[token])
            weights = np.exp(row[allowed[: top_k or None]] / temperature)
            weights /= weights.sum()
            nucleus_size = int(np.searchsorted(np.cumsum(weights), top_p - 1e-12)) + 1
            weights = weights[:nucleus_size] / weights[:nucleus_size].sum()
            for token, weight in zip(allowed, weights, strict=False):
                extended[(*tokens, token)] = probability * weight
        whole = [key for key in extended if key[-1] == EOS or len(key) == max_steps]
        complete.update((key, extended.pop(key)) for key in whole)
        prefixes = extended
    assert np.isclose(sum(complete.values()), 1)
    return complete


def assert_frequencies(samples, expected):
    """Pearson's chi-squared test; hypotheses with expected counts below 5 are pooled."""
    counts = dict.fromkeys(expected, 0)
    for hypothesis in samples:
        counts[hypothesis] += 1
    rare = [hypothesis for hypothesis in expected if expected[hypothesis] * len(samples) < 5]
    observed_counts = [counts[hypothesis] for hypothesis in expected if hypothesis not in rare]
    expected_counts = [
        expected[hypothesis] * len(samples) for hypothesis in expected if hypothesis not in rare
    ]
    observed_counts.append(sum(counts[hypothesis] for hypothesis in rare))
    expected_counts.append(sum(expected[hypothesis] for hypothesis in rare) * len(samples))
    if expected_counts[-1] < 5:
        observed_counts[-2:], expected_counts[-2:] = (
            [sum(observed_counts[-2:])],
            [sum(expected_counts[-2:])],
        )
    statistic = sum((o - w) ** 2 / w for o, w in zip(observed_counts, expected_counts, strict=True))
    degrees_of_freedom = len(expected_counts) - 1
    assert degrees_of_freedom >= 2
    # Four standard deviations above the mean.
    assert statistic < degrees_of_freedom + 4 * (2 * degrees_of_freedom) ** 0.5


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p", "rules"),
    [
        (1.0, 0, 1.0, Rules()),
        (0.4, 0, 1.0, Rules()),
        (2.5, 0, 1.0, Rules()),
        (1.0, 2, 1.0, Rules()),
        (1.0, 0, 0.7, Rules()),
        (1.5, 3, 0.9, Rules()),
        (1.5, 0, 1.0, Rules(0, 0, 1, 1, True)),
        (1.5, 3, 0.95, Rules(0, 0, 1, 1, False)),
    ],
)
def test_frequencies_match_the_probabilities_of_the_model(temperature, top_k, top_p, rules):
    max_steps, num_samples = 3, 4000
    model = make_model("feeds", seed=1, end_bias=1.0)
    ids, lengths = sources(1, shortest=3)
    expected = sequence_probabilities(
        model, ids[0], lengths[0], max_steps, temperature, top_k, top_p, rules
    )
    result = s2s.sample_search(
        model,
        ids,
        lengths,
        max_steps,
        seed=0,
        num_samples=num_samples,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_length=rules.min_length,
        no_repeat_ngram_size=rules.no_repeat_ngram_size,
        forbid_unknown=rules.forbid_unknown,
    )
    assert result.ids.shape == (1, num_samples, max_steps)
    samples = [
        tuple(row[:length])
        for row, length in zip(
            result.ids[0].numpy().tolist(), result.lengths[0].numpy(), strict=True
        )
    ]
    assert_frequencies(samples, expected)
    # The log-probability of a sample is the model's, whatever the sampling distribution.
    continuations = Continuations(model, ids[0], lengths[0])
    for hypothesis, row in list(
        {hypothesis: row for row, hypothesis in enumerate(samples)}.items()
    )[:5]:
        total = 0.0
        for step, token in enumerate(hypothesis):
            log_probabilities, _ = continuations.after([Hypothesis(hypothesis[:step])])
            total += log_probabilities[0, token]
        np.testing.assert_allclose(result.log_probabilities[0, row], total, atol=1e-4)


class Uniform:
    """A decoder with equal probabilities for `<eos>`, `<unk>` and two words."""

    vocab_size = 6
    copying, encode = None, s2s.Seq2Seq.encode

    def __init__(self, encoder):
        self.encoder, self.decoder = encoder, self

    def init_state(self, outputs):
        return [tf.zeros((1, tf.shape(outputs[0])[0], 1))]

    def setup_memory(self, outputs, valid_length):
        return None

    def step(self, tokens, state, memory):
        return tf.zeros((tf.shape(tokens)[0], self.vocab_size)), state, None


def test_samples_of_different_sources_seeds_and_indices_are_independent():
    """Also those of sources that differ in one token, and of consecutive seeds."""
    uniform = Uniform(make_model(vocab_size=600).encoder)
    words = np.arange(4, 596, dtype="int32")[:, None]
    ids, lengths = np.pad(words, [(0, 0), (1, 1)], constant_values=9), np.full(len(words), 3)
    uniform_tokens = {(token,): 1 / 4 for token in (2, 3, 4, 5)}
    pairs = dict.fromkeys(itertools.product(uniform_tokens, uniform_tokens), 1 / 16)

    def first_tokens(ids, lengths, seed, num_samples):
        result = s2s.sample_search(uniform, ids, lengths, 1, seed, num_samples=num_samples)
        return [(token,) for token in result.ids.numpy().reshape(-1)]

    by_source = first_tokens(ids, lengths, 0, 1)
    assert_frequencies(by_source, uniform_tokens)
    assert_frequencies(list(itertools.pairwise(by_source)), pairs)
    by_sample = first_tokens(ids[:1], lengths[:1], 0, 600)
    assert_frequencies(list(itertools.pairwise(by_sample)), pairs)
    by_seed = [first_tokens(ids[:40], lengths[:40], seed, 1) for seed in range(12)]
    for one, next_one in itertools.pairwise(by_seed):
        assert np.mean([left == right for left, right in zip(one, next_one, strict=True)]) < 0.6
    assert_frequencies(list(itertools.chain.from_iterable(by_seed)), uniform_tokens)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("options", [{"top_k": 1}, {"temperature": 1e-6}, {"top_p": 1e-6}])
def test_limiting_cases_equal_greedy_search(variant, options):
    ids, lengths = sources(12, vocab_size=VOCAB_SIZE)
    model = make_model(variant, vocab_size=VOCAB_SIZE, end_bias=2.0)
    greedy = s2s.greedy_search(model, ids, lengths, MAX_STEPS)
    assert_equal(s2s.sample_search(model, ids, lengths, MAX_STEPS, 5, **options), greedy)


def test_samples_are_determined_by_the_seed(model):
    ids, lengths = sources(20, vocab_size=VOCAB_SIZE, shortest=1)
    input_signature = [tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None], tf.int32)]

    @tf.function(
        autograph=False,
        input_signature=[*input_signature, tf.TensorSpec([], tf.int64, name="seed")],
    )
    def compiled(ids, lengths, seed):
        return s2s.sample_search(model, ids, lengths, MAX_STEPS, seed, top_p=0.95)

    first = s2s.sample_search(model, ids, lengths, MAX_STEPS, seed=3, top_p=0.95)
    assert_equal(s2s.sample_search(model, ids, lengths, MAX_STEPS, 3, top_p=0.95), first)
    np.testing.assert_array_equal(compiled(ids, lengths, 3).ids, first.ids)
    other = compiled(ids, lengths, 4)
    assert np.mean((other.ids.numpy() == first.ids.numpy()).all(axis=1)) < 0.5
    huge = s2s.sample_search(model, ids, lengths, MAX_STEPS, seed=-(10**30))
    assert huge.ids.shape == (20, MAX_STEPS)


def test_golden_samples():
    """Samples must not change between versions of this package or TensorFlow."""
    uniform = Uniform(make_model().encoder)
    ids, lengths = np.array([[4, 5, 6]] * 2, "int32"), np.array([3, 2], "int32")
    result = s2s.sample_search(uniform, ids, lengths, 8, seed=1, num_samples=2, min_length=7)
    assert result.ids.numpy().tolist() == [
        [[4, 3, 5, 4, 3, 3, 4, 2], [3, 4, 4, 3, 5, 3, 4, 4]],
        [[3, 3, 3, 5, 3, 5, 4, 3], [4, 4, 5, 3, 5, 3, 4, 5]],
    ]


def test_a_sample_does_not_depend_on_the_batch_or_on_padding(model):
    ids, lengths = sources(10, vocab_size=VOCAB_SIZE)
    options = {"max_steps": MAX_STEPS, "seed": 7, "num_samples": 3}
    together = s2s.sample_search(model, ids, lengths, **options)
    wider = s2s.sample_search(model, np.pad(ids, [(0, 0), (0, 4)]), lengths, **options)
    np.testing.assert_array_equal(wider.ids, together.ids)
    reversed_ = s2s.sample_search(model, ids[::-1], lengths[::-1], **options)
    np.testing.assert_array_equal(reversed_.ids[::-1], together.ids)
    twice = s2s.sample_search(model, np.repeat(ids, 2, 0), np.repeat(lengths, 2), **options)
    np.testing.assert_array_equal(twice.ids[::2], twice.ids[1::2])
    for row in range(len(ids)):
        alone = s2s.sample_search(
            model, ids[row : row + 1, : max(1, lengths[row])], lengths[row : row + 1], **options
        )
        np.testing.assert_array_equal(alone.ids[0], together.ids[row])
        np.testing.assert_allclose(
            alone.log_probabilities[0], together.log_probabilities[row], atol=1e-5
        )


def test_one_sample_is_the_first_of_several(model):
    ids, lengths = sources(8, vocab_size=VOCAB_SIZE)
    one = s2s.sample_search(model, ids, lengths, MAX_STEPS, seed=2)
    several = s2s.sample_search(model, ids, lengths, MAX_STEPS, seed=2, num_samples=3)
    for part, several_samples in zip(one, several, strict=True):
        assert several_samples.shape == (8, 3, *part.shape[1:])
        np.testing.assert_allclose(part, several_samples[:, 0], atol=1e-5)
    some = np.array(several.ids)[lengths > 0]
    assert (some[:, 0] != some[:, 1]).any(axis=1).mean() > 0.5


def test_scoring_a_sample_gives_its_score(model):
    ids, lengths = sources(30, vocab_size=VOCAB_SIZE, shortest=1)
    result = s2s.sample_search(model, ids, lengths, MAX_STEPS, seed=0)
    assert_scores_are_reproduced(model, ids, lengths, result)


@pytest.mark.parametrize("rows", [0, 2])
def test_empty_batches_and_sources(model, rows):
    ids, lengths = np.zeros((rows, 3), "int32"), np.zeros(rows, "int32")
    result = s2s.sample_search(model, ids, lengths, MAX_STEPS, seed=0, num_samples=2)
    assert result.ids.shape == (rows, 2, MAX_STEPS)
    assert not result.ids.numpy().any()
    assert not result.lengths.numpy().any()


@pytest.mark.parametrize("options", [{}, {"top_k": 3}, {"top_p": 0.5}])
def test_nan_logits_end_the_hypothesis(options):
    model = make_model(vocab_size=VOCAB_SIZE)
    model.decoder.dense.bias.assign(tf.fill([VOCAB_SIZE], np.nan))
    ids, lengths = sources(5, vocab_size=VOCAB_SIZE, shortest=1)
    result = s2s.sample_search(model, ids, lengths, MAX_STEPS, seed=0, **options)
    np.testing.assert_array_equal(result.ids[:, :2], [[EOS, PAD]] * 5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"top_k": -1}, "top_k is -1"),
        ({"top_p": 0.0}, "top_p is 0.0"),
        ({"top_p": 1.5}, "top_p is 1.5"),
        ({"num_samples": 0}, "num_samples is 0"),
        ({"min_length": 9}, "min_length is 9; .*max_steps is 6"),
    ],
)
def test_options_out_of_range(model, options, message):
    ids, lengths = sources(2)
    with pytest.raises(s2s.InputError, match=message):
        s2s.sample_search(model, ids, lengths, MAX_STEPS, seed=0, **options)
