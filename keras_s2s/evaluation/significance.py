"""Significance tests: whether two systems differ by more than the choice of test sentences."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from keras_s2s.evaluation.metrics.corpus_metric import CorpusMetric


class BootstrapResult(NamedTuple):
    """Difference of two systems' scores, from `paired_bootstrap`.

    Attributes:
        difference: score of the system minus score of the baseline.
        interval: 95% confidence interval of the difference.
        p_value: two-sided.
    """

    difference: float
    interval: tuple[float, float]
    p_value: float


def bootstrap_intervals(
    metrics: Mapping[str, CorpusMetric],
    statistics: Mapping[str, np.ndarray],
    num_samples: int = 1000,
    seed: int = 12345,
) -> dict[str, tuple[float, float]]:
    """Return the 95% confidence interval of each score, by bootstrap resampling of the examples.

    Args:
        metrics: the metrics.
        statistics: those of each metric, on the same examples.
        num_samples: number of resamples, the same for all metrics.
        seed: random seed of the resamples.

    Source: Koehn, "Statistical Significance Tests for Machine Translation Evaluation", EMNLP 2004.

    Example:

    >>> from keras_s2s.evaluation.metrics import make_metrics
    >>> metrics = make_metrics(names=["exact"])
    >>> answers, references = ["a", "b"] * 50, [["a"], ["c"]] * 50
    >>> statistics = {"exact": metrics["exact"].statistics(answers, references)}
    >>> low, high = bootstrap_intervals(metrics, statistics)["exact"]
    >>> round(low), round(high)
    (40, 60)
    """
    names = list(metrics)
    if not names:
        return {}
    generator, size = np.random.default_rng(seed), len(statistics[names[0]])
    transposed = {name: np.ascontiguousarray(statistics[name].T) for name in names}
    scores = np.empty((num_samples, len(names)))
    for sample in range(num_samples):
        weights = _draw(generator, size)
        scores[sample] = [metrics[name].score_of_sums(transposed[name] @ weights) for name in names]
    lows, highs = np.quantile(scores, [0.025, 0.975], axis=0).tolist()
    return dict(zip(names, zip(lows, highs, strict=True), strict=True))


def _draw(generator: np.random.Generator, size: int) -> np.ndarray:
    """Return how often each of `size` examples is in a resample; int64, (size,)."""
    return np.bincount(generator.choice(size, size), minlength=size)


def paired_bootstrap(
    metric: CorpusMetric,
    baseline: np.ndarray,
    system: np.ndarray,
    num_samples: int = 1000,
    seed: int = 12345,
) -> BootstrapResult:
    """Test whether a system differs significantly from a baseline, by paired bootstrap resampling.

    Both are scored on the same resamples of the sentences, drawn with replacement. The differences
    minus the observed difference are the distribution under the null hypothesis; the p-value is
    the share of them that is at least as large as the observed one in absolute value, with the
    observed one counted as a sample.

    sacreBLEU's own `PairedTest` draws the same resamples, but gives no interval of the difference,
    holds all resamples in memory, and returns p = 0.001 for two identical systems.

    Args:
        metric: the metric.
        baseline: its statistics of the baseline's answers.
        system: those of the other system's, on the same sentences.
        num_samples: number of resamples.
        seed: random seed of the resamples; the default is sacreBLEU's.

    Returns:
        A `BootstrapResult`.

    Source: Koehn, "Statistical Significance Tests for Machine Translation Evaluation", EMNLP 2004;
    the two-sided p-value: Riezler and Maxwell, "On Some Pitfalls in Automatic Evaluation and
    Significance Testing for MT", 2005.

    Example:

    >>> from keras_s2s.evaluation.metrics import make_metrics
    >>> bleu_metric = make_metrics()["bleu"]
    >>> references = [["un deux trois quatre"], ["cinq six sept huit"]] * 20
    >>> right = [reference for [reference] in references]
    >>> half = [right[0], "dix"] * 20
    >>> systems = [bleu_metric.statistics(texts, references) for texts in (half, right)]
    >>> result = paired_bootstrap(bleu_metric, *systems)
    >>> result.difference > 0, result.interval[0] > 0, result.p_value < 0.05
    (True, True, True)
    """
    observed = metric.score(system) - metric.score(baseline)
    generator = np.random.default_rng(seed)
    # Contiguous for fast products. Integers avoid BLAS, whose threads take ten times as long on a
    # busy machine.
    transposed = [np.ascontiguousarray(statistics.T) for statistics in (baseline, system)]
    differences = np.empty(num_samples)
    for sample in range(num_samples):
        weights = _draw(generator, len(system))
        base, other = (metric.score_of_sums(statistics @ weights) for statistics in transposed)
        differences[sample] = other - base
    # The tolerance absorbs rounding.
    extreme = np.abs(differences - observed) >= abs(observed) - 1e-9
    low, high = np.quantile(differences, [0.025, 0.975]).tolist()
    return BootstrapResult(observed, (low, high), (int(extreme.sum()) + 1) / (num_samples + 1))
