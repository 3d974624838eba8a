"""Load a .keras file after checks of its sizes, of weights elsewhere and of vocabularies."""

import errno
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import keras
import tensorflow as tf

from keras_s2s.models.seq2seq import Seq2Seq
from keras_s2s.tokenizers.tokenizer import Tokenizer
from keras_s2s.utils.errors import InputError, first_line

_WEIGHTS_SUFFIX = ".h5"
# Text and weights do not compress this well. Small files may: a new layer's biases are zeros.
_MAX_EXPANSION, _MIN_LIMIT = 100, 64 * 2**20
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)


NOT_A_TRANSLATOR = "not a translator saved by keras_s2s"


def load_model_file(path: Path) -> Any:
    """Load the object in a .keras file.

    Args:
        path: the file.

    Raises:
        InputError: no such file, it is damaged or refused by `check_model_file`, or it cannot be
            unpacked here.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; check the name")
    if path.suffix != ".keras":
        raise InputError(
            f"{path}: {NOT_A_TRANSLATOR}; give model.keras of a run, or another .keras file"
        )
    if not zipfile.is_zipfile(path):
        raise InputError(
            f"{path}: {NOT_A_TRANSLATOR}: not a zip archive, or truncated; give model.keras of a "
            "run"
        )
    try:
        check_model_file(path)
    except InputError:
        raise
    except Exception as error:
        raise _load_error(path, error) from error
    try:
        return keras.saving.load_model(path, compile=False)
    except (MemoryError, tf.errors.ResourceExhaustedError):
        raise
    except Exception as error:
        raise _load_error(path, error) from error


def _load_error(path: Path, error: Exception) -> InputError:
    if (cause := _disk_error(error)) is not None:
        return InputError(
            f"{path}: cannot be unpacked in {tempfile.gettempdir()} ({cause.strerror}); "
            "free space there, or let TMPDIR name another folder"
        )
    return InputError(
        f"{path}: {NOT_A_TRANSLATOR}, or damaged ({first_line(error)}); give model.keras of a run"
    )


def check_model_file(path: Path) -> None:
    """Check that a .keras file unpacks to a size like its own and refers to no other file.

    Args:
        path: the file.

    Raises:
        InputError: a member unpacks to more than 64 MiB and 100 times its size, weights would, or
            they are links or data in other files.
        OSError, ValueError, RuntimeError, KeyError, zipfile.BadZipFile: it is damaged.
    """
    # WORKAROUND(keras<=3.15.1): it refuses neither zeros below 4 GiB nor declared shapes without
    # data, which take 1,000,000 times the size of the file.
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            limit = max(_MIN_LIMIT, _MAX_EXPANSION * member.compress_size)
            _check_size(path, member.file_size, limit)
            if member.filename.endswith(_WEIGHTS_SUFFIX):
                with archive.open(member) as stream, h5py.File(stream, "r") as file:
                    for size in _dataset_sizes(path, file):
                        limit -= size
                        _check_size(path, size, size + limit)


def _check_size(path: Path, size: int, limit: int) -> None:
    if size > limit:
        raise InputError(
            f"{path}: refused, since it unpacks to more than {_MAX_EXPANSION} times its size; get "
            "the model from a place that you trust"
        )


def _dataset_sizes(path: Path, file: h5py.File) -> Iterator[int]:
    """Yield the bytes in memory of each array."""
    pending: list[h5py.Group] = [file]
    seen = set()
    while pending:
        group = pending.pop()
        for name in group:
            link = group.get(name, getlink=True)
            item = group[name] if isinstance(link, h5py.HardLink) else None
            if item is None or (
                isinstance(item, h5py.Dataset) and (item.external or item.is_virtual)
            ):
                raise InputError(
                    f"{path}: refused, since its weights are in another file; get the model from a "
                    "place that you trust"
                )
            if isinstance(item, h5py.Dataset):
                yield int(item.nbytes)
            elif isinstance(item, h5py.Group):
                address = h5py.h5o.get_info(item.id).addr
                if address not in seen:  # a group can hold itself
                    seen.add(address)
                    pending.append(item)


def vocabulary_mismatches(
    model: Seq2Seq, source: Tokenizer, target: Tokenizer
) -> Iterator[tuple[str, int, int]]:
    """Yield each side whose tokenizer and layer differ in size: side, tokens, `vocab_size`."""
    for side, tokenizer, layer in (
        ("source", source, model.encoder),
        ("target", target, model.decoder),
    ):
        if len(tokenizer) != layer.vocab_size:
            yield side, len(tokenizer), layer.vocab_size


def _disk_error(error: BaseException) -> OSError | None:
    """Return the cause of an exception that is the disk's fault and not that of the file."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and (
            cause.errno in _DISK_FULL or str(cause.filename).startswith(f"{tempfile.tempdir}/")
        ):
            return cause
        cause = cause.__cause__ or cause.__context__
    return None
