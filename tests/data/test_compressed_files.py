"""Text from plain, zip and gzip files, and refused archives."""

import gzip
import io
import random
import tarfile
import zipfile

import pytest

from keras_s2s.data import compressed_files as archives
from keras_s2s.data.compressed_files import open_unpacked, read_bytes, unpack
from keras_s2s.utils.errors import InputError

PAIRS = "Go.\tVa !\nHi.\tSalut !\nRun!\tCours !\n"


def zipped(members: dict[str, str | bytes], compression=zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def message(content, name) -> str:
    """Return the error message of `unpack`."""
    with pytest.raises(InputError) as caught:
        unpack(content, name)
    text = str(caught.value)
    assert text.isprintable(), "an error is one line"
    return text


# Reading


def test_read_bytes(tmp_path):
    (tmp_path / "pairs.gz").write_bytes(b"\xff\r\n")
    assert read_bytes(tmp_path / "pairs.gz") == b"\xff\r\n"


def test_unreadable_file(tmp_path, monkeypatch):
    def refuse(path, mode):  # real permissions do not stop the superuser
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(archives, "open", refuse, raising=False)
    with pytest.raises(InputError, match=r"cannot be read \(Permission denied\); check"):
        read_bytes(tmp_path / "pairs.tsv")


def test_name_with_a_nul_character():
    with pytest.raises(InputError, match=r"pairs\\x00.tsv: cannot be read"):
        read_bytes("pairs\0.tsv")


# Unpacking


def test_plain_text_is_unchanged():
    assert unpack(b"\xff\r\nany", "pairs.tsv") == b"\xff\r\nany"


def test_zip_with_other_members():
    content = zipped(
        {
            "fra-eng/": "",
            "__MACOSX/._fra-eng": "a\tb\n",
            "fra-eng/_about.txt": "About\tthis\n",
            "__MACOSX/fra-eng/.__about.txt": "a\tb\n",
            "fra-eng/.hidden.txt": "a\tb\n",
            "fra-eng/logo.png": b"\x89PNG\n\tx\ty\0",
            "fra-eng/table.dat": "a\tb\n",
            "fra-eng/readme.txt": "No pairs here.\n",
            "fra-eng/fra.txt": PAIRS,
        }
    )
    assert unpack(content, "fra-eng.zip") == PAIRS.encode()


def test_zip_with_another_suffix_outside_or_inside():
    assert unpack(zipped({"pairs.dat": PAIRS}), "pairs.bin") == PAIRS.encode()
    stored = zipped({"pairs": PAIRS}, zipfile.ZIP_STORED)
    assert unpack(stored, "pairs.zip") == PAIRS.encode()


def test_gz():
    assert unpack(gzip.compress(PAIRS.encode()), "pairs.tsv.gz") == PAIRS.encode()
    assert unpack(gzip.compress(PAIRS.encode()), "pairs.tsv") == PAIRS.encode()


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"pairs/": ""},
        {"readme.txt": "No pairs.\n"},
        {"pairs.txt": PAIRS.encode("utf-16")},
        {"content.xml": "<?xml?>\n\t<table>\n\t\t<row/>\n", "picture.png": b"\x89\0\ta\tb"},
    ],
)
def test_zip_without_pairs(members):
    assert "pairs.ods: holds no pairs" in message(zipped(members), "pairs.ods")


def test_zip_with_several_files_of_pairs():
    text = message(zipped({"fra.txt": PAIRS, "deu.txt": PAIRS}), "pairs.zip")
    assert "holds 2 files of pairs ('fra.txt', 'deu.txt'); unpack it and give one" in text
    text = message(zipped({f"{n}.txt": PAIRS for n in range(9)}), "pairs.zip")
    assert "'4.txt', ...)" in text
    assert "'5.txt'" not in text


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "../pairs.txt",
        "a/../../pairs.txt",
        "C:/pairs.txt",
        "c:pairs.txt",
        "..\\pairs.txt",
        "a\\..\\pairs.txt",
        "\\\\server\\pairs.txt",
        "__MACOSX/../pairs.txt",
    ],
)
def test_zip_with_path_traversal_is_refused(name):
    text = message(zipped({"fra.txt": PAIRS, name: PAIRS}), "pairs.zip")
    assert f"refused, since the member {name!r} points outside" in text


def test_encrypted_zip():
    content = bytearray(zipped({"pairs.txt": PAIRS}))
    content[6] |= 1  # the flags of the member,
    content[content.index(b"PK\x01\x02") + 8] |= 1  # and again in the central directory
    assert "'pairs.txt' is encrypted" in message(bytes(content), "pairs.zip")


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_unsupported_compression_method(compression):
    content = zipped({"pairs.txt": PAIRS}, compression)
    assert "unsupported compression method" in message(content, "pairs.zip")


LONG = "".join(f"Sentence {number}.\tPhrase {number * 7919}.\n" for number in range(2000))


@pytest.mark.parametrize("name", ["pairs.zip", "pairs.gz"])
def test_damaged_archives(name):
    whole = zipped({"pairs.txt": LONG}) if name.endswith("zip") else gzip.compress(LONG.encode())
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 0xFF]) + whole[middle + 1 :]
    for content in (whole[:middle], whole[:-1], flipped, PAIRS.encode(), b"<html>"):
        assert f"{name}: is cut off or damaged; get it again" in message(content, name)


@pytest.mark.parametrize("name", ["pairs.zip", "pairs.gz"])
def test_any_damage_is_an_input_error(name):
    whole = zipped({"pairs.txt": LONG}) if name.endswith("zip") else gzip.compress(LONG.encode())
    generator = random.Random(0)
    refused = 0
    for _ in range(300):
        content = bytearray(whole)
        # Most failures are in the headers, at both ends.
        at = generator.choice([generator.randrange(40), -1 - generator.randrange(100)])
        content[at] = generator.randrange(256)
        try:
            unpack(bytes(content), name)
        except InputError:
            refused += 1
    assert refused > 100


def test_gz_with_a_tar_inside():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        member = tarfile.TarInfo("pairs.tsv")
        member.size = len(PAIRS.encode())
        archive.addfile(member, io.BytesIO(PAIRS.encode()))
    assert "holds a tar archive; unpack it" in message(buffer.getvalue(), "pairs.tar.gz")


def test_decompression_bombs_are_refused(tmp_path):
    zeros = b"\0" * (1 << 20)
    zip_path, gz_path = tmp_path / "bomb.zip", tmp_path / "bomb.gz"
    with (
        zipfile.ZipFile(zip_path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("pairs.txt", "w") as member,
    ):
        member.write(PAIRS.encode() + b"\n" * (1 << 16))  # beyond the bytes that are inspected
        for _ in range(200):
            member.write(zeros)
    with gzip.open(gz_path, "wb", compresslevel=1) as stream:
        for _ in range(200):
            stream.write(zeros)
    for path in (zip_path, gz_path):
        limit = max(64, 100 * path.stat().st_size >> 20)
        assert f"unpacks to more than {limit} MiB; refusing" in message(path.read_bytes(), path)


def test_decompression_bomb_with_a_forged_header():
    content = bytearray(zipped({"pairs.txt": PAIRS + "\n" * (70 << 20)}))
    directory = content.index(b"PK\x01\x02")
    content[directory + 24 : directory + 28] = (1000).to_bytes(4, "little")
    assert "cut off or damaged" in message(bytes(content), "pairs.zip")


def test_headers_that_point_outside_of_the_archive(tmp_path):
    """zipfile seeks to a negative position, which is an OSError without a name."""
    file, rng = tmp_path / "pairs.zip", random.Random(0)
    whole = zipped({"pairs.txt": PAIRS, "_about": "about"})
    refused = 0
    for _ in range(2000):
        damaged = bytearray(whole)
        damaged[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        file.write_bytes(damaged)
        try:
            with open_unpacked(file) as stream:
                stream.read()
        except InputError:
            refused += 1
    assert refused > 200


def test_repetitive_text_within_the_limit_is_read():
    text = PAIRS.encode() * 20_000  # compresses more than a hundredfold, but is small
    content = gzip.compress(text)
    assert len(text) > 100 * len(content)
    assert unpack(content, "pairs.gz") == text
