"""What to prepare from which corpora."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, ClassVar

from keras_s2s.data.columns import parse_columns
from keras_s2s.data.config import DataConfig, check_one_origin, preparation_fields
from keras_s2s.data.corpus_spec import CorpusSpec
from keras_s2s.data.parallel_corpus import ParallelCorpus
from keras_s2s.data.prepared.filtering import FilterConfig
from keras_s2s.data.prepared.index import MAX_WEIGHT
from keras_s2s.utils.errors import InputError

# Options that are recorded only where they are given.
ADDED_OPTIONS = "columns", "valid", "test"


@dataclasses.dataclass(frozen=True)
class PreparationSpec:
    """The corpora to prepare, and how.

    Args:
        corpora: as for `load_corpus`.
        config: how to tokenize and what to hold out; see `DataConfig`.
        weights: passes over each corpus in an epoch, may be fractions; default 1.
        reverse: whether source and target are swapped.
        skip_bad_lines: see `load_corpus`.
        keep_identical: whether pairs with two identical sides are kept.
        keep_duplicates: whether pairs are kept that occur before, in the same corpus or another.
        max_length_ratio: drop pairs with one side longer than the other by more than this factor,
            in tokens.
        columns: what the columns are, see `load_corpus`.
        valid: the validation pairs, in any form that `load_corpus` takes, in place of a fraction.
            Read like the corpora; all of them are stored.
        test: the test pairs, likewise.

    Raises:
        InputError: an argument is invalid.
    """

    # Lines per chunk, and so per shard.
    CHUNK_LINES: ClassVar[int] = 2**16

    corpora: Sequence[str]
    config: DataConfig
    weights: Sequence[float] | None = None
    reverse: bool = False
    skip_bad_lines: bool = False
    keep_identical: bool = False
    keep_duplicates: bool = False
    max_length_ratio: float | None = None
    columns: str | None = None
    valid: str | None = None
    test: str | None = None

    def __post_init__(self) -> None:
        if not self.corpora:
            raise InputError("no corpus to prepare; give one or more")
        if self.weights is not None and len(self.weights) != len(self.corpora):
            raise InputError(
                f"{len(self.weights)} weights for {len(self.corpora)} corpora; give one for each"
            )
        for weight in self.weights or ():
            if not 0 < weight <= MAX_WEIGHT:
                raise InputError(f"a weight is {weight}; give more than 0 and at most {MAX_WEIGHT}")
        if self.columns is not None:
            parse_columns(self.columns)
            if self.reverse:
                raise InputError("columns say what is source and target; omit reverse")
        check_one_origin(self.config, self.valid, self.test)
        ratio = self.max_length_ratio
        if ratio is not None and not (ratio >= 1 and math.isfinite(ratio)):
            raise InputError(f"max_length_ratio is {ratio}; give 1 or more, 9 is usual")
        for name, is_set in (
            ("subword_sampling", self.config.subword_sampling > 0),
            ("max_pairs", self.config.max_pairs is not None),
        ):
            if is_set:
                raise InputError(f"a corpus cannot be prepared with {name}; remove that option")

    @property
    def filter_config(self) -> FilterConfig:
        """Return the filters that depend on the text alone."""
        config = self.config
        return FilterConfig(
            reverse=self.reverse,
            skip_bad_lines=self.skip_bad_lines,
            keep_identical=self.keep_identical,
            keep_duplicates=self.keep_duplicates,
            valid_fraction=config.valid_fraction,
            test_fraction=config.test_fraction,
            split_seed=config.split_seed,
            columns=self.columns,
        )

    @property
    def column_kinds(self) -> tuple[str, ...] | None:
        """The columns of the sources, see `ParallelCorpus`."""
        return None if self.columns is None else parse_columns(self.columns).kinds

    def load_held_out(self) -> dict[str, ParallelCorpus]:
        """Load the pairs of the splits that have files of their own, by split."""
        return CorpusSpec(
            "", self.reverse, self.skip_bad_lines, self.columns, self.valid, self.test
        ).load_held_out()

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of `PreparationConfig`."""
        return preparation_fields(self.config)

    def to_json(self) -> dict[str, Any]:
        """Return the configuration as in the index: all that decides the content but the text."""
        content = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name != "config"
            # Not written by earlier versions: without them, the index is as it was.
            and not (field.name in ADDED_OPTIONS and getattr(self, field.name) is None)
        }
        content |= {
            "corpora": list(self.corpora),
            "weights": [float(weight) for weight in self.weights or [1.0] * len(self.corpora)],
            # JSON has no tuples.
            "fields": {
                name: list(value) if isinstance(value, tuple) else value
                for name, value in self.fields.items()
            },
            "lines_of_a_shard": self.CHUNK_LINES,
        }
        return content
