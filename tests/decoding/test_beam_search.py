"""Beam search, compared with exhaustive search and with a reference implementation on lists."""

import numpy as np
import pytest
import tensorflow as tf
from small_models import (
    VARIANTS,
    Rules,
    all_hypotheses,
    best_first,
    greedy_in_python,
    make_model,
    plain_beam_search,
    sources,
)

import keras_s2s as s2s
from keras_s2s.decoding.beam_search import beam_search
from keras_s2s.decoding.hypotheses import BeamResult
from keras_s2s.tokenizers.tokenizer import EOS, PAD

RULES = [
    Rules(),
    Rules(length_penalty=1.0),
    Rules(length_penalty=3.0),
    Rules(min_length=2),
    Rules(length_penalty=0.6, no_repeat_ngram_size=1),
    Rules(length_penalty=0.6, no_repeat_ngram_size=2, min_length=3, forbid_unknown=True),
]
COVERAGE = [Rules(0.0, 0.5), Rules(1.0, 2.0, min_length=1), Rules(0.6, 0.2, 1, 2, True)]
CASES = [("attends", rules) for rules in [*RULES, *COVERAGE]]
CASES += [("plain", RULES[0]), ("plain", RULES[-1]), ("feeds", RULES[1]), ("feeds", COVERAGE[-1])]


def search(model, ids, lengths, max_steps, beam_size, n_best=1, rules=RULES[0]):
    options = {"beam_size": beam_size, "n_best": n_best, **rules._asdict()}
    result = beam_search(model, ids, lengths, max_steps, **options)
    return BeamResult(*(None if part is None else part.numpy() for part in result))


def compile_search(model, *arguments, rules, **options):
    """Trace a search for batches of any shape, as in an export."""
    input_signature = [tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None], tf.int32)]

    @tf.function(autograph=False, input_signature=input_signature)
    def compiled(ids, lengths):
        return beam_search(model, ids, lengths, *arguments, **options, **rules._asdict())

    return compiled


def assert_equal(result, row, expected, rules):
    """Compare the hypotheses of a row with the expected ones, best first."""
    max_steps = result.ids.shape[2]
    for rank in range(result.ids.shape[1]):
        hypothesis = expected[rank]
        length = result.lengths[row, rank]
        actual = tuple(result.ids[row, rank, :length].tolist())
        assert actual == hypothesis.tokens, (row, rank, expected[: rank + 3])
        assert (result.ids[row, rank, length:] == PAD).all()
        np.testing.assert_allclose(
            result.log_probabilities[row, rank], hypothesis.log_probability, rtol=1e-5, atol=1e-4
        )
        score = rules.with_score(hypothesis).score
        np.testing.assert_allclose(result.scores[row, rank], score, rtol=1e-5, atol=1e-4)
        if result.attention is not None:
            attention = np.zeros((max_steps, result.attention.shape[3]))
            weights = np.array(hypothesis.attention)
            attention[: weights.shape[0], : weights.shape[1]] = weights
            np.testing.assert_allclose(result.attention[row, rank], attention, atol=1e-5)


@pytest.fixture(scope="module")
def exhaustive():
    """All hypotheses of each model variant for some sources."""
    ids, lengths = sources(3, shortest=1)
    by_variant = {}
    for variant in VARIANTS:
        model = make_model(variant, end_bias=-1.0)
        rows = zip(ids, lengths, strict=True)
        by_variant[variant] = model, [all_hypotheses(model, *row, max_steps=4) for row in rows]
    return ids, lengths, by_variant


@pytest.mark.parametrize(("variant", "rules"), CASES)
def test_a_large_beam_equals_exhaustive_search(exhaustive, variant, rules):
    ids, lengths, by_variant = exhaustive
    model, hypotheses = by_variant[variant]
    for n_best in (1, 6):
        result = search(model, ids, lengths, 4, 400, n_best, rules)
        for row, source_hypotheses in enumerate(hypotheses):
            assert_equal(result, row, best_first(source_hypotheses, rules), rules)


@pytest.mark.parametrize(
    ("beam_size", "rules"), [(2, RULES[0]), (5, RULES[2]), (3, RULES[5]), (4, COVERAGE[1])]
)
def test_equals_a_reference_search_without_early_stopping(beam_size, rules):
    max_steps, size = 7, 40
    ids, lengths = sources(4, vocab_size=size, shortest=1)
    model = make_model("attends", vocab_size=size, end_bias=2.0)
    result = search(model, ids, lengths, max_steps, beam_size, beam_size, rules)
    for row in range(len(ids)):
        expected = plain_beam_search(model, ids[row], lengths[row], max_steps, beam_size, rules)
        assert_equal(result, row, expected, rules)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_beam_of_one_is_greedy_search_whatever_the_penalties(variant):
    ids, lengths = sources(20, vocab_size=30)
    coverage = 0.0 if variant == "plain" else 0.7
    truncated = finished = 0
    for seed, length_penalty in enumerate((0.0, 0.6, 2.5)):
        model = make_model(variant, seed, vocab_size=30, end_bias=3.0)
        greedy = s2s.greedy_search(model, ids, lengths, 7)
        result = search(model, ids, lengths, 7, 1, 1, Rules(length_penalty, coverage))
        for name in ("ids", "lengths", "log_probabilities", "attention"):
            actual, expected = getattr(result, name), getattr(greedy, name)
            if expected is not None:
                np.testing.assert_array_equal(actual[:, 0], expected, name)
        finished += np.count_nonzero(result.ids == EOS)
        truncated += np.count_nonzero(result.ids[:, 0, -1] > EOS)
    assert min(finished, truncated) > 5


def test_a_beam_of_one_applies_the_penalties_to_its_score():
    ids, lengths = sources(6, shortest=1)
    model = make_model("attends", end_bias=2.0)
    rules = Rules(0.8, 0.3)
    result = search(model, ids, lengths, 4, 1, 1, rules)
    for row in range(len(ids)):
        expected = greedy_in_python(model, ids[row], lengths[row], 4, rules)
        assert_equal(result, row, [expected], rules)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_beam_of_one_satisfies_the_constraints(variant):
    ids, lengths = sources(6, shortest=1, vocab_size=9)
    model = make_model(variant, vocab_size=9, end_bias=1.0)
    rules = Rules(min_length=2, no_repeat_ngram_size=2, forbid_unknown=True)
    result = search(model, ids, lengths, 6, 1, 1, rules)
    for row in range(len(ids)):
        expected = greedy_in_python(model, ids[row], lengths[row], 6, rules)
        assert_equal(result, row, [expected], rules)


def test_a_larger_beam_finds_more_probable_hypotheses():
    """On average over sources."""
    ids, lengths = sources(40, vocab_size=30, shortest=1)
    model = make_model(vocab_size=30)
    actual = [search(model, ids, lengths, 7, size).log_probabilities.mean() for size in (1, 2, 8)]
    assert actual[0] + 0.5 < actual[1] < actual[2] - 0.5


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_hypothesis_does_not_depend_on_the_batch_or_on_padding(variant):
    ids, lengths = sources(12, vocab_size=30)
    model = make_model(variant, vocab_size=30, end_bias=3.0)
    rules = Rules(0.6, 0.0 if variant == "plain" else 0.4)
    run = compile_search(model, 7, 4, n_best=3, rules=rules)
    together = run(ids, lengths)
    wider = run(np.pad(ids, [(0, 0), (0, 9)]), lengths)
    np.testing.assert_array_equal(wider.ids, together.ids)
    np.testing.assert_allclose(wider.scores, together.scores, rtol=1e-5)
    for row in range(len(ids)):
        alone = run(ids[row : row + 1, : max(1, lengths[row])], lengths[row : row + 1])
        np.testing.assert_array_equal(alone.ids[0], together.ids[row])
        np.testing.assert_array_equal(alone.lengths[0], together.lengths[row])
        np.testing.assert_allclose(alone.scores[0], together.scores[row], rtol=1e-5)


def test_an_empty_source_gets_only_the_empty_hypothesis():
    ids, lengths = sources(3, shortest=1)
    lengths[1] = 0
    result = search(make_model("attends"), ids, lengths, 4, 5, 3, Rules(1.0, 0.5))
    np.testing.assert_array_equal(result.ids[1], np.full((3, 4), PAD))
    np.testing.assert_array_equal(result.lengths[1], 0)
    np.testing.assert_array_equal(result.scores[1], [0, -np.inf, -np.inf])
    np.testing.assert_array_equal(result.log_probabilities[1], [0, -np.inf, -np.inf])
    np.testing.assert_array_equal(result.attention[1], 0)
    assert (result.lengths[[0, 2]] > 0).all()


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("rows", "steps"), [(0, 5), (2, 1), (2, 5)])
def test_empty_batches_and_sources(variant, rows, steps):
    ids, lengths = np.zeros((rows, steps), "int32"), np.zeros(rows, "int32")
    result = search(make_model(variant), ids, lengths, 4, 3, 2)
    assert result.ids.shape == (rows, 2, 4)
    assert result.scores.shape == result.lengths.shape == (rows, 2)
    if result.attention is not None:
        assert result.attention.shape == (rows, 2, 4, steps)
    assert not result.ids.any()


def test_missing_hypotheses_are_empty():
    """With two allowed tokens and one step there are three hypotheses, one of them finished."""
    ids, lengths = sources(2, vocab_size=5, shortest=1)
    model = make_model("attends", vocab_size=5)
    result = search(model, ids, lengths, 1, 6, 6, Rules(1.0))
    np.testing.assert_array_equal(result.lengths, [[1, 1, 1, 0, 0, 0]] * 2)
    np.testing.assert_array_equal(result.ids[:, 0], [[EOS]] * 2)
    np.testing.assert_array_equal(result.ids[:, 3:], PAD)
    np.testing.assert_array_equal(result.scores[:, 3:], -np.inf)
    np.testing.assert_array_equal(result.log_probabilities[:, 3:], -np.inf)
    np.testing.assert_array_equal(result.attention[:, 3:], 0)
    np.testing.assert_allclose(np.exp(result.log_probabilities).sum(axis=1) < 1, True)


class Scripted:
    """A decoder with given log-probabilities for each step, the same for every source."""

    copying, encode = None, s2s.Seq2Seq.encode

    def __init__(self, encoder, script):
        self.encoder, self.decoder = encoder, self
        self.script = np.array(script, "float32")
        self.vocab_size = self.script.shape[1]
        self.steps = []

    def init_state(self, outputs):
        return [tf.zeros((1, tf.shape(outputs[0])[0], 1))]

    def setup_memory(self, outputs, valid_length):
        return None

    def step(self, tokens, state, memory):
        step = int(state[0][0, 0, 0])
        self.steps.append(len(tokens))
        logits = tf.repeat(self.script[step : step + 1], len(tokens), axis=0)
        return logits, [state[0] + 1], None


def scripted(rows):
    """Make a decoder from the probabilities of `<eos>` and `<unk>`; a word gets the remainder."""
    tiny = 1e-30
    script = [[tiny, tiny, *row, 1 - sum(row)] for row in rows]
    model = make_model(vocab_size=7)
    return Scripted(model.encoder, np.log(script))


def test_early_stopping_once_no_beam_can_improve_the_result():
    ids, lengths = sources(3, shortest=1)
    # <eos> has probability 0.9 at the first step.
    model = scripted([(0.9, 0.06)] * 50)
    result = search(model, ids, lengths, 50, 2)
    np.testing.assert_array_equal(result.ids[:, 0, 0], EOS)
    # The first step runs once for both beams of each sentence.
    assert model.steps == [3]
    # The second best is "<unk> <eos>", which takes another step.
    model = scripted([(0.9, 0.06)] * 50)
    result = search(model, ids, lengths, 50, 2, 2)
    np.testing.assert_array_equal(result.ids[:, 1, :2], [[3, EOS]] * 3)
    assert model.steps == [3, 6]
    # With this penalty a beam could still improve at 50 steps, until
    # 5 log(0.06) / (55 / 6) ** 2.2 is less than log(0.9).
    model = scripted([(0.9, 0.06)] * 50)
    search(model, ids, lengths, 50, 2, 1, Rules(length_penalty=2.2))
    assert model.steps == [3] + [6] * 4


def test_finished_hypotheses_take_no_place_in_the_beam():
    """A beam of two stays one of two, although `<eos>` is among the best two at each step."""
    ids, lengths = sources(1, shortest=1)
    model = scripted([(0.6, 0.25)] * 3)
    result = search(model, ids, lengths, 3, 2, 2, Rules(length_penalty=9.0))
    # The two most probable pairs of <unk> and the word, each with <eos>.
    assert result.ids[0].tolist() == [[3, 3, EOS], [3, 4, EOS]]


def test_truncated_hypotheses_rank_below_finished_ones():
    ids, lengths = sources(1, shortest=1)
    model = scripted([(0.02, 0.9), (0.02, 0.9), (0.02, 0.9)])
    result = search(model, ids, lengths, 3, 6, 6)
    finished = [EOS in row for row in result.ids[0].tolist()]
    assert finished == sorted(finished, reverse=True)
    assert 0 < sum(finished) < 6
    scores = result.scores[0]
    assert scores[sum(finished)] > scores[0], "truncated ones would rank higher by score"
    np.testing.assert_array_equal(result.lengths[0, sum(finished) :], 3)


@pytest.mark.parametrize("compiled", [False, True])
def test_non_finite_logits_give_no_hypothesis(compiled):
    for vocab_size in (7, 400):
        model = make_model(vocab_size=vocab_size)
        ids, lengths = sources(3)

        def run(model=model, ids=ids, lengths=lengths):
            return beam_search(model, ids, lengths, 5, 4, n_best=4)

        run = tf.function(run, autograph=False) if compiled else run
        for value in (np.nan, np.inf):
            model.decoder.dense.bias.assign(tf.fill([vocab_size], value))
            result = run()
            np.testing.assert_array_equal(result.lengths, 0)
            np.testing.assert_array_equal(result.scores[:, 1:], -np.inf)
            np.testing.assert_array_equal(result.scores[:, 0], np.where(lengths, -np.inf, 0))


def test_a_non_finite_embedding_drops_only_its_beams():
    """The logits after `<unk>` are NaN; the other beams are not affected."""
    ids, lengths = sources(4, shortest=1)
    model = make_model(end_bias=1.0)
    embeddings = model.decoder.embedding.embeddings
    before = search(model, ids, lengths, 5, 8, 4, Rules(forbid_unknown=True))
    embeddings.assign(tf.tensor_scatter_nd_update(embeddings.value, [[3]], [[np.nan] * 6]))
    after = search(model, ids, lengths, 5, 8, 4)
    assert (after.scores > -np.inf).all()
    # Only the last token of a hypothesis can be <unk>.
    assert not (after.ids[:, :, :-1] == 3).any()
    assert set(map(bytes, after.ids[:, 0])) <= set(map(bytes, before.ids.reshape(-1, 5)))


@pytest.mark.parametrize("variant", VARIANTS)
def test_compiled_search_has_static_shapes_and_equal_results(variant):
    model = make_model(variant, vocab_size=80, end_bias=3.0)
    ids, lengths = sources(9, vocab_size=80)
    rules = Rules(0.6, 0.0 if variant == "plain" else 0.3, 1, 2)

    compiled = compile_search(model, 7, 4, n_best=3, rules=rules)
    shapes = compiled.get_concrete_function().structured_outputs
    assert shapes.ids.shape.as_list() == [None, 3, 7]
    assert shapes.lengths.shape.as_list() == [None, 3]
    assert shapes.log_probabilities.shape.as_list() == [None, 3]
    assert shapes.scores.shape.as_list() == [None, 3]
    expected = search(model, ids, lengths, 7, 4, 3, rules)
    result = compiled(ids, lengths)
    for name, part in expected._asdict().items():
        if part is None:
            assert getattr(result, name) is None
        else:
            np.testing.assert_allclose(getattr(result, name), part, atol=1e-4, err_msg=name)
    # Other sizes without retracing, and an empty batch.
    assert compiled(ids[:0], lengths[:0]).ids.shape == (0, 3, 7)
    assert compiled(ids[:, :1], lengths * 0).ids.shape == (9, 3, 7)


@pytest.mark.parametrize(
    ("variant", "policy"),
    [("plain", "mixed_float16"), ("attends", "mixed_bfloat16"), ("feeds", "mixed_bfloat16")],
)
def test_half_precision(variant, policy):
    model = make_model(variant, vocab_size=30, end_bias=3.0, dtype=policy)
    ids, lengths = sources(4, vocab_size=30, shortest=1)

    @tf.function(autograph=False)
    def compiled():
        return beam_search(model, ids, lengths, 6, 3, n_best=2, length_penalty=0.0)

    result = compiled()
    assert result.scores.dtype == tf.float32
    expected = search(model, ids, lengths, 6, 3, 2)
    np.testing.assert_allclose(result.scores, expected.scores, rtol=0.05, atol=0.05)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beam_size": 0}, "beam_size is 0"),
        ({"n_best": 0}, "n_best is 0; .*beam_size is 5"),
        ({"n_best": 6}, "n_best is 6; .*beam_size is 5"),
        ({"length_penalty": -0.1}, "length_penalty is -0.1"),
        ({"length_penalty": float("nan")}, "length_penalty is nan"),
        ({"coverage_penalty": -1.0}, "coverage_penalty is -1.0"),
        ({"coverage_penalty": 0.1}, "coverage_penalty needs .* attention"),
        ({"coverage_penalty": 0.1, "beam_size": 1}, "coverage_penalty needs .* attention"),
        ({"min_length": 4}, "min_length is 4; .*max_steps is 4"),
    ],
)
def test_options_out_of_range(options, message):
    ids, lengths = sources(2)
    with pytest.raises(s2s.InputError, match=message):
        beam_search(make_model(), ids, lengths, 4, **options)
