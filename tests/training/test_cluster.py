"""Parsing of `TF_CONFIG`, and reachability of workers."""

import json
import socket

import pytest
from ports import free_ports

from keras_s2s.training.cluster import EXAMPLE, DistributionConfig, read_cluster, reserve_port
from keras_s2s.training.worker_monitor import WorkerMonitor, is_reachable
from keras_s2s.utils.errors import InputError, WorkerLost


def read(cluster, task):
    return read_cluster({"TF_CONFIG": json.dumps({"cluster": cluster, "task": task})})


def error_of(command, tmp_path):
    words = "train", "phrasebook", "--run-dir", tmp_path / "run", "--strategy", "multiworker"
    outcome = command(*words)
    assert (outcome.status, outcome.out) == (2, "")
    assert not (tmp_path / "run").exists()
    assert outcome.err.count("\n") == 1
    return outcome.err.removeprefix("keras-s2s: error: ").removesuffix("\n")


def test_the_chief_is_the_first():
    cluster = {"worker": ["one:2222", "two:2223"]}
    first, second = (
        read(cluster, {"type": "worker", "index": index})
        # Shell templates often leave the quotes around a substituted number.
        for index in (0, "1")
    )
    assert (first.is_chief, second.is_chief) == (True, False)
    assert [str(worker) for worker in first.others] == ["worker 1 (two:2223)"]
    assert [str(worker) for worker in second.others] == ["worker 0 (one:2222)"]


def test_a_chief_beside_the_workers():
    # As Kubeflow's training operator writes it.
    cluster = {"worker": ["w0:2222", "[::1]:2222"], "chief": ["c:2222"], "evaluator": ["e:1"]}
    config = {"cluster": cluster, "task": {"type": "worker", "index": 0}, "environment": "cloud"}
    result = read_cluster({"TF_CONFIG": json.dumps(config)})
    assert not result.is_chief
    assert [worker.host for worker in result.workers] == ["c", "w0", "::1"]
    assert read(cluster, {"type": "chief", "index": 0}).is_chief


TWO = {"worker": ["one:2222", "two:2222"]}
FIRST = {"type": "worker", "index": 0}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{cluster", "TF_CONFIG is not valid JSON (Expecting property name"),
        ("[]", 'TF_CONFIG needs a "cluster" and a "task"'),
        ({"cluster": TWO}, 'TF_CONFIG needs a "cluster" and a "task"'),
        ({"cluster": {}, "task": FIRST}, 'TF_CONFIG has no "worker" in its cluster'),
        (
            {"cluster": {**TWO, "ps": ["p:1"]}, "task": FIRST},
            "TF_CONFIG has a 'ps' in its cluster; ",
        ),
        ({"cluster": {"worker": "one:1"}, "task": FIRST}, "TF_CONFIG has for 'worker' 'one:1'"),
        (
            {"cluster": {"worker": ["one", "two:1"]}, "task": FIRST},
            "TF_CONFIG has the address 'one' of worker 0; ",
        ),
        (
            {"cluster": {"worker": ["one:70000"]}, "task": FIRST},
            "TF_CONFIG has the address 'one:70000' of worker 0; ",
        ),
        (
            {"cluster": {"worker": ["one:1", "one:1"]}, "task": FIRST},
            "TF_CONFIG has one:1 twice; ",
        ),
        *(
            (
                {"cluster": TWO, "task": {"type": task_type, "index": index}},
                f"TF_CONFIG has the task {task_type} {index}, which is not in its cluster; "
                "there is worker 0, worker 1",
            )
            for task_type, index in (
                ("worker", 2),
                ("worker", None),
                ("chief", 0),
                ("worker", True),
            )
        ),
    ],
)
def test_invalid_values(config, message, command, monkeypatch, tmp_path):
    text = config if isinstance(config, str) else json.dumps(config)
    monkeypatch.setenv("TF_CONFIG", text)
    error = error_of(command, tmp_path)
    assert error.startswith(message)
    assert error.endswith(f"; it looks like {EXAMPLE}")


def test_missing_variable(command, monkeypatch, tmp_path):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    error = error_of(command, tmp_path)
    assert error.startswith("--strategy multiworker needs the variable TF_CONFIG")
    assert error.endswith(EXAMPLE)
    assert DistributionConfig().is_chief(), "only multiworker reads the variable"


def test_a_port_in_use():
    (port,) = free_ports(1)
    worker = read({"worker": [f"localhost:{port}"]}, FIRST).workers[0]
    assert not is_reachable(worker)
    with reserve_port(worker):
        assert is_reachable(worker)
    assert not is_reachable(worker)
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        assert is_reachable(worker)
        with pytest.raises(InputError) as error, reserve_port(worker):
            pass
    message = str(error.value)
    assert message.startswith(f"port {port} of this machine")
    assert f"worker 0 (localhost:{port})" in message
    assert "(Address already in use)" in message


def test_a_worker_that_does_not_start():
    here, there = free_ports(2)
    cluster = read({"worker": [f"localhost:{here}", f"localhost:{there}"]}, FIRST)
    with pytest.raises(WorkerLost) as error:
        WorkerMonitor(cluster, timeout=0.5).wait_for_all()
    assert str(error.value).startswith(
        f"worker 1 (localhost:{there}) did not start within 0 seconds; "
    )
    with reserve_port(cluster.others[0]):
        WorkerMonitor(cluster, timeout=5).wait_for_all()
