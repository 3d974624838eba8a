"""The encoder: from source tokens to a state."""

from typing import Any

import keras
import tensorflow as tf

from keras_s2s.layers.embedding_rnn import EmbeddingRNN
from keras_s2s.layers.stacked_rnn import State


@keras.saving.register_keras_serializable(package="keras_s2s")
class Seq2SeqEncoder(EmbeddingRNN):
    """Embedding and multi-layer LSTM or GRU.

    The state is that of each row's last valid step, so a sentence has the same state alone,
    with more padding, or in a batch with longer ones. (The chapter's encoder reads the padding.)

    Args:
        vocab_size: number of source tokens.
        embed_size: width of the embedding.
        num_hiddens: width of each recurrent layer.
        num_layers: number of recurrent layers.
        dropout: dropout rate between two recurrent layers.
        bidirectional: whether half of the units of each layer read the sentence backwards
            (Schuster and Paliwal, 1997). Outputs and state keep their widths: the second half of
            each is that of the backward units.
        embed_dropout: dropout rate of the embedding.
        recurrent_dropout: dropout rate of the hidden state between steps, with one mask per
            sentence ("variational dropout", Gal and Ghahramani, 2016).
        cell: `"lstm"` or `"gru"`.
        residual: whether each layer from the second on adds its inputs to its outputs (Wu et
            al., 2016).
        init_scale: None for Glorot uniform initial weights, as in the chapter, or s for uniform
            ones on [-s, s], and on [-3s, 3s] for embeddings. With 0.1 to 0.2, models of some
            hundred units need a third of the steps that they need with Glorot's.
        **kwargs: of `keras.layers.Layer`.

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
        *,
        embed_dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        cell: str = "lstm",
        residual: bool = False,
        init_scale: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            vocab_size,
            embed_size,
            num_hiddens,
            num_layers,
            dropout=dropout,
            embed_dropout=embed_dropout,
            recurrent_dropout=recurrent_dropout,
            cell=cell,
            residual=residual,
            bidirectional=bidirectional,
            init_scale=init_scale,
            **kwargs,
        )
        self.bidirectional = bidirectional

    def call(
        self,
        source_ids: tf.Tensor,
        valid_length: tf.Tensor | None = None,
        training: bool | None = None,
    ) -> tuple[tf.Tensor, State]:
        """Encode a batch.

        Args:
            source_ids: integers, (batch, steps).
            valid_length: integers, (batch,): the steps from this position on are padding; 0 is
                allowed. None if there is no padding.
            training: whether dropout is active.

        Returns:
            The last layer's outputs, float, (batch, steps, num_hiddens), undefined at padding,
            and the state, `[h, c]` or, with GRU cells, `[h]`, each (num_layers, batch,
            num_hiddens).
        """
        embedded = self.embed(tf.transpose(source_ids), training)
        outputs, state = self.rnn(embedded, valid_length=valid_length, training=training)
        return tf.transpose(outputs, (1, 0, 2)), state

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "bidirectional": self.bidirectional}
