"""Translation by an exported SavedModel in Python."""

import functools
import os
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from keras_s2s.serving.allowed_ops import require_safe
from keras_s2s.serving.graph_checks import min_server_version
from keras_s2s.serving.saved_model import SavedModel
from keras_s2s.serving.signatures import BEAM, EXPLAIN, REQUIRED_SIGNATURES, SCORE, SERVING_DEFAULT
from keras_s2s.tokenizers.tokenizer import Tokenizer
from keras_s2s.translation.base import SentenceTranslator
from keras_s2s.translation.graph_functions import Outputs
from keras_s2s.translation.tokenizer_record import read_tokenizer
from keras_s2s.utils.errors import InputError, first_line


class ExportedTranslator(SentenceTranslator):
    """An exported SavedModel, loaded in Python.

    Args:
        folder: the version folder, which contains `saved_model.pb`.
        trust: load it whatever its ops. A SavedModel is a program, and ops that no export of this
            package has can read and write any file.

    Attributes:
        beam_size: of the signature `beam`; None without one.
        source_tokenizer: the tokenizer of the sources, for scores; None if the export does not
            record it.
        target_tokenizer: likewise.

    Raises:
        InputError: there is no SavedModel, one without the signatures of a translator, or one that
            is not trusted and could read or write files.
    """

    def __init__(self, folder: str | os.PathLike[str], *, trust: bool = False) -> None:
        model = SavedModel(folder) if trust else require_safe(folder)
        if min_server_version(model):
            import tensorflow_text  # noqa: F401 (registers its ops)
        try:
            # Signatures hold no references to their variables, so keep the object.
            self._loaded = tf.saved_model.load(str(folder))
        except (MemoryError, tf.errors.ResourceExhaustedError):
            raise
        except Exception as error:  # of a damaged graph, the loader raises any
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
        self._score_fn = lambda text, reference: self._run(SCORE, text=text, reference=reference)
        self._explain_fn = self._text_fn(EXPLAIN) if EXPLAIN in signatures else None
        self.beam_size: int | None = None
        if BEAM in signatures:
            self.beam_size = signatures[BEAM].structured_outputs["scores"].shape[1]

    @functools.cached_property
    def source_tokenizer(self) -> Tokenizer | None:
        return read_tokenizer(Path(self._folder), "source")

    @functools.cached_property
    def target_tokenizer(self) -> Tokenizer | None:
        return read_tokenizer(Path(self._folder), "target")

    def _beam_fn(self, beam_size: int, n_best: int) -> Callable[[tf.Tensor], Outputs]:
        if beam_size != self.beam_size:
            size = "none" if self.beam_size is None else self.beam_size
            raise InputError(
                f"{self._folder}: was exported with beams of {size}, not {beam_size}; give that "
                "beam, or export the model again"
            )
        return self._text_fn(BEAM)

    def _text_fn(self, name: str) -> Callable[[tf.Tensor], Outputs]:
        return lambda text: self._run(name, text=text)

    def _run(self, name: str, **inputs: tf.Tensor) -> Outputs:
        try:
            # Signatures accept keyword arguments only.
            return self._signatures[name](**inputs)
        except (tf.errors.InvalidArgumentError, tf.errors.FailedPreconditionError) as error:
            raise InputError(
                f"{self._folder}: fails when it runs ({first_line(error)}); export it again"
            ) from error
