"""An LSTM layer over all steps, in two ways that are faster on a CPU than Keras's own."""

from typing import Any

import tensorflow as tf

Tensors = tuple[tf.Tensor, tf.Tensor]


def lstm_in_one_operation(
    inputs: tf.Tensor,
    initial: list[tf.Tensor],
    weights: tuple[tf.Tensor, tf.Tensor, tf.Tensor],
    num_steps: tf.Tensor,
) -> Tensors:
    """All steps as one operation, forward and backward: for layers of few units.

    What a step costs there is calling its operations, and here there are none to call.

    Args:
        inputs: float32, (steps, batch, features).
        initial: `[h, c]`, each (batch, units).
        weights: kernel, recurrent kernel and bias of a `keras.layers.LSTM`.
        num_steps: how many of the steps matter, an integer.

    Returns:
        h and c after each step, (steps, batch, units); zero from `num_steps` on.
    """
    # Keras's gates are i, f, c, o; those of the operation are i, c, f, o.
    kernel, bias = (
        tf.concat([i, c, f, o], axis=-1)
        for i, f, c, o in (
            tf.split(parameter, 4, axis=-1)
            for parameter in (tf.concat(weights[:2], axis=0), weights[2])
        )
    )
    unused_peephole = tf.zeros([initial[0].shape[-1]])
    # Version 2 of the operation has a wrong gradient in TensorFlow 2.21.
    _, cell, _, _, _, _, hidden = tf.raw_ops.BlockLSTM(
        seq_len_max=tf.cast(num_steps, tf.int64),
        x=inputs,
        cs_prev=initial[1],
        h_prev=initial[0],
        w=kernel,
        wci=unused_peephole,
        wcf=unused_peephole,
        wco=unused_peephole,
        b=bias,
        forget_bias=0.0,
        cell_clip=-1.0,
    )
    return hidden, cell


def lstm_step_by_step(
    inputs: tf.Tensor,
    initial: list[tf.Tensor],
    weights: tuple[tf.Tensor, tf.Tensor, tf.Tensor],
    recurrent_mask: tf.Tensor | None = None,
) -> Tensors:
    """A loop over the steps with as little as possible inside: for layers of many units.

    Only the product with the recurrent kernel has to wait for the step before. That of the inputs
    is one large product before the loop, and the gradients of both kernels are one each after the
    loop that goes back, instead of a sum of many. Products are made in the type of the inputs,
    which may be a half precision one; all the rest is float32.

    Args:
        inputs: (steps, batch, features).
        initial: `[h, c]`, each (batch, units).
        weights: kernel, recurrent kernel and bias of a `keras.layers.LSTM`.
        recurrent_mask: (batch, units), what h is multiplied with on its way to the next step.

    Returns:
        h and c after each step, float32, (steps, batch, units).
    """
    kind = inputs.dtype
    kernel, recurrent_kernel, bias = weights
    units = recurrent_kernel.shape[0]
    if recurrent_mask is None:
        masked = tf.identity
    else:
        mask = tf.cast(recurrent_mask, tf.float32)

        def masked(values: tf.Tensor) -> tf.Tensor:
            return values * mask

    def product(left: tf.Tensor, right: tf.Tensor, **options: bool) -> tf.Tensor:
        return tf.cast(tf.matmul(tf.cast(left, kind), tf.cast(right, kind), **options), tf.float32)

    def flat(values: tf.Tensor) -> tf.Tensor:
        """(steps, batch, n) to (steps * batch, n)."""
        shape = tf.shape(values)
        return tf.reshape(values, (shape[0] * shape[1], values.shape[2]))

    @tf.custom_gradient
    def run(
        inputs: tf.Tensor,
        kernel: tf.Tensor,
        recurrent_kernel: tf.Tensor,
        bias: tf.Tensor,
        first_hidden: tf.Tensor,
        first_cell: tf.Tensor,
    ) -> Any:
        steps, batch = tf.shape(inputs)[0], tf.shape(inputs)[1]

        def array(size: int | None, dtype: tf.DType = tf.float32) -> tf.TensorArray:
            return tf.TensorArray(dtype, steps, element_shape=(None, size))

        def read_by_step(values: tf.Tensor) -> tf.TensorArray:
            return array(values.shape[2], values.dtype).unstack(values)

        projected = product(flat(inputs), kernel) + tf.cast(bias, tf.float32)
        projected = read_by_step(tf.reshape(projected, (steps, batch, 4 * units)))

        def forward(step: tf.Tensor, hidden: tf.Tensor, cell: tf.Tensor, *written: Any) -> Any:
            gates = projected.read(step) + product(masked(hidden), recurrent_kernel)
            i, f, g, o = tf.split(gates, 4, axis=1)
            i, f, g, o = tf.sigmoid(i), tf.sigmoid(f), tf.tanh(g), tf.sigmoid(o)
            cell = f * cell + i * g
            squashed = tf.tanh(cell)
            hidden = o * squashed
            for part, first in ((hidden, first_hidden), (cell, first_cell)):
                part.set_shape(first.shape)  # of a batch of 1 it is not inferred
            values = hidden, cell, squashed, tf.concat([i, f, g, o], axis=1)
            kept = [part.write(step, value) for part, value in zip(written, values, strict=True)]
            return step + 1, hidden, cell, *kept

        arrays = array(units), array(units), array(units), array(4 * units)
        _, _, _, *arrays = tf.while_loop(
            lambda step, *_: step < steps, forward, (0, first_hidden, first_cell, *arrays)
        )
        hiddens, cells, squasheds, gates = (part.stack() for part in arrays)

        def gradient(hiddens_gradient: tf.Tensor, cells_gradient: tf.Tensor) -> Any:
            hiddens_before = tf.concat([first_hidden[None], hiddens[:-1]], axis=0)
            cells_before = tf.concat([first_cell[None], cells[:-1]], axis=0)
            arrays = [
                read_by_step(values)
                for values in (hiddens_gradient, cells_gradient, gates, squasheds, cells_before)
            ]

            def backward(
                step: tf.Tensor, hidden_gradient: tf.Tensor, cell_gradient: tf.Tensor, written: Any
            ) -> Any:
                from_hidden, from_cell, gate, squashed, before = (
                    part.read(step) for part in arrays
                )
                i, f, g, o = tf.split(gate, 4, axis=1)
                hidden_gradient += from_hidden
                cell_gradient += from_cell + hidden_gradient * o * (1 - squashed * squashed)
                into_gates = tf.concat(
                    [
                        cell_gradient * g * i * (1 - i),
                        cell_gradient * before * f * (1 - f),
                        cell_gradient * i * (1 - g * g),
                        hidden_gradient * squashed * o * (1 - o),
                    ],
                    axis=1,
                )
                into_gates = tf.cast(into_gates, kind)
                hidden_gradient = masked(product(into_gates, recurrent_kernel, transpose_b=True))
                cell_gradient *= f
                for part in (hidden_gradient, cell_gradient):
                    part.set_shape(first_hidden.shape)
                return step - 1, hidden_gradient, cell_gradient, written.write(step, into_gates)

            zeros = tf.zeros_like(first_hidden)
            _, hidden_gradient, cell_gradient, into_gates = tf.while_loop(
                lambda step, *_: step >= 0,
                backward,
                (steps - 1, zeros, zeros, array(4 * units, kind)),
            )
            into_gates = flat(into_gates.stack())
            hiddens_before = flat(tf.cast(masked(hiddens_before), kind))
            return (
                tf.cast(
                    tf.reshape(product(into_gates, kernel, transpose_b=True), tf.shape(inputs)),
                    inputs.dtype,
                ),
                tf.cast(product(flat(inputs), into_gates, transpose_a=True), kernel.dtype),
                tf.cast(
                    product(hiddens_before, into_gates, transpose_a=True), recurrent_kernel.dtype
                ),
                tf.cast(tf.reduce_sum(tf.cast(into_gates, tf.float32), axis=0), bias.dtype),
                hidden_gradient,
                cell_gradient,
            )

        return (hiddens, cells), gradient

    first_hidden, first_cell = (tf.cast(part, tf.float32) for part in initial)
    return run(inputs, kernel, recurrent_kernel, bias, first_hidden, first_cell)
