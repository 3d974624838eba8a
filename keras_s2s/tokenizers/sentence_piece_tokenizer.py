"""A subword tokenizer as graph code: SentencePiece trains the model, TensorFlow Text runs it.

The stock TF Serving has TensorFlow Text's ops built in. The model, text normalization included,
is one file that plain `sentencepiece` reads too.
"""

import itertools
import os
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_s2s.tokenizers.sentence_piece_model import (
    MIN_CHARACTER_COVERAGE,
    ModelResource,
    clean_texts,
    load_processor,
    sentencepiece_ops,
    train_model,
)
from keras_s2s.tokenizers.subword_regularization import sample_subwords
from keras_s2s.tokenizers.symbols import check_symbols
from keras_s2s.tokenizers.tokenizer import (
    SPECIAL_TOKENS,
    UNK,
    Tokenizer,
    clean,
    read_vocabulary_file,
    text_mask,
)
from keras_s2s.tokenizers.unicode.normalization_rules import trainer_options
from keras_s2s.utils.checks import check_int, check_texts
from keras_s2s.utils.errors import InputError
from keras_s2s.utils.files import atomic_write
from keras_s2s.utils.text import MODEL_TYPES, NORMALIZATIONS


@keras.saving.register_keras_serializable(package="keras_s2s")
class SentencePieceTokenizer(Tokenizer):
    """A subword tokenizer: frequent words are one token, rare ones are split.

    Control characters count as spaces and invalid UTF-8 is replaced, so that any bytes are valid
    input. Further normalization is part of the model and chosen in `fit`. A character that did
    not occur in the texts of `fit` becomes `<unk>`, unless the model has `byte_fallback`. Text
    that looks like a special token is tokenized as its characters.

    One tokenizer can serve both sides of a translation: fit it on the sentences of both.

    Args:
        model: a serialized SentencePiece model with this package's special tokens, from `fit`.
            Keras omits it when it loads a saved tokenizer.

    Raises:
        InputError: it is not such a model, or TensorFlow Text is not installed.

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
    space = "▁"

    def __init__(self, model: bytes | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
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
        symbols: Sequence[str] = (),
    ) -> "SentencePieceTokenizer":
        """Train a model. Equal arguments give equal bytes.

        Args:
            texts: sentences; those of more than 4,192 bytes are ignored.
            vocab_size: maximum size of the vocabulary, special tokens included; little text has
                fewer subwords.
            model_type: `unigram` (Kudo, "Subword Regularization", 2018), `bpe` (Sennrich,
                Haddow and Birch, "Neural Machine Translation of Rare Words with Subword Units",
                2016) or `char` (each character is a token).
            lowercase: whether capitals become small letters. With `nfkc` this is Unicode's simple
                case folding (ς becomes σ); ß and İ are unchanged.
            normalization: `nfkc` replaces compatibility characters (ﬁ by fi, … by ...) and all
                kinds of spaces, which suits sources. `nfc` composes letters and accents, and keeps
                all else, which suits targets: what it replaced could not be written. `none`
                composes nothing.
            character_coverage: fraction of the characters in the texts that get a token; the
                rarest are unknown.
            byte_fallback: whether an unknown character becomes its UTF-8 bytes instead of
                `<unk>`; takes 256 tokens of the vocabulary.
            max_sentences: size of a random sample to learn from; None for all sentences.
            seed: random seed of the sample.
            symbols: texts that are one token, never split nor normalized, and always in the
                vocabulary.

        Returns:
            A tokenizer.

        Raises:
            InputError: there is no text, an option is invalid, or `vocab_size` is too small for
                the characters.
        """
        if model_type not in MODEL_TYPES:
            raise InputError(f"model_type is {model_type!r}; give one of {', '.join(MODEL_TYPES)}")
        if normalization not in NORMALIZATIONS:
            raise InputError(
                f"normalization is {normalization!r}; give one of {', '.join(NORMALIZATIONS)}"
            )
        if not MIN_CHARACTER_COVERAGE <= character_coverage <= 1:
            raise InputError(
                f"character_coverage is {character_coverage}; give {MIN_CHARACTER_COVERAGE} to 1"
            )
        advice = ", since the special tokens count"
        check_int("vocab_size", vocab_size, len(SPECIAL_TOKENS) + 1, advice)
        sentences = check_texts("texts", texts)
        if max_sentences is not None:
            check_int("max_sentences", max_sentences)
            sample_size = min(max_sentences, len(sentences))
            sentences = random.Random(seed).sample(sentences, sample_size)
        with trainer_options(normalization, lowercase) as options:
            model = train_model(
                sentences,
                vocab_size,
                model_type=model_type,
                character_coverage=character_coverage,
                byte_fallback=byte_fallback,
                **({"user_defined_symbols": list(check_symbols(symbols))} if symbols else {}),
                **options,
            )
        return cls(model)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "SentencePieceTokenizer":
        """Read a model file, written by `save` or SentencePiece.

        Raises:
            InputError: the file is missing, or not a model with this package's special tokens.
        """
        tokenizer = cls()
        tokenizer._set_model(read_vocabulary_file(path, "model"), str(path))
        return tokenizer

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to a file that `load` and SentencePiece read."""
        with atomic_write(path) as temporary:
            temporary.write_bytes(self._model)

    @property
    def vocabulary(self) -> list[str]:
        """All subwords in the order of their ids; the first one of a word starts with `▁`."""
        return super().vocabulary

    def tokenize(self, text: tf.Tensor) -> tf.RaggedTensor:
        """Return the ids of the most probable segmentation of each text.

        Args:
            text: string tensor, shape (batch,); any bytes.

        Returns:
            Ragged int32 tensor, shape (batch, (subwords)), without padding, `<bos>` and `<eos>`.
        """
        return self._tokenize(text, tf.int32)

    def split_text(self, text: tf.Tensor) -> tf.RaggedTensor:
        return self._tokenize(text, tf.string)

    def _tokenize(self, text: tf.Tensor, out_type: tf.DType) -> tf.RaggedTensor:
        tokens, row_splits = sentencepiece_ops().sentencepiece_tokenize_op(
            self._resource.resource_handle,
            clean(text),
            nbest_size=0,
            alpha=1.0,
            add_bos=False,
            add_eos=False,
            reverse=False,
            out_type=out_type,
        )
        return tf.RaggedTensor.from_row_splits(tokens, row_splits, validate=False)

    def ids_of(self, tokens: tf.Tensor) -> tf.Tensor:
        resource = self._resource.resource_handle
        ids = sentencepiece_ops().sentencepiece_string_to_id_op(resource, tf.reshape(tokens, [-1]))
        ids = tf.reshape(ids, tf.shape(tokens))
        return tf.where(ids < len(SPECIAL_TOKENS), UNK, ids)

    def sample(self, texts: Sequence[str], seed: int, alpha: float = 0.2) -> tf.RaggedTensor:
        """Return the ids of a random segmentation of each text (subword regularization).

        Runs in Python: 60,000 sentences take some seconds.

        Args:
            texts: sentences.
            seed: random seed, any integer; the samples are reproducible.
            alpha: smoothing of a unigram model: 1 samples from the probabilities, which is rarely
                another segmentation than that of `tokenize`, 0 uniformly. For a BPE model, the
                dropout probability of merges. On French, unigram with 0.2 and BPE with 0.1 give
                1.3 times as many subwords as `tokenize`.

        Returns:
            Ragged int32 tensor, shape (texts, (subwords)), as from `tokenize`.

        Raises:
            InputError: `alpha` is not in [0, 1].

        Reference: Kudo, "Subword Regularization", 2018; Provilkov, Emelianenko and Voita,
        "BPE-Dropout", 2020.
        """
        if not 0 <= alpha <= 1:
            raise InputError(f"alpha is {alpha}; give 0 to 1")
        rows = sample_subwords(self._processor, list(clean_texts(texts)), seed, alpha)
        lengths = np.array([len(row) for row in rows], np.int64)
        ids = np.fromiter(itertools.chain.from_iterable(rows), np.int32, lengths.sum())
        return tf.RaggedTensor.from_row_lengths(ids, lengths, validate=False)

    def detokenize(self, ids: tf.Tensor, valid_length: tf.Tensor) -> tf.Tensor:
        """Return the text of subwords, without `<pad>`, `<bos>` and `<eos>`.

        Args:
            ids: int32 tensor, shape (batch, steps).
            valid_length: int32 tensor, shape (batch,): ids from this position on are ignored.

        Returns:
            String tensor, shape (batch,); valid UTF-8.
        """
        return self._detokenize(self._replace_invalid(ids), text_mask(ids, valid_length))

    def join(self, tokens: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        return self._detokenize(tokens, mask)

    def _detokenize(self, tokens: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        lengths = tf.math.count_nonzero(mask, axis=1)
        text = sentencepiece_ops().sentencepiece_detokenize_op(
            self._resource.resource_handle,
            tf.boolean_mask(tokens, mask),
            tf.concat([[0], tf.cumsum(lengths)], axis=0),
            add_bos=False,
            add_eos=False,
            reverse=False,
        )
        # Byte pieces can form line ends and invalid UTF-8.
        return tf.strings.strip(clean(text))

    def tokens_of(self, ids: tf.Tensor) -> tf.Tensor:
        flat = tf.reshape(self._replace_invalid(ids), [-1])
        resource = self._resource.resource_handle
        tokens = sentencepiece_ops().sentencepiece_id_to_string_op(resource, flat)
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
        # The model is stored as a file, see `save_assets`.
        config = super().get_config()
        config.pop("model", None)
        return config

    def _set_model(self, model: bytes, name: str, file: Path | None = None) -> None:
        self._processor = load_processor(model, name)
        self._vocabulary = tuple(self._processor.id_to_piece(list(range(len(self._processor)))))
        self._model = model
        self._resource = ModelResource(model, file)

    def _replace_invalid(self, ids: tf.Tensor) -> tf.Tensor:
        """Replace ids that are out of range, at which the ops fail, by `<unk>`."""
        ids = tf.cast(ids, tf.int32)
        return tf.where((ids < 0) | (ids >= len(self)), UNK, ids)
