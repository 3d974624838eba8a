"""The SavedModel: signatures, assets, version folders."""

import contextlib
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import keras
import tensorflow as tf

from keras_s2s.utils.checks import MAX_VERSION, check_int
from keras_s2s.utils.errors import InputError
from keras_s2s.utils.files import atomic_write, remove_stale_temporaries

DISK_ERRORS = (OSError, tf.errors.ResourceExhaustedError, tf.errors.PermissionDeniedError)

Signature = Callable[..., Mapping[str, tf.Tensor]]


def write_saved_model(
    folder: str | os.PathLike[str],
    signatures: Mapping[str, tuple[Signature, list[tf.TensorSpec]]],
    tracked: list[keras.layers.Layer],
    version: int | None = None,
    complete: Callable[[Path], None] = lambda folder: None,
) -> Path:
    """Writes a numbered version of a SavedModel, whole or not at all.

    Args:
        folder: the model's folder, the one a server watches; it is made when missing.
        signatures: for each name a function from tensors to a dict of tensors, and the
            specification of its arguments, whose names become those of the inputs.
        tracked: the layers whose tables the functions use. Their variables are found without
            that; those of a layer that is tracked would be written twice.
        version: number of the version folder; the next free one when left out.
        complete: called with the folder that was written, to add to it and to check it, before
            it gets its final name; when it raises, nothing is left behind.

    Returns:
        The version's folder.

    Raises:
        InputError: the version exists already, is no positive number, or the folder cannot be
            written to.
    """
    folder = Path(folder)
    if version is None:
        version = max(versions(folder), default=0) + 1
    if check_int("version", version) > MAX_VERSION:
        raise InputError(f"version is {version}; give {MAX_VERSION} or less, as servers have it")
    destination = folder / str(version)
    if destination.exists():
        raise InputError(f"{destination}: this version exists already; give another number")
    remove_stale_temporaries(folder)
    archive = keras.export.ExportArchive()
    for layer in tracked:
        archive.track(layer)
    for name, (function, specification) in signatures.items():
        archive.add_endpoint(name, function, input_signature=specification)
    with atomic_write(destination) as aside:
        try:
            with _quiet():
                archive.write_out(str(aside), verbose=False)
            complete(aside)
        except DISK_ERRORS as error:
            # TensorFlow's own say which operation failed on which file before they say why.
            reason = str(error).split(";")[-1].strip()
            raise InputError(
                f"{destination}: cannot be written ({reason}); nothing of it is left, so make "
                "room, or give another folder"
            ) from error
    return destination


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps TensorFlow from announcing a folder that is renamed in a moment."""
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def versions(folder: str | os.PathLike[str]) -> list[int]:
    """The numbers of the versions in a model's folder, in rising order."""
    folder = Path(folder)
    if not folder.is_dir():
        return []
    return sorted(int(path.name) for path in folder.iterdir() if re.fullmatch(r"\d+", path.name))
