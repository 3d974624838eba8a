"""The distribution of a training run, and the cluster that `TF_CONFIG` describes.

Free of TensorFlow: `keras-s2s --help` lists `STRATEGIES`.
"""

import contextlib
import os
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from keras_s2s.utils.errors import InputError
from keras_s2s.utils.files import parse_json
from keras_s2s.utils.renaming import accept_old_names, with_new_names

STRATEGIES = ("none", "mirrored", "multiworker")
WORKER_TIMEOUT = 600.0  # seconds
TF_CONFIG = "TF_CONFIG"
EXAMPLE = (
    '{"cluster": {"worker": ["one:2222", "two:2222"]}, "task": {"type": "worker", "index": 0}}'
)
# In the order in which TensorFlow numbers the tasks; the first task writes the run directory.
TASK_TYPES = ("chief", "worker")


@accept_old_names(devices="num_devices", wait="worker_timeout")
@dataclass(frozen=True)
class DistributionConfig:
    """The devices and processes of a training run, which may change when it is resumed.

    Args:
        strategy: `none` for one device; `mirrored` for all GPUs of the machine; `multiworker` for
            the processes that `TF_CONFIG` lists, one on each machine.
        num_devices: with `mirrored`, the number of GPUs; without a GPU, the number of logical
            devices that the CPU is divided into.
        worker_timeout: with `multiworker`, seconds to wait for the other workers at startup.
    """

    strategy: str = "none"
    num_devices: int | None = None
    worker_timeout: float = WORKER_TIMEOUT

    def validate(self) -> None:
        """Check the values.

        Raises:
            InputError: a value is invalid.
        """
        if self.strategy not in STRATEGIES:
            raise InputError(f"strategy is {self.strategy!r}; give one of {', '.join(STRATEGIES)}")
        if self.num_devices is not None and self.strategy != "mirrored":
            raise InputError("num_devices needs strategy mirrored; add it, or omit num_devices")
        if self.num_devices is not None and self.num_devices < 1:
            raise InputError(f"num_devices is {self.num_devices}; give 1 or more")
        if not self.worker_timeout > 0:
            raise InputError(
                f"worker_timeout is {self.worker_timeout}; give a number of seconds above 0"
            )

    def is_chief(self) -> bool:
        """Return whether this process writes the run directory."""
        return self.strategy != "multiworker" or read_cluster(os.environ).is_chief

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "DistributionConfig":
        """Return the distribution that `run.json` records; the default where it has none."""
        values = record.get("devices")
        if not isinstance(values, dict):  # written by an older version
            return cls()
        values = with_new_names(cls, values)
        return cls(
            **{field.name: values[field.name] for field in fields(cls) if field.name in values}
        )


@dataclass(frozen=True)
class Worker:
    """A task of the cluster."""

    task_type: str
    index: int
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.task_type} {self.index} ({self.host}:{self.port})"


class Cluster(NamedTuple):
    """The workers of a training run, chief first, and the index of this process among them."""

    workers: tuple[Worker, ...]
    rank: int

    @property
    def is_chief(self) -> bool:
        """True in the process that writes the run directory."""
        return self.rank == 0

    @property
    def others(self) -> list[Worker]:
        """All workers except this one."""
        return [worker for rank, worker in enumerate(self.workers) if rank != self.rank]


def read_cluster(environment: Mapping[str, str]) -> Cluster:
    """Parse `TF_CONFIG`.

    Raises:
        InputError: it is missing, or does not describe workers and one of them.

    Example:

    >>> read_cluster({"TF_CONFIG": EXAMPLE}).is_chief
    True
    """
    text = environment.get(TF_CONFIG, "")
    if not text.strip():
        raise InputError(
            f"--strategy multiworker needs the variable {TF_CONFIG}; set it on each machine, for "
            f"example to {EXAMPLE}"
        )
    try:
        config = parse_json(text)
    except ValueError as error:
        raise _invalid(f"is not valid JSON ({error})") from error
    cluster, task = (
        config.get(name) if isinstance(config, dict) else None for name in ("cluster", "task")
    )
    if not isinstance(cluster, dict) or not isinstance(task, dict):
        raise _invalid('needs a "cluster" and a "task"')
    for task_type in cluster:
        if task_type not in (*TASK_TYPES, "evaluator"):
            raise _invalid(
                f"has a {task_type!r} in its cluster; supported are {' and '.join(TASK_TYPES)}"
            )
    workers = [
        worker for name in TASK_TYPES for worker in _parse_workers(name, cluster.get(name, []))
    ]
    if not workers:
        raise _invalid('has no "worker" in its cluster')
    addresses = [(worker.host, worker.port) for worker in workers]
    for host, port in addresses:
        if addresses.count((host, port)) > 1:
            raise _invalid(f"has {host}:{port} twice; each worker needs its own port")
    return Cluster(tuple(workers), _find_rank(workers, task))


def _parse_workers(task_type: str, addresses: Any) -> list[Worker]:
    if not isinstance(addresses, list):
        raise _invalid(f'has for {task_type!r} {addresses!r}; give a list of "host:port"')
    workers = []
    for index, address in enumerate(addresses):
        host, _, port = str(address).rpartition(":")
        if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 2**16:
            raise _invalid(f"has the address {address!r} of {task_type} {index}; give host:port")
        workers.append(Worker(task_type, index, host.strip("[]"), int(port)))
    return workers


def _find_rank(workers: list[Worker], task: dict[str, Any]) -> int:
    task_type, index = task.get("type"), task.get("index")
    # Shell templates often leave the quotes around a substituted number.
    if isinstance(index, str) and index.isascii() and index.isdigit():
        index = int(index)
    for rank, worker in enumerate(workers):
        if (worker.task_type, worker.index) == (task_type, index) and not isinstance(index, bool):
            return rank
    available = ", ".join(f"{worker.task_type} {worker.index}" for worker in workers)
    raise _invalid(
        f"has the task {task_type} {index}, which is not in its cluster; there is {available}"
    )


def _invalid(reason: str) -> InputError:
    return InputError(f"{TF_CONFIG} {reason}; it looks like {EXAMPLE}")


@contextlib.contextmanager
def reserve_port(worker: Worker) -> Iterator[None]:
    """Listen on the port of a worker until TensorFlow does.

    Raises:
        InputError: the port cannot be bound.
    """
    with socket.socket() as listener:
        # Ignore connections in TIME_WAIT.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("", worker.port))
            listener.listen()
        except OSError as error:
            raise InputError(
                f"port {worker.port} of this machine, assigned to {worker} by {TF_CONFIG}, cannot "
                f"be used ({error.strerror}); free the port, or change it in {TF_CONFIG} of all "
                "workers"
            ) from error
        yield
