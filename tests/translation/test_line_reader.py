"""Reading files of lines in windows."""

import gzip
import hashlib

import pytest

from keras_s2s.translation import line_reader
from keras_s2s.translation.line_reader import LineReader
from keras_s2s.utils.errors import InputError

CONTENT = "Go.\r\nWow!\n\n\rin\u2028side\u0085\x0b\n\xffNo end\r".encode("utf-8", "surrogateescape")
LINES = [b"Go.", b"Wow!", b"", "\rin\u2028side\u0085\x0b".encode(), "\xffNo end\r".encode()]


@pytest.fixture(params=["lines.txt", "lines.txt.gz"])
def file(request, tmp_path):
    path = tmp_path / request.param
    path.write_bytes(gzip.compress(CONTENT) if path.suffix == ".gz" else CONTENT)
    return path


def all_windows(reader):
    return list(iter(reader.window, []))


@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_windows_contain_all_lines_once(file, size):
    with LineReader(file, size) as reader:
        windows = all_windows(reader)
        assert [line for window in windows for line in window] == LINES
        assert {len(window) for window in windows[:-1]} <= {size}
        assert (reader.num_lines, reader.num_bytes) == (5, len(CONTENT))
        assert reader.checksum == hashlib.sha256(CONTENT).hexdigest()
        assert reader.progress == 1


@pytest.mark.parametrize("suffix", ["txt", "txt.gz"])
def test_a_byte_order_mark_is_not_part_of_the_first_line(suffix, tmp_path):
    path, content = tmp_path / f"lines.{suffix}", b"\xef\xbb\xbfGo.\n\xef\xbb\xbfHi.\n"
    path.write_bytes(gzip.compress(content) if suffix.endswith("gz") else content)
    with LineReader(path, 1) as reader:
        assert all_windows(reader) == [[b"Go."], [b"\xef\xbb\xbfHi."]]
        assert reader.num_bytes == len(content)  # positions and checksum are those of the file
        assert reader.checksum == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("suffix", ["txt", "txt.gz"])
def test_utf16_is_refused_before_anything_is_read(suffix, tmp_path):
    path, content = tmp_path / f"lines.{suffix}", "Go.\n".encode("utf-16")
    path.write_bytes(gzip.compress(content) if suffix.endswith("gz") else content)
    with pytest.raises(InputError, match=f"{path}: looks like UTF-16"):
        LineReader(path)


def test_skipping_a_prefix(file):
    with LineReader(file, 2) as reader, LineReader(file, 2) as other:
        reader.window()
        other.skip(reader.num_bytes, reader.num_lines)
        assert (other.num_lines, other.checksum) == (2, reader.checksum)
        assert all_windows(other) == all_windows(reader)
        assert other.checksum == reader.checksum


def test_a_last_line_that_has_grown_changes_the_checksum(tmp_path):
    file = tmp_path / "lines.txt"
    file.write_bytes(b"one\ntwo")
    with LineReader(file) as before:
        before.window()
    with LineReader(file) as again:
        again.skip(before.num_bytes, 2)
        assert again.checksum == before.checksum
    file.write_bytes(b"one\ntwo more")
    with LineReader(file) as longer:
        longer.skip(before.num_bytes, 2)
        assert longer.checksum != before.checksum


def test_windows_have_a_maximum_number_of_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(line_reader, "WINDOW_BYTES", 10)
    file = tmp_path / "lines.txt"
    file.write_bytes(b"four\n" * 5)
    with LineReader(file) as reader:
        assert [len(window) for window in all_windows(reader)] == [2, 2, 1]


def test_an_empty_file(tmp_path):
    file = tmp_path / "lines.txt"
    file.touch()
    with LineReader(file) as reader:
        assert (reader.window(), reader.progress) == ([], None)


def test_unreadable_files(tmp_path):
    with pytest.raises(InputError, match=r"none: no such file"):
        LineReader(tmp_path / "none")
    with pytest.raises(InputError, match=r"is a folder"):
        LineReader(tmp_path)
    file = tmp_path / "lines.gz"
    file.write_bytes(gzip.compress(b"line\n" * 1000)[:-9])
    with LineReader(file) as reader, pytest.raises(InputError, match=r"lines.gz, line \d+: is cut"):
        all_windows(reader)
    file.write_bytes(b"no gz")
    with pytest.raises(InputError, match=r"line 1: is cut off or damaged"):
        LineReader(file)
