"""The projection of the decoder's outputs to logits."""

from typing import Any

import tensorflow as tf

from keras_s2s.layers.attention import apply_to_last_axis
from keras_s2s.layers.embedding_rnn import refuse_quantized
from keras_s2s.utils.dtypes import sum_dtype


class OutputProjectionMixin:
    """The last part of a decoder: a dense layer, or with `dense` None its embedding and a bias."""

    dense: Any
    embedding: Any
    vocab_size: int
    output_size: int

    def build_projection(self) -> None:
        """Create the weights that the embedding does not have."""
        if self.dense is not None:
            self.dense.build((None, self.output_size))
        else:
            self.output_bias = self.add_weight(  # type: ignore[attr-defined]
                shape=(self.vocab_size,), initializer="zeros", name="output_bias"
            )

    def logits(self, outputs: tf.Tensor) -> tf.Tensor:
        """Apply the dense layer: (..., output_size) to logits (..., vocab_size)."""
        refuse_quantized(self.dense or self.embedding)
        if self.dense is None:
            weights, bias = self.embedding.embeddings, self.output_bias
        else:
            weights, bias = self.dense.kernel, self.dense.bias
        compute_dtype = self.compute_dtype  # type: ignore[attr-defined]
        weights = tf.cast(tf.convert_to_tensor(weights), compute_dtype)
        dtype = sum_dtype(compute_dtype)
        bias = tf.cast(tf.convert_to_tensor(bias), dtype)

        def dense(rows: tf.Tensor) -> tf.Tensor:
            logits = tf.matmul(rows, weights, transpose_b=self.dense is None)
            # Half precision is too coarse for a softmax over thousands of tokens and for the
            # bias's gradient, a sum over all tokens.
            return tf.nn.bias_add(tf.cast(logits, dtype), bias)

        return apply_to_last_axis(dense, tf.cast(outputs, compute_dtype))
