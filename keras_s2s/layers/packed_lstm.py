"""An LSTM layer over sentences of unequal lengths without their padding, for all but training."""

from typing import NamedTuple

import tensorflow as tf

from keras_s2s.layers.fused_lstm import next_state


class _Packing(NamedTuple):
    """Where the tokens of a batch are when they stand step by step, the longest sentences first.

    So packed, the rows that a step works on are the first ones of the step before.

    Attributes:
        order: int32, (batch,): the sentences, longest first.
        counts: int32, (steps,): how many of them have a token at each step.
        tokens: int32, (tokens,): where each token comes from among all of (steps * batch).
        places: int32, (steps, batch): where each of these has gone; at padding, where the
            sentence's last token has.
    """

    order: tf.Tensor
    counts: tf.Tensor
    tokens: tf.Tensor
    places: tf.Tensor


def _pack(valid_length: tf.Tensor, steps: tf.Tensor) -> _Packing:
    # A sentence without a token counts as one with one, so that there is something to look at.
    lengths = tf.maximum(valid_length, 1)
    order = tf.argsort(lengths, direction="DESCENDING", stable=True)
    valid = tf.range(steps)[:, None] < tf.gather(lengths, order)
    counts = tf.math.count_nonzero(valid, axis=1, dtype=tf.int32)
    before = tf.cumsum(counts, exclusive=True)
    step, row = tf.unstack(tf.cast(tf.where(valid), tf.int32), axis=1)
    return _Packing(
        order,
        counts,
        step * tf.size(order) + tf.gather(order, row),
        tf.gather(before, tf.minimum(tf.range(steps)[:, None], lengths - 1)) + tf.argsort(order),
    )


def packed_lstm(
    inputs: tf.Tensor,
    initial: list[tf.Tensor],
    weights: tuple[tf.Tensor, tf.Tensor, tf.Tensor],
    valid_length: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """A loop over the steps in which sentences that have ended take no more part.

    In a batch as it comes half of the steps are padding, and what is padded costs as much as what
    is not. Products are made in the type of the inputs, which may be a half precision one; all the
    rest is float32. Its gradient, made by TensorFlow, is slow; see `loop_lstm`.

    Args:
        inputs: (steps, batch, features).
        initial: `[h, c]`, each (batch, units).
        weights: kernel, recurrent kernel and bias of a `keras.layers.LSTM`.
        valid_length: int32, (batch,): the steps from here on are padding.

    Returns:
        h and c after each step, float32, (steps, batch, units), without meaning at padding.
    """
    kind = inputs.dtype
    kernel, recurrent_kernel = (tf.cast(weight, kind) for weight in weights[:2])
    units = recurrent_kernel.shape[0]
    steps = tf.shape(inputs)[0]
    packing = _pack(valid_length, steps)

    def product(left: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
        return tf.cast(tf.matmul(tf.cast(left, kind), right), tf.float32)

    def array(size: int) -> tf.TensorArray:
        return tf.TensorArray(tf.float32, steps, element_shape=(None, size), infer_shape=False)

    packed = tf.gather(tf.reshape(inputs, (-1, inputs.shape[2])), packing.tokens)
    projected = product(packed, kernel) + tf.cast(weights[2], tf.float32)
    projected = array(4 * units).split(projected, packing.counts)

    def take_a_step(
        step: tf.Tensor,
        hidden: tf.Tensor,
        cell: tf.Tensor,
        hiddens: tf.TensorArray,
        cells: tf.TensorArray,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.TensorArray, tf.TensorArray]:
        of_inputs = projected.read(step)
        rows = tf.shape(of_inputs)[0]
        gates = of_inputs + product(hidden[:rows], recurrent_kernel)
        hidden, cell = next_state(gates, cell[:rows])
        return step + 1, hidden, cell, hiddens.write(step, hidden), cells.write(step, cell)

    first_hidden, first_cell = (
        tf.gather(tf.cast(part, tf.float32), packing.order) for part in initial
    )
    some = tf.TensorShape((None, units))
    *_, hiddens, cells = tf.while_loop(
        lambda step, *_: step < steps,
        take_a_step,
        (0, first_hidden, first_cell, array(units), array(units)),
        shape_invariants=(tf.TensorShape(()), some, some, None, None),
    )
    return tf.gather(hiddens.concat(), packing.places), tf.gather(cells.concat(), packing.places)
