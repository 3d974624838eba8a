"""Memory and throughput of `prepare` and of the training input against the size of the corpus.

python -m benchmarks.large_corpora --pairs 10000 100000 1000000 10000000

The corpora repeat the pairs of another one, each made unique by a number. Each measurement is a
process of its own; its memory is the sum of its peak (VmHWM) and those of its children.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Sampling interval in seconds.
SAMPLING_INTERVAL = 0.2


def synthesize_pairs(pairs: list[tuple[str, str]], count: int) -> Iterator[tuple[str, str]]:
    """Yield `count` distinct pairs: the given ones, then again with a word and a number appended.

    The word is the first one of another pair.
    """
    for i in range(count):
        repetition, index = divmod(i, len(pairs))
        source, target = pairs[index]
        if repetition:
            other = pairs[(index + repetition * 7919) % len(pairs)]
            source = f"{source} {other[0].split()[0]} {repetition}"
            target = f"{target} {other[1].split()[0]} {repetition}"
        yield source, target


def write_corpus(path: Path, corpus: str, count: int) -> None:
    """Write synthesized pairs to a file, unless it exists."""
    from keras_s2s.data.parallel_corpus import load_corpus

    if path.exists():
        return
    loaded = load_corpus(corpus)
    pairs = list(zip(loaded.source, loaded.target, strict=True))
    temporary = path.with_suffix(".part")
    with open(temporary, "w", encoding="utf-8", newline="\n") as file:
        for source, target in synthesize_pairs(pairs, count):
            file.write(f"{source}\t{target}\n")
    os.replace(temporary, path)


def read_input(folder: str) -> dict[str, Any]:
    """Read the batches of an epoch of a prepared corpus."""
    from keras_s2s.data.prepared.corpus import PreparedCorpus

    corpus = PreparedCorpus(folder)
    start = time.perf_counter()
    corpus.verify()
    verify_seconds = time.perf_counter() - start
    num_batches = corpus.num_batches(64, None)
    data = corpus.batches(64, seed=0, bucket_by_length=True).take(num_batches)
    start, pairs = time.perf_counter(), 0
    for (_, source_valid_length), _ in data:
        pairs += int(source_valid_length.shape[0])
    return {
        "pairs": pairs,
        "seconds": time.perf_counter() - start,
        "seconds_to_verify": verify_seconds,
    }


class PeakMemoryMonitor:
    """Samples the peak memory of a running process and of its descendants."""

    def __init__(self, process: int) -> None:
        self._peaks: dict[int, int] = {}
        self._process, self._stop = process, threading.Event()
        self._thread = threading.Thread(target=self._sample)
        self._thread.start()

    def __enter__(self) -> "PeakMemoryMonitor":
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def mebibytes(self) -> list[float]:
        """Return the peak of each process, that of the first one first."""
        return [size / 1024 for size in self._peaks.values()]

    def _sample(self) -> None:
        while not self._stop.wait(SAMPLING_INTERVAL):
            for process in _with_descendants(self._process):
                with contextlib.suppress(OSError, StopIteration):
                    lines = Path(f"/proc/{process}/status").read_text().split("\n")
                    line = next(line for line in lines if line.startswith("VmHWM"))
                    self._peaks[process] = int(line.split()[1])


def _with_descendants(process: int) -> list[int]:
    processes = [process]
    for parent in processes:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{parent}/task").iterdir():
                processes += map(int, (task / "children").read_text().split())
    return processes


def measure(*command: str) -> dict[str, Any]:
    """Run a command; return the JSON of its last line, its duration and its peak memory."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True)
    with PeakMemoryMonitor(process.pid) as memory:
        output, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit status {process.returncode}")
    return {
        **json.loads(output.strip().split("\n")[-1]),
        "wall_seconds": time.perf_counter() - start,
        "mebibytes": memory.mebibytes(),
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Return the measurements as a Markdown table."""
    lines = [
        "| pairs | prepare, pairs/s | its memory, MiB | training input, pairs/s | memory, MiB |",
        "|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        prepared, read = row["prepare"], row["read"]
        lines.append(
            f"| {row['pairs']:,} | {row['pairs'] / prepared['wall_seconds']:,.0f} "
            f"| {sum(prepared['mebibytes']):,.0f} ({len(prepared['mebibytes'])} processes) "
            f"| {read['pairs'] / read['seconds']:,.0f} | {sum(read['mebibytes']):,.0f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--corpus", default="fra-eng", help="source of the pairs")
    parser.add_argument("--folder", help="work folder; default: temporary")
    parser.add_argument("--output", help="JSON file for all figures")
    parser.add_argument("--read", metavar="DIR", help=argparse.SUPPRESS)
    parser.add_argument("options", nargs="*", help="options of keras-s2s prepare, after --")
    options = parser.parse_args()
    if options.read:
        print(json.dumps(read_input(options.read)))
        return
    rows: list[dict[str, Any]] = []
    with contextlib.ExitStack() as stack:
        folder = Path(options.folder or stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        for count in options.pairs:
            corpus, prepared = folder / f"{count}.tsv", folder / f"{count}-prepared"
            write_corpus(corpus, options.corpus, count)
            command = ["prepare", str(corpus), "--output", str(prepared), "--overwrite", "--json"]
            defaults = options.options or ["--num-steps", "40", "--vocab-size", "20000"]
            rows.append(
                {
                    "pairs": count,
                    "prepare": measure("-m", "keras_s2s", *command, *defaults),
                    "read": measure("-m", "benchmarks.large_corpora", "--read", str(prepared)),
                }
            )
            print(table(rows), flush=True)
            if options.output:
                Path(options.output).write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
