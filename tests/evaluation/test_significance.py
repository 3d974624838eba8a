"""Paired bootstrap resampling, against sacreBLEU and computations by hand."""

import itertools

import numpy as np
import pytest
import sacrebleu

from keras_s2s.evaluation.metrics import make_metrics
from keras_s2s.evaluation.significance import bootstrap_intervals, paired_bootstrap


def columns(references):
    """Return the references in the layout of sacreBLEU."""
    return list(itertools.zip_longest(*references))


def test_identical_systems(texts):
    references, good, _ = texts
    for metric in make_metrics().values():
        statistics = metric.statistics(good, references)
        assert paired_bootstrap(metric, statistics, statistics.copy()) == (0, (0, 0), 1)


def test_by_hand():
    """Two sentences of four words: the baseline has both right, the system only the first.

    The system has half of the n-grams, hence BLEU 50. Of the four possible resamples one
    has the first sentence twice (difference 0) and one the second twice (difference 100), so
    half of them are as extreme as the observed difference.
    """
    references = [["un deux trois quatre"], ["cinq six sept huit"]]
    right = [reference for [reference] in references]
    metric = make_metrics()["bleu"]
    baseline = metric.statistics(right, references)
    system = metric.statistics([right[0], "a b c d"], references)
    result = paired_bootstrap(metric, baseline, system, 4000)
    assert result.difference == pytest.approx(-50)
    assert result.interval == pytest.approx((-100, 0))
    assert result.p_value == pytest.approx(0.5, abs=0.03)
    indices = np.random.default_rng(12345).choice(2, (4000, 2))
    extreme = int((indices[:, 0] == indices[:, 1]).sum())
    assert result.p_value == (extreme + 1) / 4001


@pytest.mark.parametrize("name", ["bleu", "chrf"])
def test_resamples_are_scored_like_corpora(name, texts):
    """Against sacreBLEU's public functions, with the resamples that its own test draws."""
    references, good, poor = (column[:30] for column in texts)
    metric = make_metrics()[name]
    public = {"bleu": sacrebleu.BLEU, "chrf": sacrebleu.CHRF}[name](lowercase=True)
    statistics = [metric.statistics(system, references) for system in (poor, good)]
    result = paired_bootstrap(metric, *statistics, num_samples=40, seed=7)

    def difference(indices):
        selected = columns([references[index] for index in indices])
        scores = [
            public.corpus_score([system[index] for index in indices], selected).score
            for system in (poor, good)
        ]
        return scores[1] - scores[0]

    indices = np.random.default_rng(7).choice(30, (40, 30))
    samples = np.array([difference(row) for row in indices])
    assert result.difference == pytest.approx(difference(range(30)))
    assert result.interval == pytest.approx(tuple(np.quantile(samples, [0.025, 0.975])))
    extreme = np.abs(samples - result.difference) >= abs(result.difference)
    assert result.p_value == (extreme.sum() + 1) / 41


def test_clearly_better(texts):
    references, good, poor = texts
    for metric in make_metrics().values():
        statistics = [metric.statistics(system, references) for system in (poor, good)]
        result = paired_bootstrap(metric, *statistics)
        assert result.difference > 5
        assert 0 < result.interval[0] < result.difference < result.interval[1]
        assert result.p_value < 0.05
        # Swapping the systems negates the difference.
        swapped = paired_bootstrap(metric, *statistics[::-1])
        assert swapped.difference == -result.difference
        assert swapped.interval == pytest.approx((-result.interval[1], -result.interval[0]))
        assert swapped.p_value == result.p_value


def test_seed_determines_the_interval(texts):
    references, good, poor = texts
    metric = make_metrics()["bleu"]
    mixed = [*good[:10], *poor[10:20], *good[20:]]
    statistics = [metric.statistics(system, references) for system in (mixed, good)]
    first, repeated, other = (
        paired_bootstrap(metric, *statistics, 200, seed) for seed in (1, 1, 2)
    )
    assert first == repeated
    assert first != other
    assert first.difference == other.difference


def test_false_positive_rate():
    """About one in twenty pairs of equally good systems has p < 0.05."""
    metric = make_metrics()["bleu"]
    right, wrong = metric.statistics(
        ["un deux trois quatre", "a b c d"], [["un deux trois quatre"]] * 2
    )
    random = np.random.default_rng(0)
    p_values = []
    for _ in range(200):
        systems = [np.where(random.random((100, 1)) < 0.5, right, wrong) for _ in range(2)]
        p_values.append(paired_bootstrap(metric, *systems, num_samples=200).p_value)
    assert 0.02 < np.mean(np.array(p_values) < 0.05) < 0.09
    assert np.mean(p_values) == pytest.approx(0.5, abs=0.1)


def test_intervals_equal_those_of_the_resamples(texts):
    """Each metric on the same resamples; exact match near the normal approximation."""
    references, good, _ = texts
    metrics = make_metrics(names=["bleu", "exact", "wer", "ter"])
    statistics = {name: m.statistics(good, references) for name, m in metrics.items()}
    intervals = bootstrap_intervals(metrics, statistics, num_samples=200, seed=3)
    generator = np.random.default_rng(3)
    samples = [generator.choice(250, 250) for _ in range(200)]
    for name, metric in metrics.items():
        scores = [metric.score(statistics[name][indices]) for indices in samples]
        assert intervals[name] == pytest.approx(tuple(np.quantile(scores, [0.025, 0.975])))
    share = metrics["exact"].score(statistics["exact"])
    half = 196 * (share / 100 * (1 - share / 100) / 250) ** 0.5
    assert intervals["exact"] == pytest.approx((share - half, share + half), abs=1.5)


def test_paired_test_of_error_rates(texts):
    """The better system has lower rates and more exact matches."""
    references, good, poor = texts
    for name, metric in make_metrics(names=["exact", "wer", "ter"]).items():
        systems = [metric.statistics(system, references) for system in (poor, good)]
        result = paired_bootstrap(metric, *systems)
        low, high = result.interval
        assert result.difference == metric.score(systems[1]) - metric.score(systems[0])
        assert low < result.difference < high
        assert result.p_value < 0.05
        assert (low > 0) if name == "exact" else (high < 0)
