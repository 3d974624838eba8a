"""What a finished model makes of some sentences, for pictures and for the page of its run."""

import random
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from keras_s2s.data.parallel_corpus import ParallelCorpus
from keras_s2s.evaluation.attention_map import AttentionMap
from keras_s2s.evaluation.evaluate import score_texts
from keras_s2s.evaluation.metrics import make_metrics
from keras_s2s.tokenizers.tokenizer import Tokenizer
from keras_s2s.translation.translator import Translator
from keras_s2s.utils.text import encode_texts, string_tensor

# Enough for a picture, and seconds' work.
NUM_SENTENCES = 500
NUM_MEASURED = 20_000
NUM_EXPLAINED = 4
# Longer sentences make pictures that fit on no screen.
MOST_WORDS = 20


class ModelAnalysis(NamedTuple):
    """How a model did on some sentences.

    Attributes:
        sources: distinct sentences.
        translations: one of each, by greedy search.
        references: of each one or more.
        scores: what `evaluate` returns of `bleu` and `chrf`, with signatures, and
            `bleu_by_length`.
        log_probabilities: for `translations` and `references` (the first of each sentence) the
            log-probability in nats of each, divided by its number of tokens.
    """

    sources: list[str]
    translations: list[str]
    references: list[list[str]]
    scores: dict[str, Any]
    log_probabilities: dict[str, list[float]]


def analyze(
    translator: Translator, corpus: ParallelCorpus, num_sentences: int = NUM_SENTENCES
) -> ModelAnalysis:
    """Translates and scores a sample of the distinct sources of a corpus, the same each time.

    Args:
        translator: the model.
        corpus: at least one pair.
        num_sentences: how large the sample is, at most.
    """
    everything = list(zip(*corpus.references(), strict=True))
    sample = random.Random(0).sample(everything, min(num_sentences, len(everything)))
    sources, references = map(list, zip(*sample, strict=True))
    translations = translator.translate(sources)
    _, scores = score_texts(make_metrics(), sources, translations, references)
    texts = {"translations": translations, "references": [first for first, *_ in references]}
    log_probabilities = {
        name: [
            pair.score / pair.num_tokens
            for pair in translator.score_pairs(sources, targets)
            if pair.num_tokens
        ]
        for name, targets in texts.items()
    }
    return ModelAnalysis(sources, translations, references, scores, log_probabilities)


def token_counts(
    translator: Translator, corpus: ParallelCorpus, num_pairs: int = NUM_MEASURED
) -> tuple[list[int], list[int]]:
    """The lengths of a sample of the pairs, as `num_steps` limits them.

    Args:
        translator: its tokenizers take the sentences apart.
        corpus: the pairs.
        num_pairs: how many of them, at most; a sample is the same each time.

    Returns:
        Tokens of each source, and of the target of each with `<bos>` and `<eos>`.
    """
    numbers = range(len(corpus))
    chosen = random.Random(0).sample(numbers, min(num_pairs, len(numbers)))
    source = _lengths(translator.source_tokenizer, (corpus.source[number] for number in chosen))
    target = _lengths(translator.target_tokenizer, (corpus.target[number] for number in chosen))
    return source, [length + 2 for length in target]


def _lengths(tokenizer: Tokenizer, sentences: Iterable[str]) -> list[int]:
    return tokenizer.tokenize(string_tensor(encode_texts(sentences))).row_lengths().numpy().tolist()


def explain_some(
    translator: Translator,
    sentences: Sequence[str] | Sequence[bytes],
    number: int = NUM_EXPLAINED,
) -> list[AttentionMap]:
    """Where a model looks in sentences of different lengths.

    Args:
        translator: the model.
        sentences: to choose from, the same ones each time.
        number: how many, at most.

    Returns:
        Of each chosen sentence what `explain` finds, the shortest first; nothing when the model
        does not attend.
    """
    if translator.model.decoder.attention is None:
        return []
    chosen = _of_different_lengths(sorted(set(encode_texts(sentences))), number)
    if not chosen:
        return []
    found = translator.explain(string_tensor(chosen))
    return [AttentionMap.of_row(found, row) for row in range(len(chosen))]


def _of_different_lengths(sentences: Sequence[bytes], number: int) -> list[bytes]:
    """At most `number` sentences: one each from the end of as many parts, sorted by length."""
    by_length = sorted(filter(bytes.strip, sentences), key=lambda text: len(text.split()))
    fitting = [text for text in by_length if len(text.split()) <= MOST_WORDS] or by_length[:1]
    number = min(number, len(fitting))
    return [fitting[(part + 1) * len(fitting) // number - 1] for part in range(number)]
