"""Training on several replicas, and the gaps of Keras and `tf.distribute` there.

`tf.distribute` calls each copy of a model a replica, one per device.
"""

from collections.abc import Iterable
from typing import Any

import keras
import tensorflow as tf

# Added to a random state per replica; odd, and far from the increments that Keras makes.
REPLICA_STRIDE = 0x3C6EF35F


class MultiWorkerMixin:
    """Let a Keras model that is built at construction train on several replicas and workers."""

    # The major version of Keras whose `_maybe_symbolic_build` is skipped.
    KERAS = 3

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        # WORKAROUND(keras<=3.15.1, keras#20585): before `fit`, Keras calls the model symbolically
        # on the first batch, which fails for per-replica batches of several workers, and under
        # any strategy consumes a batch that training then lacks. A built model needs no such call.
        if int(keras.__version__.partition(".")[0]) > self.KERAS:
            super()._maybe_symbolic_build(iterator, data_batch)  # type: ignore[misc]

    def step_logs(self, logs: dict[str, Any]) -> dict[str, Any]:
        """Return the logs of a training or test step in the shape that Keras reduces."""
        # WORKAROUND(keras<=3.15.1, keras#20585): with several workers Keras averages the logs
        # over axis 0, which scalars lack.
        if not has_several_workers(tf.distribute.get_strategy()):
            return logs
        return {name: tf.reshape(value, (1,)) for name, value in logs.items()}


def has_several_workers(strategy: tf.distribute.Strategy) -> bool:
    """Return whether several processes, usually on several machines, train together."""
    return (
        isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
        and len(tf.nest.flatten(strategy.cluster_resolver.cluster_spec().as_dict())) > 1
    )


def decorrelate_dropout(layers: Iterable[keras.layers.Layer]) -> None:
    """Give every replica its own dropout masks.

    The states of the generators stay the same on all replicas, so a checkpoint fits any of them.
    """
    # WORKAROUND(keras<=3.15.1): all replicas draw from the same random state, so the same rows
    # of their batches would lose the same values.
    for layer in layers:
        generator = getattr(layer, "seed_generator", None)
        if isinstance(layer, keras.layers.Dropout) and generator is not None:
            generator.next = _next_of_replica(type(generator).next, generator)


def _next_of_replica(draw: Any, generator: keras.random.SeedGenerator) -> Any:
    def next_of_replica(*args: Any, **kwargs: Any) -> tf.Tensor:
        seed = draw(generator, *args, **kwargs)
        context = tf.distribute.get_replica_context()
        if context is None:
            return seed
        replica = tf.cast(context.replica_id_in_sync_group, seed.dtype)
        return seed + replica * tf.constant([REPLICA_STRIDE, 0], seed.dtype)

    return next_of_replica


def distribute_dataset(data: Any, strategy: tf.distribute.Strategy) -> Any:
    """Divide each batch of a dataset among the replicas, exactly and in order.

    Replica r of n gets the rows r, r + n, r + 2n, …; none where the batch is too small.

    Args:
        data: a dataset of batches, the same on each worker; anything else is returned as it is.
        strategy: of the model.

    Returns:
        A distributed dataset with the same cardinality.
    """
    if strategy.num_replicas_in_sync == 1 or not isinstance(data, tf.data.Dataset):
        return data

    # WORKAROUND(tensorflow<=2.21): `experimental_distribute_dataset` splits batches of unknown
    # size, such as those of `bucket_by_length`, differently on several workers than on several
    # devices.
    def worker_dataset(context: tf.distribute.InputContext) -> tf.data.Dataset:
        num_replicas = context.num_replicas_in_sync
        replicas_here = num_replicas // context.num_input_pipelines
        first = context.input_pipeline_id * replicas_here

        def split(*batch: Any) -> tf.data.Dataset:
            element = batch if isinstance(data.element_spec, tuple) else batch[0]
            return tf.data.Dataset.range(first, first + replicas_here).map(
                lambda replica: tf.nest.map_structure(
                    lambda column: column[replica::num_replicas], element
                )
            )

        return data.flat_map(split).prefetch(2 * replicas_here)

    distributed = strategy.distribute_datasets_from_function(worker_dataset)
    # It counts per-replica batches; Keras needs the number of steps.
    distributed._cardinality = int(data.cardinality())
    return distributed


def distribute_arguments(
    args: tuple[Any, ...], kwargs: dict[str, Any], strategy: tf.distribute.Strategy
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Divide the datasets in the arguments of `fit` or `evaluate`; see `distribute_dataset`."""
    datasets: dict[str, Any] = {
        name: distribute_dataset(kwargs[name], strategy)
        for name in ("x", "validation_data")
        if name in kwargs
    }
    if args:
        args = (distribute_dataset(args[0], strategy), *args[1:])
    return args, {**kwargs, **datasets}
