"""Built-in corpora: location, download, verification."""

import dataclasses
import hashlib
import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from keras_s2s.data.catalog import (
    BUILTIN_CORPORA,
    BUNDLED,
    IN_CACHE,
    IN_DATA_FOLDER,
    NOT_HERE,
    locate,
    read_text,
    unknown_name,
)
from keras_s2s.data.parallel_corpus import ParallelCorpus, load_corpus
from keras_s2s.utils.errors import InputError


def zipped(text: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("_about.txt", "About\tthis\n")
        archive.writestr("fra.txt", text)
    return buffer.getvalue()


TEXT = b"Go.\tVa !\nHi.\tSalut !\n"
OTHER_TEXT = b"Go.\tAllez !\n"
OTHER = zipped(OTHER_TEXT)


def message(name: str) -> str:
    """Return the error message of `read_text`."""
    with pytest.raises(InputError) as caught:
        read_text(name)
    text = str(caught.value)
    assert text.isprintable(), "an error is one line"
    return text


@pytest.fixture
def catalog(tmp_path, monkeypatch):
    """Replace `fra-eng` by a corpus of two pairs, not on disk, and return its archive."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("KERAS_S2S_DATA", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    monkeypatch.setitem(
        BUILTIN_CORPORA,
        "fra-eng",
        dataclasses.replace(
            BUILTIN_CORPORA["fra-eng"],
            url=(tmp_path / "server" / "fra-eng.zip").as_uri(),
            text_sha256=hashlib.sha256(TEXT).hexdigest(),
        ),
    )
    return zipped(TEXT)


def put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def files_under(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if not path.is_dir()]


def test_catalog_entries():
    assert list(BUILTIN_CORPORA) == ["phrasebook", "fra-eng"]
    for name, entry in BUILTIN_CORPORA.items():
        assert entry.name == name
        assert entry.languages == ("en", "fr")
        assert entry.description
        assert entry.license


def test_unknown_name():
    text = str(unknown_name("klingon"))
    assert text.startswith("klingon: no such file, and not in the catalog (phrasebook, fra-eng)")
    assert "did you mean" not in text
    assert "did you mean fra-eng?" in str(unknown_name("fra_eng"))
    assert "did you mean phrasebook?" in str(unknown_name("phrase-book"))
    for function in (locate, read_text, load_corpus):
        with pytest.raises(InputError, match="klingon: no such file, and not in the catalog"):
            function("klingon")


def test_phrasebook_is_bundled():
    where, path = locate("phrasebook")
    assert where == BUNDLED
    if not path.exists():
        pytest.skip("the bundled phrasebook is not in this tree")
    corpus = load_corpus("phrasebook")
    assert len(corpus) > 10
    assert corpus.name == "phrasebook"


def test_load_corpus_by_name(catalog, tmp_path, monkeypatch):
    put(tmp_path / "data" / "fra-eng.zip", catalog)
    corpus = ParallelCorpus(["Go.", "Hi."], ["Va !", "Salut !"], "fra-eng")
    assert load_corpus("fra-eng") == corpus
    assert load_corpus("fra-eng", max_pairs=1, reverse=True).source == ["Va !"]
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "fra-eng", b"from\tthe file\n")
    assert load_corpus("fra-eng") == corpus
    assert load_corpus("./fra-eng").source == ["from"]


def test_order_of_locations(catalog, tmp_path, monkeypatch):
    assert locate("fra-eng") == (NOT_HERE, None)
    cached = put(tmp_path / "keras" / "keras_s2s" / "fra-eng.zip", catalog)
    assert locate("fra-eng") == (IN_CACHE, cached)
    assert read_text("fra-eng") == TEXT
    in_data_folder = put(tmp_path / "data" / "fra-eng.zip", catalog)
    assert locate("fra-eng") == (IN_DATA_FOLDER, in_data_folder)
    assert read_text("fra-eng") == TEXT
    monkeypatch.delenv("KERAS_S2S_DATA")
    assert locate("fra-eng").where == IN_CACHE
    monkeypatch.delenv("KERAS_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    cached = put(tmp_path / "home" / ".keras" / "keras_s2s" / "fra-eng.zip", catalog)
    assert locate("fra-eng") == (IN_CACHE, cached)


def test_foreign_file_in_the_datasets_of_keras_is_ignored(catalog, tmp_path):
    foreign = put(tmp_path / "keras" / "datasets" / "fra-eng.zip", OTHER)
    assert locate("fra-eng") == (NOT_HERE, None)
    assert "cannot be downloaded" in message("fra-eng")
    put(tmp_path / "server" / "fra-eng.zip", catalog)
    assert read_text("fra-eng") == TEXT
    assert foreign.read_bytes() == OTHER
    assert locate("fra-eng") == (IN_CACHE, tmp_path / "keras" / "keras_s2s" / "fra-eng.zip")


@pytest.mark.parametrize("folder", ["daat", "file"])
def test_data_folder_does_not_exist(catalog, tmp_path, monkeypatch, folder):
    put(tmp_path / "file", catalog)
    put(tmp_path / "server" / "fra-eng.zip", catalog)
    monkeypatch.setenv("KERAS_S2S_DATA", str(tmp_path / folder))
    expected = (
        f"{tmp_path / folder}: no such folder, though KERAS_S2S_DATA names it; "
        "name the one that holds fra-eng.zip, or unset KERAS_S2S_DATA"
    )
    assert message("fra-eng") == expected
    assert files_under(tmp_path / "keras") == []
    with pytest.raises(InputError, match="no such folder"):
        load_corpus("fra-eng")
    # A listing does not fail.
    assert locate("fra-eng") == (NOT_HERE, None)
    put(tmp_path / "keras" / "keras_s2s" / "fra-eng.zip", catalog)
    assert locate("fra-eng").where == IN_CACHE
    assert message("fra-eng") == expected
    # A bundled corpus does not need the folder.
    path = put(tmp_path / "bundled.tsv", TEXT)
    entry = dataclasses.replace(BUILTIN_CORPORA["phrasebook"], file_name=str(path))
    monkeypatch.setitem(BUILTIN_CORPORA, "phrasebook", entry)
    assert read_text("phrasebook") == TEXT
    monkeypatch.setenv("KERAS_S2S_DATA", "")  # is none at all
    assert read_text("fra-eng") == TEXT


def test_data_folder_with_a_tilde(catalog, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("KERAS_S2S_DATA", os.path.join("~", "data"))
    path = put(tmp_path / "data" / "fra-eng.zip", catalog)
    assert locate("fra-eng") == (IN_DATA_FOLDER, path)
    assert read_text("fra-eng") == TEXT


def test_another_release_in_the_data_folder(catalog, tmp_path):
    path = put(tmp_path / "data" / "fra-eng.zip", OTHER)
    text = message("fra-eng")
    assert text.startswith(f"{path}: is not the fra-eng of the catalog")
    assert hashlib.sha256(OTHER_TEXT).hexdigest() in text
    assert hashlib.sha256(TEXT).hexdigest() in text
    assert text.endswith("to use another release, give the path of the file itself as corpus")
    assert load_corpus(path) == ParallelCorpus(["Go."], ["Allez !"], str(path))


def test_damaged_file_in_the_data_folder(catalog, tmp_path):
    path = put(tmp_path / "data" / "fra-eng.zip", catalog[:-30])
    assert f"{path}: is cut off or damaged" in message("fra-eng")
    assert path.exists()


@pytest.mark.parametrize("content", [OTHER, OTHER[:-30], b"<html>"])
def test_damaged_file_in_the_cache_is_removed(catalog, tmp_path, content):
    path = put(tmp_path / "keras" / "keras_s2s" / "fra-eng.zip", content)
    text = message("fra-eng")
    assert text.startswith(f"{path}: is ")
    assert text.endswith("removed from the cache; try again to download it")
    assert not path.exists()


def test_damaged_file_in_a_read_only_cache(catalog, tmp_path, monkeypatch):
    put(tmp_path / "keras" / "keras_s2s" / "fra-eng.zip", OTHER)

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "unlink", refuse)
    assert message("fra-eng").endswith("remove it from the cache and try again to download it")


def test_unreadable_file_in_the_cache_stays(catalog, tmp_path):
    path = tmp_path / "keras" / "keras_s2s" / "fra-eng.zip"
    path.mkdir(parents=True)
    assert f"{path}: is a folder" in message("fra-eng")


def test_download(catalog, tmp_path, capsys):
    put(tmp_path / "server" / "fra-eng.zip", catalog)
    assert read_text("fra-eng") == TEXT
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Downloading" in captured.err
    cached = tmp_path / "keras" / "keras_s2s" / "fra-eng.zip"
    assert files_under(tmp_path / "keras") == [cached]
    assert list(cached.parent.iterdir()) == [cached]
    # The second time it is in the cache.
    (tmp_path / "server" / "fra-eng.zip").unlink()
    assert read_text("fra-eng") == TEXT


@pytest.mark.parametrize("content", [OTHER, OTHER[:-30], b"<html>"])
def test_bad_download_leaves_nothing_behind(catalog, tmp_path, content):
    put(tmp_path / "server" / "fra-eng.zip", content)
    text = message("fra-eng")
    assert text.startswith(f"{BUILTIN_CORPORA['fra-eng'].url}: is ")
    assert "the download was deleted; try again, or put fra-eng.zip into a folder" in text
    assert "KERAS_S2S_DATA" in text
    assert files_under(tmp_path / "keras") == []
    assert locate("fra-eng").where == NOT_HERE


def test_failed_download(catalog, tmp_path):
    text = message("fra-eng")  # nothing is at the URL
    assert text.startswith("fra-eng: cannot be downloaded (")
    assert text.endswith("put fra-eng.zip into a folder and name that in KERAS_S2S_DATA")
    assert files_under(tmp_path / "keras") == []


def test_interrupted_download_leaves_nothing_behind(catalog, tmp_path, monkeypatch):
    import keras

    def interrupt(name, url, cache_subdir):
        (Path(cache_subdir) / name).write_bytes(catalog[:100])
        raise KeyboardInterrupt

    monkeypatch.setattr(keras.utils, "get_file", interrupt)
    with pytest.raises(KeyboardInterrupt):
        read_text("fra-eng")
    assert list(tmp_path.glob("keras/**/*")) == []


def test_importing_does_not_import_keras():
    # The package itself imports everything, except in the command.
    script = (
        "import sys; sys.argv = ['keras-s2s']; "
        "from keras_s2s.data import catalog, parallel_corpus; catalog.locate('fra-eng'); "
        "print({'keras', 'tensorflow'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert done.stdout.decode().strip() == "set()"
