"""The base class of tokenizers: text to ids and back, as graph code.

The same object serves training, evaluation and the exported model, so that a server preprocesses
text exactly as training did.
"""

import os
import tempfile
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from keras_s2s.utils.errors import InputError
from keras_s2s.utils.text import SPECIAL_TOKENS as SPECIAL_TOKENS

PAD, BOS, EOS, UNK = range(4)

# Texts per graph call when a whole corpus is tokenized, to bound the memory.
TOKENIZE_BATCH_SIZE = 8192


class Tokenizer(keras.layers.Layer):
    """The base class of tokenizers: padding, truncation, and the ids of the special tokens.

    A subclass implements `tokenize` and `detokenize`, `tokens_of` (ids to tokens in the graph),
    sets or overrides `vocabulary`, and writes the vocabulary to a file: `save_assets` and
    `load_assets` for Keras, `as_asset` for a SavedModel. In all subclasses the ids of `<pad>`,
    `<bos>`, `<eos>` and `<unk>` are 0, 1, 2 and 3.

    Attributes:
        file_suffix: suffix of a vocabulary file.
        replacement_unit: what `replace_unknown` copies from the source, `word` or `character`; ""
            if its unknown tokens cannot be replaced.
        space: what stands for a space in the tokens; None where a space parts any two of them.
    """

    file_suffix = ""
    replacement_unit = ""
    space: str | None = None

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.trainable = False
        self.built = True
        self._vocabulary: tuple[str, ...] = ()

    def tokenize(self, text: tf.Tensor) -> tf.RaggedTensor:
        raise NotImplementedError

    def detokenize(self, ids: tf.Tensor, valid_length: tf.Tensor) -> tf.Tensor:
        raise NotImplementedError

    def tokens_of(self, ids: tf.Tensor) -> tf.Tensor:
        """Return the token of each id, special tokens included; `<unk>` for an invalid id.

        Args:
            ids: integer tensor of any shape.

        Returns:
            String tensor of the same shape; valid UTF-8.
        """
        raise NotImplementedError

    def split_text(self, text: tf.Tensor) -> tf.RaggedTensor:
        """Split text into the tokens of `tokenize` as strings, unknown ones as they are.

        Args:
            text: string tensor, shape (batch,); any bytes.

        Returns:
            Ragged string tensor, shape (batch, (tokens)); valid UTF-8.
        """
        raise NotImplementedError

    def ids_of(self, tokens: tf.Tensor) -> tf.Tensor:
        """Return the id of each token, `<unk>` for unknown ones and for special tokens.

        Args:
            tokens: string tensor of any shape.

        Returns:
            Int32 tensor of the same shape.
        """
        raise NotImplementedError

    def join(self, tokens: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """Join tokens to texts, as `detokenize` does with the tokens of ids.

        Args:
            tokens: string tensor, shape (batch, steps).
            mask: bool tensor, shape (batch, steps): True for tokens of the text.

        Returns:
            String tensor, shape (batch,).
        """
        raise NotImplementedError

    def source_tokens(self, text: tf.Tensor, num_steps: int) -> tf.Tensor:
        """Return the token of each id of `encode_source`.

        Args:
            text: string tensor, shape (batch,).
            num_steps: as for `encode_source`.

        Returns:
            String tensor, shape (batch, num_steps), empty at padding; valid UTF-8.
        """
        ids, valid_length = self.encode_source(text, num_steps)
        return tf.where(tf.sequence_mask(valid_length, num_steps), self.tokens_of(ids), "")

    def as_sources(self, texts: list[str]) -> list[str]:
        """Return sources with these texts: the texts themselves, unless sources have columns."""
        return texts

    def as_asset(self, path: Path) -> "Tokenizer":
        """Return a copy whose vocabulary file becomes an asset of a SavedModel.

        Args:
            path: the file to write, with the suffix `file_suffix`.
        """
        raise NotImplementedError

    @property
    def vocabulary(self) -> list[str]:
        """All tokens in the order of their ids."""
        return list(self._vocabulary)

    def __len__(self) -> int:
        return len(self._vocabulary)

    def __bool__(self) -> bool:
        # Without this, a tokenizer whose vocabulary is not loaded yet would be false.
        return True

    def call(self, text: tf.Tensor) -> tf.RaggedTensor:
        return self.tokenize(text)

    def encode_source(self, text: tf.Tensor, num_steps: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Encode text for the encoder: tokens, truncated or padded to `num_steps`.

        Args:
            text: string tensor, shape (batch,).
            num_steps: length of the rows.

        Returns:
            Ids, int32 of shape (batch, num_steps), and valid lengths, int32 of shape (batch,).
        """
        return self.pad(self.tokenize(text), num_steps)

    def encode_target(self, text: tf.Tensor, num_steps: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Encode text for the decoder: `<bos>`, tokens, `<eos>`, padded to `num_steps`.

        A longer sentence is truncated but keeps its `<eos>`.

        Args:
            text: string tensor, shape (batch,).
            num_steps: length of the rows, 2 or more.

        Returns:
            Ids, int32 of shape (batch, num_steps), and valid lengths, int32 of shape (batch,).
        """
        return self.frame(self.tokenize(text), num_steps)

    def frame(self, tokens: tf.RaggedTensor, num_steps: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Add `<bos>` and `<eos>` to rows of ids; see `encode_target`."""
        ids, length = self.pad(tokens, num_steps - 2)
        ids = tf.pad(ids, [[0, 0], [1, 1]], constant_values=PAD)
        position = tf.range(num_steps)
        ids = tf.where(position == 0, BOS, ids)
        return tf.where(position == length[:, None] + 1, EOS, ids), length + 2

    def pad(self, tokens: tf.RaggedTensor, num_steps: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Truncate or pad rows of ids; see `encode_source`."""
        ids = tokens.to_tensor(default_value=PAD, shape=(None, num_steps))
        return ids, tf.cast(tf.minimum(tokens.row_lengths(), num_steps), tf.int32)


def copy_of(tokenizer: Tokenizer) -> Tokenizer:
    """Return an equal tokenizer that is another object."""
    copy = type(tokenizer).from_config(tokenizer.get_config())
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_assets(folder)
        copy.load_assets(folder)
    return copy


def text_mask(ids: tf.Tensor, valid_length: tf.Tensor) -> tf.Tensor:
    """Return which ids are part of the text: valid ones but `<pad>`, `<bos>` and `<eos>`.

    Args:
        ids: integer tensor, shape (batch, steps).
        valid_length: int32 tensor, shape (batch,).

    Returns:
        Bool tensor, shape (batch, steps).
    """
    return tf.sequence_mask(valid_length, tf.shape(ids)[1]) & ((ids > EOS) | (ids < PAD))


def clean(text: tf.Tensor) -> tf.Tensor:
    """Replace invalid UTF-8, and control characters and a byte order mark by spaces.

    Args:
        text: string tensor of any shape; any bytes.

    Returns:
        String tensor of the same shape; valid UTF-8.
    """
    text = tf.strings.unicode_transcode(text, "UTF-8", "UTF-8", errors="replace")
    return tf.strings.regex_replace(text, r"^\x{FEFF}|[[:cntrl:]]", " ")


def read_vocabulary_file(path: str | os.PathLike[str], description: str) -> bytes:
    """Return the content of a tokenizer's file.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: cannot read the {description} ({error.strerror}); give an existing file"
        ) from error
