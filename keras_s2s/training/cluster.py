"""The distribution strategy of a training run, and the cluster that `TF_CONFIG` describes.

Nothing here imports TensorFlow: `keras-s2s --help` lists `STRATEGIES`.
"""

import contextlib
import json
import os
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from keras_s2s.utils.errors import InputError

STRATEGIES = ("none", "mirrored", "multiworker")
WORKER_TIMEOUT = 600.0  # seconds
TF_CONFIG = "TF_CONFIG"
EXAMPLE = (
    '{"cluster": {"worker": ["one:2222", "two:2222"]}, "task": {"type": "worker", "index": 0}}'
)
# In the order in which TensorFlow counts them. The first of all is the one that writes.
JOBS = ("chief", "worker")


@dataclass(frozen=True)
class Worker:
    """One of the processes."""

    job: str
    index: int
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.job} {self.index} ({self.host}:{self.port})"


class Cluster(NamedTuple):
    """All processes that train together, the chief first, and the place of this one among them."""

    workers: tuple[Worker, ...]
    place: int

    @property
    def is_chief(self) -> bool:
        """Whether this process is the one that writes the run directory."""
        return self.place == 0

    @property
    def others(self) -> list[Worker]:
        """All but this one."""
        return [worker for worker in self.workers if worker is not self.workers[self.place]]


def read_cluster(environment: Mapping[str, str]) -> Cluster:
    """What `TF_CONFIG` says.

    Raises:
        InputError: it is not there, or does not describe workers and one of them.

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
        config = json.loads(text)
    except ValueError as error:
        raise _wrong(f"is no JSON ({error})") from error
    cluster, task = (
        config.get(name) if isinstance(config, dict) else None for name in ("cluster", "task")
    )
    if not isinstance(cluster, dict) or not isinstance(task, dict):
        raise _wrong('needs a "cluster" and a "task"')
    for job in cluster:
        if job not in (*JOBS, "evaluator"):
            raise _wrong(f"has a {job!r} in its cluster; there are only {' and '.join(JOBS)} here")
    workers = [worker for job in JOBS for worker in _of_job(job, cluster.get(job, []))]
    if not workers:
        raise _wrong('has no "worker" in its cluster')
    addresses = [(worker.host, worker.port) for worker in workers]
    for worker in workers:
        if addresses.count((worker.host, worker.port)) > 1:
            raise _wrong(f"has {worker.host}:{worker.port} twice; each worker needs its own port")
    return Cluster(tuple(workers), _place(workers, task))


def _of_job(job: str, addresses: Any) -> list[Worker]:
    if not isinstance(addresses, list):
        raise _wrong(f'has for {job!r} {addresses!r}; give a list of "host:port"')
    workers = []
    for index, address in enumerate(addresses):
        host, _, port = str(address).rpartition(":")
        if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 2**16:
            raise _wrong(f"has the address {address!r} of {job} {index}; give host:port")
        workers.append(Worker(job, index, host.strip("[]"), int(port)))
    return workers


def _place(workers: list[Worker], task: dict[str, Any]) -> int:
    job, index = task.get("type"), task.get("index")
    # A shell that fills in a number often leaves the quotes around it.
    if isinstance(index, str) and index.isascii() and index.isdigit():
        index = int(index)
    for place, worker in enumerate(workers):
        if (worker.job, worker.index) == (job, index) and not isinstance(index, bool):
            return place
    known = ", ".join(f"{worker.job} {worker.index}" for worker in workers)
    raise _wrong(f"has the task {job} {index}, which is not in its cluster; there is {known}")


def _wrong(what: str) -> InputError:
    return InputError(f"{TF_CONFIG} {what}; it looks like {EXAMPLE}")


@contextlib.contextmanager
def reserve_port(worker: Worker) -> Iterator[None]:
    """Listens where the others will look for this worker, as TensorFlow will afterwards.

    Raises:
        InputError: something else listens there.
    """
    with socket.socket() as listener:
        # What has ended a moment ago does not count.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("", worker.port))
            listener.listen()
        except OSError as error:
            raise InputError(
                f"port {worker.port} of this machine, which {TF_CONFIG} gives to {worker}, cannot "
                f"be used ({error.strerror}); end what uses it, or take another one in {TF_CONFIG} "
                "of all workers"
            ) from error
        yield


class DistributionConfig(NamedTuple):
    """What a training runs on; a matter of the machine, which may be another when it goes on.

    Attributes:
        strategy: `none` for one device; `mirrored` for all GPUs of the machine; `multiworker` for
            the processes that `TF_CONFIG` names, one on each machine.
        devices: with `mirrored`, how many; without a GPU the processor counts as so many.
        wait: with `multiworker`, seconds to wait for the other workers at the beginning.
    """

    strategy: str = "none"
    devices: int | None = None
    wait: float = WORKER_TIMEOUT

    def check(self) -> None:
        """Makes sure that the values make sense.

        Raises:
            InputError: one does not.
        """
        if self.strategy not in STRATEGIES:
            raise InputError(f"strategy is {self.strategy!r}; give one of {', '.join(STRATEGIES)}")
        if self.devices is not None and self.strategy != "mirrored":
            raise InputError("devices needs strategy mirrored; give that too, or leave it out")
        if self.devices is not None and self.devices < 1:
            raise InputError(f"devices is {self.devices}; give 1 or more")
        if not self.wait > 0:
            raise InputError(f"wait is {self.wait}; give a number of seconds above 0")

    def is_chief(self) -> bool:
        """Whether this process is the one that writes the run directory."""
        return self.strategy != "multiworker" or read_cluster(os.environ).is_chief

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "DistributionConfig":
        """What a run has run on so far, from its `run.json`."""
        known = record.get("devices")
        if not isinstance(known, dict):  # an older version wrote it
            return cls()
        return cls(**{name: known[name] for name in cls._fields if name in known})
