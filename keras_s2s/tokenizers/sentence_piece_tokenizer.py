"""Text to subwords and back, as graph code: SentencePiece learns them, TensorFlow Text runs them.

The ops are TensorFlow Text's, which the stock TF Serving has built in. What SentencePiece learned,
its normalisation of text included, is one file that plain `sentencepiece` reads too.
"""

import functools
import importlib.util
import io
import itertools
import os
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import sentencepiece
import tensorflow as tf

from keras_s2s.tokenizers.subword_regularization import draw_subwords
from keras_s2s.tokenizers.tokenizer import (
    BOS,
    EOS,
    PAD,
    SPECIAL_TOKENS,
    TEXTS_AT_A_TIME,
    UNK,
    Tokenizer,
    clean,
    is_text,
)
from keras_s2s.utils.checks import check_int, check_texts
from keras_s2s.utils.errors import InputError, one_line
from keras_s2s.utils.files import atomic_write, sha256_of

MODEL_TYPES = ("unigram", "bpe")
# SentencePiece's name of each normalisation, with and without lower-casing.
NORMALIZATIONS = {
    ("nfkc", True): "nmt_nfkc_cf",
    ("nfkc", False): "nmt_nfkc",
    ("none", False): "identity",
}
LEAST_COVERAGE = 0.98  # SentencePiece takes no less
LONGEST_SENTENCE = 4192  # in bytes; SentencePiece's own limit


@keras.saving.register_keras_serializable(package="keras_s2s")
class SentencePieceTokenizer(Tokenizer):
    """Subwords: frequent words are one token, rare ones several, down to single characters.

    Control characters count as spaces and invalid UTF-8 is replaced, so that any bytes give an
    answer. What else is normalised was decided by `fit` and is part of the model. A character
    that the texts of `fit` did not have gets `<unk>`, unless there is `byte_fallback`. Text that
    looks like a special token is nothing but its characters.

    One tokenizer may serve both sides of a translation: fit it on the sentences of both.

    Args:
        model: a serialized SentencePiece model whose special tokens are those of this package,
            as `fit` makes it. Left out only by Keras when it loads a saved tokenizer.

    Raises:
        InputError: it is no such model, or TensorFlow Text is not installed.

    Reference: Kudo and Richardson, "SentencePiece: A simple and language independent subword
    tokenizer and detokenizer for Neural Text Processing", 2018.

    Example:

    >>> texts = ["Go.", "Go on.", "I won.", "I will go on.", "You won."]
    >>> tokenizer = SentencePieceTokenizer.fit(texts, vocab_size=40)
    >>> tokenizer.vocabulary[:5]
    ['<pad>', '<bos>', '<eos>', '<unk>', '▁']
    >>> ids, valid_length = tokenizer.encode_source(tf.constant(["You will go on!"]), num_steps=20)
    >>> tokenizer.detokenize(ids, valid_length).numpy().tolist()
    [b'you will go on<unk>']
    """

    file_suffix = ".model"

    def __init__(self, model: bytes | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.trainable = False
        self.built = True
        self._vocabulary: tuple[str, ...] = ()
        if model is not None:
            self._set_model(model, "model")

    @classmethod
    def fit(
        cls,
        texts: Iterable[str],
        vocab_size: int = 8000,
        model_type: str = "unigram",
        lowercase: bool = True,
        normalization: str = "nfkc",
        character_coverage: float = 1.0,
        byte_fallback: bool = False,
        max_sentences: int | None = None,
        seed: int = 0,
    ) -> "SentencePieceTokenizer":
        """Learns subwords. The same arguments give the same model, to the byte.

        Args:
            texts: sentences; those of more than 4,192 bytes are left out.
            vocab_size: the size of the vocabulary at most, special tokens included; little text
                has fewer subwords.
            model_type: `unigram` (Kudo, "Subword Regularization", 2018) or `bpe` (Sennrich,
                Haddow and Birch, "Neural Machine Translation of Rare Words with Subword Units",
                2016).
            lowercase: whether to fold case, as Unicode does where one character stays one: ς
                becomes σ; ß and İ stay.
            normalization: `nfkc` makes one character of compatible ones (ﬁ becomes fi, … becomes
                ...) and a space of any kind of space; `none` leaves all as it is.
            character_coverage: share of the texts' characters that get a token; the rarest of
                them beyond that are unknown.
            byte_fallback: whether an unknown character becomes its bytes of UTF-8 and none is
                `<unk>`. Takes 256 places of the vocabulary.
            max_sentences: learn from so many at most, drawn at random.
            seed: of the drawing.

        Returns:
            A tokenizer.

        Raises:
            InputError: there is no text, an option has a value that makes no sense, or
                `vocab_size` is too small for the characters.
        """
        if model_type not in MODEL_TYPES:
            raise InputError(f"model_type is {model_type!r}; give {' or '.join(MODEL_TYPES)}")
        if (normalization, lowercase) not in NORMALIZATIONS:
            raise InputError(
                f"normalization is {normalization!r} and lowercase {lowercase}; give nfkc, or "
                "none with lowercase=False"
            )
        if not LEAST_COVERAGE <= character_coverage <= 1:
            raise InputError(
                f"character_coverage is {character_coverage}; give {LEAST_COVERAGE} to 1"
            )
        least, why = len(SPECIAL_TOKENS) + 1, ", since the special tokens count"
        check_int("vocab_size", vocab_size, least, why)
        listed = check_texts("texts", texts)
        if max_sentences is not None:
            check_int("max_sentences", max_sentences)
            listed = random.Random(seed).sample(listed, min(max_sentences, len(listed)))
        pad, bos, eos, unk = SPECIAL_TOKENS
        model = io.BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=_cleaned(listed),
                model_writer=model,
                max_sentence_length=LONGEST_SENTENCE,
                vocab_size=vocab_size,
                hard_vocab_limit=False,
                model_type=model_type,
                normalization_rule_name=NORMALIZATIONS[normalization, lowercase],
                character_coverage=character_coverage,
                byte_fallback=byte_fallback,
                pad_id=PAD,
                bos_id=BOS,
                eos_id=EOS,
                unk_id=UNK,
                pad_piece=pad,
                bos_piece=bos,
                eos_piece=eos,
                unk_piece=unk,
                unk_surface=unk,
                minloglevel=2,
            )
        except RuntimeError as error:
            raise InputError(_reason(str(error), vocab_size)) from error
        return cls(model.getvalue())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "SentencePieceTokenizer":
        """Reads a model file, as `save` and SentencePiece itself write it.

        Raises:
            InputError: the file is missing, or not a model with this package's special tokens.
        """
        try:
            model = Path(path).read_bytes()
        except OSError as error:
            raise InputError(
                f"{path}: cannot read the model ({error.strerror}); give a file that is there"
            ) from error
        tokenizer = cls()
        tokenizer._set_model(model, str(path))
        return tokenizer

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the model as a file that `load` reads, and SentencePiece itself."""
        with atomic_write(path) as aside:
            aside.write_bytes(self._model)

    @property
    def vocabulary(self) -> list[str]:
        """All subwords in the order of their ids; one that begins a word has `▁` before it."""
        return list(self._vocabulary)

    def __len__(self) -> int:
        return len(self._vocabulary)

    def tokenize(self, text: tf.Tensor) -> tf.RaggedTensor:
        """Ids of the subwords of each text, the most probable ones.

        Args:
            text: string tensor, shape (batch,); any bytes.

        Returns:
            Ragged int32 tensor, shape (batch, (subwords)), without padding, `<bos>` and `<eos>`.
        """
        ids, row_splits = _ops().sentencepiece_tokenize_op(
            self._resource.resource_handle,
            clean(text),
            nbest_size=0,
            alpha=1.0,
            add_bos=False,
            add_eos=False,
            reverse=False,
        )
        return tf.RaggedTensor.from_row_splits(ids, row_splits, validate=False)

    def sample(self, texts: Sequence[str], seed: int, alpha: float = 0.2) -> tf.RaggedTensor:
        """Ids of subwords that each text can be cut into, drawn at random.

        A model that sees a text cut in another way each epoch learns from it more than once. It
        runs in Python: 60,000 sentences take some seconds.

        Args:
            texts: sentences.
            seed: any whole number. The same one gives the same draw for the same texts.
            alpha: of a unigram model, how much probable ways are preferred: 1 draws as the
                probabilities are, which is hardly ever another way than that of `tokenize`, and 0
                draws all ways alike. Of a BPE model, the share of merges left out. On French,
                unigram with 0.2 and BPE with 0.1 give 1.3 times as many subwords as `tokenize`.

        Returns:
            Ragged int32 tensor, shape (texts, (subwords)), as from `tokenize`.

        Raises:
            InputError: `alpha` is not within 0 and 1.

        Reference: Kudo, "Subword Regularization", 2018; Provilkov, Emelianenko and Voita,
        "BPE-Dropout", 2020.
        """
        if not 0 <= alpha <= 1:
            raise InputError(f"alpha is {alpha}; give 0 to 1")
        rows = draw_subwords(self._processor, list(_cleaned(texts)), seed, alpha)
        lengths = np.array([len(row) for row in rows], np.int64)
        ids = np.fromiter(itertools.chain.from_iterable(rows), np.int32, lengths.sum())
        return tf.RaggedTensor.from_row_lengths(ids, lengths, validate=False)

    def detokenize(self, ids: tf.Tensor, valid_length: tf.Tensor) -> tf.Tensor:
        """Text of subwords, without `<pad>`, `<bos>` and `<eos>`; spaces stand where they were.

        Args:
            ids: int32 tensor, shape (batch, steps).
            valid_length: int32 tensor, shape (batch,): ids from this position on are left out.

        Returns:
            String tensor, shape (batch,); valid UTF-8.
        """
        kept = is_text(ids, valid_length)
        lengths = tf.math.count_nonzero(kept, axis=1)
        text = _ops().sentencepiece_detokenize_op(
            self._resource.resource_handle,
            tf.boolean_mask(self._known(ids), kept),
            tf.concat([[0], tf.cumsum(lengths)], axis=0),
            add_bos=False,
            add_eos=False,
            reverse=False,
        )
        # Bytes that a model puts in a row may be a line end, or no text at all.
        return tf.strings.strip(clean(text))

    def tokens_of(self, ids: tf.Tensor) -> tf.Tensor:
        flat = tf.reshape(self._known(ids), [-1])
        tokens = _ops().sentencepiece_id_to_string_op(self._resource.resource_handle, flat)
        return tf.reshape(tokens, tf.shape(ids))

    def as_asset(self, path: Path) -> "SentencePieceTokenizer":
        self.save(path)
        copy = SentencePieceTokenizer()
        copy._set_model(self._model, str(path), file=path)
        return copy

    def save_assets(self, dir_path: str) -> None:
        self.save(Path(dir_path) / "sentencepiece.model")

    def load_assets(self, dir_path: str) -> None:
        path = Path(dir_path) / "sentencepiece.model"
        self._set_model(path.read_bytes(), path.name)

    def get_config(self) -> dict[str, Any]:
        # The model is a file beside the configuration, see `save_assets`.
        config = super().get_config()
        config.pop("model", None)
        return config

    def _set_model(self, model: bytes, where: str, file: Path | None = None) -> None:
        self._processor = _read_model(model, where)
        self._vocabulary = tuple(self._processor.id_to_piece(list(range(len(self._processor)))))
        self._model = model
        self._resource = _ModelResource(model, file)

    def _known(self, ids: tf.Tensor) -> tf.Tensor:
        """Ids with `<unk>` in place of what is no id, at which the ops would fail."""
        ids = tf.cast(ids, tf.int32)
        return tf.where((ids < 0) | (ids >= len(self)), UNK, ids)


class _ModelResource(tf.saved_model.experimental.TrackableResource):
    """A model as TensorFlow Text's ops take it.

    TensorFlow Text's own class gives it no name. It then belongs to a kernel that
    `keras.utils.clear_session` throws away, and all functions that use it fail.

    The ops take the model from the graph alone. A file of it can go along into a SavedModel, for
    whoever wants to read the vocabulary.
    """

    def __init__(self, model: bytes, file: Path | None = None) -> None:
        super().__init__()
        self._model = model
        if file is not None:
            self._track_trackable(tf.saved_model.Asset(os.fspath(file)), "file")
        # What is made while a function is traced would be of the function alone.
        with tf.init_scope():
            _ = self.resource_handle

    def _create_resource(self) -> tf.Tensor:
        content = sha256_of(self._model)
        return _ops().sentencepiece_op(
            model=self._model, shared_name=f"sentencepiece_{content[:16]}"
        )


@functools.cache
def _ops() -> Any:
    """TensorFlow Text's ops for SentencePiece.

    Only the one library is loaded, when it is needed: importing the package takes 0.2 s.
    """
    installed = importlib.util.find_spec("tensorflow_text")
    if installed is None or not installed.submodule_search_locations:
        raise InputError("subwords need TensorFlow Text; pip install tensorflow-text")
    folder = Path(installed.submodule_search_locations[0]) / "python" / "ops"
    return tf.load_op_library(os.fspath(folder / "_sentencepiece_tokenizer.so"))


def _cleaned(texts: Sequence[str | bytes]) -> Iterator[bytes]:
    """The texts as `tokenize` gives them to SentencePiece."""
    for start in range(0, len(texts), TEXTS_AT_A_TIME):
        yield from clean(tf.constant(texts[start : start + TEXTS_AT_A_TIME])).numpy().tolist()


def _read_model(model: bytes, where: str) -> sentencepiece.SentencePieceProcessor:
    """A model in Python, or an `InputError` that says why it is none."""
    try:
        processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    except RuntimeError as error:
        raise InputError(f"{where}: not a SentencePiece model, or damaged; give another") from error
    if not model:  # which passes, until it is used
        raise InputError(f"{where}: not a SentencePiece model; it is empty; give another")
    ids = processor.pad_id(), processor.bos_id(), processor.eos_id(), processor.unk_id()
    if ids != (PAD, BOS, EOS, UNK) or processor.id_to_piece(list(ids)) != list(SPECIAL_TOKENS):
        raise InputError(
            f"{where}: its first pieces are not the special tokens {' '.join(SPECIAL_TOKENS)}; "
            "train one with SentencePieceTokenizer.fit"
        )
    return processor


def _reason(message: str, vocab_size: int) -> str:
    """What an error of the trainer means, in a line."""
    too_small = re.search(r"Vocabulary size is smaller than required_chars\. \d+ vs (\d+)", message)
    if too_small:
        return (
            f"vocab_size is {vocab_size}; give {too_small[1]} or more, since every character and "
            "special token has a place (a training calls it --max-tokens), or lower "
            "character_coverage"
        )
    if "sentences_.empty()" in message or "all_chars_count" in message:
        return (
            "no text to learn subwords from; give sentences, of at most "
            f"{LONGEST_SENTENCE:,} bytes each"
        )
    return f"SentencePiece cannot learn from these texts: {one_line(message)}"
