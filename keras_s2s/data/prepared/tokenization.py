"""The second pass over large corpora: learn vocabularies, and tokenize chunks into shards."""

import collections
import functools
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from keras_s2s.data.config import SIDES, DataConfig, PreparationConfig
from keras_s2s.data.parallel_corpus import ParallelCorpus
from keras_s2s.data.prepared.chunk_files import ChunkFiles
from keras_s2s.data.prepared.deduplication import read_duplicate_mask
from keras_s2s.data.prepared.shards import Block, ShardInfo, concatenate, write_shard
from keras_s2s.data.prepared.vocabulary_files import load_tokenizers
from keras_s2s.data.text_counts import TextCounts, count_batch, find_long, sum_counts
from keras_s2s.data.vocabulary import (
    COUNTING_TOKENIZERS,
    make_tokenizers,
    tokenizer_options,
    without_long_pairs,
)
from keras_s2s.tokenizers.columns_tokenizer import ColumnsTokenizer
from keras_s2s.tokenizers.source_columns import count_features, text_columns
from keras_s2s.tokenizers.tokenizer import TOKENIZE_BATCH_SIZE, Tokenizer
from keras_s2s.tokenizers.vocabulary_tokenizer import VocabularyTokenizer

# Pairs that subwords are learned from, about; a random sample of larger corpora.
VOCABULARY_PAIRS = 200_000
# Distinct words in a counter; the rarest are discarded beyond that.
MAX_COUNTED_WORDS = 1_000_000

Counts = tuple["collections.Counter[bytes]", "collections.Counter[bytes]"]


class TextChunk(NamedTuple):
    """A chunk after the first pass.

    Attributes:
        work: folder of the intermediate files.
        chunk_index: index of the chunk among those of all corpora.
        begin: number of pairs in the chunks before it.
        num_pairs: number of pairs.
    """

    work: Path
    chunk_index: int
    begin: int
    num_pairs: int

    def duplicates(self) -> np.ndarray:
        """Return the duplicate mask of its pairs, (num_pairs,), bool."""
        return read_duplicate_mask(self.work, self.begin, self.num_pairs)

    def training_texts(self) -> tuple[list[str], list[str], np.ndarray]:
        """Return sources, targets and hashes of the pairs to train on, without duplicates."""
        files = ChunkFiles(self.work, self.chunk_index)
        sources, targets, positions, hashes = files.training_texts()
        kept = ~self.duplicates()[positions]
        if kept.all():
            return sources, targets, hashes
        indices = np.flatnonzero(kept).tolist()
        return [sources[i] for i in indices], [targets[i] for i in indices], hashes[kept]


class CountTask(NamedTuple):
    """The arguments of `count_chunk`: the text, which of its pairs count, and its columns."""

    chunk: TextChunk
    config: DataConfig
    columns: tuple[str, ...] | None = None


def count_chunk(task: CountTask) -> Counts:
    """Return the frequencies of the tokens of sources and of targets; see `make_tokenizers`."""
    config, (sources, targets, _) = task.config, task.chunk.training_texts()
    # The number of tokens does not depend on the vocabulary.
    source, target = counting_tokenizers(config, (collections.Counter(), collections.Counter()))
    columns = task.columns
    if config.drop_long and config.vocabulary_pairs == "kept":
        kept = without_long_pairs(
            ParallelCorpus(sources, targets),
            source if columns is None else ColumnsTokenizer(source, columns, []),
            target,
            config.num_steps,
        )
        sources, targets = kept.source, kept.target
    texts = sources if columns is None else text_columns(sources, columns)
    return source.count(texts), target.count(targets)


def count_features_of_chunk(task: CountTask) -> "collections.Counter[str]":
    """Return the frequencies of the features of sources of several columns."""
    sources, _, _ = task.chunk.training_texts()
    return count_features(sources, task.columns or (), task.config.feature_separator)


class WordCounts:
    """Word frequencies accumulated over chunks, in bounded memory.

    Attributes:
        max_discarded: highest frequency at which a word was discarded to bound memory.
    """

    def __init__(self) -> None:
        self.counts: Counts = (collections.Counter(), collections.Counter())
        self.max_discarded = 0

    def add(self, counts: Counts) -> None:
        """Add the result of `count_chunk`."""
        for total, chunk in zip(self.counts, counts, strict=True):
            total.update(chunk)
            threshold = 0
            while len(total) > MAX_COUNTED_WORDS:
                threshold += 1
                for word in [word for word, count in total.items() if count <= threshold]:
                    del total[word]
            self.max_discarded = max(self.max_discarded, threshold)


def counting_tokenizers(
    config: DataConfig, counts: Counts
) -> tuple[VocabularyTokenizer, VocabularyTokenizer]:
    """Return the tokenizers of source and target for the frequencies of tokens."""
    source, target = (
        COUNTING_TOKENIZERS[config.tokenizer_of(side)].from_counts(
            counts_of_side,
            config.min_freq_of(side),
            config.vocab_size,
            **tokenizer_options(config, side),
        )
        for side, counts_of_side in zip(SIDES, counts, strict=True)
    )
    return source, target


def subword_tokenizers(
    config: DataConfig,
    chunks: list[TextChunk],
    num_pairs: int,
    columns: tuple[str, ...] | None = None,
) -> tuple[Tokenizer, Tokenizer]:
    """Learn the tokenizers of source and target from about `VOCABULARY_PAIRS` pairs at most.

    Args:
        config: tokenizer options.
        chunks: all chunks.
        num_pairs: number of pairs to train on.
        columns: those of the sources, whose features are those of the sample.
    """
    sides: tuple[list[str], list[str]] = ([], [])
    max_hash = 2**64 - 1
    if num_pairs > VOCABULARY_PAIRS:
        max_hash = max_hash * VOCABULARY_PAIRS // num_pairs
    for chunk in chunks:
        *texts, hashes = chunk.training_texts()
        indices = np.flatnonzero(hashes <= np.uint64(max_hash)).tolist()
        for side, side_texts in zip(sides, texts, strict=True):
            side.extend(side_texts[i] for i in indices)
    return make_tokenizers(config, ParallelCorpus(*sides, columns=columns))


class ShardTask(NamedTuple):
    """The arguments of `make_shard`.

    Attributes:
        chunk: the text.
        path: the file to write.
        corpus: index of the corpus.
        vocabularies: folder of the vocabularies.
        checksums: SHA-256 of the vocabulary files.
        config: how to tokenize.
        columns: those of the sources.
        max_length_ratio: drop pairs with one side longer than the other by more than this factor,
            in tokens; or None.
        id_dtype: see `write_shard`.
    """

    chunk: TextChunk
    path: Path
    corpus: int
    vocabularies: Path
    checksums: tuple[str, ...]
    config: PreparationConfig
    columns: tuple[str, ...] | None
    max_length_ratio: float | None
    id_dtype: str


def make_shard(task: ShardTask) -> ShardInfo:
    """Tokenize the pairs of a chunk and write them as a shard."""
    tokenizers = _cached_tokenizers(task.vocabularies, task.checksums, task.config, task.columns)
    sources, targets, _ = task.chunk.training_texts()
    num_steps = task.config.num_steps
    limits = (num_steps, num_steps - 2)
    length_ratio = 0
    counts: list[TextCounts] = []
    blocks = [Block(*(np.zeros(0, np.int64) for _ in Block._fields))]
    for start in range(0, len(sources), TOKENIZE_BATCH_SIZE):
        sides = [
            tokenizer.tokenize(tf.constant(texts[start : start + TOKENIZE_BATCH_SIZE]))
            for tokenizer, texts in zip(tokenizers, (sources, targets), strict=True)
        ]
        if task.max_length_ratio is not None:
            lengths = [side.row_lengths().numpy() for side in sides]
            longer, shorter = np.maximum(*lengths), np.minimum(*lengths)
            similar = longer <= task.max_length_ratio * np.maximum(shorter, 1)
            length_ratio += int(np.sum(~similar))
            sides = [tf.ragged.boolean_mask(side, similar) for side in sides]
        long = find_long(sides[0], sides[1], num_steps)
        if task.config.drop_long:
            sides = [tf.ragged.boolean_mask(side, ~long.either) for side in sides]
        rows = [side[:, :limit] for side, limit in zip(sides, limits, strict=True)]
        counts.append(count_batch(long, rows[0], rows[1]))
        blocks.append(
            Block(
                *(side.row_lengths().numpy() for side in rows),
                *(side.flat_values.numpy() for side in rows),
            )
        )
    pairs = concatenate(blocks)
    shard = write_shard(task.path, task.corpus, pairs, task.id_dtype)
    shard.source_lengths, shard.target_lengths = (
        np.bincount(lengths.astype(np.int64), minlength=num_steps + 1).tolist()
        for lengths in (pairs.source_lengths, pairs.target_lengths + 2)
    )
    all_counts, shard.length_ratio = sum_counts(counts), length_ratio
    if task.config.drop_long:
        shard.too_long = all_counts.long
    else:
        shard.cut = all_counts.long
    shard.counts = list(all_counts)
    return shard


@functools.lru_cache(maxsize=1)
def _cached_tokenizers(
    folder: Path,
    checksums: tuple[str, ...],
    config: PreparationConfig,
    columns: tuple[str, ...] | None,
) -> tuple[Tokenizer, Tokenizer]:
    # The checksums are part of the key: the files in the folder may have been replaced.
    return load_tokenizers(folder, config, columns)
