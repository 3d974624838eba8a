"""Graceful shutdown on SIGINT and SIGTERM."""

import signal
import threading
from types import FrameType
from typing import Any

from keras_s2s.utils.console import log

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """Work that was stopped by a signal.

    Args:
        signal_number: the signal.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__()
        self.signal_number = signal_number


class GracefulShutdown:
    """A context manager that records the first SIGINT or SIGTERM instead of ending the process.

    Schedulers send SIGTERM, and SIGKILL some seconds later. The work polls `signal_number`, saves
    its state, and calls `raise_if_requested`. A second signal has its default effect.

    Args:
        unit: the unit of work that is completed first, for the message.

    Attributes:
        signal_number: the signal received, or None.

    Example:

    >>> with GracefulShutdown("this step") as request:
    ...     request.signal_number is None
    True
    """

    def __init__(self, unit: str) -> None:
        self.signal_number: int | None = None
        self._unit = unit
        self._previous_handlers: dict[int, Any] = {}

    def __enter__(self) -> "GracefulShutdown":
        # Python allows signal handlers to be set in the main thread only.
        if threading.current_thread() is threading.main_thread():
            self._previous_handlers = {
                number: signal.signal(number, self._handle) for number in SIGNALS
            }
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous_handlers.items():
            signal.signal(number, handler)
        self._previous_handlers = {}

    def raise_if_requested(self) -> None:
        """Stop where everything is saved.

        Raises:
            Interrupted: a signal was received.
        """
        if self.signal_number is not None:
            raise Interrupted(self.signal_number)

    def _handle(self, signal_number: int, frame: FrameType | None) -> None:
        self.signal_number = signal_number
        self.__exit__()
        name = signal.Signals(signal_number).name
        log(f"{name}: stopping after {self._unit}; press again to quit now")
