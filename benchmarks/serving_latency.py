"""Latency and throughput of an export on a server's path, beside the translator in Python.

    python benchmarks/serving_latency.py RUN_DIR EXPORTED_VERSION_DIR CORPUS

Each batch size is timed in turns, server's path, Python, server's path, …, several rounds; the
table has the medians and, in brackets, the least and the greatest. The server's path includes the
way to the other process and back, as JSON. The numbers of one machine say little; compare the
columns.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import keras_s2s as s2s
from keras_s2s.serving.session import SavedModelSession

BATCH_SIZES = (1, 8, 32, 128)


def seconds(ask: Callable[[], object]) -> float:
    """How long a call takes."""
    began = time.perf_counter()
    ask()
    return time.perf_counter() - began


def shown(values: list[float]) -> str:
    """Milliseconds: the median, and the range."""
    low, middle, high = (
        1000 * value for value in (min(values), statistics.median(values), max(values))
    )
    return f"{middle:.2f} ({low:.2f}–{high:.2f})"


def main() -> None:
    """Measures and prints a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("export", type=Path)
    parser.add_argument("corpus")
    parser.add_argument("--rounds", type=int, default=50)
    options = parser.parse_args()
    translator = s2s.Translator.load(options.run / "model.keras")
    sentences = list(dict.fromkeys(s2s.load_corpus(options.corpus).source))[-20_000:]
    began = time.perf_counter()
    with SavedModelSession(options.export) as session:
        load = time.perf_counter() - began
        first = seconds(lambda: session.run(text=sentences[:1]))
        print(f"{platform.processor() or platform.machine()}, {platform.system()}")
        size = sum(file.stat().st_size for file in options.export.rglob("*") if file.is_file())
        print(f"version folder {size / 1e6:.2f} MB; loaded in {load:.2f} s, ", end="")
        print(f"first answer in {first:.3f} s\n")
        print("| batch | server's path, ms | sentences/s | Python, ms | sentences/s | ratio |")
        print("|---|---|---|---|---|---|")
        for batch_size in BATCH_SIZES:
            served, own = [], []
            for number in range(options.rounds + 3):
                start = number * batch_size % (len(sentences) - batch_size)
                batch = sentences[start : start + batch_size]
                served.append(seconds(partial(session.run, text=batch)))
                own.append(seconds(partial(translator.translate, batch, batch_size)))
            # The first of each are warm-up.
            served, own = served[3:], own[3:]
            ours, theirs = statistics.median(served), statistics.median(own)
            print(
                f"| {batch_size} | {shown(served)} | {batch_size / ours:,.0f} "
                f"| {shown(own)} | {batch_size / theirs:,.0f} | {ours / theirs:.2f} |"
            )


if __name__ == "__main__":
    main()
