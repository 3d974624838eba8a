"""Ctrl-C and SIGTERM as a request to end soon, with everything saved."""

import signal
import threading
from types import FrameType
from typing import Any

from keras_s2s.utils.console import log

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """Work has ended before its end because a signal asked for it.

    Args:
        signal_number: the signal.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__()
        self.signal_number = signal_number


class GracefulShutdown:
    """Takes the first Ctrl-C or SIGTERM while it is entered, and ends nothing by itself.

    Schedulers send SIGTERM, and SIGKILL some seconds later. Whoever works looks at `signal_number`
    now and then. A second signal does what it did before: it ends the process.

    Args:
        what: what ends soon, for the message.

    Attributes:
        signal_number: the signal that has come, or None.

    Example:

    >>> with StopRequest("this step") as request:
    ...     request.signal_number is None
    True
    """

    def __init__(self, what: str) -> None:
        self.signal_number: int | None = None
        self._what = what
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "GracefulShutdown":
        # Python lets only its main thread say what becomes of signals.
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._asked) for number in SIGNALS}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def raise_if_asked(self) -> None:
        """Ends the work where everything is saved.

        Raises:
            Interrupted: a signal has come.
        """
        if self.signal_number is not None:
            raise Interrupted(self.signal_number)

    def _asked(self, number: int, frame: FrameType | None) -> None:
        self.signal_number = number
        self.__exit__()
        log(f"{signal.Signals(number).name}: ends after {self._what}; once more ends it at once")
