"""Latency and throughput of an export as on a server, compared with the translator in Python.

    python benchmarks/serving_latency.py RUN_DIR EXPORTED_VERSION_DIR CORPUS

Export and Python are interleaved; the table has medians and ranges. The latency of the export
includes the round trip to its process, as JSON. Absolute values depend on the machine; compare the
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
WARM_UP_ROUNDS = 3


def time_call(function: Callable[[], object]) -> float:
    """Return the duration of a call in seconds."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def format_ms(values: list[float]) -> str:
    """Return median and range in milliseconds."""
    low, median, high = (
        1000 * value for value in (min(values), statistics.median(values), max(values))
    )
    return f"{median:.2f} ({low:.2f}–{high:.2f})"


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("export", type=Path)
    parser.add_argument("corpus")
    parser.add_argument("--rounds", type=int, default=50)
    options = parser.parse_args()
    translator = s2s.Translator.load(options.run / "model.keras")
    sentences = list(dict.fromkeys(s2s.load_corpus(options.corpus).source))[-20_000:]
    start = time.perf_counter()
    with SavedModelSession(options.export) as session:
        load_seconds = time.perf_counter() - start
        first_seconds = time_call(lambda: session.run(text=sentences[:1]))
        print(f"{platform.processor() or platform.machine()}, {platform.system()}")
        size = sum(file.stat().st_size for file in options.export.rglob("*") if file.is_file())
        print(f"version folder {size / 1e6:.2f} MB; loaded in {load_seconds:.2f} s, ", end="")
        print(f"first request in {first_seconds:.3f} s\n")
        print("| batch size | export, ms | sentences/s | Python, ms | sentences/s | ratio |")
        print("|---|---|---|---|---|---|")
        for batch_size in BATCH_SIZES:
            exported, python = [], []
            for i in range(options.rounds + WARM_UP_ROUNDS):
                offset = i * batch_size % (len(sentences) - batch_size)
                batch = sentences[offset : offset + batch_size]
                exported.append(time_call(partial(session.run, text=batch)))
                python.append(time_call(partial(translator.translate, batch, batch_size)))
            exported, python = exported[WARM_UP_ROUNDS:], python[WARM_UP_ROUNDS:]
            medians = statistics.median(exported), statistics.median(python)
            print(
                f"| {batch_size} | {format_ms(exported)} | {batch_size / medians[0]:,.0f} "
                f"| {format_ms(python)} | {batch_size / medians[1]:,.0f} "
                f"| {medians[0] / medians[1]:.2f} |"
            )


if __name__ == "__main__":
    main()
