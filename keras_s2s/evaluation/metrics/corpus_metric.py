"""The common interface of scores, and scores of short and long examples."""

import abc
import math
from collections.abc import Sequence

import numpy as np

from keras_s2s.utils.scores import SENTENCE, WORD

# Ranges of the length of a source. An empty source is in the first.
LENGTH_BUCKETS = {"1-5": (0, 5), "6-10": (6, 10), "11-15": (11, 15), ">15": (16, math.inf)}
# What the length of a source is, by what the answers are.
LENGTH_UNITS = {SENTENCE: "words", WORD: "characters"}


class CorpusMetric(abc.ABC):
    """A score of a corpus, computed from sums of statistics of its examples.

    Therefore every subset and resample of the corpus can be scored without reading a text again.
    """

    @property
    @abc.abstractmethod
    def signature(self) -> str:
        """How the score was computed; valid after `statistics`."""

    @abc.abstractmethod
    def statistics(
        self, translations: Sequence[str], references: Sequence[Sequence[str]]
    ) -> np.ndarray:
        """Compute the sufficient statistics of each example.

        Args:
            translations: one for each example.
            references: one or more for each example; the count may differ between examples.

        Returns:
            int64, (examples, statistics of the metric).
        """

    @abc.abstractmethod
    def score_of_sums(self, sums: np.ndarray) -> float:
        """Return the score, in percent, of summed statistics, (statistics of the metric,)."""

    def score(self, statistics: np.ndarray) -> float:
        """Return the score, in percent, of examples with these statistics."""
        return self.score_of_sums(statistics.sum(axis=0))


def score_by_length(
    metric: CorpusMetric, statistics: np.ndarray, sources: Sequence[str], level: str = SENTENCE
) -> dict[str, dict[str, float]]:
    """Score short and long examples separately.

    Args:
        metric: the metric.
        statistics: those of the examples.
        sources: the source of each example.
        level: see `length_buckets`.

    Returns:
        `score` and `num_sentences` for each non-empty bucket of `LENGTH_BUCKETS`.
    """
    return {
        name: {"score": metric.score(statistics[selected]), "num_sentences": int(selected.sum())}
        for name, selected in length_buckets(sources, level).items()
    }


def length_buckets(sources: Sequence[str], level: str = SENTENCE) -> dict[str, np.ndarray]:
    """Return which sources, as bool, are in each non-empty bucket of `LENGTH_BUCKETS`.

    Args:
        sources: the sources.
        level: `sentence` counts words, separated by white space; `word` counts characters, of the
            first column where there are several.
    """
    lengths = np.array([source_length(source, level) for source in sources])
    buckets = {
        name: (shortest <= lengths) & (lengths <= longest)
        for name, (shortest, longest) in LENGTH_BUCKETS.items()
    }
    return {name: selected for name, selected in buckets.items() if selected.any()}


def source_length(source: str, level: str = SENTENCE) -> int:
    r"""Return the words of a sentence, or the characters of a word's first column.

    Example:

    >>> source_length("I won !"), source_length("walk\tV;PST", "word")
    (3, 4)
    """
    return len(source.split()) if level == SENTENCE else len(source.split("\t")[0].strip())
