"""Output that grows over hours, of which always so much is known to be complete."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

from keras_s2s.utils.errors import InputError
from keras_s2s.utils.files import check_writable, fsync, remove_stale_temporaries, write_json

_STEP = 1 << 20


class VerifiedPrefix(NamedTuple):
    """The beginning of a file.

    Attributes:
        num_bytes: its length.
        checksum: SHA-256 of it.
    """

    num_bytes: int = 0
    checksum: str = hashlib.sha256().hexdigest()


class AppendFile:
    """A file that is written from where it is complete to.

    Args:
        path: the file; what it has after `extent` is cut off.
        extent: how much of it is complete.

    Raises:
        InputError: the file does not begin so.
    """

    def __init__(self, path: Path, extent: VerifiedPrefix) -> None:
        self._digest = hashlib.sha256()
        self._num_bytes = 0
        self._file = open(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")  # noqa: SIM115
        while part := self._file.read(min(_STEP, extent.num_bytes - self._num_bytes)):
            self._add(part)
        if self.extent != extent:
            self._file.close()
            raise InputError(
                f"{path}: has been changed since it was written; remove {path.parent} to begin anew"
            )
        self._file.seek(extent.num_bytes)
        self._file.truncate()

    @property
    def extent(self) -> VerifiedPrefix:
        """What has been written."""
        return VerifiedPrefix(self._num_bytes, self._digest.hexdigest())

    def write(self, content: bytes) -> None:
        """Adds to the file."""
        self._file.write(content)
        self._add(content)

    def flush(self) -> None:
        """Makes sure that all that was written outlives a loss of power."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Ends the writing."""
        self._file.close()

    def _add(self, content: bytes) -> None:
        self._digest.update(content)
        self._num_bytes += len(content)


class Journal(NamedTuple):
    """How far the making of an output is.

    Attributes:
        settings: all that the output depends on besides the input.
        num_lines: lines of the input that are done.
        num_failed: those of them that failed.
        source: so much of the input that is.
        output: what has been written of it.
        failed: what has been written of the failures.
        is_complete: whether that is all.
    """

    settings: dict[str, Any]
    num_lines: int = 0
    num_failed: int = 0
    source: VerifiedPrefix = VerifiedPrefix()
    output: VerifiedPrefix = VerifiedPrefix()
    failed: VerifiedPrefix = VerifiedPrefix()
    is_complete: bool = False


class ResumableOutput:
    """A folder beside the output to be, which has what is done and a journal that says how much.

    It is a context manager, and nobody else can have it at the same time.

    Args:
        target: the output. While it is made there is `TARGET.partial`; in the end there are
            `TARGET` and, if there were failures, `TARGET.failed.tsv`.

    Attributes:
        folder: the folder.

    Raises:
        InputError: the folder cannot be made, or belongs to another process.
    """

    def __init__(self, target: str | os.PathLike[str]) -> None:
        # A link stays one.
        self.target = Path(os.path.realpath(target))
        self.folder = self.target.with_name(f"{self.target.name}.partial")
        self.failures = self.target.with_name(f"{self.target.name}.failed.tsv")
        self._journal = self.folder / "journal.json"
        self._output, self._failed = self.folder / "output.txt", self.folder / "failed.tsv"
        self._files: list[AppendFile] = []
        self._lock: int | None = None

    def check_free(self, overwrite: bool) -> None:
        """Makes sure that the output may be put there; touches nothing.

        Raises:
            InputError: there is a file already that is not to be replaced, or something else.
        """
        if self.target.is_dir():
            raise InputError(f"{self.target}: is a folder; give a file as --output")
        if self.target.exists() and not self.target.is_file():
            raise InputError(f"{self.target}: is no file that can be replaced; give another one")
        check_writable(self.target.parent)
        if self.target.exists() and not overwrite and not self._is_complete():
            raise InputError(
                f"{self.target}: exists already; give --overwrite to replace it, or another "
                "--output"
            )

    def __enter__(self) -> ResumableOutput:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise InputError(
                f"{self.folder}: another process is writing there; wait for it, or give another "
                "--output"
            ) from None
        except OSError:  # not every file system has locks
            pass
        return self

    def __exit__(self, *error: object) -> None:
        for file in self._files:
            # What cannot be written now is after the end that the journal knows.
            with contextlib.suppress(OSError):
                file.close()
        if self._lock is not None:
            os.close(self._lock)

    def read(self) -> Journal | None:
        """What the journal says; None when nothing is done yet.

        Raises:
            InputError: it is damaged.
        """
        try:
            content = json.loads(self._journal.read_text(encoding="utf-8"))
            extents = {
                name: VerifiedPrefix(*content[name]) for name in ("source", "output", "failed")
            }
            journal = Journal(**{**content, **extents})
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise InputError(
                f"{self._journal}: cannot be read, or is damaged ({error}); remove {self.folder} "
                "to begin anew"
            ) from error
        if journal.is_complete and not (self._output.exists() or self.target.exists()):
            return None  # somebody took the output away
        return journal

    def go_on(self, journal: Journal) -> None:
        """Opens the files where they are complete to.

        Raises:
            InputError: they are not what the journal says.
        """
        for path, extent in ((self._output, journal.output), (self._failed, journal.failed)):
            self._files.append(AppendFile(path, extent))

    def begin(self) -> None:
        """Opens the files anew."""
        self._journal.unlink(missing_ok=True)
        self.go_on(Journal({}))

    def add(self, journal: Journal, output: bytes, failed: bytes) -> Journal:
        """Adds to the files, and then to the journal.

        Args:
            journal: it with the input that has been done and the numbers of lines.
            output: what comes of that.
            failed: what is said of failures.

        Returns:
            The journal with the files as they are now.
        """
        for file, content in zip(self._files, (output, failed), strict=True):
            if content:
                file.write(content)
                file.flush()
        extents = [file.extent for file in self._files]
        journal = journal._replace(output=extents[0], failed=extents[1])
        self._write(journal)
        return journal

    def finish(self, journal: Journal) -> None:
        """Gives the files their names; it may be called again after a kill."""
        if not journal.is_complete:
            self._write(journal._replace(is_complete=True))
        if journal.failed.num_bytes:
            with contextlib.suppress(FileNotFoundError):  # it has its name already
                os.replace(self._failed, self.failures)
        else:
            self.failures.unlink(missing_ok=True)
        with contextlib.suppress(FileNotFoundError):
            os.replace(self._output, self.target)
        fsync(self.target.parent)
        self._failed.unlink(missing_ok=True)
        remove_stale_temporaries(self.folder)
        self._journal.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # somebody else's files stay
            self.folder.rmdir()

    def _is_complete(self) -> bool:
        journal = self.read()
        return journal is not None and journal.is_complete

    def _write(self, journal: Journal) -> None:
        write_json(self._journal, journal._asdict(), indent=None, synchronize=True)
        fsync(self.folder)
