"""Trimming and splitting of batches."""

import numpy as np
import pytest
import tensorflow as tf

from keras_s2s.data.batching import split_by_length, trim_padding

STEPS = 7


def make(source_lengths, target_lengths):
    """Return a batch with unique ids and -1 at padding."""
    rows = len(source_lengths)

    def side(lengths, first):
        ids = first + tf.reshape(tf.range(rows * STEPS), (rows, STEPS))
        lengths = tf.constant(lengths, tf.int32)
        return tf.where(tf.sequence_mask(lengths, STEPS), ids, -1), lengths

    return side(source_lengths, 0), side(target_lengths, 1000)


def sentences(batch):
    """Return the pairs of a batch as lists of valid tokens."""
    sides = [
        [ids[:length].tolist() for ids, length in zip(*map(np.array, side), strict=True)]
        for side in batch
    ]
    return list(zip(*sides, strict=True))


def steps(batch):
    return tuple(ids.shape[1] for ids, _ in batch)


def test_trimmed_to_the_longest_sentence():
    batch = make([2, 4, 0], [3, 2, 5])
    result = trim_padding(batch)
    assert steps(result) == (4, 5)
    assert sentences(result) == sentences(batch)
    full = make([STEPS, 1], [1, STEPS])
    assert steps(trim_padding(full)) == (STEPS, STEPS)


@pytest.mark.parametrize("rows", [0, 3])
def test_minimum_number_of_steps(rows):
    result = trim_padding(make([0] * rows, [0] * rows))
    assert steps(result) == (1, 2)
    assert [ids.shape[0] for ids, _ in result] == [rows, rows]


def test_split_by_target_length():
    batch = make([1, 6, 2, 0, 3], [3, 2, 6, 2, 4])
    shorter, longer = split_by_length(batch)
    everything = sentences(batch)
    # The sort is stable, so the split is deterministic.
    assert sentences(shorter) == [everything[1], everything[3]]
    assert sentences(longer) == [everything[0], everything[4], everything[2]]
    assert (steps(shorter), steps(longer)) == ((6, 2), (3, 6))


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_split_of_small_batches(rows):
    batch = make([2] * rows, [3] * rows)
    divided = split_by_length(batch)
    assert [len(sentences(half)) for half in divided] == [rows // 2, rows - rows // 2]
    assert [pair for half in divided for pair in sentences(half)] == sentences(batch)


def test_unknown_shapes_in_a_graph():
    ids, lengths = tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None], tf.int32)
    in_graph = tf.function(split_by_length, input_signature=[((ids, lengths), (ids, lengths))])
    batch = make([1, 6, 2], [3, 2, 6])
    for result, expected in zip(in_graph(batch), split_by_length(batch), strict=True):
        for actual, desired in zip(tf.nest.flatten(result), tf.nest.flatten(expected), strict=True):
            np.testing.assert_array_equal(actual, desired)
