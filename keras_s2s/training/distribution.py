"""What `--strategy` means: the devices and processes that a training runs on."""

import contextlib
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

# Of the processor, to try what several devices do; TensorFlow takes minutes for thousands of them.
MAX_CPU_DEVICES = 64


class Workers:
    """The processes that train together, each with its devices: mostly this one alone.

    Args:
        strategy: of TensorFlow; None for one device.
        cluster: where there are several processes.
        lookout: likewise.
    """

    def __init__(
        self,
        strategy: tf.distribute.Strategy | None = None,
        cluster: Cluster | None = None,
        lookout: WorkerMonitor | None = None,
    ) -> None:
        self.strategy, self.cluster, self._lookout = strategy, cluster, lookout
        self._add_up: Any = None

    @property
    def is_chief(self) -> bool:
        """Whether this process is the one that writes the run directory."""
        return self.cluster is None or self.cluster.is_chief

    @property
    def replicas(self) -> int:
        """Devices of all processes."""
        return 1 if self.strategy is None else self.strategy.num_replicas_in_sync

    def scope(self) -> contextlib.AbstractContextManager[Any]:
        """Where the model and its optimizer have to be made."""
        return contextlib.nullcontext() if self.strategy is None else self.strategy.scope()

    def all_gather(self, values: Sequence[float]) -> np.ndarray:
        """What each worker gave, (workers, values); all have to ask at the same place."""
        if self.cluster is None or self.strategy is None or len(self.cluster.workers) == 1:
            return np.array([values], np.float64)
        place, size = self.cluster.place, len(self.cluster.workers)
        rows = np.zeros((size, len(values)))
        rows[place] = values
        here = self.strategy.num_replicas_in_sync // size

        def of_replica(context: Any) -> tf.Tensor:
            first = context.replica_id_in_sync_group % here == 0
            return tf.constant(rows if first else np.zeros_like(rows), tf.float64)

        parts = self.strategy.experimental_distribute_values_from_function(of_replica)
        if self._add_up is None:
            self._add_up = tf.function(self._added_up)
        return self._add_up(parts).numpy()

    def _added_up(self, parts: Any) -> tf.Tensor:
        assert self.strategy is not None
        return self.strategy.reduce(tf.distribute.ReduceOp.SUM, parts, axis=None)

    def broadcast(self, values: Sequence[float]) -> list[float]:
        """What the chief gave; all have to ask at the same place."""
        return self.all_gather(values)[0].tolist()

    def barrier(self) -> None:
        """Goes on when all workers have come here."""
        self.all_gather([0.0])

    def assert_equal(self, **texts: str) -> None:
        """Makes sure that all workers are about to do the same.

        Args:
            **texts: by the name of each thing, what it is.

        Raises:
            InputError: a worker has something else than the chief.
        """
        numbers = [
            float(int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big"))
            for text in texts.values()
        ]
        found = self.all_gather(numbers)
        for place, row in enumerate(found):
            unlike = [name for name, same in zip(texts, row == found[0], strict=True) if not same]
            if unlike and self.cluster is not None:
                raise InputError(
                    f"{self.cluster.workers[place]} has another {' and '.join(unlike)} than "
                    f"{self.cluster.workers[0]}; give all workers the same command, corpus and "
                    "run directory"
                )

    @contextlib.contextmanager
    def translate_errors(self) -> Iterator[None]:
        """Says in a line when another worker is gone, as which TensorFlow's errors are taken."""
        try:
            yield
        except (tf.errors.OpError, RuntimeError) as error:
            out_of_memory = isinstance(error, tf.errors.ResourceExhaustedError)
            if self._lookout is None or out_of_memory:
                raise
            raise self._lookout.lost() from error


class SyncLogsFromChief(keras.callbacks.Callback):
    """Gives all workers the figures of an epoch that the chief has.

    Speed differs, and processors of different makes may translate a sentence differently; early
    stopping on one worker alone would leave the others waiting for it.

    Args:
        workers: those that train together.
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
def start_workers(devices: DistributionConfig) -> Iterator[Workers]:
    """Starts what a training runs on.

    Raises:
        InputError: it cannot be had.
        WorkerLost: another worker is gone.
    """
    devices.check()
    if devices.strategy == "none":
        yield Workers()
    elif devices.strategy == "mirrored":
        yield Workers(tf.distribute.MirroredStrategy(_names(devices.devices)))
    else:
        cluster = read_cluster(os.environ)
        lookout = WorkerMonitor(cluster, devices.wait)
        lookout.wait_for_all()
        with lookout:
            with _ctrl_c_ends():
                strategy = tf.distribute.MultiWorkerMirroredStrategy()
            workers = Workers(strategy, cluster, lookout)
            with workers.translate_errors():
                yield workers


def _names(wanted: int | None) -> list[str]:
    """The devices of `mirrored`."""
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        if wanted is not None and wanted > len(gpus):
            raise InputError(
                f"devices is {wanted}, and this machine has {len(gpus)} GPUs; give no more"
            )
        return [f"GPU:{number}" for number in range(wanted or len(gpus))]
    if wanted is None:
        raise InputError(
            "strategy mirrored found no GPU; give devices 2 to try it with the processor as two, "
            "or leave strategy out"
        )
    if wanted > MAX_CPU_DEVICES:
        raise InputError(
            f"devices is {wanted}, and the processor counts as {MAX_CPU_DEVICES} at most; give fewer"
        )
    processor = tf.config.list_physical_devices("CPU")[0]
    parts = [tf.config.LogicalDeviceConfiguration()] * wanted
    try:
        if len(tf.config.get_logical_device_configuration(processor) or [None]) != wanted:
            tf.config.set_logical_device_configuration(processor, parts)
    except RuntimeError as error:
        raise InputError(
            f"TensorFlow is at work already and cannot count the processor as {wanted} devices "
            "any more; do that in a new process"
        ) from error
    return [f"CPU:{number}" for number in range(wanted)]


@contextlib.contextmanager
def _ctrl_c_ends() -> Iterator[None]:
    """Lets Ctrl-C end the process while TensorFlow waits, where Python does not get to it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
