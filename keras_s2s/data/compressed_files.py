"""Text from plain, zip and gzip files, without extracting anything to disk."""

import contextlib
import errno
import gzip
import io
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, Any

from keras_s2s.utils.errors import InputError, printable
from keras_s2s.utils.text import without_mark

_MEBIBYTE = 1 << 20
_TEXT_SUFFIXES = (".txt", ".tsv", ".csv", ".tab")
# Exceptions of the standard library for corrupt archives.
_CORRUPTION_ERRORS = (
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    OverflowError,
    ValueError,
)


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """Return the content of a file.

    Args:
        path: a file, or a pipe such as `/dev/stdin`.

    Raises:
        InputError: the file does not exist, is a folder, or cannot be read.
    """
    with _report_read_errors(path), open(path, "rb") as file:
        return file.read()


@contextlib.contextmanager
def _report_read_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    if os.path.isdir(path):
        raise InputError(f"{printable(path)}: is a folder, not a prepared corpus; give a file")
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(f"{printable(path)}: no such file; check the name") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the name
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"{printable(path)}: cannot be read ({reason}); check the file and its permissions"
        ) from error


def unpack(content: bytes, name: str | os.PathLike[str]) -> bytes:
    """Return the text inside a zip or gzip file, or any other content unchanged.

    A zip file may have other members, such as folders, `__MACOSX/` and names that start with "."
    or "_". Exactly one member has to have two texts with a tab between them in its first lines.

    Args:
        content: the whole file, as from `read_bytes`.
        name: its name, for messages, and since `.zip` and `.gz` imply an archive.

    Raises:
        InputError: the file is empty, or the archive is corrupt, encrypted, a decompression bomb,
            has a member with a path outside of it, or not exactly one file of pairs.

    Example:

    >>> unpack(gzip.compress(b"Go.\\tVa !"), "pairs.tsv.gz")
    b'Go.\\tVa !'
    """
    with _open_stream(io.BufferedReader(io.BytesIO(content)), len(content), name) as stream:
        return stream.read()


def _member_with_pairs(archive: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    with_pairs = []
    for member in _text_members(archive, name):
        if member.flag_bits & 0x1:
            raise InputError(
                f"{name}: {member.filename!r} is encrypted; "
                "unpack it with its password and give the file of pairs"
            )
        # Other methods are rare, and zipfile cannot limit the size of their blocks.
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise InputError(
                f"{name}: {member.filename!r} uses an unsupported compression method; "
                "unpack it and give the file of pairs"
            )
        with archive.open(member) as stream:
            if _starts_with_pairs(stream.read(1 << 16)):
                with_pairs.append(member)
    with_pairs = [
        member for member in with_pairs if member.filename.lower().endswith(_TEXT_SUFFIXES)
    ] or with_pairs
    if not with_pairs:
        raise InputError(
            f"{name}: holds no pairs: no file in it is UTF-8 text with a tab between two "
            "sentences; unpack it and give the file of pairs"
        )
    if len(with_pairs) > 1:
        names = ", ".join(repr(member.filename) for member in with_pairs[:5])
        raise InputError(
            f"{name}: holds {len(with_pairs)} files of pairs "
            f"({names}{', ...' if len(with_pairs) > 5 else ''}); unpack it and give one of them"
        )
    return with_pairs[0]


@contextlib.contextmanager
def open_unpacked(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open the text of a file, unpacked as by `unpack`.

    Args:
        path: as for `read_bytes`.

    Yields:
        A binary stream, to be read within the block: reading reveals corrupt archives.

    Raises:
        InputError: as `read_bytes` and `unpack`.
    """
    with contextlib.ExitStack() as opened:
        with _report_read_errors(path):
            file = opened.enter_context(open(path, "rb"))
        size = os.fstat(file.fileno()).st_size
        yield opened.enter_context(_open_stream(file, size, path))


@contextlib.contextmanager
def _open_stream(
    file: io.BufferedReader, size: int, path: str | os.PathLike[str]
) -> Iterator[IO[bytes]]:
    name, suffix, head = printable(path), os.path.splitext(path)[1].lower(), file.peek(4)
    if not head:
        raise InputError(f"{name}: is empty; give a file with sentence pairs")
    with contextlib.ExitStack() as opened:
        stream: IO[bytes] = file
        # Look at the content too: spreadsheets are zip files with other suffixes.
        if suffix == ".zip" or head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
            opened.enter_context(_report_corruption(name))
            archive = opened.enter_context(zipfile.ZipFile(file))
            member = opened.enter_context(archive.open(_member_with_pairs(archive, name)))
            stream = io.BufferedReader(_SizeLimitedStream(member, size, name), _MEBIBYTE)
        elif suffix == ".gz" or head.startswith(b"\x1f\x8b"):
            opened.enter_context(_report_corruption(name))
            unpacked = opened.enter_context(gzip.open(file))
            stream = io.BufferedReader(_SizeLimitedStream(unpacked, size, name), _MEBIBYTE)
            if stream.peek(512)[257:262] == b"ustar":
                raise InputError(
                    f"{name}: holds a tar archive; unpack it and give the file of pairs"
                )
        yield stream


class _SizeLimitedStream(io.RawIOBase):
    """A stream with a limit against decompression bombs."""

    def __init__(self, stream: Any, packed_size: int, name: str) -> None:
        self._stream, self._name, self._size = stream, name, 0
        # The sizes in the headers can be forged.
        self._limit = max(64 * _MEBIBYTE, 100 * packed_size)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        block = self._stream.read(len(buffer))
        self._size += len(block)
        if self._size > self._limit:
            raise InputError(
                f"{self._name}: unpacks to more than {self._limit // _MEBIBYTE} MiB; refusing, "
                "since text does not compress that well; unpack it and give the file of pairs"
            )
        buffer[: len(block)] = block
        return len(block)


def _text_members(archive: zipfile.ZipFile, name: str) -> Iterator[zipfile.ZipInfo]:
    """Yield the members that may be text; refuse archives with path traversal."""
    for member in archive.infolist():
        # The stored name, before zipfile adapts it to this platform.
        parts = re.split(r"[/\\]", member.orig_filename)
        if parts[0] == "" or re.match("[A-Za-z]:", parts[0]) or ".." in parts:
            raise InputError(
                f"{name}: refused, since the member {member.orig_filename!r} points outside of "
                "the archive; get the archive from a place that you trust"
            )
        if parts[-1] and not parts[-1].startswith((".", "_")) and "__MACOSX" not in parts:
            yield member


def _starts_with_pairs(head: bytes) -> bool:
    try:
        head = without_mark(head, "")
    except InputError:
        return False
    fields = (line.partition(b"\t") for line in head.split(b"\n")[:10])
    return any(left.strip() and right.strip() for left, _, right in fields)


@contextlib.contextmanager
def _report_corruption(name: str) -> Iterator[None]:
    try:
        yield
    except InputError:  # a ValueError with its own message
        raise
    except (*_CORRUPTION_ERRORS, OSError) as error:
        # zipfile seeks to where a damaged header points; other errors are the disk's.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        raise InputError(f"{name}: is cut off or damaged; get it again") from error
