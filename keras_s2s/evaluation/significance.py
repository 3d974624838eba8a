"""Significance tests: whether two systems differ by more than the choice of test sentences."""

from typing import NamedTuple

import numpy as np
from sacrebleu.metrics.base import Metric

from keras_s2s.evaluation.metrics import score, score_of_sums


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


def bootstrap_interval(
    metric: Metric, statistics: np.ndarray, num_samples: int = 1000, seed: int = 12345
) -> tuple[float, float]:
    """Return the 95% confidence interval of a score, by bootstrap resampling of the sentences.

    Args:
        metric: one of `make_metrics`.
        statistics: its `sentence_statistics`.
        num_samples: number of resamples.
        seed: random seed of the resamples.

    Source: Koehn, "Statistical Significance Tests for Machine Translation Evaluation", EMNLP 2004.
    """
    generator, size = np.random.default_rng(seed), len(statistics)
    scores = [
        score_of_sums(metric, statistics[generator.choice(size, size)].sum(axis=0))
        for _ in range(num_samples)
    ]
    low, high = np.quantile(scores, [0.025, 0.975]).tolist()
    return low, high


def paired_bootstrap(
    metric: Metric,
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
        metric: one of `make_metrics`.
        baseline: `sentence_statistics` of the baseline.
        system: the same of the other system, on the same sentences.
        num_samples: number of resamples.
        seed: random seed of the resamples; the default is sacreBLEU's.

    Returns:
        A `BootstrapResult`.

    Source: Koehn, "Statistical Significance Tests for Machine Translation Evaluation", EMNLP 2004;
    the two-sided p-value: Riezler and Maxwell, "On Some Pitfalls in Automatic Evaluation and
    Significance Testing for MT", 2005.

    Example:

    >>> from keras_s2s.evaluation.metrics import make_metrics, sentence_statistics
    >>> bleu_metric = make_metrics()["bleu"]
    >>> references = [["un deux trois quatre"], ["cinq six sept huit"]] * 20
    >>> right = [reference for [reference] in references]
    >>> half = [right[0], "dix"] * 20
    >>> systems = [sentence_statistics(bleu_metric, texts, references) for texts in (half, right)]
    >>> result = paired_bootstrap(bleu_metric, *systems)
    >>> result.difference > 0, result.interval[0] > 0, result.p_value < 0.05
    (True, True, True)
    """
    observed = score(metric, system) - score(metric, baseline)
    generator = np.random.default_rng(seed)
    # Contiguous for fast products. Integers avoid BLAS, whose threads take ten times as long on a
    # busy machine.
    transposed = [np.ascontiguousarray(statistics.T) for statistics in (baseline, system)]
    differences = np.empty(num_samples)
    for sample in range(num_samples):
        indices = generator.choice(len(system), len(system))
        weights = np.bincount(indices, minlength=len(system))
        base, other = (score_of_sums(metric, statistics @ weights) for statistics in transposed)
        differences[sample] = other - base
    # The tolerance absorbs rounding.
    extreme = np.abs(differences - observed) >= abs(observed) - 1e-9
    low, high = np.quantile(differences, [0.025, 0.975]).tolist()
    return BootstrapResult(observed, (low, high), (int(extreme.sum()) + 1) / (num_samples + 1))
