"""From corpora of any size to a prepared one: what is asked, and the folder it goes to."""

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keras_s2s.data.config import DataConfig, PreparationConfig, preparation_fields
from keras_s2s.data.prepared.corpus import PreparedCorpus
from keras_s2s.data.prepared.filtering import FilterConfig
from keras_s2s.data.prepared.index import HELD_OUT_FILES, INDEX, SAMPLES, SIDES, PreparedIndex
from keras_s2s.utils.errors import InputError
from keras_s2s.utils.files import (
    check_output_folder,
    remove_folder,
    remove_stale_temporaries,
    write_json,
)

# Lines that become a shard.
CHUNK_LINES = 2**16

WORK = "work"
CONFIGURATION = "configuration.json"


@dataclasses.dataclass(frozen=True)
class PreparationSpec:
    """What is prepared, and how.

    Args:
        corpora: as for `load_corpus`.
        recipe: says how to tokenize and what to hold out; see `PreparationConfig`.
        weights: how often the pairs of each corpus come in an epoch; all once when left out.
        reverse: whether source and target are swapped.
        skip_bad_lines: see `load_corpus`.
        keep_identical: whether pairs stay whose sides are the same.
        keep_duplicates: whether pairs stay that have come before, in the same corpus or another.
        max_length_ratio: leave out pairs whose one side has more than so many times the tokens of
            the other.

    Raises:
        InputError: a value makes no sense.
    """

    corpora: Sequence[str]
    recipe: DataConfig
    weights: Sequence[float] | None = None
    reverse: bool = False
    skip_bad_lines: bool = False
    keep_identical: bool = False
    keep_duplicates: bool = False
    max_length_ratio: float | None = None

    def __post_init__(self) -> None:
        if not self.corpora:
            raise InputError("no corpus to prepare; give one or more")
        if self.weights is not None and len(self.weights) != len(self.corpora):
            raise InputError(
                f"{len(self.weights)} weights for {len(self.corpora)} corpora; give one for each"
            )
        for weight in self.weights or ():
            if not 0 < weight <= 1000:
                raise InputError(f"a weight is {weight}; give more than 0 and at most 1000")
        ratio = self.max_length_ratio
        if ratio is not None and not (ratio >= 1 and math.isfinite(ratio)):
            raise InputError(f"max_length_ratio is {ratio}; give 1 or more, 9 is usual")
        for name, wrong in (
            ("subword_sampling", self.recipe.subword_sampling > 0),
            ("max_pairs", self.recipe.max_pairs is not None),
        ):
            if wrong:
                raise InputError(f"a corpus cannot be prepared with {name}; leave that out")

    @property
    def sieve(self) -> FilterConfig:
        """What is decided by the text alone."""
        recipe = self.recipe
        return FilterConfig(
            self.reverse,
            self.skip_bad_lines,
            self.keep_identical,
            self.keep_duplicates,
            recipe.valid_fraction,
            recipe.test_fraction,
            recipe.split_seed,
        )

    def as_json(self) -> dict[str, Any]:
        """All that decides what a prepared corpus is, but the text."""
        content = {
            item.name: getattr(self, item.name)
            for item in dataclasses.fields(self)
            if item.name != "recipe"
        }
        content |= {
            "corpora": list(self.corpora),
            "weights": [float(weight) for weight in self.weights or [1.0] * len(self.corpora)],
            "fields": preparation_fields(self.recipe),
            "lines_of_a_shard": CHUNK_LINES,
        }
        return content


class PreparedFolder:
    """The folder of a prepared corpus to be.

    Args:
        path: the folder.
        preparation: what goes into it.

    Attributes:
        work: a folder in it for what is on the way.
        before: the index that is there already, or None.
    """

    def __init__(self, path: Path, preparation: PreparationSpec) -> None:
        self.path = path
        self.work = path / WORK
        self._configuration = preparation.as_json()
        self.before: dict[str, Any] | None = None

    def begin(self, overwrite: bool) -> None:
        """Makes sure that it may be written to, and finds what is there already.

        Raises:
            InputError: it holds something else.
        """
        index, begun = self.path / INDEX, self.work / CONFIGURATION
        ours = index.is_file() or begun.is_file()
        check_output_folder(self.path, "--output", "prepared corpus", ours)
        if overwrite and ours:
            self._clear()
        elif ours:
            known = self._read(index)["configuration"] if index.is_file() else self._read(begun)
            self._check_same(known)
            if index.is_file():
                self.before = PreparedIndex(self.path).content
            remove_stale_temporaries(self.path)
        self._was_there, self._is_new = self.path.exists(), not ours or overwrite
        self.work.mkdir(parents=True, exist_ok=True)
        remove_stale_temporaries(self.work)
        write_json(begun, self._configuration)

    def forget(self) -> None:
        """Leaves nothing behind of a preparation that cannot be, unless it was begun before."""
        if self._is_new:
            self._clear()
            if not self._was_there:
                self.path.rmdir()

    def is_sound(self) -> bool:
        """Whether all files are as they were written."""
        try:
            PreparedCorpus(self.path).verify()
        except InputError:
            return False
        return True

    def _read(self, file: Path) -> Any:
        try:
            return json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(
                f"{file}: is damaged ({error}); give --overwrite to prepare anew"
            ) from error

    def _check_same(self, known: dict[str, Any]) -> None:
        own = {**self._configuration, **self._configuration["fields"]}
        theirs = {**known, **dataclasses.asdict(PreparationConfig(**known["fields"]))}
        unlike = [
            f"{name} {theirs.get(name)} instead of {own[name]}"
            for name in own
            if name != "fields" and own[name] != theirs.get(name)
        ]
        if unlike:
            raise InputError(
                f"{self.path}: was prepared with {', '.join(unlike)}; give another --output, or "
                "--overwrite to replace it"
            )

    def _clear(self) -> None:
        # The index goes last but for the work: as long as one is there, this is ours to replace.
        vocabularies = [f"{side}.{kind}" for side in SIDES for kind in ("txt", "model")]
        for file in self.path.glob("shard-*.tfrecord"):
            file.unlink()
        for name in (*HELD_OUT_FILES, SAMPLES, *vocabularies):
            (self.path / name).unlink(missing_ok=True)
        (self.path / INDEX).unlink(missing_ok=True)
        if self.work.is_dir():
            remove_folder(self.work)


def report(corpus: dict[str, Any]) -> list[str]:
    """What there is to say of a corpus that was prepared, in lines.

    Args:
        corpus: one of `corpora` of the index.
    """
    dropped = {name.replace("_", " "): number for name, number in corpus["dropped"].items()}
    reasons = [f"  {number:>12,} dropped: {name}" for name, number in dropped.items() if number]
    cut = f", {corpus['cut']:,} of them cut" if corpus["cut"] else ""
    weight = f", {corpus['weight']:g} times an epoch" if corpus["weight"] != 1 else ""
    return [
        f"{corpus['corpus']}: {corpus['pairs']:,} pairs in {corpus['lines']:,} lines",
        *reasons,
        f"  {corpus['valid_pairs']:>12,} held out for validation",
        f"  {corpus['test_pairs']:>12,} held out for testing",
        f"  {corpus['train_pairs']:>12,} to train on{cut}{weight}",
    ]
