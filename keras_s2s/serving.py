"""The SavedModel: signatures, assets, version folders."""

import contextlib
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import keras
import tensorflow as tf

from keras_s2s.checks import LARGEST_VERSION, check_whole_number
from keras_s2s.errors import InputError
from keras_s2s.files import remove_leftovers, written_aside
from keras_s2s.graph_checks import minimum_server
from keras_s2s.saved_model import SavedModel, check_version_folder
from keras_s2s.sentences import SentenceTranslator

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
    if check_whole_number("version", version) > LARGEST_VERSION:
        raise InputError(
            f"version is {version}; give {LARGEST_VERSION} or less, as servers have it"
        )
    destination = folder / str(version)
    if destination.exists():
        raise InputError(f"{destination}: this version exists already; give another number")
    remove_leftovers(folder)
    archive = keras.export.ExportArchive()
    for layer in tracked:
        archive.track(layer)
    for name, (function, specification) in signatures.items():
        archive.add_endpoint(name, function, input_signature=specification)
    with written_aside(destination) as aside:
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


class ExportedTranslator(SentenceTranslator):
    """An exported model, to be used from Python.

    Args:
        folder: a version's folder, the one with `saved_model.pb` in it.

    Attributes:
        beam_size: how many translations its beam search keeps in view; None without one.

    Raises:
        InputError: it holds no SavedModel, or one without the signatures of a translator.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        check_version_folder(Path(folder))
        _register_ops(folder)
        try:
            # Kept, since the signatures do not hold on to the variables they use.
            self._loaded = tf.saved_model.load(str(folder))
        except (OSError, ValueError, tf.errors.OpError) as error:
            reason = str(error).strip().split("\n")[0]
            raise InputError(
                f"{folder}: no SavedModel that can be loaded ({reason}); export it again"
            ) from error
        signatures = self._loaded.signatures
        missing = [name for name in ("serving_default", "score") if name not in signatures]
        if missing:
            raise InputError(
                f"{folder}: the SavedModel has no signature {missing[0]}; "
                "give one that keras-s2s export wrote"
            )
        self._folder = folder
        self._answer = lambda text: signatures["serving_default"](text=text)
        self._score = lambda text, reference: signatures["score"](text=text, reference=reference)
        self._explain = (
            (lambda text: signatures["explain"](text=text)) if "explain" in signatures else None
        )
        self._searches = {
            function.structured_outputs["scores"].shape[1]: function
            for name, function in signatures.items()
            if name == "beam"
        }
        self.beam_size: int | None = next(iter(self._searches), None)

    def _beam(self, beam_size: int, n_best: int) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
        if beam_size not in self._searches:
            sizes = ", ".join(map(str, self._searches)) or "none"
            raise InputError(
                f"{self._folder}: was exported with beams of {sizes}, not {beam_size}; ask for "
                "that, or export it anew"
            )
        function = self._searches[beam_size]
        return lambda text: function(text=text)


def _register_ops(folder: str | os.PathLike[str]) -> None:
    """Makes the ops of TensorFlow Text known, if a SavedModel has any."""
    with contextlib.suppress(InputError):  # what is wrong with it, TensorFlow says too
        if minimum_server(SavedModel(folder)):
            import tensorflow_text  # noqa: F401
