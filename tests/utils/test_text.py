"""The beginning of every text that comes in, and its lines."""

import io

import pytest

from keras_s2s.utils.errors import InputError
from keras_s2s.utils.text import InvalidLines, available_lines, without_mark


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_utf16_and_utf32_are_refused(encoding, mark):
    with pytest.raises(InputError, match=r"notes\.txt: .*UTF-16"):
        without_mark(f"{mark}Go.\nOh, là!\n".encode(encoding), "notes.txt")


@pytest.mark.parametrize(
    "text", [b"", b"Go.", "\u4f60\u597d".encode(), b"\xff\xe9", b"ten bytes\0"]
)
def test_other_text_is_returned_without_its_mark(text):
    assert without_mark(text, "") == text
    assert without_mark(b"\xef\xbb\xbf" + text, "") == text


def test_only_the_start_decides():
    assert without_mark(b"text" * 1024 + bytes(9000), "").endswith(b"\0")


def test_lines_of_a_stream_lose_the_mark_of_the_first(caplog):
    content = b"\xef\xbb\xbfGo.\r\n\xef\xbb\xbfHi.\n" + b"caf\xe9\n" * 70
    batches = list(available_lines(io.BytesIO(content)))
    assert [line for batch in batches for line in batch] == [
        b"Go.",
        b"\xef\xbb\xbfHi.",
        *[b"caf\xe9"] * 70,
    ]
    (record,) = caplog.records
    assert "standard input: 70 lines are not UTF-8, first line 3;" in record.getMessage()


def test_valid_lines_are_not_reported(caplog):
    invalid = InvalidLines("name")
    invalid.add(1, [b"", "\u4f60\0".encode()])
    invalid.report()
    assert not caplog.records
