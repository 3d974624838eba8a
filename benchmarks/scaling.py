"""Training throughput of one device, two mirrored devices and two workers, with a thread each.

    python -m benchmarks.scaling [--rounds N] [--epochs N] [--hiddens N] [--batch-size N]

Each setup is a training run; the setups are interleaved, so that other load affects all of them.
The first epoch, in which TensorFlow traces its functions, does not count.
"""

import argparse
import contextlib
import csv
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

SETUPS = ("one device", "two mirrored", "two workers")
# One thread per device, to simulate devices on different machines. Two devices of one process share
# its threads, so it gets two.
TRAIN = """
import sys
from keras_s2s.utils.console import import_tensorflow
import_tensorflow()
import tensorflow as tf
threads = int(sys.argv.pop(1))
tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(threads)
from keras_s2s.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--hiddens", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=64, help="global batch size")
    parser.add_argument("--corpus", default="phrasebook")
    options = parser.parse_args()
    speeds: dict[str, list[float]] = {setup: [] for setup in SETUPS}
    losses: dict[str, list[float]] = {}
    for round_index in range(options.rounds):
        for setup in SETUPS:
            with tempfile.TemporaryDirectory() as folder:
                rows = run(setup, Path(folder) / "run", options)
            speeds[setup] += [float(row["tokens_per_second"]) for row in rows[1:]]
            losses[setup] = [float(row["loss"]) for row in rows]
            print(f"round {round_index + 1}, {setup}: {speeds[setup][-1]:,.0f}", file=sys.stderr)
    baseline = statistics.median(speeds[SETUPS[0]])
    print("| | target tokens/s, median | range | speedup | loss of the last epoch |")
    print("|---|---:|---:|---:|---:|")
    for setup, values in speeds.items():
        median = statistics.median(values)
        print(
            f"| {setup} | {median:,.0f} | {min(values):,.0f}–{max(values):,.0f} | "
            f"{median / baseline:.2f} | {losses[setup][-1]:.6g} |"
        )


def run(setup: str, run_dir: Path, options: argparse.Namespace) -> list[dict[str, str]]:
    """Train once; return the rows of `history.csv`."""
    arguments = ["train", options.corpus, "--run-dir", str(run_dir), "--bucket-by-length"]
    arguments += ["--epochs", str(options.epochs), "--min-freq", "1"]
    arguments += ["--batch-size", str(options.batch_size)]
    arguments += ["--num-hiddens", str(options.hiddens), "--embed-size", str(options.hiddens)]
    if setup == "one device":
        start(arguments, 1)
    elif setup == "two mirrored":
        start([*arguments, "--strategy", "mirrored", "--num-devices", "2"], 2)
    else:
        start([*arguments, "--strategy", "multiworker"], 1, workers=2)
    with open(run_dir / "history.csv", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def start(arguments: list[str], threads: int, workers: int = 0) -> None:
    """Run one process, or one per worker, to completion."""
    ports = free_ports(workers)
    processes = []
    for index in range(max(1, workers)):
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        if workers:
            cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
            task = {"type": "worker", "index": index}
            environment["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": task})
        command = [sys.executable, "-c", TRAIN, str(threads), *arguments]
        processes.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE))
    for process in processes:
        _, err = process.communicate()
        if process.returncode:
            sys.exit(err.decode())


def free_ports(count: int) -> list[int]:
    """Return free ports of this machine."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for item in sockets:
            item.bind(("127.0.0.1", 0))
        return [item.getsockname()[1] for item in sockets]


if __name__ == "__main__":
    main()
