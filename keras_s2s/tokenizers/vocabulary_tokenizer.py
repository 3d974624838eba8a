"""The base class of tokenizers whose vocabulary is a list of tokens: words, characters, symbols.

Core TensorFlow ops, which any server runs.
"""

import collections
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import tensorflow as tf

from keras_s2s.tokenizers.symbols import check_symbols, split_symbols
from keras_s2s.tokenizers.tokenizer import (
    SPECIAL_TOKENS,
    TOKENIZE_BATCH_SIZE,
    UNK,
    Tokenizer,
    clean,
    read_vocabulary_file,
    text_mask,
)
from keras_s2s.utils.checks import check_int, check_texts
from keras_s2s.utils.errors import InputError
from keras_s2s.utils.files import atomic_write, sha256_of

_Self = TypeVar("_Self", bound="VocabularyTokenizer")


class VocabularyTokenizer(Tokenizer):
    """The base class of tokenizers whose vocabulary is a text file with a token in each line.

    A subclass implements `split`, text to tokens, and `join`, tokens to text; both are graph code.
    Its options are arguments of its constructor beside the vocabulary, and in `get_config`.

    Args:
        vocabulary: all tokens in the order of their ids, beginning with `<pad>`, `<bos>`,
            `<eos>`, `<unk>` and the symbols. Keras omits it when it loads a saved tokenizer.
        symbols: tokens that are never split and always in the vocabulary; the longest that
            matches counts.

    Attributes:
        symbols: these.

    Raises:
        InputError: the vocabulary does not begin with the special tokens, lacks a symbol, or has a
            duplicate or an invalid token; or a symbol is empty or contains white space.
    """

    file_suffix = ".txt"

    def __init__(
        self, vocabulary: Sequence[str] | None = None, symbols: Sequence[str] = (), **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.symbols = check_symbols(symbols)
        if vocabulary is not None:
            self._set_vocabulary(self._check(vocabulary, "vocabulary"))

    @classmethod
    def fit(
        cls: type[_Self],
        texts: Iterable[str],
        min_freq: int = 1,
        max_tokens: int | None = None,
        **options: Any,
    ) -> _Self:
        """Build a vocabulary in order of frequency; ties are in alphabetical order.

        Args:
            texts: the texts.
            min_freq: minimum frequency of a token, other than the symbols.
            max_tokens: maximum size of the vocabulary, special tokens and symbols included.
            **options: arguments of the constructor.

        Returns:
            A tokenizer.

        Raises:
            InputError: `min_freq` is below 1, `max_tokens` below the number of special tokens and
                symbols, or an option is invalid.
        """
        counts = cls(**options).count(texts)
        return cls.from_counts(counts, min_freq, max_tokens, **options)

    @classmethod
    def from_counts(
        cls: type[_Self],
        counts: Mapping[bytes, int],
        min_freq: int = 1,
        max_tokens: int | None = None,
        **options: Any,
    ) -> _Self:
        """Build a vocabulary from the frequencies of tokens.

        Args:
            counts: frequency of each token, in UTF-8, as from `count`.
            min_freq: see `fit`.
            max_tokens: see `fit`.
            **options: those that the tokens were counted with.

        Raises:
            InputError: as for `fit`.
        """
        check_int("min_freq", min_freq)
        first = [*SPECIAL_TOKENS, *check_symbols(options.get("symbols", ()))]
        if max_tokens is not None:
            symbols = " and symbols" if len(first) > len(SPECIAL_TOKENS) else ""
            advice = f", since the special tokens{symbols} count"
            check_int("max_tokens", max_tokens, len(first), advice)
        known = {token.encode() for token in first}
        frequent = [item for item in counts.items() if item[1] >= min_freq and item[0] not in known]
        # UTF-8 sorts in code point order, so bytes can be compared.
        frequent.sort(key=lambda item: (-item[1], item[0]))
        tokens = [token.decode("utf-8") for token, _ in frequent]
        return cls((first + tokens)[:max_tokens], **options)

    @classmethod
    def load(cls: type[_Self], path: str | os.PathLike[str], **options: Any) -> _Self:
        """Read a vocabulary file: UTF-8, one token per line, in the order of the ids.

        Args:
            path: the file.
            **options: those of the tokenizer that `save` wrote; the file does not have them.

        Raises:
            InputError: the file is missing, not UTF-8, or not a vocabulary.
        """
        tokenizer = cls(**options)
        tokenizer._set_vocabulary(tokenizer._read(Path(path)))
        return tokenizer

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the vocabulary to a text file that `load` reads."""
        with atomic_write(path) as temporary:
            temporary.write_bytes("".join(f"{token}\n" for token in self._vocabulary).encode())

    def split(self, text: tf.Tensor) -> tf.RaggedTensor:
        """Return the tokens of texts without symbols.

        Args:
            text: string tensor, shape (batch,); valid UTF-8 without control characters.

        Returns:
            Ragged string tensor, shape (batch, (tokens)).
        """
        raise NotImplementedError

    def split_text(self, text: tf.Tensor) -> tf.RaggedTensor:
        """Return the tokens of texts, symbols among them, in the vocabulary or not."""
        return split_symbols(clean(text), self.symbols, self.split)

    def count(self, texts: Iterable[str]) -> "collections.Counter[bytes]":
        """Return the frequency of each token, in UTF-8, in some texts."""
        return count_tokens(texts, self.split_text)

    def tokenize(self, text: tf.Tensor) -> tf.RaggedTensor:
        """Return the ids of the tokens of each text.

        Args:
            text: string tensor, shape (batch,); any bytes.

        Returns:
            Ragged int32 tensor, shape (batch, (tokens)), without padding, `<bos>` and `<eos>`.
        """
        tokens = self.split_text(text)
        return tokens.with_values(self.ids_of(tokens.values))

    def ids_of(self, tokens: tf.Tensor) -> tf.Tensor:
        ids = tf.cast(self._ids_of_tokens.lookup(tokens), tf.int32)
        # "<eos>" in the input is text, not the end of the sentence.
        return tf.where(ids < len(SPECIAL_TOKENS), UNK, ids)

    def detokenize(self, ids: tf.Tensor, valid_length: tf.Tensor) -> tf.Tensor:
        """Join the tokens of each row to a text, without `<pad>`, `<bos>` and `<eos>`.

        Args:
            ids: int32 tensor, shape (batch, steps).
            valid_length: int32 tensor, shape (batch,): ids from this position on are ignored.

        Returns:
            String tensor, shape (batch,).
        """
        return self.join(self.tokens_of(ids), text_mask(ids, valid_length))

    def source_tokens(self, text: tf.Tensor, num_steps: int) -> tf.Tensor:
        # The tokens themselves, including those that are not in the vocabulary.
        return self.split_text(text).to_tensor(default_value="", shape=(None, num_steps))

    def tokens_of(self, ids: tf.Tensor) -> tf.Tensor:
        return self._tokens_of_ids.lookup(tf.cast(ids, tf.int64))

    def as_asset(self: _Self, path: Path) -> _Self:
        # A table initialized from a file makes the file an asset; one initialized from tensors
        # stores its tokens in the graph.
        self.save(path)
        copy = type(self)(**self.options())
        copy._set_vocabulary(copy._read(path), file=path)
        return copy

    def save_assets(self, dir_path: str) -> None:
        self.save(Path(dir_path) / "vocabulary.txt")

    def load_assets(self, dir_path: str) -> None:
        self._set_vocabulary(self._read(Path(dir_path) / "vocabulary.txt"))

    def options(self) -> dict[str, Any]:
        """Return the arguments of the constructor beside the vocabulary."""
        return {"symbols": list(self.symbols)} if self.symbols else {}

    def get_config(self) -> dict[str, Any]:
        # The vocabulary is stored as a file, see `save_assets`.
        config = {**super().get_config(), **self.options()}
        config.pop("vocabulary", None)
        return config

    def _check(self, vocabulary: Sequence[str], name: str) -> Sequence[str]:
        return check_vocabulary(vocabulary, name, self.symbols, self.space is not None)

    def _read(self, path: Path) -> list[str]:
        return read_vocabulary(path, self.symbols, self.space is not None)

    def _set_vocabulary(self, vocabulary: Sequence[str], file: Path | None = None) -> None:
        self._vocabulary = tuple(vocabulary)
        if file is None:
            tokens = tf.constant(list(vocabulary))
            ids = tf.range(len(vocabulary), dtype=tf.int64)
            ids_of_tokens = tf.lookup.KeyValueTensorInitializer(tokens, ids)
            tokens_of_ids = tf.lookup.KeyValueTensorInitializer(ids, tokens)
        else:
            line, index = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
            ids_of_tokens = FileInitializer(file, tf.string, line, tf.int64, index)
            tokens_of_ids = FileInitializer(file, tf.int64, index, tf.string, line)
        self._ids_of_tokens = tf.lookup.StaticHashTable(ids_of_tokens, default_value=UNK)
        self._tokens_of_ids = tf.lookup.StaticHashTable(tokens_of_ids, SPECIAL_TOKENS[UNK])


class FileInitializer(tf.lookup.TextFileInitializer):
    """A table initializer that names its table by the file's content."""

    # WORKAROUND(tensorflow<=2.21.0): its shared name contains the file's path, which would be part
    # of every SavedModel.

    def __init__(self, file: Path, key_dtype: Any, key: str, value_dtype: Any, value: str) -> None:
        self._table_name = f"{file.stem}_{key_dtype.name}_{sha256_of(file)[:16]}"
        super().__init__(str(file), key_dtype, key, value_dtype, value)

    @property
    def _shared_name(self) -> str:
        return self._table_name


def count_tokens(
    texts: Iterable[str], split: Callable[[tf.Tensor], tf.RaggedTensor]
) -> "collections.Counter[bytes]":
    """Return the frequency of each token, in UTF-8, that a function splits some texts into."""
    counts: collections.Counter[bytes] = collections.Counter()
    sentences = check_texts("texts", texts)
    for start in range(0, len(sentences), TOKENIZE_BATCH_SIZE):
        tokens = split(tf.constant(sentences[start : start + TOKENIZE_BATCH_SIZE]))
        counts.update(tokens.flat_values.numpy().tolist())
    return counts


def check_vocabulary(
    vocabulary: Sequence[str], name: str, symbols: Sequence[str] = (), has_space: bool = False
) -> Sequence[str]:
    """Return a valid vocabulary.

    Args:
        vocabulary: all tokens in the order of their ids.
        name: what it is, for the messages.
        symbols: those that follow the special tokens.
        has_space: whether a space can be a token.

    Raises:
        InputError: an entry is invalid; the message has its position and `name`.
    """
    if tuple(vocabulary[: len(SPECIAL_TOKENS)]) != SPECIAL_TOKENS:
        raise InputError(
            f"{name}: the first {len(SPECIAL_TOKENS)} entries must be {' '.join(SPECIAL_TOKENS)}; "
            "put them there"
        )
    found = tuple(vocabulary[len(SPECIAL_TOKENS) : len(SPECIAL_TOKENS) + len(symbols)])
    if found != tuple(symbols):
        raise InputError(
            f"{name}: the symbols {' '.join(symbols)} do not follow the special tokens; put them "
            "there, or give the symbols that it was learned with"
        )
    first_seen: dict[str, int] = {}
    for index, token in enumerate(vocabulary, start=1):
        # TensorFlow's reader of vocabulary files drops "\r".
        if not token or not (set(token).isdisjoint(" \r\n") or (has_space and token == " ")):
            raise InputError(f"{name}, entry {index}: {token!r} is not a token; remove it")
        if token in first_seen:
            raise InputError(
                f"{name}, entry {index}: {token!r} is a duplicate of entry {first_seen[token]}; "
                "remove one"
            )
        first_seen[token] = index
    return vocabulary


def read_vocabulary(
    path: str | os.PathLike[str], symbols: Sequence[str] = (), has_space: bool = False
) -> list[str]:
    """Read and check a vocabulary file; see `VocabularyTokenizer.load`."""
    try:
        text = read_vocabulary_file(path, "vocabulary").decode("utf-8")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}: line {line} is not UTF-8; convert the file, or give another"
        ) from error
    # Only "\n" ends a line in TensorFlow's reader, unlike in str.splitlines.
    vocabulary = text.removesuffix("\n").split("\n")
    check_vocabulary(vocabulary, str(path), symbols, has_space)
    return vocabulary
