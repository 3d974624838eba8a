"""The translator: a model with its tokenizers, to save, load and export."""

import dataclasses
import functools
import operator
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_s2s.data.config import MAX_LAYER_SIZE
from keras_s2s.decoding.config import SearchConfig, search_options
from keras_s2s.models.seq2seq import Seq2Seq
from keras_s2s.serving.signatures import BEAM, EXPLAIN
from keras_s2s.tokenizers.copied_tokens import check_copy_map
from keras_s2s.tokenizers.tokenizer import Tokenizer
from keras_s2s.translation.base import SentenceTranslator
from keras_s2s.translation.export import REFERENCE, TEXT, export
from keras_s2s.translation.graph_functions import GraphFunctions, Outputs
from keras_s2s.translation.model_file import (
    NOT_A_TRANSLATOR,
    load_model_file,
    vocabulary_mismatches,
)
from keras_s2s.utils.checks import check_number, check_type
from keras_s2s.utils.console import ProgressFn
from keras_s2s.utils.errors import InputError
from keras_s2s.utils.files import atomic_write
from keras_s2s.utils.text import string_tensor

EXTRA_BATCH_SIZE = 64


def _search_option(name: str) -> property:
    """Return a property that reads and sets a field of `search_config`."""

    def set_option(translator: "Translator", value: Any) -> None:
        translator.search_config = dataclasses.replace(translator.search_config, **{name: value})

    return property(operator.attrgetter(f"search_config.{name}"), set_option)


@keras.saving.register_keras_serializable(package="keras_s2s")
class Translator(GraphFunctions, SentenceTranslator, keras.Model):
    """A trained model between two tokenizers: raw sentences in, raw sentences out.

    Args:
        model: a trained `Seq2Seq`.
        source_tokenizer: the tokenizer of the source.
        target_tokenizer: the tokenizer of the target.
        num_steps: sources are truncated to this number of tokens, the maximum also of a hypothesis.
        beam_size: number of translations in the signature `beam` of an export.
        length_penalty: larger values favor long translations; see `beam_search`.
        coverage_penalty: penalizes untranslated source words; see `beam_search`. Needs attention.
        replace_unknown: replace each `<unk>` by the most attended source word (Luong et al., 2015,
            "Addressing the Rare Word Problem"); needs attention, and on both sides tokenizers of
            words or white space, or of characters.

    Raises:
        ValueError: the vocabulary sizes of tokenizers and model differ, or an option is out of
            range or not supported by them.

    Example:

    >>> import keras_s2s as s2s
    >>> corpus = s2s.ParallelCorpus(["Go.", "I won!"], ["Va !", "J'ai gagné !"], name="two pairs")
    >>> source = s2s.WordTokenizer.fit(corpus.source)
    >>> target = s2s.WordTokenizer.fit(corpus.target)
    >>> model = s2s.Seq2Seq(
    ...     s2s.Seq2SeqEncoder(len(source), embed_size=8, num_hiddens=8, num_layers=1),
    ...     s2s.Seq2SeqDecoder(len(target), embed_size=8, num_hiddens=8, num_layers=1),
    ... )
    >>> model.compile(keras.optimizers.Adam(0.05, global_clipnorm=1.0))
    >>> _ = model.fit(s2s.make_dataset(corpus, source, target), epochs=60, verbose=0)
    >>> translator = Translator(model, source, target)
    >>> translator.translate(["Go.", "i won !", ""])
    ['va !', "j'ai gagné !", '']
    """

    def __init__(
        self,
        model: Seq2Seq,
        source_tokenizer: Tokenizer,
        target_tokenizer: Tokenizer,
        num_steps: int = 10,
        beam_size: int = SearchConfig.beam_size,
        length_penalty: float = SearchConfig.length_penalty,
        coverage_penalty: float = SearchConfig.coverage_penalty,
        replace_unknown: bool = SearchConfig.replace_unknown,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_type("model", model, Seq2Seq, "a trained model")
        for side, tokenizer in (("source", source_tokenizer), ("target", target_tokenizer)):
            check_type(f"{side}_tokenizer", tokenizer, Tokenizer, "the tokenizer of the model")
        parts = model, source_tokenizer, target_tokenizer
        for side, num_tokens, vocab_size in vocabulary_mismatches(*parts):
            if num_tokens:  # there are none yet when Keras loads a file
                raise ValueError(
                    f"the {side} tokenizer has {num_tokens} tokens and the model {vocab_size}; "
                    "give the tokenizer that the model was trained with"
                )
        check_number("num_steps", num_steps, ge=1, le=MAX_LAYER_SIZE)
        self.search_config = SearchConfig(
            beam_size, length_penalty, coverage_penalty, bool(replace_unknown)
        )
        attends = model.decoder.attention is not None
        for name in ("coverage_penalty", "replace_unknown"):
            if getattr(self, name) and not attends:
                raise ValueError(
                    f"{name} needs a decoder with attention, and this one has none; omit it, or "
                    "give the decoder attention='luong'"
                )
        units = source_tokenizer.replacement_unit, target_tokenizer.replacement_unit
        if replace_unknown and not (units[0] and units[0] == units[1]):
            raise ValueError("replace_unknown needs words, or characters, on both sides; omit it")
        check_copy_map(model.decoder.copying, source_tokenizer, target_tokenizer)
        self.model = model
        self.source_tokenizer = source_tokenizer
        self.target_tokenizer = target_tokenizer
        self.num_steps = num_steps
        self.jit_compile = False  # there are strings in the graph, which XLA cannot have
        self.built = True
        self._greedy_fn = _graph_function(self.answer, [TEXT])
        self._score_fn = _graph_function(self.score, [TEXT, REFERENCE])
        self._explain_fn = _graph_function(self.explain, [TEXT]) if attends else None
        self._beam_fns: dict[str, Callable[[tf.Tensor], Outputs]] = {}

    beam_size = _search_option("beam_size")
    length_penalty = _search_option("length_penalty")
    coverage_penalty = _search_option("coverage_penalty")
    replace_unknown = _search_option("replace_unknown")

    def build(self, input_shape: Any = None) -> None:
        self.built = True

    def call(self, text: tf.Tensor) -> tf.Tensor:
        """Translate a string tensor of shape (batch,)."""
        return self.answer(text)["translation"]

    def quantize(self, *args: Any, **kwargs: Any) -> None:
        """Refuse, as `Seq2Seq.quantize` does."""
        self.model.quantize(*args, **kwargs)

    def _beam_fn(self, beam_size: int, n_best: int) -> Callable[[tf.Tensor], Outputs]:
        key = f"{beam_size}/{n_best}"  # TensorFlow tracks dicts with string keys only
        if key not in self._beam_fns:
            self._beam_fns[key] = _graph_function(
                self.beam, [TEXT], beam_size=beam_size, n_best=n_best
            )
        return self._beam_fns[key]

    def extra_outputs(self, sentences: Sequence[bytes]) -> dict[str, dict[str, np.ndarray]]:
        """Compute the signatures other than `serving_default` and `score`, to verify an export.

        Args:
            sentences: raw text.

        Returns:
            For each signature its outputs as arrays.
        """
        functions = {BEAM: self._beam_fn(self.beam_size, self.beam_size)}
        if self._explain_fn is not None:
            functions[EXPLAIN] = self._explain_fn
        starts = range(0, len(sentences), EXTRA_BATCH_SIZE)
        outputs = {}
        for name, function in functions.items():
            batches = [
                function(string_tensor(sentences[start : start + EXTRA_BATCH_SIZE]))
                for start in starts
            ]
            outputs[name] = {
                key: np.concatenate([batch[key].numpy() for batch in batches]) for key in batches[0]
            }
        return outputs

    def save(self, filepath: str | os.PathLike[str], **kwargs: Any) -> None:
        """Write a `.keras` file with the weights and both vocabularies, atomically.

        Args:
            filepath: a name that ends in `.keras`.
            **kwargs: passed to `keras.Model.save`.

        Raises:
            InputError: another suffix, or the folder cannot be written to.
        """
        if Path(filepath).suffix != ".keras":
            raise InputError(
                f"{filepath}: a translator is saved as a .keras file; give a name ending in .keras"
            )
        with atomic_write(filepath) as temporary:
            super().save(temporary, **kwargs)

    @staticmethod
    def load(filepath: str | os.PathLike[str]) -> "Translator":
        """Load a translator that `save` wrote.

        Raises:
            InputError: no such file, or it holds no translator.
        """
        path = Path(filepath)
        loaded = load_model_file(path)
        if not isinstance(loaded, Translator):
            raise InputError(
                f"{path}: {NOT_A_TRANSLATOR}: it holds a {type(loaded).__name__}; give model.keras "
                "of a run"
            )
        parts = loaded.model, loaded.source_tokenizer, loaded.target_tokenizer
        for side, num_tokens, vocab_size in vocabulary_mismatches(*parts):
            raise InputError(
                f"{path}: its {side} vocabulary has {num_tokens} tokens, and its model "
                f"{vocab_size}; it is damaged, so get it again"
            )
        return loaded

    def export(
        self,
        folder: str | os.PathLike[str],
        version: int | None = None,
        sentences: Sequence[str | bytes] | None = None,
        progress: ProgressFn = lambda step, done, total: None,
        min_confidence: float | None = None,
    ) -> Path:
        """Write a SavedModel for TF Serving, from raw sentences to raw sentences, and verify it.

        Written is a copy of the model restored from what its file would hold, and compared with
        this translator.

        A model in half precision is exported in full precision, since its translations would depend
        on the other sentences of a batch. The weights are the same; scores differ in their last
        digits from those of this translator, and a translation may differ.

        Args:
            folder: the model's folder, such as `export/models/en-fr`; its name is the model's name,
                and it contains the numbered version folders.
            version: the version number; by default the next free one.
            sentences: real ones, to verify the export and warm up a server; sampled from the
                vocabulary by default.
            progress: called with the name of each step, how many texts are done and how many
                there are; 0 and 0 for a step that is not counted.
            min_confidence: adds the output `guarded` to `serving_default`: the translation, or ""
                where its confidence is lower than this; see `keras_s2s.evaluation.metrics.refusal`.

        Returns:
            The version folder. Its signatures are `serving_default` (see `answer`), `beam`,
            `score` and, with attention, `explain`; the vocabularies are files in
            `assets/`; `assets.extra/` has the verification record, the options of the tokenizers
            and the warm-up requests.

        Raises:
            InputError: the version exists or the folder cannot be written to.
            ExportError: the outputs of the export, loaded as by a server, differ from those of
                this translator; nothing is written.
        """
        return export(self, folder, version, sentences, progress, min_confidence)

    def with_parts(
        self, model: Seq2Seq, source_tokenizer: Tokenizer, target_tokenizer: Tokenizer
    ) -> "Translator":
        """Return a translator of other parts with the same options."""
        return Translator(model, source_tokenizer, target_tokenizer, **self._options())

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "model": keras.saving.serialize_keras_object(self.model),
            "source_tokenizer": keras.saving.serialize_keras_object(self.source_tokenizer),
            "target_tokenizer": keras.saving.serialize_keras_object(self.target_tokenizer),
            **self._options(),
        }

    def _options(self) -> dict[str, Any]:
        return {"num_steps": self.num_steps, **search_options(self.search_config)}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "Translator":
        objects = {
            name: keras.saving.deserialize_keras_object(config[name], custom_objects)
            for name in ("model", "source_tokenizer", "target_tokenizer")
        }
        return cls(**{**config, **objects})


def _graph_function(
    function: Callable[..., Outputs], signature: list[tf.TensorSpec], **options: Any
) -> Callable[..., Outputs]:
    """Return a method of a translator as a `tf.function` with one trace."""
    # WORKAROUND(tensorflow<=2.21.0): a partial, since TensorFlow counts the traces of a method over
    # all objects, and would warn of excessive retracing with several translators in a process.
    bound = functools.partial(function, **options)
    return tf.function(bound, input_signature=signature, autograph=False)
