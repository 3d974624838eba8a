"""Prepared corpora: what lies in their folder, and batches that are made while it is read."""

import functools
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from keras_s2s.data.batching import (
    Batch,
    DataPosition,
    TokenizedBatchSource,
    batches_by_length,
    count_token_batches,
    prefetch,
    shuffled_batches,
)
from keras_s2s.data.prepared.index import SIDES, PreparedIndex
from keras_s2s.data.prepared.shards import Block, Shard, joined, read_block
from keras_s2s.tokenizers.sentence_piece_tokenizer import SentencePieceTokenizer
from keras_s2s.tokenizers.tokenizer import BOS, EOS, PAD, Tokenizer
from keras_s2s.tokenizers.word_tokenizer import WordTokenizer
from keras_s2s.utils.errors import InputError

# Pairs that are mixed with each other, at most, and how many ids they may have with padding.
WINDOW_PAIRS = 2**17
WINDOW_IDS = 2**23


class PreparedCorpus:
    """A corpus that `prepare` has tokenized.

    Only so much of it is in memory as is mixed at a time, however large it is.

    Args:
        path: its folder.

    Attributes:
        index: what `index.json` says.
        damage: what was found damaged while batches were made, or None.

    Raises:
        InputError: there is no such folder, or its index is damaged.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.index = PreparedIndex(path)
        self.path = self.index.path
        self.damage: InputError | None = None
        content = self.index.content
        try:
            self.num_steps: int = self.index.fields["num_steps"]
            self._shards = [Shard(**shard) for shard in content["shards"]]
            self._weights = [float(corpus["weight"]) for corpus in content["corpora"]]
            self._pairs = [int(corpus["train_pairs"]) for corpus in content["corpora"]]
            self._id_type: str = content["id_type"]
            self._lengths = np.array(content["target_lengths"], np.int64)
            self._blocks = _table_of_blocks(self._shards)
        except (ValueError, KeyError, TypeError) as error:
            raise self.index.damaged(error) from error

    def fingerprint(self) -> str:
        """See `PreparedIndex.fingerprint`."""
        return self.index.fingerprint()

    def verify(self) -> None:
        """Compares all files with their checksums; reads them once.

        Raises:
            InputError: one is damaged.
        """
        self.index.check_files()
        for shard in self._shards:
            shard.check(self.path)

    def tokenizers(self) -> tuple[Tokenizer, Tokenizer]:
        """The source's and the target's; the same object when it is one for both."""
        return load_tokenizers(self.path, self.index.fields)

    def __len__(self) -> int:
        """Pairs of an epoch: those of each corpus as often as its weight says."""
        return sum(
            int(weight) * pairs + round(weight % 1 * pairs)
            for weight, pairs in zip(self._weights, self._pairs, strict=True)
        )

    @property
    def target_tokens(self) -> int:
        """Tokens that an epoch predicts: all but `<bos>` and padding; near it for fractions."""
        counts = self._epoch_lengths()
        return int(counts @ np.maximum(np.arange(len(counts)) - 1, 0))

    def num_batches(self, batch_size: int, batch_tokens: int | None) -> int:
        """Batches of an epoch; each has as many."""
        if batch_tokens is not None:
            return count_token_batches(self._epoch_lengths(), batch_tokens)
        return -(-len(self) // batch_size)

    def batches(
        self,
        batch_size: int,
        seed: int,
        bucket_by_length: bool = False,
        batch_tokens: int | None = None,
        start: DataPosition | None = None,
        worker: int = 0,
        num_workers: int = 1,
    ) -> tf.data.Dataset:
        """Endless batches, one epoch after the other, each with an order of its own.

        The blocks of all shards come in random order. So many of them as are `WINDOW_PAIRS` are
        mixed pair by pair, and put into batches as `TokenizedPairs` does with a whole corpus; a
        corpus no larger than that comes in the very same batches.

        Args:
            batch_size: see `make_dataset`.
            seed: likewise.
            bucket_by_length: likewise.
            batch_tokens: likewise. An epoch of several windows then leaves out what is over when
                it has its number of batches, other pairs each time.
            start: where it begins; nothing before it is made, except with `batch_tokens` the
                batches of the same epoch.
            worker: of several processes that train together, the number of this one, from 0.
            num_workers: how many there are. Each gets its rows of the same batches.

        Returns:
            A dataset as from `make_dataset`. A damaged block ends it with an error, which
            `damage` tells.
        """
        start = start or DataPosition()
        size = max(1, self._window_pairs() // batch_size)  # of a window, in batches
        window_pairs = size * batch_size
        num_windows = max(1, -(-len(self) // window_pairs))
        num_batches = self.num_batches(batch_size, batch_tokens)
        # By tokens, the windows may have a few batches less than all pairs together.
        rounds = 2 if batch_tokens is not None and num_windows > 1 else 1

        def load(seed: tf.Tensor, number: tf.Tensor) -> TokenizedBatchSource:
            columns = tf.numpy_function(
                functools.partial(self._window, window_pairs, num_windows),
                [seed, number],
                [tf.int32] * len(TokenizedBatchSource._fields),
            )
            for column, shape in zip(columns, ([None, self.num_steps], [None]) * 2, strict=True):
                column.set_shape(shape)
            return TokenizedBatchSource(*columns)

        def epoch(number: tf.Tensor, seed: tf.Tensor) -> tf.data.Dataset:
            before = tf.where(number == start.epoch, tf.constant(start.batch, tf.int64), 0)
            first = tf.constant(0, tf.int64) if batch_tokens is not None else before // size

            def made(window: tf.Tensor, *columns: tf.Tensor) -> tf.data.Dataset:
                rows, nothing = TokenizedBatchSource(*columns), tf.constant(0, tf.int64)
                if bucket_by_length:
                    return batches_by_length(
                        rows, batch_size, batch_tokens, True, seed + window, nothing
                    )
                return shuffled_batches(rows, batch_size, seed + window, nothing)

            windows = tf.data.Dataset.range(first, num_windows * rounds)
            loaded = windows.map(lambda window: (window, *load(seed, window))).prefetch(1)
            data = loaded.flat_map(made)
            return data.skip(before - first * size).take(num_batches - before)

        seeds = tf.data.Dataset.random(seed=seed).enumerate().skip(start.epoch)
        data = seeds.flat_map(epoch)
        if num_workers > 1:
            data = data.map(lambda *batch: _rows_of_worker(batch, worker, num_workers))
        return prefetch(data)

    def _epoch_lengths(self) -> np.ndarray:
        """How many targets of an epoch have each valid length."""
        together = np.zeros(self.num_steps + 1)
        for weight, counts in zip(self._weights, self._lengths, strict=True):
            together += weight * counts
        return np.rint(together).astype(np.int64)

    def _window_pairs(self) -> int:
        return min(WINDOW_PAIRS, max(1, WINDOW_IDS // self.num_steps))

    @functools.lru_cache(maxsize=2)  # noqa: B019 (as long as the corpus, of which there is one)
    def _plan(self, seed: int, mixed: bool) -> tuple[np.ndarray, np.ndarray]:
        """The blocks of an epoch in order, and where the pairs of each end."""
        draw = np.random.default_rng([seed])
        blocks, counts = [], []
        for number, weight in enumerate(self._weights):
            own = np.flatnonzero(self._blocks.corpus == number)
            pairs = self._blocks.pairs[own]
            for _ in range(int(weight)):
                blocks.append(own)
                counts.append(pairs)
            # Of a fraction, other blocks in each epoch, the last one as far as need be.
            wanted = round(weight % 1 * int(pairs.sum()))
            if wanted:
                order = draw.permutation(len(own))
                before = np.cumsum(pairs[order]) - pairs[order]
                order = order[before < wanted]
                blocks.append(own[order])
                counts.append(np.minimum(pairs[order], wanted - before[: len(order)]))
        numbers, sizes = np.concatenate(blocks), np.concatenate(counts)
        if mixed:
            order = draw.permutation(len(numbers))
            numbers, sizes = numbers[order], sizes[order]
        return numbers, np.cumsum(sizes)

    def _window(
        self, window_pairs: int, num_windows: int, seed: np.ndarray, number: np.ndarray
    ) -> list[np.ndarray]:
        """The pairs of a window as padded rows; its number goes on in a second round."""
        extra, window = divmod(int(number), num_windows)
        numbers, ends = self._plan(int(seed) + extra, num_windows > 1)
        begin = window * window_pairs
        end = min(begin + window_pairs, int(ends[-1]))
        first, last = np.searchsorted(ends, [begin, end - 1], side="right")
        blocks = []
        try:
            for at in range(first, last + 1):
                block = self._read(int(numbers[at]))
                came_before = int(ends[at - 1]) if at else 0
                blocks.append(
                    block.part(max(0, begin - came_before), min(int(ends[at]), end) - came_before)
                )
        except InputError as error:
            self.damage = error
            raise
        return padded(joined(blocks), self.num_steps)

    def _read(self, number: int) -> Block:
        table = self._blocks
        return read_block(
            self.path / self._shards[int(table.shard[number])].file,
            int(table.offset[number]),
            int(table.bytes[number]),
            int(table.crc32[number]),
            self._id_type,
        )


class _Blocks(NamedTuple):
    """All blocks of all shards, one value for each."""

    shard: np.ndarray
    corpus: np.ndarray
    offset: np.ndarray
    bytes: np.ndarray
    pairs: np.ndarray
    crc32: np.ndarray


def _table_of_blocks(shards: list[Shard]) -> _Blocks:
    numbers = [len(shard.block_pairs) for shard in shards]
    return _Blocks(
        np.repeat(np.arange(len(shards)), numbers),
        np.repeat(np.array([shard.corpus for shard in shards], np.int64), numbers),
        np.concatenate([shard.offsets() for shard in shards]),
        *(
            np.concatenate([np.array(getattr(shard, name), np.int64) for shard in shards])
            for name in ("block_bytes", "block_pairs", "block_crc32")
        ),
    )


def padded(pairs: Block, num_steps: int) -> list[np.ndarray]:
    """The columns of `TokenizedBatchSource`: what `Tokenizer.pad` and `Tokenizer.frame` give.

    Args:
        pairs: of at most `num_steps` source ids and two target ids fewer.
        num_steps: length of the rows.
    """
    step = np.arange(num_steps)
    source_length = pairs.source_lengths.astype(np.int32)
    source = np.full((pairs.pairs, num_steps), PAD, np.int32)
    source[step < source_length[:, None]] = pairs.source_ids
    target_length = pairs.target_lengths.astype(np.int32) + 2
    target = np.full((pairs.pairs, num_steps), PAD, np.int32)
    target[:, 0] = BOS
    target[(step > 0) & (step < target_length[:, None] - 1)] = pairs.target_ids
    target[np.arange(pairs.pairs), target_length - 1] = EOS
    return [source, source_length, target, target_length]


def _rows_of_worker(batch: Batch, worker: int, num_workers: int) -> Batch:
    return tf.nest.map_structure(lambda column: column[worker::num_workers], batch)


def tokenizer_files(fields: dict[str, Any]) -> tuple[str, str]:
    """The names of the files of the source's and the target's vocabulary."""
    kind = WordTokenizer if fields["tokenizer"] == "word" else SentencePieceTokenizer
    sides = (SIDES[2],) * 2 if fields["joint_vocabulary"] else SIDES[:2]
    return f"{sides[0]}{kind.file_suffix}", f"{sides[1]}{kind.file_suffix}"


def load_tokenizers(folder: Path, fields: dict[str, Any]) -> tuple[Tokenizer, Tokenizer]:
    """See `PreparedCorpus.tokenizers`."""
    kind = WordTokenizer if fields["tokenizer"] == "word" else SentencePieceTokenizer
    files = tokenizer_files(fields)
    source = kind.load(folder / files[0])
    return source, source if files[0] == files[1] else kind.load(folder / files[1])
