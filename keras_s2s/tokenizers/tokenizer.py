"""Text to ids and back, as graph code: what all tokenizers share.

One tokenizer object serves training, evaluation and the exported model, so that what a server
does to a sentence is what training did to it.
"""

from pathlib import Path

import keras
import tensorflow as tf

SPECIAL_TOKENS = ("<pad>", "<bos>", "<eos>", "<unk>")
PAD, BOS, EOS, UNK = range(4)

# Texts that are tokenized at a time where a whole corpus is: bounds the memory of the graph call.
TEXTS_AT_A_TIME = 8192


class Tokenizer(keras.layers.Layer):
    """What every tokenizer shares: padding, cutting, and the ids of the special tokens.

    A subclass says how text becomes ids (`tokenize`) and ids become text (`detokenize`), what
    each of them stands for (`vocabulary`, and `tokens_of` in the graph), and how its vocabulary
    becomes a file (`save_assets` and `load_assets` for Keras, `as_asset` for a SavedModel).
    The ids of `<pad>`, `<bos>`, `<eos>` and `<unk>` are 0, 1, 2 and 3 in all of them.

    Attributes:
        file_suffix: that of a vocabulary's file.
    """

    file_suffix = ""

    def tokenize(self, text: tf.Tensor) -> tf.RaggedTensor:
        raise NotImplementedError

    def detokenize(self, ids: tf.Tensor, valid_length: tf.Tensor) -> tf.Tensor:
        raise NotImplementedError

    def tokens_of(self, ids: tf.Tensor) -> tf.Tensor:
        """What each id stands for, the special tokens too; `<unk>` for what is no id.

        Args:
            ids: integer tensor of any shape.

        Returns:
            String tensor of the same shape; valid UTF-8.
        """
        raise NotImplementedError

    def source_tokens(self, text: tf.Tensor, num_steps: int) -> tf.Tensor:
        """What each id of `encode_source` stands for.

        Args:
            text: string tensor, shape (batch,).
            num_steps: as for `encode_source`.

        Returns:
            String tensor, shape (batch, num_steps), empty at padding; valid UTF-8.
        """
        ids, valid_length = self.encode_source(text, num_steps)
        return tf.where(tf.sequence_mask(valid_length, num_steps), self.tokens_of(ids), "")

    def as_asset(self, path: Path) -> "Tokenizer":
        """A copy that takes a file along into a SavedModel, as an asset.

        Args:
            path: the file, which is written. It ends in `file_suffix`.
        """
        raise NotImplementedError

    @property
    def vocabulary(self) -> list[str]:
        """All tokens in the order of their ids."""
        raise NotImplementedError

    def __len__(self) -> int:
        raise NotImplementedError

    def __bool__(self) -> bool:
        # Without this a tokenizer whose vocabulary is still to be loaded would count as false.
        return True

    def call(self, text: tf.Tensor) -> tf.RaggedTensor:
        return self.tokenize(text)

    def encode_source(self, text: tf.Tensor, num_steps: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Text as the encoder reads it: the tokens alone, cut or padded to `num_steps`.

        Args:
            text: string tensor, shape (batch,).
            num_steps: length of the rows.

        Returns:
            Ids, int32 of shape (batch, num_steps), and how many of them are not padding, int32 of
            shape (batch,).
        """
        return self.pad(self.tokenize(text), num_steps)

    def encode_target(self, text: tf.Tensor, num_steps: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Text as the decoder learns it: `<bos>`, tokens, `<eos>`, cut or padded to `num_steps`.

        A sentence that is too long loses tokens at its end but keeps its `<eos>`.

        Args:
            text: string tensor, shape (batch,).
            num_steps: length of the rows, 2 or more.

        Returns:
            Ids, int32 of shape (batch, num_steps), and how many of them are not padding, int32 of
            shape (batch,).
        """
        return self.frame(self.tokenize(text), num_steps)

    def frame(self, tokens: tf.RaggedTensor, num_steps: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Puts `<bos>` and `<eos>` around rows of ids; see `encode_target`."""
        ids, length = self.pad(tokens, num_steps - 2)
        ids = tf.pad(ids, [[0, 0], [1, 1]], constant_values=PAD)
        position = tf.range(num_steps)
        ids = tf.where(position == 0, BOS, ids)
        return tf.where(position == length[:, None] + 1, EOS, ids), length + 2

    def pad(self, tokens: tf.RaggedTensor, num_steps: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Cuts or pads rows of ids; see `encode_source`."""
        ids = tokens.to_tensor(default_value=PAD, shape=(None, num_steps))
        return ids, tf.cast(tf.minimum(tokens.row_lengths(), num_steps), tf.int32)


def is_text(ids: tf.Tensor, valid_length: tf.Tensor) -> tf.Tensor:
    """Which ids are to be seen in a text: valid ones but `<pad>`, `<bos>` and `<eos>`.

    Args:
        ids: integer tensor, shape (batch, steps).
        valid_length: int32 tensor, shape (batch,).

    Returns:
        Bool tensor, shape (batch, steps).
    """
    return tf.sequence_mask(valid_length, tf.shape(ids)[1]) & ((ids > EOS) | (ids < PAD))


def clean(text: tf.Tensor) -> tf.Tensor:
    """Makes text of any bytes: what is not UTF-8 is replaced, control characters become spaces.

    Args:
        text: string tensor of any shape.

    Returns:
        String tensor of the same shape; valid UTF-8.
    """
    text = tf.strings.unicode_transcode(text, "UTF-8", "UTF-8", errors="replace")
    return tf.strings.regex_replace(text, r"[[:cntrl:]]", " ")
