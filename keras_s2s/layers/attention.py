"""Attention of the decoder over the encoder's outputs."""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from keras_s2s.layers.initializers import make_dense
from keras_s2s.utils.dtypes import sum_dtype

SCORES = ("luong", "luong-dot", "bahdanau")


class Memory(NamedTuple):
    """Attention keys, values and mask of a batch of sources, shared by all decoder steps.

    Attributes:
        keys: (batch, source steps, num_hiddens).
        values: (batch, source steps, memory_size): the encoder's outputs.
        mask: bool, (batch, source steps): true at tokens, false at padding.
    """

    keys: tf.Tensor
    values: tf.Tensor
    mask: tf.Tensor


def apply_to_last_axis(layer: Callable[[tf.Tensor], tf.Tensor], values: tf.Tensor) -> tf.Tensor:
    """Apply a dense layer to the last axis of a tensor as one matrix product."""
    # WORKAROUND(keras<=3.15.1): on more than two dimensions `Dense` calls `tensordot`, which
    # computes its shapes in each step of a loop, and XLA has no gradient of that in a loop.
    if values.shape.rank == 2:
        return layer(values)
    rows = layer(tf.reshape(values, (-1, values.shape[-1])))
    shape = tf.concat([tf.shape(values)[:-1], [rows.shape[-1]]], axis=0)
    result = tf.reshape(rows, shape)
    result.set_shape((*values.shape[:-1], rows.shape[-1]))
    return result


@keras.saving.register_keras_serializable(package="keras_s2s")
class Attention(keras.layers.Layer):
    """Attention of queries to the encoder's outputs.

    Args:
        score: score function of a query q and an encoder output m:

            - `"luong"`: q · W m ("general");
            - `"luong-dot"`: q · m, which needs equal widths;
            - `"bahdanau"`: v · tanh(W q + U m) ("additive").

        num_hiddens: width of the queries.
        memory_size: width of the encoder's outputs.
        init_scale: bound of the initial weights; see `Seq2SeqEncoder`.

    Raises:
        ValueError: an unknown score, or unequal widths for `"luong-dot"`.

    Reference: Luong, Pham and Manning, 2015; Bahdanau, Cho and Bengio, 2015.
    """

    def __init__(
        self,
        score: str,
        num_hiddens: int,
        memory_size: int,
        init_scale: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if score not in SCORES:
            raise ValueError(f"attention is {score!r}; give one of {', '.join(SCORES)}, or None")
        if score == "luong-dot" and num_hiddens != memory_size:
            raise ValueError(
                f"attention 'luong-dot' needs equal num_hiddens, not {num_hiddens} in the decoder "
                f"and {memory_size} in the encoder; make them equal, or use 'luong'"
            )
        self.score = score
        self.init_scale = init_scale
        self._sizes = num_hiddens, memory_size

        def dense(name: str, units: int) -> keras.layers.Dense:
            return make_dense(name, units, init_scale, self.dtype_policy, use_bias=False)

        self.key_dense = None if score == "luong-dot" else dense("keys", num_hiddens)
        additive = score == "bahdanau"
        self.query_dense = dense("queries", num_hiddens) if additive else None
        self.score_dense = dense("score", 1) if additive else None

    def build(self, input_shape: Any = None) -> None:
        num_hiddens, memory_size = self._sizes
        for layer, width in (
            (self.key_dense, memory_size),
            (self.query_dense, num_hiddens),
            (self.score_dense, num_hiddens),
        ):
            # `setup_memory` may have built some of them already.
            if layer is not None and not layer.built:
                layer.build((None, width))
        self.built = True

    def setup_memory(self, outputs: tf.Tensor, valid_length: tf.Tensor | None) -> Memory:
        """Compute the attention memory, once for all queries.

        Args:
            outputs: the encoder's, (batch, source steps, memory_size).
            valid_length: integers, (batch,): steps from there on are masked; none if None.
        """
        outputs = tf.cast(outputs, self.compute_dtype)
        if valid_length is None:
            mask = tf.fill(tf.shape(outputs)[:2], True)
        else:
            mask = tf.sequence_mask(valid_length, tf.shape(outputs)[1])
        keys = outputs if self.key_dense is None else apply_to_last_axis(self.key_dense, outputs)
        return Memory(keys, outputs, mask)

    def call(self, queries: tf.Tensor, memory: Memory) -> tuple[tf.Tensor, tf.Tensor]:
        """Compute context vectors and attention weights.

        Args:
            queries: (batch, queries, num_hiddens).
            memory: of the same batch.

        Returns:
            Contexts, (batch, queries, memory_size), and attention weights, float32 or, in a float64
            layer, float64, (batch, queries, source steps), which sum to 1, or to 0 for a source
            without a token.
        """
        if self.query_dense is None or self.score_dense is None:
            scores = tf.matmul(queries, memory.keys, transpose_b=True)
        else:
            sums = apply_to_last_axis(self.query_dense, queries)[:, :, None] + memory.keys[:, None]
            scores = tf.squeeze(apply_to_last_axis(self.score_dense, tf.tanh(sums)), -1)
        # Half precision would lose small weights; padding gets exactly 0.
        dtype = sum_dtype(scores.dtype)
        mask = tf.cast(memory.mask[:, None], dtype)
        scores = tf.cast(scores, dtype) + (mask - 1) * 1e9
        weights = tf.nn.softmax(scores) * mask
        return tf.matmul(tf.cast(weights, memory.values.dtype), memory.values), weights

    def get_config(self) -> dict[str, Any]:
        num_hiddens, memory_size = self._sizes
        return {
            **super().get_config(),
            "score": self.score,
            "num_hiddens": num_hiddens,
            "memory_size": memory_size,
            "init_scale": self.init_scale,
        }
