"""Copying of source tokens: the mixture of a pointer-generator decoder."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from keras_s2s.layers.attention import Memory
from keras_s2s.layers.initializers import make_dense
from keras_s2s.tokenizers.tokenizer import SPECIAL_TOKENS, UNK
from keras_s2s.utils.dtypes import sum_dtype

# Lower bound of a copied token's share of the attention, whose logarithm is taken.
MIN_WEIGHT = 1e-37


class CopyMemory(NamedTuple):
    """An attention memory of sources whose tokens can be copied.

    Attributes:
        keys: see `Memory`, like `values` and `mask`.
        values: likewise.
        mask: likewise.
        copy_ids: int32, (batch, source steps): the id, in the extended vocabulary, of a token where
            it occurs for the first time; -1 where it occurs again, and at padding.
        sums: float, (batch, source steps, source steps): attention times this is the sum over all
            occurrences of a token where it occurs for the first time, and 0 elsewhere.
    """

    keys: tf.Tensor
    values: tf.Tensor
    mask: tf.Tensor
    copy_ids: tf.Tensor
    sums: tf.Tensor


class Mixture(NamedTuple):
    """What the probabilities of target tokens are computed from, a row for each prediction.

    Attributes:
        logits: (rows, vocab_size), of generating a token.
        gate: (rows,): the logit of generating against copying.
        weights: (rows, source steps): the attention to each token; see `CopyMemory.sums`.
        copy_ids: int32, (rows, source steps); see `CopyMemory`.
    """

    logits: tf.Tensor
    gate: tf.Tensor
    weights: tf.Tensor
    copy_ids: tf.Tensor

    def log_probabilities(self) -> tf.Tensor:
        """Compute the log-probabilities of the extended vocabulary.

        Returns:
            Tensor of shape (rows, vocab_size + source steps). Minus infinity for a position that
            names no token.
        """
        vocab_size, steps = self.logits.shape[1], tf.shape(self.copy_ids)[1]
        generated = tf.nn.log_softmax(self.logits) + tf.math.log_sigmoid(self.gate)[:, None]
        copied = self._copied(tf.gather(generated, self._generated_ids(), batch_dims=1))
        minus_infinity = tf.constant(float("-inf"), generated.dtype)
        generated = tf.pad(generated, [[0, 0], [0, steps]], constant_values=minus_infinity)
        # A position that names no token has the id that nothing else has: its own.
        is_named = self.copy_ids >= 0
        ids = tf.where(is_named, self.copy_ids, vocab_size + tf.range(steps))
        values = tf.where(is_named, copied, minus_infinity)
        return tf.tensor_scatter_nd_update(generated, _with_rows(ids), values)

    def losses(self, labels: tf.Tensor, smoothing: float) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Compute cross-entropies without the probabilities of all tokens.

        Args:
            labels: int32, (rows,): ids of the extended vocabulary.
            smoothing: probability mass that is taken from each label and spread over the
                `vocab_size` tokens that can be generated.

        Returns:
            The cross-entropy with and without smoothing, and whether no token is more probable
            than the label, each (rows,).
        """
        is_copied = self.copy_ids == labels[:, None]
        can_copy = tf.reduce_any(is_copied, axis=1)
        # A label that can neither be copied nor generated fails here.
        ids = tf.where(can_copy, 0, labels)[:, None]
        ids = tf.concat([ids, self._generated_ids()], axis=1)
        normalizer, picked, total = _summarize(self.logits, ids)
        shift = tf.math.log_sigmoid(self.gate) - normalizer
        generated = picked + shift[:, None]
        copied = self._copied(generated[:, 1:])
        zero = tf.zeros([], copied.dtype)
        label = tf.reduce_sum(tf.where(is_copied, copied, zero), axis=1)
        label = tf.where(can_copy, label, generated[:, 0])
        best_copied = tf.where(self.copy_ids >= 0, copied, copied.dtype.min)
        best = tf.reduce_max(self.logits, axis=1) + shift
        best = tf.maximum(best, tf.reduce_max(best_copied, axis=1))
        losses = objectives = -label
        if smoothing:
            vocab_size = self.logits.shape[1]
            gains = tf.where(self._can_generate(), copied - generated[:, 1:], zero)
            total += vocab_size * shift + tf.reduce_sum(gains, axis=1)
            objectives = (1 - smoothing) * losses - smoothing / vocab_size * total
        return objectives, losses, label >= best

    def _can_generate(self) -> tf.Tensor:
        """Return whether each position's token is in the vocabulary, (rows, source steps)."""
        return (self.copy_ids >= 0) & (self.copy_ids < self.logits.shape[1])

    def _generated_ids(self) -> tf.Tensor:
        """Return each position's id in the vocabulary, 0 if it has none."""
        return tf.where(self._can_generate(), self.copy_ids, 0)

    def _copied(self, generated: tf.Tensor) -> tf.Tensor:
        """Return the log-probability of each position's token, copied or generated.

        Args:
            generated: log-probabilities of generating the tokens `_generated_ids`.

        Returns:
            Tensor of shape (rows, source steps); meaningless for a position that names no token.
        """
        copied = tf.math.log(tf.maximum(self.weights, MIN_WEIGHT))
        copied += tf.math.log_sigmoid(-self.gate)[:, None]
        # log(exp(a) + exp(b)), with finite values on both sides of `where`, for the gradient.
        both = tf.maximum(copied, generated) + tf.math.softplus(-tf.abs(copied - generated))
        return tf.where(self._can_generate(), both, copied)


@tf.custom_gradient
def _summarize(logits: tf.Tensor, ids: tf.Tensor) -> Any:
    """Return logsumexp, some logits and the sum of each row, and their gradients in one pass."""
    probabilities = tf.nn.softmax(logits)
    # As in `keras_s2s.losses.label_smoothed_loss`.
    normalizer = tf.reduce_max(logits, axis=1)
    normalizer -= tf.math.log(tf.reduce_max(probabilities, axis=1))
    picked = tf.gather(logits, ids, batch_dims=1)

    def backward(normalizer: tf.Tensor, picked: tf.Tensor, total: tf.Tensor) -> Any:
        gradient = probabilities * normalizer[:, None] + total[:, None]
        return tf.tensor_scatter_nd_add(gradient, _with_rows(ids), picked), None

    return (normalizer, picked, tf.reduce_sum(logits, axis=1)), backward


def _with_rows(ids: tf.Tensor) -> tf.Tensor:
    """Return pairs of row and id, (rows, n, 2), for ids (rows, n)."""
    rows = tf.broadcast_to(tf.range(tf.shape(ids)[0])[:, None], tf.shape(ids))
    return tf.stack([rows, ids], axis=-1)


@keras.saving.register_keras_serializable(package="keras_s2s")
class Copying(keras.layers.Layer):
    """The gate between generating and copying, and the ids of what can be copied.

    A target token is generated with the probability p_gen, or else copied from the source, from
    where the attention is:

        p(y) = p_gen * softmax(logits)[y] + (1 - p_gen) * sum of the attention to source tokens y

    p_gen = sigmoid(w · h + b) with the attentional hidden state h, which holds the context vector
    and the decoder's state. (See et al. also give the gate the decoder's input.)

    Ids of the *extended* target vocabulary from `vocab_size` on name positions of the source:
    `vocab_size + i` is a token that is in no vocabulary, whose first occurrence is at i. To the
    decoder's embedding it is `<unk>`. Source ids are extended, too, so that unknown source tokens
    differ: `source_vocab_size + id` is a token that only the target vocabulary has, and
    `source_vocab_size + vocab_size + i` one that neither has; to the encoder they are `<unk>`. See
    `keras_s2s.tokenizers.copied_tokens`.

    Args:
        vocab_size: number of target tokens.
        source_to_target: for each id of the source vocabulary the id of the same token in the
            target vocabulary, or -1.
        num_hiddens: width of the attentional hidden state.
        init_scale: bound of the initial weights; see `Seq2SeqEncoder`.

    Raises:
        ValueError: the ids are out of range, or two are the same.

    Reference: See, Liu and Manning, 2017, "Get To The Point: Summarization with Pointer-Generator
    Networks".
    """

    def __init__(
        self,
        vocab_size: int,
        source_to_target: Sequence[int],
        num_hiddens: int,
        init_scale: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        known = [index for index in source_to_target if index >= 0]
        if len(set(known)) < len(known) or max(known, default=0) >= vocab_size:
            raise ValueError(
                f"copy holds an id twice, or one beyond the {vocab_size} tokens of the target; "
                "give copy_map(source_tokenizer, target_tokenizer)"
            )
        self.vocab_size = vocab_size
        self.source_to_target = tuple(int(index) for index in source_to_target)
        self.source_vocab_size = len(self.source_to_target)
        self.num_hiddens = num_hiddens
        self.init_scale = init_scale
        self.gate = make_dense("gate", 1, init_scale, self.dtype_policy)

    def build(self, input_shape: Any = None) -> None:
        self.gate.build((None, self.num_hiddens))
        self.built = True

    def setup_memory(self, memory: Memory, source_ids: tf.Tensor | None) -> CopyMemory:
        """Find out what can be copied.

        Args:
            memory: of the attention.
            source_ids: extended, int32, (batch, source steps). Each `<unk>`, which a tokenizer of
                its own gives for all unknown tokens, counts as another token.
        """
        if source_ids is None:
            raise ValueError("a copying decoder needs the source_ids too; give them")
        steps = tf.shape(source_ids)[1]
        positions = tf.range(steps)
        is_same = source_ids[:, :, None] == source_ids[:, None, :]
        is_same &= (source_ids[:, :, None] != UNK) | tf.eye(steps, dtype=tf.bool)
        is_same &= memory.mask[:, :, None] & memory.mask[:, None, :]
        first = tf.argmax(tf.cast(is_same, tf.int8), axis=2, output_type=tf.int32)
        is_first = (first == positions) & memory.mask
        limit = self.source_vocab_size
        targets = tf.gather(
            tf.constant(self.source_to_target, tf.int32),
            tf.clip_by_value(source_ids, 0, limit - 1),
        )
        is_target = (source_ids >= limit) & (source_ids < limit + self.vocab_size)
        targets = tf.where(source_ids >= limit, -1, targets)
        targets = tf.where(is_target, source_ids - limit, targets)
        # What only looks like a special token is text.
        targets = tf.where(targets < len(SPECIAL_TOKENS), self.vocab_size + positions, targets)
        dtype = sum_dtype(self.compute_dtype)
        return CopyMemory(
            *memory,
            copy_ids=tf.where(is_first, targets, -1),
            sums=tf.cast(is_same & is_first[:, None, :], dtype),
        )

    def log_probabilities(
        self, outputs: tf.Tensor, logits: tf.Tensor, attention: tf.Tensor, memory: Any
    ) -> tf.Tensor:
        """Compute the log-probabilities of the extended vocabulary.

        Args:
            outputs: (..., num_hiddens): what the gate reads. Rows go sentence by sentence, as many
                for each.
            logits: (..., vocab_size).
            attention: (..., source steps).
            memory: the `CopyMemory` of these sentences.

        Returns:
            Tensor of shape (..., vocab_size + source steps).
        """
        sentences, steps = tf.unstack(tf.shape(memory.copy_ids))
        attention = tf.reshape(attention, (-1, steps))
        predictions = tf.shape(attention)[0] // tf.maximum(sentences, 1)
        attention = tf.reshape(attention, (sentences, predictions, steps))
        mixture = self._mix(
            tf.reshape(outputs, (-1, self.num_hiddens)),
            tf.reshape(logits, (-1, self.vocab_size)),
            tf.reshape(_group(attention, memory), (-1, steps)),
            tf.repeat(memory.copy_ids, predictions, axis=0),
        )
        shape = tf.concat([tf.shape(logits)[:-1], [self.vocab_size + steps]], axis=0)
        return tf.reshape(mixture.log_probabilities(), shape)

    def mixture(
        self,
        outputs: tf.Tensor,
        logits: tf.Tensor,
        attention: tf.Tensor,
        memory: Any,
        positions: tf.Tensor | None,
    ) -> Mixture:
        """Return the mixture of some predictions of a batch, for training.

        Args:
            outputs: (rows, num_hiddens): what the gate reads.
            logits: (rows, vocab_size).
            attention: (batch, steps, source steps).
            memory: the `CopyMemory` of the batch.
            positions: int, (rows,): which predictions the rows are, all of them being counted step
                by step; None for all.
        """
        batch, source_steps = tf.shape(attention)[0], tf.shape(attention)[2]
        weights = tf.transpose(_group(attention, memory), (1, 0, 2))
        weights = tf.reshape(weights, (-1, source_steps))
        if positions is None:
            positions = tf.range(tf.shape(weights)[0])
        else:
            weights = tf.gather(weights, positions)
        copy_ids = tf.gather(memory.copy_ids, positions % tf.cast(batch, positions.dtype))
        return self._mix(outputs, logits, weights, copy_ids)

    def _mix(
        self, outputs: tf.Tensor, logits: tf.Tensor, weights: tf.Tensor, copy_ids: tf.Tensor
    ) -> Mixture:
        gate = tf.cast(self.gate(outputs), logits.dtype)
        return Mixture(logits, tf.squeeze(gate, -1), weights, copy_ids)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "vocab_size": self.vocab_size,
            "source_to_target": list(self.source_to_target),
            "num_hiddens": self.num_hiddens,
            "init_scale": self.init_scale,
        }


def make_copying(copy: bool | Sequence[int], decoder: Any) -> Copying | None:
    """Return the layer for the argument `copy` of a decoder, None for False."""
    if copy is False:
        return None
    return Copying(
        decoder.vocab_size,
        range(decoder.vocab_size) if copy is True else copy,
        decoder.output_size,
        decoder.init_scale,
        dtype=decoder.dtype_policy,
        name="copying",
    )


def known_source(copying: Copying | None, source_ids: tf.Tensor) -> tf.Tensor:
    """Return source ids without extended ones, which become `<unk>`."""
    if copying is None:
        return source_ids
    return tf.where(source_ids >= copying.source_vocab_size, UNK, source_ids)


def known_target(copying: Copying | None, target_ids: tf.Tensor) -> tf.Tensor:
    """Return target ids without extended ones, which become `<unk>`."""
    if copying is None:
        return target_ids
    return tf.where(target_ids >= copying.vocab_size, UNK, target_ids)


def _group(attention: tf.Tensor, memory: Any) -> tf.Tensor:
    """Add up the attention to all occurrences of a token; see `CopyMemory.sums`."""
    # Keras casts the inputs of a layer, here to half precision, in which 0 and 1 are exact.
    return tf.matmul(attention, tf.cast(memory.sums, attention.dtype))
