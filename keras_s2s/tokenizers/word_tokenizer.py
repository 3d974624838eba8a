"""The word tokenizer, as graph code of core TensorFlow ops, which any server runs."""

import collections
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from keras_s2s.tokenizers.tokenizer import (
    SPECIAL_TOKENS,
    TOKENIZE_BATCH_SIZE,
    UNK,
    Tokenizer,
    read_vocabulary_file,
    text_mask,
)
from keras_s2s.tokenizers.word_rules import SPLITS, attach_punctuation
from keras_s2s.utils.checks import check_int, check_texts
from keras_s2s.utils.errors import InputError
from keras_s2s.utils.files import atomic_write, sha256_of
from keras_s2s.utils.text import WORD_RULES


@keras.saving.register_keras_serializable(package="keras_s2s")
class WordTokenizer(Tokenizer):
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
            `<eos>`, `<unk>`. Keras omits it when it loads a saved tokenizer.
        rules: `chapter` or `unicode`.

    Raises:
        InputError: there are no such rules, or the vocabulary does not begin with the special
            tokens, or has a duplicate or a token that is empty or contains a space or a line end.

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

    file_suffix = ".txt"

    def __init__(
        self, vocabulary: Sequence[str] | None = None, rules: str = "chapter", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.rules = _check_rules(rules)
        if vocabulary is not None:
            self._set_vocabulary(check_vocabulary(vocabulary, "vocabulary"))

    @classmethod
    def fit(
        cls,
        texts: Iterable[str],
        min_freq: int = 1,
        max_tokens: int | None = None,
        rules: str = "chapter",
    ) -> "WordTokenizer":
        """Build a vocabulary in order of frequency; ties are in alphabetical order.

        Args:
            texts: sentences.
            min_freq: minimum frequency of a word.
            max_tokens: maximum size of the vocabulary, special tokens included.
            rules: `chapter` or `unicode`; see `WordTokenizer`.

        Returns:
            A tokenizer.

        Raises:
            InputError: `min_freq` is below 1, `max_tokens` below 4, or there are no such rules.
        """
        counts = count_words(texts, _check_rules(rules))
        return cls.from_counts(counts, min_freq, max_tokens, rules)

    @classmethod
    def from_counts(
        cls,
        counts: Mapping[bytes, int],
        min_freq: int = 1,
        max_tokens: int | None = None,
        rules: str = "chapter",
    ) -> "WordTokenizer":
        """Build a vocabulary from word counts.

        Args:
            counts: frequency of each word, as from `count_words`.
            min_freq: see `fit`.
            max_tokens: see `fit`.
            rules: those that the words were counted by.

        Raises:
            InputError: `min_freq` is below 1 or `max_tokens` below 4.
        """
        check_int("min_freq", min_freq)
        if max_tokens is not None:
            advice = ", since the special tokens count"
            check_int("max_tokens", max_tokens, len(SPECIAL_TOKENS), advice)
        special = {token.encode() for token in SPECIAL_TOKENS}
        frequent = [
            item for item in counts.items() if item[1] >= min_freq and item[0] not in special
        ]
        # UTF-8 sorts in code point order, so bytes can be compared.
        frequent.sort(key=lambda item: (-item[1], item[0]))
        words = [word.decode("utf-8") for word, _ in frequent]
        return cls((list(SPECIAL_TOKENS) + words)[:max_tokens], rules)

    @classmethod
    def load(cls, path: str | os.PathLike[str], rules: str = "chapter") -> "WordTokenizer":
        """Read a vocabulary file: UTF-8, one token per line, in the order of the ids.

        Args:
            path: the file.
            rules: those of the tokenizer that `save` wrote; the file does not have them.

        Raises:
            InputError: the file is missing, not UTF-8, or not a vocabulary.
        """
        return cls(read_vocabulary(path), rules)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the vocabulary to a text file that `load` reads."""
        with atomic_write(path) as temporary:
            temporary.write_bytes("".join(f"{token}\n" for token in self._vocabulary).encode())

    def tokenize(self, text: tf.Tensor) -> tf.RaggedTensor:
        """Return the ids of the words of each text.

        Args:
            text: string tensor, shape (batch,); any bytes.

        Returns:
            Ragged int32 tensor, shape (batch, (words)), without padding, `<bos>` and `<eos>`.
        """
        words = split_words(text, self.rules)
        ids = tf.cast(self._ids_of_tokens.lookup(words.values), tf.int32)
        # "<eos>" in the input is text, not the end of the sentence.
        return words.with_values(tf.where(ids < len(SPECIAL_TOKENS), UNK, ids))

    def detokenize(self, ids: tf.Tensor, valid_length: tf.Tensor) -> tf.Tensor:
        """Join the words of each row to a text, without `<pad>`, `<bos>` and `<eos>`.

        Args:
            ids: int32 tensor, shape (batch, steps).
            valid_length: int32 tensor, shape (batch,): ids from this position on are ignored.

        Returns:
            String tensor, shape (batch,).
        """
        return self.join(self.tokens_of(ids), text_mask(ids, valid_length))

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

    def source_tokens(self, text: tf.Tensor, num_steps: int) -> tf.Tensor:
        # The words themselves, including those that are not in the vocabulary.
        return split_words(text, self.rules).to_tensor(default_value="", shape=(None, num_steps))

    def tokens_of(self, ids: tf.Tensor) -> tf.Tensor:
        return self._tokens_of_ids.lookup(tf.cast(ids, tf.int64))

    def as_asset(self, path: Path) -> "WordTokenizer":
        # A table initialized from a file makes the file an asset; one initialized from tensors
        # stores its words in the graph.
        self.save(path)
        copy = WordTokenizer(rules=self.rules)
        copy._set_vocabulary(read_vocabulary(path), file=path)
        return copy

    def save_assets(self, dir_path: str) -> None:
        self.save(Path(dir_path) / "vocabulary.txt")

    def load_assets(self, dir_path: str) -> None:
        self._set_vocabulary(read_vocabulary(Path(dir_path) / "vocabulary.txt"))

    def get_config(self) -> dict[str, Any]:
        # The vocabulary is stored as a file, see `save_assets`.
        config = {**super().get_config(), "rules": self.rules}
        config.pop("vocabulary", None)
        return config

    def _set_vocabulary(self, vocabulary: Sequence[str], file: Path | None = None) -> None:
        self._vocabulary = tuple(vocabulary)
        if file is None:
            tokens = tf.constant(list(vocabulary))
            ids = tf.range(len(vocabulary), dtype=tf.int64)
            ids_of_tokens = tf.lookup.KeyValueTensorInitializer(tokens, ids)
            tokens_of_ids = tf.lookup.KeyValueTensorInitializer(ids, tokens)
        else:
            line, index = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
            ids_of_tokens = _FileInitializer(file, tf.string, line, tf.int64, index)
            tokens_of_ids = _FileInitializer(file, tf.int64, index, tf.string, line)
        self._ids_of_tokens = tf.lookup.StaticHashTable(ids_of_tokens, default_value=UNK)
        self._tokens_of_ids = tf.lookup.StaticHashTable(tokens_of_ids, SPECIAL_TOKENS[UNK])


class _FileInitializer(tf.lookup.TextFileInitializer):
    """A table initializer that names its table by the file's content."""

    # WORKAROUND(tensorflow<=2.21.0): its shared name contains the file's path, which would be part
    # of every SavedModel.

    def __init__(self, file: Path, key_dtype: Any, key: str, value_dtype: Any, value: str) -> None:
        self._table_name = f"{file.stem}_{key_dtype.name}_{sha256_of(file)[:16]}"
        super().__init__(str(file), key_dtype, key, value_dtype, value)

    @property
    def _shared_name(self) -> str:
        return self._table_name


def split_words(text: tf.Tensor, rules: str = "chapter") -> tf.RaggedTensor:
    """Normalize text and split it into words.

    Args:
        text: string tensor, shape (batch,); any bytes.
        rules: see `WordTokenizer`.

    Returns:
        Ragged string tensor, shape (batch, (words)); valid UTF-8.
    """
    return SPLITS[rules](text)


def _check_rules(rules: str) -> str:
    if rules not in WORD_RULES:
        raise InputError(f"rules is {rules!r}; give {' or '.join(WORD_RULES)}")
    return rules


def count_words(texts: Iterable[str], rules: str = "chapter") -> collections.Counter[bytes]:
    """Return the frequency of each word, in UTF-8, in some sentences."""
    counts: collections.Counter[bytes] = collections.Counter()
    sentences = check_texts("texts", texts)
    for start in range(0, len(sentences), TOKENIZE_BATCH_SIZE):
        words = split_words(tf.constant(sentences[start : start + TOKENIZE_BATCH_SIZE]), rules)
        counts.update(words.flat_values.numpy().tolist())
    return counts


def check_vocabulary(vocabulary: Sequence[str], name: str) -> Sequence[str]:
    """Return a valid vocabulary.

    Raises:
        InputError: an entry is invalid; the message has its position and `name`.
    """
    if tuple(vocabulary[: len(SPECIAL_TOKENS)]) != SPECIAL_TOKENS:
        raise InputError(
            f"{name}: the first {len(SPECIAL_TOKENS)} entries must be {' '.join(SPECIAL_TOKENS)}; "
            "put them there"
        )
    first_seen: dict[str, int] = {}
    for index, token in enumerate(vocabulary, start=1):
        # TensorFlow's reader of vocabulary files drops "\r".
        if not token or not set(token).isdisjoint(" \r\n"):
            raise InputError(f"{name}, entry {index}: {token!r} is not a token; remove it")
        if token in first_seen:
            raise InputError(
                f"{name}, entry {index}: {token!r} is a duplicate of entry {first_seen[token]}; "
                "remove one"
            )
        first_seen[token] = index
    return vocabulary


def read_vocabulary(path: str | os.PathLike[str]) -> list[str]:
    """Read and check a vocabulary file; see `WordTokenizer.load`."""
    try:
        text = read_vocabulary_file(path, "vocabulary").decode("utf-8")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}: line {line} is not UTF-8; convert the file, or give another"
        ) from error
    # Only "\n" ends a line in TensorFlow's reader, unlike in str.splitlines.
    vocabulary = text.removesuffix("\n").split("\n")
    check_vocabulary(vocabulary, str(path))
    return vocabulary
