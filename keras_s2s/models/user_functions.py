"""A loss and metrics of the caller's, as arguments of `compile`."""

import inspect
from collections.abc import Iterable
from typing import Any

import keras
import tensorflow as tf

from keras_s2s.utils.errors import InputError, one_line

# The names of the values that every log has.
BUILT_IN_NAMES = ("loss", "accuracy", "perplexity", "tokens_per_second")
# Strings in `metrics` for what is logged anyway.
BUILT_IN_METRICS = ("accuracy", "perplexity")
# Keras's reductions whose result is a mean.
MEAN_REDUCTIONS = ("sum_over_batch_size", "mean", "mean_with_sample_weight", "none", None)


class UserFunctions:
    """A loss and metrics of labels, logits and mask.

    They are called with labels, integers of shape (batch, target steps - 1), and logits, (batch,
    target steps - 1, vocab_size). Metrics also get `sample_weight`, (batch, target steps - 1): 0
    at padding, and elsewhere 1 or, for weighted metrics, the weight of the token.

    Args:
        loss: a `keras.losses.Loss`, or a function of labels and logits, that returns a loss for
            each token, (batch, steps); None for the cross-entropy of the model.
        metrics: metrics, functions of labels and logits, or names of Keras's; built-in ones are
            ignored.
        weighted_metrics: likewise, weighted by `sample_weight`.
        vocab_size: number of target tokens.
        dtype: of the logits.

    Raises:
        InputError: a loss or metric that cannot work, such as one that takes probabilities.
    """

    # Not a tracked object of Keras's: the state of metrics is in no file.

    def __init__(
        self, loss: Any, metrics: Any, weighted_metrics: Any, vocab_size: int, dtype: Any
    ) -> None:
        self._arguments = {"loss": loss, "metrics": metrics, "weighted_metrics": weighted_metrics}
        self.loss = _check_loss(loss)
        self.metrics = _to_metrics("metrics", metrics)
        self.weighted_metrics = _to_metrics("weighted_metrics", weighted_metrics)
        names = [metric.name for metric in self.all_metrics]
        for name in names:
            if name in BUILT_IN_NAMES or names.count(name) > 1:
                reason = "is in the logs already" if name in BUILT_IN_NAMES else "occurs twice"
                raise InputError(f"metrics: the name {name!r} {reason}; give name='another'")
        self._try(vocab_size, dtype)

    def _try(self, vocab_size: int, dtype: Any) -> None:
        """Call all once, which creates the variables of metrics before a step is traced."""
        labels = tf.zeros((2, 3), tf.int32)
        logits = tf.zeros((2, 3, vocab_size), dtype)
        try:
            self.token_losses(labels, logits)
            self.update_metrics(labels, logits, tf.ones((2, 3), tf.bool), None)
        except InputError:
            raise
        except Exception as error:  # whatever a function of the caller's raises
            raise InputError(
                f"the loss or a metric fails on labels of the shape {labels.shape} and logits "
                f"{logits.shape}: {one_line(error, 200)}"
            ) from error
        for metric in self.all_metrics:
            metric.reset_state()

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of `compile` that were given, serialized."""
        return {
            name: keras.saving.serialize_keras_object(value)
            for name, value in self._arguments.items()
            if value is not None
        }

    @property
    def all_metrics(self) -> list[keras.metrics.Metric]:
        return [*self.metrics, *self.weighted_metrics]

    def token_losses(self, labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor | None:
        """Return the loss of each token, (batch, steps); None without a loss."""
        if self.loss is None:
            return None
        is_object = isinstance(self.loss, keras.losses.Loss)
        losses = (self.loss.call if is_object else self.loss)(labels, logits)
        losses = tf.convert_to_tensor(losses)
        if not losses.shape.is_compatible_with(labels.shape) or losses.shape.rank != 2:
            raise InputError(
                f"loss returns the shape {losses.shape} for labels of the shape {labels.shape}; "
                "return a loss for each token, (batch, steps), without a mean"
            )
        return losses

    def update_metrics(
        self, labels: tf.Tensor, logits: tf.Tensor, mask: tf.Tensor, weights: tf.Tensor | None
    ) -> None:
        """Add a batch to the metrics.

        Args:
            labels: integers, (batch, steps).
            logits: float, (batch, steps, vocab_size).
            mask: bool, (batch, steps): false at padding.
            weights: float, (batch, steps), or None.
        """
        # No gradient is taken through metrics.
        logits = tf.stop_gradient(logits)
        counts = tf.cast(mask, logits.dtype)
        for metric in self.metrics:
            metric.update_state(labels, logits, sample_weight=counts)
        if weights is not None:
            counts *= tf.cast(weights, counts.dtype)
        for metric in self.weighted_metrics:
            metric.update_state(labels, logits, sample_weight=counts)


def make_user_functions(
    loss: Any,
    metrics: Any,
    weighted_metrics: Any,
    vocab_size: int,
    dtype: Any,
    strategy: tf.distribute.Strategy,
) -> UserFunctions | None:
    """Return the loss and metrics of `compile`, None for only built-in ones."""
    if loss is metrics is weighted_metrics is None:
        return None
    with strategy.scope():
        functions = UserFunctions(loss, metrics, weighted_metrics, vocab_size, dtype)
    # WORKAROUND(keras<=3.15.1, keras#19891): on several replicas its metrics add up wrongly.
    if functions.all_metrics and strategy.num_replicas_in_sync > 1:
        raise InputError("metrics: those of Keras are wrong on several devices; leave them out")
    return functions if functions.loss is not None or functions.all_metrics else None


def _check_loss(loss: Any) -> Any:
    if loss is None:
        return None
    if isinstance(loss, (list, tuple, dict)):
        raise InputError("loss is nested; give one loss, or none for the cross-entropy")
    try:
        loss = keras.losses.get(loss)
    except ValueError as error:
        raise InputError(
            f"loss: {loss!r} is no loss of Keras's, nor a function; give one"
        ) from error
    _check_takes_logits("loss", loss)
    reduction = getattr(loss, "token_reduction", getattr(loss, "reduction", None))
    if reduction not in (*MEAN_REDUCTIONS, "token_mean"):
        raise InputError(
            f"loss has reduction={reduction!r}; the training step takes the mean over the tokens, "
            "so leave reduction out"
        )
    return loss


def _to_metrics(argument: str, metrics: Any) -> list[keras.metrics.Metric]:
    if metrics is None:
        return []
    if isinstance(metrics, (str, keras.metrics.Metric)) or not isinstance(metrics, Iterable):
        metrics = [metrics]
    if isinstance(metrics, dict) or any(isinstance(item, (list, tuple)) for item in metrics):
        raise InputError(f"{argument} are nested; give one list")
    return [_to_metric(argument, item) for item in metrics if item not in BUILT_IN_METRICS]


def _to_metric(argument: str, identifier: Any) -> keras.metrics.Metric:
    try:
        metric = keras.metrics.get(identifier)
    except ValueError as error:
        raise InputError(f"{argument}: {identifier!r} is no metric of Keras's; give one") from error
    if not isinstance(metric, keras.metrics.Metric):
        metric = keras.metrics.MeanMetricWrapper(metric, name=getattr(metric, "__name__", None))
    _check_takes_logits(argument, metric)
    parameters = inspect.signature(metric.update_state).parameters
    if "sample_weight" not in parameters and not any(
        parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()
    ):
        raise InputError(
            f"{argument}: update_state of {metric.name!r} has no argument sample_weight, which "
            "is 0 at padding; add it"
        )
    return metric


def _check_takes_logits(argument: str, function: Any) -> None:
    """Refuse the losses and metrics of Keras's that would take logits for probabilities."""
    is_object = isinstance(function, (keras.losses.Loss, keras.metrics.Metric))
    takes_probabilities = (
        function.get_config().get("from_logits") is False
        if is_object
        else inspect.isfunction(function)
        and "from_logits" in inspect.signature(function).parameters
    )
    if takes_probabilities:
        name = getattr(function, "name", getattr(function, "__name__", function))
        raise InputError(
            f"{argument}: {name!r} takes probabilities and the model returns logits; give "
            "keras.losses.SparseCategoricalCrossentropy(from_logits=True) or the like"
        )
