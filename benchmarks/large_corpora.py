"""Does memory grow with the corpus? `prepare` and the training input, from 10 thousand pairs on.

python -m benchmarks.large_corpora --pairs 10000 100000 1000000 10000000

The corpora are made of the pairs of another one, repeated, with a number put into each so that
none is there twice. Each measurement is a process of its own; its memory is the most that it and
the processes it started had at a time each (VmHWM), added up.
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

# Seconds between two looks at the processes.
PAUSE = 0.2


def perturbed(pairs: list[tuple[str, str]], number: int) -> Iterator[tuple[str, str]]:
    """So many different pairs, made of some by repeating them.

    A pair comes as it is at first; then with another number at its end, and words of the pair
    that stands so far from it.
    """
    for at in range(number):
        again, place = divmod(at, len(pairs))
        source, target = pairs[place]
        if again:
            others = pairs[(place + again * 7919) % len(pairs)]
            source = f"{source} {others[0].split()[0]} {again}"
            target = f"{target} {others[1].split()[0]} {again}"
        yield source, target


def write_corpus(path: Path, corpus: str, number: int) -> None:
    """Writes such pairs to a file, unless it is there."""
    from keras_s2s.data.parallel_corpus import load_corpus

    if path.exists():
        return
    loaded = load_corpus(corpus)
    pairs = list(zip(loaded.source, loaded.target, strict=True))
    aside = path.with_suffix(".part")
    with open(aside, "w", encoding="utf-8", newline="\n") as file:
        for source, target in perturbed(pairs, number):
            file.write(f"{source}\t{target}\n")
    os.replace(aside, path)


def read_input(folder: str) -> dict[str, Any]:
    """Goes once through the batches of a prepared corpus."""
    from keras_s2s.data.prepared.corpus import PreparedCorpus

    corpus = PreparedCorpus(folder)
    began = time.perf_counter()
    corpus.verify()
    verified = time.perf_counter() - began
    batches = corpus.num_batches(64, None)
    data = corpus.batches(64, seed=0, bucket_by_length=True).take(batches)
    began, pairs = time.perf_counter(), 0
    for (_, source_valid_length), _ in data:
        pairs += int(source_valid_length.shape[0])
    return {
        "pairs": pairs,
        "seconds": time.perf_counter() - began,
        "seconds_to_verify": verified,
    }


class Memory:
    """The most memory of a process and of all that it starts, while it runs."""

    def __init__(self, process: int) -> None:
        self._highest: dict[int, int] = {}
        self._process, self._ended = process, threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def __enter__(self) -> "Memory":
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    def mebibytes(self) -> list[float]:
        """Of each process, the first one first."""
        return [size / 1024 for size in self._highest.values()]

    def _look(self) -> None:
        while not self._ended.wait(PAUSE):
            for process in _with_descendants(self._process):
                with contextlib.suppress(OSError, StopIteration):
                    lines = Path(f"/proc/{process}/status").read_text().split("\n")
                    line = next(line for line in lines if line.startswith("VmHWM"))
                    self._highest[process] = int(line.split()[1])


def _with_descendants(process: int) -> list[int]:
    found = [process]
    for parent in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{parent}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
    return found


def measured(*command: str) -> dict[str, Any]:
    """Runs a command that prints a JSON object last; adds seconds and memory to that."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True)
    with Memory(process.pid) as memory:
        output, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit status {process.returncode}")
    return {
        **json.loads(output.strip().split("\n")[-1]),
        "wall_seconds": time.perf_counter() - began,
        "mebibytes": memory.mebibytes(),
    }


def table(rows: list[dict[str, Any]]) -> str:
    """The measurements as a table in Markdown."""
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
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--corpus", default="fra-eng", help="what the pairs are made of")
    parser.add_argument("--folder", help="where corpora are made; left out, a temporary one")
    parser.add_argument("--output", help="a file for all figures, as JSON")
    parser.add_argument("--read", metavar="DIR", help=argparse.SUPPRESS)
    parser.add_argument("options", nargs="*", help="of keras-s2s prepare, after --")
    options = parser.parse_args()
    if options.read:
        print(json.dumps(read_input(options.read)))
        return
    rows: list[dict[str, Any]] = []
    with contextlib.ExitStack() as at_end:
        folder = Path(options.folder or at_end.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        for number in options.pairs:
            corpus, prepared = folder / f"{number}.tsv", folder / f"{number}-prepared"
            write_corpus(corpus, options.corpus, number)
            command = ["prepare", str(corpus), "--output", str(prepared), "--overwrite", "--json"]
            defaults = options.options or ["--num-steps", "40", "--max-tokens", "20000"]
            rows.append(
                {
                    "pairs": number,
                    "prepare": measured("-m", "keras_s2s", *command, *defaults),
                    "read": measured("-m", "benchmarks.large_corpora", "--read", str(prepared)),
                }
            )
            print(table(rows), flush=True)
            if options.output:
                Path(options.output).write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
