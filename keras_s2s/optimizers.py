"""Adam's step as one operation for each variable, and none where a gradient is no number."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf


def update_in_one_operation(optimizer: keras.optimizers.Optimizer) -> "FusedAdam | None":
    """Makes Keras's Adam update each variable with TensorFlow's operation for that.

    Keras computes the same in nine operations, each of which reads and writes as many numbers as
    the variable has; that is a third of a training step of a model of a few million parameters.
    Any other optimizer, and what Adam does besides (clipping, decay, averages), stays as it is.

    Returns:
        What tells of the steps that were left out; None for any other optimizer.
    """
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    if type(inner) is not keras.optimizers.Adam or inner.amsgrad:
        return None
    return FusedAdam(inner)


class FusedAdam:
    """Keras's Adam with a faster step, which leaves out gradients that are no number.

    One of them would spoil all weights: clipping divides everything by the norm of everything.
    With several replicas each needs the gradients of all, added up, and each does the same step,
    so that nothing has to be exchanged here.

    Args:
        optimizer: gets other methods. Only this one object, so that its class, which is saved
            with it, stays Keras's.

    Attributes:
        left_out: int64 variable: how many steps were left out so far.
        iteration: int64 variable: the last of them, counted from 0.
        norm: float32 variable: the gradient's norm in that one.
    """

    def __init__(self, optimizer: keras.optimizers.Adam) -> None:
        self._optimizer = optimizer
        self._norm: tf.Tensor | None = None
        each_its_own: dict[str, Any] = {
            "trainable": False,
            "synchronization": tf.VariableSynchronization.ON_READ,
            "aggregation": tf.VariableAggregation.ONLY_FIRST_REPLICA,
        }
        self.left_out = tf.Variable(0, dtype=tf.int64, **each_its_own)
        self.iteration = tf.Variable(-1, dtype=tf.int64, **each_its_own)
        self.norm = tf.Variable(0.0, **each_its_own)
        for name, method in (
            ("_clip_gradients", self._clip_gradients),
            ("_backend_update_step", self._update_all),
            ("_backend_increment_gradient_accumulators", self._accumulate),
            ("update_step", self._update_step),
        ):
            object.__setattr__(optimizer, name, method)

    def _clip_gradients(self, gradients: Sequence[tf.Tensor]) -> Sequence[tf.Tensor]:
        """As Keras's, with TensorFlow's operation for the norm, which writes no squares."""
        optimizer = self._optimizer
        self._norm = tf.linalg.global_norm(gradients)
        if optimizer.clipnorm or not optimizer.global_clipnorm:
            return type(optimizer)._clip_gradients(optimizer, gradients)
        limit = optimizer.global_clipnorm
        # To multiply by one would be to write all of them once more.
        return tf.cond(
            self._norm <= limit,
            lambda: list(gradients),
            lambda: tf.clip_by_global_norm(gradients, limit, self._norm)[0],
        )

    def _update_all(
        self, gradients: Sequence[tf.Tensor], variables: Sequence[Any], learning_rate: Any
    ) -> None:
        """As Keras's, but what is the same for all variables is computed only once."""
        optimizer = self._optimizer
        step = tf.cast(optimizer.iterations + 1, tf.float32)
        scalars = {
            "lr": tf.cast(learning_rate, tf.float32),
            "beta1_power": optimizer.beta_1**step,
            "beta2_power": optimizer.beta_2**step,
            "beta1": tf.constant(optimizer.beta_1),
            "beta2": tf.constant(optimizer.beta_2),
            "epsilon": tf.constant(optimizer.epsilon),
        }

        def update() -> tf.Tensor:
            for gradient, variable in zip(gradients, variables, strict=True):
                self._update_step(gradient, variable, scalars)
            return self.left_out.read_value()

        def leave_out() -> tf.Tensor:
            self.iteration.assign(tf.cast(optimizer.iterations, tf.int64))
            self.norm.assign(self._norm)
            return self.left_out.assign_add(1)

        tf.cond(tf.math.is_finite(self._norm), update, leave_out)

    def _update_step(
        self, gradient: tf.Tensor, variable: Any, scalars: dict[str, tf.Tensor]
    ) -> None:
        """As `keras.optimizers.Adam.update_step`."""
        optimizer = self._optimizer
        index = optimizer._get_variable_index(variable)
        slots = optimizer._momentums[index], optimizer._velocities[index]
        momentum, velocity = (slot.value.handle for slot in slots)
        if isinstance(variable, keras.Variable):
            variable = variable.value
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=momentum,
            v=velocity,
            grad=tf.cast(gradient, variable.dtype),
            **{name: tf.cast(value, variable.dtype) for name, value in scalars.items()},
        )

    def _accumulate(self, gradients: Sequence[tf.Tensor], sums: Sequence[Any]) -> None:
        """As Keras's, within a replica."""
        for gradient, total in zip(gradients, sums, strict=True):
            total.assign_add(gradient)
