"""Samples are as frequent as the model says, and the same wherever a sentence stands."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from small_models import KINDS, Answer, Continuations, Rules, make_model, sources

import keras_s2s as s2s
from keras_s2s.decoding.greedy_search import score_targets
from keras_s2s.tokenizers.tokenizer import BOS, EOS, PAD

VOCAB_SIZE, MAX_STEPS = 30, 6


@pytest.fixture(scope="module")
def model():
    return make_model("attends", vocab_size=VOCAB_SIZE, end_bias=2.0)


def assert_equal(left, right):
    for name in left._fields:
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name), name)


def chances(model, ids, length, max_steps, temperature, top_k, top_p, rules):
    """The probability of drawing each answer, worked out as the definitions say."""
    continuations = Continuations(model, ids, length)
    beginnings, found = {(): 1.0}, {}
    while beginnings:
        rows, _ = continuations.after([Answer(tokens) for tokens in beginnings])
        extended = {}
        for (tokens, chance), row in zip(beginnings.items(), rows, strict=True):
            allowed = [token for token in range(len(row)) if rules.allow((*tokens, token))]
            allowed.sort(key=lambda token, row=row: -row[token])
            weights = np.exp(row[allowed[: top_k or None]] / temperature)
            weights /= weights.sum()
            enough = int(np.searchsorted(np.cumsum(weights), top_p - 1e-12)) + 1
            weights = weights[:enough] / weights[:enough].sum()
            for token, weight in zip(allowed, weights, strict=False):
                extended[(*tokens, token)] = chance * weight
        whole = [key for key in extended if key[-1] == EOS or len(key) == max_steps]
        found.update((key, extended.pop(key)) for key in whole)
        beginnings = extended
    assert np.isclose(sum(found.values()), 1)
    return found


def assert_frequencies(drawn, expected):
    """Pearson's chi-squared test; what is expected less than 5 times is taken together."""
    counts = dict.fromkeys(expected, 0)
    for answer in drawn:
        counts[answer] += 1
    rare = [answer for answer in expected if expected[answer] * len(drawn) < 5]
    observed = [counts[answer] for answer in expected if answer not in rare]
    wanted = [expected[answer] * len(drawn) for answer in expected if answer not in rare]
    observed.append(sum(counts[answer] for answer in rare))
    wanted.append(sum(expected[answer] for answer in rare) * len(drawn))
    if wanted[-1] < 5:
        observed[-2:], wanted[-2:] = [sum(observed[-2:])], [sum(wanted[-2:])]
    statistic = sum((o - w) ** 2 / w for o, w in zip(observed, wanted, strict=True))
    freedom = len(wanted) - 1
    assert freedom >= 2
    # Four standard deviations above its mean.
    assert statistic < freedom + 4 * (2 * freedom) ** 0.5


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
def test_frequencies_are_the_models_probabilities(temperature, top_k, top_p, rules):
    max_steps, number = 3, 4000
    model = make_model("feeds", seed=1, end_bias=1.0)
    ids, lengths = sources(1, shortest=3)
    expected = chances(model, ids[0], lengths[0], max_steps, temperature, top_k, top_p, rules)
    result = s2s.sample_search(
        model,
        ids,
        lengths,
        max_steps,
        seed=0,
        num_samples=number,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_length=rules.min_length,
        no_repeat_ngram_size=rules.no_repeat_ngram_size,
        forbid_unknown=rules.forbid_unknown,
    )
    assert result.ids.shape == (1, number, max_steps)
    drawn = [
        tuple(row[:length])
        for row, length in zip(
            result.ids[0].numpy().tolist(), result.lengths[0].numpy(), strict=True
        )
    ]
    assert_frequencies(drawn, expected)
    # What a sample is given as its log-probability is the model's, whatever it was drawn by.
    continuations = Continuations(model, ids[0], lengths[0])
    for answer, row in list({answer: row for row, answer in enumerate(drawn)}.items())[:5]:
        total = 0.0
        for step, token in enumerate(answer):
            log_probabilities, _ = continuations.after([Answer(answer[:step])])
            total += log_probabilities[0, token]
        np.testing.assert_allclose(result.log_probabilities[0, row], total, atol=1e-4)


class Uniform:
    """A decoder for which `<eos>`, `<unk>` and two words are always equally probable."""

    vocab_size = 6

    def __init__(self, encoder):
        self.encoder, self.decoder = encoder, self

    def init_state(self, outputs):
        return [tf.zeros((1, tf.shape(outputs[0])[0], 1))]

    def remember(self, outputs, valid_length):
        return None

    def step(self, tokens, state, memory):
        return tf.zeros((tf.shape(tokens)[0], self.vocab_size)), state, None


def test_draws_for_different_sources_seeds_and_samples_are_independent():
    """Nothing shows in the draws of sources with one other token, or of seeds that are close."""
    uniform = Uniform(make_model(vocab_size=600).encoder)
    words = np.arange(4, 596, dtype="int32")[:, None]
    ids, lengths = np.pad(words, [(0, 0), (1, 1)], constant_values=9), np.full(len(words), 3)
    even = {(token,): 1 / 4 for token in (2, 3, 4, 5)}
    pairs = dict.fromkeys(itertools.product(even, even), 1 / 16)

    def first_tokens(ids, lengths, seed, num_samples):
        result = s2s.sample_search(uniform, ids, lengths, 1, seed, num_samples=num_samples)
        return [(token,) for token in result.ids.numpy().reshape(-1)]

    of_sources = first_tokens(ids, lengths, 0, 1)
    assert_frequencies(of_sources, even)
    assert_frequencies(list(itertools.pairwise(of_sources)), pairs)
    of_samples = first_tokens(ids[:1], lengths[:1], 0, 600)
    assert_frequencies(list(itertools.pairwise(of_samples)), pairs)
    of_seeds = [first_tokens(ids[:40], lengths[:40], seed, 1) for seed in range(12)]
    for one, next_one in itertools.pairwise(of_seeds):
        assert np.mean([left == right for left, right in zip(one, next_one, strict=True)]) < 0.6
    assert_frequencies(list(itertools.chain.from_iterable(of_seeds)), even)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{"top_k": 1}, {"temperature": 1e-6}, {"top_p": 1e-6}])
def test_the_limits_are_greedy_search(kind, options):
    ids, lengths = sources(12, vocab_size=VOCAB_SIZE)
    model = make_model(kind, vocab_size=VOCAB_SIZE, end_bias=2.0)
    greedy = s2s.greedy_search(model, ids, lengths, MAX_STEPS)
    assert_equal(s2s.sample_search(model, ids, lengths, MAX_STEPS, 5, **options), greedy)


def test_the_same_seed_gives_the_same_samples_and_another_one_others(model):
    ids, lengths = sources(20, vocab_size=VOCAB_SIZE, shortest=1)
    specification = [tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None], tf.int32)]

    @tf.function(
        autograph=False, input_signature=[*specification, tf.TensorSpec([], tf.int64, name="seed")]
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


def test_known_draws():
    """Random numbers must not change with a version of anything: answers would."""
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
    for part, of_several in zip(one, several, strict=True):
        assert of_several.shape == (8, 3, *part.shape[1:])
        np.testing.assert_allclose(part, of_several[:, 0], atol=1e-5)
    some = np.array(several.ids)[lengths > 0]
    assert (some[:, 0] != some[:, 1]).any(axis=1).mean() > 0.5


def test_scoring_a_sample_gives_its_score(model):
    ids, lengths = sources(30, vocab_size=VOCAB_SIZE, shortest=1)
    result = s2s.sample_search(model, ids, lengths, MAX_STEPS, seed=0)
    ended = [row for row in range(30) if EOS in result.ids[row].numpy()]
    assert ended
    target = np.pad(result.ids.numpy(), [(0, 0), (1, 0)], constant_values=BOS)
    scores, _ = score_targets(model, (ids, lengths), (target, result.lengths + 1))
    for row in ended:
        np.testing.assert_allclose(scores[row], result.log_probabilities[row], atol=1e-4)


@pytest.mark.parametrize("rows", [0, 2])
def test_nothing_to_translate(model, rows):
    ids, lengths = np.zeros((rows, 3), "int32"), np.zeros(rows, "int32")
    result = s2s.sample_search(model, ids, lengths, MAX_STEPS, seed=0, num_samples=2)
    assert result.ids.shape == (rows, 2, MAX_STEPS)
    assert not result.ids.numpy().any()
    assert not result.lengths.numpy().any()


@pytest.mark.parametrize("options", [{}, {"top_k": 3}, {"top_p": 0.5}])
def test_logits_that_are_no_numbers_end_the_answer(options):
    model = make_model(vocab_size=VOCAB_SIZE)
    model.decoder.dense.bias.assign(tf.fill([VOCAB_SIZE], np.nan))
    ids, lengths = sources(5, vocab_size=VOCAB_SIZE, shortest=1)
    result = s2s.sample_search(model, ids, lengths, MAX_STEPS, seed=0, **options)
    np.testing.assert_array_equal(result.ids[:, :2], [[EOS, PAD]] * 5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "temperature is 0.0; give more than 0, such as 0.7"),
        ({"temperature": float("nan")}, "temperature is nan; give more than 0"),
        ({"top_k": -1}, "top_k is -1; give 1 or more, or 0 for all tokens"),
        ({"top_p": 0.0}, "top_p is 0.0; give more than 0, and 1 or less"),
        ({"top_p": 1.5}, "top_p is 1.5; give more than 0, and 1 or less"),
        ({"num_samples": 0}, "num_samples is 0; give 1 or more, or None for one"),
        ({"min_length": 9}, "min_length is 9; give 0 or more, and less than max_steps, 6"),
    ],
)
def test_options_out_of_range(model, options, message):
    ids, lengths = sources(2)
    with pytest.raises(s2s.InputError, match=message):
        s2s.sample_search(model, ids, lengths, MAX_STEPS, seed=0, **options)
