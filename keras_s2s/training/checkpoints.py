"""The state of a training run on disk: saved from time to time, checked, and gone on from."""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_s2s.data.batching import DataPosition
from keras_s2s.utils.console import log
from keras_s2s.utils.errors import InputError, one_line
from keras_s2s.utils.files import atomic_write, fsync, remove_folder, sha256_of, write_json

VARIABLES = "variables.npz"
STATE = "state.json"
BEST_WEIGHTS = "best_weights.npz"
CHECKSUMS = "SHA256SUMS"

# What Keras's callbacks know from the epochs before, which they forget when training begins.
CALLBACK_ATTRIBUTES: Mapping[type, tuple[str, ...]] = {
    keras.callbacks.EarlyStopping: ("wait", "best", "best_epoch", "stopped_epoch"),
    keras.callbacks.ReduceLROnPlateau: ("wait", "best", "cooldown_counter"),
}


@dataclasses.dataclass
class TrainingState:
    """What is saved beside the weights, the optimizer and the random states.

    Attributes:
        position: how far the training is.
        seconds: how long the epoch that goes on has taken so far.
        metrics: sums and counts of that epoch, as they stand in the model's metrics.
        callbacks: what Keras's callbacks remember, by the names of their classes.
        best_weights: those that early stopping would give back; empty without.
    """

    position: DataPosition = dataclasses.field(default_factory=DataPosition)
    seconds: float = 0.0
    metrics: list[Any] = dataclasses.field(default_factory=list)
    callbacks: dict[str, dict[str, float | None]] = dataclasses.field(default_factory=dict)
    best_weights: list[np.ndarray] = dataclasses.field(default_factory=list)

    @property
    def stopped(self) -> bool:
        """Whether early stopping has ended the training."""
        return bool(self.callbacks.get("EarlyStopping", {}).get("stopped_epoch"))

    def forget_end(self) -> None:
        """Lets a training that early stopping has ended go on, with all its patience."""
        if self.stopped:
            self.callbacks["EarlyStopping"] |= {"stopped_epoch": 0, "wait": 0}

    def remember(self, callbacks: Iterable[keras.callbacks.Callback]) -> None:
        """Gives callbacks what they knew."""
        for callback in callbacks:
            for name, value in self.callbacks.get(type(callback).__name__, {}).items():
                setattr(callback, name, value)
            if isinstance(callback, keras.callbacks.EarlyStopping) and self.best_weights:
                callback.best_weights = self.best_weights

    def finish(self, model: keras.Model) -> None:
        """Does what Keras does with the weights at the end of a training."""
        optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
        optimizer.finalize_variable_values(model.trainable_variables)
        if self.best_weights:
            model.set_weights(self.best_weights)


def callback_state(
    callbacks: Iterable[keras.callbacks.Callback],
) -> tuple[dict[str, dict[str, float | None]], list[np.ndarray]]:
    """What callbacks know, and the best weights among that."""
    known: dict[str, dict[str, float | None]] = {}
    best_weights: list[np.ndarray] = []
    for callback in callbacks:
        names = CALLBACK_ATTRIBUTES.get(type(callback), ())
        if names:
            values = {name: getattr(callback, name) for name in names}
            known[type(callback).__name__] = {
                # What a metric gives can be NumPy's, which JSON does not know.
                name: value if value is None or isinstance(value, int) else float(value)
                for name, value in values.items()
            }
        best_weights += getattr(callback, "best_weights", None) or []
    return known, best_weights


class CheckpointFolder:
    """The checkpoints of a run: a folder each, with the checksums of its files.

    Keras's `BackupAndRestore` writes weights and epoch to two files, which a kill in between
    leaves at odds, has neither random state nor metrics nor what other callbacks know, and no
    checksum; TensorFlow's `CheckpointManager` keeps several, but its files have a checksum for
    each tensor only, found when that is read, and `PreemptionCheckpointHandler` is for custom
    loops under `tf.distribute`. Here a checkpoint is whole or not there: it is written aside and
    renamed, and `sha256sum --check SHA256SUMS` tells whether it is still what was written.

    Args:
        path: the folder.
        keep: how many are kept.
    """

    PREFIX = "epoch-"

    def __init__(self, path: Path, keep: int = 3) -> None:
        self.path = path
        self._keep = keep

    def all(self) -> list[Path]:
        """The checkpoints, the newest last."""
        return sorted(
            (folder for folder in self.path.glob(f"{self.PREFIX}*") if self._position(folder)),
            key=lambda folder: self._position(folder) or DataPosition(),
        )

    def newest(self) -> DataPosition:
        """How far the newest is, which may be damaged; the beginning when there is none."""
        folders = self.all()
        return (self._position(folders[-1]) if folders else None) or DataPosition()

    def _position(self, folder: Path) -> DataPosition | None:
        numbers = folder.name.removeprefix(self.PREFIX).split("-batch-")
        if len(numbers) != 2 or not all(number.isdecimal() for number in numbers):
            return None
        return DataPosition(*map(int, numbers))

    def save(self, model: keras.Model, state: TrainingState) -> None:
        """Writes a checkpoint, and removes those that are out of date.

        Raises:
            InputError: it cannot be written. Those before are as they were.
        """
        position = state.position
        folder = self.path / f"{self.PREFIX}{position.epoch:06d}-batch-{position.batch:08d}"
        if folder.exists():  # of the same training, and so the same
            return
        try:
            with atomic_write(folder) as aside:
                aside.mkdir()
                _write(aside, model, state)
            fsync(self.path)
        except OSError as error:
            raise InputError(
                f"{folder}: the state of the training cannot be saved ({one_line(error, 120)}); "
                f"{self._kept()}, so make room or give back the permission, and go on with --resume"
            ) from error
        for outdated in self.all()[: -self._keep]:
            remove_folder(outdated)

    def _kept(self) -> str:
        folders = self.all()
        return f"the last one is {folders[-1].name}" if folders else "there is none before it"

    def restore(self, model: keras.Model) -> TrainingState:
        """Gives a model the state of the newest checkpoint that is whole.

        One that is damaged is named, and put out of the way.

        Returns:
            What else was saved; a new state when there is no checkpoint.

        Raises:
            InputError: there are checkpoints, but none is whole.
        """
        folders = self.all()
        for folder in reversed(folders):
            damage = verify_checkpoint(folder)
            if damage is None:
                return _read(folder, model)
            log(f"{folder}: left out, since {damage}")
        if folders:
            raise InputError(f"{self.path}: no checkpoint is whole; begin anew with --overwrite")
        return TrainingState()

    def remove_after(self, position: DataPosition) -> None:
        """Removes what is newer than where a training begins: damaged, or of another end."""
        for folder in self.all():
            if (self._position(folder) or DataPosition()) > position:
                remove_folder(folder)


def verify_checkpoint(folder: Path) -> str | None:
    """What is wrong with the files of a checkpoint; None when they are what was written."""
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
                return f"its {name} is not what its {CHECKSUMS} says"
        except OSError as error:
            return f"its {name} cannot be read ({one_line(error, 120)})"
    return None


def _write(folder: Path, model: keras.Model, state: TrainingState) -> None:
    # Not `save_weights`: what HDF5 could not write to a full disk it tries again when the process
    # ends, which then crashes.
    np.savez(folder / VARIABLES, *(variable.numpy() for variable in _variables(model)))
    if state.best_weights:
        np.savez(folder / BEST_WEIGHTS, *state.best_weights)
    content = dataclasses.asdict(dataclasses.replace(state, best_weights=[]))
    content["best_weights"] = bool(state.best_weights)
    write_json(folder / STATE, content, indent=None)
    files = sorted(folder.iterdir())
    lines = [f"{sha256_of(file)}  {file.name}\n" for file in files]
    (folder / CHECKSUMS).write_text("".join(lines), encoding="ascii")
    for file in (*files, folder / CHECKSUMS, folder):
        fsync(file)


def _read(folder: Path, model: keras.Model) -> TrainingState:
    try:
        content = json.loads((folder / STATE).read_text(encoding="utf-8"))
        best_weights: list[np.ndarray] = []
        if content["best_weights"]:
            with np.load(folder / BEST_WEIGHTS) as arrays:
                best_weights = [arrays[name] for name in arrays.files]
        state = TrainingState(
            **{
                **content,
                "position": DataPosition(*content["position"]),
                "best_weights": best_weights,
            }
        )
        with np.load(folder / VARIABLES) as arrays:
            names = arrays.files
            for variable, name in zip(_variables(model), names, strict=True):
                variable.assign(arrays[name])
    # It is what was written, so another version wrote it, and of another model.
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{folder}: not of this model and version ({one_line(error, 120)}); begin anew with "
            "--overwrite"
        ) from error
    return state


def _variables(model: keras.Model) -> list[keras.Variable]:
    """All that training changes: weights, states of random generators, and the optimizer's."""
    return [*model.variables, *model.optimizer.variables]
