"""The data of a training run, from a corpus in memory or a prepared one."""

import dataclasses
import logging
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from keras_s2s.config import TrainingConfig
from keras_s2s.data.batching import DataPosition
from keras_s2s.data.config import differing_fields, fields_in_full
from keras_s2s.data.corpus_spec import CorpusSpec, describe_overlap, split_corpus
from keras_s2s.data.dataset import TokenizedPairs
from keras_s2s.data.parallel_corpus import ParallelCorpus
from keras_s2s.data.prepared.corpus import PreparedCorpus
from keras_s2s.data.text_counts import TextCounts
from keras_s2s.data.vocabulary import make_tokenizers
from keras_s2s.evaluation.metrics.level import suggest_characters
from keras_s2s.evaluation.metrics.sacrebleu_scores import default_tokenization, make_bleu
from keras_s2s.tokenizers.source_columns import has_features, text_columns
from keras_s2s.tokenizers.tokenizer import SPECIAL_TOKENS, Tokenizer
from keras_s2s.utils.console import log
from keras_s2s.utils.errors import InputError
from keras_s2s.utils.text import SOURCE

Corpus = ParallelCorpus | PreparedCorpus

_logger = logging.getLogger("keras_s2s")

# Sentences kept in the run directory, to verify exports with.
NUM_SAMPLES = 500


CorpusChoice = CorpusSpec  # earlier name


def resolve_for_corpus(config: TrainingConfig, corpus: Corpus) -> TrainingConfig:
    """Set `sacrebleu_tokenize`, unless it is given, to what suits the targets of a corpus.

    The fields that an earlier version did not record with a prepared corpus get the values that it
    had for them.

    Raises:
        InputError: sacreBLEU lacks a package or file for it.
    """
    if isinstance(corpus, PreparedCorpus):
        config = dataclasses.replace(config, **corpus.index.earlier_fields)
    tokenize = config.sacrebleu_tokenize
    if tokenize is None:
        targets = (
            [text for split in ("valid", "test") for text in corpus.index.held_out(split).target]
            if isinstance(corpus, PreparedCorpus)
            else corpus.target
        )
        tokenize = default_tokenization(targets)
    make_bleu(tokenize)
    return dataclasses.replace(config, sacrebleu_tokenize=tokenize)


@dataclass(frozen=True)
class TrainingData:
    """The data of a training run.

    Attributes:
        source: tokenizer of the source side.
        target: tokenizer of the target side.
        samples: some source sentences.
        valid: validation pairs; at most those that a prepared corpus keeps as text.
        num_test: number of test pairs.
        counts: of the training pairs; None in a corpus that an earlier version prepared.
        num_pairs: training pairs per epoch.
        target_tokens: tokens predicted per epoch.
        num_batches: batches per epoch.
        batches: returns an infinite dataset of batches from a position on. One iterator serves all
            epochs, since making one takes as long as several batches of a small model.
        find_damage: returns the damage found while reading batches, or None.
    """

    source: Tokenizer
    target: Tokenizer
    samples: list[str]
    valid: ParallelCorpus
    num_test: int
    counts: TextCounts | None
    num_pairs: int
    target_tokens: int
    num_batches: int
    batches: Callable[[DataPosition], tf.data.Dataset]
    find_damage: Callable[[], InputError | None] = lambda: None


def make_training_data(
    corpus: Corpus,
    config: TrainingConfig,
    seed: int,
    held_out: Mapping[str, ParallelCorpus] | None = None,
) -> TrainingData:
    """Make the data of a training run; the seed determines the order of the batches.

    Args:
        corpus: the training pairs, and others unless these are in `held_out`.
        config: the configuration.
        seed: random seed.
        held_out: pairs of the splits `valid` and `test` that have files of their own; a warning is
            logged about sources that stand in the training pairs too.

    Raises:
        InputError: no training pair is left, or the corpus is damaged, or was prepared with another
            configuration.
    """
    held_out = {} if held_out is None else held_out
    columns = corpus.index.columns if isinstance(corpus, PreparedCorpus) else corpus.columns
    if config.replace_unknown and has_features(columns):
        raise InputError(
            "replace_unknown would write features of the source; omit it, or --columns"
        )
    options: dict[str, Any] = {
        "batch_size": config.batch_size,
        "seed": seed,
        "bucket_by_length": config.bucket_by_length,
        "batch_tokens": config.batch_tokens,
    }
    if isinstance(corpus, PreparedCorpus):
        _check_prepared_with(corpus, config)
        corpus.verify()
        valid, test = (
            held_out.get(split) or corpus.index.held_out(split) for split in ("valid", "test")
        )
        return TrainingData(
            *corpus.tokenizers(),
            samples=_sample(corpus.index.samples(), seed),
            valid=valid,
            num_test=len(test),
            counts=corpus.counts,
            num_pairs=len(corpus),
            target_tokens=corpus.target_tokens,
            num_batches=corpus.num_batches(config.batch_size, config.batch_tokens),
            batches=lambda start: corpus.batches(**options, start=start),
            find_damage=lambda: corpus.damage,
        )
    splits = split_corpus(corpus, config, held_out)
    if not len(splits.train):
        raise InputError(
            f"{corpus.name}: none of its {len(corpus)} pairs is left to train on; lower "
            "--valid-fraction and --test-fraction or give more pairs"
        )
    for pairs_of_split in held_out.values():
        line = describe_overlap(pairs_of_split.name, pairs_of_split.source, splits.train.source)
        if line is not None:
            _logger.warning("%s", line)
    if {"word", "sentencepiece"}.issuperset(config.tokenizers()):
        sources = text_columns(splits.train.source, columns or (SOURCE,))
        if (advice := suggest_characters(sources, splits.train.target)) is not None:
            log(f"{corpus.name}: its sources are single words, which {advice} splits into letters")
    source, target = make_tokenizers(config, splits.train)
    for side, tokenizer in (("source", source), ("target", target)):
        if len(tokenizer) == len(SPECIAL_TOKENS):
            unit = "word" if config.tokenizer_of(side) == "word" else "token"
            raise InputError(
                f"{corpus.name}: no {unit} of the {side} occurs {config.min_freq_of(side)} times, "
                "so all would be <unk>; check that the columns are right, or give --min-freq 1"
            )
    pairs = TokenizedPairs(
        splits.train, source, target, config.num_steps, config.drop_long, config.copy
    )
    options |= {"shuffle": True, "subword_sampling": config.subword_sampling}
    epoch = pairs.batches(**options)
    num_batches = int(epoch.cardinality())
    if num_batches < 0:
        # Batches of `batch_tokens` differ slightly in number from epoch to epoch.
        num_batches = sum(1 for _ in epoch)
    return TrainingData(
        source,
        target,
        samples=_sample(list(dict.fromkeys(splits.train.source)), seed),
        valid=splits.valid,
        num_test=len(splits.test),
        counts=pairs.counts,
        num_pairs=len(pairs),
        target_tokens=pairs.target_tokens,
        num_batches=num_batches,
        batches=lambda start: pairs.batches(**options, start=start),
    )


def _check_prepared_with(corpus: PreparedCorpus, config: TrainingConfig) -> None:
    was, now = fields_in_full(corpus.index.config), fields_in_full(config)
    for name in differing_fields(config, corpus.index.config):
        raise InputError(
            f"{corpus.path}: was prepared with {name} {was[name]}, not {now[name]}; omit "
            f"--{name.replace('_', '-')}, or prepare the corpus again"
        )
    for name in ("subword_sampling", "max_pairs", "copy"):
        if getattr(config, name):
            raise InputError(
                f"{corpus.path}: is prepared, and {name} needs a text corpus; omit "
                f"--{name.replace('_', '-')}"
            )


def _sample(sentences: list[str], seed: int) -> list[str]:
    return random.Random(seed).sample(sentences, min(NUM_SAMPLES, len(sentences)))
