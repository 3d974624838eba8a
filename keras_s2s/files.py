"""Writing to disk so that whatever was there before survives a failure."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from keras_s2s.errors import InputError


@contextlib.contextmanager
def written_aside(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a path to write to, and renames it to `path` once the block has ended well.

    A reader of `path` sees the old content or the new one, never half of it. When the block
    raises, what was written aside is removed and `path` stays as it was.

    Args:
        path: the file (or folder) to be. A folder must not exist yet, since a rename cannot
            replace one that has content.

    Yields:
        A `pathlib.Path` with the same suffix in the same file system, which does not exist yet.

    Raises:
        InputError: the folder of `path` cannot be created or written to.

    Example:

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with written_aside(Path(folder) / "notes.txt") as aside:
    ...         _ = aside.write_text("hello", encoding="utf-8")
    ...     (Path(folder) / "notes.txt").read_text(encoding="utf-8")
    'hello'
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The leading dot keeps a watching model server from taking the folder for a version.
        workspace = Path(tempfile.mkdtemp(prefix=f".{path.name}.writing-", dir=path.parent))
    except OSError as error:
        raise InputError(
            f"{path}: cannot write in {path.parent} ({error.strerror}); "
            "choose another place or change its permissions"
        ) from error
    try:
        aside = workspace / path.name
        yield aside
        os.replace(aside, path)
    finally:
        shutil.rmtree(workspace, ignore_errors=True)
