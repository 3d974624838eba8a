"""Files of any size, some thousands of lines at a time."""

import gzip
import hashlib
import os
import zlib
from typing import IO

from keras_s2s.utils.errors import InputError, printable

# So many lines have enough of each length to fill batches; so many bytes fit into any memory.
WINDOW_LINES = 8192
WINDOW_BYTES = 16 << 20
_STEP = 1 << 20


class LineReader:
    """Reads a file of lines from its beginning, and knows what it has read.

    Only a line feed ends a line, with a carriage return before it or not.

    Args:
        path: a file; one whose name ends in `.gz` is unpacked on the way. It is a context manager.
        window_lines: how many lines `window` returns at most.

    Attributes:
        num_lines: lines that have been read.
        num_bytes: bytes that have been read, unpacked.

    Raises:
        InputError: the file cannot be read, or, later on, is damaged.

    Example:

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile() as file:
    ...     _ = file.write(b"Go.\\r\\nWow!\\n\\nNo end")
    ...     file.flush()
    ...     with LineReader(file.name, window_lines=3) as reader:
    ...         [reader.window(), reader.window(), reader.window()]
    [[b'Go.', b'Wow!', b''], [b'No end'], []]
    """

    def __init__(self, path: str | os.PathLike[str], window_lines: int = WINDOW_LINES) -> None:
        self.num_lines = 0
        self.num_bytes = 0
        self._name = printable(path)
        self._window_lines = window_lines
        self._digest = hashlib.sha256()
        if os.path.isdir(path):
            raise InputError(f"{self._name}: is a folder; give a file")
        try:
            self._file = open(path, "rb")  # noqa: SIM115 (it lives as long as the reader)
        except FileNotFoundError as error:
            raise InputError(f"{self._name}: no such file; check the name") from error
        except OSError as error:
            raise self._unreadable(error) from error
        self._size = os.fstat(self._file.fileno()).st_size
        is_packed = os.fspath(path).lower().endswith(".gz")
        self._lines: IO[bytes] | gzip.GzipFile = (
            gzip.GzipFile(fileobj=self._file) if is_packed else self._file
        )

    def __enter__(self) -> "LineReader":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    @property
    def checksum(self) -> str:
        """SHA-256 of what has been read."""
        return self._digest.hexdigest()

    @property
    def share(self) -> float | None:
        """How much of the file has been read, between 0 and 1; None where that is not known."""
        return self._file.tell() / self._size if self._size else None

    def window(self) -> list[bytes]:
        """Returns the next lines without their ends; none at the end of the file."""
        lines: list[bytes] = []
        size = 0
        try:
            while len(lines) < self._window_lines and size < WINDOW_BYTES:
                line = self._lines.readline()
                if not line:
                    break
                self._digest.update(line)
                size += len(line)
                # A carriage return is part of a line end, and no line end by itself.
                lines.append(line[:-1].removesuffix(b"\r") if line.endswith(b"\n") else line)
        except (OSError, EOFError, zlib.error) as error:
            raise self._unreadable(error, self.num_lines + len(lines) + 1) from error
        self.num_lines += len(lines)
        self.num_bytes += size
        return lines

    def skip(self, num_bytes: int, num_lines: int) -> None:
        """Reads what has been read before, and takes it to be so many lines."""
        end = b"\n"
        try:
            while self.num_bytes < num_bytes:
                part = self._lines.read(min(_STEP, num_bytes - self.num_bytes))
                if not part:
                    break
                self._digest.update(part)
                self.num_bytes += len(part)
                end = part[-1:]
            if end != b"\n" and self._lines.read(1):
                # The last line then goes on now; no checksum of before fits this.
                self._digest.update(b"more")
        except (OSError, EOFError, zlib.error) as error:
            raise self._unreadable(error) from error
        self.num_lines = num_lines

    def jump(self, num_bytes: int, num_lines: int) -> None:
        """Goes to where so many bytes and lines are over; the checksum is that of the rest."""
        try:
            self._lines.seek(num_bytes)
        except (OSError, EOFError, zlib.error) as error:
            raise self._unreadable(error) from error
        self.num_bytes, self.num_lines = num_bytes, num_lines

    def _unreadable(self, error: Exception, number: int | None = None) -> InputError:
        where = self._name if number is None else f"{self._name}, line {number}"
        if isinstance(error, (EOFError, zlib.error, gzip.BadGzipFile)):
            return InputError(f"{where}: is cut off or damaged ({error}); get the file again")
        reason = getattr(error, "strerror", None) or error
        return InputError(f"{where}: cannot be read ({reason}); check the file and its permissions")
