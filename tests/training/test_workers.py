"""Two workers, as processes that communicate over loopback."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from typing import NamedTuple

import pytest
from ports import free_ports
from run_files import assert_equal_runs

from keras_s2s.training.checkpoints import CheckpointFolder

# float32 sums depend on their order.
RELATIVE_TOLERANCE = 1e-5
WEIGHT_TOLERANCE = 1e-4
# Longer than a busy machine takes to notice that a worker is lost.
SECONDS = 60


class Result(NamedTuple):
    status: int
    err: str


@pytest.fixture
def start():
    """Start two workers, and kill those that are left."""
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


def wait(process):
    _, err = process.communicate(timeout=300)
    return Result(process.returncode, err.decode())


@pytest.fixture
def train_command(corpus_file, distributed_fields):
    def make(run_dir, corpus=corpus_file, **changes):
        options = {
            **distributed_fields,
            "seed": 2,
            "checkpoint_steps": 4,
            "strategy": "multiworker",
            **changes,
        }
        words = [
            word
            for name, value in options.items()
            for word in (f"--{name.replace('_', '-')}", value)
            if word is not True
        ]
        return ["train", corpus, "--run-dir", run_dir, *words]

    return make


def wait_for_checkpoint(run_dir, after, processes):
    folder, deadline = CheckpointFolder(run_dir / "checkpoints"), time.monotonic() + 300
    while folder.newest() <= after and time.monotonic() < deadline:
        assert all(process.poll() is None for process in processes)
        time.sleep(0.02)
    return folder.newest()


def test_two_workers_equal_one_device(one_device_run, train_command, tmp_path, start):
    results = [wait(process) for process in start(*[train_command(tmp_path / "two")] * 2)]
    assert [result.status for result in results] == [0, 0], results
    assert "on the CPUs of 2 workers" in results[0].err
    assert results[1].err.splitlines()[-1].startswith("done; ")
    assert_equal_runs(tmp_path / "two", one_device_run, RELATIVE_TOLERANCE, WEIGHT_TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_worker_ends_the_other_and_both_resume(
    corpus_file, train_command, tmp_path, start, killed
):
    # With dropout, whose random states have to be restored too.
    command = train_command(tmp_path / "run", dropout=0.3, num_layers=2, epochs=1000)
    both = start(command, command)
    saved = wait_for_checkpoint(tmp_path / "run", (1, 1), both)
    both[killed].kill()
    killed_at = time.monotonic()
    result = wait(both[1 - killed])
    assert time.monotonic() - killed_at < SECONDS
    assert result.status == 2
    last_line = result.err.splitlines()[-1]
    assert last_line.startswith("keras-s2s: error: ")
    assert "cannot be reached" in last_line
    assert "--resume" in last_line
    assert "Traceback" not in result.err
    wait(both[killed])

    last = CheckpointFolder(tmp_path / "run" / "checkpoints").newest()[0] + 2
    command = ["train", corpus_file, "--run-dir", tmp_path / "run", "--resume", "--epochs", last]
    results = [wait(process) for process in start(command, command)]
    assert [result.status for result in results] == [0, 0], results
    assert "resuming after epoch" in results[0].err
    command = train_command(tmp_path / "whole", dropout=0.3, num_layers=2, epochs=last)
    results = [wait(process) for process in start(command, command)]
    assert [result.status for result in results] == [0, 0], results
    assert_equal_runs(tmp_path / "run", tmp_path / "whole")
    assert last > saved[0]


@pytest.mark.slow
def test_a_signal_to_one_stops_both(train_command, tmp_path, start):
    command = train_command(tmp_path / "run", epochs=1000)
    both = start(command, command)
    wait_for_checkpoint(tmp_path / "run", (1, 1), both)
    both[1].send_signal(signal.SIGTERM)
    results = [wait(process) for process in both]
    assert [result.status for result in results] == [143, 143], results
    for result in results:
        assert "keras-s2s: interrupted; " in result.err.splitlines()[-1]
        assert "--resume" in result.err.splitlines()[-1]


@pytest.mark.slow
def test_workers_with_different_commands(corpus_file, train_command, tmp_path, start):
    other = tmp_path / "other.tsv"
    other.write_text(corpus_file.read_text(encoding="utf-8") + "more\tplus\n", encoding="utf-8")
    run_dir = tmp_path / "run"
    for process in start(train_command(run_dir), train_command(run_dir, other, epochs=7)):
        result = wait(process)
        assert result.status == 2
        assert " differ in corpus and configuration" in result.err
        assert "worker 1 (" in result.err
    assert not run_dir.exists()


@pytest.mark.slow
def test_a_worker_that_does_not_start(train_command, tmp_path, start):
    command = train_command(tmp_path / "run", worker_timeout=3)
    (alone,) = start(command, command, only=0)
    result = wait(alone)
    assert result.status == 2
    assert ") did not start within 3 seconds" in result.err
    assert not (tmp_path / "run").exists()
