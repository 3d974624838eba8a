"""The SavedModel: signatures, assets, version folders."""

import os
import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import keras
import tensorflow as tf

from keras_s2s.errors import InputError
from keras_s2s.files import written_aside

Signature = Callable[..., Mapping[str, tf.Tensor]]


def write_saved_model(
    folder: str | os.PathLike[str],
    signatures: Mapping[str, tuple[Signature, list[tf.TensorSpec]]],
    tracked: list[keras.layers.Layer],
    version: int | None = None,
) -> Path:
    """Writes a numbered version of a SavedModel, whole or not at all.

    Args:
        folder: the model's folder, the one a server watches; it is made when missing.
        signatures: for each name a function from tensors to a dict of tensors, and the
            specification of its arguments, whose names become those of the inputs.
        tracked: the layers whose variables and tables the functions use.
        version: number of the version folder; the next free one when left out.

    Returns:
        The version's folder.

    Raises:
        InputError: the version exists already, is no positive number, or the folder cannot be
            written to.
    """
    folder = Path(folder)
    if version is None:
        version = max(versions(folder), default=0) + 1
    if version < 1:
        raise InputError(f"version is {version}; give 1 or more")
    destination = folder / str(version)
    if destination.exists():
        raise InputError(f"{destination}: this version exists already; give another --version")
    archive = keras.export.ExportArchive()
    for layer in tracked:
        archive.track(layer)
    for name, (function, specification) in signatures.items():
        archive.add_endpoint(name, function, input_signature=specification)
    with written_aside(destination) as aside:
        archive.write_out(str(aside), verbose=False)
    return destination


def versions(folder: str | os.PathLike[str]) -> list[int]:
    """The numbers of the versions in a model's folder, in rising order."""
    folder = Path(folder)
    if not folder.is_dir():
        return []
    return sorted(int(path.name) for path in folder.iterdir() if re.fullmatch(r"\d+", path.name))
