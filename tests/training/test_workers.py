"""Two workers, as two processes that reach each other over loopback."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from typing import NamedTuple

import numpy as np
import pytest
from ports import free_ports
from run_files import figures_of, weights_of

import keras_s2s as s2s
from keras_s2s.training.checkpoints import CheckpointFolder
from keras_s2s.training.train import CorpusSpec

# float32's rounding, which differs with the order in which numbers are added.
TOLERANCE = 1e-5
OPTIONS = {
    "embed-size": 8,
    "num-hiddens": 8,
    "num-layers": 1,
    "min-freq": 1,
    "batch-size": 9,
    "valid-fraction": 0.2,
    "checkpoint-steps": 4,
    "bucket-by-length": None,
}
# Once it has begun, longer than a busy machine takes to notice that a worker is gone.
SECONDS = 60


class Ended(NamedTuple):
    status: int
    err: str


@pytest.fixture(scope="module")
def corpus_file(tmp_path_factory):
    """45 pairs: 36 or so to train on, and a last batch of one or two."""
    lines = [
        f"{n} dogs{' and cats' * (n % 4)}\t{n} chiens{' et chats' * (n % 5)}\n" for n in range(45)
    ]
    file = tmp_path_factory.mktemp("pairs") / "pairs.tsv"
    file.write_text("".join(lines), encoding="utf-8")
    return file


@pytest.fixture
def start():
    """Starts two workers, and ends what is left of them."""
    with contextlib.ExitStack() as stack:

        def start_both(*commands, only=None):
            addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
            processes = []
            for index, words in enumerate(commands):
                if only not in (None, index):
                    continue
                task = {"type": "worker", "index": index}
                config = {"cluster": {"worker": addresses}, "task": task}
                process = subprocess.Popen(
                    [sys.executable, "-m", "keras_s2s", *map(str, words)],
                    env={**os.environ, "TF_CONFIG": json.dumps(config)},
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                )
                stack.callback(process.wait)
                stack.callback(process.kill)
                processes.append(process)
            return processes

        yield start_both


def ended(process, seconds=300):
    _, err = process.communicate(timeout=seconds)
    return Ended(process.returncode, err.decode())


def training(corpus, run_dir, *more, **changes):
    options = {**OPTIONS, "strategy": "multiworker", **changes}
    words = [
        word
        for name, value in options.items()
        for word in (f"--{name.replace('_', '-')}", value)
        if word is not None
    ]
    return ["train", corpus, "--run-dir", run_dir, *words, *more]


def wait_for_checkpoint(run_dir, after, processes):
    folder, deadline = CheckpointFolder(run_dir / "checkpoints"), time.monotonic() + 300
    while folder.newest() <= after and time.monotonic() < deadline:
        assert all(process.poll() is None for process in processes)
        time.sleep(0.02)
    return folder.newest()


def test_two_workers_and_one_device_make_the_same_run(corpus_file, tmp_path, start):
    both = start(*[training(corpus_file, tmp_path / "two", epochs=3)] * 2)
    results = [ended(process) for process in both]
    assert [result.status for result in results] == [0, 0], results
    assert "on the CPUs of 2 workers" in results[0].err
    assert results[1].err.endswith("done; the chief worker has the run and the model\n")
    fields = {name.replace("-", "_"): value for name, value in OPTIONS.items()}
    recipe = s2s.Recipe(**{**fields, "bucket_by_length": True, "epochs": 3})
    s2s.train(CorpusSpec(str(corpus_file)), tmp_path / "one", recipe)
    for mine, theirs in zip(
        figures_of(tmp_path / "two"), figures_of(tmp_path / "one"), strict=True
    ):
        assert mine == pytest.approx(theirs, rel=TOLERANCE)
    for mine, theirs in zip(
        weights_of(tmp_path / "two"), weights_of(tmp_path / "one"), strict=True
    ):
        np.testing.assert_allclose(mine, theirs, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_one_killed_ends_the_other_and_all_go_on(corpus_file, tmp_path, start, killed):
    # Dropout, so that its random states are what has to be gone on with, too.
    words = training(corpus_file, tmp_path / "run", dropout=0.3, num_layers=2, epochs=1000)
    both = start(words, words)
    saved = wait_for_checkpoint(tmp_path / "run", (1, 1), both)
    both[killed].kill()
    began = time.monotonic()
    result = ended(both[1 - killed])
    assert time.monotonic() - began < SECONDS
    assert result.status == 2
    assert result.err.splitlines()[-1].startswith("keras-s2s: error: ")
    assert result.err.endswith(
        "has ended or cannot be reached, so this one ends too; what was saved last is kept, so "
        "go on with --resume on all workers\n"
    )
    assert "Traceback" not in result.err
    ended(both[killed])

    last = CheckpointFolder(tmp_path / "run" / "checkpoints").newest().epoch + 2
    words = ["train", corpus_file, "--run-dir", tmp_path / "run", "--resume", "--epochs", last]
    results = [ended(process) for process in start(words, words)]
    assert [result.status for result in results] == [0, 0], results
    assert "goes on after epoch" in results[0].err
    words = training(corpus_file, tmp_path / "whole", dropout=0.3, num_layers=2, epochs=last)
    results = [ended(process) for process in start(words, words)]
    assert [result.status for result in results] == [0, 0], results
    assert figures_of(tmp_path / "run") == figures_of(tmp_path / "whole")
    for mine, theirs in zip(
        weights_of(tmp_path / "run"), weights_of(tmp_path / "whole"), strict=True
    ):
        np.testing.assert_array_equal(mine, theirs)
    assert last > saved.epoch


@pytest.mark.slow
def test_a_signal_to_one_ends_both_after_the_step(corpus_file, tmp_path, start):
    words = training(corpus_file, tmp_path / "run", epochs=1000)
    both = start(words, words)
    wait_for_checkpoint(tmp_path / "run", (1, 1), both)
    both[1].send_signal(signal.SIGTERM)
    results = [ended(process) for process in both]
    assert [result.status for result in results] == [143, 143], results
    for result in results:
        assert "keras-s2s: interrupted; " in result.err.splitlines()[-1]
        assert "--resume" in result.err.splitlines()[-1]


@pytest.mark.slow
def test_workers_that_are_told_different_things(corpus_file, tmp_path, start):
    other = tmp_path / "other.tsv"
    other.write_text(corpus_file.read_text(encoding="utf-8") + "more\tplus\n", encoding="utf-8")
    run_dir = tmp_path / "run"
    both = start(training(corpus_file, run_dir), training(other, run_dir, epochs=7))
    for process in both:
        result = ended(process)
        assert result.status == 2
        assert "has another corpus and configuration than worker 0 (" in result.err
    assert not run_dir.exists()


@pytest.mark.slow
def test_one_that_does_not_come(corpus_file, tmp_path, start):
    words = training(corpus_file, tmp_path / "run", wait=3)
    (alone,) = start(words, words, only=0)
    result = ended(alone)
    assert result.status == 2
    assert ") did not come within 3 seconds; start one process for each worker" in result.err
    assert not (tmp_path / "run").exists()
