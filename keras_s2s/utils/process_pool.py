"""A process pool with ordered results, bounded queues and no orphaned workers."""

import collections
import concurrent.futures
import itertools
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from keras_s2s.utils.console import import_tensorflow
from keras_s2s.utils.errors import InputError
from keras_s2s.utils.signals import SIGNALS

Item = TypeVar("Item")
Result = TypeVar("Result")

# For fewer items, starting the processes takes longer than the work.
MIN_ITEMS = 4


class ProcessPool:
    """A pool of processes that start with the first call for at least `MIN_ITEMS` items.

    Args:
        processes: number of processes; with 1 everything runs in this process.
    """

    def __init__(self, processes: int) -> None:
        self._processes = processes
        self._pool: concurrent.futures.ProcessPoolExecutor | None = None

    def __enter__(self) -> "ProcessPool":
        return self

    def __exit__(self, *error: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yield the results of a picklable function in the order of its items.

        At most two items per process are in flight.

        Raises:
            InputError: a process died.
        """
        iterator = iter(items)
        first = list(itertools.islice(iterator, MIN_ITEMS))
        iterator = itertools.chain(first, iterator)
        if self._processes == 1 or (self._pool is None and len(first) < MIN_ITEMS):
            yield from map(function, iterator)
            return
        if self._pool is None:
            self._pool = concurrent.futures.ProcessPoolExecutor(
                self._processes, multiprocessing.get_context("spawn"), _initialize
            )
        pending: collections.deque[concurrent.futures.Future[Any]] = collections.deque()
        try:
            for item in iterator:
                pending.append(self._pool.submit(function, item))
                if len(pending) == 2 * self._processes:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        except concurrent.futures.BrokenExecutor as error:
            raise InputError(
                "a worker process died (out of memory?); give the command again with fewer "
                "--processes"
            ) from error


def _initialize() -> None:
    # A signal to the process group reaches the parent too, which shuts the pool down.
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    import_tensorflow()
    parent = multiprocessing.parent_process()
    assert parent is not None

    def exit_with_parent(sentinel: int) -> None:
        multiprocessing.connection.wait([sentinel])
        os._exit(1)

    threading.Thread(target=exit_with_parent, args=[parent.sentinel], daemon=True).start()
