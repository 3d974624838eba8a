"""Parsing lines to sentence pairs, and reporting malformed lines."""

import logging
import string
from collections.abc import Iterable, Iterator

from keras_s2s.data.columns import SelectedColumns
from keras_s2s.utils.errors import InputError, printable

_logger = logging.getLogger("keras_s2s")

_SKIP = "pass --skip-bad-lines (skip_bad_lines=True)"
# Malformed lines that a message shows.
_MAX_EXAMPLES = 3
# Columns that are read by default: source and target.
_NUM_COLUMNS = 2

# What a malformed line lacks.
TAB_SEPARATED = "tab-separated pair"
ALIGNED = "sentence on one side"

# Source, target, and the line for messages; the line is "" if it is blank.
Row = tuple[str, str, str]
_NOT_TEXT: Row = ("", "", "not text in UTF-8")


def tab_separated_rows(
    lines: Iterable[bytes],
    name: str,
    skip_bad_lines: bool,
    first_line: int = 1,
    columns: SelectedColumns | None = None,
) -> Iterator[Row]:
    """Yield rows of tab-separated lines; by default columns after the second are ignored.

    Args:
        lines: lines without line ends.
        name: name of the file.
        skip_bad_lines: whether a line that is not UTF-8, or has a NUL byte, counts as malformed,
            not as an error.
        first_line: number of the first line.
        columns: those to read.

    Raises:
        InputError: a line is not UTF-8, or has a NUL byte.
    """
    for line in _decoded(lines, name, skip_bad_lines, first_line):
        if line is None:
            yield _NOT_TEXT
        elif columns is not None:
            yield _selected_row(line, columns)
        else:
            source, target = [*line.split("\t", 2), ""][:2]
            yield source, target, line if "\t" in line or line.strip() else ""


def aligned_rows(
    sources: Iterable[bytes],
    targets: Iterable[bytes],
    names: tuple[str, str],
    skip_bad_lines: bool,
    first_line: int = 1,
    columns: SelectedColumns | None = None,
) -> Iterator[Row]:
    """Yield rows of the lines of two files; see `tab_separated_rows`.

    The columns are those of both lines, as `paste` would join them.
    """
    for source, target in zip(
        _decoded(sources, names[0], skip_bad_lines, first_line),
        _decoded(targets, names[1], skip_bad_lines, first_line),
        strict=True,
    ):
        if source is None or target is None:
            yield _NOT_TEXT
        elif columns is not None:
            yield _selected_row(f"{source}\t{target}", columns)
        else:
            is_blank = not source.strip() and not target.strip()
            yield source, target, "" if is_blank else f"{source}\t{target}"


def _selected_row(line: str, columns: SelectedColumns) -> Row:
    source, target, problem = columns.select(line)
    if problem and line.strip():
        return "", "", f"{problem}: {line}"
    return source, target, line if line.strip() else ""


def _decoded(
    lines: Iterable[bytes], name: str, skip_bad_lines: bool, first_line: int
) -> Iterator[str | None]:
    """Yield each line as text, or None for a skipped line that is not text in UTF-8."""
    for line_number, line in enumerate(lines, first_line):
        try:
            text = line.removesuffix(b"\r").decode()
        except UnicodeDecodeError as error:
            if not skip_bad_lines:
                raise InputError(
                    f"{printable(name)}: line {line_number} is not UTF-8 "
                    f"(byte 0x{line[error.start]:02x} at position {error.start + 1}); "
                    f"convert the file to UTF-8 or {_SKIP}"
                ) from error
            yield None
            continue
        if "\0" not in text:
            yield text
        elif skip_bad_lines:
            yield None
        else:
            raise InputError(
                f"{printable(name)}: line {line_number} has a NUL byte at position "
                f"{line.index(0) + 1}; remove it or {_SKIP}"
            )


def aligned_names(name: str) -> tuple[str, str]:
    """Split the names of two aligned files at a comma.

    Raises:
        InputError: there are not two names.
    """
    names = name.split(",")
    if len(names) != 2 or "" in names:
        raise InputError(
            f"{printable(name)}: not the names of two files; "
            "give exactly two line-aligned files, such as a.en,a.fr"
        )
    return names[0], names[1]


def check_same_length(names: tuple[str, str], first: int, second: int) -> None:
    """Check that two aligned files have the same number of lines.

    Raises:
        InputError: they do not.
    """
    if first != second:
        raise InputError(
            f"{printable(names[0])} has {first} lines but {printable(names[1])} has "
            f"{second}; give files whose lines are translations of each other"
        )


class MalformedLines:
    """Lines of a corpus that are not pairs.

    Args:
        files: the file or files, as in a message.
        missing: `TAB_SEPARATED` or `ALIGNED`: what a malformed line lacks.
        selected: the columns that are read, or None for the first two.

    Attributes:
        num_lines: number of lines parsed.
        count: number of malformed lines.
        examples: number and beginning of the first ones.
        columns: smallest and largest number of columns of a pair.
    """

    def __init__(self, files: str, missing: str, selected: SelectedColumns | None = None) -> None:
        self._files = files
        self._missing = missing if selected is None else f"text in the columns {selected.spec}"
        self._selected = selected
        self.num_lines = self.count = 0
        self.examples: list[tuple[int, str]] = []
        self.columns = (_NUM_COLUMNS, _NUM_COLUMNS)
        self._counted = False

    def parse(self, line_number: int, row: Row) -> tuple[str, str] | None:
        """Return the pair of a row, or None if it is blank or malformed; record the latter."""
        self.num_lines += 1
        source, target, line = row
        if source.strip() and target.strip():
            if self._missing != ALIGNED:
                self._count_columns((line.count("\t") + 1,) * 2)
            if self._selected is not None:  # whose cells have been stripped; some may be empty
                return source, target
            # ASCII only: a no-break space at an end may be part of the typography.
            return source.strip(string.whitespace), target.strip(string.whitespace)
        if line:
            self._add_malformed(1, [(line_number, line if len(line) <= 40 else line[:37] + "...")])
        return None

    def add(self, count: int, examples: list[tuple[int, str]], columns: tuple[int, int]) -> None:
        """Add the lines of another chunk of the corpus; see the attributes."""
        self._add_malformed(count, examples)
        self._count_columns(columns)

    def _add_malformed(self, count: int, examples: list[tuple[int, str]]) -> None:
        self.count += count
        self.examples = (self.examples + examples)[:_MAX_EXAMPLES]

    def _count_columns(self, columns: tuple[int, int]) -> None:
        fewest, most = self.columns if self._counted else columns
        self.columns = min(fewest, columns[0]), max(most, columns[1])
        self._counted = True

    def report(self, num_lines: int, num_pairs: int, skip_bad_lines: bool) -> None:
        """Log or raise what was malformed, and log ignored columns, after all lines are read.

        Raises:
            InputError: there are malformed lines that must not be skipped, or no pairs.
        """
        if self.count and not skip_bad_lines:
            excerpts = [f"line {line_number}: {line!r}" for line_number, line in self.examples]
            advice = f"correct {'it' if self.count == 1 else 'them'} or {_SKIP}"
            if not num_pairs:
                advice = "give a file with a sentence, a tab and its translation in each line"
                if self._selected is not None:
                    advice = "give a file with these columns, or other --columns"
                elif self._missing == ALIGNED:
                    advice = "give two files with text in the same lines"
            raise InputError(
                f"{self._files}: {self.count} of {num_lines} lines "
                f"{'has' if self.count == 1 else 'have'} no {self._missing} "
                f"({', '.join(excerpts)}{', ...' if self.count > _MAX_EXAMPLES else ''}); {advice}"
            )
        if not num_pairs:
            raise InputError(f"{self._files}: holds no pairs; give a file with sentence pairs")
        self._report_ignored_columns()
        if self.count:
            _logger.warning(
                "%s: skipped %d of %d lines, which have no %s in UTF-8",
                self._files,
                self.count,
                num_lines,
                self._missing,
            )

    def _report_ignored_columns(self) -> None:
        fewest, most = self.columns
        columns = most if fewest == most else f"{fewest} to {most}"
        if self._selected is None:
            if most > _NUM_COLUMNS:
                _logger.warning(
                    "%s: has %s columns; the first two are read, the others ignored; --columns "
                    "names others",
                    self._files,
                    columns,
                )
        elif most > self._selected.width and (self._selected.is_complete or fewest != most):
            _logger.warning(
                "%s: has %s columns; %s are read, the others ignored%s",
                self._files,
                columns,
                self._selected.spec,
                "" if fewest == most else "; a tab inside a text makes one more: replace it",
            )
