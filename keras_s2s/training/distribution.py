"""The distribution strategy at work: devices, worker processes, and what they agree on."""

import contextlib
import functools
import hashlib
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_s2s.training.cluster import Cluster, DistributionConfig, read_cluster
from keras_s2s.training.worker_monitor import WorkerMonitor
from keras_s2s.utils.errors import InputError

# Logical CPU devices are for trying distribution out; TensorFlow takes minutes to make thousands.
MAX_CPU_DEVICES = 64


class Workers:
    """The worker processes of a training run with their devices; by default one of each."""

    def __init__(
        self,
        strategy: tf.distribute.Strategy | None = None,
        cluster: Cluster | None = None,
        monitor: WorkerMonitor | None = None,
    ) -> None:
        self.strategy, self.cluster, self._monitor = strategy, cluster, monitor
        self._sum: Any = None

    @property
    def is_chief(self) -> bool:
        """True in the process that writes the run directory."""
        return self.cluster is None or self.cluster.is_chief

    @property
    def num_replicas(self) -> int:
        """Devices of all processes."""
        return 1 if self.strategy is None else self.strategy.num_replicas_in_sync

    def scope(self) -> contextlib.AbstractContextManager[Any]:
        """Return the scope that the model and its optimizer have to be created in."""
        return contextlib.nullcontext() if self.strategy is None else self.strategy.scope()

    def all_gather(self, values: Sequence[float]) -> np.ndarray:
        """Gather the values of all workers; a collective operation.

        Returns:
            float64 array (workers, values).
        """
        if self.cluster is None or self.strategy is None or len(self.cluster.workers) == 1:
            return np.array([values], np.float64)
        num_workers = len(self.cluster.workers)
        rows = np.zeros((num_workers, len(values)))
        rows[self.cluster.rank] = values
        replicas_per_worker = self.strategy.num_replicas_in_sync // num_workers

        def value_of_replica(context: Any) -> tf.Tensor:
            is_first = context.replica_id_in_sync_group % replicas_per_worker == 0
            return tf.constant(rows if is_first else np.zeros_like(rows), tf.float64)

        per_replica = self.strategy.experimental_distribute_values_from_function(value_of_replica)
        if self._sum is None:
            reduce = functools.partial(self.strategy.reduce, tf.distribute.ReduceOp.SUM, axis=None)
            self._sum = tf.function(reduce, autograph=False)
        return self._sum(per_replica).numpy()

    def broadcast(self, values: Sequence[float]) -> list[float]:
        """Return the chief's values on all workers; a collective operation."""
        return self.all_gather(values)[0].tolist()

    def barrier(self) -> None:
        """Wait until all workers get here."""
        self.all_gather([0.0])

    def assert_equal(self, **texts: str) -> None:
        """Check that all workers have the same texts; a collective operation.

        Raises:
            InputError: a text differs from the chief's.
        """
        digests = [
            float(int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big"))
            for text in texts.values()
        ]
        rows = self.all_gather(digests)
        for rank, row in enumerate(rows):
            differing = [name for name, same in zip(texts, row == rows[0], strict=True) if not same]
            if differing and self.cluster is not None:
                raise InputError(
                    f"{self.cluster.workers[rank]} and {self.cluster.workers[0]} differ in "
                    f"{' and '.join(differing)}; start all workers with the same command, corpus "
                    "and run directory"
                )

    @contextlib.contextmanager
    def translate_errors(self) -> Iterator[None]:
        """Turn TensorFlow's errors about a lost worker into `WorkerLost`."""
        try:
            yield
        except (tf.errors.OpError, RuntimeError) as error:
            out_of_memory = isinstance(error, tf.errors.ResourceExhaustedError)
            if self._monitor is None or out_of_memory:
                raise
            raise self._monitor.stop() from error


class SyncLogsFromChief(keras.callbacks.Callback):
    """Replace the logs of an epoch by the chief's on all workers.

    Throughput differs, and CPUs of different makes may translate a sentence differently; if early
    stopping decided otherwise on one worker, the others would wait for it forever.
    """

    def __init__(self, workers: Workers) -> None:
        super().__init__()
        self._workers = workers

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if logs:
            names = sorted(logs)
            values = self._workers.broadcast([float(logs[name]) for name in names])
            logs.update(zip(names, values, strict=True))


@contextlib.contextmanager
def start_workers(distribution: DistributionConfig) -> Iterator[Workers]:
    """Set up the devices and processes of a training run.

    Raises:
        InputError: they are not available.
        WorkerLost: another worker did not start, or ended.
    """
    distribution.validate()
    if distribution.strategy == "none":
        yield Workers()
    elif distribution.strategy == "mirrored":
        yield Workers(tf.distribute.MirroredStrategy(_mirrored_devices(distribution.num_devices)))
    else:
        cluster = read_cluster(os.environ)
        monitor = WorkerMonitor(cluster, distribution.worker_timeout)
        monitor.wait_for_all()
        with monitor:
            with _default_sigint():
                strategy = tf.distribute.MultiWorkerMirroredStrategy()
            workers = Workers(strategy, cluster, monitor)
            with workers.translate_errors():
                yield workers


def _mirrored_devices(requested: int | None) -> list[str]:
    """Return the names of the devices for `mirrored`."""
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        if requested is not None and requested > len(gpus):
            raise InputError(
                f"num_devices is {requested}, and this machine has {len(gpus)} GPUs; give at most "
                f"{len(gpus)}"
            )
        return [f"GPU:{index}" for index in range(requested or len(gpus))]
    if requested is None:
        raise InputError(
            "strategy mirrored found no GPU; give num_devices 2 to try it on two logical CPU "
            "devices, or omit strategy"
        )
    if requested > MAX_CPU_DEVICES:
        raise InputError(
            f"num_devices is {requested}; without a GPU, give at most {MAX_CPU_DEVICES}"
        )
    cpu = tf.config.list_physical_devices("CPU")[0]
    try:
        if len(tf.config.get_logical_device_configuration(cpu) or [None]) != requested:
            tf.config.set_logical_device_configuration(
                cpu, [tf.config.LogicalDeviceConfiguration()] * requested
            )
    except RuntimeError as error:
        raise InputError(
            f"TensorFlow is initialized already and cannot divide the CPU into {requested} logical "
            "devices any more; train in a new process"
        ) from error
    return [f"CPU:{index}" for index in range(requested)]


@contextlib.contextmanager
def _default_sigint() -> Iterator[None]:
    """Let Ctrl-C end the process while TensorFlow blocks in C++, where no Python handler runs."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
