"""Reading corpora in chunks of lines: files, archives, aligned files and built-in corpora."""

import contextlib
import hashlib
import io
import itertools
import os
from collections.abc import Iterator
from typing import IO, NamedTuple

from keras_s2s.data.catalog import BUILTIN_CORPORA, read_text, unknown_name
from keras_s2s.data.columns import SelectedColumns
from keras_s2s.data.compressed_files import open_unpacked
from keras_s2s.data.line_parsing import (
    ALIGNED,
    TAB_SEPARATED,
    MalformedLines,
    Row,
    aligned_names,
    aligned_rows,
    check_same_length,
    tab_separated_rows,
)
from keras_s2s.utils.errors import printable
from keras_s2s.utils.text import without_mark


class Chunk(NamedTuple):
    """Consecutive lines of a corpus.

    Attributes:
        first_line: 1-based number of the first line.
        num_lines: number of lines.
        texts: the lines of the file, or of both aligned files.
    """

    first_line: int
    num_lines: int
    texts: tuple[bytes, ...]

    @property
    def sha256(self) -> str:
        """Checksum of the texts, computed where it is needed."""
        digest = hashlib.sha256()
        for text in self.texts:
            digest.update(b"%d " % len(text))
            digest.update(text)
        return digest.hexdigest()


class CorpusReader:
    """A reader of a corpus in chunks.

    Args:
        name: as for `load_corpus`.
        columns: the columns to read; by default the first two, source and target.

    Attributes:
        sha256: checksum of each file's unpacked text, after all chunks have been read.

    Raises:
        InputError: there is no such corpus.

    Example:

    >>> reader = CorpusReader("phrasebook")
    >>> chunk = next(reader.chunks(1000))
    >>> pairs = list(reader.pairs(chunk, reader.malformed_lines()))
    >>> len(pairs), pairs[-1][0]
    (1000, 'The store is closed.')
    """

    def __init__(self, name: str, columns: SelectedColumns | None = None) -> None:
        self.name = name
        self._columns = columns
        self.sha256: tuple[str, ...] = ()
        self._files: tuple[str, ...] = (name,)
        if name not in BUILTIN_CORPORA and not os.path.exists(name):
            if "," not in name:
                raise unknown_name(name)
            self._files = aligned_names(name)

    @property
    def display_name(self) -> str:
        """The file or files, for messages."""
        return " and ".join(map(printable, self._files))

    def malformed_lines(self) -> MalformedLines:
        """Return an empty collection for the lines of this corpus that are not pairs."""
        missing = TAB_SEPARATED if len(self._files) == 1 else ALIGNED
        return MalformedLines(self.display_name, missing, self._columns)

    def chunks(self, num_lines: int | None = None) -> Iterator[Chunk]:
        """Yield all lines in chunks.

        Args:
            num_lines: lines per chunk; None for a single chunk.

        Raises:
            InputError: a file cannot be read, is damaged or not text, or the files are not
                aligned; possibly after the first chunks.
        """
        digests = [hashlib.sha256() for _ in self._files]
        with contextlib.ExitStack() as stack:
            streams = [stack.enter_context(self._open(file)) for file in self._files]
            first_line = 1
            while True:
                texts = [_read_lines(stream, num_lines) for stream in streams]
                line_counts = [_count_lines(text) for text in texts]
                for index, (text, file) in enumerate(zip(texts, self._files, strict=True)):
                    digests[index].update(text)
                    if first_line == 1:
                        texts[index] = without_mark(text, file)
                if len(set(line_counts)) > 1:
                    first, second = (
                        first_line - 1 + count + sum(1 for _ in stream)
                        for count, stream in zip(line_counts, streams, strict=True)
                    )
                    check_same_length((self._files[0], self._files[1]), first, second)
                if not line_counts[0]:
                    break
                yield Chunk(first_line, line_counts[0], tuple(texts))
                first_line += line_counts[0]
        self.sha256 = tuple(digest.hexdigest() for digest in digests)

    def pairs(
        self, chunk: Chunk, malformed: MalformedLines, skip_bad_lines: bool = False
    ) -> Iterator[tuple[str, str]]:
        """Yield the pairs of a chunk.

        Args:
            chunk: one of `chunks`.
            malformed: collects the lines that are not pairs.
            skip_bad_lines: see `load_corpus`.

        Raises:
            InputError: a line is not UTF-8, or has a NUL byte.
        """
        lines = [text.removesuffix(b"\n").split(b"\n") for text in chunk.texts]
        rows: Iterator[Row]
        options = skip_bad_lines, chunk.first_line, self._columns
        if len(lines) == 1:
            rows = tab_separated_rows(lines[0], self.name, *options)
        else:
            rows = aligned_rows(lines[0], lines[1], (self._files[0], self._files[1]), *options)
        for line_number, row in enumerate(rows, chunk.first_line):
            pair = malformed.parse(line_number, row)
            if pair is not None:
                yield pair

    def _open(self, file: str) -> contextlib.AbstractContextManager[IO[bytes]]:
        if self.name in BUILTIN_CORPORA:  # one of two aligned files is always a file
            return io.BytesIO(read_text(file))
        return open_unpacked(file)


def _read_lines(stream: IO[bytes], num_lines: int | None) -> bytes:
    return stream.read() if num_lines is None else b"".join(itertools.islice(stream, num_lines))


def _count_lines(text: bytes) -> int:
    return text.count(b"\n") + (text != b"" and not text.endswith(b"\n"))
