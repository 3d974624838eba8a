"""Writing to disk so that whatever was there before survives a failure."""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keras_s2s.utils.errors import InputError

# Part of the name of a folder that something is being written in.
_MARK = ".writing-"


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a path to write to, and renames it to `path` once the block has ended well.

    A reader of `path` sees the old content or the new one, never half of it. When the block
    raises, all that was written is removed, folders made for it too, and `path` stays as it was.

    Args:
        path: the file (or folder) to be. A folder must not exist yet, since a rename cannot
            replace one that has content.

    Yields:
        A `pathlib.Path` with the same suffix in the same file system, which does not exist yet.

    Raises:
        InputError: the folder of `path` cannot be created or written to, or `path` cannot be
            replaced.

    Example:

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with written_aside(Path(folder) / "notes.txt") as aside:
    ...         _ = aside.write_text("hello", encoding="utf-8")
    ...     (Path(folder) / "notes.txt").read_text(encoding="utf-8")
    'hello'
    """
    path = Path(path)
    # The nearest last: the order in which they can be removed again.
    new_folders = [folder for folder in path.parents if not os.path.exists(folder)]
    with contextlib.ExitStack() as at_failure:
        for folder in reversed(new_folders):
            at_failure.callback(_remove_if_empty, folder)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # The leading dot keeps a watching model server from taking the folder for a version.
            workspace = Path(tempfile.mkdtemp(prefix=f".{path.name}{_MARK}", dir=path.parent))
        except OSError as error:
            check_writable(path.parent)
            raise InputError(
                f"{path}: cannot write in {path.parent} ({error.strerror}); "
                "choose another place or change its permissions"
            ) from error
        lock = os.open(workspace, os.O_RDONLY)
        try:
            # Not every file system has locks; then what a killed process leaves stays there.
            with contextlib.suppress(OSError):
                fcntl.flock(lock, fcntl.LOCK_EX)
            aside = workspace / path.name
            yield aside
            try:
                os.replace(aside, path)
            except OSError as error:
                if not os.path.lexists(aside):  # the block wrote nothing, which is a defect
                    raise
                raise InputError(
                    f"{path}: cannot be replaced ({error.strerror}); move it away or choose "
                    "another place"
                ) from error
        finally:
            shutil.rmtree(workspace, ignore_errors=True)
            os.close(lock)
        at_failure.pop_all()


def remove_stale_temporaries(folder: str | os.PathLike[str]) -> None:
    """Removes from a folder what processes were writing aside there when they were killed.

    A process holds a lock on the place it writes in, and loses it when it ends in any way.
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
    """Removes a folder so that a kill on the way leaves no part of it under its name."""
    hidden = folder.with_name(f".{folder.name}{_MARK}removed")
    shutil.rmtree(hidden, ignore_errors=True)
    os.replace(folder, hidden)
    shutil.rmtree(hidden)


def write_json(path: Path, content: Any) -> None:
    """Replaces a file by one of JSON, the same for the same content to the byte."""
    with atomic_write(path) as aside:
        text = json.dumps(content, indent=1, ensure_ascii=False)
        aside.write_text(text + "\n", encoding="utf-8")


def fsync(path: Path) -> None:
    """Makes sure that a file, or the names in a folder, outlive a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(file: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(file, "rb") as content:
        while block := content.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def sha256_of_model(path: Path) -> str:
    """SHA-256 of a model: of its file, or of the checksums of all files in its folder."""
    if path.is_file():
        return sha256_of(path)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    lines = [f"{sha256_of(file)}  {file.relative_to(path).as_posix()}\n" for file in files]
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


def check_writable(folder: Path) -> None:
    """Makes sure that files can be made in a folder, or the folder itself; touches nothing.

    Raises:
        InputError: they cannot.
    """
    nearest = next(place for place in (folder, *folder.absolute().parents) if os.path.exists(place))
    if not nearest.is_dir():
        raise InputError(
            f"{folder}: cannot be made, since {nearest} is a file; choose another place"
        )
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise InputError(
            f"{folder}: no permission to write in {nearest}; choose another place or change its "
            "permissions"
        )
