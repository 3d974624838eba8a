"""Atomic writes, checksums and checks of output folders."""

import contextlib
import fcntl
import hashlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keras_s2s.utils.errors import InputError

# Part of the names of temporary folders.
_MARK = ".writing-"


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path, and rename it to `path` if the block succeeds.

    A reader of `path` sees the old or the new content, never a part. If the block raises, all
    that was written and all folders created for it are removed, and `path` is unchanged.

    Args:
        path: the file or folder to write. A folder must not exist, since a rename cannot replace
            one with content.

    Yields:
        A `pathlib.Path` that does not exist, with the same suffix, in the same file system.

    Raises:
        InputError: the parent folder cannot be created or written to, or `path` cannot be
            replaced.

    Example:

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_write(Path(folder) / "notes.txt") as temporary:
    ...         _ = temporary.write_text("hello", encoding="utf-8")
    ...     (Path(folder) / "notes.txt").read_text(encoding="utf-8")
    'hello'
    """
    path = Path(path)
    with temporary_beside(path) as temporary:
        yield temporary
        try:
            os.replace(temporary, path)
        except OSError as error:
            if not os.path.lexists(temporary):  # the block wrote nothing: a defect
                raise
            raise InputError(
                f"{path}: cannot be replaced ({error.strerror}); move it away or choose "
                "another name"
            ) from error


@contextlib.contextmanager
def temporary_beside(path: Path) -> Iterator[Path]:
    """Yield a temporary path from which the block can rename to `path`; see `atomic_write`."""
    # Innermost first; callbacks run in reverse order of registration.
    new_folders = [folder for folder in path.parents if not os.path.exists(folder)]
    with contextlib.ExitStack() as on_failure:
        for folder in reversed(new_folders):
            on_failure.callback(_remove_if_empty, folder)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # A model server that polls the parent ignores names with a leading dot.
            workspace = Path(tempfile.mkdtemp(prefix=f".{path.name}{_MARK}", dir=path.parent))
        except OSError as error:
            check_writable(path.parent)
            raise InputError(
                f"{path}: cannot write in {path.parent} ({error.strerror}); "
                "choose another folder or change its permissions"
            ) from error
        lock = os.open(workspace, os.O_RDONLY)
        try:
            # Without locks in the file system, leftovers of killed processes stay.
            with contextlib.suppress(OSError):
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield workspace / path.name
        finally:
            shutil.rmtree(workspace, ignore_errors=True)
            os.close(lock)
        on_failure.pop_all()


def remove_stale_temporaries(folder: str | os.PathLike[str]) -> None:
    """Remove the temporary folders that killed processes left in a folder.

    `atomic_write` holds a lock on its temporary folder; the system releases it with the process.
    """
    for workspace in Path(folder).glob(f".*{_MARK}*"):
        with contextlib.suppress(OSError):
            lock = os.open(workspace, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(workspace)
            finally:
                os.close(lock)


def remove_folder(folder: Path) -> None:
    """Remove a folder atomically: rename it first, so that no part keeps its name."""
    hidden = folder.with_name(f".{folder.name}{_MARK}removed")
    shutil.rmtree(hidden, ignore_errors=True)
    os.replace(folder, hidden)
    shutil.rmtree(hidden)


def write_json(path: Path, content: Any, indent: int | None = 1, synchronize: bool = False) -> None:
    """Write JSON atomically; equal content gives equal bytes.

    Args:
        path: the file.
        content: what `json.dumps` accepts.
        indent: spaces per level; None for a single line in ASCII.
        synchronize: whether to call `fsync` before the rename.
    """
    with atomic_write(path) as temporary:
        text = json.dumps(content, indent=indent, ensure_ascii=indent is None)
        temporary.write_text(text + "\n", encoding="utf-8")
        if synchronize:
            fsync(temporary)


def parse_json(content: str | bytes) -> Any:
    """Parse JSON of any origin.

    Raises:
        ValueError: it is not JSON, or nested too deeply.
    """
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def fsync(path: Path) -> None:
    """Flush a file, or the entries of a folder, to stable storage."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(content: Path | bytes) -> str:
    """Return the SHA-256 of a file or of bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with io.BytesIO(content) if isinstance(content, bytes) else open(content, "rb") as stream:
        while block := stream.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def sha256_of_files(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file below a folder by its relative path, sorted by path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): sha256_of(path) for path in files}


def sha256_of_model(path: Path) -> str:
    """Return the SHA-256 of a model file, or of the list of checksums of a model's folder."""
    if path.is_file():
        return sha256_of(path)
    lines = [f"{checksum}  {name}\n" for name, checksum in sha256_of_files(path).items()]
    return sha256_of("".join(lines).encode("utf-8", "surrogateescape"))


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


def check_writable(folder: Path) -> None:
    """Check that a folder is writable or can be created; write nothing.

    Raises:
        InputError: it is not.
    """
    parents = (folder, *folder.absolute().parents)
    existing = next(parent for parent in parents if os.path.exists(parent))
    if not existing.is_dir():
        raise InputError(
            f"{folder}: cannot be created, since {existing} is a file; choose another folder"
        )
    if not os.access(existing, os.W_OK | os.X_OK):
        raise InputError(
            f"{folder}: no permission to write in {existing}; choose another folder or change its "
            "permissions"
        )


def check_output_folder(
    folder: Path, option: str, content: str = "", may_be_filled: bool = True
) -> None:
    """Check that a folder can be used for output; write nothing.

    Args:
        folder: the folder; it need not exist.
        option: the option that names it, for the message.
        content: what the folder is for, for the message.
        may_be_filled: False if the folder has to be empty or missing.

    Raises:
        InputError: it is a file, cannot be written to, or has foreign content.
    """
    if os.path.exists(folder) and not folder.is_dir():
        raise InputError(f"{folder}: is a file; give a folder as {option}")
    check_writable(folder)
    if not may_be_filled and folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"{folder}: is not empty and holds no {content}; give another {option}")
