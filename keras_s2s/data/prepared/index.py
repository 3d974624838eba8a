"""What stands in the folder of a prepared corpus besides what is trained on."""

import json
import os
from pathlib import Path
from typing import Any

from keras_s2s.data.config import PreparationConfig, preparation_fields
from keras_s2s.data.parallel_corpus import ParallelCorpus
from keras_s2s.utils.errors import InputError
from keras_s2s.utils.files import sha256_of

INDEX = "index.json"
FORMAT = 1
SAMPLES = "samples.txt"
HELD_OUT_FILES = "valid.tsv", "test.tsv"
# The names of vocabularies, the last one of what serves both sides.
SIDES = ("source", "target", "both")

MEND = "give the command that prepared it again, which makes only what is damaged anew"


class PreparedIndex:
    """What `index.json` says.

    Args:
        path: the folder of a prepared corpus.

    Attributes:
        content: all of it.
        fields: the fields of `Recipe` that the corpus was prepared with.

    Raises:
        InputError: there is no such folder, or its index is damaged.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        try:
            self.content: dict[str, Any] = json.loads(
                (self.path / INDEX).read_text(encoding="utf-8")
            )
            found = self.content["format"]
            fields = self.content["configuration"]["fields"]
            # Earlier versions wrote `max_tokens` for `vocab_size`.
            self.fields = preparation_fields(PreparationConfig(**fields))
            if len(fields) != len(self.fields):
                raise ValueError("fields of its configuration are missing")
        except OSError as error:
            raise InputError(
                f"{self.path}: no prepared corpus (no {INDEX} in it that can be read); make one "
                "with keras-s2s prepare"
            ) from error
        except KeyError as error:
            raise self.damaged(f"no {error}") from error
        except (ValueError, TypeError) as error:
            raise self.damaged(error) from error
        if found != FORMAT:
            raise InputError(
                f"{self.path}: prepared by another version (format {found}, not {FORMAT}); "
                "prepare the corpus anew"
            )

    def damaged(self, reason: object) -> InputError:
        """The error for an index that cannot be what was written."""
        return InputError(
            f"{self.path / INDEX}: is damaged ({reason}); give the command that prepared it again "
            "with --overwrite"
        )

    def fingerprint(self) -> str:
        """SHA-256 of the index, in which the checksums of all that is trained on stand."""
        return sha256_of(self.path / INDEX)

    def check_files(self) -> None:
        """Compares all files but the shards with their checksums.

        Raises:
            InputError: one is damaged or missing.
        """
        for name, sha256 in self.content["files"].items():
            try:
                right = sha256_of(self.path / name) == sha256
            except OSError:
                right = False
            if not right:
                raise InputError(f"{self.path / name}: is damaged or missing; {MEND}")

    def part(self, name: str) -> ParallelCorpus:
        """The pairs that are kept for `valid` or `test`, as text."""
        lines = (self.path / f"{name}.tsv").read_bytes().decode().split("\n")[:-1]
        pairs = [line.split("\t") for line in lines]
        sources, targets = ([pair[side] for pair in pairs] for side in (0, 1))
        return ParallelCorpus(sources, targets, str(self.path))

    def samples(self) -> list[str]:
        """Some distinct sources of the pairs that are trained on."""
        return (self.path / SAMPLES).read_bytes().decode().split("\n")[:-1]


def is_prepared(name: str) -> bool:
    """Whether a name is that of the folder of a prepared corpus."""
    return (Path(name) / INDEX).is_file()
