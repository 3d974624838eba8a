"""Tokenized pairs to batches: shuffling, bucketing by length, trimming, prefetching."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

# Ids of shape (batch, steps) and valid lengths of shape (batch,), int32.
Sequences = tuple[tf.Tensor, tf.Tensor]
# The sources and the targets.
Batch = tuple[Sequences, Sequences]

# Batches prepared during a training step: enough to absorb slow ones.
PREFETCH_BUFFER_SIZE = 8

# Batches whose pairs are sorted together: enough of them for little padding, few enough that the
# composition of a batch stays random.
WINDOW_BATCHES = 400


class DataPosition(NamedTuple):
    """Progress of training: completed epochs, and completed batches of the current one."""

    epoch: int = 0
    batch: int = 0


class TokenizedBatchSource(NamedTuple):
    """Tokenized pairs, int32: ids of shape (pairs, steps) and valid lengths of shape (pairs,)."""

    source_ids: tf.Tensor
    source_valid_length: tf.Tensor
    target_ids: tf.Tensor
    target_valid_length: tf.Tensor

    def gather(self, indices: tf.Tensor) -> Batch:
        """Return the pairs at some indices as an element of a dataset."""
        columns = [tf.gather(column, indices) for column in self]
        return (columns[0], columns[1]), (columns[2], columns[3])


def prefetch(data: tf.data.Dataset) -> tf.data.Dataset:
    """Prefetch a fixed number of batches."""
    # WORKAROUND(tensorflow<=2.21.0): disable the autotuner, which has nothing else to tune: the end
    # of training can block for its polling interval, up to half of the time of a short run.
    options = tf.data.Options()
    options.autotune.enabled = False
    return data.prefetch(PREFETCH_BUFFER_SIZE).with_options(options)


def trim_padding(batch: Batch) -> Batch:
    """Trim each side of a batch to its longest sentence.

    At least one source step and two target steps remain (the decoder's input and its label),
    since not every layer supports zero steps.
    """
    (source_ids, source_valid_length), (target_ids, target_valid_length) = batch
    # `reduce_max` of an empty batch is INT32_MIN.
    source_steps = tf.maximum(tf.reduce_max(source_valid_length), 1)
    target_steps = tf.maximum(tf.reduce_max(target_valid_length), 2)
    return (
        (source_ids[:, :source_steps], source_valid_length),
        (target_ids[:, :target_steps], target_valid_length),
    )


def split_by_length(batch: Batch) -> list[Batch]:
    """Split a batch into the halves with the shorter and the longer targets, both trimmed.

    The halves are independent, so TensorFlow runs them in parallel, and the shorter one has less
    padding.
    """
    order = tf.argsort(batch[1][1], stable=True)
    middle = tf.shape(order)[0] // 2

    def gather(indices: tf.Tensor) -> Batch:
        return tf.nest.map_structure(lambda column: tf.gather(column, indices), batch)

    return [trim_padding(gather(order[:middle])), trim_padding(gather(order[middle:]))]


def bucket_batches(
    pairs: TokenizedBatchSource,
    batch_size: int,
    batch_tokens: int | None,
    shuffle: bool,
    seed: int | None,
    sample: Callable[[tf.Tensor], TokenizedBatchSource] | None,
    start: DataPosition | None,
) -> tf.data.Dataset:
    """Return batches of pairs of similar lengths, each padded to its longest pair.

    Args:
        pairs: the tokenized corpus.
        batch_size: pairs per batch.
        batch_tokens: target tokens per batch instead, padding included; or None.
        shuffle: whether to reshuffle each epoch.
        seed: random seed of the shuffling.
        sample: maps a random seed to the pairs of an epoch; None to use `pairs` in all epochs.
        start: first element of an endless dataset; None for a dataset of one epoch.
    """
    num_batches: int | None = -(-len(pairs.source_valid_length) // batch_size)
    if batch_tokens is not None:
        # The number depends on the lengths, which differ by epoch if they are sampled.
        lengths = np.sort(pairs.target_valid_length)
        num_batches = None if sample else len(_token_batch_starts(lengths, batch_tokens))

    def epoch_batches(seed: tf.Tensor, skip: tf.Tensor) -> tf.data.Dataset:
        epoch_pairs = pairs if sample is None else sample(seed)
        return batches_by_length(epoch_pairs, batch_size, batch_tokens, shuffle, seed, skip)

    if start is not None:
        seeds = tf.data.Dataset.random(seed=seed).enumerate().skip(start.epoch)
        return seeds.flat_map(
            lambda epoch, seed: epoch_batches(
                seed, tf.where(epoch == start.epoch, tf.constant(start.batch, tf.int64), 0)
            )
        )
    # One seed per epoch, a new one in each iteration.
    seeds = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True).take(1)
    data = seeds.flat_map(lambda seed: epoch_batches(seed, tf.constant(0, tf.int64)))
    if num_batches is not None:
        data = data.apply(tf.data.experimental.assert_cardinality(num_batches))
    return data


def batches_by_length(
    pairs: TokenizedBatchSource,
    batch_size: int,
    batch_tokens: int | None,
    shuffle: bool,
    seed: tf.Tensor,
    skip: tf.Tensor,
) -> tf.data.Dataset:
    """Return one epoch of batches of similar lengths, as graph code.

    Args:
        pairs: the tokenized corpus; its size may be unknown at trace time.
        batch_size: pairs per batch.
        batch_tokens: target tokens per batch instead, padding included; or None.
        shuffle: whether to shuffle pairs of similar lengths, and the order of the batches.
        seed: int64 scalar, random seed of the shuffling.
        skip: int64 scalar, number of batches to skip.
    """
    size = tf.size(pairs.source_valid_length)
    indices = tf.range(size)
    if shuffle:
        indices = tf.random.experimental.stateless_shuffle(indices, [seed, 0])
    source_length, target_length = (
        tf.cast(tf.gather(length, indices), tf.int64)
        for length in (pairs.source_valid_length, pairs.target_valid_length)
    )
    max_length = tf.cast(tf.shape(pairs.source_ids)[1] + tf.shape(pairs.target_ids)[1], tf.int64)
    positions = tf.range(tf.cast(size, tf.int64))
    if batch_tokens is None:
        starts = tf.range(0, size, batch_size)
        windows = tf.zeros_like(positions)
        if shuffle:
            windows = positions // (batch_size * WINDOW_BATCHES)
        group = windows * max_length + target_length
    else:
        # Sort all pairs by target length first, so that every epoch has the same number of
        # batches.
        sorted_length = tf.sort(target_length)
        (starts,) = tf.numpy_function(
            lambda lengths: [_token_batch_starts(lengths, batch_tokens)],
            [sorted_length],
            [tf.int32],
        )
        starts = tf.ensure_shape(starts, [None])
        windows = tf.zeros_like(target_length)
        if shuffle:
            # Windows among the pairs with equal target lengths.
            order = tf.argsort(target_length, stable=True)
            rank = tf.range(size) - tf.searchsorted(sorted_length, sorted_length)
            window_size = batch_tokens // sorted_length * WINDOW_BATCHES
            windows = tf.scatter_nd(order[:, None], tf.cast(rank, tf.int64) // window_size, [size])
        group = target_length * tf.cast(size, tf.int64) + windows
    # Alternate ascending and descending source length: a batch that spans two groups gets the
    # long sources of both, or the short ones.
    is_ascending = (windows + target_length) % 2 == 0
    source_key = tf.where(is_ascending, source_length, max_length - source_length)
    indices = tf.gather(indices, tf.argsort(group * max_length + source_key, stable=True))
    ends = tf.concat([starts[1:], [size]], axis=0)
    if shuffle:
        shuffled = tf.random.experimental.stateless_shuffle(tf.range(tf.size(starts)), [seed, 1])
        starts, ends = tf.gather(starts, shuffled), tf.gather(ends, shuffled)

    def batch(start: tf.Tensor, end: tf.Tensor) -> Batch:
        return trim_padding(pairs.gather(indices[start:end]))

    return tf.data.Dataset.from_tensor_slices((starts[skip:], ends[skip:])).map(batch)


def shuffled_batches(
    pairs: TokenizedBatchSource, batch_size: int, seed: tf.Tensor, skip: tf.Tensor
) -> tf.data.Dataset:
    """Return one epoch of batches in random order, regardless of length, with all padding."""
    indices = tf.range(tf.size(pairs.source_valid_length))
    indices = tf.random.experimental.stateless_shuffle(indices, [seed, 0])
    return (
        tf.data.Dataset.from_tensor_slices(indices).batch(batch_size).skip(skip).map(pairs.gather)
    )


def count_token_batches(length_counts: np.ndarray, batch_tokens: int) -> int:
    """Return the number of batches of at most `batch_tokens` tokens, padding included.

    Args:
        length_counts: number of pairs of each length, shape (max_length + 1,).
        batch_tokens: at least the largest length.
    """
    num_batches, capacity = 0, 0
    filled = 0  # pairs in the last batch
    for length in np.flatnonzero(length_counts).tolist():
        capacity, remaining = batch_tokens // length, int(length_counts[length])
        added = min(remaining, max(0, capacity - filled)) if filled else 0
        filled, remaining = filled + added, remaining - added
        if remaining:
            new_batches = -(-remaining // capacity)
            num_batches += new_batches
            filled = remaining - (new_batches - 1) * capacity
    return num_batches


def _token_batch_starts(lengths: np.ndarray, batch_tokens: int) -> np.ndarray:
    """Return the first index of each batch of at most `batch_tokens` tokens, padding included.

    Args:
        lengths: ascending, shape (pairs,).
        batch_tokens: at least the largest length.

    Returns:
        int32, shape (batches,), ascending from 0.
    """
    starts = [0]
    for index, length in enumerate(lengths.tolist()):
        if (index + 1 - starts[-1]) * length > batch_tokens:
            starts.append(index)
    return np.array(starts, np.int32)
