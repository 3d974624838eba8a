"""What training needs of a corpus, whether that is in memory or was prepared."""

import random
from typing import Any

import tensorflow as tf

from keras_s2s.config import TrainingConfig
from keras_s2s.data.batching import DataPosition
from keras_s2s.data.dataset import TokenizedPairs
from keras_s2s.data.parallel_corpus import ParallelCorpus
from keras_s2s.data.prepared.corpus import PreparedCorpus
from keras_s2s.data.vocabulary import make_tokenizers
from keras_s2s.tokenizers.tokenizer import SPECIAL_TOKENS, Tokenizer
from keras_s2s.utils.errors import InputError

Corpus = ParallelCorpus | PreparedCorpus

# Sentences kept for the proof of exports.
NUM_SAMPLES = 500


class TrainingData:
    """What training needs of a corpus; `make_training_data` makes one.

    Attributes:
        source: the tokenizer of the sentences that are read.
        target: that of the sentences that are written.
        samples: some of the sources.
        valid: the pairs held out for validation, as far as they are kept.
        num_test: how many pairs are held out for testing.
        num_pairs: pairs of an epoch.
        target_tokens: tokens that an epoch predicts.
        num_batches: batches of an epoch.
    """

    source: Tokenizer
    target: Tokenizer
    samples: list[str]
    valid: ParallelCorpus
    num_test: int
    num_pairs: int
    target_tokens: int
    num_batches: int

    def batches(self, start: DataPosition) -> tf.data.Dataset:
        """All batches from some place on, without end."""
        raise NotImplementedError

    def damage(self) -> InputError | None:
        """What was found damaged while batches were made."""
        return None


def make_training_data(corpus: Corpus, recipe: TrainingConfig, seed: int) -> TrainingData:
    """What a training with some configuration needs of a corpus.

    Args:
        corpus: from `load_corpus`, or prepared.
        recipe: the configuration.
        seed: of the order of the batches.

    Raises:
        InputError: no pair is left, or the corpus is damaged, or was not prepared for this.
    """
    if isinstance(corpus, PreparedCorpus):
        return _Prepared(corpus, recipe, seed)
    return _InMemory(corpus, recipe, seed)


class _InMemory(TrainingData):
    def __init__(self, corpus: ParallelCorpus, recipe: TrainingConfig, seed: int) -> None:
        splits = corpus.split(recipe.valid_fraction, recipe.test_fraction, recipe.split_seed)
        if not len(splits.train):
            raise InputError(
                f"{corpus.name}: none of its {len(corpus)} pairs is left to train on; lower "
                "--valid-fraction and --test-fraction or give more pairs"
            )
        self.samples = _drawn(list(dict.fromkeys(splits.train.source)), seed)
        self.valid, self.num_test = splits.valid, len(splits.test)
        self.source, self.target = make_tokenizers(recipe, splits.train)
        for side, tokenizer in (("source", self.source), ("target", self.target)):
            if len(tokenizer) == len(SPECIAL_TOKENS):
                raise InputError(
                    f"{corpus.name}: no word of the {side} comes {recipe.min_freq} times, so all "
                    "would be <unk>; look whether the columns are the right ones, or give "
                    "--min-freq 1"
                )
        self._pairs = TokenizedPairs(
            splits.train, self.source, self.target, recipe.num_steps, recipe.drop_long
        )
        self._options: dict[str, Any] = {
            "batch_size": recipe.batch_size,
            "shuffle": True,
            "seed": seed,
            "bucket_by_length": recipe.bucket_by_length,
            "batch_tokens": recipe.batch_tokens,
            "subword_sampling": recipe.subword_sampling,
        }
        self.num_pairs, self.target_tokens = len(self._pairs), self._pairs.target_tokens
        epoch = self._pairs.batches(**self._options)
        self.num_batches = int(epoch.cardinality())
        if self.num_batches < 0:
            # Batches are counted in tokens, and how many there are varies a little by epoch.
            self.num_batches = sum(1 for _ in epoch)

    def batches(self, start: DataPosition) -> tf.data.Dataset:
        return self._pairs.batches(**self._options, start=start)


class _Prepared(TrainingData):
    def __init__(self, corpus: PreparedCorpus, recipe: TrainingConfig, seed: int) -> None:
        _check_fits(corpus, recipe)
        corpus.verify()
        self._corpus = corpus
        self.source, self.target = corpus.tokenizers()
        self.samples = _drawn(corpus.index.samples(), seed)
        self.valid = corpus.index.held_out("valid")
        self.num_test = len(corpus.index.held_out("test"))
        self._options: dict[str, Any] = {
            "batch_size": recipe.batch_size,
            "seed": seed,
            "bucket_by_length": recipe.bucket_by_length,
            "batch_tokens": recipe.batch_tokens,
        }
        self.num_pairs, self.target_tokens = len(corpus), corpus.target_tokens
        self.num_batches = corpus.num_batches(recipe.batch_size, recipe.batch_tokens)

    def batches(self, start: DataPosition) -> tf.data.Dataset:
        return self._corpus.batches(**self._options, start=start)

    def damage(self) -> InputError | None:
        return self._corpus.damage


def _check_fits(corpus: PreparedCorpus, recipe: TrainingConfig) -> None:
    for name, value in corpus.index.fields.items():
        asked = getattr(recipe, name)
        if asked != value:
            raise InputError(
                f"{corpus.path}: was prepared with {name} {value}, not {asked}; leave --"
                f"{name.replace('_', '-')} out, or prepare the corpus anew"
            )
    for name, asked in (
        ("subword_sampling", recipe.subword_sampling),
        ("max_pairs", recipe.max_pairs),
    ):
        if asked:
            raise InputError(
                f"{corpus.path}: is prepared, and {name} needs a corpus of text; leave --"
                f"{name.replace('_', '-')} out"
            )


def _drawn(sentences: list[str], seed: int) -> list[str]:
    return random.Random(seed).sample(sentences, min(NUM_SAMPLES, len(sentences)))
