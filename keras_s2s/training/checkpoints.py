"""Checkpoints: the state of a training run on disk, verified by checksums."""

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_s2s.data.batching import DataPosition
from keras_s2s.utils.console import log
from keras_s2s.utils.errors import InputError, one_line
from keras_s2s.utils.files import atomic_write, fsync, parse_json, remove_folder, sha256_of

VARIABLES = "variables.npz"
STATE = "state.json"
BEST_WEIGHTS = "best_weights.npz"
CHECKSUMS = "SHA256SUMS"

# WORKAROUND(keras<=3.15.1): these callbacks reset their state in `on_train_begin` and cannot be
# serialized, so their attributes are saved and restored.
CALLBACK_ATTRIBUTES: Mapping[type, tuple[str, ...]] = {
    keras.callbacks.EarlyStopping: ("wait", "best", "best_epoch", "stopped_epoch"),
    keras.callbacks.ReduceLROnPlateau: ("wait", "best", "cooldown_counter"),
}


@dataclasses.dataclass
class TrainingState:
    """The state saved beside the weights, the optimizer and the random generators.

    Attributes:
        position: the epochs and batches completed.
        seconds: duration of the current epoch so far.
        metrics: values of the model's metric variables, which hold sums and counts of the epoch.
        callbacks: state of Keras's callbacks by class name.
        best_weights: the weights that early stopping would restore; empty without.
    """

    position: DataPosition = dataclasses.field(default_factory=DataPosition)
    seconds: float = 0.0
    metrics: list[Any] = dataclasses.field(default_factory=list)
    callbacks: dict[str, dict[str, float | None]] = dataclasses.field(default_factory=dict)
    best_weights: list[np.ndarray] = dataclasses.field(default_factory=list)

    @property
    def stopped(self) -> bool:
        """True if early stopping has ended the training."""
        return bool(self.callbacks.get("EarlyStopping", {}).get("stopped_epoch"))

    def clear_early_stopping(self) -> None:
        """Let a training that early stopping has ended continue, with its full patience."""
        if self.stopped:
            self.callbacks["EarlyStopping"] |= {"stopped_epoch": 0, "wait": 0}

    def restore_callbacks(self, callbacks: Iterable[keras.callbacks.Callback]) -> None:
        """Set the state of callbacks."""
        for callback in callbacks:
            for name, value in self.callbacks.get(type(callback).__name__, {}).items():
                setattr(callback, name, value)
            if isinstance(callback, keras.callbacks.EarlyStopping) and self.best_weights:
                callback.best_weights = self.best_weights

    def finalize_weights(self, model: keras.Model) -> None:
        """Set the weights that Keras would set at the end of `fit`."""
        apply_ema(model)
        if self.best_weights:
            model.set_weights(self.best_weights)


def apply_ema(model: keras.Model) -> None:
    """Replace the weights by their exponential moving average, if the optimizer keeps one."""
    inner_optimizer(model).finalize_variable_values(model.trainable_variables)


def inner_optimizer(model: keras.Model) -> keras.optimizers.Optimizer:
    """Return the optimizer of a model without its loss scaling."""
    return getattr(model.optimizer, "inner_optimizer", model.optimizer)


def callback_state(
    callbacks: Iterable[keras.callbacks.Callback],
) -> tuple[dict[str, dict[str, float | None]], list[np.ndarray]]:
    """Return the state of callbacks by class name, and the best weights among it."""
    states: dict[str, dict[str, float | None]] = {}
    best_weights: list[np.ndarray] = []
    for callback in callbacks:
        if names := CALLBACK_ATTRIBUTES.get(type(callback), ()):
            values = {name: getattr(callback, name) for name in names}
            states[type(callback).__name__] = {
                # Metrics can be NumPy scalars, which JSON cannot represent.
                name: value if value is None or isinstance(value, int) else float(value)
                for name, value in values.items()
            }
        best_weights += getattr(callback, "best_weights", None) or []
    return states, best_weights


class CheckpointFolder:
    """The checkpoints of a run: one folder each, with the checksums of its files.

    A checkpoint is written atomically (temporary folder, fsync, rename), and `sha256sum --check
    SHA256SUMS` verifies it. Keras's `BackupAndRestore` writes weights and epoch to two files that
    may disagree after a kill, without random states, metrics, callback states or checksums.
    TensorFlow's `CheckpointManager` has checksums per tensor, checked only when one is read.
    """

    def __init__(self, path: Path, keep: int = 3) -> None:
        self.path = path
        self._keep = keep

    def _find(self) -> list[tuple[DataPosition, Path]]:
        matches = (
            (re.fullmatch(r"epoch-(\d+)-batch-(\d+)", folder.name, re.ASCII), folder)
            for folder in self.path.glob("epoch-*")
        )
        return sorted(
            (DataPosition(*map(int, match.groups())), folder) for match, folder in matches if match
        )

    def all(self) -> list[Path]:
        """Return the checkpoints, newest last."""
        return [folder for _, folder in self._find()]

    def newest(self) -> DataPosition:
        """Return the position of the newest checkpoint, unverified; the start without any."""
        return max((position for position, _ in self._find()), default=DataPosition())

    def save(self, model: keras.Model, state: TrainingState) -> None:
        """Write a checkpoint, and remove the outdated ones.

        Raises:
            InputError: it cannot be written; the earlier ones are unchanged.
        """
        position = state.position
        folder = self.path / f"epoch-{position.epoch:06d}-batch-{position.batch:08d}"
        if folder.exists():  # training is deterministic, so it is the same
            return
        try:
            with atomic_write(folder) as temporary:
                temporary.mkdir()
                _write(temporary, model, state)
            fsync(self.path)
        except OSError as error:
            folders = self.all()
            last = f"the last one is {folders[-1].name}" if folders else "there is none yet"
            raise InputError(
                f"{folder}: the checkpoint cannot be written ({one_line(error, 120)}); {last}; "
                "free disk space or fix the permissions, then use --resume"
            ) from error
        for outdated in self.all()[: -self._keep]:
            remove_folder(outdated)

    def restore(self, model: keras.Model) -> TrainingState:
        """Restore a model from the newest intact checkpoint, and log the damaged ones.

        Returns:
            The rest of the saved state; a new state without checkpoints.

        Raises:
            InputError: there are checkpoints, but none is intact.
        """
        folders = self.all()
        for folder in reversed(folders):
            damage = verify_checkpoint(folder)
            if damage is None:
                return _read(folder, model)
            log(f"{folder}: skipped; {damage}")
        if folders:
            raise InputError(f"{self.path}: no checkpoint is intact; start over with --overwrite")
        return TrainingState()

    def remove_after(self, position: DataPosition) -> None:
        """Remove checkpoints beyond a position: damaged ones, or those of a later end."""
        for newer, folder in self._find():
            if newer > position:
                remove_folder(folder)


def verify_checkpoint(folder: Path) -> str | None:
    """Return a description of the first damaged file; None for an intact checkpoint."""
    try:
        lines = (folder / CHECKSUMS).read_text(encoding="ascii").splitlines()
        expected = {
            name: checksum for checksum, _, name in (line.partition("  ") for line in lines)
        }
    except (OSError, ValueError) as error:
        return f"its {CHECKSUMS} cannot be read ({one_line(error, 120)})"
    if not {VARIABLES, STATE} <= expected.keys():
        return f"its {CHECKSUMS} is damaged"
    for name, checksum in expected.items():
        try:
            if sha256_of(folder / name) != checksum:
                return f"its {name} does not match its {CHECKSUMS}"
        except OSError as error:
            return f"its {name} cannot be read ({one_line(error, 120)})"
    return None


def _write(folder: Path, model: keras.Model, state: TrainingState) -> None:
    # WORKAROUND(h5py<=3.14.0): no `save_weights`, since after a failed write to a full disk HDF5
    # flushes again when the process exits, and crashes it.
    np.savez(folder / VARIABLES, *(variable.numpy() for variable in _variables(model)))
    if state.best_weights:
        np.savez(folder / BEST_WEIGHTS, *state.best_weights)
    content = dataclasses.asdict(dataclasses.replace(state, best_weights=[]))
    content["best_weights"] = bool(state.best_weights)
    (folder / STATE).write_text(json.dumps(content) + "\n", encoding="utf-8")
    files = sorted(folder.iterdir())
    lines = [f"{sha256_of(file)}  {file.name}\n" for file in files]
    (folder / CHECKSUMS).write_text("".join(lines), encoding="ascii")
    for file in (*files, folder / CHECKSUMS, folder):
        fsync(file)


def _read(folder: Path, model: keras.Model) -> TrainingState:
    try:
        content = parse_json((folder / STATE).read_text(encoding="utf-8"))
        best_weights: list[np.ndarray] = []
        if content["best_weights"]:
            with np.load(folder / BEST_WEIGHTS) as arrays:
                best_weights = [arrays[name] for name in arrays.files]
        content |= {
            "position": DataPosition(*content["position"]),
            "best_weights": best_weights,
        }
        state = TrainingState(**content)
        with np.load(folder / VARIABLES) as arrays:
            for variable, name in zip(_variables(model), arrays.files, strict=True):
                variable.assign(arrays[name])
    # The checksums match, so another version wrote it, or it is of another model.
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{folder}: not of this model and version ({one_line(error, 120)}); start over with "
            "--overwrite"
        ) from error
    return state


def _variables(model: keras.Model) -> list[keras.Variable]:
    """Return all variables that training changes: weights, random states, optimizer slots."""
    return [*model.variables, *model.optimizer.variables, *getattr(model, "update_variables", [])]
