"""Profile of this package's training steps by operation type.

    python benchmarks/operations.py TASK [--attention luong] [--dtype float32] [--steps 30]

trains the large model on a task under TensorFlow's profiler and prints the self time of each
operation type in milliseconds per step, including waits. Operations run on several threads, so that
the sum may exceed the step time; times include the overhead of the profiler, so compare shares.
"""

import argparse
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent


class Event(NamedTuple):
    """An event of a thread in a trace.

    Attributes:
        name: for operations their name, a colon and their type.
        start: picoseconds.
        end: picoseconds.
    """

    name: str
    start: int
    end: int


def self_times(events: Iterable[Event]) -> Counter[str]:
    """Return the self time of each operation type in picoseconds, without nested events.

    Args:
        events: of one thread; any two are nested or disjoint.
    """
    times: Counter[str] = Counter()
    open_events: list[Event] = []
    for event in sorted(events, key=lambda event: (event.start, -event.end)):
        while open_events and open_events[-1].end <= event.start:
            open_events.pop()
        if open_events:
            times[op_type(open_events[-1])] -= event.end - event.start
        times[op_type(event)] += event.end - event.start
        open_events.append(event)
    return times


def op_type(event: Event) -> str:
    """Return the type of an operation, or the name of another event."""
    return event.name.rpartition(":")[2].strip()


def is_operation(name: str) -> bool:
    """Return whether an event is an operation, not a function that waits for some."""
    return ":" in name and "::" not in name and "$" not in name


def read_threads(folder: Path) -> list[list[Event]]:
    """Return the operations of each thread from the files of TensorFlow's profiler."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    threads = []
    for path in folder.rglob("*.xplane.pb"):
        space = xplane_pb2.XSpace.FromString(path.read_bytes())
        for plane in space.planes:
            names = {key: data.name for key, data in plane.event_metadata.items()}
            for line in plane.lines:
                start = 1000 * line.timestamp_ns
                threads.append([
                    Event(names[event.metadata_id], start + event.offset_ps,
                          start + event.offset_ps + event.duration_ps)
                    for event in line.events
                    if is_operation(names[event.metadata_id])
                ])  # fmt: skip
    return threads


def table(times: Counter[str], steps: int, max_rows: int = 20) -> str:
    """Return the most expensive operation types as a Markdown table."""
    total = sum(times.values())
    lines = ["| operation | ms/step | share |", "|---|---|---|"]
    lines += [
        f"| {name} | {time / steps / 1e9:.2f} | {100 * time / total:.1f}% |"
        for name, time in times.most_common(max_rows)
    ]
    return "\n".join([*lines, f"| all | {total / steps / 1e9:.2f} | |"])


def main() -> None:
    """Profile training and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", type=Path, help="folder of the task")
    parser.add_argument("--attention", choices=("none", "luong"), default="luong")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--steps", type=int, default=30, help="after a warm-up of 20")
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.path.insert(0, os.fspath(HERE / "contenders"))
    import tensorflow as tf
    import this_package
    from measuring import Request, Settings, Stopwatch

    with tempfile.TemporaryDirectory() as folder:

        class ProfilingStopwatch(Stopwatch):
            """Profiles the measured steps."""

            def step(self, tokens: float, loss_sum: float = 0.0) -> bool:
                is_complete = super().step(tokens, loss_sum)
                if is_complete:
                    tf.profiler.experimental.stop()
                elif not self.steps and self._total_steps == self._warm_up:
                    tf.profiler.experimental.start(folder)
                return is_complete

        class ProfiledRequest(Request):
            def stopwatch(self) -> Any:
                return ProfilingStopwatch(self.warm_up, self.steps, self.seconds)

        settings = Settings(attention=options.attention, dtype=options.dtype)
        request = ProfiledRequest(options.task, settings, options.steps, None, 20, None, None)
        result = this_package.train(request)
        times: Counter[str] = Counter()
        for events in read_threads(Path(folder)):
            times.update(self_times(events))
    print(table(times, options.steps))
    print(f"\n{1000 * result['seconds'] / result['steps']:.1f} ms/step wall time")


if __name__ == "__main__":
    main()
