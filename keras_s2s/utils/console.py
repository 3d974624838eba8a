"""What a person at the terminal sees besides results: messages and progress, all on stderr."""

import contextlib
import faulthandler
import gc
import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import Progress

# TensorFlow's C++ libraries log so while they are loaded, before any setting can stop them.
_CHATTER = re.compile(rb"[IWE]\d{4} \d\d:\d\d:|WARNING: All log messages before absl::Init")


def log(message: str) -> None:
    """Prints a line on stderr; stdout is for results."""
    print(message, file=sys.stderr, flush=True)


@contextlib.contextmanager
def one_line_warnings() -> Iterator[None]:
    """Writes what the package logs as lines of the command, instead of `WARNING:keras_s2s:…`."""
    logger, handler = logging.getLogger("keras_s2s"), logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("keras-s2s: %(message)s"))
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.propagate = True
        logger.removeHandler(handler)


def pluralize(number: float, noun: str, form: str = "") -> str:
    """A number of things, for a person.

    Args:
        number: how many.
        noun: what one of them is called.
        form: how the number is written, as for `format`.

    Example:

    >>> counted(1, "epoch"), counted(300, "epoch"), counted(3000, "pair", ",")
    ('1 epoch', '300 epochs', '3,000 pairs')
    """
    return f"{number:{form}} {noun}{'' if number == 1 else 's'}"


def progress_bar(*columns: Any, transient: bool = False) -> "Progress":
    """Returns a `rich` progress bar on stderr, which shows only where stderr is a terminal.

    Args:
        *columns: what it consists of; rich's usual columns when left out.
        transient: whether it goes away when it has ended.
    """
    from rich.console import Console
    from rich.progress import Progress

    console = Console(file=sys.stderr)
    return Progress(*columns, console=console, disable=not console.is_terminal, transient=transient)


@contextlib.contextmanager
def spinner(description: str) -> Iterator[None]:
    """Shows on a terminal that something goes on that takes a while."""
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with progress_bar(*columns, transient=True) as bar:
        bar.add_task(description, total=None)
        yield


def import_tensorflow() -> None:
    """Imports TensorFlow and Keras without the lines that TensorFlow logs on the way.

    They say that there is no GPU, or that results may differ in the last digit; an error comes
    as an exception besides. Whoever has set `TF_CPP_MIN_LOG_LEVEL` gets what that says instead.
    """
    # The package is TensorFlow's alone, whatever backend Keras has for other programs.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    if "tensorflow" in sys.modules:
        return
    by_the_user = "TF_CPP_MIN_LOG_LEVEL" in os.environ
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # TensorFlow is half a million objects that stay, and to look through them for garbage while
    # they come takes a fifth of the time that they need.
    gc.disable()
    try:
        with contextlib.nullcontext() if by_the_user else _without_chatter():
            import keras  # noqa: F401 (imports TensorFlow)
    finally:
        gc.freeze()
        gc.enable()


@contextlib.contextmanager
def _without_chatter() -> Iterator[None]:
    """Holds back what is written to stderr, and passes on all but TensorFlow's logging."""
    try:
        stderr, held_back = os.dup(2), tempfile.TemporaryFile()  # noqa: SIM115
    except OSError:  # stderr is closed, or there is no place for the file: let it chatter
        yield
        return
    with held_back:
        # On a processor that it was not built for, TensorFlow ends the process here.
        report_crash = not faulthandler.is_enabled()
        if report_crash:
            faulthandler.enable(stderr)
        os.dup2(held_back.fileno(), 2)
        try:
            yield
        finally:
            if sys.stderr is not None:
                sys.stderr.flush()
            os.dup2(stderr, 2)
            if report_crash:
                faulthandler.disable()
            os.close(stderr)
            held_back.seek(0)
            for line in held_back:
                if not _CHATTER.match(line):
                    os.write(2, line)


def print_error(message: str) -> int:
    """Prints an error as one line; returns the exit status."""
    line = " ".join(message.split())
    # A name may hold characters that would play tricks on a terminal.
    shown = "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in line)
    print(f"keras-s2s: error: {shown}", file=sys.stderr)
    return 2
