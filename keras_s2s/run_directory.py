"""The run directory: the files of a training run."""

import contextlib
import csv
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keras_s2s.config import EARLIER_VALUES, TrainingConfig
from keras_s2s.utils.errors import InputError
from keras_s2s.utils.files import atomic_write, check_output_folder, parse_json, write_json
from keras_s2s.utils.folder_lock import lock_folder
from keras_s2s.utils.renaming import with_new_names

# A folder's own configuration and hooks are programs of whoever made it: none of them is run.
_GIT = (
    *("git", "--no-optional-locks", "-c", "core.fsmonitor=false"),
    *("-c", f"core.hooksPath={os.devnull}", "-c", "protocol.allow=never"),
)


def git_revision() -> dict[str, Any] | None:
    """Return `revision` and `changed` (tracked files) of the current folder; None without git.

    Hooks, filters and other programs that the repository configures are not run.
    """
    try:
        revision = _git("rev-parse", "HEAD")
        filters = _git("config", "--name-only", "--get-regexp", r"^filter\.", accept=(0, 1))
        # An empty command is no filter; "required" would make that an error.
        no_filters = [
            option
            for name in filters.splitlines()
            for option in ("-c", f"{name}={'false' if name.endswith('.required') else ''}")
        ]
        status = ("status", "--porcelain", "--untracked-files=no", "--ignore-submodules=all")
        changed = bool(_git(*no_filters, *status))
    except (OSError, subprocess.SubprocessError):
        return None
    return {"revision": revision, "changed": changed}


def _git(*arguments: str, accept: tuple[int, ...] = (0,)) -> str:
    """Return the output of a git command that runs no program of the repository."""
    result = subprocess.run([*_GIT, *arguments], capture_output=True, text=True, timeout=10)
    if result.returncode not in accept:
        result.check_returncode()
    return result.stdout.strip()


def run_state(record: Mapping[str, Any], epochs: int, total_epochs: int) -> str:
    """Return `finished`, `stopped early` or `not finished`."""
    if "finished" not in record:
        return "not finished"
    return "finished" if epochs >= total_epochs else "stopped early"


class RunDirectory:
    """The files of a training run.

    `model.keras` is the translator, `run.json` the record of configuration, corpus and versions,
    `history.csv` has a row per epoch, `report.html` shows them, `samples.txt` has training
    sentences to verify exports with, `checkpoints/` is for `--resume`, `logs/` has logs, and
    `plots/` the figures of `keras-s2s plot`.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.model = self.path / "model.keras"
        self.record = self.path / "run.json"
        self.history = self.path / "history.csv"
        self.report = self.path / "report.html"
        self.samples = self.path / "samples.txt"
        self.checkpoints = self.path / "checkpoints"
        self.logs = self.path / "logs"
        self.plots = self.path / "plots"

    def exists(self) -> bool:
        """Return whether the folder holds a run."""
        return self.record.is_file()

    def lock(self) -> contextlib.AbstractContextManager[None]:
        """Return a context in which no other process can train in the folder.

        Entering it raises an `InputError` if another process does.
        """
        return lock_folder(self.path, "--run-dir")

    def check_free(self, overwrite: bool) -> None:
        """Check that a new run can be written here; write nothing.

        Raises:
            InputError: the folder is not empty, or not writable. With `overwrite` it may hold a
                run.
        """
        check_output_folder(self.path, "--run-dir", "run", self.exists())
        if self.exists() and not overwrite:
            raise InputError(
                f"{self.path}: holds a run already; give --resume to continue it, "
                "--overwrite to replace it, or another --run-dir"
            )

    def clear(self) -> None:
        """Remove the files of a run, and no others."""
        for folder in (self.checkpoints, self.logs, self.plots):
            if folder.is_dir():
                shutil.rmtree(folder)
        # The record goes last: with it, the folder still counts as a run that --overwrite clears.
        for file in (self.model, self.history, self.report, self.samples, self.record):
            file.unlink(missing_ok=True)

    def read_record(self) -> dict[str, Any]:
        """Read `run.json`.

        Raises:
            InputError: it is missing or damaged.
        """
        try:
            record = parse_json(self.record.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise InputError(
                f"{self.path}: holds no run (no {self.record.name} in it); give the --run-dir of "
                "a training run"
            ) from error
        except (OSError, ValueError) as error:
            raise self._damaged(self.record, error) from error
        if not isinstance(record, dict):
            raise self._damaged(self.record, "not a JSON object")
        for name in ("corpus", "recipe", "sizes", "git"):
            if not isinstance(record.get(name) or {}, dict):
                raise self._damaged(self.record, f"its {name} is not an object")
        if record.get("recipe"):
            record["recipe"] = with_new_names(TrainingConfig, record["recipe"])
        return record

    def read_config(self) -> TrainingConfig:
        """Read the configuration of the run.

        Raises:
            InputError: there is no run, or its record is damaged.
        """
        record = self.read_record()
        try:
            return TrainingConfig(**{**EARLIER_VALUES, **record["recipe"]})
        except KeyError as error:
            raise self._damaged(self.record, f"no {error}") from error
        except (TypeError, InputError) as error:
            raise self._damaged(self.record, error) from error

    def write_record(self, record: dict[str, Any]) -> None:
        """Replace `run.json`."""
        write_json(self.record, record, indent=2)

    def read_history(self) -> list[dict[str, str]]:
        """Read the rows of `history.csv`; none if there is no such file.

        Raises:
            InputError: the file is damaged.
        """
        try:
            with open(self.history, newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
            for line, row in enumerate(rows, 2):
                if None in row or None in row.values() or "epoch" not in row:
                    raise ValueError(f"line {line} is malformed")
                for value in filter(None, row.values()):
                    float(value)
            return rows
        except FileNotFoundError:
            return []
        except (OSError, ValueError, csv.Error) as error:
            raise self._damaged(self.history, error) from error

    def write_samples(self, sentences: list[str]) -> None:
        """Replace `samples.txt`."""
        with atomic_write(self.samples) as temporary:
            temporary.write_bytes("".join(f"{sentence}\n" for sentence in sentences).encode())

    def read_samples(self) -> list[bytes]:
        """Read the sentences of `samples.txt`; none if there is no such file."""
        try:
            # Unlike `str.splitlines`, split at "\n" only.
            return self.samples.read_bytes().removesuffix(b"\n").split(b"\n")
        except OSError:
            return []

    def _damaged(self, file: Path, reason: object) -> InputError:
        return InputError(
            f"{file}: cannot be read, or is damaged ({reason}); restore a copy, or start over with "
            "--overwrite"
        )
