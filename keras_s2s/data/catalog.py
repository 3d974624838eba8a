"""Built-in corpora: their location and text, downloaded when needed."""

import contextlib
import dataclasses
import os
import sys
from pathlib import Path
from typing import NamedTuple

from keras_s2s.data.compressed_files import read_bytes, unpack
from keras_s2s.utils.errors import InputError, did_you_mean, one_line, printable
from keras_s2s.utils.files import atomic_write, sha256_of


@dataclasses.dataclass(frozen=True)
class CatalogEntry:
    """A built-in corpus.

    Args:
        name: the name that `load_corpus` accepts.
        description: one line.
        languages: ISO 639-1 codes of the source and the target.
        license: license and attribution.
        file_name: name of the bundled file or of the archive.
        url: download URL of the archive; None for a bundled file.
        text_sha256: checksum of the text, since archives of the same text may differ.
    """

    name: str
    description: str
    languages: tuple[str, str]
    license: str
    file_name: str
    url: str | None = None
    text_sha256: str | None = None


BUILTIN_CORPORA: dict[str, CatalogEntry] = {
    entry.name: entry
    for entry in (
        CatalogEntry(
            name="phrasebook",
            description="a small phrasebook, for a first model in minutes and for tests",
            languages=("en", "fr"),
            license="see LICENSE-phrasebook.txt beside it",
            file_name="phrasebook.tsv",
        ),
        CatalogEntry(
            name="fra-eng",
            description="167,130 pairs from Tatoeba by manythings.org/anki, release of 2019-04-07",
            languages=("en", "fr"),
            license="CC BY 2.0 FR (www.manythings.org/anki, tatoeba.org)",
            file_name="fra-eng.zip",
            url="https://d2l-data.s3-accelerate.amazonaws.com/fra-eng.zip",
            text_sha256="0bb85dbaa1c896844649094d7eaf2e34bee34e84fe362b26ce7e8f2e12aae104",
        ),
    )
}

BUNDLED = "bundled"
IN_DATA_FOLDER = "in KERAS_S2S_DATA"
IN_CACHE = "in the cache"
NOT_HERE = "not here yet"


class Location(NamedTuple):
    """The location of a built-in corpus, from `locate`."""

    where: str
    path: Path | None


def locate(name: str) -> Location:
    """Locate a built-in corpus, without downloading or verifying it.

    Args:
        name: a key of `BUILTIN_CORPORA`.

    Returns:
        A `Location`: `where` is one of `BUNDLED`, `IN_DATA_FOLDER`, `IN_CACHE` and `NOT_HERE`;
        `path` is the file, or None for `NOT_HERE`.

    Raises:
        InputError: the name is not in the catalog.

    Example:

    >>> locate("phrasebook").where
    'bundled'
    """
    if name not in BUILTIN_CORPORA:
        raise unknown_name(name)
    entry = BUILTIN_CORPORA[name]
    if entry.url is None:
        return Location(BUNDLED, Path(__file__).parent / entry.file_name)
    for where, folder in ((IN_DATA_FOLDER, _data_folder()), (IN_CACHE, _cache_folder())):
        if folder is not None and os.path.exists(folder / entry.file_name):
            return Location(where, folder / entry.file_name)
    return Location(NOT_HERE, None)


def read_text(name: str) -> bytes:
    """Return the text of a built-in corpus, downloading it if necessary.

    Args:
        name: a key of `BUILTIN_CORPORA`.

    Returns:
        Tab-separated pairs in UTF-8; for an entry with a URL, verified against its checksum.

    Raises:
        InputError: the name is not in the catalog, `KERAS_S2S_DATA` is not a folder, or the text
            cannot be read or downloaded or has another checksum.
    """
    where, path = locate(name)
    entry = BUILTIN_CORPORA[name]
    if where != BUNDLED and (folder := _data_folder()) and not os.path.isdir(folder):
        # Probably a typo; continuing would download what is on disk already.
        raise InputError(
            f"{printable(folder)}: no such folder, though KERAS_S2S_DATA names it; "
            f"name the one that holds {entry.file_name}, or unset KERAS_S2S_DATA"
        )
    if path is None:
        return _download(entry)
    content = read_bytes(path)
    if where == BUNDLED:
        return content
    try:
        return _verified_text(content, str(path), entry)
    except InputError as error:
        if where == IN_DATA_FOLDER:
            advice = "to use another release, give the path of the file itself as corpus"
        else:
            try:
                path.unlink()
                advice = "it has been removed from the cache; try again to download it"
            except OSError:
                advice = "remove it from the cache and try again to download it"
        raise InputError(f"{error}; {advice}") from error


def unknown_name(name: str) -> InputError:
    """Return the error for a name that is neither a file nor a built-in corpus."""
    advice = did_you_mean(name, BUILTIN_CORPORA) or "; check the name"
    return InputError(
        f"{printable(name)}: no such file, and not in the catalog "
        f"({', '.join(BUILTIN_CORPORA)}){advice}"
    )


def _data_folder() -> Path | None:
    folder = os.environ.get("KERAS_S2S_DATA")
    return Path(os.path.expanduser(folder)) if folder else None


def _cache_folder() -> Path:
    # Keras's home folder, without importing Keras, which takes seconds. Not its `datasets`, where
    # other programs may have files of the same name.
    home = os.environ.get("KERAS_HOME") or os.path.join("~", ".keras")
    return Path(os.path.expanduser(home)).absolute() / "keras_s2s"


def _verified_text(content: bytes, name: str, entry: CatalogEntry) -> bytes:
    text = unpack(content, name)
    checksum = sha256_of(text)
    if checksum != entry.text_sha256:
        raise InputError(
            f"{printable(name)}: is not the {entry.name} of the catalog: "
            f"the text inside has sha256 {checksum}, not {entry.text_sha256}"
        )
    return text


def _download(entry: CatalogEntry) -> bytes:
    import keras  # not at the top: it takes seconds

    assert entry.url is not None
    by_hand = f"put {entry.file_name} into a folder and name that in KERAS_S2S_DATA"
    with atomic_write(_cache_folder() / entry.file_name) as temporary:
        try:
            # Keras prints its progress bar on stdout, which is for results.
            with contextlib.redirect_stdout(sys.stderr):
                keras.utils.get_file(temporary.name, entry.url, cache_subdir=str(temporary.parent))
        # WORKAROUND(keras<=3.15.1): `get_file` raises a plain Exception when a download fails.
        except Exception as error:
            raise InputError(
                f"{entry.name}: cannot be downloaded ({one_line(error)}); try again, or {by_hand}"
            ) from error
        try:
            return _verified_text(temporary.read_bytes(), entry.url, entry)
        except InputError as error:
            raise InputError(
                f"{error}; the download was deleted; try again, or {by_hand}"
            ) from error
