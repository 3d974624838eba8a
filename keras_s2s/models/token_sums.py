"""Sums of losses and correct predictions over the target tokens of a batch."""

from typing import Any, NamedTuple

import tensorflow as tf

from keras_s2s.data.batching import Batch
from keras_s2s.layers import xla
from keras_s2s.layers.copying import Mixture
from keras_s2s.losses import label_smoothed_loss
from keras_s2s.models.user_functions import UserFunctions
from keras_s2s.tokenizers.tokenizer import UNK


class TokenSums(NamedTuple):
    """Sums over the target tokens of a batch, scalars.

    Attributes:
        objective: of what training minimizes: losses with label smoothing and weights.
        loss: of the losses with weights.
        weight: of the weights; without weights, the number of tokens.
        cross_entropy: of the cross-entropies, without smoothing and weights.
        num_correct: of the tokens predicted correctly.
        num_tokens: their number.
    """

    objective: tf.Tensor
    loss: tf.Tensor
    weight: tf.Tensor
    cross_entropy: tf.Tensor
    num_correct: tf.Tensor
    num_tokens: tf.Tensor


def sum_over_tokens(
    model: Any,
    batch: Batch,
    weights: tf.Tensor | None,
    functions: UserFunctions | None,
    training: bool,
) -> TokenSums:
    """Run a model on a batch and add up its losses.

    Args:
        model: a `Seq2Seq`.
        batch: sources and targets.
        weights: float, (batch, target steps - 1 or more): a weight of each label; or None.
        functions: a loss and metrics, which see the logits at padding too; or None.
        training: whether dropout and label smoothing are active.
    """
    source, (target_ids, target_valid_length) = batch
    state, memory = model.encode(source, training)
    outputs, _, attention = model.decoder.decode_attending(
        target_ids[:, :-1], state, memory, training
    )
    steps, num_hiddens = tf.shape(outputs)[0], outputs.shape[2]
    outputs = tf.reshape(outputs, (-1, num_hiddens))
    labels = _flatten_time_major(target_ids[:, 1:])
    # A row without any token has nothing to predict.
    valid_length = tf.maximum(target_valid_length - 1, 0)
    mask = tf.sequence_mask(valid_length, steps)
    valid = _flatten_time_major(mask)
    if weights is not None:
        weights = weights[:, :steps]
    flat_weights = None if weights is None else _flatten_time_major(weights)
    positions = None
    if functions is None and not xla.is_compiling():
        # Skip padding, which can be most of a batch, in the dense layer, which can be most of
        # the work. XLA cannot: it needs static shapes.
        positions = tf.reshape(tf.where(valid), (-1,))
        outputs, labels, valid = (
            tf.gather(values, positions) for values in (outputs, labels, valid)
        )
        if flat_weights is not None:
            flat_weights = tf.gather(flat_weights, positions)
    logits = model.decoder.logits(outputs)
    mixture, user_losses = None, None
    if model.decoder.copying is not None:
        mixture = model.decoder.copying.mixture(outputs, logits, attention, memory, positions)
    if functions is not None:
        predicted = logits if mixture is None else mixture.log_probabilities()
        batch_major = tf.reshape(predicted, (steps, -1, tf.shape(predicted)[-1]))
        batch_major = tf.transpose(batch_major, (1, 0, 2))
        functions.update_metrics(target_ids[:, 1:], batch_major, mask, weights)
        user_losses = functions.token_losses(target_ids[:, 1:], batch_major)
        if user_losses is not None:
            user_losses = _flatten_time_major(user_losses)
    return sum_losses(
        labels,
        logits if mixture is None else mixture,
        valid,
        flat_weights,
        user_losses,
        model.label_smoothing if training else 0.0,
        tf.reduce_sum(valid_length),
    )


def sum_losses(
    labels: tf.Tensor,
    logits: tf.Tensor | Mixture,
    valid: tf.Tensor,
    weights: tf.Tensor | None,
    user_losses: tf.Tensor | None,
    smoothing: float,
    num_tokens: tf.Tensor,
) -> TokenSums:
    """Add up the losses of tokens.

    Args:
        labels: int32, (tokens,).
        logits: float32 or float64, (tokens, vocab_size), or the mixture of a copying decoder.
        valid: bool, (tokens,): false at padding.
        weights: float, (tokens,), or None.
        user_losses: float, (tokens,), in place of the cross-entropy; or None.
        smoothing: of `label_smoothed_loss`.
        num_tokens: the number of valid tokens.
    """
    if isinstance(logits, Mixture):
        objectives, cross_entropies, correct = logits.losses(labels, smoothing)
    else:
        objectives, cross_entropies = label_smoothed_loss(labels, logits, smoothing)
        # Comparing with the maximum is several times faster than `argmax`.
        label_logits = tf.gather(logits, labels, axis=1, batch_dims=1)
        correct = label_logits >= tf.reduce_max(logits, axis=1)
    dtype, losses = cross_entropies.dtype, cross_entropies
    if user_losses is not None:
        objectives = losses = tf.cast(user_losses, dtype)
    # An answer that has `<unk>` where the reference has an unknown word is not right.
    correct &= valid & (labels != UNK)

    def total(values: tf.Tensor) -> tf.Tensor:
        # `where` rather than a product: what is not finite at padding does not count.
        return tf.reduce_sum(tf.where(valid, values, tf.zeros([], dtype)))

    num_correct = tf.reduce_sum(tf.cast(correct, dtype))
    num_tokens = tf.cast(num_tokens, dtype)
    cross_entropy = total(cross_entropies)
    if weights is None:
        loss = cross_entropy if user_losses is None else total(losses)
        return TokenSums(
            total(objectives), loss, num_tokens, cross_entropy, num_correct, num_tokens
        )
    weights = tf.cast(weights, dtype)
    return TokenSums(
        total(objectives * weights),
        total(losses * weights),
        total(weights),
        cross_entropy,
        num_correct,
        num_tokens,
    )


def add_sums(sums: list[TokenSums]) -> TokenSums:
    """Add up the sums of parts of a batch."""
    return TokenSums(*map(tf.add_n, zip(*sums, strict=True)))


def _flatten_time_major(values: tf.Tensor) -> tf.Tensor:
    return tf.reshape(tf.transpose(values), (-1,))
