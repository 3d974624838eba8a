"""The columns of a source, with tabs between: text and features."""

import collections
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import tensorflow as tf

from keras_s2s.tokenizers.tokenizer import TOKENIZE_BATCH_SIZE, clean, read_vocabulary_file
from keras_s2s.utils.checks import check_texts
from keras_s2s.utils.errors import InputError
from keras_s2s.utils.text import FEATURES, SOURCE

DEFAULT_SEPARATOR = ";"
# The token between two columns of text; no feature is empty.
BOUNDARY = "[]"


def split_features(text: tf.Tensor, separator: str = DEFAULT_SEPARATOR) -> tf.RaggedTensor:
    """Split texts into features at the separator and at spaces.

    Args:
        text: string tensor, shape (batch,); any bytes.
        separator: see `ColumnsTokenizer`.

    Returns:
        Ragged string tensor, shape (batch, (features)); valid UTF-8.
    """
    return tf.strings.split(tf.strings.regex_replace(clean(text), re.escape(separator), " "))


def has_features(columns: Sequence[str] | None) -> bool:
    """Return whether sources of these columns need a `ColumnsTokenizer`: there are several."""
    return columns is not None and len(columns) > 1


def text_columns(texts: Iterable[str], columns: Sequence[str]) -> list[str]:
    r"""Return sources without their features, several columns of text with a space between.

    Example:

    >>> text_columns(["walk\tV;PST", "run"], ["source", "features"])
    ['walk', 'run']
    """
    indices = [index for index, kind in enumerate(columns) if kind == SOURCE]
    rows = (text.split("\t", len(columns) - 1) for text in texts)
    return [" ".join(row[index] for index in indices if index < len(row)) for row in rows]


def count_features(
    texts: Iterable[str], columns: Sequence[str], separator: str = DEFAULT_SEPARATOR
) -> collections.Counter[str]:
    """Return the frequency of each feature, as in the vocabulary of `ColumnsTokenizer`."""
    counts: collections.Counter[str] = collections.Counter()
    sources = check_texts("texts", texts)
    for start in range(0, len(sources), TOKENIZE_BATCH_SIZE):
        batch = tf.constant(sources[start : start + TOKENIZE_BATCH_SIZE])
        for number, cell in split_columns(batch, columns)[1]:
            prefix = feature_prefix(columns, number)
            names = split_features(cell, separator).flat_values.numpy().tolist()
            counts.update(f"{prefix}{name.decode()}]" for name in names)
    return counts


def features_of(counts: collections.Counter[str]) -> list[str]:
    """Return the vocabulary of features in order of frequency; ties are alphabetical."""
    return [name for name, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]


def features_file(vocabulary_file: Path) -> Path:
    """Return the file of the features beside that of the vocabulary of the text."""
    stem = vocabulary_file.stem.removesuffix("_vocabulary")
    return vocabulary_file.with_name(f"{stem}_features.txt")


def feature_prefix(columns: Sequence[str], number: int) -> str:
    """Return the start of the tokens of a column, whose number they have among several."""
    return "[" if len(columns) == 2 else f"[{number}:"


def split_columns(
    text: tf.Tensor, columns: Sequence[str]
) -> tuple[list[tf.Tensor], list[tuple[int, tf.Tensor]]]:
    """Return the columns of text, and those of features with their 1-based numbers."""
    cells = tf.strings.split(text, "\t", maxsplit=len(columns) - 1)
    columns_of_text = tf.unstack(
        cells.to_tensor(default_value="", shape=(None, len(columns))), axis=1
    )
    sources = [cell for cell, kind in zip(columns_of_text, columns, strict=True) if kind == SOURCE]
    features = [
        (number, cell)
        for number, (cell, kind) in enumerate(zip(columns_of_text, columns, strict=True), 1)
        if kind == FEATURES
    ]
    return sources, features


def read_features(file: Path) -> list[str]:
    """Return the tokens of a file of features.

    Raises:
        InputError: it cannot be read, or is no such file.
    """
    try:
        tokens = read_vocabulary_file(file, "features").decode().removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: is not UTF-8; restore it from a copy") from error
    is_valid = all(len(token) > 1 and token[0] == "[" and token[-1] == "]" for token in tokens)
    if tokens[0] != BOUNDARY or len(set(tokens)) < len(tokens) or not is_valid:
        raise InputError(f"{file}: is not a file of features; restore it from a copy")
    return tokens
