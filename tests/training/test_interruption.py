"""Runs that are ended by signals, or killed, and end as if nothing had happened."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import keras_s2s as s2s
from keras_s2s.training.checkpoints import CheckpointFolder
from keras_s2s.training.train import CorpusSpec
from keras_s2s.utils.signals import GracefulShutdown, Interrupted

# All that is random, all that is remembered, and more batches than one call makes.
RECIPE = s2s.Recipe(
    embed_size=8,
    num_hiddens=8,
    dropout=0.3,
    min_freq=1,
    batch_size=1,
    valid_fraction=0.2,
    early_stopping="loss",
    patience=1000,
    checkpoint_steps=20,
    epochs=60,
)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """37 pairs or so to train on, a number that no call of several batches divides."""
    lines = [f"{n} dogs and {n % 5} cats\t{n} chiens et {n % 5} chats\n" for n in range(47)]
    file = tmp_path_factory.mktemp("pairs") / "pairs.tsv"
    file.write_text("".join(lines), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def whole_run(pairs, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("whole") / "run"
    s2s.train(CorpusSpec(str(pairs)), run_dir, RECIPE, seed=4)
    return run_dir


def weights_of(run_dir):
    return s2s.Translator.load(run_dir / "model.keras").model.get_weights()


def history_of(run_dir):
    lines = (run_dir / "history.csv").read_text(encoding="utf-8").splitlines()
    names = lines[0].split(",")
    kept = [names.index(name) for name in names if name not in ("tokens_per_second", "seconds")]
    return [[line.split(",")[place] for place in kept] for line in lines]


def assert_same_run(run_dir, other):
    for mine, theirs in zip(weights_of(run_dir), weights_of(other), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert history_of(run_dir) == history_of(other)


def command(pairs, run_dir, *more):
    keras_s2s = Path(sys.executable).with_name("keras-s2s")
    return [keras_s2s, "train", pairs, "--run-dir", run_dir, *map(str, more)]


def first_command(pairs, run_dir):
    fields = {name: getattr(RECIPE, name) for name in vars(RECIPE)}
    changed = [
        word
        for name, value in fields.items()
        if value != getattr(s2s.Recipe(), name)
        for word in (f"--{name.replace('_', '-')}", value)
    ]
    return command(pairs, run_dir, "--seed", 4, *changed)


def interrupted(words, run_dir, number, delay):
    """Starts a process, and sends it a signal some time after it has saved something new."""
    folder = CheckpointFolder(run_dir / "checkpoints")
    before = folder.newest()
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None and folder.newest() <= before:
            time.sleep(0.005)
        time.sleep(delay)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    return process.returncode, out, err.decode()


def test_a_run_that_is_asked_to_end_and_one_that_is_killed(pairs, whole_run, tmp_path):
    run_dir = tmp_path / "run"
    status, out, err = interrupted(first_command(pairs, run_dir), run_dir, signal.SIGTERM, 0.05)
    assert (status, out) == (143, b"")
    assert "SIGTERM: stopping after this step; press again to quit now\n" in err
    position = CheckpointFolder(run_dir / "checkpoints").newest()
    message = err.splitlines()[-1]
    assert message.startswith(
        f"keras-s2s: interrupted; {run_dir} keeps {position.epoch} of 60 epochs"
    )
    assert message.endswith(f"resume with: keras-s2s train {pairs} --run-dir {run_dir} --resume")
    status, _, err = interrupted(command(pairs, run_dir, "--resume"), run_dir, signal.SIGKILL, 0.1)
    assert status == -signal.SIGKILL
    assert f"goes on after epoch {position.epoch}" in err
    # What was saved is at most an interval behind what was done.
    done = len(history_of(run_dir)) - 1
    saved = CheckpointFolder(run_dir / "checkpoints").newest()
    assert saved.epoch >= done - 1
    s2s.resume(run_dir)
    assert_same_run(run_dir, whole_run)
    # Nothing lies around of what was killed.
    assert not [name for name in os.listdir(run_dir / "checkpoints") if name.startswith(".")]


@pytest.mark.slow
def test_killed_at_twenty_moments(pairs, whole_run, tmp_path):
    run_dir = tmp_path / "run"
    moments, kills = random.Random(0), 0
    words = first_command(pairs, run_dir)
    while kills < 20 and not (run_dir / "model.keras").exists():
        status, _, err = interrupted(words, run_dir, signal.SIGKILL, moments.uniform(0, 0.2))
        assert status == -signal.SIGKILL, err
        kills += 1
        words = command(pairs, run_dir, "--resume")
    assert kills == 20
    s2s.resume(run_dir)
    assert_same_run(run_dir, whole_run)


@pytest.mark.usefixtures("ctrl_c")
def test_a_request_is_taken_once(capsys):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with GracefulShutdown("this word") as request:
        request.raise_if_requested()
        signal.raise_signal(signal.SIGINT)
        assert request.signal_number == signal.SIGINT
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(Interrupted) as error:
            request.raise_if_requested()
    assert error.value.signal_number == signal.SIGINT
    assert capsys.readouterr().err == (
        "SIGINT: stopping after this word; press again to quit now\n"
    )
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_other_threads_have_no_say_in_signals():
    before = signal.getsignal(signal.SIGTERM)
    found = []

    def enter():
        with GracefulShutdown("this") as request:
            found.append((request.signal_number, signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert found == [(None, before)]
