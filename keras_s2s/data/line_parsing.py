"""Lines of a file to sentence pairs, and what to say of those that are none."""

import codecs
import logging
import string
from collections.abc import Iterable, Iterator

from keras_s2s.utils.errors import InputError, printable

_logger = logging.getLogger("keras_s2s")

_SKIP = "pass --skip-bad-lines (skip_bad_lines=True)"
# Of so many bad lines a message shows the beginning.
_SHOWN = 3

# What a line that holds no pair lacks.
TAB_SEPARATED = "tab-separated pair"
ALIGNED = "sentence on one side"

# A line as read: source, target, and the whole of it for messages, which is "" when it is blank.
Row = tuple[str, str, str]
_NOT_UTF8: Row = ("", "", "not UTF-8")


def tab_separated_rows(
    lines: Iterable[bytes], name: str, skip_bad_lines: bool, first: int = 1
) -> Iterator[Row]:
    """Rows of lines with source, target, and columns that are ignored.

    Args:
        lines: without their LF.
        name: of the file.
        skip_bad_lines: whether a line that is not UTF-8 is a bad one, and no error.
        first: the number of the first line.

    Raises:
        InputError: a line is not UTF-8.
    """
    for line in _decoded(lines, name, skip_bad_lines, first):
        if line is None:
            yield _NOT_UTF8
        else:
            source, _, rest = line.partition("\t")
            target, _, _ = rest.partition("\t")
            yield source, target, line if "\t" in line or line.strip() else ""


def aligned_rows(
    sources: Iterable[bytes],
    targets: Iterable[bytes],
    names: tuple[str, str],
    skip_bad_lines: bool,
    first: int = 1,
) -> Iterator[Row]:
    """Rows of the lines of two files; see `tab_separated_rows`."""
    for source, target in zip(
        _decoded(sources, names[0], skip_bad_lines, first),
        _decoded(targets, names[1], skip_bad_lines, first),
        strict=True,
    ):
        if source is None or target is None:
            yield _NOT_UTF8
        else:
            blank = not source.strip() and not target.strip()
            yield source, target, "" if blank else f"{source}\t{target}"


def _decoded(
    lines: Iterable[bytes], name: str, skip_bad_lines: bool, first: int
) -> Iterator[str | None]:
    """Yields each line as text, or None for one that is left out since it is not UTF-8."""
    for number, line in enumerate(lines, first):
        try:
            yield line.removesuffix(b"\r").decode()
        except UnicodeDecodeError as error:
            if not skip_bad_lines:
                raise InputError(
                    f"{printable(name)}: line {number} is not UTF-8 "
                    f"(byte 0x{line[error.start]:02x} at position {error.start + 1}); "
                    f"convert the file to UTF-8 or {_SKIP}"
                ) from error
            yield None


def check_text(content: bytes, name: str) -> None:
    """Makes sure that the beginning of a file, or any part of it, may be UTF-8.

    Raises:
        InputError: it looks like UTF-16, or like no text.
    """
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InputError(f"{printable(name)}: looks like UTF-16; convert it to UTF-8")
    if b"\0" in content:
        raise InputError(f"{printable(name)}: is binary, not text; give a text file in UTF-8")


def aligned_names(name: str) -> tuple[str, str]:
    """The names of two aligned files, with a comma between them.

    Raises:
        InputError: they are not two.
    """
    names = name.split(",")
    if len(names) != 2 or "" in names:
        raise InputError(
            f"{printable(name)}: not the names of two files; "
            "give exactly two line-aligned files, such as a.en,a.fr"
        )
    return names[0], names[1]


def check_as_long(names: tuple[str, str], first: int, second: int) -> None:
    """Makes sure that two aligned files have as many lines.

    Raises:
        InputError: they have not.
    """
    if first != second:
        raise InputError(
            f"{printable(names[0])} has {first} lines but {printable(names[1])} has "
            f"{second}; give files whose lines are translations of each other"
        )


class MalformedLines:
    """The lines that hold no pair.

    Args:
        where: the file or files, as in a message.
        lacking: `TAB_SEPARATED` or `ALIGNED`.

    Attributes:
        number: how many there are.
        first: the numbers and beginnings of the first ones.
    """

    def __init__(self, where: str, lacking: str) -> None:
        self._where = where
        self._lacking = lacking
        self.number = 0
        self.first: list[tuple[int, str]] = []

    def pair(self, number: int, row: Row) -> tuple[str, str] | None:
        """The pair of a row; None when it is blank, or bad, which is remembered."""
        source, target, line = row
        if source.strip() and target.strip():
            # ASCII only: a no-break space at an end may be part of the typography.
            return source.strip(string.whitespace), target.strip(string.whitespace)
        if line:
            self.add(1, [(number, line if len(line) <= 40 else line[:37] + "...")])
        return None

    def add(self, number: int, first: list[tuple[int, str]]) -> None:
        """Takes in those of another part of the same file."""
        self.number += number
        self.first = (self.first + first)[:_SHOWN]

    def report(self, num_lines: int, num_pairs: int, skip_bad_lines: bool) -> None:
        """Says what was wrong, once all is read.

        Raises:
            InputError: there are bad lines that are not to be skipped, or no pairs.
        """
        if self.number and not skip_bad_lines:
            excerpts = [f"line {at}: {line!r}" for at, line in self.first]
            advice = f"mend {'it' if self.number == 1 else 'them'} or {_SKIP}"
            if not num_pairs:
                advice = "give a file with a sentence, a tab and its translation in each line"
                if self._lacking == ALIGNED:
                    advice = "give two files with text in the same lines"
            raise InputError(
                f"{self._where}: {self.number} of {num_lines} lines "
                f"{'has' if self.number == 1 else 'have'} no {self._lacking} "
                f"({', '.join(excerpts)}{', ...' if self.number > _SHOWN else ''}); {advice}"
            )
        if not num_pairs:
            raise InputError(f"{self._where}: holds no pairs; give a file with sentence pairs")
        if self.number:
            _logger.warning(
                "%s: left out %d of %d lines, which have no %s in UTF-8",
                self._where,
                self.number,
                num_lines,
                self._lacking,
            )
