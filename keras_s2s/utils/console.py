"""Progress and messages, on stderr."""

import contextlib
import faulthandler
import gc
import importlib
import logging
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from keras_s2s.utils.errors import one_line, printable

if TYPE_CHECKING:
    from rich.progress import Progress

# Called with the name of a step, how many of its items are done, and their number; 0 and 0 for a
# step that is not counted.
ProgressFn = Callable[[str, int, int], None]

# Log lines of TensorFlow's C++ libraries while they load, before any setting takes effect.
_LOADING_LOGS = re.compile(
    rb"[IWE]\d{4} \d\d:\d\d:|WARNING: All log messages before absl::Init"
    rb"|To enable the following instructions: "
)


def log(message: str) -> None:
    """Print a line on stderr; stdout is for results."""
    print(message, file=sys.stderr, flush=True)


@contextlib.contextmanager
def one_line_warnings() -> Iterator[None]:
    """Print the package's log records as `keras-s2s: …` instead of `WARNING:keras_s2s:…`."""
    logger, handler = logging.getLogger("keras_s2s"), logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("keras-s2s: %(message)s"))
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.propagate = True
        logger.removeHandler(handler)


def pluralize(count: float, noun: str, format_spec: str = "") -> str:
    """Return a count with its noun.

    Args:
        count: the number of things.
        noun: its singular.
        format_spec: as for `format`.

    Example:

    >>> pluralize(1, "epoch"), pluralize(300, "epoch"), pluralize(3000, "pair", ",")
    ('1 epoch', '300 epochs', '3,000 pairs')
    """
    return f"{count:{format_spec}} {noun}{'' if count == 1 else 's'}"


def progress_bar(*columns: Any, transient: bool = False) -> "Progress":
    """Return a `rich` progress bar on stderr, disabled if that is not a terminal.

    Args:
        *columns: its columns; rich's default columns without any.
        transient: whether to remove the bar at the end.
    """
    from rich.console import Console
    from rich.progress import Progress

    console = Console(file=sys.stderr)
    return Progress(*columns, console=console, disable=not console.is_terminal, transient=transient)


@contextlib.contextmanager
def spinner(description: str) -> Iterator[None]:
    """Show a spinner on a terminal while the block runs."""
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with progress_bar(*columns, transient=True) as bar:
        bar.add_task(description, total=None)
        yield


@contextlib.contextmanager
def step_progress() -> Iterator[ProgressFn]:
    """Show the steps of a task: a spinner on a terminal, elsewhere a line for each step.

    A step that is counted has a line for each quarter of its items.

    Example:

    >>> with contextlib.redirect_stderr(sys.stdout), step_progress() as progress:
    ...     progress("writing", 0, 0)
    ...     for done in range(0, 41, 5):
    ...         progress("comparing", done, 40)
    writing
    comparing: 10 of 40
    comparing: 20 of 40
    comparing: 30 of 40
    comparing: 40 of 40
    """
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

    last = ("", 0)
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with progress_bar(*columns, transient=True) as bar:
        task = bar.add_task("", total=None)

        def progress(step: str, done: int, total: int) -> None:
            nonlocal last
            description = f"{step}: {done:,} of {total:,}" if total else step
            bar.update(task, description=description)
            line = (step, 4 * done // total if total else 1)
            if bar.disable and line != last and line[1]:
                log(description)
            last = line

        yield progress


def import_tensorflow() -> None:
    """Import TensorFlow and Keras, without TensorFlow's log lines from here on.

    They report a missing GPU or rounding differences; errors are exceptions anyway. A
    `TF_CPP_MIN_LOG_LEVEL` in the environment changes nothing, since desktop and notebook
    environments set it for other programs; `TF_CPP_MAX_VLOG_LEVEL=0` keeps TensorFlow's logs.
    """
    # The package needs the TensorFlow backend, whatever other programs configure.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    if "tensorflow" in sys.modules:
        return
    if not _wants_logs():
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    with import_of_keras():
        import keras  # noqa: F401 (imports TensorFlow)
    # It creates half a million permanent objects.
    gc.freeze()


class _ModuleOnFirstUse:
    """A module that is imported when one of its names is used."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module(self._name), attribute)


@contextlib.contextmanager
def import_of_keras() -> Iterator[None]:
    """Import Keras in the block in less time, and without TensorFlow's log lines.

    Plotting by Keras imports matplotlib on first use.
    """
    if "keras" in sys.modules:
        yield
        return
    # WORKAROUND(keras<=3.15.1): keras.visualization imports matplotlib.pyplot wherever that is
    # installed, a sixth of the import. None in sys.modules makes this an ImportError, which Keras
    # handles.
    sys.modules.setdefault("matplotlib", None)  # type: ignore[arg-type]
    # Garbage collection would take a fifth of the time, and find nothing.
    collects = gc.isenabled()
    gc.disable()
    try:
        with without_loading_logs():
            yield
    finally:
        if collects:
            gc.enable()
        if sys.modules["matplotlib"] is None:
            del sys.modules["matplotlib"]
            for module, name, imported in (
                ("plot_image_gallery", "plt", "matplotlib.pyplot"),
                ("plot_bounding_box_gallery", "patches", "matplotlib.patches"),
            ):
                gallery = sys.modules.get(f"keras.src.visualization.{module}")
                if gallery is not None and getattr(gallery, name, imported) is None:
                    setattr(gallery, name, _ModuleOnFirstUse(imported))


def _wants_logs() -> bool:
    """Return whether someone is looking for a fault in TensorFlow itself."""
    return "TF_CPP_MAX_VLOG_LEVEL" in os.environ


@contextlib.contextmanager
def without_loading_logs() -> Iterator[None]:
    """Buffer stderr while TensorFlow is imported, then write all of it but TensorFlow's log lines.

    Its libraries write some of them whatever the log level, before they have read it.
    """
    if "tensorflow" in sys.modules or _wants_logs():
        yield
        return
    try:
        stderr, buffer = os.dup(2), tempfile.TemporaryFile()  # noqa: SIM115
    except OSError:  # stderr is closed, or the disk is full: leave stderr alone
        yield
        return
    with buffer:
        # On a CPU that it was not built for, TensorFlow aborts the process here.
        report_crash = not faulthandler.is_enabled()
        if report_crash:
            faulthandler.enable(stderr)
        os.dup2(buffer.fileno(), 2)
        try:
            yield
        finally:
            if sys.stderr is not None:
                sys.stderr.flush()
            os.dup2(stderr, 2)
            if report_crash:
                faulthandler.disable()
            os.close(stderr)
            buffer.seek(0)
            for line in buffer:
                if not _LOADING_LOGS.match(line):
                    os.write(2, line)


def print_error(message: str) -> int:
    """Print an error as one line and return the exit status."""
    print(f"keras-s2s: error: {printable(one_line(message))}", file=sys.stderr)
    return 2
