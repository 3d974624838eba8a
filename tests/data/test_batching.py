"""Batches without padding: the same pairs, as short as they can be."""

import numpy as np
import pytest
import tensorflow as tf

from keras_s2s.data.batching import split_by_length, trim_padding

STEPS = 7


def make(source_lengths, target_lengths):
    """A batch with an id of its own at each token and -1 at padding."""
    rows = len(source_lengths)

    def side(lengths, first):
        ids = first + tf.reshape(tf.range(rows * STEPS), (rows, STEPS))
        lengths = tf.constant(lengths, tf.int32)
        return tf.where(tf.sequence_mask(lengths, STEPS), ids, -1), lengths

    return side(source_lengths, 0), side(target_lengths, 1000)


def sentences(batch):
    """The pairs of a batch, each side as a list of its tokens."""
    sides = [
        [ids[:length].tolist() for ids, length in zip(*map(np.array, side), strict=True)]
        for side in batch
    ]
    return list(zip(*sides, strict=True))


def steps(batch):
    return tuple(ids.shape[1] for ids, _ in batch)


def test_a_trimmed_batch_ends_with_its_longest_sentences():
    batch = make([2, 4, 0], [3, 2, 5])
    found = trim_padding(batch)
    assert steps(found) == (4, 5)
    assert sentences(found) == sentences(batch)
    full = make([STEPS, 1], [1, STEPS])
    assert steps(trim_padding(full)) == (STEPS, STEPS)


@pytest.mark.parametrize("rows", [0, 3])
def test_some_steps_remain_where_no_sentence_has_a_token(rows):
    found = trim_padding(make([0] * rows, [0] * rows))
    assert steps(found) == (1, 2)
    assert [ids.shape[0] for ids, _ in found] == [rows, rows]


def test_halves_are_the_shorter_and_the_longer_targets():
    batch = make([1, 6, 2, 0, 3], [3, 2, 6, 2, 4])
    shorter, longer = split_by_length(batch)
    everything = sentences(batch)
    # Of equally long ones the first come first, so that a batch is always divided the same way.
    assert sentences(shorter) == [everything[1], everything[3]]
    assert sentences(longer) == [everything[0], everything[4], everything[2]]
    assert (steps(shorter), steps(longer)) == ((6, 2), (3, 6))


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_halves_of_hardly_anything(rows):
    batch = make([2] * rows, [3] * rows)
    divided = split_by_length(batch)
    assert [len(sentences(half)) for half in divided] == [rows // 2, rows - rows // 2]
    assert [pair for half in divided for pair in sentences(half)] == sentences(batch)


def test_in_a_graph_of_unknown_shapes():
    ids, lengths = tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None], tf.int32)
    in_graph = tf.function(split_by_length, input_signature=[((ids, lengths), (ids, lengths))])
    batch = make([1, 6, 2], [3, 2, 6])
    for found, expected in zip(in_graph(batch), split_by_length(batch), strict=True):
        for part, wanted in zip(tf.nest.flatten(found), tf.nest.flatten(expected), strict=True):
            np.testing.assert_array_equal(part, wanted)
