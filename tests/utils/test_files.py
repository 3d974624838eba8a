"""Atomic writes, checksums and checks of output folders."""

import hashlib
import json
import os
import signal
import stat
import subprocess
import sys

import pytest

from keras_s2s.utils.errors import InputError
from keras_s2s.utils.files import (
    atomic_write,
    check_output_folder,
    check_writable,
    remove_stale_temporaries,
    sha256_of,
    sha256_of_files,
    sha256_of_model,
    write_json,
)


def test_atomic_write_replaces_a_file(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("old", encoding="utf-8")
    with atomic_write(path) as temporary:
        assert temporary.parent.parent == tmp_path, "a rename stays in one file system"
        assert temporary.parent.name.startswith("."), "model servers ignore such folders"
        assert temporary.suffix == ".txt"
        assert not temporary.exists()
        temporary.write_text("new", encoding="utf-8")
        assert path.read_text(encoding="utf-8") == "old"
    assert path.read_text(encoding="utf-8") == "new"
    assert os.listdir(tmp_path) == ["notes.txt"]


def test_atomic_write_of_a_folder(tmp_path):
    with atomic_write(tmp_path / "models" / "en-fr" / "1") as temporary:
        (temporary / "assets").mkdir(parents=True)
    assert (tmp_path / "models" / "en-fr" / "1" / "assets").is_dir()
    # Permissions follow the umask.
    mode = stat.S_IMODE((tmp_path / "models" / "en-fr" / "1").stat().st_mode)
    (tmp_path / "plain").mkdir()
    assert mode == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def fail_after_writing(path, error):
    with atomic_write(path) as temporary:
        temporary.write_text("new", encoding="utf-8")
        raise error


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_failure_leaves_nothing_behind(tmp_path, error):
    (tmp_path / "notes.txt").write_text("old", encoding="utf-8")
    (tmp_path / "empty").mkdir()
    for name in ("notes.txt", "empty/notes.txt", "new/folders/notes.txt"):
        with pytest.raises(error):
            fail_after_writing(tmp_path / name, error)
    assert sorted(os.listdir(tmp_path)) == ["empty", "notes.txt"]
    assert os.listdir(tmp_path / "empty") == []
    assert (tmp_path / "notes.txt").read_text(encoding="utf-8") == "old"


def test_new_folders_with_foreign_files_stay(tmp_path):
    with (
        pytest.raises(FileNotFoundError),
        atomic_write(tmp_path / "new" / "folders" / "notes.txt"),
    ):
        (tmp_path / "new" / "mine.txt").write_text("", encoding="utf-8")
    assert os.listdir(tmp_path / "new") == ["mine.txt"]


def test_unwritable_paths(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with (
        pytest.raises(InputError, match=r"file/folder: cannot be created, since .*/file is a file"),
        atomic_write(tmp_path / "file" / "folder" / "notes.txt"),
    ):
        raise AssertionError("not reached")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "content").write_text("", encoding="utf-8")
    with (
        pytest.raises(InputError, match=r"folder: cannot be replaced \(.*\); move it away"),
        atomic_write(tmp_path / "folder") as temporary,
    ):
        temporary.write_text("", encoding="utf-8")
    assert os.listdir(tmp_path / "folder") == ["content"]


def test_block_that_writes_nothing_is_a_defect(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "notes.txt"):
        pass
    assert os.listdir(tmp_path) == []


def test_check_writable(tmp_path, monkeypatch):
    check_writable(tmp_path)
    check_writable(tmp_path / "new" / "folders")
    assert os.listdir(tmp_path) == []
    monkeypatch.chdir(tmp_path)
    check_writable(tmp_path.relative_to(tmp_path) / "new")
    (tmp_path / "file").write_text("", encoding="utf-8")
    for place in ("file", "file/below/it"):
        with pytest.raises(InputError, match="file is a file; choose another folder"):
            check_writable(tmp_path / place)
    monkeypatch.setattr(os, "access", lambda place, mode: False)
    with pytest.raises(InputError, match="no permission to write in"):
        check_writable(tmp_path)


def test_stale_temporaries_are_removed_and_those_in_use_are_not(tmp_path):
    code = (
        "import os, signal, sys\n"
        "sys.argv[0] = 'keras-s2s'\n"
        "from keras_s2s.utils.files import atomic_write\n"
        "with atomic_write(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "killed")]
    assert subprocess.run(command).returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 1
    with atomic_write(tmp_path / "living") as temporary:
        temporary.write_text("whole")
        remove_stale_temporaries(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["living"]


def test_check_output_folder(tmp_path):
    for may_be_filled in (True, False):
        check_output_folder(tmp_path / "new" / "folder", "--output", "runs", may_be_filled)
        check_output_folder(tmp_path, "--output", "runs", may_be_filled)
    assert os.listdir(tmp_path) == []
    (tmp_path / "file").write_text("", encoding="utf-8")
    check_output_folder(tmp_path, "--output", "runs")
    with pytest.raises(InputError, match="is not empty and holds no runs; give another --output"):
        check_output_folder(tmp_path, "--output", "runs", may_be_filled=False)
    with pytest.raises(InputError, match="file: is a file; give a folder as --output"):
        check_output_folder(tmp_path / "file", "--output")


@pytest.mark.parametrize("synchronize", [False, True])
def test_write_json(tmp_path, synchronize):
    path, content = tmp_path / "new" / "a.json", {"é": [1, None]}
    write_json(path, content, synchronize=synchronize)
    assert path.read_text(encoding="utf-8") == '{\n "é": [\n  1,\n  null\n ]\n}\n'
    write_json(path, content, indent=None, synchronize=synchronize)
    assert path.read_bytes() == json.dumps(content).encode("ascii") + b"\n"


def test_checksums(tmp_path):
    content = b"x" * (2**20 + 1)
    checksum = hashlib.sha256(content).hexdigest()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "b").write_bytes(content)
    (tmp_path / "a").write_bytes(b"")
    empty = hashlib.sha256().hexdigest()
    assert sha256_of(content) == sha256_of(tmp_path / "folder" / "b") == checksum
    assert list(sha256_of_files(tmp_path).items()) == [("a", empty), ("folder/b", checksum)]
    assert sha256_of_model(tmp_path / "a") == empty
    listing = f"{empty}  a\n{checksum}  folder/b\n".encode()
    assert sha256_of_model(tmp_path) == hashlib.sha256(listing).hexdigest()
