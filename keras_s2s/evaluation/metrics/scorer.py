"""The choice of metrics for a task, and the scores of translations by them."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from keras_s2s.evaluation.metrics.corpus_metric import CorpusMetric, score_by_length
from keras_s2s.evaluation.metrics.error_rates import make_error_rate
from keras_s2s.evaluation.metrics.sacrebleu_scores import make_bleu, make_chrf
from keras_s2s.evaluation.metrics.text_splitter import Splits, TextSplitter
from keras_s2s.utils.scores import FITTING_SCORES, SCORES, SENTENCE, check_names


def in_order(level: str) -> list[str]:
    """Return the names of all scores, those first that fit what the answers are.

    Example:

    >>> in_order("word")
    ['exact', 'wer', 'ter', 'bleu', 'chrf']
    """
    return list(dict.fromkeys([*FITTING_SCORES[level], *SCORES]))


def make_metrics(
    tokenize: str = "13a",
    lowercase: bool = True,
    *,
    names: Iterable[str] = FITTING_SCORES[SENTENCE],
    level: str = SENTENCE,
    tokenizer: Splits = None,
    ignore_case: bool = False,
) -> dict[str, CorpusMetric]:
    """Return metrics by name.

    Args:
        tokenize: sacreBLEU's tokenizer for BLEU; see `make_bleu`.
        lowercase: whether BLEU and chrF ignore case.
        names: of `SCORES`.
        level: what the answers are, see `answer_level`.
        tokenizer: the target tokenizer, for the others; see `TextSplitter`.
        ignore_case: whether the others ignore case, also where the tokenizer keeps it.

    Raises:
        InputError: no metric has such a name, or sacreBLEU cannot use its tokenizer.
    """
    splitter = TextSplitter(tokenizer, ignore_case)
    metrics: dict[str, CorpusMetric] = {}
    for name in check_names(names):
        if name == "bleu":
            metrics[name] = make_bleu(tokenize, lowercase)
        elif name == "chrf":
            metrics[name] = make_chrf(lowercase)
        else:
            metrics[name] = make_error_rate(name, splitter, level)
    return metrics


def score_texts(
    metrics: dict[str, CorpusMetric],
    sources: Sequence[str],
    translations: Sequence[str],
    references: Sequence[Sequence[str]],
    level: str = SENTENCE,
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Score existing translations.

    Args:
        metrics: result of `make_metrics`.
        sources: the sources.
        translations: one for each source.
        references: one or more for each source.
        level: what the answers are.

    Returns:
        The statistics of each metric; and the corpus scores as in `evaluate`: for each metric the
        score, its signature, and the score by length of the source.
    """
    statistics: dict[str, np.ndarray] = {}
    scores: dict[str, Any] = {}
    by_length: dict[str, Any] = {}
    for name, metric in metrics.items():
        key = SCORES[name].key
        statistics[name] = metric.statistics(translations, references)
        scores[key] = metric.score(statistics[name])
        scores[f"{key}_signature"] = metric.signature
        by_length[f"{key}_by_length"] = score_by_length(metric, statistics[name], sources, level)
    return statistics, scores | by_length
