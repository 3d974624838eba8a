"""Resolve MODEL arguments: run directories, .keras files, exported versions."""

import os
from pathlib import Path
from typing import Any

from keras_s2s.run_directory import RunDirectory
from keras_s2s.utils.console import import_tensorflow
from keras_s2s.utils.errors import InputError

MODEL_HELP = "a run directory, a .keras file, or the version folder of an export"


def is_export(folder: Path) -> bool:
    """Return whether a folder holds a SavedModel."""
    return (folder / "saved_model.pb").is_file()


def is_model(path: str) -> bool:
    """Return whether a path is a run directory, a .keras file or an export.

    >>> is_model("I see you.")
    False
    """
    file = Path(path)
    try:
        is_keras_file = file.suffix == ".keras" and file.is_file()
        return is_keras_file or RunDirectory(file).exists() or is_export(file)
    except (OSError, ValueError):  # too long for a path, or a NUL byte
        return False


def find_model(path: str) -> Path:
    """Return the .keras file or the SavedModel folder that MODEL refers to.

    Raises:
        InputError: there is none.
    """
    folder = Path(path)
    if not os.path.exists(folder):
        raise InputError(f"{path}: no such file or folder; give {MODEL_HELP}")
    if RunDirectory(folder).exists():
        file = RunDirectory(folder).model
        if not file.is_file():
            raise InputError(
                f"{path}: the run has no {file.name} yet; finish it with keras-s2s train --resume"
            )
        return file
    if not is_export(folder) and any(folder.glob("*/saved_model.pb")):
        # Imported here because few commands get the folder above an export.
        from keras_s2s.serving.saved_model import check_version_folder

        check_version_folder(folder)
    if folder.is_dir() and not is_export(folder):
        raise InputError(
            f"{path}: holds neither a run (run.json) nor an export (saved_model.pb); "
            f"give {MODEL_HELP}"
        )
    return folder


def load_model(path: str, *, trust: bool = False) -> Any:
    """Load the translator that MODEL refers to.

    Args:
        path: the argument of the command.
        trust: as for `ExportedTranslator`.
    """
    file = find_model(path)
    import_tensorflow()
    if is_export(file):
        from keras_s2s.translation.exported_translator import ExportedTranslator

        return ExportedTranslator(file, trust=trust)
    from keras_s2s.translation.translator import Translator

    return Translator.load(file)
