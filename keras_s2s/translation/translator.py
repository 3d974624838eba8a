"""Text to text: the one object to save, load and export."""

import functools
import operator
import os
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

# A file may hold one of its tokenizers, and Keras knows only classes that have been imported.
import keras_s2s.tokenizers.sentence_piece_tokenizer  # noqa: F401
from keras_s2s.decoding.config import SearchConfig, search_options
from keras_s2s.models.mixed_precision import is_half_precision, to_full_precision
from keras_s2s.models.seq2seq import Seq2Seq
from keras_s2s.serving.contract import require_contract
from keras_s2s.serving.verification import sample_sentences, verify_export
from keras_s2s.serving.warmup import write_warmup_requests
from keras_s2s.serving.writer import SignatureFn, write_saved_model
from keras_s2s.tokenizers.tokenizer import SPECIAL_TOKENS, Tokenizer
from keras_s2s.tokenizers.word_tokenizer import WordTokenizer
from keras_s2s.translation.base import SentenceTranslator
from keras_s2s.translation.graph_functions import GraphFunctions, Outputs
from keras_s2s.utils.checks import check_ints, check_type
from keras_s2s.utils.errors import InputError, first_line
from keras_s2s.utils.files import atomic_write
from keras_s2s.utils.text import encode_texts, string_tensor

TEXT = tf.TensorSpec([None], tf.string, name="text")
NUM_SAMPLES = 600
NUM_WARMUP_SENTENCES = 64
REFERENCE = tf.TensorSpec([None], tf.string, name="reference")


@keras.saving.register_keras_serializable(package="keras_s2s")
class Translator(GraphFunctions, SentenceTranslator, keras.Model):
    """A trained model between two tokenizers: raw sentences in, raw sentences out.

    Args:
        model: a trained `Seq2Seq`.
        source_tokenizer: the tokenizer of the sentences it reads.
        target_tokenizer: the tokenizer of the sentences it writes.
        num_steps: longer sources are cut to so many tokens, and an answer has so many at most.
        beam_size: how many translations the signature `beam` of an export has.
        length_penalty: how much beam search favours long translations; see `beam_search`.
        coverage_penalty: how much it minds words of the source that are left out; needs attention.
        replace_unknown: whether to put the source word that is attended to most in place of an
            `<unk>` (Luong et al., 2015, "Addressing the Rare Word Problem"); needs attention and a
            `WordTokenizer` on both sides.

    Raises:
        ValueError: the tokenizers and the model know different numbers of tokens, or an option
            needs what they have not.

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
        check_type("model", model, Seq2Seq, "a trained one")
        for side, tokenizer in (("source", source_tokenizer), ("target", target_tokenizer)):
            check_type(f"{side}_tokenizer", tokenizer, Tokenizer, "that of the model")
        check_ints(num_steps=num_steps, beam_size=beam_size)
        attends = model.decoder.attention is not None
        for name, needed in (
            ("coverage_penalty", coverage_penalty),
            ("replace_unknown", replace_unknown),
        ):
            if needed and not attends:
                raise ValueError(
                    f"{name} needs a decoder with attention, and this one has none; leave it out, "
                    "or give the decoder attention='luong'"
                )
        if replace_unknown and not (
            isinstance(source_tokenizer, WordTokenizer)
            and isinstance(target_tokenizer, WordTokenizer)
        ):
            raise ValueError("replace_unknown needs a WordTokenizer on both sides; leave it out")
        for side, tokenizer, layer in (
            ("source", source_tokenizer, model.encoder),
            ("target", target_tokenizer, model.decoder),
        ):
            # While Keras loads a file, the vocabulary comes after the object.
            if len(tokenizer) and len(tokenizer) != layer.vocab_size:
                raise ValueError(
                    f"the {side} tokenizer has {len(tokenizer)} tokens and the model "
                    f"{layer.vocab_size}; they do not belong together, so give the one that it was "
                    "trained with"
                )
        self.model = model
        self.source_tokenizer = source_tokenizer
        self.target_tokenizer = target_tokenizer
        self.num_steps = num_steps
        self.search_config = SearchConfig(
            int(beam_size), float(length_penalty), float(coverage_penalty), bool(replace_unknown)
        )
        self.built = True
        self._answer = _graph_of(self.answer, [TEXT])
        self._score = _graph_of(self.score, [TEXT, REFERENCE])
        self._explain = _graph_of(self.explain, [TEXT]) if attends else None
        self._beams: dict[str, Callable[[tf.Tensor], Outputs]] = {}

    beam_size = property(operator.attrgetter("search_config.beam_size"))
    length_penalty = property(operator.attrgetter("search_config.length_penalty"))
    coverage_penalty = property(operator.attrgetter("search_config.coverage_penalty"))
    replace_unknown = property(operator.attrgetter("search_config.replace_unknown"))

    def build(self, input_shape: Any = None) -> None:
        self.built = True

    def call(self, text: tf.Tensor) -> tf.Tensor:
        """Translations of a string tensor of shape (batch,)."""
        return self.answer(text)["translation"]

    def _beam(self, beam_size: int, n_best: int) -> Callable[[tf.Tensor], Outputs]:
        name = f"{beam_size}/{n_best}"  # TensorFlow saves no attributes with other keys
        if name not in self._beams:
            self._beams[name] = _graph_of(self.beam, [TEXT], beam_size=beam_size, n_best=n_best)
        return self._beams[name]

    def extra_outputs(self, sentences: Sequence[bytes]) -> dict[str, dict[str, np.ndarray]]:
        """What an export's signatures besides `serving_default` and `score` should answer.

        Args:
            sentences: raw text.

        Returns:
            For each signature its outputs, as arrays.
        """
        functions = {"beam": self._beam(self.beam_size, self.beam_size)}
        if self._explain is not None:
            functions["explain"] = self._explain
        answers = {}
        for name, function in functions.items():
            parts = [
                {
                    key: value.numpy()
                    for key, value in function(string_tensor(sentences[start : start + 64])).items()
                }
                for start in range(0, len(sentences), 64)
            ]
            answers[name] = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
        return answers

    def save(self, filepath: str | os.PathLike[str], **kwargs: Any) -> None:
        """Writes one `.keras` file with the weights and both vocabularies inside.

        A file of that name is replaced once the new one is complete.

        Args:
            filepath: ends in `.keras`.
            **kwargs: those of `keras.Model.save`.

        Raises:
            InputError: another ending, or a folder that cannot be written to.
        """
        if Path(filepath).suffix != ".keras":
            raise InputError(
                f"{filepath}: the name of a translator's file ends in .keras; give such a name"
            )
        with atomic_write(filepath) as aside:
            super().save(aside, **kwargs)

    @staticmethod
    def load(filepath: str | os.PathLike[str]) -> "Translator":
        """Reads a file that `save` wrote.

        Raises:
            InputError: no such file, or not a translator's.
        """
        path = Path(filepath)
        if not path.is_file():
            raise InputError(f"{path}: no such file; check the name")
        not_ours = f"{path}: not a translator saved by keras_s2s"
        if path.suffix != ".keras":
            raise InputError(
                f"{not_ours}; give model.keras of a run, or another file that ends in .keras"
            )
        if not zipfile.is_zipfile(path):
            raise InputError(f"{not_ours}; it is not a .keras file, or is cut off; give another")
        try:
            loaded = keras.saving.load_model(path, compile=False)
        except Exception as error:
            raise InputError(
                f"{not_ours}, or damaged ({first_line(error)}); give model.keras of a run"
            ) from error
        if not isinstance(loaded, Translator):
            raise InputError(
                f"{not_ours}; it holds a {type(loaded).__name__}; give model.keras of a run"
            )
        return loaded

    def export(
        self,
        folder: str | os.PathLike[str],
        version: int | None = None,
        sentences: Sequence[str | bytes] | None = None,
    ) -> Path:
        """Writes a SavedModel for TF Serving: a raw sentence in, a raw sentence out.

        A model that computes in half precision is exported in full precision, since with less
        digits an answer depends on the sentences that a server asks in the same batch. It has the
        same weights; scores differ in their last digits from those of this translator, and so
        may a translation.

        Args:
            folder: the model's folder, for example `export/models/en-fr`; versions are numbered
                folders in it, and its name is the model's.
            version: the number; the next free one when left out.
            sentences: real ones, to verify the export and warm up a server; sampled from the
                vocabulary by default.

        Returns:
            The version's folder. Its signatures are `serving_default` (see `answer`), `beam`,
            `score` and, where the model attends, `explain`; the vocabularies are files in
            `assets/`; `assets.extra/` has the verification record and the warm-up requests.

        Raises:
            InputError: the version exists or the folder cannot be written to.
            ExportError: the export, loaded as a server loads it, does not answer as this
                translator does; nothing is left on disk then.
        """
        if is_half_precision(self.model):
            return self._in_full_precision().export(folder, version, sentences)
        if sentences is not None and not len(sentences):
            raise InputError(
                "sentences: there is none to verify the export with; give some, or leave them out"
            )
        texts = encode_texts(self._made_up_sentences() if sentences is None else sentences)

        def complete(written: Path) -> None:
            write_warmup_requests(written, Path(folder).name, texts[:NUM_WARMUP_SENTENCES])
            verify_export(written, self, texts)
            require_contract(written)

        with tempfile.TemporaryDirectory() as assets:
            source, target = (
                tokenizer.as_asset(Path(assets, f"{side}_vocabulary{tokenizer.file_suffix}"))
                for side, tokenizer in (
                    ("source", self.source_tokenizer),
                    ("target", self.target_tokenizer),
                )
            )
            served = Translator(self.model, source, target, **self._options())
            signatures: dict[str, tuple[SignatureFn, list[tf.TensorSpec]]] = {
                "serving_default": (served.answer, [TEXT]),
                "beam": (served.beam, [TEXT]),
                "score": (served.score, [TEXT, REFERENCE]),
            }
            if self.model.decoder.attention is not None:
                signatures["explain"] = (served.explain, [TEXT])
            return write_saved_model(
                folder,
                signatures,
                tracked=[served.source_tokenizer, served.target_tokenizer],
                version=version,
                complete=complete,
            )

    def _in_full_precision(self) -> "Translator":
        """The same weights and vocabularies, as `keras-s2s train` leaves them."""
        return Translator(
            to_full_precision(self.model),
            self.source_tokenizer,
            self.target_tokenizer,
            **self._options(),
        )

    def _made_up_sentences(self) -> list[str]:
        # Subwords that begin a word have the sign of a space before it.
        words = (token.strip("▁") for token in self.source_tokenizer.vocabulary)
        return sample_sentences(list(filter(None, words))[len(SPECIAL_TOKENS) :], NUM_SAMPLES)

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
        parts = {
            name: keras.saving.deserialize_keras_object(config[name], custom_objects)
            for name in ("model", "source_tokenizer", "target_tokenizer")
        }
        return cls(**{**config, **parts})


def _graph_of(
    function: Callable[..., Outputs], signature: list[tf.TensorSpec], **options: Any
) -> Callable[..., Outputs]:
    """A method of a translator as a graph, traced once."""
    # As a partial, because TensorFlow counts the traces of a method for all objects together: of
    # a few translators in a process it would say that one function is traced again and again.
    bound = functools.partial(function, **options)
    return tf.function(bound, input_signature=signature, autograph=False)
