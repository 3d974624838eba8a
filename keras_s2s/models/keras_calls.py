"""Keras's calls on a model: checks of their arguments, errors in one line, export and files."""

import contextlib
import os
import types
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf
from keras.src.backend.common import global_state

from keras_s2s.layers.embedding_rnn import QUANTIZED
from keras_s2s.models.inputs import INTERIOR_PADDING
from keras_s2s.models.replicas import distribute_arguments
from keras_s2s.models.throughput import TokensPerSecond
from keras_s2s.utils.errors import InputError


class KerasCallsMixin:
    """The calls of `keras.Model` that a `Seq2Seq` refines."""

    encoder: Any
    decoder: Any
    accuracy_metric: Any
    distribute_strategy: Any

    def fit(self, *args: Any, callbacks: Any = None, **kwargs: Any) -> keras.callbacks.History:
        """Train as `keras.Model.fit` does, with `tokens_per_second` in the logs of each epoch."""
        refuse_class_weight(kwargs)
        if not isinstance(callbacks, keras.callbacks.CallbackList):
            if isinstance(callbacks, keras.callbacks.Callback):
                callbacks = [callbacks]
            # First, so that every other callback finds the throughput in the logs.
            callbacks = [TokensPerSecond(self.accuracy_metric), *(callbacks or [])]
        data = args[0] if args else kwargs.get("x")
        if isinstance(data, (tf.data.Dataset, types.GeneratorType)):
            # Avoid the warning that Keras cannot shuffle it.
            kwargs.setdefault("shuffle", False)
        with self._data_errors_explained():
            args, kwargs = distribute_arguments(args, kwargs, self.distribute_strategy)
            return super().fit(*args, callbacks=callbacks, **kwargs)  # type: ignore[misc]

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluate as `keras.Model.evaluate` does."""
        with self._data_errors_explained():
            args, kwargs = distribute_arguments(args, kwargs, self.distribute_strategy)
            return super().evaluate(*args, **kwargs)  # type: ignore[misc]

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the logits of each next target token, as `keras.Model.predict` does."""
        with self._data_errors_explained():
            return super().predict(*args, **kwargs)  # type: ignore[misc]

    def train_on_batch(self, *args: Any, **kwargs: Any) -> Any:
        """Train on one batch as `keras.Model.train_on_batch` does."""
        refuse_class_weight(kwargs)
        with self._data_errors_explained():
            return super().train_on_batch(*args, **kwargs)  # type: ignore[misc]

    def test_on_batch(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluate one batch as `keras.Model.test_on_batch` does."""
        with self._data_errors_explained():
            return super().test_on_batch(*args, **kwargs)  # type: ignore[misc]

    def predict_on_batch(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the logits of one batch as `keras.Model.predict_on_batch` does."""
        with self._data_errors_explained():
            return super().predict_on_batch(*args, **kwargs)  # type: ignore[misc]

    def save(self, filepath: Any, *args: Any, **kwargs: Any) -> Any:
        """Save the model as `keras.Model.save` does, to a `.keras` file.

        Raises:
            InputError: a `.h5` file, which Keras writes and cannot read.
        """
        refuse_hdf5(filepath)
        return super().save(filepath, *args, **kwargs)  # type: ignore[misc]

    def export(
        self,
        filepath: Any,
        format: str = "tf_saved_model",
        verbose: bool | None = None,
        input_signature: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Export `call`, from ids to logits, as `keras.Model.export` does.

        To export the translation of text, use `Translator.export`.

        Args:
            filepath: of the export.
            format: see `keras.Model.export`.
            verbose: likewise.
            input_signature: likewise; by default int32 ids and valid lengths of any shape.
            **kwargs: likewise.
        """
        if input_signature is None:
            ids = keras.InputSpec(dtype="int32", shape=(None, None))
            valid_length = keras.InputSpec(dtype="int32", shape=(None,))
            input_signature = [((ids, valid_length), (ids, valid_length))]
        return super().export(  # type: ignore[misc]
            filepath, format=format, verbose=verbose, input_signature=input_signature, **kwargs
        )

    def quantize(self, mode: Any = None, **kwargs: Any) -> None:
        """Refuse, as Keras's layers for recurrent networks cannot be quantized.

        Raises:
            InputError: always; the model is unchanged.
        """
        raise InputError(QUANTIZED)

    @contextlib.contextmanager
    def _data_errors_explained(self) -> Iterator[None]:
        """Turn TensorFlow's errors about out-of-range indices and padding into one `InputError`."""
        try:
            yield
        except tf.errors.InvalidArgumentError as error:
            if INTERIOR_PADDING in str(error):
                raise InputError(f"the data: ids {INTERIOR_PADDING}") from error
            # Of the embedding lookup, of `gather_nd`, and of the loss.
            stems = ("is not in [0,", "does not index into", "outside the valid range")
            if not any(stem in str(error) for stem in stems):
                raise
            raise InputError(
                f"the data does not fit the model ({self.encoder.vocab_size} source and "
                f"{self.decoder.vocab_size} target tokens): a token id or valid length is out of "
                "range; use data of the tokenizers that the model was built with"
            ) from error


def refuse_class_weight(arguments: dict[str, Any]) -> None:
    """Raise an `InputError` if the arguments of a call have class weights."""
    if arguments.get("class_weight") is not None:
        raise InputError(
            "class_weight: the classes are tokens; give sample_weight, (batch,) or a weight for "
            "each target token"
        )


def refuse_hdf5(filepath: Any) -> None:
    """Raise an `InputError` for a file of Keras's earlier format."""
    name = os.fspath(filepath) if isinstance(filepath, (str, os.PathLike)) else ""
    if str(name).endswith((".h5", ".hdf5")):
        raise InputError(f"{name}: Keras cannot load this model from HDF5; save to a .keras file")


def refuse_hdf5_scope() -> None:
    """Raise an `InputError` while Keras writes an HDF5 file.

    `keras.saving.save_model` calls no method of the model before `get_config`; the file that it
    has opened stays empty.
    """
    # WORKAROUND(keras<=3.15.1): no public function tells.
    if global_state.get_global_attribute("use_legacy_config", False):
        raise InputError("Keras cannot load this model from HDF5; save to a .keras file")
