"""Conversion of models that compute in half precision to full precision."""

import tensorflow as tf

from keras_s2s.models.seq2seq import Seq2Seq


def is_half_precision(model: Seq2Seq) -> bool:
    """Return whether the encoder or the decoder computes in a type smaller than float32."""
    return any(
        tf.as_dtype(layer.compute_dtype).size < tf.float32.size
        for layer in (model.encoder, model.decoder)
    )


def to_full_precision(model: Seq2Seq) -> Seq2Seq:
    """Return an uncompiled copy with the same weights that computes in float32."""
    encoder, decoder = (
        type(layer).from_config({**layer.get_config(), "dtype": "float32"})
        for layer in (model.encoder, model.decoder)
    )
    copy = Seq2Seq(encoder, decoder, dtype="float32")
    copy.set_weights(model.get_weights())
    return copy
