"""Where the time of this package's training steps goes, by operation.

    python benchmarks/operations.py TASK [--attention luong] [--dtype float32] [--steps 30]

trains the large model on the files of a task under TensorFlow's profiler and prints a table: for
each kind of operation the milliseconds of a step that it had a thread for, whatever it waited for
there included. Several threads run operations at once, so that the sum may be more than a step's
time. What the profiler itself costs is in it, too: shares are what it is for.
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
    """Something that a thread did.

    Attributes:
        name: of TensorFlow's: the operation's name, a colon and its kind.
        start: picoseconds.
        end: picoseconds.
    """

    name: str
    start: int
    end: int


def own_times(events: Iterable[Event]) -> Counter[str]:
    """Picoseconds by kind of operation, what one event has within it left out.

    Args:
        events: of one thread. One lies within another, or they have nothing in common.
    """
    found: Counter[str] = Counter()
    open_events: list[Event] = []
    for event in sorted(events, key=lambda event: (event.start, -event.end)):
        while open_events and open_events[-1].end <= event.start:
            open_events.pop()
        if open_events:
            found[kind_of(open_events[-1])] -= event.end - event.start
        found[kind_of(event)] += event.end - event.start
        open_events.append(event)
    return found


def kind_of(event: Event) -> str:
    """The kind of an operation; of something else, what it is called."""
    return event.name.rpartition(":")[2].strip()


def is_operation(name: str) -> bool:
    """Whether an event is one; others are functions of TensorFlow or Python that wait for them."""
    return ":" in name and "::" not in name and "$" not in name


def read_threads(folder: Path) -> list[list[Event]]:
    """The operations in what TensorFlow's profiler has written, thread by thread."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    threads = []
    for path in folder.rglob("*.xplane.pb"):
        space = xplane_pb2.XSpace.FromString(path.read_bytes())
        for plane in space.planes:
            names = {number: data.name for number, data in plane.event_metadata.items()}
            for line in plane.lines:
                began = 1000 * line.timestamp_ns
                threads.append([
                    Event(names[event.metadata_id], began + event.offset_ps,
                          began + event.offset_ps + event.duration_ps)
                    for event in line.events
                    if is_operation(names[event.metadata_id])
                ])  # fmt: skip
    return threads


def table(times: Counter[str], steps: int, most: int = 20) -> str:
    """The operations that take most, as Markdown."""
    whole = sum(times.values())
    lines = ["| operation | ms a step | share |", "|---|---|---|"]
    lines += [
        f"| {kind} | {time / steps / 1e9:.2f} | {100 * time / whole:.1f}% |"
        for kind, time in times.most_common(most)
    ]
    return "\n".join([*lines, f"| all | {whole / steps / 1e9:.2f} | |"])


def main() -> None:
    """Trains, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", type=Path, help="folder with the files of the task")
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

        class Profiling(Stopwatch):
            """Its measurement is what is profiled."""

            def step(self, tokens: float, loss_sum: float = 0.0) -> bool:
                is_over = super().step(tokens, loss_sum)
                if is_over:
                    tf.profiler.experimental.stop()
                elif not self.steps and self._taken == self._warm_up:
                    tf.profiler.experimental.start(folder)
                return is_over

        class ProfiledRequest(Request):
            def stopwatch(self) -> Any:
                return Profiling(self.warm_up, self.steps, self.seconds)

        settings = Settings(attention=options.attention, dtype=options.dtype)
        request = ProfiledRequest(options.task, settings, options.steps, None, 20, None, None)
        result = this_package.train(request)
        times: Counter[str] = Counter()
        for events in read_threads(Path(folder)):
            times.update(own_times(events))
    print(table(times, options.steps))
    print(f"\n{1000 * result['seconds'] / result['steps']:.1f} ms a step by the clock")


if __name__ == "__main__":
    main()
