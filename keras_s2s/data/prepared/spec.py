"""What to prepare from which corpora."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, ClassVar

from keras_s2s.data.config import DataConfig, preparation_fields
from keras_s2s.data.prepared.filtering import FilterConfig
from keras_s2s.data.prepared.index import MAX_WEIGHT
from keras_s2s.utils.errors import InputError


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
        )

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
