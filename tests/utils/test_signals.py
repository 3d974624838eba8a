"""Graceful shutdown on signals."""

import signal
import threading

import pytest

from keras_s2s.utils.signals import GracefulShutdown, Interrupted


def handlers():
    return [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)]


@pytest.mark.usefixtures("ctrl_c")
def test_the_first_signal_is_recorded(capsys):
    before = handlers()
    with GracefulShutdown("this word") as shutdown:
        shutdown.raise_if_requested()
        signal.raise_signal(signal.SIGINT)
        assert shutdown.signal_number == signal.SIGINT
        assert handlers() == before
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(Interrupted) as error:
            shutdown.raise_if_requested()
    assert error.value.signal_number == signal.SIGINT
    assert capsys.readouterr().err.startswith("SIGINT: stopping after this word")
    assert handlers() == before


def test_other_threads_keep_the_handlers():
    before = signal.getsignal(signal.SIGTERM)
    results = []

    def enter():
        with GracefulShutdown("this") as shutdown:
            results.append((shutdown.signal_number, signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert results == [(None, before)]
