"""Two processes and one folder."""

import os
import subprocess
import sys

import pytest

from keras_s2s.utils.errors import InputError
from keras_s2s.utils.folder_lock import lock_folder

HOLD = """
import sys
from pathlib import Path
from keras_s2s.utils.folder_lock import lock_folder
with lock_folder(Path(sys.argv[1]), "--output"):
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock of the folder `held`."""
    script = tmp_path / "keras-s2s"  # a process of this name does not load TensorFlow
    script.write_text(HOLD, encoding="utf-8")
    with subprocess.Popen(
        [sys.executable, script, tmp_path / "held"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout.readline() == b"locked\n"
        yield process
        process.kill()


def test_the_holder_is_named_until_it_dies(holder, tmp_path):
    with (
        pytest.raises(InputError, match="another --output") as caught,
        lock_folder(tmp_path / "held", "--output"),
    ):
        pass
    if sys.platform == "linux":
        assert f"process {holder.pid} (" in str(caught.value)
        assert "keras-s2s" in str(caught.value)
    holder.kill()
    holder.wait()
    with lock_folder(tmp_path / "held", "--output"):
        pass


def test_a_second_lock_in_the_same_process(tmp_path):
    with lock_folder(tmp_path, "--output"):
        with pytest.raises(InputError, match="is writing there"), lock_folder(tmp_path, "--output"):
            pass
        assert os.listdir(tmp_path) == []
    with lock_folder(tmp_path, "--output"):
        pass


def test_a_folder_that_stays_empty_is_removed(tmp_path):
    with lock_folder(tmp_path / "a" / "b", "--output"):
        assert (tmp_path / "a" / "b").is_dir()
    assert not (tmp_path / "a").exists()
    with lock_folder(tmp_path / "a" / "b", "--output"):
        (tmp_path / "a" / "file").touch()
    assert os.listdir(tmp_path / "a") == ["file"]
    with lock_folder(tmp_path / "a", "--output"):
        (tmp_path / "a" / "file").unlink()
    assert (tmp_path / "a").is_dir(), "it was there before"


def test_a_folder_that_its_last_holder_removes(tmp_path, monkeypatch):
    """The lock of a removed folder would keep nobody away."""
    from keras_s2s.utils import folder_lock

    flock = folder_lock.fcntl.flock

    def remove_first(lock, operation):
        flock(lock, operation)
        if not removed:
            removed.append((tmp_path / "a").rmdir())

    removed = []
    monkeypatch.setattr(folder_lock.fcntl, "flock", remove_first)
    with lock_folder(tmp_path / "a", "--output"):
        assert (tmp_path / "a").is_dir()
        with pytest.raises(InputError), lock_folder(tmp_path / "a", "--output"):
            pass


def test_a_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file"), lock_folder(tmp_path / "file", "--output"):
        pass
