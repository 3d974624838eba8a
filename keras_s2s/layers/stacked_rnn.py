"""The recurrent layers of encoder and decoder."""

from typing import Any

import keras
import tensorflow as tf

from keras_s2s.layers import xla
from keras_s2s.layers.fused_lstm import block_lstm, loop_lstm, next_state
from keras_s2s.layers.initializers import initializer
from keras_s2s.layers.packed_lstm import packed_lstm

# [h, c] of LSTM layers, [h] of GRU layers, each (num_layers, batch, num_hiddens).
State = list[tf.Tensor]
# Dropout masks of a layer's inputs and of its state; None where nothing is dropped.
LayerMasks = tuple[tf.Tensor | None, tf.Tensor | None]

# The number of state tensors of each cell.
CELLS = {"lstm": 2, "gru": 1}
# LSTM layers with fewer units are faster as one operation than in a loop over the steps.
BLOCK_LSTM_MAX_UNITS = 128


@keras.saving.register_keras_serializable(package="keras_s2s")
class StackedRNN(keras.layers.Layer):
    """Stacked recurrent layers, with the chapter's state.

    Args:
        num_hiddens: width of every layer.
        num_layers: number of layers.
        dropout: dropout rate between two layers (not after the last one), as in the chapter's
            `rnn.LSTM`.
        recurrent_dropout: dropout rate of the hidden state between steps, with the same mask in
            all steps of a row ("variational dropout", Gal and Ghahramani, 2016).
        cell: `"lstm"` or `"gru"`.
        residual: whether each layer but the first adds its inputs to its outputs.
        bidirectional: whether half of the units of each layer read backwards. Theirs is the
            second half of outputs and state.
        init_scale: bound of the initial kernels; see `Seq2SeqEncoder`.
        **kwargs: of `keras.layers.Layer`.

    The weights are those of `keras.layers.LSTM` or `keras.layers.GRU`, initialized as in the
    chapter: Glorot ("Xavier") uniform for both kernels and zero for all biases, including that
    of the forget gate.

    Attributes:
        fused: whether LSTM layers use implementations that are faster on CPUs than
            `keras.layers.LSTM`. XLA, which lacks some of their operations, always gets Keras's.
    """

    def __init__(
        self,
        num_hiddens: int,
        num_layers: int,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        cell: str = "lstm",
        residual: bool = False,
        bidirectional: bool = False,
        init_scale: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if cell not in CELLS:
            raise ValueError(f"cell is {cell!r}; give one of {', '.join(CELLS)}")
        if bidirectional and num_hiddens % 2:
            raise ValueError(
                f"num_hiddens is {num_hiddens}; half of them read in each direction, so give an "
                "even number"
            )
        self.num_hiddens = num_hiddens
        self.num_layers = num_layers
        self.dropout = dropout
        self.cell = cell
        self.recurrent_dropout = recurrent_dropout
        self.residual = residual
        self.bidirectional = bidirectional
        self.init_scale = init_scale
        self.fused = True
        self.forward_layers = [self._make_layer(f"{cell}_{index}") for index in range(num_layers)]
        self.backward_layers = (
            [self._make_layer(f"backward_{cell}_{index}") for index in range(num_layers)]
            if bidirectional
            else []
        )
        self.dropout_layer = keras.layers.Dropout(dropout, dtype=self.dtype_policy)
        self.recurrent_dropout_layer = keras.layers.Dropout(
            recurrent_dropout, dtype=self.dtype_policy
        )

    def _make_layer(self, name: str) -> keras.layers.Layer:
        options: dict[str, Any] = {
            "kernel_initializer": initializer(self.init_scale),
            "recurrent_initializer": initializer(self.init_scale),
            "return_sequences": True,
            "return_state": True,
            "recurrent_dropout": self.recurrent_dropout,
            # WORKAROUND(keras<=3.15.1): its cuDNN LSTM asserts that no row has length 0, and a
            # graph traced with it loads on no CPU.
            "use_cudnn": False,
            "dtype": self.dtype_policy,
            "name": name,
        }
        units = self.num_hiddens // 2 if self.bidirectional else self.num_hiddens
        if self.cell == "lstm":
            layer = keras.layers.LSTM(units, unit_forget_bias=False, **options)
        else:
            layer = keras.layers.GRU(units, **options)
        # WORKAROUND(keras<=3.15.1): recurrent dropout selects the slower implementation 1 at
        # construction, also for inference; `_run_keras` selects it where it is needed.
        layer.cell.implementation = 2
        return layer

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        features = input_shape[-1]
        for index, layer in enumerate(self.forward_layers):
            for direction in (layer, *self.backward_layers[index : index + 1]):
                direction.build((None, None, features))
            features = self.num_hiddens
        self.built = True

    def call(
        self,
        inputs: tf.Tensor,
        state: State | None = None,
        valid_length: tf.Tensor | None = None,
        training: bool | None = None,
    ) -> tuple[tf.Tensor, State]:
        """Run over all steps.

        Tensors are time-major: transposing the inputs and outputs of every layer costs a small
        model a sixth of its time.

        Args:
            inputs: (steps, batch, features).
            state: `[h, c]` or, with GRU layers, `[h]`, each (num_layers, batch, num_hiddens);
                zeros if None.
            valid_length: integers, (batch,): a row's state is that of its last valid step, or the
                initial one if it has none. All steps are valid if None.
            training: whether dropout is active.

        Returns:
            The last layer's outputs, (steps, batch, num_hiddens), undefined past the valid
            length, and the state.
        """
        inputs = tf.cast(inputs, self.compute_dtype)
        steps, batch = tf.shape(inputs)[0], tf.shape(inputs)[1]
        if state is None:
            shape = (len(self.forward_layers), batch, self.num_hiddens)
            state = [tf.zeros(shape, inputs.dtype)] * CELLS[self.cell]
        if valid_length is None:
            valid_length = tf.fill([batch], steps)
        valid_length = tf.cast(valid_length, tf.int32)
        outputs, final = inputs, []
        # `unstack` rather than indexing, whose gradients are each as large as the whole state.
        unstacked = (tf.unstack(values, len(self.forward_layers)) for values in state)
        for index, layer_state in enumerate(zip(*unstacked, strict=True)):
            layer_inputs = outputs
            if index:
                layer_inputs = self.dropout_layer(layer_inputs, training=training)
            initial = [tf.cast(value, inputs.dtype) for value in layer_state]
            layer_outputs, last = self._run_layer(
                index, layer_inputs, initial, valid_length, training
            )
            outputs = layer_outputs + outputs if index and self.residual else layer_outputs
            final.append(last)
        return outputs, [tf.stack(values) for values in zip(*final, strict=True)]

    def _run_layer(
        self,
        index: int,
        inputs: tf.Tensor,
        initial: State,
        valid_length: tf.Tensor,
        training: bool | None,
    ) -> tuple[tf.Tensor, State]:
        """Run one layer over all steps, in one or both directions."""
        fused = self.fused and self.cell == "lstm" and not xla.is_compiling()
        run = self._run_fused if fused else self._run_keras
        forward = self.forward_layers[index]
        if not self.bidirectional:
            return run(forward, inputs, initial, valid_length, training)

        def reverse(values: tf.Tensor) -> tf.Tensor:
            # Padding stays in place.
            return tf.reverse_sequence(values, valid_length, seq_axis=0, batch_axis=1)

        halves = (tf.split(value, 2, axis=-1) for value in initial)
        forward_initial, backward_initial = map(list, zip(*halves, strict=True))
        outputs, final = run(forward, inputs, forward_initial, valid_length, training)
        backward_outputs, backward_final = run(
            self.backward_layers[index], reverse(inputs), backward_initial, valid_length, training
        )
        return (
            tf.concat([outputs, reverse(backward_outputs)], axis=-1),
            [tf.concat(pair, axis=-1) for pair in zip(final, backward_final, strict=True)],
        )

    def _run_keras(
        self,
        layer: keras.layers.Layer,
        inputs: tf.Tensor,
        initial: State,
        valid_length: tf.Tensor,
        training: bool | None,
    ) -> tuple[tf.Tensor, State]:
        mask = tf.sequence_mask(valid_length, tf.shape(inputs)[0])
        # Only implementation 1 has recurrent dropout.
        layer.cell.implementation = 1 if self._drops_recurrent(training) else 2
        outputs, *final = layer(
            tf.transpose(inputs, (1, 0, 2)), initial_state=initial, mask=mask, training=training
        )
        return tf.transpose(outputs, (1, 0, 2)), final

    def _run_fused(
        self,
        layer: keras.layers.Layer,
        inputs: tf.Tensor,
        initial: State,
        valid_length: tf.Tensor,
        training: bool | None,
    ) -> tuple[tf.Tensor, State]:
        cell = layer.cell
        weights = tuple(
            tf.convert_to_tensor(weight)
            for weight in (cell.kernel, cell.recurrent_kernel, cell.bias)
        )
        drops = self._drops_recurrent(training)
        if inputs.dtype == tf.float32 and cell.units < BLOCK_LSTM_MAX_UNITS and not drops:
            # `reduce_max` of an empty tensor, such as a replica's share of a small batch, is
            # INT_MIN. More steps than the inputs have would crash the process.
            num_steps = tf.clip_by_value(tf.reduce_max(valid_length), 0, tf.shape(inputs)[0])
            hidden, state = block_lstm(inputs, initial, weights, num_steps)
        elif training:
            mask = self._recurrent_mask(initial[0], training) if drops else None
            hidden, state = loop_lstm(inputs, initial, weights, mask)
        else:
            hidden, state = packed_lstm(inputs, initial, weights, valid_length)

        indices = tf.stack([valid_length, tf.range(tf.shape(valid_length)[0])], axis=1)

        def at_last_step(values: tf.Tensor, initial: tf.Tensor) -> tf.Tensor:
            # Rows of length 0 keep the initial state.
            values = tf.concat([tf.cast(initial, values.dtype)[None], values], axis=0)
            return tf.cast(tf.gather_nd(values, indices), initial.dtype)

        final = [at_last_step(hidden, initial[0]), at_last_step(state, initial[1])]
        return tf.cast(hidden, inputs.dtype), final

    def _drops_recurrent(self, training: bool | None) -> bool:
        return bool(training) and self.recurrent_dropout > 0

    def _recurrent_mask(self, like: tf.Tensor, training: bool | None) -> tf.Tensor:
        return self.recurrent_dropout_layer(tf.ones_like(like), training=training)

    def dropout_masks(
        self, steps: tf.Tensor, batch: tf.Tensor, training: bool | None
    ) -> list[LayerMasks]:
        """Draw the dropout masks that make `step` in training equal `call`.

        Returns:
            For each layer the mask of its inputs, (steps, batch, num_hiddens), and that of its
            state, (batch, num_hiddens); None where nothing is dropped.
        """
        masks: list[LayerMasks] = []
        for index in range(len(self.forward_layers)):
            ones = tf.ones((steps, batch, self.num_hiddens), self.compute_dtype)
            drops = bool(training) and self.dropout_layer.rate > 0 and index > 0
            recurrent = self._drops_recurrent(training)
            input_mask = self.dropout_layer(ones, training=True) if drops else None
            state_mask = self._recurrent_mask(ones[0], True) if recurrent else None
            masks.append((input_mask, state_mask))
        return masks

    def step(
        self, inputs: tf.Tensor, state: State, masks: list[LayerMasks] | None = None
    ) -> tuple[tf.Tensor, State]:
        """Run a single step, for decoding.

        Args:
            inputs: (batch, features).
            state: as for `call`.
            masks: for each layer the dropout masks of its inputs and of its state, (batch,
                num_hiddens) or None.

        Returns:
            The last layer's output, (batch, num_hiddens), and the new state.
        """
        outputs, final = inputs, []
        for index, layer in enumerate(self.forward_layers):
            input_mask, state_mask = masks[index] if masks else (None, None)
            layer_inputs = outputs if input_mask is None else outputs * input_mask
            initial = [tf.cast(values[index], self.compute_dtype) for values in state]
            masked_hidden = initial[0] if state_mask is None else initial[0] * state_mask
            cell_step = _lstm_step if self.cell == "lstm" else _gru_step
            last = cell_step(layer.cell, layer_inputs, initial, masked_hidden)
            outputs = last[0] + outputs if index and self.residual else last[0]
            final.append(last)
        return outputs, [tf.stack(values) for values in zip(*final, strict=True)]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_hiddens": self.num_hiddens,
            "num_layers": self.num_layers,
            "dropout": self.dropout,
            "recurrent_dropout": self.recurrent_dropout,
            "cell": self.cell,
            "residual": self.residual,
            "bidirectional": self.bidirectional,
            "init_scale": self.init_scale,
        }


def _weights(cell: keras.layers.Layer, dtype: tf.DType) -> list[tf.Tensor]:
    return [
        tf.cast(tf.convert_to_tensor(weight), dtype)
        for weight in (cell.kernel, cell.recurrent_kernel, cell.bias)
    ]


def _lstm_step(
    cell: keras.layers.LSTMCell, inputs: tf.Tensor, state: State, masked_hidden: tf.Tensor
) -> State:
    """Compute an LSTM step whose gates read `masked_hidden`."""
    kernel, recurrent_kernel, bias = _weights(cell, inputs.dtype)
    # The bias is added last: fused with the product, TensorFlow is slower on few rows.
    products = tf.matmul(inputs, kernel) + tf.matmul(masked_hidden, recurrent_kernel)
    return list(next_state(tf.nn.bias_add(products, bias), state[1]))


def _gru_step(
    cell: keras.layers.GRUCell, inputs: tf.Tensor, state: State, masked_hidden: tf.Tensor
) -> State:
    """Compute a GRU step whose gates read `masked_hidden`.

    As in Keras, the update gate keeps values of the unmasked state: those of the masked one,
    which dropout scales up, would grow at each step.
    """
    kernel, recurrent_kernel, bias = _weights(cell, inputs.dtype)
    input_bias, recurrent_bias = tf.unstack(bias)
    x = tf.split(tf.nn.bias_add(tf.matmul(inputs, kernel), input_bias), 3, axis=1)
    h = tf.matmul(masked_hidden, recurrent_kernel)
    h = tf.split(tf.nn.bias_add(h, recurrent_bias), 3, axis=1)
    update, reset = (tf.sigmoid(x[gate] + h[gate]) for gate in (0, 1))
    return [update * state[0] + (1 - update) * tf.tanh(x[2] + reset * h[2])]
