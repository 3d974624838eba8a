"""Work divided among processes: in order, with little of it waiting, and none left behind."""

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

# With fewer pieces of work it takes longer to start the processes.
WORTH_THE_START = 4


class ProcessPool:
    """Processes to which work is given.

    They begin when there is work for more than a moment; until then it is done in this process.

    Args:
        processes: how many; 1 for this process alone.
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
        """What a function of a module gives for each item, in their order.

        No more than two items for each process are taken before their results are.

        Raises:
            InputError: a process ended from outside.
        """
        iterator = iter(items)
        first = list(itertools.islice(iterator, WORTH_THE_START))
        iterator = itertools.chain(first, iterator)
        if self._processes == 1 or (self._pool is None and len(first) < WORTH_THE_START):
            yield from map(function, iterator)
            return
        if self._pool is None:
            self._pool = concurrent.futures.ProcessPoolExecutor(
                self._processes, multiprocessing.get_context("spawn"), _begin
            )
        waiting: collections.deque[concurrent.futures.Future[Any]] = collections.deque()
        try:
            for item in iterator:
                waiting.append(self._pool.submit(function, item))
                if len(waiting) == 2 * self._processes:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except concurrent.futures.BrokenExecutor as error:
            raise InputError(
                "a process that did a part of the work has ended, perhaps for want of memory; go "
                "on with fewer --processes"
            ) from error


def _begin() -> None:
    # The process that gives the work hears of signals to all of them too, and ends this one.
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    import_tensorflow()
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_parent(sentinel: int) -> None:
        multiprocessing.connection.wait([sentinel])
        os._exit(1)

    threading.Thread(target=end_with_parent, args=[parent.sentinel], daemon=True).start()
