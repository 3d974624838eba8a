"""Append-only output that can be resumed after a kill, with a journal of what is complete."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import Any, NamedTuple

from keras_s2s.utils.errors import InputError
from keras_s2s.utils.files import (
    check_writable,
    fsync,
    parse_json,
    remove_stale_temporaries,
    write_json,
)
from keras_s2s.utils.folder_lock import lock_folder

_BLOCK_BYTES = 1 << 20


class VerifiedPrefix(NamedTuple):
    """A prefix of a file.

    Attributes:
        num_bytes: its size.
        checksum: its SHA-256.
    """

    num_bytes: int = 0
    checksum: str = hashlib.sha256().hexdigest()


class AppendFile:
    """A file opened for appending after a verified prefix.

    Args:
        path: the file; truncated to the prefix.
        prefix: the complete part.

    Raises:
        InputError: the file does not start with the prefix.
    """

    def __init__(self, path: Path, prefix: VerifiedPrefix) -> None:
        self._digest = hashlib.sha256()
        self._num_bytes = 0
        self._file = open(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")  # noqa: SIM115
        while block := self._file.read(min(_BLOCK_BYTES, prefix.num_bytes - self._num_bytes)):
            self._update_prefix(block)
        if self.prefix != prefix:
            self._file.close()
            raise InputError(
                f"{path}: has been changed since it was written; remove {path.parent} to start over"
            )
        self._file.seek(prefix.num_bytes)
        self._file.truncate()

    @property
    def prefix(self) -> VerifiedPrefix:
        """Size and checksum of the file so far."""
        return VerifiedPrefix(self._num_bytes, self._digest.hexdigest())

    def append(self, content: bytes) -> None:
        """Append bytes and flush them to stable storage."""
        self._file.write(content)
        self._update_prefix(content)
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()

    def _update_prefix(self, content: bytes) -> None:
        self._digest.update(content)
        self._num_bytes += len(content)


class Journal(NamedTuple):
    """The state of an output.

    Attributes:
        settings: all that the output depends on besides the input.
        num_lines: number of input lines translated.
        num_failed: number of these that failed.
        source: the part of the input that has been translated.
        output: the part of the output that is complete.
        failed: the part of the list of failures that is complete.
        is_complete: whether all input has been translated.
    """

    settings: dict[str, Any]
    num_lines: int = 0
    num_failed: int = 0
    source: VerifiedPrefix = VerifiedPrefix()
    output: VerifiedPrefix = VerifiedPrefix()
    failed: VerifiedPrefix = VerifiedPrefix()
    is_complete: bool = False


class ResumableOutput:
    """A folder `TARGET.partial` with unfinished output and its journal.

    A context manager, which locks the folder against other processes.

    Args:
        target: the output; at the end there are `TARGET` and, if lines failed,
            `TARGET.failed.tsv`.

    Attributes:
        folder: the folder.

    Raises:
        InputError: the folder cannot be created, or is locked by another process.
    """

    def __init__(self, target: str | os.PathLike[str]) -> None:
        # Keep a symbolic link: replace what it points to.
        self.target = Path(os.path.realpath(target))
        self.folder = self.target.with_name(f"{self.target.name}.partial")
        self.failures = self.target.with_name(f"{self.target.name}.failed.tsv")
        self._journal = self.folder / "journal.json"
        self._output, self._failed = self.folder / "output.txt", self.folder / "failed.tsv"
        self._files: list[AppendFile] = []
        self._lock = contextlib.ExitStack()

    def check_free(self, overwrite: bool) -> None:
        """Check that the output can be written; write nothing.

        Raises:
            InputError: there is a file that must not be replaced, or something else.
        """
        if self.target.is_dir():
            raise InputError(f"{self.target}: is a folder; give a file as --output")
        if self.target.exists() and not self.target.is_file():
            raise InputError(f"{self.target}: is not a regular file; give another --output")
        check_writable(self.target.parent)
        if self.target.exists() and not overwrite and not self._is_complete():
            raise InputError(
                f"{self.target}: exists already; give --overwrite to replace it, or another "
                "--output"
            )

    def __enter__(self) -> ResumableOutput:
        self._lock.enter_context(lock_folder(self.folder, "--output"))
        return self

    def __exit__(self, *error: object) -> None:
        for file in self._files:
            # Unwritten content lies past the prefix in the journal.
            with contextlib.suppress(OSError):
                file.close()
        self._lock.close()

    def read_journal(self) -> Journal | None:
        """Return the journal; None if there is no progress.

        Raises:
            InputError: it is damaged.
        """
        try:
            content = parse_json(self._journal.read_text(encoding="utf-8"))
            prefixes = {
                name: VerifiedPrefix(*content[name]) for name in ("source", "output", "failed")
            }
            journal = Journal(**{**content, **prefixes})
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise InputError(
                f"{self._journal}: cannot be read, or is damaged ({error}); remove {self.folder} "
                "to start over"
            ) from error
        if journal.is_complete and not (self._output.exists() or self.target.exists()):
            return None  # the output has been removed
        return journal

    def resume(self, journal: Journal) -> None:
        """Open the files for appending.

        Raises:
            InputError: they differ from the journal.
        """
        for path, prefix in ((self._output, journal.output), (self._failed, journal.failed)):
            self._files.append(AppendFile(path, prefix))

    def start(self) -> None:
        """Open the files, discarding all progress."""
        self._journal.unlink(missing_ok=True)
        self.resume(Journal({}))

    def append(self, journal: Journal, output: bytes, failures: bytes) -> Journal:
        """Append to the files, then update the journal.

        Args:
            journal: with the new state of the input.
            output: the new output.
            failures: the new failures.

        Returns:
            The journal with the new state of the files.
        """
        for file, content in zip(self._files, (output, failures), strict=True):
            if content:
                file.append(content)
        prefixes = [file.prefix for file in self._files]
        journal = journal._replace(output=prefixes[0], failed=prefixes[1])
        self._write_journal(journal)
        return journal

    def finish(self, journal: Journal) -> None:
        """Rename the files to their final names. May be repeated after a kill."""
        if not journal.is_complete:
            self._write_journal(journal._replace(is_complete=True))
        if journal.failed.num_bytes:
            with contextlib.suppress(FileNotFoundError):  # renamed before
                os.replace(self._failed, self.failures)
        else:
            self.failures.unlink(missing_ok=True)
        with contextlib.suppress(FileNotFoundError):
            os.replace(self._output, self.target)
        fsync(self.target.parent)
        self._failed.unlink(missing_ok=True)
        remove_stale_temporaries(self.folder)
        self._journal.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # foreign files stay
            self.folder.rmdir()

    def _is_complete(self) -> bool:
        journal = self.read_journal()
        return journal is not None and journal.is_complete

    def _write_journal(self, journal: Journal) -> None:
        write_json(self._journal, journal._asdict(), indent=None, synchronize=True)
        fsync(self.folder)
