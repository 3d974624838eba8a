"""What an optimizer clips, accumulates and averages, in terms of tokens and over all replicas."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_s2s.optimizers import FusedAdam, sum_over_replicas


class TokenUpdates:
    """Apply the gradients of token means with any optimizer of Keras's.

    Keras clips the gradients of each replica by themselves, weighs the batches that it accumulates
    equally, and moves the average of the weights with each of them. Here an update is that of one
    large batch: the gradient of the mean over the tokens of all its batches and replicas, clipped
    as a whole, and one move of the average.

    Args:
        optimizer: a built optimizer, or a `LossScaleOptimizer` around one.
        num_replicas: number of copies of the model.
        clip_num_steps: clip the gradient of the sum over the batch's sentences of their mean over
            this many steps, as the chapter does; None to clip that of the mean over tokens.
        weigh_tokens: whether accumulated batches count by their tokens, and the average moves once
            an update. False is what Keras does.

    Attributes:
        num_tokens: float32 variable: the tokens accumulated for the next update. None if there is
            nothing to weigh.
    """

    def __init__(
        self,
        optimizer: keras.optimizers.Optimizer,
        num_replicas: int = 1,
        clip_num_steps: int | None = None,
        weigh_tokens: bool = True,
    ) -> None:
        self._optimizer = optimizer
        self._inner: Any = getattr(optimizer, "inner_optimizer", optimizer)
        # `FusedAdam` sums over the replicas itself.
        self._num_shares = 1 if isinstance(self._inner, FusedAdam) else num_replicas
        self._clip_num_steps = clip_num_steps
        self._accumulation_steps = self._inner.gradient_accumulation_steps or 1
        self._batch_tokens: Any = None
        self.num_tokens: tf.Variable | None = None
        hooks: dict[str, Any] = {}
        if weigh_tokens and self._accumulation_steps > 1:
            self.num_tokens = tf.Variable(
                0.0,
                trainable=False,
                synchronization=tf.VariableSynchronization.ON_READ,
                aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
            )
            hooks["_update_model_variables_moving_average"] = self._move_average
        if self.num_tokens is not None or clip_num_steps or self._num_shares > 1:
            hooks["_clip_gradients"] = self._clip
        # WORKAROUND(keras<=3.15.1): there is no public place between the accumulation of gradients
        # and their clipping.
        for name in ("_clip_gradients", "_update_model_variables_moving_average"):
            vars(self._inner).pop(name, None)  # of an earlier `compile`
            if name in hooks:
                setattr(self._inner, name, hooks[name])

    def apply(
        self, gradients: Sequence[tf.Tensor], weights: Sequence[Any], num_tokens: tf.Tensor
    ) -> None:
        """Update the weights, or accumulate.

        Args:
            gradients: of each weight, dense. Their sum over the replicas is the gradient of the
                mean over the tokens of a batch.
            weights: the trainable weights.
            num_tokens: float32 scalar: the tokens of the batch on all replicas, at least 1.
        """
        if self._num_shares > 1:
            # Equal shares, so that all replicas clip the same, and agree on what is finite.
            gradients = [
                gradient / self._num_shares for gradient in sum_over_replicas(list(gradients))
            ]
        self._batch_tokens = num_tokens = tf.cast(num_tokens, tf.float32)
        if self.num_tokens is not None:
            self.num_tokens.assign_add(num_tokens)
            gradients = [_scaled(gradient, num_tokens) for gradient in gradients]
        self._optimizer.apply_gradients(zip(gradients, weights, strict=True))

    def _clip(self, gradients: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Clip as the optimizer's class does, but the gradient of the whole update."""
        # Of the gradients that come in to the token mean's, and from that to what is clipped.
        scale: Any = float(self._num_shares)
        num_tokens = self._batch_tokens
        if self.num_tokens is not None:
            num_tokens = self.num_tokens.read_value()
            scale *= tf.math.divide_no_nan(float(self._accumulation_steps), num_tokens)
            self.num_tokens.assign(0.0)
        clip_scale = num_tokens / self._clip_num_steps if self._clip_num_steps else 1.0
        scaled = [_scaled(gradient, scale * clip_scale) for gradient in gradients]
        clipped = type(self._inner)._clip_gradients(self._inner, scaled)
        back = tf.math.divide_no_nan(1.0, clip_scale * self._num_shares)
        return [_scaled(gradient, back) for gradient in clipped]

    def _move_average(self, weights: Sequence[Any]) -> None:
        """Move the average of the weights as Keras does, but with updates only."""
        optimizer = self._inner
        if not optimizer.use_ema:
            return
        batches = optimizer._iterations + 1  # without the underscore, Keras counts updates
        updates = batches % self._accumulation_steps == 0
        # It starts as the weights, and again as those after the first update.
        starts = (batches == 1) | (batches == self._accumulation_steps)
        momentum = tf.where(starts, 0.0, tf.where(updates, optimizer.ema_momentum, 1.0))
        averages = optimizer._model_variables_moving_average
        for weight, average in zip(weights, averages, strict=True):
            share = tf.cast(momentum, average.dtype)
            average.assign(share * average + (1 - share) * weight)


def _scaled(gradient: tf.Tensor, factor: Any) -> tf.Tensor:
    return gradient * tf.cast(factor, gradient.dtype)
