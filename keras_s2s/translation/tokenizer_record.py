"""The tokenizers of an export, recorded in it, for evaluation in Python.

The graph tokenizes by itself and shows no tokens. With the record an export is scored like the
translator that it was made from. Servers ignore the file; exports of earlier versions have none.
"""

from pathlib import Path
from typing import Any

from keras_s2s.serving.signatures import EXTRA_ASSETS
from keras_s2s.tokenizers.character_tokenizer import CharacterTokenizer, WhitespaceTokenizer
from keras_s2s.tokenizers.columns_tokenizer import ColumnsTokenizer
from keras_s2s.tokenizers.sentence_piece_tokenizer import SentencePieceTokenizer
from keras_s2s.tokenizers.source_columns import features_file
from keras_s2s.tokenizers.tokenizer import Tokenizer
from keras_s2s.tokenizers.vocabulary_tokenizer import VocabularyTokenizer
from keras_s2s.tokenizers.word_tokenizer import WordTokenizer
from keras_s2s.utils.errors import InputError
from keras_s2s.utils.files import parse_json, write_json

TOKENIZERS_FILE = Path(EXTRA_ASSETS, "tokenizers.json")
# No other class is loaded, whatever the file names. Their import also registers them with Keras,
# for `.keras` files that contain one.
_CLASSES = {
    cls.__name__: cls
    for cls in (WordTokenizer, CharacterTokenizer, WhitespaceTokenizer, SentencePieceTokenizer)
}


def vocabulary_name(side: str, tokenizer: Tokenizer | type[Tokenizer]) -> str:
    """Return the name of the asset with the vocabulary of the side `source` or `target`."""
    return f"{side}_vocabulary{tokenizer.file_suffix}"


def write_tokenizers(folder: Path, **tokenizers: Tokenizer) -> None:
    """Record the classes and options of tokenizers, by side, in a version folder.

    A tokenizer of another class is omitted: nothing is known of its files.
    """
    records = {side: _record(tokenizer) for side, tokenizer in tokenizers.items()}
    known = {side: record for side, record in records.items() if record is not None}
    write_json(folder / TOKENIZERS_FILE, known)


def read_tokenizer(folder: Path, side: str) -> Tokenizer | None:
    """Return the tokenizer of the side `source` or `target` of an export.

    Returns:
        None if the export does not record it, as those of earlier versions, or its record or
        vocabulary is damaged.
    """
    try:
        record = parse_json((folder / TOKENIZERS_FILE).read_text(encoding="utf-8"))[side]
        return _load(record, folder / "assets", side)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, InputError):
        return None


def _record(tokenizer: Tokenizer) -> dict[str, Any] | None:
    if type(tokenizer) is ColumnsTokenizer:
        record = _record(tokenizer.tokenizer)
        options = {"columns": list(tokenizer.columns), "separator": tokenizer.separator}
        return None if record is None else record | {"columns": options}
    if type(tokenizer) not in _CLASSES.values():
        return None
    options = tokenizer.options() if isinstance(tokenizer, VocabularyTokenizer) else {}
    return {"class": type(tokenizer).__name__, "options": options}


def _load(record: dict[str, Any], assets: Path, side: str) -> Tokenizer:
    cls = _CLASSES[record["class"]]
    path = assets / vocabulary_name(side, cls)
    tokenizer: Tokenizer = cls.load(path, **record["options"])
    if "columns" in record:
        return ColumnsTokenizer.load(tokenizer, features_file(path), **record["columns"])
    return tokenizer
