"""Write a SavedModel as a numbered version folder."""

import contextlib
import errno
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import keras
import tensorflow as tf

from keras_s2s.utils.checks import MAX_VERSION, check_int
from keras_s2s.utils.console import ProgressFn
from keras_s2s.utils.errors import InputError
from keras_s2s.utils.files import remove_stale_temporaries, temporary_beside

DISK_ERRORS = (OSError, tf.errors.ResourceExhaustedError, tf.errors.PermissionDeniedError)

SignatureFn = Callable[..., Mapping[str, tf.Tensor]]


def write_saved_model(
    folder: str | os.PathLike[str],
    signatures: Mapping[str, tuple[SignatureFn, list[tf.TensorSpec]]],
    tracked: list[keras.layers.Layer],
    version: int | None = None,
    complete: Callable[[Path], None] = lambda folder: None,
    progress: ProgressFn = lambda step, done, total: None,
) -> Path:
    """Write a version of a SavedModel atomically.

    Of two processes that write to the same folder, each without a number, the one that finishes
    later takes the next number.

    Args:
        folder: the model's folder, which a server watches; created if missing.
        signatures: for each name a function from tensors to a dict of tensors, and the specs of
            its arguments, whose names become the input names.
        tracked: layers whose tables the functions use. Do not list layers for their variables:
            these are found without tracking, and would be written twice.
        version: version number; the next free one by default.
        complete: called with the written folder before it is renamed, to add files and verify
            it; if it raises, nothing is left behind.
        progress: called when the writing begins.

    Returns:
        The version folder.

    Raises:
        InputError: the version exists or is out of range, or the folder is not writable.
    """
    folder = Path(folder)
    number = _next_version(folder) if version is None else check_int("version", version)
    if number > MAX_VERSION:
        raise InputError(f"version is {number}; give {MAX_VERSION} or less, as servers require")
    destination = folder / str(number)
    if destination.exists():
        raise _exists(destination)
    remove_stale_temporaries(folder)
    with temporary_beside(destination) as temporary:
        progress("writing the SavedModel", 0, 0)
        # Concrete functions, since TensorFlow traces a `tf.function` again to save it.
        functions = {
            name: tf.function(
                function, input_signature=specs, autograph=False
            ).get_concrete_function()
            for name, (function, specs) in signatures.items()
        }
        try:
            with _quiet_tensorflow():
                tf.saved_model.save(
                    _saved_root(functions.values(), tracked), str(temporary), signatures=functions
                )
            complete(temporary)
            while not _rename(temporary, destination):
                if version is not None:
                    raise _exists(destination)
                destination = folder / str(_next_version(folder))
        except DISK_ERRORS as error:
            # TensorFlow's messages name the operation and the file before the reason.
            reason = str(error).split(";")[-1].strip()
            raise InputError(
                f"{destination}: cannot be written ({reason}); nothing was kept, so free disk "
                "space or give another folder"
            ) from error
    return destination


def _saved_root(
    functions: Iterable[tf.types.experimental.ConcreteFunction],
    tracked: Iterable[keras.layers.Layer],
) -> tf.Module:
    """Return an object that owns the variables and tables that functions use."""
    root = tf.Module()
    variables = (variable for function in functions for variable in function.graph.variables)
    root.weights = list({variable.ref(): variable for variable in variables}.values())
    root.tables = [
        part
        for layer in tracked
        for part in tf.train.TrackableView(layer).descendants()
        if isinstance(part, tf.saved_model.experimental.TrackableResource)
    ]
    return root


def _next_version(folder: Path) -> int:
    return max(versions(folder), default=0) + 1


def _exists(destination: Path) -> InputError:
    return InputError(f"{destination}: this version exists already; give another number")


def _rename(temporary: Path, destination: Path) -> bool:
    """Rename a folder; return False if another process has written one of that name meanwhile."""
    try:
        os.rename(temporary, destination)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
            raise
        return False
    return True


@contextlib.contextmanager
def _quiet_tensorflow() -> Iterator[None]:
    """Suppress the log line with the temporary folder's name."""
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def versions(folder: str | os.PathLike[str]) -> list[int]:
    """Return the version numbers in a model's folder, ascending."""
    folder = Path(folder)
    if not folder.is_dir():
        return []
    return sorted(int(path.name) for path in folder.iterdir() if re.fullmatch(r"\d+", path.name))
