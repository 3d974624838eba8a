"""The recurrent layers that the encoder and the decoder share."""

from typing import Any

import keras
import tensorflow as tf

from keras_s2s.layers.fused_lstm import block_lstm, loop_lstm, next_state
from keras_s2s.layers.initializers import initializer
from keras_s2s.layers.packed_lstm import packed_lstm

# [h, c] of LSTM layers, [h] of GRU layers, each (num_layers, batch, num_hiddens).
State = list[tf.Tensor]

CELLS = {"lstm": 2, "gru": 1}
# From so many units on a loop over the steps is faster than one operation for all of them.
BLOCK_LSTM_MAX_UNITS = 128


class StackedRNN(keras.layers.Layer):
    """Recurrent layers on top of each other, with the chapter's state.

    Args:
        num_hiddens: width of every layer.
        num_layers: how many.
        dropout: share of the outputs set to zero between two layers in training (not after the
            last one), as the chapter's `rnn.LSTM` does.
        recurrent_dropout: share of the values that a layer hands from step to step set to zero in
            training, the same ones in all steps of a row ("variational dropout", Gal and
            Ghahramani, 2016).
        cell: `"lstm"` or `"gru"`.
        residual: whether each layer but the first adds what it is given to what it puts out.
        bidirectional: whether half of the units of each layer read from the end to the beginning.
            Of the outputs and of the state, the second half is theirs.
        init_scale: None, or within which bounds kernels begin; see `Seq2SeqEncoder`.

    The weights are those of `keras.layers.LSTM` or `keras.layers.GRU`, initialised as the chapter
    does: Glorot ("Xavier") uniform for both kernels and zero for all biases, that of the forget
    gate too.

    Attributes:
        fused: whether LSTM layers run in ways that are faster on a CPU than `keras.layers.LSTM`.
            XLA does not know all of their operations: set this to false where `jit_compile` is
            used.
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
        self.cell = cell
        self.recurrent_dropout = recurrent_dropout
        self.residual = residual
        self.bidirectional = bidirectional
        self.init_scale = init_scale
        self.fused = True
        self.forward_layers = [self._layer(f"{cell}_{index}") for index in range(num_layers)]
        self.backward_layers = (
            [self._layer(f"backward_{cell}_{index}") for index in range(num_layers)]
            if bidirectional
            else []
        )
        self.dropout_layer = keras.layers.Dropout(dropout, dtype=self.dtype_policy)
        self.recurrent_dropout_layer = keras.layers.Dropout(
            recurrent_dropout, dtype=self.dtype_policy
        )

    def _layer(self, name: str) -> keras.layers.Layer:
        options: dict[str, Any] = {
            "kernel_initializer": initializer(self.init_scale),
            "recurrent_initializer": initializer(self.init_scale),
            "return_sequences": True,
            "return_state": True,
            "recurrent_dropout": self.recurrent_dropout,
            # cuDNN refuses rows of length zero, and a graph traced with it loads on no CPU.
            "use_cudnn": False,
            "dtype": self.dtype_policy,
            "name": name,
        }
        units = self.num_hiddens // 2 if self.bidirectional else self.num_hiddens
        if self.cell == "lstm":
            layer = keras.layers.LSTM(units, unit_forget_bias=False, **options)
        else:
            layer = keras.layers.GRU(units, **options)
        layer.cell.implementation = 2  # also with dropout, for all that is no training
        return layer

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        features = input_shape[-1]
        for index, layer in enumerate(self.forward_layers):
            for each in (layer, *self.backward_layers[index : index + 1]):
                each.build((None, None, features))
            features = self.num_hiddens
        self.built = True

    def call(
        self,
        inputs: tf.Tensor,
        state: State | None = None,
        valid_length: tf.Tensor | None = None,
        training: bool | None = None,
    ) -> tuple[tf.Tensor, State]:
        """Runs over all steps.

        Steps come first here, as the loop over them wants it: to turn what goes in and out of
        every layer costs a small model a sixth of its time.

        Args:
            inputs: (steps, batch, features).
            state: `[h, c]` or, of GRU layers, `[h]`, each (num_layers, batch, num_hiddens); zeros
                when left out.
            valid_length: integers, (batch,): a row's state is that of its last valid step, or the
                one it began with when it has none. All steps are valid when it is left out.
            training: whether dropout is active.

        Returns:
            The last layer's outputs, (steps, batch, num_hiddens), without meaning past the valid
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
        # All at once: each index would have a gradient of its own as large as the whole.
        layers = zip(*(tf.unstack(part, len(self.forward_layers)) for part in state), strict=True)
        for index, parts in enumerate(layers):
            given = outputs
            if index:
                given = self.dropout_layer(given, training=training)
            initial = [tf.cast(part, inputs.dtype) for part in parts]
            put_out, last = self._run_layer(index, given, initial, valid_length, training)
            outputs = put_out + outputs if index and self.residual else put_out
            final.append(last)
        return outputs, [tf.stack(parts) for parts in zip(*final, strict=True)]

    def _run_layer(
        self,
        index: int,
        inputs: tf.Tensor,
        initial: State,
        valid_length: tf.Tensor,
        training: bool | None,
    ) -> tuple[tf.Tensor, State]:
        """One layer over all steps, in both directions where there are two."""
        run = self._run_fused if self.cell == "lstm" and self.fused else self._run_keras
        forward = self.forward_layers[index]
        if not self.bidirectional:
            return run(forward, inputs, initial, valid_length, training)

        def turned(values: tf.Tensor) -> tf.Tensor:
            # Padding stays where it is.
            return tf.reverse_sequence(values, valid_length, seq_axis=0, batch_axis=1)

        first, second = zip(*(tf.split(part, 2, axis=-1) for part in initial), strict=True)
        outputs, final = run(forward, inputs, list(first), valid_length, training)
        back_outputs, back_final = run(
            self.backward_layers[index], turned(inputs), list(second), valid_length, training
        )
        both = zip(final, back_final, strict=True)
        return (
            tf.concat([outputs, turned(back_outputs)], axis=-1),
            [tf.concat(parts, axis=-1) for parts in both],
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
        drops = bool(training) and self.recurrent_dropout > 0
        layer.cell.implementation = 1 if drops else 2  # only the slower one drops
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
        drops = bool(training) and self.recurrent_dropout > 0
        if inputs.dtype == tf.float32 and cell.units < BLOCK_LSTM_MAX_UNITS and not drops:
            # The largest of no number is the least integer: the share of a replica can be empty.
            # One of more steps than there are would end the process.
            num_steps = tf.clip_by_value(tf.reduce_max(valid_length), 0, tf.shape(inputs)[0])
            hidden, state = block_lstm(inputs, initial, weights, num_steps)
        elif training:
            mask = self._recurrent_mask(initial[0], training) if drops else None
            hidden, state = loop_lstm(inputs, initial, weights, mask)
        else:
            hidden, state = packed_lstm(inputs, initial, weights, valid_length)

        last = tf.stack([valid_length, tf.range(tf.shape(valid_length)[0])], axis=1)

        def at_last_step(values: tf.Tensor, first: tf.Tensor) -> tf.Tensor:
            # The state before the first step is that of a row without any.
            values = tf.concat([tf.cast(first, values.dtype)[None], values], axis=0)
            return tf.cast(tf.gather_nd(values, last), first.dtype)

        final = [at_last_step(hidden, initial[0]), at_last_step(state, initial[1])]
        return tf.cast(hidden, inputs.dtype), final

    def _recurrent_mask(self, like: tf.Tensor, training: bool | None) -> tf.Tensor:
        return self.recurrent_dropout_layer(tf.ones_like(like), training=training)

    def dropout_masks(self, steps: tf.Tensor, batch: tf.Tensor, training: bool | None) -> list[Any]:
        """What `step` needs to drop in training what `call` would.

        Returns:
            For each layer the mask of its inputs, (steps, batch, num_hiddens), and that of its
            state, (batch, num_hiddens); None where nothing is dropped.
        """
        masks: list[Any] = []
        for index in range(len(self.forward_layers)):
            ones = tf.ones((steps, batch, self.num_hiddens), self.compute_dtype)
            drops = bool(training) and self.dropout_layer.rate > 0 and index > 0
            recurrent = bool(training) and self.recurrent_dropout > 0
            masks.append(
                (
                    self.dropout_layer(ones, training=True) if drops else None,
                    self._recurrent_mask(ones[0], True) if recurrent else None,
                )
            )
        return masks

    def step(
        self, inputs: tf.Tensor, state: State, masks: list[Any] | None = None
    ) -> tuple[tf.Tensor, State]:
        """Runs over one step, without a loop, as decoding does.

        Args:
            inputs: (batch, features).
            state: as for `call`.
            masks: for each layer what its inputs and its state are multiplied with, (batch,
                num_hiddens), or None.

        Returns:
            The last layer's output, (batch, num_hiddens), and the new state.
        """
        outputs, final = inputs, []
        for index, layer in enumerate(self.forward_layers):
            input_mask, state_mask = masks[index] if masks else (None, None)
            given = outputs if input_mask is None else outputs * input_mask
            initial = [tf.cast(part[index], self.compute_dtype) for part in state]
            seen = initial[0] if state_mask is None else initial[0] * state_mask
            take_a_step = _lstm_step if self.cell == "lstm" else _gru_step
            last = take_a_step(layer.cell, given, initial, seen)
            outputs = last[0] + outputs if index and self.residual else last[0]
            final.append(last)
        return outputs, [tf.stack(parts) for parts in zip(*final, strict=True)]


def _weights(cell: keras.layers.Layer, kind: tf.DType) -> list[tf.Tensor]:
    return [
        tf.cast(tf.convert_to_tensor(weight), kind)
        for weight in (cell.kernel, cell.recurrent_kernel, cell.bias)
    ]


def _lstm_step(
    cell: keras.layers.LSTMCell, inputs: tf.Tensor, state: State, seen: tf.Tensor
) -> State:
    """A step of an LSTM, of whose h its gates see what is given."""
    kernel, recurrent_kernel, bias = _weights(cell, inputs.dtype)
    # The bias last: a product of a few rows is slower when it is one operation with adding it.
    gates = tf.nn.bias_add(tf.matmul(inputs, kernel) + tf.matmul(seen, recurrent_kernel), bias)
    return list(next_state(gates, state[1]))


def _gru_step(
    cell: keras.layers.GRUCell, inputs: tf.Tensor, state: State, seen: tf.Tensor
) -> State:
    """A step of a GRU, of whose state its gates see what is given.

    What the update gate keeps is kept of the whole state, as in Keras. Of one of which some is
    dropped and the rest made larger, a value that is never overwritten would grow at each step.
    """
    kernel, recurrent_kernel, bias = _weights(cell, inputs.dtype)
    input_bias, recurrent_bias = tf.unstack(bias)
    of_inputs = tf.split(tf.nn.bias_add(tf.matmul(inputs, kernel), input_bias), 3, axis=1)
    of_state = tf.matmul(seen, recurrent_kernel)
    of_state = tf.split(tf.nn.bias_add(of_state, recurrent_bias), 3, axis=1)
    kept, reset = (tf.sigmoid(of_inputs[gate] + of_state[gate]) for gate in (0, 1))
    return [kept * state[0] + (1 - kept) * tf.tanh(of_inputs[2] + reset * of_state[2])]
