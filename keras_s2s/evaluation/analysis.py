"""Analysis of a trained model on a sample of sentences, for plots and the report of its run."""

import random
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from keras_s2s.data.parallel_corpus import ParallelCorpus
from keras_s2s.evaluation.attention_map import AttentionMap
from keras_s2s.evaluation.error_analysis import ErrorAnalysis, analyze_errors
from keras_s2s.evaluation.metrics.corpus_metric import length_buckets
from keras_s2s.evaluation.metrics.level import answer_level, source_texts
from keras_s2s.evaluation.metrics.sacrebleu_scores import default_tokenization
from keras_s2s.evaluation.metrics.scorer import make_metrics, score_texts
from keras_s2s.evaluation.metrics.text_splitter import TextSplitter
from keras_s2s.evaluation.significance import bootstrap_intervals
from keras_s2s.tokenizers.tokenizer import Tokenizer
from keras_s2s.translation.translator import Translator
from keras_s2s.utils.scores import FITTING_SCORES, SCORES, SENTENCE, WORD
from keras_s2s.utils.text import encode_texts, string_tensor

# Sources that are translated: enough for a plot, and computed in seconds.
SAMPLE_SIZES = {SENTENCE: 500, WORD: 2000}
NUM_LENGTHS = 20_000
NUM_ATTENTION_MAPS = 4
# Attention maps of longer sentences do not fit on a screen.
MAX_WORDS = 20


class ModelAnalysis(NamedTuple):
    """Translations and scores of a model on a sample of the distinct sources of a corpus.

    Attributes:
        level: what the answers are, `word` or `sentence`.
        sources: distinct sources.
        translations: their translations, by greedy search.
        references: one or more for each source.
        scores: those that fit the answers, as `evaluate` returns them, with the 95% confidence
            `interval` of each length.
        log_probabilities: for `translations` and `references` (the first of each source), the
            log-probability per token of each, in nats.
        errors: of the answers.
    """

    level: str
    sources: list[str]
    translations: list[str]
    references: list[list[str]]
    scores: dict[str, Any]
    log_probabilities: dict[str, list[float]]
    errors: ErrorAnalysis


def analyze(
    translator: Translator,
    corpus: ParallelCorpus,
    num_sentences: int | None = None,
    tokenize: str | None = None,
    lowercase: bool = True,
) -> ModelAnalysis:
    """Translate and score a fixed sample of the distinct sources of a corpus.

    Args:
        translator: the model.
        corpus: at least one pair.
        num_sentences: maximum size of the sample; by default that of `SAMPLE_SIZES`.
        tokenize: see `evaluate`.
        lowercase: see `evaluate`.
    """
    tokenizer = translator.target_tokenizer
    level = answer_level(tokenizer, source_texts(translator, corpus.source), corpus.target)
    metrics = make_metrics(
        tokenize or default_tokenization(corpus.target),
        lowercase,
        names=FITTING_SCORES[level],
        level=level,
        tokenizer=tokenizer,
    )
    population = list(zip(*corpus.references(), strict=True))
    size = min(num_sentences or SAMPLE_SIZES[level], len(population))
    sample = random.Random(0).sample(population, size)
    sources, references = map(list, zip(*sample, strict=True))
    translations = translator.translate(sources)
    texts = source_texts(translator, sources)
    statistics, scores = score_texts(metrics, texts, translations, references, level)
    for bucket, selected in length_buckets(texts, level).items():
        rows = {name: values[selected] for name, values in statistics.items()}
        for name, interval in bootstrap_intervals(metrics, rows).items():
            scores[f"{SCORES[name].key}_by_length"][bucket]["interval"] = interval
    targets_by_name = {
        "translations": translations,
        "references": [first for first, *_ in references],
    }
    log_probabilities = {
        name: [
            pair.score / pair.num_tokens
            for pair in translator.score_pairs(sources, targets)
            if pair.num_tokens
        ]
        for name, targets in targets_by_name.items()
    }
    errors = analyze_errors(translations, references, TextSplitter(tokenizer))
    return ModelAnalysis(
        level, sources, translations, references, scores, log_probabilities, errors
    )


def token_counts(
    translator: Translator, corpus: ParallelCorpus, num_pairs: int = NUM_LENGTHS
) -> tuple[list[int], list[int]]:
    """Count the tokens of a fixed sample of the pairs, as `num_steps` limits them.

    Args:
        translator: its tokenizers are used.
        corpus: the pairs.
        num_pairs: maximum size of the sample.

    Returns:
        Token counts of the sources, and of the targets with `<bos>` and `<eos>`.
    """
    population = range(len(corpus))
    indices = random.Random(0).sample(population, min(num_pairs, len(population)))
    source = _lengths(translator.source_tokenizer, (corpus.source[index] for index in indices))
    target = _lengths(translator.target_tokenizer, (corpus.target[index] for index in indices))
    return source, [length + 2 for length in target]


def _lengths(tokenizer: Tokenizer, sentences: Iterable[str]) -> list[int]:
    return tokenizer.tokenize(string_tensor(encode_texts(sentences))).row_lengths().numpy().tolist()


def sample_attention_maps(
    translator: Translator,
    sentences: Sequence[str] | Sequence[bytes],
    count: int = NUM_ATTENTION_MAPS,
) -> list[AttentionMap]:
    """Return attention maps of a few sentences of different lengths.

    Args:
        translator: the model.
        sentences: candidates; the selection from them is deterministic.
        count: maximum number of maps.

    Returns:
        The maps, shortest sentence first; empty for a model without attention.
    """
    if translator.model.decoder.attention is None:
        return []
    selected = _select_by_length(sorted(set(encode_texts(sentences))), count)
    if not selected:
        return []
    outputs = translator.explain(string_tensor(selected))
    return [AttentionMap.from_outputs(outputs, row) for row in range(len(selected))]


def _select_by_length(sentences: Sequence[bytes], count: int) -> list[bytes]:
    """Return the longest sentence of each of `count` quantiles of length."""
    by_length = sorted(filter(bytes.strip, sentences), key=lambda text: len(text.split()))
    fitting = [text for text in by_length if len(text.split()) <= MAX_WORDS] or by_length[:1]
    count = min(count, len(fitting))
    return [fitting[(index + 1) * len(fitting) // count - 1] for index in range(count)]
