"""The index of a prepared corpus, and the files of its folder other than the shards."""

import os
from pathlib import Path
from typing import Any

from keras_s2s.data.columns import parse_columns
from keras_s2s.data.config import (
    ADDED_FIELDS,
    EARLIER_VALUES,
    PreparationConfig,
    preparation_fields,
)
from keras_s2s.data.parallel_corpus import ParallelCorpus
from keras_s2s.utils.errors import InputError
from keras_s2s.utils.files import parse_json, sha256_of

INDEX = "index.json"
FORMAT = 1
SAMPLES = "samples.txt"
HELD_OUT_FILES = "valid.tsv", "test.tsv"
# Stems of the vocabulary files: one per side, or one for both.
VOCABULARY_STEMS = ("source", "target", "both")

# Passes over a corpus in an epoch.
MAX_WEIGHT = 1000
REPAIR_HINT = "run the command that prepared it again, which rewrites only damaged files"


class PreparedIndex:
    """The content of `index.json`.

    Args:
        path: the folder of a prepared corpus.

    Attributes:
        content: the parsed file.
        config: how the corpus was prepared.
        earlier_fields: those of them that the version that prepared it did not record.
        columns: those of the sources, see `ParallelCorpus`; None where a source is one text.

    Raises:
        InputError: there is no such folder, or its index is damaged.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        try:
            self.content: dict[str, Any] = parse_json(
                (self.path / INDEX).read_text(encoding="utf-8")
            )
            version = self.content["format"]
            if version == FORMAT:  # other versions may have other fields
                recorded = self.content["configuration"]["fields"]
                self.earlier_fields = {
                    name: value for name, value in EARLIER_VALUES.items() if name not in recorded
                }
                fields = {**recorded, **self.earlier_fields}
                # Earlier versions wrote `max_tokens` for `vocab_size`.
                self.config = PreparationConfig(**fields)
                if len(fields.keys() | ADDED_FIELDS) != len(self.fields):
                    raise ValueError("fields of its configuration are missing")
                columns = self.content["configuration"].get("columns")
                self.columns = None if columns is None else parse_columns(columns).kinds
                for name in (*self.content["files"], *_shard_names(self.content)):
                    if Path(name).name != name:
                        raise ValueError(f"{name!r} is no file of its folder")
        except OSError as error:
            raise InputError(
                f"{self.path}: no prepared corpus (no readable {INDEX}); make one with "
                "keras-s2s prepare"
            ) from error
        except KeyError as error:
            raise self.damage_error(f"no {error}") from error
        # AttributeError: a list in place of an object.
        except (ValueError, TypeError, AttributeError) as error:
            raise self.damage_error(error) from error
        if version != FORMAT:
            raise InputError(
                f"{self.path}: prepared by another version (format {version}, not {FORMAT}); "
                "prepare the corpus again"
            )

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of `PreparationConfig` that the corpus was prepared with."""
        return preparation_fields(self.config)

    def damage_error(self, reason: object) -> InputError:
        """Return the error for an index with invalid content."""
        return InputError(
            f"{self.path / INDEX}: is damaged ({reason}); run the command that prepared it again "
            "with --overwrite"
        )

    def fingerprint(self) -> str:
        """Return the SHA-256 of the index, which covers the checksums of all other files."""
        return sha256_of(self.path / INDEX)

    def check_files(self) -> None:
        """Compare all files except the shards with their checksums.

        Raises:
            InputError: one is damaged or missing.
        """
        for name, sha256 in self.content["files"].items():
            if not has_checksum(self.path / name, sha256):
                raise InputError(f"{self.path / name}: is damaged or missing; {REPAIR_HINT}")

    def held_out(self, split: str) -> ParallelCorpus:
        """Return the pairs stored as text for the split `valid` or `test`."""
        file = self.path / f"{split}.tsv"
        try:
            lines = file.read_bytes().decode().split("\n")[:-1]
            pairs = [line.split("\t") for line in lines]
            # Sources of several columns have tabs.
            sources = ["\t".join(pair[:-1]) if self.columns else pair[0] for pair in pairs]
            targets = [pair[-1] if self.columns else pair[1] for pair in pairs]
        except (OSError, UnicodeDecodeError, IndexError) as error:
            raise InputError(f"{file}: is damaged or missing; {REPAIR_HINT}") from error
        return ParallelCorpus(sources, targets, str(self.path), self.columns)

    def samples(self) -> list[str]:
        """Return a sample of distinct training sources."""
        try:
            return (self.path / SAMPLES).read_bytes().decode().split("\n")[:-1]
        except (OSError, UnicodeDecodeError) as error:
            file = self.path / SAMPLES
            raise InputError(f"{file}: is damaged or missing; {REPAIR_HINT}") from error


def _shard_names(content: dict[str, Any]) -> list[str]:
    return [shard["file"] for shard in content["shards"]]


def is_prepared(name: str) -> bool:
    """Return whether a name is the folder of a prepared corpus."""
    return (Path(name) / INDEX).is_file()


def has_checksum(file: Path, sha256: str | None) -> bool:
    """Return whether a file is readable and has the given SHA-256."""
    try:
        return sha256_of(file) == sha256
    except OSError:
        return False
