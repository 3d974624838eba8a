"""An LSTM layer over all steps, in two ways that are faster on a CPU than Keras's own."""

from typing import Any, NamedTuple

import tensorflow as tf

Tensors = tuple[tf.Tensor, tf.Tensor]


def block_lstm(
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
    kernel = _gates_in_other_order(tf.concat(weights[:2], axis=0))
    bias = _gates_in_other_order(weights[2])
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


@tf.custom_gradient
def _gates_in_other_order(parameter: tf.Tensor) -> Any:
    """Keras's gates are i, f, c, o; those of the operation are i, c, f, o."""

    def swap(values: tf.Tensor) -> tf.Tensor:
        gates = tf.reshape(values, (*values.shape[:-1], 4, values.shape[-1] // 4))
        return tf.reshape(tf.gather(gates, [0, 2, 1, 3], axis=-2), values.shape)

    # To swap back, which the gradient needs, is to swap again.
    return swap(parameter), swap


def loop_lstm(
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
    mask = None if recurrent_mask is None else tf.cast(recurrent_mask, tf.float32)

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
        projected = _product(_flat(inputs), kernel, kind)
        projected = tf.nn.bias_add(projected, tf.cast(bias, kind))
        projected = tf.reshape(projected, (steps, batch, projected.shape[1]))
        # Half of the rows after the other: one half computes while the other waits for memory or
        # for a thread.
        half = (batch + 1) // 2
        strands = slice(0, half), slice(half, batch)
        walks = [
            _forward(projected, recurrent_kernel, (first_hidden, first_cell), mask, rows)
            for rows in strands
        ]
        hiddens = tf.concat([walk.hiddens.stack() for walk in walks], axis=1)
        cells = tf.concat([walk.cells.stack() for walk in walks], axis=1)[1:]

        def gradient(hiddens_gradient: tf.Tensor, cells_gradient: tf.Tensor) -> Any:
            # Turned once: a product with few rows takes three times as long when it has to turn
            # the other matrix each time.
            turned_kernel = tf.transpose(tf.cast(recurrent_kernel, kind))
            of_strands = [
                _backward(walk, (hiddens_gradient, cells_gradient), turned_kernel, mask, rows)
                for walk, rows in zip(walks, strands, strict=True)
            ]
            into_gates, *of_state = zip(*of_strands, strict=True)
            into_gates = _flat(tf.concat(into_gates, axis=1))
            hiddens_before = tf.concat([first_hidden[None], hiddens[:-1]], axis=0)
            if mask is not None:
                hiddens_before *= mask

            def of_kernel(values: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
                product = _product(_flat(values), into_gates, kind, transpose_a=True)
                return tf.cast(product, kernel.dtype)

            of_inputs = _gradient_of_rows(into_gates, tf.cast(kernel, kind))
            return (
                tf.reshape(of_inputs, tf.shape(inputs)),
                of_kernel(inputs, kernel),
                of_kernel(hiddens_before, recurrent_kernel),
                tf.cast(tf.reduce_sum(tf.cast(into_gates, tf.float32), axis=0), bias.dtype),
                *(tf.concat(parts, axis=0) for parts in of_state),
            )

        return (hiddens, cells), gradient

    first_hidden, first_cell = (tf.cast(part, tf.float32) for part in initial)
    return run(inputs, *weights, first_hidden, first_cell)


def next_state(gates: tf.Tensor, cell: tf.Tensor) -> Tensors:
    """The next h and c of an LSTM, (rows, units).

    Args:
        gates: (rows, 4 * units): what its gates i, f, c and o are functions of.
        cell: the c before.
    """
    i, f, g, o = tf.split(gates, 4, axis=1)
    cell = tf.sigmoid(f) * cell + tf.sigmoid(i) * tf.tanh(g)
    return tf.sigmoid(o) * tf.tanh(cell), cell


class _Walk(NamedTuple):
    """What each step of some rows leaves for the way back, (rows, units); `cells` the first too."""

    hiddens: tf.TensorArray
    cells: tf.TensorArray
    gates: tuple[tf.TensorArray, tf.TensorArray, tf.TensorArray, tf.TensorArray]


def _forward(
    projected: tf.Tensor,
    recurrent_kernel: tf.Tensor,
    initial: Tensors,
    mask: tf.Tensor | None,
    rows: slice,
) -> _Walk:
    """Some rows of a batch through all steps, given their inputs' share of the gates."""
    steps, units = tf.shape(projected)[0], recurrent_kernel.shape[0]
    kind = projected.dtype
    first_hidden, first_cell = (part[rows] for part in initial)

    def array(size: tf.Tensor) -> tf.TensorArray:
        return tf.TensorArray(tf.float32, size, element_shape=(None, units), clear_after_read=False)

    def advance(step: tf.Tensor, hidden: tf.Tensor, cell: tf.Tensor, walk: _Walk) -> Any:
        given = hidden if mask is None else hidden * mask[rows]
        # Reading a step and its rows copies nothing.
        gates = tf.cast(projected[step][rows], tf.float32) + tf.cast(
            _product(given, recurrent_kernel, kind), tf.float32
        )
        i, f, g, o = tf.split(gates, 4, axis=1)
        i, f, g, o = tf.sigmoid(i), tf.sigmoid(f), tf.tanh(g), tf.sigmoid(o)
        cell = f * cell + i * g
        hidden = o * tf.tanh(cell)
        for part in (hidden, cell):
            part.set_shape(first_hidden.shape)  # where it is known, it is not inferred
        written = _Walk(
            walk.hiddens.write(step, hidden),
            walk.cells.write(step + 1, cell),
            tuple(
                part.write(step, gate) for part, gate in zip(walk.gates, (i, f, g, o), strict=True)
            ),
        )
        return step + 1, hidden, cell, written

    walk = _Walk(
        array(steps),
        array(steps + 1).write(0, first_cell),
        tuple(array(steps) for _ in "ifgo"),
    )
    *_, walk = tf.while_loop(
        lambda step, *_: step < steps, advance, (0, first_hidden, first_cell, walk)
    )
    return walk


def _backward(
    walk: _Walk,
    gradients: Tensors,
    turned_kernel: tf.Tensor,
    mask: tf.Tensor | None,
    rows: slice,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The same rows back: the gradients of the gates of all steps, and of the first h and c."""
    hiddens_gradient, cells_gradient = gradients
    steps = tf.shape(hiddens_gradient)[0]
    kind = turned_kernel.dtype

    def go_back(
        step: tf.Tensor, hidden_gradient: tf.Tensor, cell_gradient: tf.Tensor, written: Any
    ) -> Any:
        i, f, g, o = (part.read(step) for part in walk.gates)
        # To compute this again takes less time than to keep it.
        before, squashed = walk.cells.read(step), tf.tanh(walk.cells.read(step + 1))
        hidden_gradient += hiddens_gradient[step][rows]
        cell_gradient += cells_gradient[step][rows]
        # Operations that do several steps of arithmetic at once: in a loop the number of
        # operations counts as much as what they compute.
        cell_gradient += tf.raw_ops.TanhGrad(y=squashed, dy=hidden_gradient * o)
        into_gates = tf.concat(
            [
                tf.raw_ops.SigmoidGrad(y=i, dy=cell_gradient * g),
                tf.raw_ops.SigmoidGrad(y=f, dy=cell_gradient * before),
                tf.raw_ops.TanhGrad(y=g, dy=cell_gradient * i),
                tf.raw_ops.SigmoidGrad(y=o, dy=hidden_gradient * squashed),
            ],
            axis=1,
        )
        into_gates = tf.cast(into_gates, kind)
        hidden_gradient = tf.cast(tf.matmul(into_gates, turned_kernel), tf.float32)
        if mask is not None:
            hidden_gradient *= mask[rows]
        cell_gradient *= f
        for part in (hidden_gradient, cell_gradient):
            part.set_shape(zeros.shape)
        return step - 1, hidden_gradient, cell_gradient, written.write(step, into_gates)

    zeros = tf.zeros_like(walk.cells.read(0))
    written = tf.TensorArray(kind, steps, element_shape=(None, turned_kernel.shape[0]))
    _, hidden_gradient, cell_gradient, written = tf.while_loop(
        lambda step, *_: step >= 0, go_back, (steps - 1, zeros, zeros, written)
    )
    return written.stack(), hidden_gradient, cell_gradient


def _product(left: tf.Tensor, right: tf.Tensor, kind: tf.DType, **options: bool) -> tf.Tensor:
    return tf.matmul(tf.cast(left, kind), tf.cast(right, kind), **options)


def _gradient_of_rows(of_product: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """The gradient of the rows that a kernel was multiplied with, given that of the product.

    In float32 a product that has to turn the kernel as it goes takes up to a third longer than
    turning it first. In half precision it is the other way round.
    """
    if kernel.dtype != tf.float32:
        return tf.matmul(of_product, kernel, transpose_b=True)
    features, columns = kernel.shape
    # By gates, in three dimensions: a plain transposition is what TensorFlow's optimizer of graphs
    # would put back into the product.
    turned = tf.transpose(tf.reshape(kernel, (features, 4, columns // 4)), (1, 2, 0))
    return tf.matmul(of_product, tf.reshape(turned, (columns, features)))


def _flat(values: tf.Tensor) -> tf.Tensor:
    """(steps, batch, n) to (steps * batch, n)."""
    shape = tf.shape(values)
    return tf.reshape(values, (shape[0] * shape[1], values.shape[2]))
