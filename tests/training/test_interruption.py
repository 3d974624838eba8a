"""Runs that are stopped by signals or killed, and then equal uninterrupted ones."""

import dataclasses
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from run_files import assert_equal_runs, history_of

import keras_s2s as s2s
from keras_s2s.training.checkpoints import CheckpointFolder

# Everything random, everything with state, and more batches than steps per execution.
CONFIG = s2s.TrainingConfig(
    embed_size=8,
    num_hiddens=8,
    num_layers=1,
    embed_dropout=0.3,
    min_freq=1,
    batch_size=1,
    valid_fraction=0.2,
    early_stopping="loss",
    patience=1000,
    checkpoint_steps=20,
    epochs=24,
)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """38 pairs to train on, and 10 for validation."""
    lines = [f"{n} dogs and {n % 5} cats\t{n} chiens et {n % 5} chats\n" for n in range(48)]
    file = tmp_path_factory.mktemp("pairs") / "pairs.tsv"
    file.write_text("".join(lines), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def whole_run(pairs, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("whole") / "run"
    s2s.train(str(pairs), run_dir, CONFIG, seed=4)
    return run_dir


def command(pairs, run_dir, *options):
    keras_s2s = Path(sys.executable).with_name("keras-s2s")
    return [keras_s2s, "train", pairs, "--run-dir", run_dir, *map(str, options)]


def first_command(pairs, run_dir, epochs=CONFIG.epochs):
    fields = {**vars(CONFIG), "epochs": epochs}
    changed = [
        word
        for name, value in fields.items()
        if value != getattr(s2s.TrainingConfig(), name)
        for word in (f"--{name.replace('_', '-')}", value)
    ]
    return command(pairs, run_dir, "--seed", 4, *changed)


def interrupted(words, run_dir, signal_number, delay):
    """Start a process, and send it a signal some time after it has saved a new checkpoint."""
    folder = CheckpointFolder(run_dir / "checkpoints")
    before = folder.newest()
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None and folder.newest() <= before:
            time.sleep(0.005)
        time.sleep(delay)
        process.send_signal(signal_number)
        out, err = process.communicate(timeout=60)
    return process.returncode, out, err.decode()


def test_a_run_stopped_by_a_signal_then_killed(pairs, whole_run, tmp_path):
    run_dir = tmp_path / "run"
    status, out, err = interrupted(first_command(pairs, run_dir), run_dir, signal.SIGTERM, 0.05)
    assert (status, out) == (143, b"")
    assert "SIGTERM: stopping after this step; press again to quit now\n" in err
    position = CheckpointFolder(run_dir / "checkpoints").newest()
    message = err.splitlines()[-1]
    assert message.startswith(
        f"keras-s2s: interrupted; {run_dir} keeps {position[0]} of {CONFIG.epochs} epochs"
    )
    assert message.endswith(f": keras-s2s train {pairs} --run-dir {run_dir} --resume")
    status, _, err = interrupted(command(pairs, run_dir, "--resume"), run_dir, signal.SIGKILL, 0.1)
    assert status == -signal.SIGKILL
    assert f"resuming after epoch {position[0]}" in err
    # The checkpoint is at most one interval old.
    saved = CheckpointFolder(run_dir / "checkpoints").newest()
    assert saved[0] >= len(history_of(run_dir)) - 1
    s2s.resume(run_dir)
    assert_equal_runs(run_dir, whole_run)
    # No temporary files are left.
    assert not [name for name in os.listdir(run_dir / "checkpoints") if name.startswith(".")]


@pytest.mark.slow
def test_killed_twenty_times(pairs, tmp_path):
    run_dir, epochs = tmp_path / "run", 60
    config = dataclasses.replace(CONFIG, epochs=epochs)
    s2s.train(str(pairs), tmp_path / "whole", config, seed=4)
    rng, kills = random.Random(0), 0
    words = first_command(pairs, run_dir, epochs)
    while kills < 20 and not (run_dir / "model.keras").exists():
        status, _, err = interrupted(words, run_dir, signal.SIGKILL, rng.uniform(0, 0.2))
        assert status == -signal.SIGKILL, err
        kills += 1
        words = command(pairs, run_dir, "--resume")
    assert kills == 20
    s2s.resume(run_dir)
    assert_equal_runs(run_dir, tmp_path / "whole")
