"""Text files of any size, read some thousand lines at a time."""

import gzip
import hashlib
import io
import os
import stat
import zlib

from keras_s2s.utils.errors import InputError, printable
from keras_s2s.utils.text import HEAD_BYTES, without_mark

# Enough lines to fill batches of similar lengths, in a bounded number of bytes.
WINDOW_LINES = 8192
WINDOW_BYTES = 16 << 20
_BLOCK_BYTES = 1 << 20


class LineReader:
    """Reads a file of lines, and tracks position and checksum. A context manager.

    Lines end with a line feed, which a carriage return may precede, and with nothing else. A byte
    order mark at the start is not part of the first line.

    Args:
        path: the file; one whose name ends in `.gz` is decompressed.
        window_lines: maximum number of lines that `window` returns.

    Attributes:
        name: the file, for messages.
        num_lines: number of lines read.
        num_bytes: number of bytes read, decompressed.

    Raises:
        InputError: the file cannot be read, or looks like UTF-16 or binary data; or, while
            reading, is damaged.

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
        self.name = printable(path)
        self._window_lines = window_lines
        self._digest = hashlib.sha256()
        if os.path.isdir(path):
            raise InputError(f"{self.name}: is a folder; give a file")
        try:
            self._file = open(path, "rb")  # noqa: SIM115 (closed by __exit__)
        except FileNotFoundError as error:
            raise InputError(f"{self.name}: no such file; check the name") from error
        except OSError as error:
            raise self._read_error(error) from error
        self._size = os.fstat(self._file.fileno()).st_size
        is_gzip = os.fspath(path).lower().endswith(".gz")
        self._stream: io.BufferedReader | gzip.GzipFile = (
            gzip.GzipFile(fileobj=self._file) if is_gzip else self._file
        )
        # What is taken from a pipe here would be missing where the pipe is opened again.
        if stat.S_ISREG(os.fstat(self._file.fileno()).st_mode):
            self._check_start()

    def _check_start(self) -> None:
        try:
            without_mark(self._stream.peek(HEAD_BYTES), self.name)
        except (OSError, EOFError, zlib.error) as error:
            self._file.close()
            raise self._read_error(error, 1) from error
        except InputError:
            self._file.close()
            raise

    def __enter__(self) -> "LineReader":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    @property
    def checksum(self) -> str:
        """SHA-256 of the bytes read."""
        return self._digest.hexdigest()

    @property
    def progress(self) -> float | None:
        """The fraction of the file that has been read; None if its size is unknown."""
        return self._file.tell() / self._size if self._size else None

    def window(self) -> list[bytes]:
        """Return the next lines without line ends; an empty list at the end of the file."""
        lines: list[bytes] = []
        size = 0
        try:
            while len(lines) < self._window_lines and size < WINDOW_BYTES:
                line = self._stream.readline()
                if not line:
                    break
                self._digest.update(line)
                size += len(line)
                if size + self.num_bytes == len(line):
                    line = without_mark(line, self.name)
                # A carriage return counts as part of a line end before a line feed only.
                lines.append(line[:-1].removesuffix(b"\r") if line.endswith(b"\n") else line)
        except (OSError, EOFError, zlib.error) as error:
            raise self._read_error(error, self.num_lines + len(lines) + 1) from error
        self.num_lines += len(lines)
        self.num_bytes += size
        return lines

    def skip(self, num_bytes: int, num_lines: int) -> None:
        """Read a prefix that was translated before, of the given number of lines."""
        last_byte = b"\n"
        try:
            while self.num_bytes < num_bytes:
                block = self._stream.read(min(_BLOCK_BYTES, num_bytes - self.num_bytes))
                if not block:
                    break
                self._digest.update(block)
                self.num_bytes += len(block)
                last_byte = block[-1:]
            if last_byte != b"\n" and self._stream.read(1):
                # The last line has become longer: make the checksum differ.
                self._digest.update(b"more")
        except (OSError, EOFError, zlib.error) as error:
            raise self._read_error(error) from error
        self.num_lines = num_lines

    def seek(self, num_bytes: int, num_lines: int) -> None:
        """Move to a position; the checksum covers what is read from there."""
        try:
            self._stream.seek(num_bytes)
        except (OSError, EOFError, zlib.error) as error:
            raise self._read_error(error) from error
        self.num_bytes, self.num_lines = num_bytes, num_lines

    def _read_error(self, error: Exception, line_number: int | None = None) -> InputError:
        where = self.name if line_number is None else f"{self.name}, line {line_number}"
        if isinstance(error, (EOFError, zlib.error, gzip.BadGzipFile)):
            return InputError(f"{where}: is cut off or damaged ({error}); get the file again")
        reason = getattr(error, "strerror", None) or error
        return InputError(f"{where}: cannot be read ({reason}); check the file and its permissions")
