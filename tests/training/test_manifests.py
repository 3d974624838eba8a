"""The Kubernetes manifests in docs/: the commands they start, and their `TF_CONFIG`."""

import os
import stat
import subprocess
from pathlib import Path

import pytest
import yaml

from keras_s2s.cli.parser import parse
from keras_s2s.training.cluster import read_cluster

FOLDER = Path(__file__).parents[2] / "docs" / "kubernetes"
# Prints its environment and arguments in place of the real command.
COMMAND = (
    '#!/bin/sh\nprintf "%s\\n" "$TF_CONFIG" | tr "\\n" " "\nprintf "\\n"\nprintf "%s\\n" "$@"\n'
)


@pytest.fixture
def started(tmp_path):
    """Run the entry of a container; return the cluster and the options of its command."""
    command = tmp_path / "bin" / "keras-s2s"
    command.parent.mkdir()
    command.write_text(COMMAND, encoding="utf-8")
    command.chmod(command.stat().st_mode | stat.S_IEXEC)

    def run(container, **variables):
        env = {entry["name"]: entry["value"] for entry in container["env"]}
        paths = f"{command.parent}{os.pathsep}{os.environ['PATH']}"
        environment = {"PATH": paths, **env, "RUN_DIR": str(tmp_path / "run"), **variables}
        result = subprocess.run(
            [*container["command"], *container["args"]],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        config, *words = result.stdout.splitlines()
        return read_cluster({"TF_CONFIG": config}), parse(words)

    return run


def test_the_job_makes_a_cluster_of_its_pods(started, tmp_path):
    service, job = yaml.safe_load_all((FOLDER / "train-job.yaml").read_text(encoding="utf-8"))
    assert (service["kind"], service["spec"]["clusterIP"]) == ("Service", "None")
    name, spec = job["metadata"]["name"], job["spec"]
    assert service["spec"]["selector"] == {"job-name": name}
    assert spec["completionMode"] == "Indexed"
    pods = spec["template"]["spec"]
    assert pods["subdomain"] == service["metadata"]["name"]
    (container,) = pods["containers"]
    num_workers = int(container["env"][0]["value"])
    assert spec["completions"] == spec["parallelism"] == num_workers

    for index in range(num_workers):
        cluster, options = started(container, JOB_COMPLETION_INDEX=str(index))
        assert cluster.rank == index
        assert [worker.host for worker in cluster.workers] == [
            f"{name}-{other}.{pods['subdomain']}" for other in range(num_workers)
        ]
        port = container["ports"][0]["containerPort"]
        assert {worker.port for worker in cluster.workers} == {port}
        assert service["spec"]["ports"][0]["port"] == port
        assert (options.strategy, options.resume) == ("multiworker", False)

    (tmp_path / "run" / "checkpoints" / "epoch-000001-batch-00000000").mkdir(parents=True)
    assert started(container, JOB_COMPLETION_INDEX="0")[1].resume


def test_the_job_of_the_training_operator(started):
    job = yaml.safe_load((FOLDER / "train-tfjob.yaml").read_text(encoding="utf-8"))
    assert (job["apiVersion"], job["kind"]) == ("kubeflow.org/v1", "TFJob")
    (worker,) = job["spec"]["tfReplicaSpecs"].values()
    (container,) = worker["template"]["spec"]["containers"]
    # The names that the operator looks for.
    assert container["name"] == "tensorflow"
    assert container["ports"] == [{"name": "tfjob-port", "containerPort": 2222}]
    config = (
        '{"cluster": {"worker": ["t-worker-0.ns.svc:2222", "t-worker-1.ns.svc:2222"]}, '
        '"task": {"type": "worker", "index": 1}, "environment": "cloud"}'
    )
    cluster, options = started(container, TF_CONFIG=config)
    assert (cluster.rank, options.strategy) == (1, "multiworker")
