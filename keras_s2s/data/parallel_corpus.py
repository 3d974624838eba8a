"""Sentence pairs in: from files, archives and the catalogue; splitting by source."""

import codecs
import dataclasses
import hashlib
import os
import re
import unicodedata
from collections.abc import Iterable
from typing import NamedTuple

from keras_s2s.data.catalog import BUILTIN_CORPORA, read_text, unknown_name
from keras_s2s.data.compressed_files import open_unpacked
from keras_s2s.data.line_parsing import (
    ALIGNED,
    TAB_SEPARATED,
    MalformedLines,
    Row,
    aligned_names,
    aligned_rows,
    check_as_long,
    check_text,
    tab_separated_rows,
)
from keras_s2s.utils.checks import check_int
from keras_s2s.utils.errors import InputError, printable


@dataclasses.dataclass(frozen=True)
class ParallelCorpus:
    """Sentences in one language, each with its translation into another.

    Args:
        source: the sentences to translate.
        target: the translation of each, in the same order.
        name: where the pairs come from; what is derived from a corpus keeps its name.

    Raises:
        InputError: `source` and `target` are of different lengths.

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

    def __repr__(self) -> str:  # the dataclass's own would print every sentence
        return f"{type(self).__name__}({self.name!r}, {len(self)} pairs)"

    def reverse(self) -> "ParallelCorpus":
        """Returns the corpus for the other direction, with source and target swapped."""
        return ParallelCorpus(self.target, self.source, self.name)

    def split(self, valid: float = 0.05, test: float = 0.05, seed: int = 0) -> "CorpusSplits":
        """Divides the pairs so that no source sentence stands in two of the parts.

        A hash of the source sentence decides where its pairs go, and case and spacing make no
        difference. So a sentence stays in its part when the corpus grows, shrinks or is reordered,
        and on every machine; the test part does not depend on `valid` either. Order is kept.

        Args:
            valid: the probability of a distinct source sentence to be held out for validation.
            test: the same for the test.
            seed: another seed gives another division.

        Returns:
            A `CorpusSplits` of train, valid and test. The parts' sizes are near the fractions, and
            they may be empty when the corpus is small.

        Raises:
            InputError: the fractions are negative or add up to 1 or more.

        Example:

        >>> corpus = ParallelCorpus(["Go.", "go .", "Hi."], ["Va !", "Marche.", "Salut !"])
        >>> [len(part) for part in corpus.split(valid=0.5, test=0)]
        [1, 2, 0]
        """
        # Put this way round, NaN is refused too.
        if not (valid >= 0 and test >= 0 and valid + test < 1):
            raise InputError(
                f"cannot hold out valid={valid} and test={test} of a corpus; "
                "give fractions of at least 0 that add up to less than 1"
            )
        parts: list[tuple[list[str], list[str]]] = [([], []), ([], []), ([], [])]
        for source, target in zip(self.source, self.target, strict=True):
            part = parts[split_for_hash(split_hash(source, seed), valid, test)]
            part[0].append(source)
            part[1].append(target)
        return CorpusSplits(*(ParallelCorpus(*part, self.name) for part in parts))

    def fingerprint(self) -> str:
        """Returns a SHA-256 in hexadecimal that is the same for the same pairs in the same order.

        Example:

        >>> ParallelCorpus(["Go."], ["Va !"]).fingerprint()[:12]
        '4fabaf7bce7d'
        """
        digest = hashlib.sha256()
        for source, target in zip(self.source, self.target, strict=True):
            # With the lengths, no text can pass for the border between two texts.
            digest.update(f"{len(source)} {len(target)} {source}{target}".encode())
        return digest.hexdigest()

    def references(self) -> tuple[list[str], list[list[str]]]:
        """Groups the translations by source sentence, for scores with several references.

        Returns:
            The distinct source sentences in the order of their first appearance, and for each of
            them the list of all its targets.

        Example:

        >>> ParallelCorpus(["Go.", "Hi.", "Go."], ["Va !", "Salut !", "Marche."]).references()
        (['Go.', 'Hi.'], [['Va !', 'Marche.'], ['Salut !']])
        """
        targets: dict[str, list[str]] = {}
        for source, target in zip(self.source, self.target, strict=True):
            targets.setdefault(source, []).append(target)
        return list(targets), list(targets.values())


class CorpusSplits(NamedTuple):
    """The parts of a corpus, from `ParallelCorpus.split`."""

    train: ParallelCorpus
    valid: ParallelCorpus
    test: ParallelCorpus


def split_for_hash(draw: float, valid: float, test: float) -> int:
    """The part that a source goes to by its draw, numbered as in `CorpusSplits`."""
    if draw < test:
        return 2
    return 1 if draw < test + valid else 0


def split_hash(source: str, seed: int) -> float:
    """The number from 0 to 1 by which `ParallelCorpus.split` puts a source into a part."""
    digest = hashlib.sha256(f"{seed} {_split_key(source)}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _split_key(sentence: str) -> str:
    # NFKC makes plain spaces of no-break spaces. Case folding can undo a composed letter, hence
    # the second round: without it, a letter and its capital could have different keys.
    key = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", sentence).casefold())
    return re.sub(r"\s+(?=[,.!?])", "", " ".join(key.split()))


def load_corpus(
    corpus: str | os.PathLike[str],
    *,
    max_pairs: int | None = None,
    reverse: bool = False,
    skip_bad_lines: bool = False,
) -> ParallelCorpus:
    """Reads sentence pairs.

    Args:
        corpus: one of

            - a name in `BUILTIN_CORPORA`; it wins over a file of that name (for that: `./name`);
            - a file of tab-separated pairs in UTF-8: source, target, and columns that are ignored
              (such as an attribution);
            - a `.zip` or `.gz` with such a file inside;
            - two line-aligned files with a comma between them, `a.en,a.fr`; each may be `.gz`.

            Blank lines are ignored, and white space around a sentence is removed.
        max_pairs: take only the first so many pairs, and look no further than these.
        reverse: swap source and target.
        skip_bad_lines: leave out lines that are no pair or not UTF-8, and log how many, instead
            of raising.

    Returns:
        A `ParallelCorpus` whose name is `corpus` as given.

    Raises:
        InputError: the corpus is unknown, cannot be read or downloaded, or holds bad lines or no
            pairs at all. The message says where, and what to do.

    Example:

    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "pairs.tsv"
    ...     _ = path.write_text("Go.\\tVa !\\nHi.\\tSalut !\\n", encoding="utf-8")
    ...     load_corpus(path, max_pairs=1).target
    ['Va !']
    """
    if not isinstance(corpus, (str, os.PathLike)):
        raise InputError(
            f"corpus is {corpus!r}, no name; give a file, a name of the catalogue, or 'a.en,a.fr'"
        )
    if max_pairs is not None:
        check_int("max_pairs", max_pairs, 1, ", or nothing to take all pairs")
    name = os.fspath(corpus)
    if name in BUILTIN_CORPORA:
        text = read_text(name)
        sources, targets = _read_tab_separated(text, name, max_pairs, skip_bad_lines)
    elif os.path.exists(name):
        text = _read_text(name)
        sources, targets = _read_tab_separated(text, name, max_pairs, skip_bad_lines)
    elif "," in name:
        sources, targets = _read_aligned(aligned_names(name), max_pairs, skip_bad_lines)
    else:
        raise unknown_name(name)
    pairs = ParallelCorpus(sources, targets, name)
    return pairs.reverse() if reverse else pairs


def _read_tab_separated(
    text: bytes, name: str, max_pairs: int | None, skip_bad_lines: bool
) -> tuple[list[str], list[str]]:
    rows = tab_separated_rows(_text_lines(text, name), name, skip_bad_lines)
    return _collect(rows, MalformedLines(printable(name), TAB_SEPARATED), max_pairs, skip_bad_lines)


def _read_aligned(
    names: tuple[str, str], max_pairs: int | None, skip_bad_lines: bool
) -> tuple[list[str], list[str]]:
    sides = [_text_lines(_read_text(name), name) for name in names]
    check_as_long(names, len(sides[0]), len(sides[1]))
    rows = aligned_rows(sides[0], sides[1], names, skip_bad_lines)
    where = f"{printable(names[0])} and {printable(names[1])}"
    return _collect(rows, MalformedLines(where, ALIGNED), max_pairs, skip_bad_lines)


def _read_text(name: str) -> bytes:
    with open_unpacked(name) as stream:
        return stream.read()


def _text_lines(content: bytes, name: str) -> list[bytes]:
    """Splits at LF only: in real text, U+2028 and its like stand inside of sentences."""
    check_text(content, name)
    return content.removeprefix(codecs.BOM_UTF8).removesuffix(b"\n").split(b"\n")


def _collect(
    rows: Iterable[Row], bad: MalformedLines, max_pairs: int | None, skip_bad_lines: bool
) -> tuple[list[str], list[str]]:
    sources: list[str] = []
    targets: list[str] = []
    number = 0
    for number, row in enumerate(rows, 1):
        pair = bad.pair(number, row)
        if pair is not None:
            sources.append(pair[0])
            targets.append(pair[1])
            if len(sources) == max_pairs:
                break
    bad.report(number, len(sources), skip_bad_lines)
    return sources, targets
