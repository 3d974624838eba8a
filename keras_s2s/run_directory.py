"""The run directory: where a training run keeps what it makes."""

import csv
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keras_s2s.config import TrainingConfig
from keras_s2s.utils.errors import InputError
from keras_s2s.utils.files import atomic_write, check_output_folder, write_json
from keras_s2s.utils.renaming import with_new_names


def git_revision() -> dict[str, Any] | None:
    """The revision of the folder that the process is in, and whether files of it are changed.

    Returns:
        `revision` and `changed`; None where there is no git, or no revision.
    """
    answers = []
    for command in ("rev-parse HEAD", "status --porcelain --untracked-files=no"):
        try:
            done = subprocess.run(
                ["git", *command.split()], capture_output=True, text=True, timeout=10
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        if done.returncode:
            return None
        answers.append(done.stdout.strip())
    return {"revision": answers[0], "changed": bool(answers[1])}


def run_state(record: Mapping[str, Any], epochs: int, of_epochs: int) -> str:
    """`finished`, `stopped early` or `not finished`.

    Args:
        record: what `run.json` says.
        epochs: how many are done.
        of_epochs: how many were asked for.
    """
    if "finished" not in record:
        return "not finished"
    return "finished" if epochs >= of_epochs else "stopped early"


class RunDirectory:
    """The files of a training run.

    `model.keras` is the translator, `run.json` says what was trained on what, `history.csv` has a
    row for each epoch, `report.html` shows all that to a person, `samples.txt` has some of the
    sentences it learned from, to prove exports with, `checkpoints/` holds what `--resume` goes on
    from, `logs/` what the run had to say, and `plots/` what `keras-s2s plot` draws.

    Args:
        path: the folder.
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
        """Whether there is a run here."""
        return self.record.is_file()

    def check_free(self, overwrite: bool) -> None:
        """Makes sure that a new run may be put here; touches nothing.

        Raises:
            InputError: the folder is not empty, or cannot be written to. With `overwrite` there
                may be a run in it.
        """
        check_output_folder(self.path, "--run-dir", "run", self.exists())
        if self.exists() and not overwrite:
            raise InputError(
                f"{self.path}: holds a run already; give --resume to go on with it, "
                "--overwrite to replace it, or another --run-dir"
            )

    def clear(self) -> None:
        """Removes the files of a run, and only those."""
        for folder in (self.checkpoints, self.logs, self.plots):
            if folder.is_dir():
                shutil.rmtree(folder)
        # The record goes last: as long as it is there, this is a run that --overwrite may take.
        for file in (self.model, self.history, self.report, self.samples, self.record):
            file.unlink(missing_ok=True)

    def read_record(self) -> dict[str, Any]:
        """What `run.json` says.

        Raises:
            InputError: there is none, or it is damaged.
        """
        try:
            record = json.loads(self.record.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise InputError(
                f"{self.path}: holds no run (no {self.record.name} in it); give the --run-dir of "
                "a training run"
            ) from error
        except (OSError, ValueError) as error:
            raise self._damaged(self.record, error) from error
        if not isinstance(record, dict):
            raise self._damaged(self.record, "no JSON object")
        for name in ("corpus", "recipe", "sizes", "git"):
            if not isinstance(record.get(name) or {}, dict):
                raise self._damaged(self.record, f"its {name} is no object")
        if record.get("recipe"):
            record["recipe"] = with_new_names(TrainingConfig, record["recipe"])
        return record

    def read_config(self) -> TrainingConfig:
        """The configuration of the run.

        Raises:
            InputError: there is no run, or its record is damaged.
        """
        record = self.read_record()
        try:
            return TrainingConfig(**record["recipe"])
        except KeyError as error:
            raise self._damaged(self.record, f"no {error}") from error
        except (TypeError, InputError) as error:
            raise self._damaged(self.record, error) from error

    def write_record(self, record: dict[str, Any]) -> None:
        """Replaces `run.json`."""
        write_json(self.record, record, indent=2)

    def read_history(self) -> list[dict[str, str]]:
        """The rows of `history.csv`; none when there is no such file.

        Raises:
            InputError: the file is damaged.
        """
        try:
            with open(self.history, newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
            for number, row in enumerate(rows, 2):
                if None in row or None in row.values() or "epoch" not in row:
                    raise ValueError(f"line {number} is no row of it")
                for value in filter(None, row.values()):
                    float(value)
            return rows
        except FileNotFoundError:
            return []
        except (OSError, ValueError, csv.Error) as error:
            raise self._damaged(self.history, error) from error

    def write_samples(self, sentences: list[str]) -> None:
        """Replaces `samples.txt`."""
        with atomic_write(self.samples) as aside:
            aside.write_bytes("".join(f"{sentence}\n" for sentence in sentences).encode())

    def read_samples(self) -> list[bytes]:
        """The sentences of `samples.txt`; none when there is no such file."""
        try:
            # Only "\n" ends a line; str.splitlines knows more ends, and bytes need no decoding.
            return self.samples.read_bytes().removesuffix(b"\n").split(b"\n")
        except OSError:
            return []

    def _damaged(self, file: Path, reason: object) -> InputError:
        return InputError(
            f"{file}: cannot be read, or is damaged ({reason}); put back a copy of it, or begin "
            "anew with --overwrite"
        )
