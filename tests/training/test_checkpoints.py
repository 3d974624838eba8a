"""Checkpoints: saved, damaged and restored."""

import math
import random
import shutil
import subprocess
import types

import keras
import numpy as np
import pytest

from keras_s2s.data.batching import DataPosition
from keras_s2s.training.checkpoint_callbacks import CheckpointCallback, ResumeEpoch
from keras_s2s.training.checkpoints import (
    CHECKSUMS,
    CheckpointFolder,
    TrainingState,
    callback_state,
)
from keras_s2s.utils.errors import InputError
from keras_s2s.utils.files import sha256_of
from keras_s2s.utils.signals import GracefulShutdown


def state_of(model):
    variables = [*model.variables, *model.optimizer.variables]
    return [np.array(variable) for variable in variables]


def equal(states, expected):
    return all(np.array_equal(a, b) for a, b in zip(states, expected, strict=True))


@pytest.fixture
def small():
    """A model with fast checkpoints."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    return model


def names_in(folder):
    return [path.name for path in CheckpointFolder(folder).all()]


def test_checkpoints_hold_the_whole_state(tmp_path, make_model, batches):
    model = make_model(dropout=0.5)
    model.compile()
    model.fit(batches, epochs=1, verbose=0)
    state = TrainingState(DataPosition(1, 2), 1.5, [0.1, np.float32(1 / 3).tolist()])
    CheckpointFolder(tmp_path).save(model, state)
    saved = state_of(model)
    model.fit(batches, epochs=1, verbose=0)
    assert not equal(saved, state_of(model))
    assert not equal(saved[-1:], state_of(model)[-1:])

    other = make_model(dropout=0.5, seed=1)
    other.compile()
    assert CheckpointFolder(tmp_path).restore(other) == state
    assert equal(saved, state_of(other))
    # They also continue alike.
    other.fit(batches, epochs=1, verbose=0)
    assert equal(state_of(model), state_of(other))


def test_throughput_of_a_resumed_epoch_counts_tokens_also_with_weights(
    make_model, batches, monkeypatch
):
    model = make_model()
    model.compile(run_eagerly=True)
    source, target = next(iter(batches))
    model.make_train_function()
    model.train_step((source, target, np.full(4, 0.25)))
    metrics = [variable.numpy().tolist() for variable in model.metrics_variables]
    monkeypatch.setattr("time.perf_counter", lambda: 7.0)
    callback = ResumeEpoch(TrainingState(DataPosition(0, 1), 2.0, metrics))
    callback.set_model(model)
    callback.on_epoch_begin(0)
    logs = {}
    callback.on_train_batch_end(0, logs)
    num_tokens = int(np.sum(np.maximum(target[1] - 1, 0)))
    assert logs["tokens_per_second"] == num_tokens / 2.0


def test_callback_states(tmp_path, small):
    stopping = keras.callbacks.EarlyStopping("loss", patience=3, restore_best_weights=True)
    plateau = keras.callbacks.ReduceLROnPlateau("loss", patience=7)
    for callback in (stopping, plateau):
        callback.set_model(small)
        callback.on_train_begin()
        for epoch, loss in enumerate((2.0, np.float32(0.1), 1.0, 1.5)):
            callback.on_epoch_end(epoch, {"loss": loss})
    states, best_weights = callback_state([stopping, plateau])
    CheckpointFolder(tmp_path).save(
        small, TrainingState(DataPosition(4), callbacks=states, best_weights=best_weights)
    )
    state = CheckpointFolder(tmp_path).restore(small)
    restored = [
        keras.callbacks.EarlyStopping("loss", patience=3, restore_best_weights=True),
        keras.callbacks.ReduceLROnPlateau("loss", patience=7),
    ]
    for callback in restored:
        callback.set_model(small)
        callback.on_train_begin()
    state.restore_callbacks(restored)
    assert (restored[0].wait, restored[0].best, restored[0].best_epoch) == (2, np.float32(0.1), 1)
    assert (restored[1].wait, restored[1].best) == (2, np.float32(0.1))
    assert equal(restored[0].best_weights, stopping.best_weights)
    assert not state.stopped
    restored[0].on_epoch_end(4, {"loss": 0.2})
    assert small.stop_training
    stopped = TrainingState(callbacks=callback_state(restored)[0])
    assert stopped.stopped
    stopped.clear_early_stopping()
    assert not stopped.stopped
    assert stopped.callbacks["EarlyStopping"]["wait"] == 0


def make_callback(folder, model, *, interval=None, epochs=10, keep=3):
    callback = CheckpointCallback(
        CheckpointFolder(folder, keep),
        [],
        TrainingState(),
        interval,
        GracefulShutdown("a test"),
    )
    callback.set_model(model)
    callback.set_params({"epochs": epochs})
    return callback


@pytest.fixture
def clock(monkeypatch):
    now = types.SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(
        "keras_s2s.training.checkpoint_callbacks.time.perf_counter", lambda: now.seconds
    )
    return now


def test_checkpoints_at_intervals_in_time(tmp_path, small, clock):
    callback = make_callback(tmp_path, small)
    for epoch in range(10):
        callback.on_epoch_begin(epoch)
        for batch in (0, 1):
            clock.seconds += 6
            callback.on_train_batch_end(batch)
        callback.on_epoch_end(epoch)
        if epoch == 4:
            assert names_in(tmp_path) == [
                "epoch-000002-batch-00000001",
                "epoch-000004-batch-00000002",
            ]
    # The last three, including that of the last epoch.
    assert names_in(tmp_path) == [
        "epoch-000007-batch-00000001",
        "epoch-000009-batch-00000002",
        "epoch-000010-batch-00000000",
    ]
    assert CheckpointFolder(tmp_path).newest() == DataPosition(10, 0)


def test_slow_saving_is_less_frequent(tmp_path, small, clock, monkeypatch):
    def save_slowly(self, model, state):
        clock.seconds += 4
        saved.append(clock.seconds)

    saved = []
    monkeypatch.setattr(CheckpointFolder, "save", save_slowly)
    callback = make_callback(tmp_path, small)
    callback.on_epoch_begin(0)
    for batch in range(1000):
        clock.seconds += 1
        callback.on_train_batch_end(batch)
    # At most 2 % of the time.
    assert np.diff(saved).tolist() == [204.0] * 4


def test_checkpoints_at_intervals_in_batches(tmp_path, small):
    callback = make_callback(tmp_path, small, interval=3, keep=100)
    for epoch in range(2):
        callback.on_epoch_begin(epoch)
        for batch in range(4):
            callback.on_train_batch_end(batch)
        callback.on_epoch_end(epoch)
    assert names_in(tmp_path) == ["epoch-000000-batch-00000003", "epoch-000001-batch-00000002"]


def test_newest_has_most_epochs(tmp_path):
    folder = CheckpointFolder(tmp_path)
    assert CheckpointFolder(tmp_path / "missing").newest() == DataPosition()
    for name in ("000009-batch-00000001", "999999-batch-00000001", "1000000-batch-00000000", "7"):
        (tmp_path / f"epoch-{name}").mkdir()
    assert folder.newest() == DataPosition(1_000_000, 0)


def test_a_damaged_checkpoint_is_logged_and_skipped(tmp_path, small, capsys):
    """Fifty files truncated at a random byte, or with one bit flipped."""
    inputs = np.ones((4, 1), np.float32)
    small.fit(inputs, inputs, verbose=0)
    folder = CheckpointFolder(tmp_path)
    folder.save(small, TrainingState(DataPosition(1)))
    saved = state_of(small)
    small.fit(inputs, inputs, verbose=0)
    folder.save(small, TrainingState(DataPosition(2)))
    assert not equal(saved, state_of(small))
    older, newer = folder.all()
    rng = random.Random(0)
    files = sorted(newer.iterdir())
    assert len(files) == 3
    for trial in range(50):
        damaged = files[trial % 3]
        intact = damaged.read_bytes()
        offset = rng.randrange(len(intact))
        if trial % 2:
            damaged.write_bytes(intact[:offset])
        else:
            flipped = intact[offset] ^ 1 << rng.randrange(8)
            damaged.write_bytes(intact[:offset] + bytes([flipped]) + intact[offset + 1 :])
        assert folder.restore(small).position == DataPosition(1)
        assert equal(saved, state_of(small))
        message = capsys.readouterr().err
        assert message.startswith(f"{newer}: skipped; its ")
        assert damaged.name in message or CHECKSUMS in message
        damaged.write_bytes(intact)
    assert folder.restore(small).position == DataPosition(2)
    (newer / "variables.npz").unlink()
    assert folder.restore(small).position == DataPosition(1)
    folder.remove_after(DataPosition(1))
    assert folder.all() == [older]
    (older / CHECKSUMS).write_bytes(b"")
    with pytest.raises(InputError, match="no checkpoint is intact"):
        folder.restore(small)


def test_checksums_equal_those_of_other_tools(tmp_path, small):
    CheckpointFolder(tmp_path).save(small, TrainingState(DataPosition(1)))
    [folder] = CheckpointFolder(tmp_path).all()
    lines = (folder / CHECKSUMS).read_text(encoding="ascii").splitlines()
    assert lines == [
        f"{sha256_of(folder / name)}  {name}" for name in ("state.json", "variables.npz")
    ]
    (tmp_path / "empty").write_bytes(b"")
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert sha256_of(tmp_path / "empty") == empty


def test_a_checkpoint_of_another_model(tmp_path, make_model, small):
    CheckpointFolder(tmp_path).save(small, TrainingState(DataPosition(1)))
    model = make_model()
    model.compile()
    with pytest.raises(InputError, match="not of this model and version"):
        CheckpointFolder(tmp_path).restore(model)


def test_a_failed_save_keeps_the_others(tmp_path, small, monkeypatch):
    folder = CheckpointFolder(tmp_path)
    folder.save(small, TrainingState(DataPosition(1)))

    def fail(path, *arrays):
        path.write_bytes(b"incomplete")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(InputError, match=r"No space left.*epoch-000001-batch-0"):
        folder.save(small, TrainingState(DataPosition(2)))
    assert [path.name for path in tmp_path.iterdir()] == ["epoch-000001-batch-00000000"]
    monkeypatch.undo()
    assert folder.restore(small).position == DataPosition(1)


def test_a_full_disk(tmp_path):
    if not shutil.which("mount"):
        pytest.skip("no mount")
    small_disk = tmp_path / "disk"
    small_disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(small_disk)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no permission to mount a small disk")
    try:
        model = keras.Sequential([keras.Input((200,)), keras.layers.Dense(200)])
        model.compile("adam", "mse")
        folder = CheckpointFolder(small_disk / "checkpoints")
        with pytest.raises(InputError, match=r"cannot be written .*; there is none yet"):
            folder.save(model, TrainingState(DataPosition(1)))
        assert not list(small_disk.iterdir())
    finally:
        subprocess.run(["umount", str(small_disk)], check=True)


def test_infinite_metrics(tmp_path, small):
    state = TrainingState(
        DataPosition(0, 1), metrics=[math.inf], callbacks={"X": {"best": -math.inf}}
    )
    CheckpointFolder(tmp_path).save(small, state)
    assert CheckpointFolder(tmp_path).restore(small) == state
