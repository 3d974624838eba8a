"""Evaluation of translators on a corpus: comparable scores, and significance of differences."""

import contextlib
import math
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from keras_s2s.data.columns import check_columns
from keras_s2s.data.parallel_corpus import ParallelCorpus
from keras_s2s.data.text_counts import unknown_share
from keras_s2s.evaluation.metrics.corpus_metric import CorpusMetric
from keras_s2s.evaluation.metrics.level import answer_level, source_texts
from keras_s2s.evaluation.metrics.sacrebleu_scores import default_tokenization
from keras_s2s.evaluation.metrics.scorer import in_order, make_metrics, score_texts
from keras_s2s.evaluation.significance import bootstrap_intervals, paired_bootstrap
from keras_s2s.serving.signatures import ScoredPair
from keras_s2s.translation.base import SentenceTranslator
from keras_s2s.utils.checks import check_int, check_seed, check_type
from keras_s2s.utils.console import progress_bar
from keras_s2s.utils.errors import InputError
from keras_s2s.utils.files import atomic_write
from keras_s2s.utils.scores import SCORES, check_names

# Enough for a translator to form batches of sentences of similar lengths.
BATCHES_PER_CALL = 16
# References with capitals that show whether a model without a tokenizer has them.
MAX_CASED = 32


def evaluate(
    translator: SentenceTranslator,
    corpus: ParallelCorpus,
    batch_size: int = 64,
    *,
    beam: int = 1,
    tokenize: str | None = None,
    lowercase: bool = True,
    save_translations: str | os.PathLike[str] | None = None,
    metrics: Iterable[str] | None = None,
) -> dict[str, Any]:
    """Score a translator on a corpus.

    Each distinct source is translated once and scored against all of its references in the corpus.

    BLEU and chrF are sacreBLEU's, on the raw references, by default case-insensitive, since the
    chapter's tokenizer lower-cases. Exact match, word and token error rate compare texts as the
    target tokenizer sees them, so that case counts if it keeps case; see
    `keras_s2s.word_error_rate`. An export of an earlier version does not record its tokenizers: its
    answers are compared as text, case counts if its log-probabilities depend on it, and it has no
    token error rate.

    Args:
        translator: a `Translator` or an `ExportedTranslator`.
        corpus: the pairs.
        batch_size: sentences per batch.
        beam: beam size; 1 is greedy search.
        tokenize: sacreBLEU's tokenizer for BLEU; by default the one that suits the script of the
            references, `13a`, `zh` or `char` (see `evaluation.metrics.default_tokenization`). Use
            `none` only for references that are tokenized already: in raw text punctuation is
            attached to words and would count as errors.
        lowercase: whether BLEU and chrF ignore case.
        save_translations: path of a tab-separated file to write: a line for each distinct source,
            in the order of first appearance, with the source, the translation and all references.
        metrics: names of the scores to compute: `bleu`, `chrf`, `exact`, `wer`, `ter`; by default
            all.

    Returns:
        A dict of these.

        `bleu`, `chrf`, `exact_match`, `word_error_rate` and `token_error_rate` in percent, None
        without a tokenizer that it needs. For each, with a suffix: `_signature`, how it was
        computed; `_interval`, its 95% confidence interval by bootstrap resampling; `_by_length`,
        the `score` and `num_sentences` for sources of `1-5`, `6-10`, `11-15` and `>15` words
        (characters, if the answers are words), without empty buckets.

        `level`: what the answers are, `word` or `sentence`; see `evaluation.metrics.answer_level`.

        `nats_per_token` and `perplexity` of the references, each truncated to the maximum length
        of a translation, with the end of the sentence as a token.

        `unknown_source` and `unknown_target`, the shares of the tokens of the pairs that are
        `<unk>`, None without a tokenizer.

        `sentences_per_second`, the throughput of translation; `num_pairs`, `num_sentences`
        (distinct sources) and `num_tokens`.

    Raises:
        InputError: the corpus is empty, a metric does not exist or needs a tokenizer, sacreBLEU
            has no such tokenizer, or the file cannot be written.

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
    task = _make_task([translator], corpus, tokenize, lowercase, metrics)
    [result] = _evaluate_all([translator], task, corpus, batch_size, beam, save_translations)
    return result.scores


def compare(
    translators: Sequence[SentenceTranslator],
    corpus: ParallelCorpus,
    batch_size: int = 64,
    *,
    beam: int = 1,
    tokenize: str | None = None,
    lowercase: bool = True,
    save_translations: str | os.PathLike[str] | None = None,
    metrics: Iterable[str] | None = None,
    num_samples: int = 1000,
    seed: int = 12345,
) -> dict[str, Any]:
    """Score translators on the same corpus, and test the difference of each from the first.

    The test is `keras_s2s.evaluation.significance.paired_bootstrap`. It is deterministic for a
    given seed.

    Args:
        translators: two or more; the first is the baseline.
        corpus: the pairs. None of the translators should have been trained on them.
        batch_size: sentences per batch.
        beam: as in `evaluate`, for all of them.
        tokenize: as in `evaluate`.
        lowercase: as in `evaluate`.
        save_translations: as in `evaluate`, with the translations of all translators, in their
            order, between the source and the references.
        metrics: as in `evaluate`. Texts are split into tokens by the target tokenizer of the first
            translator that has one, for all of them.
        num_samples: number of bootstrap resamples.
        seed: random seed of the resamples.

    Returns:
        `models`, for each translator what `evaluate` returns; `differences`, for each translator
        but the first, by metric (`bleu`, `exact_match` …), the `difference` from the first, its
        95% confidence `interval` and the two-sided `p_value`; `num_samples` and `seed`.

    Raises:
        InputError: fewer than two translators, an invalid `num_samples` or `seed`, or as for
            `evaluate`.
    """
    count = 1 if isinstance(translators, SentenceTranslator) else len(translators)
    if count < 2:
        raise InputError(f"{count} translators to compare; give a list of two or more")
    check_int("num_samples", num_samples)
    check_seed(seed)
    task = _make_task(translators, corpus, tokenize, lowercase, metrics)
    arguments = corpus, batch_size, beam, save_translations
    baseline, *others = _evaluate_all(translators, task, *arguments)
    differences = [
        {
            SCORES[name].key: paired_bootstrap(
                metric, baseline.statistics[name], other.statistics[name], num_samples, seed
            )._asdict()
            for name, metric in task.metrics.items()
        }
        for other in others
    ]
    return {
        "models": [result.scores for result in (baseline, *others)],
        "differences": differences,
        "num_samples": num_samples,
        "seed": seed,
    }


class _Task(NamedTuple):
    """What the answers to a corpus are, and the metrics that score them."""

    level: str
    metrics: dict[str, CorpusMetric]
    missing: list[str]  # metrics without a tokenizer that they need


def _make_task(
    translators: Sequence[SentenceTranslator],
    corpus: ParallelCorpus,
    tokenize: str | None,
    lowercase: bool,
    names: Iterable[str] | None,
) -> _Task:
    check_type("corpus", corpus, ParallelCorpus, "what load_corpus returns")
    tokenizers = (getattr(translator, "target_tokenizer", None) for translator in translators)
    tokenizer = next(filter(None, tokenizers), None)
    level = answer_level(tokenizer, source_texts(translators[0], corpus.source), corpus.target)
    chosen = in_order(level) if names is None else check_names(names)
    missing = ["ter"] if tokenizer is None and "ter" in chosen else []
    if missing and names is not None:
        raise InputError(
            "ter needs the target tokenizer, which exports of earlier versions do not record; "
            "export the model again, give its run directory or .keras file, or leave ter out"
        )
    metrics = make_metrics(
        default_tokenization(corpus.target) if tokenize is None else tokenize,
        lowercase,
        names=[name for name in chosen if name not in missing],
        level=level,
        tokenizer=tokenizer,
        ignore_case=tokenizer is None and _folds_case(translators[0], corpus),
    )
    return _Task(level, metrics, missing)


def _folds_case(translator: SentenceTranslator, corpus: ParallelCorpus) -> bool:
    """Return whether the case of references makes no difference to a model without a tokenizer."""
    pairs = zip(corpus.source, corpus.target, strict=True)
    cased = [(source, target) for source, target in pairs if target != target.lower()]
    sources, targets = [[pair[side] for pair in cased[:MAX_CASED]] for side in (0, 1)]
    lower = [target.lower() for target in targets]
    scores = (translator.score_pairs(sources, texts) for texts in (targets, lower))
    return bool(cased) and all(
        math.isclose(first.score, second.score, rel_tol=1e-5)
        for first, second in zip(*scores, strict=True)
    )


class _Result(NamedTuple):
    """Scores of a translator as `evaluate` returns them, and the statistics of each metric."""

    scores: dict[str, Any]
    statistics: dict[str, np.ndarray]


def _evaluate_all(
    translators: Sequence[SentenceTranslator],
    task: _Task,
    corpus: ParallelCorpus,
    batch_size: int,
    beam: int,
    save_translations: str | os.PathLike[str] | None,
) -> list[_Result]:
    check_int("batch_size", batch_size)
    for translator in translators:
        if (source_tokenizer := getattr(translator, "source_tokenizer", None)) is not None:
            check_columns(source_tokenizer, corpus.columns, corpus.name)
    if not len(corpus):
        raise InputError(f"{corpus.name}: no pair to evaluate on; give a corpus with at least one")
    with contextlib.ExitStack() as stack:
        output = None
        if save_translations is not None:
            if os.path.isdir(save_translations):
                raise InputError(f"{save_translations}: is a folder; give the name of a file")
            # Opened before translation, so that a path that is not writable fails early.
            output = stack.enter_context(atomic_write(save_translations))
        sources, references = corpus.references()
        results: list[_Result] = []
        columns: list[list[str]] = []
        for translator in translators:
            translations, seconds = _translate(translator, sources, batch_size, beam)
            columns.append(translations)
            statistics, scores = score_texts(
                task.metrics,
                source_texts(translator, sources),
                translations,
                references,
                task.level,
            )
            for name, interval in bootstrap_intervals(task.metrics, statistics).items():
                scores[f"{SCORES[name].key}_interval"] = list(interval)
            scores |= {
                **{SCORES[name].key: None for name in task.missing},
                "level": task.level,
                **_score_references(translator, corpus, batch_size),
                **_unknown_shares(translator, corpus),
                "num_pairs": len(corpus),
                "num_sentences": len(sources),
                "sentences_per_second": len(sources) / seconds,
            }
            results.append(_Result(scores, statistics))
        if output is not None:
            _write_table(output, sources, columns, references)
    return results


def _translate(
    translator: SentenceTranslator, sources: list[str], batch_size: int, beam: int
) -> tuple[list[str], float]:
    """Return the translations and the seconds that they took."""
    # Warm up: the first call traces the graph, which is not part of the throughput.
    translator.translate(sources[:1], batch_size, beam=beam)
    start = time.perf_counter()
    translations: list[str] = []
    for batch in _batches(len(sources), BATCHES_PER_CALL * batch_size, "translating"):
        translations += translator.translate(sources[batch], batch_size, beam=beam)
    return translations, time.perf_counter() - start


def _score_references(
    translator: SentenceTranslator, corpus: ParallelCorpus, batch_size: int
) -> dict[str, Any]:
    """Compute the perplexity of the references."""
    # Sorting by length minimizes padding: a quarter of the time for a shuffled corpus.
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


def _unknown_shares(
    translator: SentenceTranslator, corpus: ParallelCorpus
) -> dict[str, float | None]:
    shares: dict[str, float | None] = {}
    for side, texts in (("source", corpus.source), ("target", corpus.target)):
        tokenizer = getattr(translator, f"{side}_tokenizer", None)
        shares[f"unknown_{side}"] = None if tokenizer is None else unknown_share(tokenizer, texts)
    return shares


def _write_table(
    path: Path, sources: list[str], columns: list[list[str]], references: list[list[str]]
) -> None:
    separators = str.maketrans("\t\r\n", "   ")
    with open(path, "wb") as file:
        for source, translations, targets in zip(
            sources, zip(*columns, strict=True), references, strict=True
        ):
            cells = (text.translate(separators) for text in (source, *translations, *targets))
            file.write("\t".join(cells).encode("utf-8", "surrogateescape") + b"\n")


def _batches(size: int, batch_size: int, description: str) -> Iterator[slice]:
    """Yield slices that cover `size` items, with a progress bar on a terminal."""
    with progress_bar() as bar:
        for start in bar.track(range(0, size, batch_size), description=description):
            yield slice(start, start + batch_size)
