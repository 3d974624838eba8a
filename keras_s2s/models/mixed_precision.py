"""Models that compute in half precision, and the same in full precision."""

import tensorflow as tf

from keras_s2s.models.seq2seq import Seq2Seq


def is_half_precision(model: Seq2Seq) -> bool:
    """Whether its encoder or its decoder computes with less digits than float32 has."""
    return any(
        tf.as_dtype(part.compute_dtype).size < tf.float32.size
        for part in (model.encoder, model.decoder)
    )


def to_full_precision(model: Seq2Seq) -> Seq2Seq:
    """A copy with the same weights that computes in float32; not compiled."""
    encoder, decoder = (
        type(part).from_config({**part.get_config(), "dtype": "float32"})
        for part in (model.encoder, model.decoder)
    )
    copy = Seq2Seq(encoder, decoder, dtype="float32")
    copy.set_weights(model.get_weights())
    return copy
