"""Adam's step as one operation for each variable."""

import functools
from typing import Any

import keras
import tensorflow as tf


def update_in_one_operation(optimizer: keras.optimizers.Optimizer) -> None:
    """Makes Keras's Adam update each variable with TensorFlow's operation for that.

    Keras computes the same in nine operations, each of which reads and writes as many numbers as
    the variable has; that is a third of a training step of a model of a few million parameters.
    Any other optimizer, and what Adam does besides (clipping, decay, averages), stays as it is.
    """
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    if type(inner) is keras.optimizers.Adam and not inner.amsgrad:
        # The method of this one object, so that its class, which is saved with it, stays Keras's.
        object.__setattr__(inner, "update_step", functools.partial(_update_step, inner))


def _update_step(
    optimizer: keras.optimizers.Adam,
    gradient: tf.Tensor,
    variable: tf.Variable,
    learning_rate: Any,
) -> None:
    """As `keras.optimizers.Adam.update_step`."""
    index = optimizer._get_variable_index(variable)
    slots = optimizer._momentums[index], optimizer._velocities[index]
    momentum, velocity = (slot.value.handle for slot in slots)
    step = tf.cast(optimizer.iterations + 1, variable.dtype)
    beta_1, beta_2 = (
        tf.constant(beta, variable.dtype) for beta in (optimizer.beta_1, optimizer.beta_2)
    )
    tf.raw_ops.ResourceApplyAdam(
        var=variable.handle,
        m=momentum,
        v=velocity,
        beta1_power=beta_1**step,
        beta2_power=beta_2**step,
        lr=tf.cast(learning_rate, variable.dtype),
        beta1=beta_1,
        beta2=beta_2,
        epsilon=tf.constant(optimizer.epsilon, variable.dtype),
        grad=tf.cast(gradient, variable.dtype),
    )
