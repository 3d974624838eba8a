"""The multi-layer LSTM that the encoder and the decoder share."""

from typing import Any

import keras
import tensorflow as tf

State = list[tf.Tensor]


class StackedLSTM(keras.layers.Layer):
    """LSTM layers on top of each other, with the chapter's state.

    Args:
        num_hiddens: width of every layer.
        num_layers: how many.
        dropout: share of the outputs set to zero between two layers in training (not after the
            last one), as the chapter's `rnn.LSTM` does.

    The weights are those of `keras.layers.LSTM`, initialised as the chapter does: Glorot
    ("Xavier") uniform for both kernels and zero for all biases, that of the forget gate too.

    Attributes:
        fused: whether all steps of a layer run as one operation where they can, which is several
            times faster than `keras.layers.LSTM` in small models. XLA does not know that
            operation: set this to false where `jit_compile` is used.
    """

    def __init__(self, num_hiddens: int, num_layers: int, dropout: float = 0.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.num_hiddens = num_hiddens
        self.fused = True
        self.lstm_layers = [
            keras.layers.LSTM(
                num_hiddens,
                recurrent_initializer="glorot_uniform",
                unit_forget_bias=False,
                return_sequences=True,
                return_state=True,
                # cuDNN refuses rows of length zero, and a graph traced with it loads on no CPU.
                use_cudnn=False,
                dtype=self.dtype_policy,
                name=f"lstm_{index}",
            )
            for index in range(num_layers)
        ]
        self.dropout_layer = keras.layers.Dropout(dropout, dtype=self.dtype_policy)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        *leading, features = input_shape
        for lstm in self.lstm_layers:
            lstm.build((*leading, features))
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
            state: `[h, c]`, each (num_layers, batch, num_hiddens); zeros when left out.
            valid_length: integers, (batch,): a row's state is that of its last valid step, or the
                one it began with when it has none. All steps are valid when it is left out.
            training: whether dropout is active.

        Returns:
            The last layer's outputs, (steps, batch, num_hiddens), without meaning past the valid
            length, and the state, `[h, c]`.
        """
        inputs = tf.cast(inputs, self.compute_dtype)
        steps, batch = tf.shape(inputs)[0], tf.shape(inputs)[1]
        if state is None:
            zeros = tf.zeros((len(self.lstm_layers), batch, self.num_hiddens), inputs.dtype)
            state = [zeros, zeros]
        if valid_length is None:
            valid_length = tf.fill([batch], steps)
        run = self._run_fused if self.fused and inputs.dtype == tf.float32 else self._run_keras
        outputs, hidden, cell = inputs, [], []
        for index, lstm in enumerate(self.lstm_layers):
            if index:
                outputs = self.dropout_layer(outputs, training=training)
            initial = [tf.cast(part[index], outputs.dtype) for part in state]
            outputs, (last_hidden, last_cell) = run(lstm, outputs, initial, valid_length)
            hidden.append(last_hidden)
            cell.append(last_cell)
        return outputs, [tf.stack(hidden), tf.stack(cell)]

    def _run_keras(
        self, lstm: keras.layers.LSTM, inputs: tf.Tensor, state: State, valid_length: tf.Tensor
    ) -> tuple[tf.Tensor, State]:
        mask = tf.sequence_mask(valid_length, tf.shape(inputs)[0])
        outputs, *state = lstm(tf.transpose(inputs, (1, 0, 2)), initial_state=state, mask=mask)
        return tf.transpose(outputs, (1, 0, 2)), state

    def _run_fused(
        self, lstm: keras.layers.LSTM, inputs: tf.Tensor, state: State, valid_length: tf.Tensor
    ) -> tuple[tf.Tensor, State]:
        """The same in one operation for all steps, forward and backward."""
        # Keras's gates are i, f, c, o; those of the operation are i, c, f, o.
        weights = tf.concat([lstm.cell.kernel, lstm.cell.recurrent_kernel], axis=0)
        weights, bias = (
            tf.concat([i, c, f, o], axis=-1)
            for i, f, c, o in (
                tf.split(parameter, 4, axis=-1) for parameter in (weights, lstm.cell.bias)
            )
        )
        # Version 2 of the operation has a wrong gradient in TensorFlow 2.21.
        unused_peephole = tf.zeros([self.num_hiddens])
        _, cell, _, _, _, _, hidden = tf.raw_ops.BlockLSTM(
            # The largest of no number is the least integer: the share of a replica can be empty.
            seq_len_max=tf.cast(tf.maximum(tf.reduce_max(valid_length), 0), tf.int64),
            x=inputs,
            cs_prev=state[1],
            h_prev=state[0],
            w=weights,
            wci=unused_peephole,
            wcf=unused_peephole,
            wco=unused_peephole,
            b=bias,
            forget_bias=0.0,
            cell_clip=-1.0,
        )

        def at_last_step(outputs: tf.Tensor, initial: tf.Tensor) -> tf.Tensor:
            rows = tf.range(tf.shape(valid_length)[0])
            last = tf.stack([tf.maximum(valid_length - 1, 0), rows], axis=1)
            return tf.where(valid_length[:, None] > 0, tf.gather_nd(outputs, last), initial)

        final = [at_last_step(hidden, state[0]), at_last_step(cell, state[1])]
        return hidden, final

    def step(self, inputs: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
        """Runs over one step, without a loop, as decoding does.

        Args:
            inputs: (batch, features).
            state: `[h, c]`, each (num_layers, batch, num_hiddens).

        Returns:
            The last layer's output, (batch, num_hiddens), and the new state.
        """
        outputs, hidden, cell = inputs, [], []
        for index, lstm in enumerate(self.lstm_layers):
            outputs, (new_hidden, new_cell) = lstm.cell(
                outputs, [state[0][index], state[1][index]], training=False
            )
            hidden.append(new_hidden)
            cell.append(new_cell)
        return outputs, [tf.stack(hidden), tf.stack(cell)]
