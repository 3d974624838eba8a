"""The word tokenizer, as graph code of core TensorFlow ops, which any server runs."""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_s2s.tokenizers.tokenizer import clean
from keras_s2s.tokenizers.unicode.word_rules import SPLITS, attach_punctuation
from keras_s2s.tokenizers.vocabulary_tokenizer import VocabularyTokenizer
from keras_s2s.utils.errors import InputError
from keras_s2s.utils.text import WORD_RULES


@keras.saving.register_keras_serializable(package="keras_s2s")
class WordTokenizer(VocabularyTokenizer):
    """A tokenizer of lower-cased words and punctuation marks.

    By the rules `chapter` no-break spaces become spaces, text is lower-cased, a space is inserted
    before each `,` `!` and `.` (as in the chapter; not before `?`), and the text is split on
    spaces. By the rules `unicode` text is lower-cased and composed (form C), invisible characters
    are removed, and it is split at all of Unicode's spaces and at punctuation; answers are written
    without spaces inside of punctuation. See `word_rules` for what stays within words.

    Control characters count as spaces and invalid UTF-8 is replaced, so that any bytes are valid
    input. Out-of-vocabulary words and words that look like a special token become `<unk>`.

    Args:
        vocabulary: all tokens in the order of their ids, beginning with `<pad>`, `<bos>`,
            `<eos>`, `<unk>` and the symbols. Keras omits it when it loads a saved tokenizer.
        rules: `chapter` or `unicode`.
        symbols: words that are neither lower-cased nor split and always in the vocabulary; the
            longest that matches counts.

    Raises:
        InputError: there are no such rules; a symbol is invalid; or the vocabulary does not begin
            with the special tokens and symbols, or has a duplicate or a token that is empty or
            contains a space or a line end.

    Reference: Dive into Deep Learning, "Machine Translation and Data Sets" (`preprocess_raw`,
    `tokenize`, `Vocab`).

    Example:

    >>> tokenizer = WordTokenizer.fit(["Go.", "Go!", "I won!"])
    >>> len(tokenizer), tokenizer.vocabulary[4:]
    (9, ['!', 'go', '.', 'i', 'won'])
    >>> ids, valid_length = tokenizer.encode_target(tf.constant(["I won!"]), num_steps=6)
    >>> ids.numpy().tolist(), valid_length.numpy().tolist()
    ([[1, 7, 8, 4, 2, 0]], [5])
    >>> tokenizer.detokenize(ids, valid_length).numpy().tolist()
    [b'i won !']
    """

    replacement_unit = "word"

    def __init__(
        self,
        vocabulary: Sequence[str] | None = None,
        rules: str = "chapter",
        symbols: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        _check_rules(rules)
        super().__init__(vocabulary, symbols, **kwargs)
        self.rules = rules

    @classmethod
    def fit(
        cls,
        texts: Iterable[str],
        min_freq: int = 1,
        max_tokens: int | None = None,
        rules: str = "chapter",
        **options: Any,
    ) -> "WordTokenizer":
        """Build a vocabulary in order of frequency; ties are in alphabetical order.

        Args:
            texts: sentences.
            min_freq: minimum frequency of a word.
            max_tokens: maximum size of the vocabulary, special tokens and symbols included.
            rules: `chapter` or `unicode`; see `WordTokenizer`.
            **options: `symbols`; see `WordTokenizer`.

        Returns:
            A tokenizer.

        Raises:
            InputError: `min_freq` is below 1, `max_tokens` below the number of special tokens and
                symbols, or an option is invalid.
        """
        return super().fit(texts, min_freq, max_tokens, rules=rules, **options)

    @classmethod
    def from_counts(
        cls,
        counts: Mapping[bytes, int],
        min_freq: int = 1,
        max_tokens: int | None = None,
        rules: str = "chapter",
        **options: Any,
    ) -> "WordTokenizer":
        """Build a vocabulary from the frequencies of words, counted by these rules; see `fit`."""
        return super().from_counts(counts, min_freq, max_tokens, rules=rules, **options)

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], rules: str = "chapter", **options: Any
    ) -> "WordTokenizer":
        """Read a vocabulary file: UTF-8, one token per line, in the order of the ids.

        Args:
            path: the file.
            rules: those of the tokenizer that `save` wrote; the file does not have them.
            **options: its `symbols`.

        Raises:
            InputError: the file is missing, not UTF-8, or not a vocabulary.
        """
        return super().load(path, rules=rules, **options)

    def split(self, text: tf.Tensor) -> tf.RaggedTensor:
        """Return the words of texts; see `VocabularyTokenizer.split`."""
        return SPLITS[self.rules](text)

    def join(self, words: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """Join words to texts.

        Args:
            words: string tensor, shape (batch, steps).
            mask: bool tensor, shape (batch, steps): True for words of the text.

        Returns:
            String tensor, shape (batch,).
        """
        words = tf.where(mask, " " + words, "")
        text = tf.strings.strip(tf.strings.reduce_join(words, axis=-1))
        return attach_punctuation(text) if self.rules == "unicode" else text

    def options(self) -> dict[str, Any]:
        return {"rules": self.rules, **super().options()}


def split_words(text: tf.Tensor, rules: str = "chapter") -> tf.RaggedTensor:
    """Normalize text and split it into words.

    Args:
        text: string tensor, shape (batch,); any bytes.
        rules: see `WordTokenizer`.

    Returns:
        Ragged string tensor, shape (batch, (words)); valid UTF-8.
    """
    return SPLITS[rules](clean(text))


def _check_rules(rules: str) -> None:
    if rules not in WORD_RULES:
        raise InputError(f"rules is {rules!r}; give {' or '.join(WORD_RULES)}")
