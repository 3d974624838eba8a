"""An LSTM layer over all steps: two implementations faster on CPUs than `keras.layers.LSTM`."""

from typing import Any, NamedTuple

import tensorflow as tf

from keras_s2s.utils.dtypes import sum_dtype

Tensors = tuple[tf.Tensor, tf.Tensor]


def block_lstm(
    inputs: tf.Tensor,
    initial: list[tf.Tensor],
    weights: tuple[tf.Tensor, tf.Tensor, tf.Tensor],
    num_steps: tf.Tensor,
) -> Tensors:
    """Run an LSTM layer as one operation, forward and backward: for few units.

    There a step costs mostly the dispatch of its operations, which this avoids.

    Args:
        inputs: float32, (steps, batch, features).
        initial: `[h, c]`, each (batch, units).
        weights: kernel, recurrent kernel and bias of a `keras.layers.LSTM`.
        num_steps: integer scalar: number of steps to compute.

    Returns:
        h and c after each step, (steps, batch, units); zero from `num_steps` on.
    """
    kernel = _swap_gates(tf.concat(weights[:2], axis=0))
    bias = _swap_gates(weights[2])
    unused_peephole = tf.zeros([initial[0].shape[-1]])
    # WORKAROUND(tensorflow<=2.21): `BlockLSTMV2` has a wrong gradient: it calls the kernel of V1,
    # which has another gate order.
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


@tf.custom_gradient
def _swap_gates(parameter: tf.Tensor) -> Any:
    """Convert Keras's gate order i, f, c, o to the operation's i, c, f, o."""

    def swap(values: tf.Tensor) -> tf.Tensor:
        gates = tf.reshape(values, (*values.shape[:-1], 4, values.shape[-1] // 4))
        return tf.reshape(tf.gather(gates, [0, 2, 1, 3], axis=-2), values.shape)

    # The permutation is its own inverse.
    return swap(parameter), swap


def loop_lstm(
    inputs: tf.Tensor,
    initial: list[tf.Tensor],
    weights: tuple[tf.Tensor, tf.Tensor, tf.Tensor],
    recurrent_mask: tf.Tensor | None = None,
) -> Tensors:
    """Run an LSTM layer in a loop with as little as possible inside: for many units.

    Only the product with the recurrent kernel depends on the step before. The input projection is
    one large product before the loop, and the gradient of each kernel one after the backward
    loop, instead of a sum over steps. Matrix products have the dtype of the inputs, which may be
    half precision; the rest has the dtype of sums, float32 or float64.

    Args:
        inputs: (steps, batch, features).
        initial: `[h, c]`, each (batch, units).
        weights: kernel, recurrent kernel and bias of a `keras.layers.LSTM`.
        recurrent_mask: (batch, units): dropout mask of h between steps.

    Returns:
        h and c after each step, in the dtype of sums, (steps, batch, units).
    """
    dtype, wide = inputs.dtype, sum_dtype(inputs.dtype)
    mask = None if recurrent_mask is None else tf.cast(recurrent_mask, wide)

    @tf.custom_gradient
    def run(
        inputs: tf.Tensor,
        kernel: tf.Tensor,
        recurrent_kernel: tf.Tensor,
        bias: tf.Tensor,
        initial_hidden: tf.Tensor,
        initial_cell: tf.Tensor,
    ) -> Any:
        steps, batch = tf.shape(inputs)[0], tf.shape(inputs)[1]
        projected = _product(_flatten_steps(inputs), kernel, dtype)
        projected = tf.nn.bias_add(projected, tf.cast(bias, dtype))
        projected = tf.reshape(projected, (steps, batch, projected.shape[1]))
        # Two half-batches overlap compute with memory and thread latency.
        half = (batch + 1) // 2
        row_halves = slice(0, half), slice(half, batch)
        activations = [
            _forward(projected, recurrent_kernel, (initial_hidden, initial_cell), mask, rows)
            for rows in row_halves
        ]
        hiddens = tf.concat([each.hiddens.stack() for each in activations], axis=1)
        cells = tf.concat([each.cells.stack() for each in activations], axis=1)[1:]

        def gradient(hidden_gradients: tf.Tensor, cell_gradients: tf.Tensor) -> Any:
            # Transposed once: with few rows, a product that transposes its other operand takes
            # three times as long.
            kernel_transposed = tf.transpose(tf.cast(recurrent_kernel, dtype))
            output_gradients = hidden_gradients, cell_gradients
            halves = [
                _backward(each, output_gradients, kernel_transposed, mask, rows)
                for each, rows in zip(activations, row_halves, strict=True)
            ]
            gate_gradients, *state_gradients = zip(*halves, strict=True)
            gate_gradients = _flatten_steps(tf.concat(gate_gradients, axis=1))
            previous_hiddens = tf.concat([initial_hidden[None], hiddens[:-1]], axis=0)
            if mask is not None:
                previous_hiddens *= mask

            def kernel_gradient(values: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
                values = _flatten_steps(values)
                product = _product(values, gate_gradients, dtype, transpose_a=True)
                return tf.cast(product, kernel.dtype)

            input_gradients = _input_gradients(gate_gradients, tf.cast(kernel, dtype))
            return (
                tf.reshape(input_gradients, tf.shape(inputs)),
                kernel_gradient(inputs, kernel),
                kernel_gradient(previous_hiddens, recurrent_kernel),
                tf.cast(tf.reduce_sum(tf.cast(gate_gradients, wide), axis=0), bias.dtype),
                *(tf.concat(gradients, axis=0) for gradients in state_gradients),
            )

        return (hiddens, cells), gradient

    initial_hidden, initial_cell = (tf.cast(value, wide) for value in initial)
    return run(inputs, *weights, initial_hidden, initial_cell)


def next_state(gates: tf.Tensor, cell: tf.Tensor) -> Tensors:
    """Return the next h and c of an LSTM, (rows, units).

    Args:
        gates: (rows, 4 * units): pre-activations of the gates i, f, c and o.
        cell: the previous c.
    """
    i, f, g, o = tf.split(gates, 4, axis=1)
    cell = tf.sigmoid(f) * cell + tf.sigmoid(i) * tf.tanh(g)
    return tf.sigmoid(o) * tf.tanh(cell), cell


class _Activations(NamedTuple):
    """Values of the forward pass that the backward pass needs, (rows, units) per step.

    `cells` has one element more: the initial c comes first.
    """

    hiddens: tf.TensorArray
    cells: tf.TensorArray
    gates: tuple[tf.TensorArray, tf.TensorArray, tf.TensorArray, tf.TensorArray]


def _forward(
    projected: tf.Tensor,
    recurrent_kernel: tf.Tensor,
    initial: Tensors,
    mask: tf.Tensor | None,
    rows: slice,
) -> _Activations:
    """Run some rows of a batch through all steps, given their projected inputs."""
    steps, units = tf.shape(projected)[0], recurrent_kernel.shape[0]
    dtype, wide = projected.dtype, sum_dtype(projected.dtype)
    initial_hidden, initial_cell = (value[rows] for value in initial)

    def array(size: tf.Tensor) -> tf.TensorArray:
        return tf.TensorArray(wide, size, element_shape=(None, units), clear_after_read=False)

    def body(step: tf.Tensor, hidden: tf.Tensor, cell: tf.Tensor, written: _Activations) -> Any:
        masked_hidden = hidden if mask is None else hidden * mask[rows]
        # Slicing a step and then its rows copies nothing.
        gates = tf.cast(projected[step][rows], wide) + tf.cast(
            _product(masked_hidden, recurrent_kernel, dtype), wide
        )
        i, f, g, o = tf.split(gates, 4, axis=1)
        i, f, g, o = tf.sigmoid(i), tf.sigmoid(f), tf.tanh(g), tf.sigmoid(o)
        cell = f * cell + i * g
        hidden = o * tf.tanh(cell)
        for value in (hidden, cell):
            value.set_shape(initial_hidden.shape)  # not inferred where the batch size is static
        gate_arrays = zip(written.gates, (i, f, g, o), strict=True)
        written = _Activations(
            written.hiddens.write(step, hidden),
            written.cells.write(step + 1, cell),
            tuple(array.write(step, gate) for array, gate in gate_arrays),
        )
        return step + 1, hidden, cell, written

    activations = _Activations(
        array(steps),
        array(steps + 1).write(0, initial_cell),
        tuple(array(steps) for _ in "ifgo"),
    )
    *_, activations = tf.while_loop(
        lambda step, *_: step < steps, body, (0, initial_hidden, initial_cell, activations)
    )
    return activations


def _backward(
    activations: _Activations,
    output_gradients: Tensors,
    kernel_transposed: tf.Tensor,
    mask: tf.Tensor | None,
    rows: slice,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return the gradients of the gates of all steps and of the initial h and c, for some rows."""
    hidden_gradients, cell_gradients = output_gradients
    steps = tf.shape(hidden_gradients)[0]
    dtype = kernel_transposed.dtype

    def body(
        step: tf.Tensor, hidden_gradient: tf.Tensor, cell_gradient: tf.Tensor, written: Any
    ) -> Any:
        i, f, g, o = (array.read(step) for array in activations.gates)
        # Recomputing the tanh is faster than storing it.
        previous_cell = activations.cells.read(step)
        cell_tanh = tf.tanh(activations.cells.read(step + 1))
        hidden_gradient += hidden_gradients[step][rows]
        cell_gradient += cell_gradients[step][rows]
        # Fused gradient operations: in a loop the number of operations matters as much as their
        # arithmetic.
        cell_gradient += tf.raw_ops.TanhGrad(y=cell_tanh, dy=hidden_gradient * o)
        gate_gradients = tf.concat(
            [
                tf.raw_ops.SigmoidGrad(y=i, dy=cell_gradient * g),
                tf.raw_ops.SigmoidGrad(y=f, dy=cell_gradient * previous_cell),
                tf.raw_ops.TanhGrad(y=g, dy=cell_gradient * i),
                tf.raw_ops.SigmoidGrad(y=o, dy=hidden_gradient * cell_tanh),
            ],
            axis=1,
        )
        gate_gradients = tf.cast(gate_gradients, dtype)
        hidden_gradient = tf.cast(tf.matmul(gate_gradients, kernel_transposed), cell_gradient.dtype)
        if mask is not None:
            hidden_gradient *= mask[rows]
        cell_gradient *= f
        for value in (hidden_gradient, cell_gradient):
            value.set_shape(zeros.shape)
        return step - 1, hidden_gradient, cell_gradient, written.write(step, gate_gradients)

    zeros = tf.zeros_like(activations.cells.read(0))
    written = tf.TensorArray(dtype, steps, element_shape=(None, kernel_transposed.shape[0]))
    _, hidden_gradient, cell_gradient, written = tf.while_loop(
        lambda step, *_: step >= 0, body, (steps - 1, zeros, zeros, written)
    )
    return written.stack(), hidden_gradient, cell_gradient


def _product(left: tf.Tensor, right: tf.Tensor, dtype: tf.DType, **options: bool) -> tf.Tensor:
    return tf.matmul(tf.cast(left, dtype), tf.cast(right, dtype), **options)


def _input_gradients(product_gradients: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Return the gradient of the rows that a kernel was multiplied with.

    In float32 a product that transposes the kernel takes up to a third longer than transposing
    it first; in half precision it is the other way round.
    """
    if kernel.dtype.size < tf.float32.size:
        return tf.matmul(product_gradients, kernel, transpose_b=True)
    features, columns = kernel.shape
    # WORKAROUND(tensorflow<=2.21): Grappler folds a plain transpose back into the product; it
    # does not fold one of three dimensions.
    transposed = tf.transpose(tf.reshape(kernel, (features, 4, columns // 4)), (1, 2, 0))
    return tf.matmul(product_gradients, tf.reshape(transposed, (columns, features)))


def _flatten_steps(values: tf.Tensor) -> tf.Tensor:
    """Reshape (steps, batch, n) to (steps * batch, n)."""
    shape = tf.shape(values)
    return tf.reshape(values, (shape[0] * shape[1], values.shape[2]))
