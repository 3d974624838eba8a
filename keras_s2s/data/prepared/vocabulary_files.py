"""The vocabulary files of a prepared corpus, and the tokenizers in them."""

from pathlib import Path

from keras_s2s.data.config import SIDES, PreparationConfig
from keras_s2s.data.prepared.index import VOCABULARY_STEMS
from keras_s2s.data.vocabulary import COUNTING_TOKENIZERS, load_tokenizer
from keras_s2s.tokenizers.columns_tokenizer import ColumnsTokenizer
from keras_s2s.tokenizers.sentence_piece_tokenizer import SentencePieceTokenizer
from keras_s2s.tokenizers.source_columns import features_file, has_features
from keras_s2s.tokenizers.tokenizer import Tokenizer


def tokenizer_files(config: PreparationConfig) -> tuple[str, str]:
    """Return the names of the vocabulary files of source and target."""
    suffixes = [
        (COUNTING_TOKENIZERS.get(config.tokenizer_of(side)) or SentencePieceTokenizer).file_suffix
        for side in SIDES
    ]
    stems = (VOCABULARY_STEMS[2],) * 2 if config.joint_vocabulary else VOCABULARY_STEMS[:2]
    return f"{stems[0]}{suffixes[0]}", f"{stems[1]}{suffixes[1]}"


def vocabulary_files(
    config: PreparationConfig, columns: tuple[str, ...] | None = None
) -> list[str]:
    """Return the names of all files of `load_tokenizers`, in alphabetical order."""
    files = tokenizer_files(config)
    features = {features_file(Path(files[0])).name} if has_features(columns) else set()
    return sorted({*files, *features})


def load_tokenizers(
    folder: Path, config: PreparationConfig, columns: tuple[str, ...] | None = None
) -> tuple[Tokenizer, Tokenizer]:
    """See `PreparedCorpus.tokenizers`.

    Args:
        folder: that of the files.
        config: how to tokenize.
        columns: those of the sources, see `ParallelCorpus`.
    """
    source, target = _load_tokenizers(folder, config)
    if columns is None or not has_features(columns):
        return source, target
    file = features_file(folder / tokenizer_files(config)[0])
    if source is target:
        # Keras saves an object once, see `ColumnsTokenizer`.
        source, _ = _load_tokenizers(folder, config)
    return ColumnsTokenizer.load(source, file, columns, config.feature_separator), target


def _load_tokenizers(folder: Path, config: PreparationConfig) -> tuple[Tokenizer, Tokenizer]:
    source_file, target_file = (folder / name for name in tokenizer_files(config))
    source = load_tokenizer(config, "source", source_file)
    if source_file == target_file:
        return source, source
    return source, load_tokenizer(config, "target", target_file)
