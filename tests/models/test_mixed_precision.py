"""Copies of a model hold what its file holds; what they cannot hold is refused."""

import numpy as np
import pytest
import tensorflow as tf

import keras_s2s as s2s
from keras_s2s.models.mixed_precision import restored, to_full_precision
from keras_s2s.utils.errors import ExportError, InputError


@pytest.fixture
def translator(make_model, tokenizers):
    """An untrained translator whose weights tell tokens apart."""
    model, rng = make_model(), np.random.default_rng(0)
    model.set_weights([rng.normal(0, 0.7, weight.shape) for weight in model.get_weights()])
    return s2s.Translator(model, *tokenizers, num_steps=5)


def test_quantization_is_refused(translator, batches):
    element = next(iter(batches))
    expected = translator.model(element)
    for quantize in (translator.quantize, translator.model.quantize):
        with pytest.raises(InputError, match="quantized"):
            quantize("int8")
    np.testing.assert_array_equal(translator.model(element), expected)


@pytest.mark.parametrize("tied", [False, True])
def test_a_layer_that_was_quantized_alone_computes_no_garbage(tied):
    decoder = s2s.Seq2SeqDecoder(9, 4, 4, 1, tie_embeddings=tied)
    decoder.build()
    (decoder.embedding if tied else decoder.dense).quantize("int8")
    with pytest.raises(InputError, match="quantized"):
        decoder.logits(tf.ones((2, 4)))


class Doubled(s2s.Seq2Seq):
    """A subclass that Keras does not know."""


def test_copies_have_low_rank_adaptation_merged(make_model, batches):
    element = next(iter(batches))
    plain = make_model()
    model = Doubled(plain.encoder, plain.decoder)
    before = model(element)
    dense = model.decoder.dense
    dense.enable_lora(2)
    dense.lora_kernel_b.assign(np.full(dense.lora_kernel_b.shape, 9.0))
    outputs = tf.ones((3, 8))
    np.testing.assert_allclose(model.decoder.logits(outputs), dense(outputs), rtol=1e-6)
    assert np.abs(model(element) - before).max() > 0.1
    for copy in (restored(model), to_full_precision(model)):
        np.testing.assert_allclose(copy(element), model(element), atol=1e-4)
    assert type(restored(model)) is Doubled


def test_an_export_is_of_what_a_file_holds(translator, tmp_path):
    """Not of what is only in memory, which would be equal to itself."""
    decoder = translator.model.decoder
    decoder.logits = lambda outputs: -type(decoder).logits(decoder, outputs)
    with pytest.raises(ExportError):
        translator.export(tmp_path / "model", sentences=["Go.", "I won!"])
    assert not list((tmp_path / "model").glob("[0-9]*"))
