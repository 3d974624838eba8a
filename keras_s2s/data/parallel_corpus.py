"""Parallel corpora in memory: loading, and splitting by source sentence."""

import dataclasses
import hashlib
import os
import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from keras_s2s.data.columns import parse_columns
from keras_s2s.data.corpus_reader import CorpusReader
from keras_s2s.utils.checks import check_int
from keras_s2s.utils.errors import InputError, printable


@dataclasses.dataclass(frozen=True)
class ParallelCorpus:
    """Sentences and their translations.

    Args:
        source: the sentences to translate.
        target: the translation of each, in the same order.
        name: origin of the pairs; derived corpora keep it.
        columns: `source` or `features` for each column of the sources, which have tabs between the
            columns then; None where a source is one text.

    Raises:
        InputError: `source` and `target` have different lengths.

    Example:

    >>> corpus = ParallelCorpus(["Go.", "Hi."], ["Va !", "Salut !"], "greetings")
    >>> corpus
    ParallelCorpus('greetings', 2 pairs)
    >>> corpus.reverse().source
    ['Va !', 'Salut !']
    """

    source: list[str]
    target: list[str]
    name: str = "pairs"
    columns: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for side in ("source", "target"):
            if isinstance(getattr(self, side), (str, bytes)):
                raise InputError(
                    f"{side}: expected a list of sentences, got one text; put it in brackets"
                )
        if len(self.source) != len(self.target):
            raise InputError(
                f"{printable(self.name)}: {len(self.source)} source sentences but "
                f"{len(self.target)} target sentences; give one translation for each"
            )

    def __len__(self) -> int:
        return len(self.source)

    def __repr__(self) -> str:  # the dataclass's would print every sentence
        return f"{type(self).__name__}({self.name!r}, {len(self)} pairs)"

    def reverse(self) -> "ParallelCorpus":
        """Return the corpus with source and target swapped.

        Raises:
            InputError: its sources have columns.
        """
        if self.columns is not None:
            raise InputError(
                f"{printable(self.name)}: its columns say what is source and target; omit reverse, "
                "or give other columns"
            )
        return ParallelCorpus(self.target, self.source, self.name)

    def split(self, valid: float = 0.05, test: float = 0.05, seed: int = 0) -> "CorpusSplits":
        """Split the pairs so that no source sentence is in two splits.

        The split is a function of a hash of the source sentence, ignoring case and spacing. So a
        sentence keeps its split on every machine and when the corpus grows or is reordered, and
        the test split does not depend on `valid`. The order of the pairs is kept.

        Args:
            valid: probability of a distinct source sentence to be in the validation split.
            test: probability of a distinct source sentence to be in the test split.
            seed: random seed of the hash.

        Returns:
            A `CorpusSplits` of train, valid and test. Their sizes approximate the fractions;
            those of a small corpus may be empty.

        Raises:
            InputError: a fraction is negative, or their sum is 1 or more.

        Example:

        >>> corpus = ParallelCorpus(["Go.", "go .", "Hi."], ["Va !", "Marche.", "Salut !"])
        >>> [len(part) for part in corpus.split(valid=0.5, test=0)]
        [1, 2, 0]
        """
        # `not` of the whole condition, to refuse NaN too.
        if not (valid >= 0 and test >= 0 and valid + test < 1):
            raise InputError(
                f"cannot hold out valid={valid} and test={test} of a corpus; "
                "give fractions of at least 0 with a sum below 1"
            )
        splits: list[tuple[list[str], list[str]]] = [([], []), ([], []), ([], [])]
        for source, target in zip(self.source, self.target, strict=True):
            sources, targets = splits[split_for_hash(split_hash(source, seed), valid, test)]
            sources.append(source)
            targets.append(target)
        return CorpusSplits(*(ParallelCorpus(*sides, self.name, self.columns) for sides in splits))

    def fingerprint(self) -> str:
        """Return a SHA-256 of the pairs and their order, in hexadecimal.

        Example:

        >>> ParallelCorpus(["Go."], ["Va !"]).fingerprint()[:12]
        '4fabaf7bce7d'
        """
        digest = hashlib.sha256()
        for source, target in zip(self.source, self.target, strict=True):
            # The lengths make the concatenation unambiguous.
            digest.update(f"{len(source)} {len(target)} {source}{target}".encode())
        return digest.hexdigest()

    def references(self) -> tuple[list[str], list[list[str]]]:
        """Group the translations by source sentence, for metrics with several references.

        Returns:
            The distinct source sentences in order of first occurrence, and the list of all
            targets of each.

        Example:

        >>> ParallelCorpus(["Go.", "Hi.", "Go."], ["Va !", "Salut !", "Marche."]).references()
        (['Go.', 'Hi.'], [['Va !', 'Marche.'], ['Salut !']])
        """
        targets: dict[str, list[str]] = {}
        for source, target in zip(self.source, self.target, strict=True):
            targets.setdefault(source, []).append(target)
        return list(targets), list(targets.values())


class CorpusSplits(NamedTuple):
    """The splits of a corpus, from `ParallelCorpus.split`."""

    train: ParallelCorpus
    valid: ParallelCorpus
    test: ParallelCorpus


def split_for_hash(hash_value: float, valid: float, test: float) -> int:
    """Return the index in `CorpusSplits` for the hash of a source sentence."""
    if hash_value < test:
        return 2
    return 1 if hash_value < test + valid else 0


def split_hash(source: str, seed: int) -> float:
    """Return a hash in [0, 1) of a source sentence, ignoring case and spacing."""
    digest = hashlib.sha256(f"{seed} {_split_key(source)}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _split_key(sentence: str) -> str:
    # NFKC replaces no-break spaces. Case folding can decompose letters, hence the second NFKC:
    # without it, a letter and its capital could have different keys.
    key = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", sentence).casefold())
    return re.sub(r"\s+(?=[,.!?])", "", " ".join(key.split()))


def load_corpus(
    corpus: str | os.PathLike[str],
    *,
    max_pairs: int | None = None,
    reverse: bool = False,
    skip_bad_lines: bool = False,
    columns: str | Sequence[str | int] | None = None,
) -> ParallelCorpus:
    """Load a parallel corpus.

    Args:
        corpus: one of

            - a name in `BUILTIN_CORPORA`, which takes precedence over a file (`./name`);
            - a UTF-8 file of tab-separated columns: source, target, and others, which are
              ignored without `columns`;
            - a `.zip` or `.gz` file with such a file;
            - two line-aligned files, `a.en,a.fr`; each may be `.gz`.

            Blank lines and white space around sentences are ignored.
        max_pairs: maximum number of pairs; later lines are not checked.
        reverse: swap source and target.
        skip_bad_lines: skip lines that are not UTF-8 or not a pair and log their number, instead
            of raising an error.
        columns: what the columns are, such as `"source,features,target"` or `"1,3,2"`; see
            `parse_columns`. The sources of the corpus then have a tab between two columns, and its
            `columns` say what each is. Two files are read as if pasted line by line.

    Returns:
        A `ParallelCorpus` with the name `corpus`.

    Raises:
        InputError: the corpus is unknown, cannot be read or downloaded, or has malformed lines or
            no pairs.

    Example:

    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "pairs.tsv"
    ...     _ = path.write_text("Go.\\tVa !\\nHi.\\tSalut !\\n", encoding="utf-8")
    ...     load_corpus(path, max_pairs=1).target
    ['Va !']
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "verbs.tsv"
    ...     _ = path.write_text("walk\\twalked\\tV;PST\\n", encoding="utf-8")
    ...     load_corpus(path, columns="source,target,features").source
    ['walk\\tV;PST']
    """
    if not isinstance(corpus, (str, os.PathLike)):
        raise InputError(
            f"corpus is {corpus!r}; give a file, a name from the catalog, or 'a.en,a.fr'"
        )
    if max_pairs is not None:
        check_int("max_pairs", max_pairs, 1, ", or None for all pairs")
    name = os.fspath(corpus)
    selected = None if columns is None else parse_columns(columns)
    reader = CorpusReader(name, selected)
    malformed = reader.malformed_lines()
    sources: list[str] = []
    targets: list[str] = []
    for chunk in reader.chunks():
        for source, target in reader.pairs(chunk, malformed, skip_bad_lines):
            sources.append(source)
            targets.append(target)
            if len(sources) == max_pairs:
                break
    malformed.report(malformed.num_lines, len(sources), skip_bad_lines)
    pairs = ParallelCorpus(sources, targets, name, None if selected is None else selected.kinds)
    return pairs.reverse() if reverse else pairs
