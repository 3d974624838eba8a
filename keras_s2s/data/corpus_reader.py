"""Corpora read a part at a time, however large they are."""

import codecs
import contextlib
import hashlib
import io
import itertools
import os
from collections.abc import Iterator
from typing import IO, NamedTuple

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
from keras_s2s.utils.errors import printable


class Chunk(NamedTuple):
    """Lines of a corpus that follow each other.

    Attributes:
        first_line: the number of the first one.
        num_lines: how many.
        texts: the lines of the one file, or of the two that are aligned.
        sha256: of the texts.
    """

    first_line: int
    num_lines: int
    texts: tuple[bytes, ...]
    sha256: str


class CorpusStream:
    """A corpus to be read a part at a time.

    Args:
        name: as for `load_corpus`.

    Attributes:
        sha256: of the text of each file, unpacked, once all chunks have been read.

    Raises:
        InputError: there is no such corpus.

    Example:

    >>> stream = CorpusStream("phrasebook")
    >>> chunk = next(stream.chunks(1000))
    >>> pairs = list(stream.pairs(chunk, stream.bad_lines()))
    >>> len(pairs), pairs[-1][0]
    (1000, 'The store is closed.')
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.sha256: tuple[str, ...] = ()
        self._files: tuple[str, ...] = (name,)
        if name not in BUILTIN_CORPORA and not os.path.exists(name):
            if "," not in name:
                raise unknown_name(name)
            self._files = aligned_names(name)

    @property
    def where(self) -> str:
        """The file or files, as in a message."""
        return " and ".join(map(printable, self._files))

    def bad_lines(self) -> MalformedLines:
        """What collects the lines of this corpus that hold no pair."""
        return MalformedLines(self.where, TAB_SEPARATED if len(self._files) == 1 else ALIGNED)

    def chunks(self, num_lines: int) -> Iterator[Chunk]:
        """All lines, so many at a time.

        Raises:
            InputError: a file cannot be read, is damaged, or is no text; or two files are not
                aligned. When parts of it have been read already, too.
        """
        digests = [hashlib.sha256() for _ in self._files]
        with contextlib.ExitStack() as opened:
            streams = [opened.enter_context(self._opened(file)) for file in self._files]
            first_line = 1
            while True:
                parts = [list(itertools.islice(stream, num_lines)) for stream in streams]
                if len(parts) == 2 and len(parts[0]) != len(parts[1]):
                    so_far = [first_line - 1 + len(part) for part in parts]
                    rest = [sum(1 for _ in stream) for stream in streams]
                    check_as_long(
                        (self._files[0], self._files[1]), so_far[0] + rest[0], so_far[1] + rest[1]
                    )
                if not parts[0]:
                    break
                texts = [b"".join(part) for part in parts]
                for text, digest in zip(texts, digests, strict=True):
                    digest.update(text)
                for number, (text, file) in enumerate(zip(texts, self._files, strict=True)):
                    check_text(text, file) if first_line == 1 else _check_rest(text, file)
                    if first_line == 1:
                        texts[number] = text.removeprefix(codecs.BOM_UTF8)
                together = hashlib.sha256()
                for text in texts:
                    together.update(b"%d " % len(text))
                    together.update(text)
                yield Chunk(first_line, len(parts[0]), tuple(texts), together.hexdigest())
                first_line += len(parts[0])
        self.sha256 = tuple(digest.hexdigest() for digest in digests)

    def pairs(
        self, chunk: Chunk, bad: MalformedLines, skip_bad_lines: bool = False
    ) -> Iterator[tuple[str, str]]:
        """The pairs of a chunk.

        Args:
            chunk: one of `chunks`.
            bad: takes the lines that hold none.
            skip_bad_lines: see `load_corpus`.

        Raises:
            InputError: a line is not UTF-8.
        """
        lines = [text.removesuffix(b"\n").split(b"\n") for text in chunk.texts]
        rows: Iterator[Row]
        if len(lines) == 1:
            rows = tab_separated_rows(lines[0], self.name, skip_bad_lines, chunk.first_line)
        else:
            names = self._files[0], self._files[1]
            rows = aligned_rows(lines[0], lines[1], names, skip_bad_lines, chunk.first_line)
        for number, row in enumerate(rows, chunk.first_line):
            pair = bad.pair(number, row)
            if pair is not None:
                yield pair

    def _opened(self, file: str) -> contextlib.AbstractContextManager[IO[bytes]]:
        if file in BUILTIN_CORPORA:
            return io.BytesIO(read_text(file))
        return open_unpacked(file)


def _check_rest(text: bytes, file: str) -> None:
    # Only at the beginning of a file are the bytes of a byte order mark one.
    check_text(b"\n" + text, file)
