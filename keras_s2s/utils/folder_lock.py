"""A lock that keeps a second process from writing to the same folder."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from keras_s2s.utils.errors import InputError, one_line
from keras_s2s.utils.files import check_output_folder


@contextlib.contextmanager
def lock_folder(folder: Path, option: str) -> Iterator[None]:
    """Hold a folder's lock; create the folder, and remove it again if it is empty at the end.

    The system releases the lock with the process, also after a kill. A file system without locks
    does not keep others away.

    Args:
        folder: the folder.
        option: the option that names it, for messages.

    Raises:
        InputError: the folder is a file or cannot be written to, or another process, or another
            call in this one, holds the lock; the message names the process where the system does.
    """
    if not folder.is_dir():  # to read one, it need not be writable
        check_output_folder(folder, option)
    new_folders = [path for path in (folder, *folder.parents) if not path.exists()]
    lock = _open_locked(folder, option)
    try:
        yield
    finally:
        try:
            with contextlib.suppress(OSError):  # not empty
                for path in new_folders:
                    path.rmdir()
        finally:  # also if a signal interrupts
            os.close(lock)


def _open_locked(folder: Path, option: str) -> int:
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(os.fstat(lock))
            os.close(lock)
            raise InputError(
                f"{folder}: {holder} is writing there; wait for it, or give another {option}"
            ) from None
        except OSError:  # the file system has no locks
            return lock
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(lock), os.stat(folder)):
                return lock
        os.close(lock)  # its last holder has removed the folder


def _holder(folder: os.stat_result) -> str:
    """Describe the process that holds a lock; only Linux tells which one."""
    device = f"{os.major(folder.st_dev):02x}:{os.minor(folder.st_dev):02x}"
    with contextlib.suppress(OSError):
        for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
            fields = line.split()  # 1: FLOCK ADVISORY WRITE 4711 fd:01:5242 0 EOF
            if fields[1] == "FLOCK" and fields[5] == f"{device}:{folder.st_ino}":
                words = os.fsdecode(Path("/proc", fields[4], "cmdline").read_bytes()).split("\0")
                # Not the folders of Python and of the command.
                command = " ".join([*map(os.path.basename, words[:2]), *words[2:]])
                return f"process {fields[4]} ({one_line(command, 100)})"
    return "another process"
