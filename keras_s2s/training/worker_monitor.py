"""Detection of lost workers."""

import os
import socket
import threading
import time
from collections.abc import Sequence
from typing import Any

from keras_s2s.training.cluster import Cluster, Worker, reserve_port
from keras_s2s.utils.console import log
from keras_s2s.utils.errors import WorkerLost

POLL_SECONDS = 2.0
# Consecutive failed polls after which a worker counts as lost.
MAX_FAILURES = 3
# Also the time this process has to end by itself once a worker is lost.
CONNECT_TIMEOUT = 5.0


# WORKAROUND(tensorflow<=2.21.0): some collectives of `MultiWorkerMirroredStrategy` block forever
# when a worker is gone, where Python can interrupt nothing. So a thread polls the other ports.
class WorkerMonitor:
    """End this process with an error message when another worker is lost."""

    def __init__(self, cluster: Cluster, timeout: float) -> None:
        self._cluster, self._timeout = cluster, timeout
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "WorkerMonitor":
        self._thread.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._stopped.set()

    def wait_for_all(self) -> None:
        """Wait until all workers listen on their ports.

        To be called before TensorFlow's own wait, which blocks all threads.

        Raises:
            WorkerLost: the timeout is over.
        """
        deadline = time.monotonic() + self._timeout
        with reserve_port(self._cluster.workers[self._cluster.rank]):
            while missing := self._find_missing():
                if time.monotonic() > deadline:
                    raise WorkerLost(
                        f"{_join(missing)} did not start within {self._timeout:.0f} seconds; "
                        "start one process for each worker of TF_CONFIG, check that they can reach "
                        "each other's ports, or raise --worker-timeout"
                    )
                time.sleep(0.2)

    def stop(self) -> WorkerLost:
        """Stop after a failure of a collective, and return an error that names the lost worker."""
        self._stopped.set()
        deadline = time.monotonic() + POLL_SECONDS * MAX_FAILURES
        while not (missing := self._find_missing()) and time.monotonic() < deadline:
            time.sleep(0.2)
        return _lost(missing)

    def _find_missing(self) -> list[Worker]:
        return [worker for worker in self._cluster.others if not is_reachable(worker)]

    def _watch(self) -> None:
        failures = 0
        while not self._stopped.wait(POLL_SECONDS):
            missing = self._find_missing()
            failures = failures + 1 if missing else 0
            if failures < MAX_FAILURES:
                continue
            # A collective may fail by itself, which ends the process in better order.
            if not self._stopped.wait(CONNECT_TIMEOUT):
                log(f"keras-s2s: error: {_lost(missing)}")
                os._exit(2)


def is_reachable(worker: Worker) -> bool:
    """Return whether a worker accepts connections; the kernel does so for a busy process too."""
    try:
        with socket.create_connection((worker.host, worker.port), CONNECT_TIMEOUT):
            return True
    except OSError:
        return False


def _lost(missing: Sequence[Worker]) -> WorkerLost:
    return WorkerLost(
        f"{_join(missing) or 'another worker'} has ended or cannot be reached, so this worker ends "
        "too; resume from the last checkpoint with --resume on all workers"
    )


def _join(workers: Sequence[Worker]) -> str:
    return ", ".join(map(str, workers))
