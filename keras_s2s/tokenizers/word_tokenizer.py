"""The chapter's tokenizer: words, and their vocabulary.

Only core TensorFlow string operations are used: any server and `saved_model_cli` run them.
"""

import collections
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from keras_s2s.tokenizers.tokenizer import (
    SPECIAL_TOKENS,
    TEXTS_AT_A_TIME,
    UNK,
    Tokenizer,
    clean,
    is_text,
)
from keras_s2s.utils.checks import check_int, check_texts
from keras_s2s.utils.errors import InputError
from keras_s2s.utils.files import atomic_write, sha256_of


@keras.saving.register_keras_serializable(package="keras_s2s")
class WordTokenizer(Tokenizer):
    """The chapter's tokenizer: lower-cased words and punctuation marks, split on spaces.

    No-break spaces become spaces, text is lower-cased, a space is put before each `,` `!` and `.`
    that has none (as the chapter does; not before `?`), and the rest is split on spaces. Control
    characters count as spaces and invalid UTF-8 is replaced, so that any bytes give an answer.
    Words that are not in the vocabulary, and words that look like a special token, get `<unk>`.

    Args:
        vocabulary: all tokens in the order of their ids, beginning with `<pad>`, `<bos>`,
            `<eos>`, `<unk>`. Left out only by Keras when it loads a saved tokenizer.

    Raises:
        InputError: the vocabulary does not begin with the special tokens, repeats a token, or
            holds one that is empty or contains a space or a line end.

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

    def __init__(self, vocabulary: Sequence[str] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.trainable = False
        self.built = True
        self._vocabulary: tuple[str, ...] = ()
        if vocabulary is not None:
            self._set_vocabulary(check_vocabulary(vocabulary, "vocabulary"))

    @classmethod
    def fit(
        cls, texts: Iterable[str], min_freq: int = 1, max_tokens: int | None = None
    ) -> "WordTokenizer":
        """Learns a vocabulary: the most frequent words first, ties in alphabetical order.

        Args:
            texts: sentences.
            min_freq: words that occur less often are left out.
            max_tokens: the size of the vocabulary at most, special tokens included.

        Returns:
            A tokenizer.

        Raises:
            InputError: `min_freq` is below 1 or `max_tokens` below 4.
        """
        return cls.from_counts(count_words(texts), min_freq, max_tokens)

    @classmethod
    def from_counts(
        cls, counts: Mapping[bytes, int], min_freq: int = 1, max_tokens: int | None = None
    ) -> "WordTokenizer":
        """The same as `fit`, of words that are counted already.

        Args:
            counts: how often each word occurs, as from `count_words`.
            min_freq: see `fit`.
            max_tokens: see `fit`.

        Raises:
            InputError: `min_freq` is below 1 or `max_tokens` below 4.
        """
        check_int("min_freq", min_freq)
        if max_tokens is not None:
            least, why = len(SPECIAL_TOKENS), ", since the special tokens count"
            check_int("max_tokens", max_tokens, least, why)
        special = {token.encode() for token in SPECIAL_TOKENS}
        counted = [
            item for item in counts.items() if item[1] >= min_freq and item[0] not in special
        ]
        # UTF-8 sorts as code points do, so the bytes can be compared.
        counted.sort(key=lambda item: (-item[1], item[0]))
        learned = [token.decode("utf-8") for token, _ in counted]
        return cls((list(SPECIAL_TOKENS) + learned)[:max_tokens])

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "WordTokenizer":
        """Reads a vocabulary file: UTF-8, a token a line, in the order of the ids.

        Raises:
            InputError: the file is missing, not UTF-8, or not a vocabulary.
        """
        return cls(read_vocabulary(path))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the vocabulary as a plain file that `load` reads."""
        with atomic_write(path) as aside:
            aside.write_bytes("".join(f"{token}\n" for token in self._vocabulary).encode())

    @property
    def vocabulary(self) -> list[str]:
        """All tokens in the order of their ids."""
        return list(self._vocabulary)

    def __len__(self) -> int:
        return len(self._vocabulary)

    def tokenize(self, text: tf.Tensor) -> tf.RaggedTensor:
        """Ids of the words of each text.

        Args:
            text: string tensor, shape (batch,); any bytes.

        Returns:
            Ragged int32 tensor, shape (batch, (words)), without padding, `<bos>` and `<eos>`.
        """
        words = split_words(text)
        ids = tf.cast(self._ids_of_tokens.lookup(words.values), tf.int32)
        # A user who types "<eos>" means these five characters, not the end of the sentence.
        return words.with_values(tf.where(ids < len(SPECIAL_TOKENS), UNK, ids))

    def detokenize(self, ids: tf.Tensor, valid_length: tf.Tensor) -> tf.Tensor:
        """Words joined by spaces, without `<pad>`, `<bos>` and `<eos>`.

        Args:
            ids: int32 tensor, shape (batch, steps).
            valid_length: int32 tensor, shape (batch,): ids from this position on are left out.

        Returns:
            String tensor, shape (batch,).
        """
        return self.join(self.tokens_of(ids), is_text(ids, valid_length))

    def join(self, words: tf.Tensor, kept: tf.Tensor) -> tf.Tensor:
        """Puts words together to texts.

        Args:
            words: string tensor, shape (batch, steps).
            kept: bool tensor, shape (batch, steps): which of them are in the text.

        Returns:
            String tensor, shape (batch,).
        """
        words = tf.where(kept, " " + words, "")
        return tf.strings.strip(tf.strings.reduce_join(words, axis=-1))

    def source_tokens(self, text: tf.Tensor, num_steps: int) -> tf.Tensor:
        # The words themselves, also those that are not in the vocabulary.
        return split_words(text).to_tensor(default_value="", shape=(None, num_steps))

    def tokens_of(self, ids: tf.Tensor) -> tf.Tensor:
        return self._tokens_of_ids.lookup(tf.cast(ids, tf.int64))

    def as_asset(self, path: Path) -> "WordTokenizer":
        # A table that is filled from a file takes the file along; one that is filled from Python
        # writes its words into the graph.
        self.save(path)
        copy = WordTokenizer()
        copy._set_vocabulary(read_vocabulary(path), file=path)
        return copy

    def save_assets(self, dir_path: str) -> None:
        self.save(Path(dir_path) / "vocabulary.txt")

    def load_assets(self, dir_path: str) -> None:
        self._set_vocabulary(read_vocabulary(Path(dir_path) / "vocabulary.txt"))

    def get_config(self) -> dict[str, Any]:
        # The vocabulary is a file beside the configuration, see `save_assets`.
        config = super().get_config()
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
            line, number = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
            ids_of_tokens = _VocabularyFile(file, tf.string, line, tf.int64, number)
            tokens_of_ids = _VocabularyFile(file, tf.int64, number, tf.string, line)
        self._ids_of_tokens = tf.lookup.StaticHashTable(ids_of_tokens, default_value=UNK)
        self._tokens_of_ids = tf.lookup.StaticHashTable(tokens_of_ids, SPECIAL_TOKENS[UNK])


class _VocabularyFile(tf.lookup.TextFileInitializer):
    """Fills a table from a file, and names the table after the file's content.

    TensorFlow names it after the file's path, which then stands in every SavedModel.
    """

    def __init__(self, file: Path, key_dtype: Any, key: str, value_dtype: Any, value: str) -> None:
        content = sha256_of(file)
        self._name_of_table = f"{file.stem}_{key_dtype.name}_{content[:16]}"
        super().__init__(str(file), key_dtype, key, value_dtype, value)

    @property
    def _shared_name(self) -> str:
        return self._name_of_table


def split_words(text: tf.Tensor) -> tf.RaggedTensor:
    """Normalises as the chapter does and splits on spaces.

    Args:
        text: string tensor, shape (batch,); any bytes.

    Returns:
        Ragged string tensor, shape (batch, (words)); valid UTF-8.
    """
    text = tf.strings.regex_replace(clean(text), r"[\x{A0}\x{202F}]", " ")
    # Lower-casing UTF-8 follows the locale of the process, where "I" may become a dotless "ı".
    # What any locale treats in its own way is lower-cased beforehand: the ASCII letters and these.
    text = tf.strings.lower(text)
    for letter in "İÌÍĨĮ":
        text = tf.strings.regex_replace(text, letter, letter.lower())
    text = tf.strings.lower(text, encoding="utf-8")
    text = tf.strings.regex_replace(text, r"[,!.]", r" \0")
    return tf.strings.split(text)


def count_words(texts: Iterable[str]) -> collections.Counter[bytes]:
    """How often each word occurs in some sentences, in UTF-8."""
    counts: collections.Counter[bytes] = collections.Counter()
    listed = check_texts("texts", texts)
    for start in range(0, len(listed), TEXTS_AT_A_TIME):
        words = split_words(tf.constant(listed[start : start + TEXTS_AT_A_TIME]))
        counts.update(words.flat_values.numpy().tolist())
    return counts


def check_vocabulary(vocabulary: Sequence[str], where: str) -> Sequence[str]:
    """Returns the vocabulary, or raises an `InputError` that names the entry that is wrong."""
    if tuple(vocabulary[: len(SPECIAL_TOKENS)]) != SPECIAL_TOKENS:
        raise InputError(
            f"{where}: the first {len(SPECIAL_TOKENS)} entries must be {' '.join(SPECIAL_TOKENS)}; "
            "put them there"
        )
    first_seen: dict[str, int] = {}
    for number, token in enumerate(vocabulary, start=1):
        # TensorFlow's reader of vocabulary files drops each "\r".
        if not token or not set(token).isdisjoint(" \r\n"):
            raise InputError(f"{where}, entry {number}: {token!r} is not a token; remove it")
        if token in first_seen:
            raise InputError(
                f"{where}, entry {number}: {token!r} stands at entry {first_seen[token]} already; "
                "remove one"
            )
        first_seen[token] = number
    return vocabulary


def read_vocabulary(path: str | os.PathLike[str]) -> list[str]:
    """Reads and checks a vocabulary file; see `WordTokenizer.load`."""
    try:
        text = Path(path).read_bytes().decode("utf-8")
    except OSError as error:
        raise InputError(
            f"{path}: cannot read the vocabulary ({error.strerror}); give a file that is there"
        ) from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}: line {line} is not UTF-8; convert the file, or give another"
        ) from error
    # Only "\n" ends a line here and in TensorFlow's reader; str.splitlines knows more ends.
    vocabulary = text.removesuffix("\n").split("\n")
    check_vocabulary(vocabulary, str(path))
    return vocabulary
