"""Sentence pairs in: files, archives, the catalogue, splitting by source."""

import codecs
import contextlib
import dataclasses
import difflib
import hashlib
import logging
import os
import re
import string
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from keras_s2s.archives import read_bytes, shown, unpack
from keras_s2s.errors import InputError
from keras_s2s.files import written_aside

_logger = logging.getLogger("keras_s2s")

_SKIP = "pass --skip-bad-lines (skip_bad_lines=True)"


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
        if len(self.source) != len(self.target):
            raise InputError(
                f"{shown(self.name)}: {len(self.source)} source sentences but "
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
            digest = hashlib.sha256(f"{seed} {_split_key(source)}".encode()).digest()
            draw = int.from_bytes(digest[:8], "big") / 2**64
            part = parts[2 if draw < test else 1 if draw < test + valid else 0]
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


def _split_key(sentence: str) -> str:
    # NFKC makes plain spaces of no-break spaces. Case folding can undo a composed letter, hence
    # the second round: without it, a letter and its capital could have different keys.
    key = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", sentence).casefold())
    return re.sub(r"\s+(?=[,.!?])", "", " ".join(key.split()))


@dataclasses.dataclass(frozen=True)
class CatalogueEntry:
    """A corpus that is known by name.

    Args:
        name: what users call it.
        description: what it is, in one line.
        languages: of the source and of the target, as ISO 639-1 codes.
        license: under which licence, and whom to name.
        file_name: of the bundled file, or of the archive that is looked for.
        url: where to download the archive; None for a bundled file.
        text_sha256: of the text in the archive, since archives of the same text may differ.
    """

    name: str
    description: str
    languages: tuple[str, str]
    license: str
    file_name: str
    url: str | None = None
    text_sha256: str | None = None


CATALOGUE: dict[str, CatalogueEntry] = {
    entry.name: entry
    for entry in (
        CatalogueEntry(
            name="phrasebook",
            description="a small phrasebook, for a first model in minutes and for tests",
            languages=("en", "fr"),
            license="see LICENSE-phrasebook.txt beside it",
            file_name="phrasebook.tsv",
        ),
        CatalogueEntry(
            name="fra-eng",
            description="167,130 pairs from Tatoeba by manythings.org/anki, release of 2019-04-07",
            languages=("en", "fr"),
            license="CC BY 2.0 FR (www.manythings.org/anki, tatoeba.org)",
            file_name="fra-eng.zip",
            url="https://d2l-data.s3-accelerate.amazonaws.com/fra-eng.zip",
            text_sha256="0bb85dbaa1c896844649094d7eaf2e34bee34e84fe362b26ce7e8f2e12aae104",
        ),
    )
}

BUNDLED = "bundled"
IN_DATA_FOLDER = "in KERAS_S2S_DATA"
IN_CACHE = "in the cache"
NOT_HERE = "not here yet"


class Location(NamedTuple):
    """Where a corpus of the catalogue is, from `locate`."""

    where: str
    path: Path | None


def locate(name: str) -> Location:
    """Says where a corpus of the catalogue is, without downloading or checking it.

    Args:
        name: a key of `CATALOGUE`.

    Returns:
        A `Location`: `where` is one of `BUNDLED`, `IN_DATA_FOLDER`, `IN_CACHE` and `NOT_HERE`;
        `path` is the file, or None for `NOT_HERE`.

    Raises:
        InputError: the catalogue has no such name.

    Example:

    >>> locate("phrasebook").where
    'bundled'
    """
    if name not in CATALOGUE:
        raise _unknown(name)
    entry = CATALOGUE[name]
    if entry.url is None:
        return Location(BUNDLED, Path(__file__).parent / "data" / entry.file_name)
    if folder := os.environ.get("KERAS_S2S_DATA"):
        path = Path(os.path.expanduser(folder)) / entry.file_name
        if os.path.exists(path):
            return Location(IN_DATA_FOLDER, path)
    path = _cache_path(entry)
    return Location(IN_CACHE, path) if os.path.exists(path) else Location(NOT_HERE, None)


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

            - a name in `CATALOGUE`; it wins over a file of that name, for which write `./name`;
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
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "pairs.tsv"
    ...     _ = path.write_text("Go.\\tVa !\\nHi.\\tSalut !\\n", encoding="utf-8")
    ...     load_corpus(path, max_pairs=1).target
    ['Va !']
    """
    if max_pairs is not None and max_pairs < 1:
        raise InputError(f"max_pairs is {max_pairs}; give at least 1, or nothing to take all pairs")
    name = os.fspath(corpus)
    if name in CATALOGUE:
        text = _catalogue_text(CATALOGUE[name])
        sources, targets = _read_tab_separated(text, name, max_pairs, skip_bad_lines)
    elif os.path.exists(name):
        text = unpack(read_bytes(name), name)
        sources, targets = _read_tab_separated(text, name, max_pairs, skip_bad_lines)
    elif "," in name:
        sources, targets = _read_aligned(name.split(","), max_pairs, skip_bad_lines)
    else:
        raise _unknown(name)
    pairs = ParallelCorpus(sources, targets, name)
    return pairs.reverse() if reverse else pairs


def _unknown(name: str) -> InputError:
    close = difflib.get_close_matches(name, CATALOGUE, n=1)
    advice = f"did you mean {close[0]!r}?" if close else "check the name"
    return InputError(
        f"{shown(name)}: no such file, and not in the catalogue ({', '.join(CATALOGUE)}); {advice}"
    )


def _cache_path(entry: CatalogueEntry) -> Path:
    # As Keras finds it, without importing Keras, which takes seconds.
    home = os.environ.get("KERAS_HOME") or os.path.join("~", ".keras")
    return Path(os.path.expanduser(home)).absolute() / "datasets" / entry.file_name


def _catalogue_text(entry: CatalogueEntry) -> bytes:
    where, path = locate(entry.name)
    if path is None:
        return _download(entry)
    content = read_bytes(path)
    if where == BUNDLED:
        return content
    try:
        return _verified_text(content, str(path), entry)
    except InputError as error:
        if where == IN_DATA_FOLDER:
            advice = "to use another release, give the path of the file itself as corpus"
        else:
            try:
                path.unlink()
                advice = "it has been removed from the cache, so ask again to download it"
            except OSError:
                advice = "remove it from the cache and ask again to download it"
        raise InputError(f"{error}; {advice}") from error


def _verified_text(content: bytes, name: str, entry: CatalogueEntry) -> bytes:
    text = unpack(content, name)
    found = hashlib.sha256(text).hexdigest()
    if found != entry.text_sha256:
        raise InputError(
            f"{shown(name)}: is not the {entry.name} of the catalogue: "
            f"the text inside has sha256 {found}, not {entry.text_sha256}"
        )
    return text


def _download(entry: CatalogueEntry) -> bytes:
    import keras  # here, because it takes seconds and nothing else in this module needs it

    assert entry.url is not None
    by_hand = f"put {entry.file_name} into a folder and name that in KERAS_S2S_DATA"
    with written_aside(_cache_path(entry)) as aside:
        try:
            # Keras draws its progress bar on stdout, which is for results.
            with contextlib.redirect_stdout(sys.stderr):
                keras.utils.get_file(aside.name, entry.url, cache_subdir=str(aside.parent))
        except Exception as error:  # Keras raises no narrower class when a download fails
            reason = " ".join(str(error).split())
            raise InputError(
                f"{entry.name}: cannot be downloaded ({reason}); try again, or {by_hand}"
            ) from error
        try:
            return _verified_text(aside.read_bytes(), entry.url, entry)
        except InputError as error:
            raise InputError(f"{error}; nothing was kept: ask again, or {by_hand}") from error


# A line as read: source, target, and the whole of it for messages, which is "" when it is blank.
_Row = tuple[str, str, str]
_NOT_UTF8: _Row = ("", "", "not UTF-8")


def _read_tab_separated(
    text: bytes, name: str, max_pairs: int | None, skip_bad_lines: bool
) -> tuple[list[str], list[str]]:
    lines = _decoded(_text_lines(text, name), name, skip_bad_lines)
    rows = map(_tab_separated_row, lines)
    return _collect(rows, shown(name), "tab-separated pair", max_pairs, skip_bad_lines)


def _tab_separated_row(line: str | None) -> _Row:
    if line is None:
        return _NOT_UTF8
    source, _, rest = line.partition("\t")
    target, _, _ = rest.partition("\t")
    return source, target, line if "\t" in line or line.strip() else ""


def _read_aligned(
    names: list[str], max_pairs: int | None, skip_bad_lines: bool
) -> tuple[list[str], list[str]]:
    if len(names) != 2 or "" in names:
        raise InputError(
            f"{shown(','.join(names))}: not the names of two files; "
            "give exactly two line-aligned files, such as a.en,a.fr"
        )
    sides = [_text_lines(unpack(read_bytes(name), name), name) for name in names]
    if len(sides[0]) != len(sides[1]):
        raise InputError(
            f"{shown(names[0])} has {len(sides[0])} lines but {shown(names[1])} has "
            f"{len(sides[1])}; give files whose lines are translations of each other"
        )
    rows = map(
        _aligned_row,
        _decoded(sides[0], names[0], skip_bad_lines),
        _decoded(sides[1], names[1], skip_bad_lines),
    )
    where = f"{shown(names[0])} and {shown(names[1])}"
    return _collect(rows, where, "sentence on one side", max_pairs, skip_bad_lines)


def _aligned_row(source: str | None, target: str | None) -> _Row:
    if source is None or target is None:
        return _NOT_UTF8
    return source, target, f"{source}\t{target}" if source.strip() or target.strip() else ""


def _text_lines(content: bytes, name: str) -> list[bytes]:
    """Splits at LF only: in real text, U+2028 and its like stand inside of sentences."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InputError(f"{shown(name)}: looks like UTF-16; convert it to UTF-8")
    if b"\0" in content:
        raise InputError(f"{shown(name)}: is binary, not text; give a text file in UTF-8")
    return content.removeprefix(codecs.BOM_UTF8).removesuffix(b"\n").split(b"\n")


def _decoded(lines: list[bytes], name: str, skip_bad_lines: bool) -> Iterator[str | None]:
    """Yields each line as text, or None for one that is left out since it is not UTF-8."""
    for number, line in enumerate(lines, 1):
        try:
            yield line.removesuffix(b"\r").decode()
        except UnicodeDecodeError as error:
            if not skip_bad_lines:
                raise InputError(
                    f"{shown(name)}: line {number} is not UTF-8 (byte 0x{line[error.start]:02x} "
                    f"at position {error.start + 1}); convert the file to UTF-8 or {_SKIP}"
                ) from error
            yield None


def _shortened(line: str) -> str:
    return line if len(line) <= 40 else line[:37] + "..."


def _collect(
    rows: Iterable[_Row], where: str, lacking: str, max_pairs: int | None, skip_bad_lines: bool
) -> tuple[list[str], list[str]]:
    sources: list[str] = []
    targets: list[str] = []
    bad: list[tuple[int, str]] = []
    number = 0
    for number, (source, target, line) in enumerate(rows, 1):
        if source.strip() and target.strip():
            # ASCII only: a no-break space at an end may be part of the typography.
            sources.append(source.strip(string.whitespace))
            targets.append(target.strip(string.whitespace))
            if len(sources) == max_pairs:
                break
        elif line:
            bad.append((number, line))
    if bad and not skip_bad_lines:
        excerpts = [f"line {at}: {_shortened(line)!r}" for at, line in bad[:3]]
        raise InputError(
            f"{where}: {len(bad)} of {number} lines {'has' if len(bad) == 1 else 'have'} no "
            f"{lacking} ({', '.join(excerpts)}{', ...' if len(bad) > 3 else ''}); "
            f"mend {'it' if len(bad) == 1 else 'them'} or {_SKIP}"
        )
    if not sources:
        raise InputError(f"{where}: holds no pairs; give a file with sentence pairs")
    if bad:
        _logger.warning(
            "%s: left out %d of %d lines, which have no %s in UTF-8",
            where,
            len(bad),
            number,
            lacking,
        )
    return sources, targets
