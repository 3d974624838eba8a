"""Files taken apart into shards, which any worker translates alone and in any order."""

from __future__ import annotations

import glob
import json
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from keras_s2s.translation.file_translation import WindowTranslator
from keras_s2s.translation.line_reader import WINDOW_LINES, LineReader
from keras_s2s.translation.output_format import Wanted
from keras_s2s.utils.errors import InputError, printable
from keras_s2s.utils.files import (
    atomic_write,
    check_output_folder,
    fsync,
    remove_stale_temporaries,
    sha256_of,
    write_json,
)


class Shard(NamedTuple):
    """Some lines of a file, in their order.

    Attributes:
        source: the path of the file.
        name: what its translation is called.
        first_line: the number of the first one.
        num_lines: how many.
        first_byte: where they begin in the file, unpacked.
        checksum: SHA-256 of them, with a line feed between each two.
    """

    source: str
    name: str
    first_line: int
    num_lines: int
    first_byte: int
    checksum: str


class ShardFolder:
    """The folder with the translations of shards, and with a plan of which there are.

    A worker needs nothing but a shard, and writes its file aside and renames it: what has its name
    is complete.

    Args:
        path: the folder. `shards/NAME.FIRST_LINE.txt` has the translations of a shard,
            `….failed.tsv` the number, the error and the text of lines that failed, `….error.txt`
            why there are no translations.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(os.path.abspath(path))
        self.shards = self.path / "shards"
        self._plan = self.path / "plan.json"

    def output(self, shard: Shard) -> Path:
        """The file of translations."""
        return self.shards / f"{shard.name}.{shard.first_line:012}.txt"

    def failed(self, shard: Shard) -> Path:
        """The file of lines that failed."""
        return self.output(shard).with_suffix(".failed.tsv")

    def error(self, shard: Shard) -> Path:
        """The file that says why there are no translations."""
        return self.output(shard).with_suffix(".error.txt")

    def check_free(self) -> None:
        """Makes sure that the folder may be taken; touches nothing.

        Raises:
            InputError: there is something else in it.
        """
        check_output_folder(self.path, "--output-dir", "shards", self._plan.is_file())

    def begin(self, settings: dict[str, Any], shards: Sequence[Shard], overwrite: bool) -> None:
        """Writes the plan, or makes sure that it is the one that is there.

        Raises:
            InputError: it is another one.
        """
        # Where the files lie is of no matter.
        plan = {"settings": settings, "shards": [list(shard[1:]) for shard in shards]}
        if self._plan.is_file():
            try:
                before = json.loads(self._plan.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                before = None
            if before == plan:
                remove_stale_temporaries(self.shards)
                return
            if not overwrite:
                raise InputError(
                    f"{self.path}: has shards of other files, another model or other options; "
                    "give the same command to go on with it, or --overwrite to begin anew"
                )
            shutil.rmtree(self.shards, ignore_errors=True)
        self.shards.mkdir(parents=True, exist_ok=True)
        write_json(self._plan, plan, indent=None)

    def missing(self, shards: Iterable[Shard]) -> list[Shard]:
        """Those that are not translated yet."""
        return [shard for shard in shards if not self.output(shard).exists()]

    def translate(self, shard: Shard, model: Any, wanted: Wanted) -> None:
        """Translates a shard.

        Raises:
            InputError: its lines are not those of the plan.
        """
        with LineReader(shard.source, shard.num_lines) as reader:
            reader.jump(shard.first_byte, shard.first_line - 1)
            lines = reader.window()
        if _checksum(lines) != shard.checksum:
            raise InputError(
                f"{printable(shard.source)}, line {shard.first_line}: the lines from here on have "
                "changed since the work was planned; give the command once more"
            )
        output, failed = WindowTranslator(model, wanted)(shard.first_line, lines)
        # The translations last, since they say that the shard is done.
        for path, content in ((self.failed(shard), failed), (self.output(shard), output)):
            if content:
                with atomic_write(path) as aside:
                    aside.write_bytes(content)
                    fsync(aside)
        self.error(shard).unlink(missing_ok=True)

    def merge(self, shards: Sequence[Shard]) -> None:
        """Writes one file of translations, and one of failures if there are any, for each source.

        Args:
            shards: all of them, in the order of the files and lines.
        """
        for name in dict.fromkeys(shard.name for shard in shards):
            own = [shard for shard in shards if shard.name == name]
            _join([self.output(shard) for shard in own], self.path / name)
            failures = [self.failed(shard) for shard in own if self.failed(shard).exists()]
            if failures:
                _join(failures, self.path / f"{name}.failed.tsv")


def find_sources(patterns: Iterable[str]) -> list[str]:
    """The files that are meant, in order.

    Args:
        patterns: names, or patterns with `*`, `?` or `[`.

    Raises:
        InputError: none is meant, or two have the same name.
    """
    sources: list[str] = []
    for pattern in patterns:
        found = [pattern] if os.path.exists(pattern) else sorted(glob.glob(pattern))
        if not found:
            raise InputError(f"{printable(pattern)}: no such file; check the name")
        sources += map(os.path.abspath, found)
    names = [_name(source) for source in sources]
    for name in names:
        if names.count(name) > 1:
            raise InputError(
                f"{name}: two inputs have this name; give each in a command of its own"
            )
    return sources


def shards_of(sources: Iterable[str], shard_lines: int = WINDOW_LINES) -> list[Shard]:
    """Reads files once to take them apart.

    Raises:
        InputError: one cannot be read.
    """
    shards = []
    for source in sources:
        with LineReader(source, shard_lines) as reader:
            start = 0
            while lines := reader.window():
                first = reader.num_lines - len(lines) + 1
                shards.append(
                    Shard(source, _name(source), first, len(lines), start, _checksum(lines))
                )
                start = reader.num_bytes
    return shards


def _name(source: str) -> str:
    name = os.path.basename(source)
    return name[:-3] if name.lower().endswith(".gz") else name


def _checksum(lines: Iterable[bytes]) -> str:
    return sha256_of(b"\n".join(lines))


def _join(parts: Iterable[Path], whole: Path) -> None:
    with atomic_write(whole) as aside, open(aside, "wb") as file:
        for part in parts:
            with open(part, "rb") as content:
                shutil.copyfileobj(content, file)
