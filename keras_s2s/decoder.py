"""The decoder: from the encoder's state, a sentence word by word."""

from typing import Any

import keras
import tensorflow as tf

from keras_s2s.recurrent import StackedLSTM, State


@keras.saving.register_keras_serializable(package="keras_s2s")
class Seq2SeqDecoder(keras.layers.Layer):
    """Embedding, a multi-layer LSTM started from the encoder's state, and a dense layer.

    One layer used two ways: over all steps of a known target in training, and step by step in
    search. Both go through the same weights and give the same logits.

    Args:
        vocab_size: number of target tokens.
        embed_size: width of the embedding.
        num_hiddens: width of each LSTM layer; the encoder's.
        num_layers: number of LSTM layers; the encoder's.
        dropout: share of the values set to zero between two layers in training.

    Reference: Dive into Deep Learning, "Sequence to Sequence" (`Seq2SeqDecoder`).

    Example:

    >>> from keras_s2s import Seq2SeqEncoder
    >>> encoder = Seq2SeqEncoder(vocab_size=10, embed_size=8, num_hiddens=16, num_layers=2)
    >>> decoder = Seq2SeqDecoder(vocab_size=10, embed_size=8, num_hiddens=16, num_layers=2)
    >>> ids = tf.zeros((4, 7), tf.int32)
    >>> logits, state = decoder(ids, decoder.init_state(encoder(ids)))
    >>> logits.shape, state[0].shape
    (TensorShape([4, 7, 10]), TensorShape([2, 4, 16]))
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
        self.dense = keras.layers.Dense(vocab_size, dtype=self.dtype_policy, name="dense")

    def build(self, input_shape: Any = None) -> None:
        # All sizes are known beforehand, so a model can be built before it sees data.
        self.embedding.build((None, None))
        self.rnn.build((None, None, self.embed_size))
        self.dense.build((None, self.num_hiddens))
        self.built = True

    def init_state(self, encoder_outputs: tuple[tf.Tensor, State]) -> State:
        """The state to start from, given what the encoder returned: its own state."""
        _, state = encoder_outputs
        return state

    def call(
        self, target_ids: tf.Tensor, state: State, training: bool | None = None
    ) -> tuple[tf.Tensor, State]:
        """Decodes known targets: step i reads token i and predicts token i + 1.

        Args:
            target_ids: integer tensor, shape (batch, steps).
            state: `[h, c]`, each (num_layers, batch, num_hiddens).
            training: whether dropout is active.

        Returns:
            Logits, float32, shape (batch, steps, vocab_size), and the state after the last step.
        """
        outputs, state = self.read(target_ids, state, training)
        return self.logits(tf.transpose(outputs, (1, 0, 2))), state

    def read(
        self, target_ids: tf.Tensor, state: State, training: bool | None = None
    ) -> tuple[tf.Tensor, State]:
        """What `call` does before the dense layer.

        Training goes on from here, since it needs no logits at padding.

        Returns:
            The last LSTM layer's outputs, steps first: (steps, batch, num_hiddens); and the state
            after the last step.
        """
        return self.rnn(self.embedding(tf.transpose(target_ids)), state=state, training=training)

    def step(self, target_ids: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
        """Decodes one step, for search.

        Args:
            target_ids: integer tensor, shape (batch,): the tokens before.
            state: as for `call`.

        Returns:
            Logits, float32, shape (batch, vocab_size), and the new state.
        """
        outputs, state = self.rnn.step(self.embedding(target_ids), state)
        return self.logits(outputs), state

    def logits(self, outputs: tf.Tensor) -> tf.Tensor:
        """The dense layer: (..., num_hiddens) to float32 logits (..., vocab_size)."""
        # A softmax over thousands of words needs more digits than half precision has.
        return tf.cast(self.dense(outputs), tf.float32)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "vocab_size": self.vocab_size,
            "embed_size": self.embed_size,
            "num_hiddens": self.num_hiddens,
            "num_layers": self.num_layers,
            "dropout": self.dropout,
        }
