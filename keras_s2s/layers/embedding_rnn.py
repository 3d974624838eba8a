"""Embedding and recurrent layers: the base class of encoder and decoder."""

from typing import Any

import keras
import tensorflow as tf

from keras_s2s.layers.initializers import initializer
from keras_s2s.layers.stacked_rnn import StackedRNN
from keras_s2s.utils.checks import check_fraction, check_ints
from keras_s2s.utils.errors import InputError

# Scale of an embedding's initial weights relative to those of other layers.
EMBEDDING_SCALE = 3.0

QUANTIZED = (
    "models of this package cannot be quantized, as Keras's recurrent layers cannot; keep float32, "
    "or use the dtype policy mixed_bfloat16"
)


class EmbeddingRNN(keras.layers.Layer):
    """Embedding and recurrent layers: the base class of encoder and decoder.

    Its arguments are those of `Seq2SeqEncoder`, and `feed_size`, the width of the first recurrent
    layer's inputs besides the embedding.
    """

    def __init__(
        self,
        vocab_size: int,
        embed_size: int,
        num_hiddens: int,
        num_layers: int,
        dropout: float = 0.0,
        embed_dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        cell: str = "lstm",
        residual: bool = False,
        bidirectional: bool = False,
        init_scale: float | None = None,
        feed_size: int = 0,
        **kwargs: Any,
    ) -> None:
        check_ints(
            vocab_size=vocab_size,
            embed_size=embed_size,
            num_hiddens=num_hiddens,
            num_layers=num_layers,
        )
        check_fraction("dropout", dropout)
        check_fraction("embed_dropout", embed_dropout)
        check_fraction("recurrent_dropout", recurrent_dropout)
        super().__init__(**kwargs)
        self.vocab_size = vocab_size
        self.embed_size = embed_size
        self.num_hiddens = num_hiddens
        self.num_layers = num_layers
        self.dropout = dropout
        self.embed_dropout = embed_dropout
        self.recurrent_dropout = recurrent_dropout
        self.cell = cell
        self.residual = residual
        self.init_scale = init_scale
        # Without the state: what `keras.Model.summary` shows.
        self.output_shape: tuple[int | None, ...] = (None, None, num_hiddens)
        self._input_size = embed_size + feed_size
        self.embedding = keras.layers.Embedding(
            vocab_size,
            embed_size,
            embeddings_initializer=initializer(init_scale and EMBEDDING_SCALE * init_scale),
            dtype=self.dtype_policy,
            name="embedding",
        )
        self.embed_dropout_layer = keras.layers.Dropout(embed_dropout, dtype=self.dtype_policy)
        self.rnn = StackedRNN(
            num_hiddens,
            num_layers,
            dropout=dropout,
            recurrent_dropout=recurrent_dropout,
            cell=cell,
            residual=residual,
            bidirectional=bidirectional,
            init_scale=init_scale,
            dtype=self.dtype_policy,
            name="rnn",
        )

    def build(self, input_shape: Any = None) -> None:
        # All sizes are known at construction, so a model is built before it sees data.
        self.embedding.build((None, None))
        self.rnn.build((None, None, self._input_size))
        self.built = True

    def get_build_config(self) -> dict[str, Any]:
        # `build` without a shape, however this layer was built.
        return {"shapes_dict": {}}

    def embed(self, ids: tf.Tensor, training: bool | None) -> tf.Tensor:
        """Return the embeddings of ids of any shape, with dropout in training."""
        return self.embed_dropout_layer(self.embedding(ids), training=training)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "vocab_size": self.vocab_size,
            "embed_size": self.embed_size,
            "num_hiddens": self.num_hiddens,
            "num_layers": self.num_layers,
            "dropout": self.dropout,
            "embed_dropout": self.embed_dropout,
            "recurrent_dropout": self.recurrent_dropout,
            "cell": self.cell,
            "residual": self.residual,
            "init_scale": self.init_scale,
        }


def refuse_quantized(layer: keras.layers.Layer) -> None:
    """Raise an `InputError` if the weights of a layer are integers, useless without their scale."""
    if layer.quantization_mode is not None:
        raise InputError(QUANTIZED)
