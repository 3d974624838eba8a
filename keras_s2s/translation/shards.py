"""Files split into slices, which any worker translates independently and in any order."""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from keras_s2s.translation.file_translation import WindowTranslator
from keras_s2s.translation.line_reader import WINDOW_LINES, LineReader
from keras_s2s.translation.output_format import OutputOptions
from keras_s2s.utils.errors import InputError, printable
from keras_s2s.utils.files import (
    atomic_write,
    check_output_folder,
    fsync,
    parse_json,
    remove_stale_temporaries,
    sha256_of,
    write_json,
)
from keras_s2s.utils.text import InvalidLines


class FileSlice(NamedTuple):
    """Consecutive lines of a file, the input of a shard.

    Attributes:
        source: the path of the file.
        name: the name of its translation.
        first_line: the number of the first line.
        num_lines: number of lines.
        first_byte: their offset in the decompressed file.
        checksum: SHA-256 of the lines, joined by line feeds.
    """

    source: str
    name: str
    first_line: int
    num_lines: int
    first_byte: int
    checksum: str


class ShardFolder:
    """A folder with the translations of file slices, and a plan that lists the slices.

    Shards are written atomically: a file that exists is complete.

    Args:
        path: the folder. `shards/NAME.FIRST_LINE.txt` holds the translations of a slice,
            `….failed.tsv` number, error and text of failed lines, `….error.txt` the error if there
            are no translations.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(os.path.abspath(path))
        self.shards = self.path / "shards"
        self._plan = self.path / "plan.json"

    def output(self, file_slice: FileSlice) -> Path:
        """Return the path of the translations."""
        return self.shards / f"{file_slice.name}.{file_slice.first_line:012}.txt"

    def failed(self, file_slice: FileSlice) -> Path:
        """Return the path of the list of failed lines."""
        return self.output(file_slice).with_suffix(".failed.tsv")

    def error(self, file_slice: FileSlice) -> Path:
        """Return the path of the error message."""
        return self.output(file_slice).with_suffix(".error.txt")

    def check_free(self) -> None:
        """Check that the folder can be used; write nothing.

        Raises:
            InputError: it has foreign content, or is not writable.
        """
        check_output_folder(self.path, "--output-dir", "shards", self._plan.is_file())

    def start(self, settings: dict[str, Any], slices: Sequence[FileSlice], overwrite: bool) -> None:
        """Write the plan, or check that an existing plan is the same.

        Raises:
            InputError: it differs.
        """
        # The paths of the files may change.
        plan = {"settings": settings, "shards": [list(item[1:]) for item in slices]}
        if self._plan.is_file():
            try:
                previous = parse_json(self._plan.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                previous = None
            if previous == plan:
                remove_stale_temporaries(self.shards)
                return
            if not overwrite:
                raise InputError(
                    f"{self.path}: has shards of other files, another model or other options; "
                    "give the same command to resume it, or --overwrite to start over"
                )
            shutil.rmtree(self.shards, ignore_errors=True)
        self.shards.mkdir(parents=True, exist_ok=True)
        write_json(self._plan, plan, indent=None)

    def pending(self, slices: Iterable[FileSlice]) -> list[FileSlice]:
        """Return the slices without translations."""
        return [item for item in slices if not self.output(item).exists()]

    def translate(self, file_slice: FileSlice, model: Any, options: OutputOptions) -> None:
        """Translate a slice.

        Raises:
            InputError: its lines have changed since the plan was made.
        """
        with LineReader(file_slice.source, file_slice.num_lines) as reader:
            reader.seek(file_slice.first_byte, file_slice.first_line - 1)
            lines = reader.window()
        if _checksum(lines) != file_slice.checksum:
            raise InputError(
                f"{printable(file_slice.source)}, line {file_slice.first_line}: the lines from "
                "here on have changed since the shards were planned; run the same command again"
            )
        output, failures = WindowTranslator(model, options)(file_slice.first_line, lines)
        # The translations last: their presence marks the shard as complete.
        for path, content in (
            (self.failed(file_slice), failures),
            (self.output(file_slice), output),
        ):
            if content:
                with atomic_write(path) as temporary:
                    temporary.write_bytes(content)
                    fsync(temporary)
        self.error(file_slice).unlink(missing_ok=True)

    def merge(self, slices: Sequence[FileSlice]) -> None:
        """Concatenate the translations of each file, and its failures if there are any.

        Args:
            slices: all of them, in order.
        """
        for name in dict.fromkeys(item.name for item in slices):
            file_slices = [item for item in slices if item.name == name]
            _concatenate(map(self.output, file_slices), self.path / name)
            failures = [path for path in map(self.failed, file_slices) if path.exists()]
            if failures:
                _concatenate(failures, self.path / f"{name}.failed.tsv")


def find_sources(patterns: Iterable[str]) -> list[str]:
    """Return the absolute paths of input files.

    Args:
        patterns: names, or patterns with `*`, `?` or `[`.

    Raises:
        InputError: no file matches, or two have the same name.
    """
    sources: list[str] = []
    for pattern in patterns:
        matches = [pattern] if os.path.exists(pattern) else sorted(glob.glob(pattern))
        if not matches:
            raise InputError(f"{printable(pattern)}: no such file; check the name")
        sources += map(os.path.abspath, matches)
    names = [_output_name(source) for source in sources]
    for name in names:
        if names.count(name) > 1:
            raise InputError(
                f"{name}: two inputs have this name; translate them with separate commands"
            )
    return sources


def split_files(sources: Iterable[str], shard_lines: int = WINDOW_LINES) -> list[FileSlice]:
    """Read files once and split them into slices.

    Raises:
        InputError: a file cannot be read.
    """
    slices = []
    for source in sources:
        with LineReader(source, shard_lines) as reader:
            first_byte, invalid = 0, InvalidLines(source)
            while lines := reader.window():
                first_line, checksum = reader.num_lines - len(lines) + 1, _checksum(lines)
                invalid.add(first_line, lines)
                slices.append(
                    FileSlice(
                        source, _output_name(source), first_line, len(lines), first_byte, checksum
                    )
                )
                first_byte = reader.num_bytes
            invalid.report()
    return slices


def _output_name(source: str) -> str:
    name = os.path.basename(source)
    return name[:-3] if name.lower().endswith(".gz") else name


def _checksum(lines: Iterable[bytes]) -> str:
    return sha256_of(b"\n".join(lines))


def _concatenate(paths: Iterable[Path], target: Path) -> None:
    with atomic_write(target) as temporary, open(temporary, "wb") as file:
        for path in paths:
            with open(path, "rb") as content:
                shutil.copyfileobj(content, file)
