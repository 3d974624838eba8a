"""Models put to the test: scores that can be compared, and whether a difference means anything."""

import contextlib
import math
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sacrebleu.metrics.base import Metric

from keras_s2s.data.parallel_corpus import ParallelCorpus
from keras_s2s.evaluation.metrics import (
    by_length,
    make_metrics,
    paired_bootstrap,
    score,
    sentence_statistics,
)
from keras_s2s.serving.signatures import ScoredPair
from keras_s2s.translation.base import SentenceTranslator
from keras_s2s.utils.checks import check_int, check_seed, check_type
from keras_s2s.utils.console import progress_bar
from keras_s2s.utils.errors import InputError
from keras_s2s.utils.files import atomic_write

# Given so many, a translator can put sentences of similar lengths together.
BATCHES_AT_A_TIME = 16


def evaluate(
    translator: SentenceTranslator,
    corpus: ParallelCorpus,
    batch_size: int = 64,
    *,
    beam: int = 1,
    tokenize: str = "13a",
    save_translations: str | os.PathLike[str] | None = None,
) -> dict[str, Any]:
    """Scores a translator on a corpus.

    BLEU and chrF are sacreBLEU's, on the raw references and without regard to case, since the
    chapter's tokenizer lower-cases. Every distinct source is translated once and compared with
    all of its translations in the corpus.

    Args:
        translator: a `Translator`, or an export.
        corpus: the pairs.
        batch_size: sentences at a time.
        beam: translations that the search keeps in view at a time; 1 is greedy search.
        tokenize: how sacreBLEU takes a text apart for BLEU, by its own names. `none` is for a
            corpus that has a space between all tokens; in raw text a full stop clings to its word
            and would count as a mistake.
        save_translations: a file to write: for each distinct source, in the order of their first
            appearance, a line with the source, the translation and all references, with tabs in
            between.

    Returns:
        `bleu` and `chrf` (0 to 100) with `bleu_signature` and `chrf_signature`; `bleu_by_length`,
        which has for sources of `1-5`, `6-10`, `11-15` and `>15` words, those that there are,
        their `score` and `num_sentences`;
        `nats_per_token` and `perplexity` of the references, each cut to the tokens that an answer
        can have, the end of the sentence counting as a token; `sentences_per_second` of
        translating; `num_pairs`, `num_sentences` and `num_tokens`.

    Raises:
        InputError: the corpus is empty, sacreBLEU cannot tokenize so, or the file cannot be
            written.

    Example:

    >>> class Parrot(SentenceTranslator):
    ...     def translate(self, sentences, batch_size=64, beam=1):
    ...         return list(sentences)
    ...
    ...     def score_pairs(self, sentences, references, batch_size=64):
    ...         return [ScoredPair(-1.0, 2) for _ in sentences]
    >>> corpus = ParallelCorpus(["le train est en gare", "non"], ["Le train est en gare", "Nein"])
    >>> result = evaluate(Parrot(), corpus)
    >>> round(result["bleu"], 1), result["nats_per_token"], result["num_sentences"]
    (95.5, 0.5, 2)
    """
    arguments = corpus, batch_size, beam, save_translations
    [trial] = _trials([translator], make_metrics(tokenize), *arguments)
    return trial.result


def compare(
    translators: Sequence[SentenceTranslator],
    corpus: ParallelCorpus,
    batch_size: int = 64,
    *,
    beam: int = 1,
    tokenize: str = "13a",
    save_translations: str | os.PathLike[str] | None = None,
    num_samples: int = 1000,
    seed: int = 12345,
) -> dict[str, Any]:
    """Scores translators on the same corpus, and tests how each differs from the first.

    The test is the paired bootstrap of `keras_s2s.scores.paired_bootstrap`. The same arguments
    give the same figures.

    Args:
        translators: two or more; the first is what the others are compared with.
        corpus: the pairs. None of the translators should have been trained on them.
        batch_size: sentences at a time.
        beam: as in `evaluate`, for all of them.
        tokenize: as in `evaluate`.
        save_translations: as in `evaluate`, with the translations of all translators, in their
            order, between the source and the references.
        num_samples: samples of the sentences that the test draws.
        seed: of these samples.

    Returns:
        `models`, for each translator what `evaluate` returns; `num_samples` and `seed`; and
        `differences`, for each but the first an object with `bleu` and `chrf`. In each of these
        are `difference`, the score less that of the first translator; `interval`, the two ends of
        where that lies in 95% of the samples; and `p_value`, how probable a difference as large,
        either way, is between equals.

    Raises:
        InputError: fewer than two translators, a number of samples or a seed that makes no sense,
            or what `evaluate` raises.
    """
    given = 1 if isinstance(translators, SentenceTranslator) else len(translators)
    if given < 2:
        raise InputError(f"{given} translators to compare; give two or more, in a list")
    check_int("num_samples", num_samples)
    check_seed(seed)
    metrics = make_metrics(tokenize)
    arguments = corpus, batch_size, beam, save_translations
    first, *others = _trials(translators, metrics, *arguments)
    differences = [
        {
            name: paired_bootstrap(
                metric, first.counts[name], other.counts[name], num_samples, seed
            )._asdict()
            for name, metric in metrics.items()
        }
        for other in others
    ]
    return {
        "models": [trial.result for trial in (first, *others)],
        "differences": differences,
        "num_samples": num_samples,
        "seed": seed,
    }


class _Trial(NamedTuple):
    """How a translator did: what `evaluate` returns, and what each metric counted."""

    result: dict[str, Any]
    counts: dict[str, np.ndarray]


def _trials(
    translators: Sequence[SentenceTranslator],
    metrics: dict[str, Metric],
    corpus: ParallelCorpus,
    batch_size: int,
    beam: int,
    save_translations: str | os.PathLike[str] | None,
) -> list[_Trial]:
    check_type("corpus", corpus, ParallelCorpus, "what load_corpus returns")
    check_int("batch_size", batch_size)
    if not len(corpus):
        raise InputError(f"{corpus.name}: no pair to evaluate on; give a corpus that has some")
    with contextlib.ExitStack() as at_end:
        aside = None
        if save_translations is not None:
            if os.path.isdir(save_translations):
                raise InputError(f"{save_translations}: is a folder; give the name of a file")
            # Begun before the translating, so that a place that cannot be written to is told early.
            aside = at_end.enter_context(atomic_write(save_translations))
        sources, references = corpus.references()
        trials: list[_Trial] = []
        columns: list[list[str]] = []
        for translator in translators:
            translations, seconds = _translate(translator, sources, batch_size, beam)
            columns.append(translations)
            counts, scores = score_texts(metrics, sources, translations, references)
            result = {
                **scores,
                **_score_references(translator, corpus, batch_size),
                "num_pairs": len(corpus),
                "num_sentences": len(sources),
                "sentences_per_second": len(sources) / seconds,
            }
            trials.append(_Trial(result, counts))
        if aside is not None:
            _write_table(aside, sources, columns, references)
    return trials


def _translate(
    translator: SentenceTranslator, sources: list[str], batch_size: int, beam: int
) -> tuple[list[str], float]:
    """The translations, and the seconds that they took."""
    # The graph is made in the first call; that is not the speed of translating.
    translator.translate(sources[:1], batch_size, beam=beam)
    began = time.perf_counter()
    translations: list[str] = []
    for batch in _batches(len(sources), BATCHES_AT_A_TIME * batch_size, "translating"):
        translations += translator.translate(sources[batch], batch_size, beam=beam)
    return translations, time.perf_counter() - began


def score_texts(
    metrics: dict[str, Metric],
    sources: list[str],
    translations: list[str],
    references: list[list[str]],
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Scores translations that are there already.

    Args:
        metrics: those of `make_metrics`.
        sources: the sentences that were translated.
        translations: one of each.
        references: of each sentence one or more.

    Returns:
        The counts of each metric in each sentence, and what `evaluate` tells of them: `bleu`,
        `chrf`, their signatures, and `bleu_by_length`.
    """
    counts = {
        name: sentence_statistics(metric, translations, references)
        for name, metric in metrics.items()
    }
    scores: dict[str, Any] = {}
    for name, metric in metrics.items():
        scores[name] = score(metric, counts[name])
        scores[f"{name}_signature"] = str(metric.get_signature())
    scores["bleu_by_length"] = by_length(metrics["bleu"], counts["bleu"], sources)
    return counts, scores


def _score_references(
    translator: SentenceTranslator, corpus: ParallelCorpus, batch_size: int
) -> dict[str, Any]:
    """How probable the model finds the references."""
    # Sentences of similar lengths in a batch have little padding: of a corpus in no order, that
    # takes a quarter of the time. The sums are the same in any order.
    pairs = sorted(
        zip(corpus.source, corpus.target, strict=True),
        key=lambda pair: (len(pair[1]), len(pair[0])),
    )
    scored: list[ScoredPair] = []
    for batch in _batches(len(pairs), batch_size, "scoring"):
        sources, targets = map(list, zip(*pairs[batch], strict=True))
        scored += translator.score_pairs(sources, targets, batch_size)
    num_tokens = sum(pair.num_tokens for pair in scored)
    nats_per_token = -math.fsum(pair.score for pair in scored) / num_tokens
    return {
        "nats_per_token": nats_per_token,
        "perplexity": math.exp(min(nats_per_token, 700.0)),
        "num_tokens": num_tokens,
    }


def _write_table(
    path: Path, sources: list[str], columns: list[list[str]], references: list[list[str]]
) -> None:
    in_a_cell = str.maketrans("\t\r\n", "   ")
    with open(path, "wb") as file:
        for source, translations, targets in zip(
            sources, zip(*columns, strict=True), references, strict=True
        ):
            cells = (text.translate(in_a_cell) for text in (source, *translations, *targets))
            file.write("\t".join(cells).encode("utf-8", "surrogateescape") + b"\n")


def _batches(size: int, batch_size: int, description: str) -> Iterator[slice]:
    """Slices that cover `size` items, with a progress bar on a terminal."""
    with progress_bar() as bar:
        for start in bar.track(range(0, size, batch_size), description=description):
            yield slice(start, start + batch_size)
