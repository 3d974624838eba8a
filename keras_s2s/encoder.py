"""The encoder: a sentence to a state."""

from typing import Any

import keras
import tensorflow as tf

from keras_s2s.recurrent import StackedLSTM, State


@keras.saving.register_keras_serializable(package="keras_s2s")
class Seq2SeqEncoder(keras.layers.Layer):
    """Embedding and a multi-layer LSTM.

    The state is that of each row's last valid step, so a sentence has the same state alone,
    padded further, or in a batch with longer ones. (The chapter's encoder reads the padding too.)

    Args:
        vocab_size: number of source tokens.
        embed_size: width of the embedding.
        num_hiddens: width of each LSTM layer.
        num_layers: number of LSTM layers.
        dropout: share of the values set to zero between two layers in training.

    Reference: Dive into Deep Learning, "Sequence to Sequence" (`Seq2SeqEncoder`); Sutskever,
    Vinyals and Le, 2014.

    Example:

    >>> encoder = Seq2SeqEncoder(vocab_size=10, embed_size=8, num_hiddens=16, num_layers=2)
    >>> outputs, state = encoder(tf.zeros((4, 7), tf.int32))
    >>> outputs.shape, [tensor.shape for tensor in state]
    (TensorShape([4, 7, 16]), [TensorShape([2, 4, 16]), TensorShape([2, 4, 16])])
    """

    def __init__(
        self,
        vocab_size: int,
        embed_size: int,
        num_hiddens: int,
        num_layers: int,
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.vocab_size = vocab_size
        self.embed_size = embed_size
        self.num_hiddens = num_hiddens
        self.num_layers = num_layers
        self.dropout = dropout
        self.embedding = keras.layers.Embedding(
            vocab_size,
            embed_size,
            embeddings_initializer="glorot_uniform",
            dtype=self.dtype_policy,
            name="embedding",
        )
        self.rnn = StackedLSTM(
            num_hiddens, num_layers, dropout, dtype=self.dtype_policy, name="rnn"
        )

    def build(self, input_shape: Any = None) -> None:
        # All sizes are known beforehand, so a model can be built before it sees data.
        self.embedding.build((None, None))
        self.rnn.build((None, None, self.embed_size))
        self.built = True

    def call(
        self,
        source_ids: tf.Tensor,
        valid_length: tf.Tensor | None = None,
        training: bool | None = None,
    ) -> tuple[tf.Tensor, State]:
        """Encodes a batch.

        Args:
            source_ids: integer tensor, shape (batch, steps).
            valid_length: integer tensor, shape (batch,): the steps from this position on are
                padding; 0 is allowed. All steps count when it is left out.
            training: whether dropout is active.

        Returns:
            The last layer's outputs, float, shape (batch, steps, num_hiddens), and the state
            `[h, c]`, each (num_layers, batch, num_hiddens). Outputs at padding have no meaning.
        """
        outputs, state = self.rnn(
            self.embedding(tf.transpose(source_ids)), valid_length=valid_length, training=training
        )
        return tf.transpose(outputs, (1, 0, 2)), state

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "vocab_size": self.vocab_size,
            "embed_size": self.embed_size,
            "num_hiddens": self.num_hiddens,
            "num_layers": self.num_layers,
            "dropout": self.dropout,
        }
