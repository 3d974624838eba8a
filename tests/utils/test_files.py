"""What is left on disk when writing fails."""

import os
import signal
import stat
import subprocess
import sys

import pytest

from keras_s2s.utils.errors import InputError
from keras_s2s.utils.files import atomic_write, check_writable, remove_stale_temporaries


def test_the_old_content_stays_until_the_new_one_is_complete(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("old", encoding="utf-8")
    with atomic_write(path) as aside:
        assert aside.parent.parent == tmp_path, "a rename stays in one file system"
        assert aside.parent.name.startswith("."), "a server takes no such folder for a version"
        assert aside.suffix == ".txt"
        assert not aside.exists()
        aside.write_text("new", encoding="utf-8")
        assert path.read_text(encoding="utf-8") == "old"
    assert path.read_text(encoding="utf-8") == "new"
    assert os.listdir(tmp_path) == ["notes.txt"]


def test_a_folder_can_be_written_too(tmp_path):
    with atomic_write(tmp_path / "models" / "en-fr" / "1") as aside:
        (aside / "assets").mkdir(parents=True)
    assert (tmp_path / "models" / "en-fr" / "1" / "assets").is_dir()
    # Others can read it as far as the umask lets them.
    mode = stat.S_IMODE((tmp_path / "models" / "en-fr" / "1").stat().st_mode)
    (tmp_path / "plain").mkdir()
    assert mode == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def fail_after_writing(path, error):
    with atomic_write(path) as aside:
        aside.write_text("new", encoding="utf-8")
        raise error


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_nothing_is_left_of_what_failed(tmp_path, error):
    (tmp_path / "notes.txt").write_text("old", encoding="utf-8")
    (tmp_path / "empty").mkdir()
    for name in ("notes.txt", "empty/notes.txt", "new/folders/notes.txt"):
        with pytest.raises(error):
            fail_after_writing(tmp_path / name, error)
    assert sorted(os.listdir(tmp_path)) == ["empty", "notes.txt"]
    assert os.listdir(tmp_path / "empty") == []
    assert (tmp_path / "notes.txt").read_text(encoding="utf-8") == "old"


def test_new_folders_stay_when_somebody_else_uses_them(tmp_path):
    with (
        pytest.raises(FileNotFoundError),
        atomic_write(tmp_path / "new" / "folders" / "notes.txt"),
    ):
        (tmp_path / "new" / "mine.txt").write_text("", encoding="utf-8")
    assert os.listdir(tmp_path / "new") == ["mine.txt"]


def test_places_that_cannot_be_written(tmp_path):
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
        atomic_write(tmp_path / "folder") as aside,
    ):
        aside.write_text("", encoding="utf-8")
    assert os.listdir(tmp_path / "folder") == ["content"]


def test_a_block_that_writes_nothing_is_a_defect(tmp_path):
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


def test_leftovers_of_killed_processes_are_removed_and_work_in_progress_is_not(tmp_path):
    code = (
        "import os, signal, sys\n"
        "sys.argv[0] = 'keras-s2s'\n"
        "from keras_s2s.utils.files import atomic_write\n"
        "with atomic_write(sys.argv[1]) as aside:\n"
        "    aside.write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "killed")]
    assert subprocess.run(command).returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 1
    with atomic_write(tmp_path / "living") as aside:
        aside.write_text("whole")
        remove_stale_temporaries(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["living"]
