"""Prepared corpora: their folder, and batches streamed from it."""

import functools
import os
from typing import NamedTuple

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
from keras_s2s.data.prepared.index import (
    MAX_WEIGHT,
    REPAIR_HINT,
    PreparedIndex,
)
from keras_s2s.data.prepared.shards import Block, ShardInfo, concatenate, read_block
from keras_s2s.data.prepared.vocabulary_files import load_tokenizers
from keras_s2s.data.text_counts import sum_recorded
from keras_s2s.tokenizers.tokenizer import BOS, EOS, PAD, Tokenizer
from keras_s2s.utils.checks import check_number
from keras_s2s.utils.errors import InputError

# Size of the shuffle window: pairs, and ids with padding, at most.
WINDOW_PAIRS = 2**17
WINDOW_IDS = 2**23


class PreparedCorpus:
    """A corpus that `prepare` has tokenized.

    Only the shuffle windows are in memory, whatever the size of the corpus.

    Args:
        path: its folder.

    Attributes:
        index: the content of `index.json`.
        counts: pairs that are too long, and unknown tokens; None if an earlier version prepared it.
        damage: the error of the first damaged block that `batches` has read, or None.

    Raises:
        InputError: there is no such folder, or its index is damaged.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.index = PreparedIndex(path)
        self.path = self.index.path
        self.damage: InputError | None = None
        content = self.index.content
        try:
            self.num_steps: int = self.index.config.num_steps
            self._shards = [ShardInfo.from_json(shard) for shard in content["shards"]]
            corpora = content["corpora"]
            self._weights = [
                check_number("a weight", corpus["weight"], float, gt=0, le=MAX_WEIGHT)
                for corpus in corpora
            ]
            self._num_pairs = [0] * len(corpora)
            for shard in self._shards:
                self._num_pairs[shard.corpus] += shard.num_pairs
            if self._num_pairs != [corpus["train_pairs"] for corpus in corpora]:
                raise ValueError("its numbers of pairs are not those of its shards")
            self.counts = sum_recorded(corpus.get("counts") for corpus in corpora)
            self._id_dtype: str = content["id_type"]
            if self._id_dtype not in ("uint16", "uint32"):
                raise ValueError(f"its id_type is {self._id_dtype!r:.40}")
            self._target_lengths = np.array(content["target_lengths"], np.int64)
            if self._target_lengths.ndim != 2 or len(self._target_lengths) != len(corpora):
                raise ValueError("target_lengths has no counts for each corpus")
            self._vocab_sizes: list[int] = content["vocabularies"]
            if len(self._vocab_sizes) != 2 or {type(size) for size in self._vocab_sizes} != {int}:
                raise ValueError(f"vocabularies is {self._vocab_sizes!r:.40}")
            self._blocks = _block_table(self._shards)
        except (ValueError, KeyError, TypeError, IndexError, OverflowError) as error:
            raise self.index.damage_error(error) from error

    def fingerprint(self) -> str:
        """See `PreparedIndex.fingerprint`."""
        return self.index.fingerprint()

    def verify(self) -> None:
        """Compare all files with their checksums, which reads all of them.

        Raises:
            InputError: one is damaged.
        """
        self.index.check_files()
        for shard in self._shards:
            shard.check(self.path)

    def tokenizers(self) -> tuple[Tokenizer, Tokenizer]:
        """Return the tokenizers of source and target; the same object if they share it."""
        source, target = load_tokenizers(self.path, self.index.config, self.index.columns)
        if [len(source), len(target)] != self._vocab_sizes:
            raise self.index.damage_error(
                f"vocabularies is {self._vocab_sizes}, and the files have {len(source)} and "
                f"{len(target)} tokens"
            )
        return source, target

    def __len__(self) -> int:
        """Return the number of pairs in an epoch: those of each corpus times its weight."""
        return sum(
            int(weight) * num_pairs + round(weight % 1 * num_pairs)
            for weight, num_pairs in zip(self._weights, self._num_pairs, strict=True)
        )

    @property
    def target_tokens(self) -> int:
        """Tokens predicted in an epoch, without `<bos>` and padding; approximate for fractions."""
        counts = self._epoch_length_counts()
        return int(counts @ np.maximum(np.arange(len(counts)) - 1, 0))

    def num_batches(self, batch_size: int, batch_tokens: int | None) -> int:
        """Return the number of batches in an epoch, the same in each."""
        if batch_tokens is not None:
            return count_token_batches(self._epoch_length_counts(), batch_tokens)
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
        """Return an endless dataset of batches, reshuffled each epoch.

        The blocks of all shards are shuffled. The pairs of each window of `WINDOW_PAIRS` are then
        shuffled and batched as `TokenizedPairs` does with a whole corpus; a corpus that fits in
        one window yields the same batches as `TokenizedPairs`.

        Args:
            batch_size: see `make_dataset`.
            seed: likewise.
            bucket_by_length: likewise.
            batch_tokens: likewise. With several windows, an epoch ends after `num_batches` and
                drops the remainder, which differs between epochs.
            start: first batch. Nothing before it is read, except with `batch_tokens` the batches
                of the same epoch.
            worker: index of this process among those that train together.
            num_workers: number of these processes. Each gets its rows of the same batches.

        Returns:
            A dataset as from `make_dataset`. A damaged block ends it with a TensorFlow error, and
            sets `damage`.
        """
        start = start or DataPosition()
        window_batches = max(1, self._max_window_pairs() // batch_size)
        window_pairs = window_batches * batch_size
        num_windows = max(1, -(-len(self) // window_pairs))
        num_batches = self.num_batches(batch_size, batch_tokens)
        # Batched by tokens, the windows may yield slightly fewer than `num_batches`: a second
        # round over them provides the missing ones.
        rounds = 2 if batch_tokens is not None and num_windows > 1 else 1

        def load(seed: tf.Tensor, window: tf.Tensor) -> TokenizedBatchSource:
            columns = tf.numpy_function(
                functools.partial(self._load_window, window_pairs, num_windows),
                [seed, window],
                [tf.int32] * len(TokenizedBatchSource._fields),
            )
            for column, shape in zip(columns, ([None, self.num_steps], [None]) * 2, strict=True):
                column.set_shape(shape)
            return TokenizedBatchSource(*columns)

        def epoch_batches(epoch: tf.Tensor, seed: tf.Tensor) -> tf.data.Dataset:
            skipped = tf.where(epoch == start.epoch, tf.constant(start.batch, tf.int64), 0)
            zero = tf.constant(0, tf.int64)
            first = zero if batch_tokens is not None else skipped // window_batches

            def window_dataset(window: tf.Tensor, *columns: tf.Tensor) -> tf.data.Dataset:
                pairs = TokenizedBatchSource(*columns)
                if bucket_by_length:
                    return batches_by_length(
                        pairs, batch_size, batch_tokens, True, seed + window, zero
                    )
                return shuffled_batches(pairs, batch_size, seed + window, zero)

            windows = tf.data.Dataset.range(first, num_windows * rounds)
            loaded = windows.map(lambda window: (window, *load(seed, window))).prefetch(1)
            data = loaded.flat_map(window_dataset)
            return data.skip(skipped - first * window_batches).take(num_batches - skipped)

        seeds = tf.data.Dataset.random(seed=seed).enumerate().skip(start.epoch)
        data = seeds.flat_map(epoch_batches)
        if num_workers > 1:
            data = data.map(lambda *batch: _rows_of_worker(batch, worker, num_workers))
        return prefetch(data)

    def _epoch_length_counts(self) -> np.ndarray:
        """Return the number of targets of each valid length in an epoch, (num_steps + 1,)."""
        total = np.zeros(self.num_steps + 1)
        for weight, counts in zip(self._weights, self._target_lengths, strict=True):
            total += weight * counts
        return np.rint(total).astype(np.int64)

    def _max_window_pairs(self) -> int:
        return min(WINDOW_PAIRS, max(1, WINDOW_IDS // self.num_steps))

    @functools.lru_cache(maxsize=2)  # noqa: B019 (lives as long as the one corpus of a process)
    def _epoch_blocks(self, seed: int, shuffle: bool) -> tuple[np.ndarray, np.ndarray]:
        """Return the block indices of an epoch in order, and the cumulative number of pairs."""
        generator = np.random.default_rng([seed])
        all_blocks, all_sizes = [], []
        for corpus, weight in enumerate(self._weights):
            blocks = np.flatnonzero(self._blocks.corpus == corpus)
            sizes = self._blocks.num_pairs[blocks]
            for _ in range(int(weight)):
                all_blocks.append(blocks)
                all_sizes.append(sizes)
            # The fraction of a pass: random blocks in each epoch, the last one truncated.
            remainder = round(weight % 1 * int(sizes.sum()))
            if remainder:
                order = generator.permutation(len(blocks))
                begins = np.cumsum(sizes[order]) - sizes[order]
                order = order[begins < remainder]
                all_blocks.append(blocks[order])
                all_sizes.append(np.minimum(sizes[order], remainder - begins[: len(order)]))
        blocks, sizes = np.concatenate(all_blocks), np.concatenate(all_sizes)
        if shuffle:
            order = generator.permutation(len(blocks))
            blocks, sizes = blocks[order], sizes[order]
        return blocks, np.cumsum(sizes)

    def _load_window(
        self, window_pairs: int, num_windows: int, seed: np.ndarray, window: np.ndarray
    ) -> list[np.ndarray]:
        """Return the pairs of a window as padded rows; indices continue in a second round."""
        round_index, window_index = divmod(int(window), num_windows)
        blocks, ends = self._epoch_blocks(int(seed) + round_index, num_windows > 1)
        begin = window_index * window_pairs
        end = min(begin + window_pairs, int(ends[-1]))
        first, last = np.searchsorted(ends, [begin, end - 1], side="right")
        slices = []
        try:
            for i in range(first, last + 1):
                block = self._read_block(int(blocks[i]))
                block_begin = int(ends[i - 1]) if i else 0
                block_end = min(int(ends[i]), end)
                slices.append(block.slice(max(0, begin - block_begin), block_end - block_begin))
        except InputError as error:
            self.damage = error
            raise
        return pad_pairs(concatenate(slices), self.num_steps)

    def _read_block(self, index: int) -> Block:
        table = self._blocks
        file = self.path / self._shards[int(table.shard[index])].file
        offset = int(table.offset[index])
        block = read_block(
            file, offset, int(table.bytes[index]), int(table.crc32[index]), self._id_dtype
        )
        # A checksum does not tell whether it is of this corpus.
        if (
            block.num_pairs != table.num_pairs[index]
            or block.source_lengths.max(initial=0) > self.num_steps
            or block.target_lengths.max(initial=0) > self.num_steps - 2
            or block.source_ids.max(initial=0) >= self._vocab_sizes[0]
            or block.target_ids.max(initial=0) >= self._vocab_sizes[1]
        ):
            raise InputError(
                f"{file}: holds pairs of another corpus in the block at byte {offset}, since they "
                "do not fit the vocabularies, num_steps or the number of pairs in index.json; "
                f"{REPAIR_HINT}"
            )
        return block


class _BlockTable(NamedTuple):
    """The blocks of all shards, (num_blocks,) each."""

    shard: np.ndarray
    corpus: np.ndarray
    offset: np.ndarray
    bytes: np.ndarray
    num_pairs: np.ndarray
    crc32: np.ndarray


def _block_table(shards: list[ShardInfo]) -> _BlockTable:
    num_blocks = [len(shard.block_pairs) for shard in shards]
    return _BlockTable(
        np.repeat(np.arange(len(shards)), num_blocks),
        np.repeat(np.array([shard.corpus for shard in shards], np.int64), num_blocks),
        np.concatenate([shard.offsets() for shard in shards]),
        *(
            np.concatenate([np.array(getattr(shard, name), np.int64) for shard in shards])
            for name in ("block_bytes", "block_pairs", "block_crc32")
        ),
    )


def pad_pairs(pairs: Block, num_steps: int) -> list[np.ndarray]:
    """Return the columns of `TokenizedBatchSource`, as `Tokenizer.pad` and `.frame` make them.

    Args:
        pairs: at most `num_steps` source ids and `num_steps - 2` target ids each.
        num_steps: length of the rows.
    """
    step = np.arange(num_steps)
    source_length = pairs.source_lengths.astype(np.int32)
    source = np.full((pairs.num_pairs, num_steps), PAD, np.int32)
    source[step < source_length[:, None]] = pairs.source_ids
    target_length = pairs.target_lengths.astype(np.int32) + 2
    target = np.full((pairs.num_pairs, num_steps), PAD, np.int32)
    target[:, 0] = BOS
    target[(step > 0) & (step < target_length[:, None] - 1)] = pairs.target_ids
    target[np.arange(pairs.num_pairs), target_length - 1] = EOS
    return [source, source_length, target, target_length]


def _rows_of_worker(batch: Batch, worker: int, num_workers: int) -> Batch:
    return tf.nest.map_structure(lambda column: column[worker::num_workers], batch)
