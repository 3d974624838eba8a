"""Adam's step as one operation for each variable."""

import functools
from collections.abc import Sequence
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
        # The methods of this one object, so that its class, which is saved with it, stays Keras's.
        for name, method in (
            ("_clip_gradients", _clip_gradients),
            ("_backend_update_step", _update_all),
            ("update_step", _update_step),
        ):
            object.__setattr__(inner, name, functools.partial(method, inner))


def _clip_gradients(
    optimizer: keras.optimizers.Adam, gradients: Sequence[tf.Tensor]
) -> Sequence[tf.Tensor]:
    """As Keras's, with TensorFlow's operation for the norm, which writes no squares."""
    if optimizer.clipnorm or not optimizer.global_clipnorm:
        return type(optimizer)._clip_gradients(optimizer, gradients)
    return tf.clip_by_global_norm(gradients, optimizer.global_clipnorm)[0]


def _update_all(
    optimizer: keras.optimizers.Adam,
    gradients: Sequence[tf.Tensor],
    variables: Sequence[Any],
    learning_rate: Any,
) -> None:
    """As Keras's, but what is the same for all variables is computed only once.

    It goes to `_update_step` where Keras has the learning rate.
    """
    step = tf.cast(optimizer.iterations + 1, tf.float32)
    scalars = {
        "lr": tf.cast(learning_rate, tf.float32),
        "beta1_power": optimizer.beta_1**step,
        "beta2_power": optimizer.beta_2**step,
        "beta1": tf.constant(optimizer.beta_1),
        "beta2": tf.constant(optimizer.beta_2),
        "epsilon": tf.constant(optimizer.epsilon),
    }
    type(optimizer)._backend_update_step(optimizer, gradients, variables, scalars)


def _update_step(
    optimizer: keras.optimizers.Adam,
    gradient: tf.Tensor,
    variable: tf.Variable,
    scalars: dict[str, tf.Tensor],
) -> None:
    """As `keras.optimizers.Adam.update_step`."""
    index = optimizer._get_variable_index(variable)
    slots = optimizer._momentums[index], optimizer._velocities[index]
    momentum, velocity = (slot.value.handle for slot in slots)
    tf.raw_ops.ResourceApplyAdam(
        var=variable.handle,
        m=momentum,
        v=velocity,
        grad=tf.cast(gradient, variable.dtype),
        **{name: tf.cast(value, variable.dtype) for name, value in scalars.items()},
    )
