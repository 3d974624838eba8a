"""Refusing answers of low confidence, so that few of the others are wrong."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from keras_s2s.data.parallel_corpus import ParallelCorpus
from keras_s2s.evaluation.metrics.error_rates import make_error_rate
from keras_s2s.evaluation.metrics.text_splitter import TextSplitter
from keras_s2s.translation.translator import Translator
from keras_s2s.utils.errors import InputError
from keras_s2s.utils.scores import WORD


class RefusalPoint(NamedTuple):
    """What remains when answers below a confidence are refused.

    Attributes:
        min_confidence: the smallest confidence that is not refused, 0 to 1.
        num_answered: number of answers that are not refused.
        num_wrong: number of wrong ones among them.
    """

    min_confidence: float
    num_answered: int
    num_wrong: int

    @property
    def error(self) -> float:
        """Share of wrong answers among those that are not refused."""
        return self.num_wrong / self.num_answered


def refusal_curve(confidences: Sequence[float], is_right: Sequence[bool]) -> list[RefusalPoint]:
    """Compute errors against refusals, for each threshold that makes a difference.

    Args:
        confidences: of the answers, 0 to 1.
        is_right: whether each answer is right.

    Returns:
        A point for each distinct confidence, the highest first; the last one refuses nothing. Its
        threshold lies halfway to the next lower confidence, so that rounding does not matter.

    Reference: El-Yaniv and Wiener, 2010, "On the Foundations of Noise-free Selective
    Classification" (the risk-coverage curve).

    Example:

    >>> for point in refusal_curve([0.5, 0.9, 0.7, 0.9], [False, True, True, True]):
    ...     print(f"{point.min_confidence:.2f}", point.num_answered, point.num_wrong)
    0.80 2 0
    0.60 3 0
    0.00 4 1
    """
    order = np.argsort(-np.asarray(confidences, float), kind="stable")
    values = np.asarray(confidences, float)[order]
    num_wrong = np.cumsum(~np.asarray(is_right, bool)[order])
    # Equal confidences are refused together.
    last = np.flatnonzero(np.append(values[1:] != values[:-1], True)[: len(values)])
    thresholds = [(values[row] + values[row + 1]) / 2 for row in last[:-1]] + [0.0]
    return [
        RefusalPoint(float(threshold), int(row) + 1, int(num_wrong[row]))
        for threshold, row in zip(thresholds, last, strict=False)
    ]


def choose_threshold(curve: Sequence[RefusalPoint], max_error: float) -> RefusalPoint:
    """Return the point of a curve that answers most, with at most a share of errors.

    Args:
        curve: of `refusal_curve`, on pairs that the model was not trained on.
        max_error: the largest share of wrong answers among those that are not refused, 0 to 1.

    Raises:
        InputError: no threshold has so few errors.

    Example:

    >>> curve = refusal_curve([0.5, 0.9, 0.7, 0.9], [False, True, True, True])
    >>> choose_threshold(curve, 0.1).num_answered, choose_threshold(curve, 0.25).num_answered
    (3, 4)
    """
    allowed = [point for point in curve if point.num_wrong <= max_error * point.num_answered]
    if not allowed:
        best = min(curve, key=lambda point: point.error, default=None)
        detail = "there is no pair" if best is None else f"the best one has {best.error:.1%}"
        raise InputError(
            f"no confidence leaves at most {max_error:.1%} of the answers wrong: {detail}; allow "
            "more, or train a better model"
        )
    return allowed[-1]


def refusal_curve_of(translator: Translator, corpus: ParallelCorpus) -> list[RefusalPoint]:
    """Compute the `refusal_curve` of greedy translations.

    Args:
        translator: the model.
        corpus: pairs that it was not trained on. An answer is right that equals one of the
            references of its source, as `exact_match` compares them.
    """
    sources, references = corpus.references()
    answers = translator.answers(sources)
    metric = make_error_rate("exact", TextSplitter(translator.target_tokenizer, False), WORD)
    counts = metric.statistics([answer.translation for answer in answers], references)
    confidences = [answer.confidence or 0.0 for answer in answers]
    return refusal_curve(confidences, [bool(count) for count in counts[:, 0]])
