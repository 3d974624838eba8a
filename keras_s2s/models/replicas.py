"""A model on several devices or machines: what each of its replicas gets, and Keras's gaps there.

`tf.distribute` calls each copy of a model a replica, one for each device.
"""

from collections.abc import Iterable
from typing import Any

import keras
import tensorflow as tf

# An odd number that is far from what Keras adds to its random states.
REPLICA_STRIDE = 0x3C6EF35F


class MultiWorkerMixin:
    """Lets a Keras model that is built beforehand train under `MultiWorkerMirroredStrategy`.

    Keras 3 stops it twice (its issue #20585). It makes a symbolic call of the first batch before
    `fit`, which fails for the batches of several workers, and under any strategy takes a batch and
    an order of the data that training then lacks; a model that has its weights needs no such call.
    And it averages what a step logs along an axis that numbers do not have.
    """

    # Newer Keras than 3 may do all this by itself: look, and leave this class out.
    KERAS = 3

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        if int(keras.__version__.partition(".")[0]) > self.KERAS:
            super()._maybe_symbolic_build(iterator, data_batch)  # type: ignore[misc]

    def step_logs(self, logs: dict[str, Any]) -> dict[str, Any]:
        """What a training or test step gives back, with an axis where Keras averages along one."""
        strategy = tf.distribute.get_strategy()
        if not has_several_workers(strategy):
            return logs
        return {name: tf.reshape(value, (1,)) for name, value in logs.items()}


def has_several_workers(strategy: tf.distribute.Strategy) -> bool:
    """Whether processes of their own, mostly on several machines, train together."""
    return (
        isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
        and len(tf.nest.flatten(strategy.cluster_resolver.cluster_spec().as_dict())) > 1
    )


def decorrelate_dropout(layers: Iterable[keras.layers.Layer]) -> None:
    """Makes the dropout of each replica another one.

    Keras gives all replicas the same random states, and so the same rows of their batches would
    lose the same values. The states stay the same, so that one saved is good for all.
    """
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
    """Divides each batch of a dataset among the replicas, exactly and in order.

    Replica r of n gets the rows r, r + n, r + 2n, and so on; none, where the batch is too small.
    TensorFlow's own way cuts batches whose size it cannot know beforehand, as those of
    `bucket_by_length`, differently on several workers than on several devices.

    Args:
        data: a dataset of batches; each worker needs the same. Anything else is given back.
        strategy: of the model.

    Returns:
        A distributed dataset of as many elements.
    """
    if strategy.num_replicas_in_sync == 1 or not isinstance(data, tf.data.Dataset):
        return data

    def of_worker(context: tf.distribute.InputContext) -> tf.data.Dataset:
        replicas = context.num_replicas_in_sync
        here = replicas // context.num_input_pipelines
        first = context.input_pipeline_id * here

        def of_replicas(*batch: Any) -> tf.data.Dataset:
            element = batch if isinstance(data.element_spec, tuple) else batch[0]
            return tf.data.Dataset.range(first, first + here).map(
                lambda replica: tf.nest.map_structure(
                    lambda column: column[replica::replicas], element
                )
            )

        return data.flat_map(of_replicas).prefetch(2 * here)

    distributed = strategy.distribute_datasets_from_function(of_worker)
    # It counts the parts of a worker's replicas; Keras wants to know how many steps they make.
    distributed._cardinality = int(data.cardinality())
    return distributed
