"""The encoder: a sentence to a state."""

from typing import Any

import keras
import tensorflow as tf

from keras_s2s.layers.embedding_rnn import EmbeddingRNN
from keras_s2s.layers.stacked_rnn import State


@keras.saving.register_keras_serializable(package="keras_s2s")
class Seq2SeqEncoder(EmbeddingRNN):
    """Embedding and multi-layer LSTM or GRU.

    The state is that of each row's last valid step, so a sentence has the same state alone,
    padded further, or in a batch with longer ones. (The chapter's encoder reads the padding too.)

    Args:
        vocab_size: number of source tokens.
        embed_size: width of the embedding.
        num_hiddens: width of each recurrent layer.
        num_layers: number of recurrent layers.
        dropout: share of the values set to zero between two layers in training.
        bidirectional: whether half of the units of each layer read the sentence backwards
            (Schuster and Paliwal, 1997). Outputs and state keep their widths: the second half of
            each is that of the backward units.
        **kwargs: `embed_dropout`, the same for the embedding; `recurrent_dropout`, for what a
            layer hands from step to step, with one mask for a whole sentence (Gal and Ghahramani,
            2016); `cell`, `"lstm"` or `"gru"`; `residual`, whether each layer from the second on
            adds its inputs to its outputs (Wu et al., 2016); `init_scale`, None to begin as the
            chapter does, with Glorot's weights, or s for weights that are drawn evenly from -s to
            s, those of embeddings from -3s to 3s (with 0.1 to 0.2, models of some hundred units
            learn in a third of the steps what they learn with Glorot's); those of
            `keras.layers.Layer`.

    Raises:
        ValueError: an unknown cell, or an odd number of units for two directions.

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
        bidirectional: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            vocab_size,
            embed_size,
            num_hiddens,
            num_layers,
            dropout,
            bidirectional=bidirectional,
            **kwargs,
        )
        self.bidirectional = bidirectional

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
            The last layer's outputs, float, shape (batch, steps, num_hiddens), and the state,
            `[h, c]` or, with GRU cells, `[h]`, each (num_layers, batch, num_hiddens). Outputs at
            padding have no meaning.
        """
        embedded = self.embed(tf.transpose(source_ids), training)
        outputs, state = self.rnn(embedded, valid_length=valid_length, training=training)
        return tf.transpose(outputs, (1, 0, 2)), state

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "bidirectional": self.bidirectional}
