"""Adam with one fused kernel per variable, and a warm-up learning rate schedule."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_s2s.utils.dtypes import sum_dtype


@keras.saving.register_keras_serializable(package="keras_s2s")
class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up, followed by a constant rate or inverse square root decay.

    Args:
        learning_rate: the peak rate.
        warmup_steps: number of steps until the peak.
        decay: whether the rate then falls with 1 / sqrt(step) (Vaswani et al., 2017) or stays
            constant. Keras's own schedules cover other decays.
        hold_steps: number of steps, with those of the warm-up, before the rate falls. The decay
            starts at the longer of both; without either, it is 1 / sqrt(step) from the first step.

    Example:

    >>> schedule = WarmUp(0.01, warmup_steps=100, decay=True)
    >>> [round(float(schedule(step)), 4) for step in (0, 50, 100, 400)]
    [0.0001, 0.0051, 0.01, 0.005]
    """

    def __init__(
        self, learning_rate: float, warmup_steps: int, decay: bool = False, hold_steps: int = 0
    ) -> None:
        self.learning_rate = learning_rate
        self.warmup_steps = warmup_steps
        self.decay = decay
        self.hold_steps = hold_steps

    def __call__(self, step: Any) -> tf.Tensor:
        # Steps count from 0; a learning rate of 0 would waste the first one.
        step = tf.cast(step, tf.float32)
        warmup_steps = tf.cast(max(self.warmup_steps, 1), tf.float32)
        factor = tf.minimum((step + 1) / warmup_steps, 1.0)
        if self.decay:
            decay_start = tf.maximum(warmup_steps, tf.cast(self.hold_steps, tf.float32))
            decayed = tf.sqrt(decay_start / tf.maximum(step, 1))
            factor = tf.where(step >= decay_start, decayed, factor)
        return self.learning_rate * factor

    def get_config(self) -> dict[str, Any]:
        return {
            "learning_rate": self.learning_rate,
            "warmup_steps": self.warmup_steps,
            "decay": self.decay,
            "hold_steps": self.hold_steps,
        }


def sum_over_replicas(values: Any) -> Any:
    """Return the sums of a tensor, or a list of them, over all replicas."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return values
    return context.all_reduce(tf.distribute.ReduceOp.SUM, values)


class SkippedSteps:
    """Counters of the optimizer steps skipped because of a non-finite gradient.

    Not a trackable object: these variables are in no checkpoint, `.keras` file or export.

    Attributes:
        count: int64 variable: number of steps skipped so far.
        iteration: int64 variable: the batch of the last skipped step, counted from 0; -1 before
            the first.
        norm: float32 variable: the global gradient norm of that step.
    """

    def __init__(self) -> None:
        per_replica: dict[str, Any] = {
            "trainable": False,
            "synchronization": tf.VariableSynchronization.ON_READ,
            "aggregation": tf.VariableAggregation.ONLY_FIRST_REPLICA,
        }
        self.count = tf.Variable(0, dtype=tf.int64, **per_replica)
        self.iteration = tf.Variable(-1, dtype=tf.int64, **per_replica)
        self.norm = tf.Variable(0.0, **per_replica)


@keras.saving.register_keras_serializable(package="keras_s2s")
class FusedAdam(keras.optimizers.Adam):
    """`keras.optimizers.Adam` with a fused update, which skips non-finite gradients.

    Keras updates a variable in nine operations, each of which reads and writes as many values as
    the variable has: a third of the training step of a model of a few million parameters.
    TensorFlow's `ResourceApplyAdam` does the same in one. A single non-finite gradient would
    spoil all weights, because clipping divides every gradient by the global norm; such steps
    leave weights and slots as they are and are counted in `skipped_steps`.

    Arguments, variables and their order are those of `keras.optimizers.Adam`, so that each can
    load the other's state. Gradients are summed over the replicas before they are clipped, and
    every replica then makes the same update. `amsgrad` is not supported. The update of a variable
    in half precision is computed in float32, with slots in float32.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.amsgrad:
            raise ValueError("FusedAdam has no amsgrad; use keras.optimizers.Adam(amsgrad=True)")
        self.skipped_steps = SkippedSteps()

    def add_variable(self, *args: Any, dtype: Any = None, **options: Any) -> keras.Variable:
        # WORKAROUND(keras<=3.15.1): slots have the dtype of their variable, and in half precision
        # the squares of small gradients are 0.
        if dtype is not None and tf.as_dtype(dtype).is_floating:
            dtype = sum_dtype(dtype).name
        return super().add_variable(*args, dtype=dtype, **options)

    def _backend_apply_gradients(
        self, grads: Sequence[tf.Tensor], trainable_variables: Sequence[Any]
    ) -> None:
        # WORKAROUND(keras<=3.15.1): Keras clips the gradients of each replica and sums them
        # afterwards, so that the step depends on the number of replicas.
        super()._backend_apply_gradients(sum_over_replicas(list(grads)), trainable_variables)

    def _clip_gradients(self, grads: Sequence[tf.Tensor]) -> Sequence[tf.Tensor]:
        # `tf.linalg.global_norm` needs no memory for the squares, unlike Keras's. In half precision
        # they overflow.
        wide = [tf.cast(gradient, sum_dtype(gradient.dtype)) for gradient in grads]
        self._global_norm = norm = tf.linalg.global_norm(wide)
        if self.clipnorm or not self.global_clipnorm:
            return super()._clip_gradients(grads)
        # Skip the no-op scaling to avoid rewriting all gradients.
        return tf.cond(
            norm <= self.global_clipnorm,
            lambda: wide,
            lambda: tf.clip_by_global_norm(wide, self.global_clipnorm, norm)[0],
        )

    def _backend_update_step(
        self, grads: Sequence[tf.Tensor], trainable_variables: Sequence[Any], learning_rate: Any
    ) -> None:
        scalars = self._scalars(trainable_variables, learning_rate)

        def update() -> tf.Tensor:
            for gradient, variable in zip(grads, trainable_variables, strict=True):
                self._fused_update(gradient, variable, scalars)
            return self.skipped_steps.count.read_value()

        def skip() -> tf.Tensor:
            # Not `iterations`, which counts updates with gradient accumulation.
            self.skipped_steps.iteration.assign(tf.cast(self._iterations, tf.int64))
            self.skipped_steps.norm.assign(tf.cast(self._global_norm, tf.float32))
            return self.skipped_steps.count.assign_add(1)

        tf.cond(tf.math.is_finite(self._global_norm), update, skip)

    def update_step(self, gradient: tf.Tensor, variable: Any, learning_rate: Any) -> None:
        scalars = self._scalars([variable], learning_rate)
        self._fused_update(gradient, variable, scalars)

    def _scalars(
        self, variables: Sequence[Any], learning_rate: Any
    ) -> dict[tf.DType, dict[str, tf.Tensor]]:
        """Return the inputs of `ResourceApplyAdam` that all variables of a dtype share."""
        scalars = {}
        for dtype in {sum_dtype(variable.dtype) for variable in variables}:
            step = tf.cast(self.iterations + 1, dtype)
            scalars[dtype] = {
                "lr": tf.cast(learning_rate, dtype),
                "beta1_power": self.beta_1**step,
                "beta2_power": self.beta_2**step,
                "beta1": tf.constant(self.beta_1, dtype),
                "beta2": tf.constant(self.beta_2, dtype),
                "epsilon": tf.constant(self.epsilon, dtype),
            }
        return scalars

    def _fused_update(
        self, gradient: tf.Tensor, variable: Any, scalars: dict[tf.DType, dict[str, tf.Tensor]]
    ) -> None:
        index = self._get_variable_index(variable)
        if isinstance(variable, keras.Variable):
            variable = variable.value
        slots = [slot[index].value for slot in (self._momentums, self._velocities)]
        dtype = sum_dtype(variable.dtype)
        gradient = tf.cast(gradient, dtype)
        if variable.dtype != dtype:
            _update_in_half_precision(gradient, variable, *slots, **scalars[dtype])
            return
        momentum, velocity = (slot.handle for slot in slots)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle, m=momentum, v=velocity, grad=gradient, **scalars[dtype]
        )

    def _backend_increment_gradient_accumulators(
        self, grads: Sequence[tf.Tensor], acc_grads: Sequence[Any]
    ) -> None:
        # Within the replica: the gradients are those of all replicas already.
        for gradient, accumulator in zip(grads, acc_grads, strict=True):
            accumulator.assign_add(tf.cast(gradient, accumulator.dtype))


def _update_in_half_precision(
    gradient: tf.Tensor,
    variable: tf.Variable,
    momentum: tf.Variable,
    velocity: tf.Variable,
    lr: tf.Tensor,
    beta1_power: tf.Tensor,
    beta2_power: tf.Tensor,
    beta1: tf.Tensor,
    beta2: tf.Tensor,
    epsilon: tf.Tensor,
) -> None:
    """Compute an update of Adam in the gradient's dtype, and round it to the variable's."""
    # WORKAROUND(keras<=3.15.1, tensorflow<=2.21): in bfloat16, 0.999 is 1; an update computed in
    # it, by Keras or the kernel, moves no variable.
    m, v, value = (
        tf.cast(tf.convert_to_tensor(old), gradient.dtype) for old in (momentum, velocity, variable)
    )
    m = m + (1 - beta1) * (gradient - m)
    v = v + (1 - beta2) * (tf.square(gradient) - v)
    step = lr * tf.sqrt(1 - beta2_power) / (1 - beta1_power) * m / (tf.sqrt(v) + epsilon)
    momentum.assign(tf.cast(m, momentum.dtype))
    velocity.assign(tf.cast(v, velocity.dtype))
    variable.assign(tf.cast(value - step, variable.dtype))


def set_fused(optimizer: keras.optimizers.Optimizer, fused: bool) -> None:
    """Turn a Keras Adam into a `FusedAdam`, or back; leave any other optimizer as it is.

    The class of the instance changes, rather than a `FusedAdam` being made of its config: the
    caller's optimizer stays the one that the model trains with (its learning rate can be set,
    its iterations read), and a built one keeps its variables, their names and their values.

    Args:
        optimizer: an Adam, or a `LossScaleOptimizer` around one.
        fused: whether it should be a `FusedAdam`.
    """
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    if fused and type(inner) is keras.optimizers.Adam and not inner.amsgrad:
        inner.__class__ = FusedAdam
        inner.skipped_steps = SkippedSteps()
    elif not fused and type(inner) is FusedAdam:
        inner.__class__ = keras.optimizers.Adam
