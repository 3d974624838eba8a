"""Batches of pairs without the padding that they do not need."""

import tensorflow as tf

# Ids of shape (rows, steps) and valid lengths of shape (rows,), int32.
Sequences = tuple[tf.Tensor, tf.Tensor]
# The sources and the targets.
Batch = tuple[Sequences, Sequences]


# Batches that are made while a step is taken: enough that none waits for one that takes longer.
PREFETCHED = 8


def prefetch(data: tf.data.Dataset) -> tf.data.Dataset:
    """The same batches, made ahead of when they are needed.

    TensorFlow's tuner, which would look for the best number, is left out: there is nothing else to
    tune, and at the end of a training it was waited for, sometimes, for as long as it sleeps
    between two looks, which is half of the time that the training took.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return data.prefetch(PREFETCHED).with_options(options)


def trim_padding(batch: Batch) -> Batch:
    """The same batch, each side only as long as its longest sentence.

    A step of the sources remains in any case and two of the targets, one to read and one to
    predict, since no steps at all is not for every layer.
    """
    (source_ids, source_valid_length), (target_ids, target_valid_length) = batch
    # The largest of no number is the least integer: a batch can be empty.
    source_steps = tf.maximum(tf.reduce_max(source_valid_length), 1)
    target_steps = tf.maximum(tf.reduce_max(target_valid_length), 2)
    return (
        (source_ids[:, :source_steps], source_valid_length),
        (target_ids[:, :target_steps], target_valid_length),
    )


def split_by_length(batch: Batch) -> list[Batch]:
    """The half of a batch with the shorter targets and that with the longer ones, trimmed.

    Nothing that one half is used for has to wait for the other, so that TensorFlow runs them side
    by side; and the shorter half has less padding.
    """
    order = tf.argsort(batch[1][1], stable=True)
    middle = tf.shape(order)[0] // 2

    def rows(positions: tf.Tensor) -> Batch:
        return tf.nest.map_structure(lambda column: tf.gather(column, positions), batch)

    return [trim_padding(rows(order[:middle])), trim_padding(rows(order[middle:]))]
