"""Copies of a model: as its file would restore it, and in full precision."""

import keras
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
    return _with_saved_weights(Seq2Seq(encoder, decoder, dtype="float32"), model)


def restored(model: Seq2Seq) -> Seq2Seq:
    """Return an uncompiled copy made of what a file of the model holds: config and weights."""
    parts = (model, model.encoder, model.decoder)
    with keras.saving.custom_object_scope({type(part).__name__: type(part) for part in parts}):
        copy = type(model).from_config(model.get_config())
    return _with_saved_weights(copy, model)


def _with_saved_weights(copy: Seq2Seq, model: Seq2Seq) -> Seq2Seq:
    """Set the weights of a copy to those that each layer would save, such as with LoRA merged."""
    for layer, original in zip(copy._flatten_layers(), model._flatten_layers(), strict=True):
        store: dict[str, tf.Tensor] = {}
        original.save_own_variables(store)
        layer.load_own_variables(store)
    return copy
