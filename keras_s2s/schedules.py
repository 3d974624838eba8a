"""Learning rates that Keras has no schedule for."""

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="keras_s2s")
class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """Rises from zero in a straight line, and then stays or falls with the root of the steps.

    Args:
        learning_rate: the highest one.
        warmup_steps: how many steps until there.
        decay: whether it falls afterwards, as one over the square root of the step (Vaswani et
            al., 2017), or stays. Keras's own schedules cover other ways to fall.

    Example:

    >>> schedule = WarmUp(0.01, warmup_steps=100, decay=True)
    >>> [round(float(schedule(step)), 4) for step in (0, 50, 100, 400)]
    [0.0001, 0.0051, 0.01, 0.005]
    """

    def __init__(self, learning_rate: float, warmup_steps: int, decay: bool = False) -> None:
        self.learning_rate = learning_rate
        self.warmup_steps = warmup_steps
        self.decay = decay

    def __call__(self, step: Any) -> tf.Tensor:
        # The first step is number 0, and a learning rate of nothing would waste it.
        step = tf.cast(step, tf.float32)
        warmup_steps = tf.cast(max(self.warmup_steps, 1), tf.float32)
        share = tf.minimum((step + 1) / warmup_steps, 1.0)
        if self.decay:
            falling = tf.sqrt(warmup_steps / tf.maximum(step, 1))
            share = tf.where(step >= warmup_steps, falling, share)
        return self.learning_rate * share

    def get_config(self) -> dict[str, Any]:
        return {
            "learning_rate": self.learning_rate,
            "warmup_steps": self.warmup_steps,
            "decay": self.decay,
        }
