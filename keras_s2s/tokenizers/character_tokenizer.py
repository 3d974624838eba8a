"""Tokenizers of words, names and other short texts: characters, or what white space separates.

Core TensorFlow ops, which any server runs.
"""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_s2s.tokenizers.symbols import split_symbols
from keras_s2s.tokenizers.tokenizer import clean
from keras_s2s.tokenizers.unicode.composition import compose
from keras_s2s.tokenizers.unicode.decomposition import normalize
from keras_s2s.tokenizers.vocabulary_tokenizer import VocabularyTokenizer
from keras_s2s.utils.errors import InputError, did_you_mean
from keras_s2s.utils.text import ALL_NORMALIZATIONS

# All that `str.split` takes for spaces, but control characters.
_WHITE_SPACE = r"[\pZ\x{85}]+"


class _NormalizingTokenizer(VocabularyTokenizer):
    """The base class of tokenizers that change nothing of a text but its normalization form."""

    def __init__(
        self,
        vocabulary: Sequence[str] | None = None,
        normalization: str = "nfc",
        symbols: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        if normalization not in ALL_NORMALIZATIONS:
            raise InputError(
                f"normalization is {normalization!r}; give one of {', '.join(ALL_NORMALIZATIONS)}"
                f"{did_you_mean(str(normalization), ALL_NORMALIZATIONS)}"
            )
        super().__init__(vocabulary, symbols, **kwargs)
        self.normalization = normalization

    def options(self) -> dict[str, Any]:
        return {"normalization": self.normalization, **super().options()}

    def _as_text(self, text: tf.Tensor) -> tf.Tensor:
        """Strip spaces, and compose letters and accents, as text is written."""
        text = tf.strings.strip(text)
        # Also for form C: the model, or `replace_unknown`, may put an accent after any letter.
        return text if self.normalization == "none" else compose(text)


@keras.saving.register_keras_serializable(package="keras_s2s")
class CharacterTokenizer(_NormalizingTokenizer):
    """A tokenizer of characters, which are Unicode's code points: for words, names and dates.

    Case, marks and spaces are kept; spaces at both ends are removed. A space is a token, which
    comes back as a space. Control characters count as spaces and invalid UTF-8 is replaced, so that
    any bytes are valid input. Characters that are not in the vocabulary become `<unk>`.

    Args:
        vocabulary: all tokens in the order of their ids, beginning with `<pad>`, `<bos>`,
            `<eos>`, `<unk>` and the symbols. Keras omits it when it loads a saved tokenizer.
        normalization: Unicode's normalization form of the tokens. `nfc`: a letter and its accents
            are one token where Unicode has one for them. `nfd`: letters and accents are tokens of
            their own, and Hangul syllables are their two or three jamo; the text of such tokens is
            composed again. `nfkc` and `nfkd`: the same, and compatibility characters are
            replaced (ﬁ by fi), which suits sources. `none`: as in the text.
        symbols: texts that are one token, always in the vocabulary; the longest that matches
            counts.

    Raises:
        InputError: there is no such normalization; a symbol is invalid; or the vocabulary does not
            begin with the special tokens and symbols, or has a duplicate or an invalid token.

    Reference: Unicode Standard Annex #15, "Unicode Normalization Forms"; Chung, Cho and Bengio, "A
    Character-level Decoder without Explicit Segmentation for Neural Machine Translation", 2016.

    Example:

    >>> tokenizer = CharacterTokenizer.fit(["Go on", "été"], symbols=["{name}"])
    >>> tokenizer.vocabulary[4:]
    ['{name}', 'o', 'é', ' ', 'G', 'n', 't']
    >>> ids, valid_length = tokenizer.encode_source(tf.constant(["Go {name}"]), num_steps=5)
    >>> ids.numpy().tolist(), valid_length.numpy().tolist()
    ([[8, 5, 7, 4, 0]], [4])
    >>> tokenizer.detokenize(ids, valid_length).numpy().tolist()
    [b'Go {name}']
    >>> korean = CharacterTokenizer.fit(["한국"], normalization="nfd")
    >>> len(korean.vocabulary[4:])
    6
    """

    space = " "
    replacement_unit = "character"

    def split_text(self, text: tf.Tensor) -> tf.RaggedTensor:
        # Not in `split`, which is given the pieces between symbols.
        return split_symbols(tf.strings.strip(clean(text)), self.symbols, self.split)

    def split(self, text: tf.Tensor) -> tf.RaggedTensor:
        """Return the characters of texts; see `VocabularyTokenizer.split`."""
        return tf.strings.unicode_split(normalize(text, self.normalization), "UTF-8")

    def join(self, tokens: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """Join characters to texts; see `VocabularyTokenizer.join`."""
        return self._as_text(tf.strings.reduce_join(tf.where(mask, tokens, ""), axis=-1))


@keras.saving.register_keras_serializable(package="keras_s2s")
class WhitespaceTokenizer(_NormalizingTokenizer):
    """A tokenizer of what white space separates: phones, pinyin, tags, text that is tokenized.

    Case and marks are kept, and nothing is split but at white space of all kinds. The tokens of an
    answer are joined by one space. Control characters count as spaces and invalid UTF-8 is
    replaced, so that any bytes are valid input. Tokens that are not in the vocabulary, or look like
    a special token, become `<unk>`.

    Args:
        vocabulary: all tokens in the order of their ids, beginning with `<pad>`, `<bos>`,
            `<eos>`, `<unk>` and the symbols. Keras omits it when it loads a saved tokenizer.
        normalization: see `CharacterTokenizer`.
        symbols: tokens that are always in the vocabulary.

    Raises:
        InputError: as for `CharacterTokenizer`.

    Example:

    >>> tokenizer = WhitespaceTokenizer.fit(["HH AH0 L OW1", "ʃ ɑ̃"])
    >>> ids, valid_length = tokenizer.encode_target(tf.constant(["L  OW1"]), num_steps=5)
    >>> ids.numpy().tolist(), valid_length.numpy().tolist()
    ([[1, 6, 7, 2, 0]], [4])
    >>> tokenizer.detokenize(ids, valid_length).numpy().tolist()
    [b'L OW1']
    """

    replacement_unit = "word"

    def split_text(self, text: tf.Tensor) -> tf.RaggedTensor:
        # A symbol is a token like others here: nothing splits one.
        return self.split(clean(text))

    def split(self, text: tf.Tensor) -> tf.RaggedTensor:
        """Return the tokens of texts; see `VocabularyTokenizer.split`."""
        text = tf.strings.regex_replace(normalize(text, self.normalization), _WHITE_SPACE, " ")
        return tf.strings.split(text)

    def join(self, tokens: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """Join tokens by spaces; see `VocabularyTokenizer.join`."""
        tokens = tf.where(mask, " " + tokens, "")
        return self._as_text(tf.strings.reduce_join(tokens, axis=-1))
