"""Throughput of one device, two devices of one machine and two workers, one thread for each.

    python -m benchmarks.scaling [--rounds N] [--epochs N] [--hiddens N] [--batch-size N]

Each is a training of its own; all of them take turns, so that what else the machine does hits all
alike. The first epoch, in which TensorFlow builds its functions, does not count.
"""

import argparse
import csv
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

WAYS = ("one device", "two mirrored", "two workers")
# One thread for each device: what is one processor here is a machine elsewhere. Two devices of one
# process share its threads, so it gets two.
TRAIN = """
import sys
from keras_s2s.utils.console import import_tensorflow
load_tensorflow()
import tensorflow as tf
threads = int(sys.argv.pop(1))
tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(threads)
from keras_s2s.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def main() -> None:
    """Measures, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--hiddens", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=64, help="of all devices together")
    parser.add_argument("--corpus", default="phrasebook")
    options = parser.parse_args()
    speeds: dict[str, list[float]] = {way: [] for way in WAYS}
    losses: dict[str, list[float]] = {}
    for number in range(options.rounds):
        for way in WAYS:
            with tempfile.TemporaryDirectory() as folder:
                rows = run(way, Path(folder) / "run", options)
            speeds[way] += [float(row["tokens_per_second"]) for row in rows[1:]]
            losses[way] = [float(row["loss"]) for row in rows]
            print(f"round {number + 1}, {way}: {speeds[way][-1]:,.0f}", file=sys.stderr)
    one = statistics.median(speeds[WAYS[0]])
    print("| | target tokens/s, median | least – most | times one | loss of the last epoch |")
    print("|---|---:|---:|---:|---:|")
    for way, found in speeds.items():
        middle = statistics.median(found)
        print(
            f"| {way} | {middle:,.0f} | {min(found):,.0f} – {max(found):,.0f} | "
            f"{middle / one:.2f} | {losses[way][-1]:.6g} |"
        )


def run(way: str, run_dir: Path, options: argparse.Namespace) -> list[dict[str, str]]:
    """Trains once; returns the rows of `history.csv`."""
    words = ["train", options.corpus, "--run-dir", str(run_dir), "--bucket-by-length"]
    words += ["--epochs", str(options.epochs), "--min-freq", "1"]
    words += ["--batch-size", str(options.batch_size)]
    words += ["--num-hiddens", str(options.hiddens), "--embed-size", str(options.hiddens)]
    if way == "one device":
        start(words, 1)
    elif way == "two mirrored":
        start([*words, "--strategy", "mirrored", "--devices", "2"], 2)
    else:
        start([*words, "--strategy", "multiworker"], 1, workers=2)
    with open(run_dir / "history.csv", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def start(words: list[str], threads: int, workers: int = 0) -> None:
    """Runs one process, or one for each worker, to the end."""
    ports = free_ports(workers)
    processes = []
    for index in range(max(1, workers)):
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        if workers:
            cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
            task = {"type": "worker", "index": index}
            environment["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": task})
        command = [sys.executable, "-c", TRAIN, str(threads), *words]
        processes.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE))
    for process in processes:
        _, err = process.communicate()
        if process.returncode:
            sys.exit(err.decode())


def free_ports(number: int) -> list[int]:
    """Ports of this machine that nothing listens on."""
    sockets = [socket.socket() for _ in range(number)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


if __name__ == "__main__":
    main()
