"""Vocabularies from a configuration and a corpus."""

import logging
import os
import unicodedata
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from keras_s2s.data.config import PreparationConfig
from keras_s2s.data.parallel_corpus import ParallelCorpus
from keras_s2s.data.text_counts import find_long
from keras_s2s.tokenizers.character_tokenizer import CharacterTokenizer, WhitespaceTokenizer
from keras_s2s.tokenizers.columns_tokenizer import ColumnsTokenizer
from keras_s2s.tokenizers.sentence_piece_tokenizer import SentencePieceTokenizer
from keras_s2s.tokenizers.source_columns import has_features, text_columns
from keras_s2s.tokenizers.tokenizer import TOKENIZE_BATCH_SIZE, UNK, Tokenizer
from keras_s2s.tokenizers.vocabulary_tokenizer import VocabularyTokenizer
from keras_s2s.tokenizers.word_tokenizer import WordTokenizer
from keras_s2s.utils.console import log

DEFAULT_SUBWORD_VOCAB_SIZE = 8000
# The tokenizers whose vocabulary is what occurs often enough, by the name of the configuration.
COUNTING_TOKENIZERS: Mapping[str, type[VocabularyTokenizer]] = {
    "word": WordTokenizer,
    "character": CharacterTokenizer,
    "whitespace": WhitespaceTokenizer,
}
# Sentences that the rules for words are compared on; the others are recommended where the chapter's
# make at least this share of the words unknown, and that many times as many as the others.
COMPARED_SENTENCES = 2000
MIN_UNKNOWN_SHARE = 0.05
MIN_UNKNOWN_RATIO = 2
# Targets that are tokenized and joined again, and the share that has to stay as it is.
ROUND_TRIP_SENTENCES = 10_000
MIN_ROUND_TRIP_SHARE = 0.99

_logger = logging.getLogger("keras_s2s")


def make_tokenizers(
    config: PreparationConfig, corpus: ParallelCorpus
) -> tuple[Tokenizer, Tokenizer]:
    """Fit the source and target tokenizers; a joint vocabulary gives the same object twice.

    Sources of several columns get a `ColumnsTokenizer`, with a vocabulary of their features.

    With `drop_long`, they are fitted again without the pairs that the first ones find too long. For
    subwords, the share of the targets that can be written is logged; for the chapter's words, a
    line if other rules would know twice as many.
    """
    tokenizers = _fit_columns(config, corpus)
    if config.drop_long and config.vocabulary_pairs == "kept":
        kept = without_long_pairs(corpus, *tokenizers, config.num_steps)
        # With none left, the data reports it.
        if 0 < len(kept) < len(corpus):
            corpus, tokenizers = kept, _fit_columns(config, kept)
    if config.tokenizer_of("target") == "sentencepiece" or (
        config.tokenizer_of("target") != "word" and config.target_normalization in ("nfkc", "nfkd")
    ):
        report_round_trip(tokenizers[1], corpus.target)
    for name, side in (("source", _source_texts(corpus)), ("target", corpus.target)):
        if config.tokenizer_of(name) == "word" and config.word_rules == "chapter":
            advise_word_rules(config, name, side)
    return tokenizers


def without_long_pairs(
    corpus: ParallelCorpus, source: Tokenizer, target: Tokenizer, num_steps: int
) -> ParallelCorpus:
    """Return the pairs of a corpus that do not have too many tokens for the model."""
    sides: tuple[list[str], list[str]] = ([], [])
    for start in range(0, len(corpus), TOKENIZE_BATCH_SIZE):
        texts = [
            side[start : start + TOKENIZE_BATCH_SIZE] for side in (corpus.source, corpus.target)
        ]
        source_ids, target_ids = (
            tokenizer.tokenize(tf.constant(side))
            for tokenizer, side in zip((source, target), texts, strict=True)
        )
        kept = np.flatnonzero(~find_long(source_ids, target_ids, num_steps).either).tolist()
        for side, batch in zip(sides, texts, strict=True):
            side.extend(batch[i] for i in kept)
    return ParallelCorpus(*sides, corpus.name, corpus.columns)


def _source_texts(corpus: ParallelCorpus) -> list[str]:
    """Return the sources without their features."""
    return corpus.source if corpus.columns is None else text_columns(corpus.source, corpus.columns)


def _fit_columns(config: PreparationConfig, corpus: ParallelCorpus) -> tuple[Tokenizer, Tokenizer]:
    columns = corpus.columns
    if columns is None or not has_features(columns):
        return _fit(config, corpus)
    texts = ParallelCorpus(_source_texts(corpus), corpus.target, corpus.name)
    source, target = _fit(config, texts)
    return (
        ColumnsTokenizer.fit(source, corpus.source, columns, config.feature_separator),
        target,
    )


def _fit(config: PreparationConfig, corpus: ParallelCorpus) -> tuple[Tokenizer, Tokenizer]:
    if config.joint_vocabulary:
        texts = [*corpus.source, *corpus.target]
        joint = fit_tokenizer(config, "target", texts)
        return joint, joint
    return (
        fit_tokenizer(config, "source", corpus.source),
        fit_tokenizer(config, "target", corpus.target),
    )


def fit_tokenizer(config: PreparationConfig, side: str, texts: list[str]) -> Tokenizer:
    """Fit the tokenizer of the side `source` or `target` on its texts."""
    kind = config.tokenizer_of(side)
    if kind != "sentencepiece":
        return COUNTING_TOKENIZERS[kind].fit(
            texts,
            config.min_freq_of(side),
            config.vocab_size,
            **tokenizer_options(config, side),
        )
    return SentencePieceTokenizer.fit(
        texts,
        vocab_size=config.vocab_size or DEFAULT_SUBWORD_VOCAB_SIZE,
        model_type=config.sentencepiece_model_type,
        lowercase=config.lowercase,
        normalization=config.normalization_of(side),
        symbols=config.symbols,
    )


def tokenizer_options(config: PreparationConfig, side: str) -> dict[str, Any]:
    """Return the arguments, beside the vocabulary, of the tokenizer of a side that counts."""
    symbols = {"symbols": config.symbols}
    if config.tokenizer_of(side) == "word":
        return {"rules": config.word_rules, **symbols}
    return {"normalization": config.normalization_of(side), **symbols}


def load_tokenizer(config: PreparationConfig, side: str, file: str | os.PathLike[str]) -> Tokenizer:
    """Read the vocabulary file of a side.

    Raises:
        InputError: it is missing or damaged.
    """
    kind = config.tokenizer_of(side)
    if kind == "sentencepiece":
        return SentencePieceTokenizer.load(file)
    return COUNTING_TOKENIZERS[kind].load(file, **tokenizer_options(config, side))


def round_trip_share(tokenizer: Tokenizer, texts: list[str]) -> float:
    """Return the share of texts that are the same when tokenized and joined again.

    Differences of case and spacing do not count, nor equivalent forms of a letter and its accents.

    Example:

    >>> texts = ["Go on…", "I go.", "You go."]
    >>> nfkc, nfc = (
    ...     SentencePieceTokenizer.fit(texts, vocab_size=40, normalization=name)
    ...     for name in ("nfkc", "nfc")
    ... )
    >>> round(round_trip_share(nfkc, texts), 2), round_trip_share(nfc, texts)
    (0.67, 1.0)
    """
    same = 0
    for start in range(0, len(texts), TOKENIZE_BATCH_SIZE):
        batch = texts[start : start + TOKENIZE_BATCH_SIZE]
        ids = tokenizer.tokenize(tf.constant(batch))
        written = tokenizer.detokenize(ids.to_tensor(), ids.row_lengths()).numpy().tolist()
        same += sum(
            _comparable(text) == _comparable(result.decode())
            for text, result in zip(batch, written, strict=True)
        )
    return same / len(texts) if texts else 1.0


def _comparable(text: str) -> str:
    return "".join(unicodedata.normalize("NFC", text).casefold().split())


def report_round_trip(tokenizer: Tokenizer, targets: list[str]) -> None:
    """Log the share of targets that a model can write, a warning if there are many it cannot."""
    share = round_trip_share(tokenizer, targets[:: -(-len(targets) // ROUND_TRIP_SENTENCES) or 1])
    line = f"target vocabulary: {share:.1%} of the sentences can be written as they are, apart from"
    line += " case and spacing"
    if share < MIN_ROUND_TRIP_SHARE:
        _logger.warning("%s; give --target-normalization nfc, or clean the text", line)
    else:
        log(line)


def advise_word_rules(config: PreparationConfig, side: str, texts: list[str]) -> None:
    """Log a line if the chapter's rules make many words unknown that other rules do not."""
    sample = texts[:: -(-len(texts) // COMPARED_SENTENCES) or 1]
    min_freq = config.min_freq_of(side)
    chapter, other = (
        _unknown_share(WordTokenizer.fit(sample, min_freq, config.vocab_size, rules), sample)
        for rules in ("chapter", "unicode")
    )
    if chapter >= MIN_UNKNOWN_SHARE and chapter >= MIN_UNKNOWN_RATIO * other:
        log(
            f"{side}: the chapter's rules for words make {chapter:.1%} of the words of a sample "
            f"<unk>, Unicode's {other:.1%}; give --word-rules unicode"
        )


def _unknown_share(tokenizer: WordTokenizer, texts: list[str]) -> float:
    ids = tokenizer.tokenize(tf.constant(texts)).flat_values
    return float(tf.reduce_mean(tf.cast(ids == UNK, tf.float32))) if len(ids) else 0.0
