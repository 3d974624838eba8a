"""A tokenizer of sources of several columns: features as tokens of their own before the text."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from keras_s2s.tokenizers.source_columns import (
    BOUNDARY,
    DEFAULT_SEPARATOR,
    count_features,
    feature_prefix,
    features_file,
    features_of,
    read_features,
    split_columns,
    split_features,
)
from keras_s2s.tokenizers.tokenizer import PAD, UNK, Tokenizer, copy_of, text_mask
from keras_s2s.tokenizers.vocabulary_tokenizer import FileInitializer
from keras_s2s.utils.errors import InputError
from keras_s2s.utils.files import atomic_write
from keras_s2s.utils.text import FEATURES, SOURCE


@keras.saving.register_keras_serializable(package="keras_s2s")
class ColumnsTokenizer(Tokenizer):
    r"""A tokenizer of sources of several columns, with tabs between them.

    Columns of text are tokenized by another tokenizer. The features in the others (`V;PST`) are
    symbols, split at a separator and at spaces, whose ids follow those of the other tokenizer, so
    that there is one embedding for all. A source becomes the tokens of its features, in order, and
    then those of its text; so its beginning is not what a truncation loses.

    A missing column is empty; further tabs are part of the last column. Unknown features become
    `<unk>`. A source without text has no tokens at all.

    Args:
        tokenizer: tokenizer of the columns of text; not the object that is the target's too, since
            Keras saves an object once (`fit` makes a copy).
        columns: `source` or `features` for each column.
        features: the features' vocabulary, as from `features_of`. Keras omits it when it loads a
            saved tokenizer.
        separator: the text between two features, besides spaces.

    Raises:
        InputError: a column is neither, there is no `source`, or the separator has a tab or is
            empty.

    Reference: Kann and Schütze, "Single-Model Encoder-Decoder with Explicit Morphological
    Representation for Reinflection", 2016: tags as symbols of the input.

    Example:

    >>> from keras_s2s import WordTokenizer
    >>> words = WordTokenizer.fit(["walk", "run"])
    >>> tokenizer = ColumnsTokenizer.fit(
    ...     words, ["walk\tV;PST", "run\tV;PRS"], ["source", "features"]
    ... )
    >>> tokenizer.vocabulary[4:]
    ['run', 'walk', '[]', '[V]', '[PRS]', '[PST]']
    >>> tokenizer.tokenize(tf.constant(["run\tV;PST", "run", "\tV"])).to_list()
    [[7, 9, 4], [4], []]
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        columns: Sequence[str],
        features: Sequence[str] | None = None,
        separator: str = DEFAULT_SEPARATOR,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.columns = tuple(columns)
        if SOURCE not in self.columns or not {SOURCE, FEATURES}.issuperset(self.columns):
            raise InputError(
                f"columns is {','.join(self.columns)!r}; give {SOURCE} or {FEATURES} for each, and "
                f"one {SOURCE} at least"
            )
        if not separator or "\t" in separator:
            raise InputError(f"separator is {separator!r}; give characters without a tab")
        self.tokenizer = tokenizer
        self.separator = separator
        self._features: tuple[str, ...] = ()
        if features is not None:
            self._set_features([BOUNDARY, *features])

    @classmethod
    def fit(
        cls,
        tokenizer: Tokenizer,
        texts: Iterable[str],
        columns: Sequence[str],
        separator: str = DEFAULT_SEPARATOR,
    ) -> "ColumnsTokenizer":
        """Build the vocabulary of the features in order of frequency; ties are alphabetical.

        Args:
            tokenizer: tokenizer of the columns of text, fitted (see `text_columns`).
            texts: sources, with tabs between the columns.
            columns: see `ColumnsTokenizer`.
            separator: likewise.

        Returns:
            A tokenizer that knows all features of the texts.

        Raises:
            InputError: see `ColumnsTokenizer`.
        """
        counts = count_features(texts, columns, separator)
        return cls(copy_of(tokenizer), columns, features_of(counts), separator)

    @classmethod
    def load(
        cls,
        tokenizer: Tokenizer,
        path: Path,
        columns: Sequence[str],
        separator: str = DEFAULT_SEPARATOR,
    ) -> "ColumnsTokenizer":
        """Read the file of the features that `save` wrote.

        Args:
            tokenizer: see `ColumnsTokenizer`.
            path: the file, see `features_file`.
            columns: see `ColumnsTokenizer`.
            separator: likewise.

        Raises:
            InputError: it is missing or damaged.
        """
        return cls(tokenizer, columns, read_features(path)[1:], separator)

    @property
    def file_suffix(self) -> str:  # type: ignore[override]
        return self.tokenizer.file_suffix

    @property
    def vocabulary(self) -> list[str]:
        """The tokens of the text, then those of the features, which have brackets around them."""
        return [*self.tokenizer.vocabulary, *self._features]

    def __len__(self) -> int:
        return len(self.tokenizer) + len(self._features)

    def tokenize(self, text: tf.Tensor) -> tf.RaggedTensor:
        """Return the ids of the features and of the text of each source.

        Args:
            text: string tensor, shape (batch,); any bytes.

        Returns:
            Ragged int32 tensor, shape (batch, (tokens)), without padding, `<bos>` and `<eos>`.
        """
        sources, features = split_columns(text, self.columns)
        return self._join([self.tokenizer.tokenize(cell) for cell in sources], features)

    def split_text(self, text: tf.Tensor) -> tf.RaggedTensor:
        """Return the tokens of `tokenize` as strings, unknown ones as they are.

        Those of features have a tab before them, which no token of a text has, so that a text never
        has the same token.
        """
        sources, features = split_columns(text, self.columns)
        cells = [self.tokenizer.split_text(cell) for cell in sources]
        boundary = tf.constant(f"\t{BOUNDARY}")
        return self._concatenate(cells, features, boundary, lambda names: "\t" + names)

    def ids_of(self, tokens: tf.Tensor) -> tf.Tensor:
        """Return the id of each token of `split_text`, `<unk>` for unknown ones.

        Args:
            tokens: string tensor of any shape.

        Returns:
            Int32 tensor of the same shape.
        """
        is_feature = tf.strings.regex_full_match(tokens, "\t.*")
        features = self._feature_ids(tf.strings.regex_replace(tokens, "^\t", ""))
        return tf.where(is_feature, features, self.tokenizer.ids_of(tokens))

    def sample(self, texts: Sequence[str], seed: int, alpha: float = 0.2) -> tf.RaggedTensor:
        """Return ids with a random segmentation of the text; see `SentencePieceTokenizer.sample`.

        Raises:
            InputError: the tokenizer of the text has no such segmentations.
        """
        if not hasattr(self.tokenizer, "sample"):
            raise InputError(
                "subword_sampling needs a SentencePieceTokenizer on both sides; give these"
            )
        sources, features = split_columns(tf.constant(list(texts)), self.columns)
        cells = [[cell.decode() for cell in column.numpy()] for column in sources]
        ids = [self.tokenizer.sample(column, seed + i, alpha) for i, column in enumerate(cells)]
        return self._join(ids, features)

    def detokenize(self, ids: tf.Tensor, valid_length: tf.Tensor) -> tf.Tensor:
        """Return the columns of each row with tabs between; unknown features are in the text.

        Args:
            ids: int32 tensor, shape (batch, steps).
            valid_length: int32 tensor, shape (batch,): ids from this position on are ignored.

        Returns:
            String tensor, shape (batch,).
        """
        first = len(self.tokenizer)
        mask, tokens = text_mask(ids, valid_length), self.tokens_of(ids)
        source_column = tf.cumsum(tf.cast(ids == first, tf.int32), axis=1)
        cells, num_sources = [], 0
        for number, kind in enumerate(self.columns, 1):
            if kind == SOURCE:
                own = mask & (ids < first) & (source_column == num_sources)
                cells.append(self.tokenizer.detokenize(tf.where(own, ids, PAD), valid_length))
                num_sources += 1
                continue
            prefix = feature_prefix(self.columns, number)
            pattern = f"^{re.escape(prefix)}(.*)]$"
            own = mask & (ids > first) & tf.strings.regex_full_match(tokens, pattern)
            names = tf.strings.regex_replace(tokens, pattern, r"\1")
            names = tf.where(own, self.separator + names, "")
            cell = tf.strings.reduce_join(names, axis=1)
            cells.append(tf.strings.regex_replace(cell, "^" + re.escape(self.separator), ""))
        return tf.strings.join(cells, "\t")

    def tokens_of(self, ids: tf.Tensor) -> tf.Tensor:
        first, ids = len(self.tokenizer), tf.cast(ids, tf.int64)
        is_feature = ids >= first
        features = self._tokens_of_features.lookup(tf.where(is_feature, ids - first, 0))
        return tf.where(
            is_feature, features, self.tokenizer.tokens_of(tf.where(is_feature, UNK, ids))
        )

    def source_tokens(self, text: tf.Tensor, num_steps: int) -> tf.Tensor:
        # The text and the features themselves, including those that are not in the vocabularies.
        sources, features = split_columns(text, self.columns)
        cells = []
        for cell in sources:
            _, lengths = self.tokenizer.encode_source(cell, num_steps)
            words = self.tokenizer.source_tokens(cell, num_steps)
            cells.append(tf.RaggedTensor.from_tensor(words, tf.cast(lengths, tf.int64)))
        tokens = self._concatenate(cells, features, tf.constant(BOUNDARY), lambda names: names)
        return tokens.to_tensor(default_value="", shape=(None, num_steps))

    def as_sources(self, texts: list[str]) -> list[str]:
        """Return a source for each text, with one or two of the known features of each column."""
        columns: list[list[str]] = []
        for number in range(1, len(self.columns) + 1):
            prefix = feature_prefix(self.columns, number)
            tokens = (token for token in self._features[1:] if token.startswith(prefix))
            columns.append([token[len(prefix) : -1] for token in tokens])

        def cell(index: int, text: str, kind: str, features: list[str]) -> str:
            if kind == SOURCE or not features:
                return text if kind == SOURCE else ""
            pair = (features[index % len(features)], features[index // 2 % len(features)])
            return self.separator.join(dict.fromkeys(pair))

        return [
            "\t".join(map(cell, [i] * len(columns), [text] * len(columns), self.columns, columns))
            for i, text in enumerate(texts)
        ]

    def as_asset(self, path: Path) -> "ColumnsTokenizer":
        copy = ColumnsTokenizer(
            self.tokenizer.as_asset(path), self.columns, separator=self.separator
        )
        file = features_file(path)
        self._save_features(file)
        copy._set_features(read_features(file), file)
        return copy

    def save(self, path: Path) -> None:
        """Write the vocabulary of the text to a file, and that of the features to one beside it."""
        self.tokenizer.save(path)
        self._save_features(features_file(path))

    def save_assets(self, dir_path: str) -> None:
        self._save_features(Path(dir_path) / "features.txt")

    def load_assets(self, dir_path: str) -> None:
        self._set_features(read_features(Path(dir_path) / "features.txt"))

    def get_config(self) -> dict[str, Any]:
        # The features are stored as a file, see `save_assets`.
        return {
            **super().get_config(),
            "tokenizer": keras.saving.serialize_keras_object(self.tokenizer),
            "columns": list(self.columns),
            "separator": self.separator,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "ColumnsTokenizer":
        tokenizer = keras.saving.deserialize_keras_object(config["tokenizer"], custom_objects)
        return cls(**{**config, "tokenizer": tokenizer})

    def _save_features(self, file: Path) -> None:
        with atomic_write(file) as temporary:
            temporary.write_bytes("".join(f"{token}\n" for token in self._features).encode())

    def _set_features(self, tokens: Sequence[str], file: Path | None = None) -> None:
        self._features = tuple(tokens)
        if file is None:
            names, ids = tf.constant(list(tokens)), tf.range(len(tokens), dtype=tf.int64)
            ids_of_tokens = tf.lookup.KeyValueTensorInitializer(names, ids)
            tokens_of_ids = tf.lookup.KeyValueTensorInitializer(ids, names)
        else:
            line, index = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
            ids_of_tokens = FileInitializer(file, tf.string, line, tf.int64, index)
            tokens_of_ids = FileInitializer(file, tf.int64, index, tf.string, line)
        self._ids_of_features = tf.lookup.StaticHashTable(ids_of_tokens, default_value=-1)
        self._tokens_of_features = tf.lookup.StaticHashTable(tokens_of_ids, "<unk>")

    def _join(
        self, sources: list[tf.RaggedTensor], features: list[tuple[int, tf.Tensor]]
    ) -> tf.RaggedTensor:
        first = tf.constant(len(self.tokenizer))
        return self._concatenate(sources, features, first, self._feature_ids)

    def _feature_ids(self, names: tf.Tensor) -> tf.Tensor:
        ids = tf.cast(self._ids_of_features.lookup(names), tf.int32)
        return tf.where(ids < 0, UNK, ids + len(self.tokenizer))

    def _concatenate(
        self,
        sources: list[tf.RaggedTensor],
        features: list[tuple[int, tf.Tensor]],
        boundary: tf.Tensor,
        convert: Any,
    ) -> tf.RaggedTensor:
        """Return features, converted, and then the sources with a boundary between two."""
        has_text = tf.add_n([source.row_lengths() for source in sources]) > 0
        parts = []
        for number, cell in features:
            names = split_features(tf.where(has_text, cell, ""), self.separator)
            tokens = feature_prefix(self.columns, number) + names.flat_values + "]"
            parts.append(names.with_flat_values(convert(tokens)))
        boundaries = tf.RaggedTensor.from_tensor(
            tf.fill([tf.size(has_text), 1], boundary), tf.cast(has_text, tf.int64)
        )
        for i, source in enumerate(sources):
            parts += [boundaries, source] if i else [source]
        return parts[0] if len(parts) == 1 else tf.concat(parts, axis=1)
