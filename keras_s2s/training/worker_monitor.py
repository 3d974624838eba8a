"""Looks whether the other workers of a training are still there."""

import os
import socket
import threading
import time
from collections.abc import Sequence
from typing import Any

from keras_s2s.training.cluster import Cluster, Worker, reserve_port
from keras_s2s.utils.console import log
from keras_s2s.utils.errors import WorkerLost

# How often the others are asked, and how often in a row one may give no answer.
POLL_SECONDS = 2.0
MAX_FAILURES = 3
# How long one may take to answer, and how long this process has to end by itself.
CONNECT_TIMEOUT = 5.0


class WorkerMonitor:
    """Ends this process with a line that says why when another worker does not come, or is gone.

    TensorFlow waits without end for some workers that are gone, in places where Python can
    interrupt nothing. So a thread asks every other worker for a connection now and then.

    Args:
        cluster: all workers.
        patience: seconds to wait for all at the beginning.
    """

    def __init__(self, cluster: Cluster, patience: float) -> None:
        self._cluster, self._patience = cluster, patience
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "WorkerMonitor":
        self._thread.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._ended.set()

    def wait_for_all(self) -> None:
        """Goes on when all workers listen at their ports.

        Before TensorFlow, which then waits in a place that lets no other thread run.

        Raises:
            WorkerLost: one did not come.
        """
        mine = self._cluster.workers[self._cluster.place]
        deadline = time.monotonic() + self._patience
        with reserve_port(mine):
            while missing := self._missing():
                if time.monotonic() > deadline:
                    raise WorkerLost(
                        f"{_names(missing)} did not come within {self._patience:.0f} seconds; "
                        "start one process for each worker of TF_CONFIG, see that they can reach "
                        "each other's ports, or wait longer with --worker-timeout"
                    )
                time.sleep(0.2)

    def lost(self) -> WorkerLost:
        """What to say when the work with the others has failed, once it is known who is gone."""
        self._ended.set()
        deadline = time.monotonic() + POLL_SECONDS * MAX_FAILURES
        while not (missing := self._missing()) and time.monotonic() < deadline:
            time.sleep(0.2)
        return _gone(missing)

    def _missing(self) -> list[Worker]:
        return [worker for worker in self._cluster.others if not is_reachable(worker)]

    def _watch(self) -> None:
        failures = 0
        while not self._ended.wait(POLL_SECONDS):
            missing = self._missing()
            failures = failures + 1 if missing else 0
            if failures < MAX_FAILURES:
                continue
            # The work may fail and say so by itself, and more orderly.
            if not self._ended.wait(CONNECT_TIMEOUT):
                _end(str(_gone(missing)))


def is_reachable(worker: Worker) -> bool:
    """Whether a worker takes a connection; the system does that for one that is busy."""
    try:
        with socket.create_connection((worker.host, worker.port), CONNECT_TIMEOUT):
            return True
    except OSError:
        return False


def _gone(missing: Sequence[Worker]) -> WorkerLost:
    names = _names(missing) or "another worker"
    return WorkerLost(
        f"{names} has ended or cannot be reached, so this one ends too; what was saved last is "
        "kept, so go on with --resume on all workers"
    )


def _names(workers: Sequence[Worker]) -> str:
    return ", ".join(map(str, workers))


def _end(message: str) -> None:
    log(f"keras-s2s: error: {message}")
    os._exit(2)
