"""An LSTM layer over sentences of unequal lengths that skips padding, for inference."""

from typing import NamedTuple

import tensorflow as tf

from keras_s2s.layers.fused_lstm import next_state
from keras_s2s.utils.dtypes import sum_dtype


class _PackedSequence(NamedTuple):
    """Index of the tokens of a batch, ordered by step and then by descending sentence length.

    In that order the rows of a step are the first rows of the step before.

    Attributes:
        order: int32, (batch,): the sentences, longest first.
        batch_sizes: int32, (steps,): the number of sentences with a token at each step.
        gather_indices: int32, (tokens,): position of each packed token in the flattened (steps *
            batch).
        scatter_indices: int32, (steps, batch): the packed position of each token; at padding,
            that of the sentence's last token.
    """

    order: tf.Tensor
    batch_sizes: tf.Tensor
    gather_indices: tf.Tensor
    scatter_indices: tf.Tensor


def _pack(valid_length: tf.Tensor, steps: tf.Tensor) -> _PackedSequence:
    # An empty sentence counts as one of length 1, so that padding has a token to point to.
    lengths = tf.maximum(valid_length, 1)
    order = tf.argsort(lengths, direction="DESCENDING", stable=True)
    valid = tf.range(steps)[:, None] < tf.gather(lengths, order)
    batch_sizes = tf.math.count_nonzero(valid, axis=1, dtype=tf.int32)
    offsets = tf.cumsum(batch_sizes, exclusive=True)
    step, row = tf.unstack(tf.cast(tf.where(valid), tf.int32), axis=1)
    return _PackedSequence(
        order,
        batch_sizes,
        step * tf.size(order) + tf.gather(order, row),
        tf.gather(offsets, tf.minimum(tf.range(steps)[:, None], lengths - 1)) + tf.argsort(order),
    )


def packed_lstm(
    inputs: tf.Tensor,
    initial: list[tf.Tensor],
    weights: tuple[tf.Tensor, tf.Tensor, tf.Tensor],
    valid_length: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Run an LSTM layer in a loop over the steps, without the sentences that have ended.

    In unsorted batches half of the steps are padding, which costs as much as tokens do. Matrix
    products have the dtype of the inputs, which may be half precision; the rest has the dtype of
    sums, float32 or float64. The gradient, TensorFlow's own, is slow; see `loop_lstm` for training.

    Args:
        inputs: (steps, batch, features).
        initial: `[h, c]`, each (batch, units).
        weights: kernel, recurrent kernel and bias of a `keras.layers.LSTM`.
        valid_length: int32, (batch,): the steps from here on are padding.

    Returns:
        h and c after each step, in the dtype of sums, (steps, batch, units), undefined at padding.
    """
    dtype, wide = inputs.dtype, sum_dtype(inputs.dtype)
    kernel, recurrent_kernel = (tf.cast(weight, dtype) for weight in weights[:2])
    units = recurrent_kernel.shape[0]
    steps = tf.shape(inputs)[0]
    packing = _pack(valid_length, steps)

    def product(left: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
        return tf.cast(tf.matmul(tf.cast(left, dtype), right), wide)

    def array(size: int) -> tf.TensorArray:
        return tf.TensorArray(wide, steps, element_shape=(None, size), infer_shape=False)

    packed = tf.gather(tf.reshape(inputs, (-1, inputs.shape[2])), packing.gather_indices)
    projected = product(packed, kernel) + tf.cast(weights[2], wide)
    projected = array(4 * units).split(projected, packing.batch_sizes)

    def body(
        step: tf.Tensor,
        hidden: tf.Tensor,
        cell: tf.Tensor,
        hiddens: tf.TensorArray,
        cells: tf.TensorArray,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.TensorArray, tf.TensorArray]:
        input_gates = projected.read(step)
        rows = tf.shape(input_gates)[0]
        gates = input_gates + product(hidden[:rows], recurrent_kernel)
        hidden, cell = next_state(gates, cell[:rows])
        return step + 1, hidden, cell, hiddens.write(step, hidden), cells.write(step, cell)

    hidden, cell = (tf.gather(tf.cast(value, wide), packing.order) for value in initial)
    rows_shape = tf.TensorShape((None, units))
    *_, hiddens, cells = tf.while_loop(
        lambda step, *_: step < steps,
        body,
        (0, hidden, cell, array(units), array(units)),
        shape_invariants=(tf.TensorShape(()), rows_shape, rows_shape, None, None),
    )
    indices = packing.scatter_indices
    return tf.gather(hiddens.concat(), indices), tf.gather(cells.concat(), indices)
