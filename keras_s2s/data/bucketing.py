"""Tokenized pairs to batches of similar lengths."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from keras_s2s.data.batching import Batch, trim_padding

# Batches whose pairs are sorted by length among each other: many enough to leave little padding,
# few enough that chance decides which pairs meet.
BATCHES_SORTED_TOGETHER = 400


class DataPosition(NamedTuple):
    """How far training has got: so many whole epochs, and so many batches of the next one."""

    epochs: int = 0
    batches: int = 0


class TokenizedBatchSource(NamedTuple):
    """Tokenized pairs, int32: ids of shape (pairs, steps) and valid lengths of shape (pairs,)."""

    source_ids: tf.Tensor
    source_valid_length: tf.Tensor
    target_ids: tf.Tensor
    target_valid_length: tf.Tensor

    def at(self, positions: tf.Tensor) -> Batch:
        """The pairs at some positions, as an element of a dataset."""
        columns = [tf.gather(column, positions) for column in self]
        return (columns[0], columns[1]), (columns[2], columns[3])


def bucket_batches(
    rows: TokenizedBatchSource,
    batch_size: int,
    batch_tokens: int | None,
    shuffle: bool,
    seed: int | None,
    sample: Callable[[tf.Tensor], TokenizedBatchSource] | None,
    start: DataPosition | None,
) -> tf.data.Dataset:
    """Batches of pairs of similar lengths, each no longer than its longest pair.

    Args:
        rows: the pairs.
        batch_size: pairs in a batch.
        batch_tokens: target tokens in a batch instead, padding included; or None.
        shuffle: whether each epoch has an order of its own.
        seed: of the orders.
        sample: gives the pairs of an epoch, from a seed; None for `rows` in each.
        start: where an endless dataset begins; None for a dataset of one epoch.
    """
    tokenized = rows
    size = len(rows.source_valid_length)
    num_batches: int | None = -(-size // batch_size)
    if batch_tokens is not None:
        # How many there are follows from the lengths, which are others when they are drawn anew.
        lengths = np.sort(rows.target_valid_length)
        num_batches = None if sample else len(_begins_by_tokens(lengths, batch_tokens))

    def batches_of_epoch(seed: tf.Tensor, left_out: tf.Tensor) -> tf.data.Dataset:
        rows = tokenized if sample is None else sample(seed)
        return batches_by_length(rows, batch_size, batch_tokens, shuffle, seed, left_out)

    if start is not None:
        seeds = tf.data.Dataset.random(seed=seed).enumerate().skip(start.epochs)
        return seeds.flat_map(
            lambda epoch, seed: batches_of_epoch(
                seed, tf.where(epoch == start.epochs, tf.constant(start.batches, tf.int64), 0)
            )
        )
    # A number for each epoch, another one in each iteration.
    seeds = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True).take(1)
    data = seeds.flat_map(lambda seed: batches_of_epoch(seed, tf.constant(0, tf.int64)))
    if num_batches is not None:
        data = data.apply(tf.data.experimental.assert_cardinality(num_batches))
    return data


def batches_by_length(
    rows: TokenizedBatchSource,
    batch_size: int,
    batch_tokens: int | None,
    shuffle: bool,
    seed: tf.Tensor,
    left_out: tf.Tensor,
) -> tf.data.Dataset:
    """One time through some pairs, as graph code.

    Args:
        rows: the pairs, whose number may be unknown before it runs.
        batch_size: pairs in a batch.
        batch_tokens: target tokens in a batch instead, padding included; or None.
        shuffle: whether chance decides which pairs of similar lengths meet, and the order.
        seed: int64 scalar, of that.
        left_out: int64 scalar: so many batches at the beginning are not made.
    """
    size = tf.size(rows.source_valid_length)
    positions = tf.range(size)
    if shuffle:
        positions = tf.random.experimental.stateless_shuffle(positions, [seed, 0])
    source_length, target_length = (
        tf.cast(tf.gather(length, positions), tf.int64)
        for length in (rows.source_valid_length, rows.target_valid_length)
    )
    longest = tf.cast(tf.shape(rows.source_ids)[1] + tf.shape(rows.target_ids)[1], tf.int64)
    numbers = tf.range(tf.cast(size, tf.int64))
    if batch_tokens is None:
        begins = tf.range(0, size, batch_size)
        windows = tf.zeros_like(numbers)
        if shuffle:
            windows = numbers // (batch_size * BATCHES_SORTED_TOGETHER)
        group = windows * longest + target_length
    else:
        # By the targets first and all together, so that each epoch has as many batches.
        in_order = tf.sort(target_length)
        (begins,) = tf.numpy_function(
            lambda lengths: [_begins_by_tokens(lengths, batch_tokens)], [in_order], [tf.int32]
        )
        begins = tf.ensure_shape(begins, [None])
        windows = tf.zeros_like(target_length)
        if shuffle:
            # Windows of pairs whose targets have the same length.
            by_target = tf.argsort(target_length, stable=True)
            number = tf.range(size) - tf.searchsorted(in_order, in_order)
            window = batch_tokens // in_order * BATCHES_SORTED_TOGETHER
            windows = tf.scatter_nd(by_target[:, None], tf.cast(number, tf.int64) // window, [size])
        group = target_length * tf.cast(size, tf.int64) + windows
    # Up and down in turns: where a batch goes from one group into the next, the sources on both
    # sides are the long ones, or the short ones.
    turn = tf.where((windows + target_length) % 2 == 0, source_length, longest - source_length)
    order = tf.argsort(group * longest + turn, stable=True)
    positions = tf.gather(positions, order)
    ends = tf.concat([begins[1:], [size]], axis=0)
    if shuffle:
        shuffled = tf.random.experimental.stateless_shuffle(tf.range(tf.size(begins)), [seed, 1])
        begins, ends = tf.gather(begins, shuffled), tf.gather(ends, shuffled)

    def batch(begin: tf.Tensor, end: tf.Tensor) -> Batch:
        return trim_padding(rows.at(positions[begin:end]))

    return tf.data.Dataset.from_tensor_slices((begins[left_out:], ends[left_out:])).map(batch)


def shuffled_batches(
    rows: TokenizedBatchSource, batch_size: int, seed: tf.Tensor, left_out: tf.Tensor
) -> tf.data.Dataset:
    """The same in random order whatever the lengths, with all padding."""
    positions = tf.range(tf.size(rows.source_valid_length))
    positions = tf.random.experimental.stateless_shuffle(positions, [seed, 0])
    data = tf.data.Dataset.from_tensor_slices(positions).batch(batch_size)
    return data.skip(left_out).map(rows.at)


def number_by_tokens(counts: np.ndarray, batch_tokens: int) -> int:
    """How many batches there are of at most so many tokens, padding included.

    Args:
        counts: (longest + 1,): how many pairs there are of each length.
        batch_tokens: not less than the largest length.
    """
    batches, room = 0, 0
    filled = 0  # pairs in the batch that is open
    for length in np.flatnonzero(counts).tolist():
        room, left = batch_tokens // length, int(counts[length])
        taken = min(left, max(0, room - filled)) if filled else 0
        filled, left = filled + taken, left - taken
        if left:
            new = -(-left // room)
            batches += new
            filled = left - (new - 1) * room
    return batches


def _begins_by_tokens(lengths: np.ndarray, batch_tokens: int) -> np.ndarray:
    """Where batches begin that have at most so many tokens, padding included.

    Args:
        lengths: (pairs,), rising.
        batch_tokens: not less than the largest length.

    Returns:
        int32, (batches,), rising from 0.
    """
    begins = [0]
    for position, length in enumerate(lengths.tolist()):
        if (position + 1 - begins[-1]) * length > batch_tokens:
            begins.append(position)
    return np.array(begins, np.int32)
