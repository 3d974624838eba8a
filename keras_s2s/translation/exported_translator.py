"""An exported model used from Python."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from keras_s2s.serving.graph_checks import min_server_version
from keras_s2s.serving.saved_model import SavedModel, check_version_folder
from keras_s2s.translation.base import SentenceTranslator
from keras_s2s.utils.errors import InputError, first_line


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
            raise InputError(
                f"{folder}: no SavedModel that can be loaded ({first_line(error)}); export it again"
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
        if min_server_version(SavedModel(folder)):
            import tensorflow_text  # noqa: F401
