"""Translation by an exported SavedModel in Python."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from keras_s2s.serving.graph_checks import min_server_version
from keras_s2s.serving.saved_model import SavedModel, check_version_folder
from keras_s2s.serving.signatures import BEAM, EXPLAIN, REQUIRED_SIGNATURES, SCORE, SERVING_DEFAULT
from keras_s2s.translation.base import SentenceTranslator
from keras_s2s.translation.graph_functions import Outputs
from keras_s2s.utils.errors import InputError, first_line


class ExportedTranslator(SentenceTranslator):
    """An exported SavedModel, loaded in Python.

    Args:
        folder: the version folder, which contains `saved_model.pb`.

    Attributes:
        beam_size: of the signature `beam`; None without one.

    Raises:
        InputError: there is no SavedModel, or one without the signatures of a translator.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        check_version_folder(Path(folder))
        _register_ops(folder)
        try:
            # Signatures hold no references to their variables, so keep the object.
            self._loaded = tf.saved_model.load(str(folder))
        except (OSError, ValueError, tf.errors.OpError) as error:
            raise InputError(
                f"{folder}: no SavedModel that can be loaded ({first_line(error)}); export it again"
            ) from error
        self._folder = folder
        signatures = self._signatures = self._loaded.signatures
        missing = [name for name in REQUIRED_SIGNATURES if name not in signatures]
        if missing:
            raise InputError(
                f"{folder}: the SavedModel has no signature {missing[0]}; "
                "give an export of keras-s2s"
            )
        self._greedy_fn = self._text_fn(SERVING_DEFAULT)
        self._score_fn = lambda text, reference: signatures[SCORE](text=text, reference=reference)
        self._explain_fn = self._text_fn(EXPLAIN) if EXPLAIN in signatures else None
        self.beam_size: int | None = None
        if BEAM in signatures:
            self.beam_size = signatures[BEAM].structured_outputs["scores"].shape[1]

    def _beam_fn(self, beam_size: int, n_best: int) -> Callable[[tf.Tensor], Outputs]:
        if beam_size != self.beam_size:
            size = "none" if self.beam_size is None else self.beam_size
            raise InputError(
                f"{self._folder}: was exported with beams of {size}, not {beam_size}; give that "
                "beam, or export the model again"
            )
        return self._text_fn(BEAM)

    def _text_fn(self, name: str) -> Callable[[tf.Tensor], Outputs]:
        # Signatures accept keyword arguments only.
        return lambda text: self._signatures[name](text=text)


def _register_ops(folder: str | os.PathLike[str]) -> None:
    """Register the ops of TensorFlow Text if a SavedModel needs them."""
    with contextlib.suppress(InputError):  # loading reports the same defect
        if min_server_version(SavedModel(folder)):
            import tensorflow_text  # noqa: F401
