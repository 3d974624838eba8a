"""The masked loss of the chapter."""

from typing import Any

import keras
import tensorflow as tf

from keras_s2s.utils.dtypes import sum_dtype
from keras_s2s.utils.errors import InputError

REDUCTIONS = ("token_mean", "sequence_mean", "sum", "none")


def sequence_mask(x: Any, valid_length: Any, value: float = 0) -> tf.Tensor:
    """Replace the values past each row's valid length.

    Sets `x[i, valid_length[i]:, ...] = value`.

    Args:
        x: tensor of any dtype, shape (batch, steps, ...), with two dimensions or more.
        valid_length: integer tensor, shape (batch,).
        value: the replacement.

    Returns:
        A tensor like `x`.

    Reference: Dive into Deep Learning, "Sequence to Sequence" (`SequenceMask`).

    Example:

    >>> sequence_mask([[1, 2, 3], [4, 5, 6]], [1, 2]).numpy().tolist()
    [[1, 0, 0], [4, 5, 0]]
    """
    x, valid_length = tf.convert_to_tensor(x), tf.convert_to_tensor(valid_length)
    if x.shape.rank < 2 or not valid_length.shape.is_compatible_with(x.shape[:1]):
        raise InputError(
            f"x has the shape {x.shape} and valid_length {valid_length.shape}; give (batch, "
            "steps, ...) and (batch,)"
        )
    mask = tf.sequence_mask(valid_length, tf.shape(x)[1])
    mask = tf.reshape(mask, tf.concat([tf.shape(mask), tf.ones(x.shape.rank - 2, tf.int32)], 0))
    return tf.where(mask, x, tf.cast(value, x.dtype))


def token_cross_entropy(labels: tf.Tensor, logits: tf.Tensor, valid_length: tf.Tensor) -> tf.Tensor:
    """Compute each token's cross-entropy, zero past the valid length."""
    return sequence_mask(_cross_entropy(labels, logits), valid_length)


def _cross_entropy(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    return tf.nn.sparse_softmax_cross_entropy_with_logits(
        tf.cast(labels, tf.int32), tf.cast(logits, sum_dtype(logits.dtype))
    )


def label_smoothed_loss(
    labels: tf.Tensor, logits: tf.Tensor, smoothing: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Compute cross-entropy with and without label smoothing.

    The smoothed target distribution has `1 - smoothing` on the label and `smoothing` spread
    uniformly over the vocabulary.

    Args:
        labels: integers, (tokens,).
        logits: float32 or float64, (tokens, vocab_size).
        smoothing: in [0, 1).

    Returns:
        The smoothed and the plain cross-entropy of each token, both (tokens,), in the dtype of
        the logits. Only the first has a gradient.

    Reference: Szegedy et al., 2016, "Rethinking the Inception Architecture".
    """
    labels = tf.cast(labels, tf.int32)
    uniform = smoothing / logits.shape[-1]

    @tf.custom_gradient
    def run(logits: tf.Tensor) -> Any:
        # TensorFlow's cross-entropy of dense labels takes four times as long as its softmax, and
        # automatic differentiation would need several more passes over the logits.
        probabilities = tf.nn.softmax(logits)
        indices = tf.stack([tf.range(tf.shape(labels)[0]), labels], axis=1)
        label_logits = tf.gather_nd(logits, indices)
        # logsumexp(logits) = max(logits) - log(max(softmax)): the largest probability is at least
        # 1/vocab_size, so its logarithm is accurate.
        losses = tf.reduce_max(logits, axis=1) - label_logits
        losses -= tf.math.log(tf.reduce_max(probabilities, axis=1))
        smoothed = losses
        if smoothing:
            smoothed = losses + smoothing * label_logits - uniform * tf.reduce_sum(logits, axis=1)

        def backward(upstream: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
            gradient = (probabilities - uniform) * upstream[:, None]
            return tf.tensor_scatter_nd_sub(gradient, indices, (1 - smoothing) * upstream)

        return (smoothed, losses), backward

    return run(logits)


@keras.saving.register_keras_serializable(package="keras_s2s")
class MaskedSoftmaxCELoss(keras.losses.Loss):
    """Softmax cross-entropy with padding masked.

    Args:
        reduction: how to aggregate the losses of the tokens.

            - `"token_mean"`: mean over all valid tokens, a scalar in nats per token: the `loss`
              that `Seq2Seq.fit` reports.
            - `"sequence_mean"`: for each row the sum over its valid tokens divided by the number
              of *all* steps, shape (batch,), as in the chapter.
            - `"sum"`: sum over all valid tokens, a scalar.
            - `"none"`: loss of each token, shape (batch, steps), zero past the valid length.

    Call it in Keras's order, `(labels, logits, sample_weight, valid_length)`, or in the chapter's,
    `(logits, labels, valid_length)`; the number of dimensions of the first two distinguishes them.

    - labels: integer tensor, shape (batch, steps);
    - logits: float tensor, shape (batch, steps, vocab_size), maybe with a mask of Keras's, (batch,
      steps), which is that of a layer with `mask_zero=True`;
    - sample_weight: float tensor, shape (batch,), (batch, 1) or (batch, steps); None for ones.
      `"token_mean"` divides by the sum of the weights, `"sequence_mean"` by the number of steps;
    - valid_length: integer tensor, shape (batch,); None for no padding but that of the mask.

    Raises:
        InputError: incompatible shapes, or integers as `sample_weight`, which are valid lengths
            of a call in the order of earlier versions.

    Reference: Dive into Deep Learning, "Sequence to Sequence" (`MaskedSoftmaxCELoss`).

    Example:

    >>> loss = MaskedSoftmaxCELoss(reduction="sequence_mean")
    >>> labels, logits = tf.ones((3, 4), tf.int32), tf.ones((3, 4, 10))
    >>> [round(float(value), 4) for value in loss(labels, logits, valid_length=[4, 2, 0])]
    [2.3026, 1.1513, 0.0]
    """

    def __init__(
        self, reduction: str = "token_mean", name: str = "masked_softmax_ce_loss", **kwargs: Any
    ) -> None:
        if reduction not in REDUCTIONS:
            raise ValueError(f"reduction is {reduction!r}; give one of {', '.join(REDUCTIONS)}")
        # Keras's reductions do not support valid lengths.
        super().__init__(name=name, reduction="none", **kwargs)
        self.token_reduction = reduction

    def __call__(
        self, labels: Any, logits: Any, sample_weight: Any = None, valid_length: Any = None
    ) -> tf.Tensor:
        labels, logits = tf.convert_to_tensor(labels), tf.convert_to_tensor(logits)
        if labels.shape.rank == 3 and logits.shape.rank == 2:
            labels, logits = logits, labels
            if valid_length is None:
                sample_weight, valid_length = None, sample_weight
        losses = self.call(labels, logits)
        weights = _token_weights(labels, logits, sample_weight, valid_length, losses.dtype)
        # `where` rather than a product: what is not finite at padding does not count.
        losses = tf.where(weights != 0, losses * weights, tf.zeros([], losses.dtype))
        if self.token_reduction == "none":
            return losses
        if self.token_reduction == "sequence_mean":
            return tf.reduce_mean(losses, axis=1)
        total = tf.reduce_sum(losses)
        if self.token_reduction == "sum":
            return total
        return tf.math.divide_no_nan(total, tf.reduce_sum(weights))

    def call(self, labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        """Compute the loss of each token, (batch, steps), padding included."""
        labels, logits = tf.convert_to_tensor(labels), tf.convert_to_tensor(logits)
        if logits.shape.rank != 3 or not labels.shape.is_compatible_with(logits.shape[:2]):
            raise InputError(
                f"labels have the shape {labels.shape} and logits {logits.shape}; give (batch, "
                "steps) and (batch, steps, vocab_size)"
            )
        return _cross_entropy(labels, logits)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "reduction": self.token_reduction}


def _token_weights(
    labels: tf.Tensor, logits: tf.Tensor, sample_weight: Any, valid_length: Any, dtype: tf.DType
) -> tf.Tensor:
    """Return the weight of each token, (batch, steps); 0 at padding."""
    weights = tf.ones(tf.shape(labels), dtype)
    if sample_weight is not None:
        sample_weight = tf.convert_to_tensor(sample_weight)
        if sample_weight.dtype.is_integer:
            raise InputError(
                "the third argument is sample_weight, as in Keras, and holds integers; pass valid "
                "lengths by name, valid_length=..., and weights as floats"
            )
        if sample_weight.shape.rank == 1:
            sample_weight = sample_weight[:, None]
        try:
            # Also (batch, 1), as Keras expands weights of rows.
            tf.broadcast_static_shape(sample_weight.shape, labels.shape)
        except ValueError as error:
            raise InputError(
                f"sample_weight has the shape {sample_weight.shape} and labels {labels.shape}; "
                "give (batch,) or (batch, steps)"
            ) from error
        weights *= tf.cast(sample_weight, dtype)
    if valid_length is not None:
        weights = sequence_mask(weights, valid_length)
    # Keras keeps the mask of a layer's outputs there.
    mask = getattr(logits, "_keras_mask", None)
    if mask is not None:
        weights = tf.where(tf.cast(mask, tf.bool), weights, tf.zeros([], dtype))
    return weights
