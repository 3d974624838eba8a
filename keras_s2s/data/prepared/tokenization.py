"""The second pass over large corpora: vocabularies, and chunks of text to shards of ids."""

import collections
import functools
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from keras_s2s.data.config import DataConfig
from keras_s2s.data.parallel_corpus import ParallelCorpus
from keras_s2s.data.prepared.corpus import load_tokenizers
from keras_s2s.data.prepared.filtering import ChunkFiles, read_duplicates
from keras_s2s.data.prepared.shards import Block, Shard, joined, write_shard
from keras_s2s.data.vocabulary import make_tokenizers
from keras_s2s.tokenizers.tokenizer import TEXTS_AT_A_TIME, Tokenizer
from keras_s2s.tokenizers.word_tokenizer import WordTokenizer, count_words

# Pairs that subwords are learned from, about; drawn at random from more.
VOCABULARY_PAIRS = 200_000
# Different words that are counted at a time; of more, the rarest so far are forgotten.
COUNTED_WORDS = 1_000_000

Counts = tuple["collections.Counter[bytes]", "collections.Counter[bytes]"]


class ChunkToRead(NamedTuple):
    """A chunk of the first pass.

    Attributes:
        work: the folder.
        number: of the chunk.
        begin: how many pairs the chunks before it have.
        pairs: how many it has.
    """

    work: Path
    number: int
    begin: int
    pairs: int

    def duplicates(self) -> np.ndarray:
        """Which of its pairs have come before."""
        return read_duplicates(self.work, self.begin, self.pairs)

    def training_texts(self) -> tuple[list[str], list[str], np.ndarray]:
        """Sources, targets and hashes of the pairs to train on."""
        files = ChunkFiles(self.work, self.number)
        sources, targets, places, hashes = files.training_texts()
        kept = ~self.duplicates()[places]
        if kept.all():
            return sources, targets, hashes
        numbers = np.flatnonzero(kept).tolist()
        return [sources[at] for at in numbers], [targets[at] for at in numbers], hashes[kept]


def count_chunk(chunk: ChunkToRead) -> Counts:
    """How often each word occurs in the sources, and in the targets."""
    sources, targets, _ = chunk.training_texts()
    return count_words(sources), count_words(targets)


class WordCounts:
    """Words counted in one chunk after the other, in bounded memory.

    Attributes:
        forgotten: words that occurred no more often than so were forgotten on the way.
    """

    def __init__(self) -> None:
        self.counts: Counts = (collections.Counter(), collections.Counter())
        self.forgotten = 0

    def add(self, counts: Counts) -> None:
        """Takes in what `count_chunk` gave."""
        for mine, more in zip(self.counts, counts, strict=True):
            mine.update(more)
            least = 0
            while len(mine) > COUNTED_WORDS:
                least += 1
                for word in [word for word, count in mine.items() if count <= least]:
                    del mine[word]
            self.forgotten = max(self.forgotten, least)


def word_tokenizers(recipe: DataConfig, counts: Counts) -> tuple[Tokenizer, Tokenizer]:
    """The source's and the target's."""
    source, target = (
        WordTokenizer.from_counts(side, recipe.min_freq, recipe.vocab_size) for side in counts
    )
    return source, target


def subword_tokenizers(
    recipe: DataConfig, chunks: list[ChunkToRead], pairs: int
) -> tuple[Tokenizer, Tokenizer]:
    """The source's and the target's, learned from all pairs or about `VOCABULARY_PAIRS` of them.

    Args:
        recipe: the configuration.
        chunks: all.
        pairs: how many are trained on.
    """
    sides: tuple[list[str], list[str]] = ([], [])
    highest = 2**64 - 1
    if pairs > VOCABULARY_PAIRS:
        highest = highest * VOCABULARY_PAIRS // pairs
    for chunk in chunks:
        *texts, hashes = chunk.training_texts()
        drawn = np.flatnonzero(hashes <= np.uint64(highest)).tolist()
        for side, side_texts in zip(sides, texts, strict=True):
            side.extend(side_texts[at] for at in drawn)
    return make_tokenizers(recipe, ParallelCorpus(*sides))


class ShardToMake(NamedTuple):
    """A piece of the work of the second pass.

    Attributes:
        chunk: its text.
        path: the shard to be.
        corpus: the number of the corpus.
        vocabularies: the folder of the vocabularies.
        checksums: of their files.
        fields: the fields of `Recipe` that say how to tokenize.
        max_length_ratio: pairs are left out whose one side has more than so many times the tokens
            of the other; or None.
        id_type: see `write_shard`.
    """

    chunk: ChunkToRead
    path: Path
    corpus: int
    vocabularies: Path
    checksums: tuple[str, ...]
    fields: dict[str, Any]
    max_length_ratio: float | None
    id_type: str


def make_shard(job: ShardToMake) -> Shard:
    """Tokenizes the pairs of a chunk and writes them down."""
    tokenizers = _tokenizers(
        job.vocabularies, job.checksums, job.fields["tokenizer"], job.fields["joint_vocabulary"]
    )
    sources, targets, _ = job.chunk.training_texts()
    num_steps, dropped, cut = job.fields["num_steps"], [0, 0], 0
    blocks = [Block(*(np.zeros(0, np.int64) for _ in Block._fields))]
    for start in range(0, len(sources), TEXTS_AT_A_TIME):
        sides, lengths = [], []
        for tokenizer, texts, most in zip(
            tokenizers, (sources, targets), (num_steps, num_steps - 2), strict=True
        ):
            tokens = tokenizer.tokenize(tf.constant(texts[start : start + TEXTS_AT_A_TIME]))
            sides.append((tokens, most))
            lengths.append(tokens.row_lengths().numpy())
        longer, shorter = np.maximum(*lengths), np.minimum(*lengths)
        kept = np.ones(len(longer), bool)
        if job.max_length_ratio is not None:
            kept = longer <= job.max_length_ratio * np.maximum(shorter, 1)
            dropped[1] += int(np.sum(~kept))
        long = kept & ((lengths[0] > num_steps) | (lengths[1] > num_steps - 2))
        if job.fields["drop_long"]:
            dropped[0] += int(np.sum(long))
            kept &= ~long
        else:
            cut += int(np.sum(long))
        columns = []
        for tokens, most in sides:
            rows = tf.ragged.boolean_mask(tokens, kept)[:, :most]
            columns.append((rows.row_lengths().numpy(), rows.flat_values.numpy()))
        blocks.append(Block(columns[0][0], columns[1][0], columns[0][1], columns[1][1]))
    pairs = joined(blocks)
    shard = write_shard(job.path, job.corpus, pairs, job.id_type)
    shard.source_lengths, shard.target_lengths = (
        np.bincount(lengths.astype(np.int64), minlength=num_steps + 1).tolist()
        for lengths in (pairs.source_lengths, pairs.target_lengths + 2)
    )
    shard.too_long, shard.length_ratio, shard.cut = *dropped, cut
    return shard


@functools.lru_cache(maxsize=1)
def _tokenizers(
    folder: Path, checksums: tuple[str, ...], kind: str, joint: bool
) -> tuple[Tokenizer, Tokenizer]:
    # By their checksums too: another vocabulary may have taken the place of one.
    return load_tokenizers(folder, {"tokenizer": kind, "joint_vocabulary": joint})
