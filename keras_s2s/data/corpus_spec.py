"""A corpus with its held-out files, and how to read them; recorded with each run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from keras_s2s.data.config import PreparationConfig
from keras_s2s.data.parallel_corpus import CorpusSplits, ParallelCorpus, load_corpus
from keras_s2s.data.prepared.index import PreparedIndex, is_prepared
from keras_s2s.utils.errors import InputError, printable

if TYPE_CHECKING:
    from keras_s2s.data.prepared.corpus import PreparedCorpus

# The splits that may come from files of their own.
HELD_OUT_SPLITS = "valid", "test"


class CorpusSpec(NamedTuple):
    """A corpus and how to read it.

    Attributes:
        corpus: a name or files, see `load_corpus`; or the folder of a prepared corpus.
        reverse: swap source and target.
        skip_bad_lines: skip malformed lines.
        columns: what the columns are, see `load_corpus`.
        valid: the validation pairs, in any form that `load_corpus` takes, in place of a fraction of
            the corpus. Read like the corpus.
        test: the test pairs, likewise.
    """

    corpus: str
    reverse: bool = False
    skip_bad_lines: bool = False
    columns: str | None = None
    valid: str | None = None
    test: str | None = None

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> CorpusSpec:
        """Return the corpus of a run from the entry `corpus` of its `run.json`.

        Raises:
            KeyError: the entry is incomplete.
        """
        return cls(
            record["corpus"],
            bool(record["reverse"]),
            bool(record["skip_bad_lines"]),
            # Earlier versions did not have these.
            *(record.get(name) for name in ("columns", *HELD_OUT_SPLITS)),
        )

    def to_record(self) -> dict[str, Any]:
        """Return the entry `corpus` of a `run.json`; see `from_record`."""
        added = ("columns", *HELD_OUT_SPLITS)
        return {
            name: value
            for name, value in self._asdict().items()
            if value is not None or name not in added
        }

    def load(self, max_pairs: int | None) -> ParallelCorpus | PreparedCorpus:
        """Load the first `max_pairs` pairs, or all; or open a prepared corpus."""
        if is_prepared(self.corpus):
            if self.reverse or self.skip_bad_lines or self.columns is not None:
                raise InputError(
                    f"{self.corpus}: is prepared; omit --reverse, --skip-bad-lines and --columns, "
                    "which are options of keras-s2s prepare"
                )
            from keras_s2s.data.prepared.corpus import PreparedCorpus  # imports TensorFlow

            return PreparedCorpus(self.corpus)
        return self.read_pairs(self.corpus, max_pairs)

    def load_held_out(self) -> dict[str, ParallelCorpus]:
        """Load the pairs of the splits that have files of their own, by split."""
        spec = self
        if is_prepared(self.corpus):
            configuration = PreparedIndex(self.corpus).content["configuration"]
            spec = self._replace(
                reverse=configuration["reverse"], columns=configuration.get("columns")
            )
            for split in HELD_OUT_SPLITS:
                if getattr(self, split) is not None and configuration.get(split) is not None:
                    raise InputError(
                        f"{self.corpus}: was prepared with {split} {configuration[split]}; omit "
                        f"--{split}"
                    )
        return {
            split: spec.read_pairs(file, None)
            for split in HELD_OUT_SPLITS
            if (file := getattr(self, split)) is not None
        }

    def moved(self, run: object, files: Mapping[str, str | None]) -> CorpusSpec:
        """Return the corpus of a run with the new paths of its files.

        Args:
            run: its path.
            files: new paths by the names of fields; None for those that have not moved.

        Raises:
            InputError: the run has no such file.
        """
        changes: dict[str, Any] = {name: path for name, path in files.items() if path is not None}
        for name in changes:
            if getattr(self, name) is None:
                raise InputError(
                    f"{run}: the run has no file of {name} pairs; omit --{name}, which --resume "
                    "takes only for a file that has moved"
                )
        return self._replace(**changes)

    def prepared_file(self, split: str) -> str | None:
        """Return the file that a prepared corpus has the pairs of a split from, or None."""
        return self._prepared_with(split)

    def prepared_columns(self) -> str | None:
        """Return the columns of a prepared corpus, or None."""
        return self._prepared_with("columns")

    def _prepared_with(self, name: str) -> str | None:
        if not is_prepared(self.corpus):
            return None
        value: str | None = PreparedIndex(self.corpus).content["configuration"].get(name)
        return value

    def read_pairs(self, name: str, max_pairs: int | None) -> ParallelCorpus:
        """Read the first `max_pairs` pairs of a file, or all, as those of the corpus are read."""
        if is_prepared(name):
            raise InputError(f"{name}: is a prepared corpus; give a file of pairs instead")
        return load_corpus(
            name,
            max_pairs=max_pairs,
            reverse=self.reverse,
            skip_bad_lines=self.skip_bad_lines,
            columns=self.columns,
        )


def split_corpus(
    pairs: ParallelCorpus,
    config: PreparationConfig,
    held_out: Mapping[str, ParallelCorpus] | None = None,
) -> CorpusSplits:
    """Return the splits of a corpus by the fractions of a configuration.

    Args:
        pairs: the corpus.
        config: the fractions and the seed.
        held_out: see `CorpusSpec.load_held_out`; these replace the splits of the same name.
    """
    splits = pairs.split(config.valid_fraction, config.test_fraction, config.split_seed)
    return splits._replace(**held_out or {})


def describe_overlap(
    name: str, sources: Iterable[str], training_sources: Iterable[str]
) -> str | None:
    """Return a line about the distinct sources that stand in the training pairs too, or None.

    Args:
        name: of the held-out file.
        sources: its sources.
        training_sources: those of the training pairs.

    Example:

    >>> describe_overlap("dev.tsv", ["a", "b", "b"], ["b", "c"])
    "dev.tsv: 1 of 2 sources also stands in the training pairs (first: 'b')"
    """
    distinct, training = dict.fromkeys(sources), set(training_sources)
    shared = [source for source in distinct if source in training]
    if not shared:
        return None
    excerpt = shared[0] if len(shared[0]) <= 60 else shared[0][:57] + "..."
    return (
        f"{printable(name)}: {len(shared):,} of {len(distinct):,} sources also "
        f"{'stands' if len(shared) == 1 else 'stand'} in the training pairs (first: {excerpt!r})"
    )
