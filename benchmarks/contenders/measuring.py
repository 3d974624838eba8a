"""Shared by all contenders: command line, settings, counting and timing.

A contender is a script with a function for each job that it supports, which it passes to `run`:

    python NAME.py TASK JOB [--settings JSON] [--steps N] [--seconds S] [--model FOLDER]
                            [--translations FILE]

It prints the result as one line of JSON on stdout; all other output goes to stderr. This module
needs only the standard library, since each contender has its own environment.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

PROCESS_START = time.perf_counter()

# Maximum length of a translation, for all contenders.
MAX_OUTPUT_TOKENS = 30
NUM_SINGLE_SENTENCES = 200


@dataclass
class Settings:
    """Hyperparameters of a model and its training, the same for all contenders."""

    attention: str = "none"  # or luong, with Luong's "general" score
    dtype: str = "float32"  # or bfloat16
    embed_size: int = 256
    num_hiddens: int = 512
    num_layers: int = 2
    batch_size: int = 64
    learning_rate: float = 0.001
    clip_norm: float = 1.0
    seed: int = 1
    threads: int = field(default_factory=lambda: os.cpu_count() or 1)
    epochs: int = 300  # chapter job only
    corpus: str = "fra-eng"  # chapter job only
    through: str = "python"  # or session or loop: how this package translates
    input_feeding: bool = False
    # Varied when scaling of the cost is measured; None for the values of the task.
    pairs: int | None = None
    sentence_tokens: int | None = None
    vocab_size: int | None = None


class Request(NamedTuple):
    """The arguments of a job.

    Attributes:
        task: folder with the files of the task; see `benchmarks/task.py`.
        settings: hyperparameters.
        steps: number of training steps to measure, or None.
        seconds: duration of the measurement, or None; at least one of both is set.
        warm_up: number of steps before it.
        model: folder that a trained model is written to or read from, or None.
        translations: file that translations are written to, or None.
    """

    task: Path
    settings: Settings
    steps: int | None
    seconds: float | None
    warm_up: int
    model: Path | None
    translations: Path | None

    def stopwatch(self) -> "Stopwatch":
        """Return a stopwatch for the requested steps or seconds."""
        return Stopwatch(self.warm_up, self.steps, self.seconds)


class StopTraining(Exception):
    """Raised in a callback to end a training loop that has no other way to stop."""


class Stopwatch:
    """Measures training throughput in target tokens after a warm-up.

    Args:
        warm_up: number of steps that are not measured, at least 1: they trace graphs and allocate
            memory.
        steps: number of steps to measure.
        seconds: duration of the measurement; the step in progress is included.
        clock: returns seconds.
    """

    def __init__(
        self,
        warm_up: int,
        steps: int | None,
        seconds: float | None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        if warm_up < 1 or (steps is None and seconds is None):
            raise ValueError("a stopwatch needs a warm-up, and steps or seconds to stop after")
        self._warm_up, self._max_steps, self._max_seconds = warm_up, steps, seconds
        self._clock = clock
        self._start = 0.0
        self._total_steps = 0
        self.steps, self.tokens, self.seconds, self.loss_sum = 0, 0, 0.0, 0.0
        self.start_up = 0.0

    def step(self, tokens: float, loss_sum: float = 0.0) -> bool:
        """Record the end of a step.

        Args:
            tokens: number of target tokens of the step, with `</s>` and without padding.
            loss_sum: sum of their losses in nats, if available.

        Returns:
            Whether the measurement is complete.
        """
        now = self._clock()
        self._total_steps += 1
        if self._total_steps <= self._warm_up:
            self._start = now
            self.start_up = now - PROCESS_START
            return False
        self.steps += 1
        self.tokens += round(tokens)
        self.loss_sum += loss_sum
        self.seconds = now - self._start
        return (self._max_steps is not None and self.steps >= self._max_steps) or (
            self._max_seconds is not None and self.seconds >= self._max_seconds
        )

    def result(self) -> dict[str, Any]:
        """Return the result of a training job.

        Raises:
            RuntimeError: training ended during the warm-up.
        """
        if not self.steps:
            raise RuntimeError(
                f"training ended after {self._total_steps} steps, during the warm-up"
            )
        result: dict[str, Any] = {
            "steps": self.steps,
            "tokens": self.tokens,
            "seconds": self.seconds,
            "start_up": self.start_up,
        }
        if self.loss_sum:
            result["loss"] = self.loss_sum / self.tokens
        return result


def measure_translation(
    request: Request,
    sentences: Sequence[str],
    translate: Callable[[Sequence[str], int | None], list[str]],
) -> dict[str, Any]:
    """Time greedy translation in three modes, from text to text.

    `file`: all sentences at once, in batches of the contender's choice; `batches`: 32 at a time in
    file order; `single`: the first 200, one at a time. Loading the model is not included.

    Args:
        request: the file for the translations in mode `file`.
        sentences: words separated by spaces.
        translate: takes sentences and a batch size, None for the contender's choice; returns
            translations in the same order.

    Returns:
        For each mode `sentences`, `tokens` (of the translations, with `</s>`), `source_tokens` and
        `seconds`; for `single` also `median_milliseconds`.
    """
    single = sentences[:NUM_SINGLE_SENTENCES]
    for batch_size in (None, 32, 1):
        translate(sentences[: (batch_size or 128) * 2], batch_size)
    result: dict[str, Any] = {}
    start = time.perf_counter()
    outputs = translate(sentences, None)
    result["file"] = _translation_counts(sentences, outputs, time.perf_counter() - start)
    if request.translations is not None:
        text = "".join(f"{output}\n" for output in outputs)
        request.translations.write_text(text, encoding="utf-8")
    start = time.perf_counter()
    outputs = translate(sentences, 32)
    result["batches"] = _translation_counts(sentences, outputs, time.perf_counter() - start)
    times, outputs = [], []
    for sentence in single:
        start = time.perf_counter()
        outputs += translate([sentence], 1)
        times.append(time.perf_counter() - start)
    result["single"] = _translation_counts(single, outputs, sum(times))
    result["single"]["median_milliseconds"] = 1000 * statistics.median(times)
    return result


def _translation_counts(
    sentences: Sequence[str], outputs: Sequence[str], seconds: float
) -> dict[str, Any]:
    if len(outputs) != len(sentences):
        raise RuntimeError(f"{len(outputs)} translations of {len(sentences)} sentences")
    return {
        "sentences": len(sentences),
        "source_tokens": sum(len(sentence.split()) for sentence in sentences),
        "tokens": sum(len(output.split()) + 1 for output in outputs),
        "seconds": seconds,
    }


def translate_in_batches(
    sentences: Sequence[str],
    batch_size: int | None,
    translate: Callable[[list[str]], list[str]],
    default_size: int = 128,
) -> list[str]:
    """Translate in batches; return translations in the order of the sentences.

    Args:
        sentences: words separated by spaces.
        batch_size: sentences per batch, in file order; None for batches sorted by length.
        translate: translates one batch.
        default_size: sentences per batch if `batch_size` is None.
    """
    order = list(range(len(sentences)))
    if batch_size is None:
        order.sort(key=lambda i: len(sentences[i].split()))
    outputs = [""] * len(sentences)
    size = batch_size or default_size
    for start in range(0, len(order), size):
        indices = order[start : start + size]
        batch = translate([sentences[i] for i in indices])
        for i, output in zip(indices, batch, strict=True):
            outputs[i] = output
    return outputs


def process_memory(name: str = "VmRSS", process: int | str = "self") -> int | None:
    """Return the resident memory of a process, or its peak (`VmHWM`), in bytes; Linux only."""
    try:
        words = Path(f"/proc/{process}/status").read_text().partition(f"{name}:")[2].split()
    except OSError:
        return None
    return 1024 * int(words[0]) if words else None


def package_versions(*packages: str) -> dict[str, str]:
    """Return the versions of Python and of installed packages."""
    return {"python": platform.python_version()} | {
        package: metadata.version(package) for package in packages
    }


def limit_tensorflow_threads(settings: Settings) -> None:
    """Set TensorFlow's thread pools, unless the number is its default, the number of cores."""
    if settings.threads != os.cpu_count():
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(settings.threads)
        tf.config.threading.set_inter_op_parallelism_threads(settings.threads)


def run(jobs: dict[str, Callable[[Request], dict[str, Any]]], *packages: str) -> None:
    """Run the job of the command line and print the result.

    Args:
        jobs: functions by job name.
        *packages: packages whose versions are part of the result.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("task", type=Path, help="folder with the files of the task")
    parser.add_argument("job", choices=jobs)
    parser.add_argument("--settings", type=json.loads, default={}, metavar="JSON")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--warm-up", type=int, default=20, metavar="STEPS")
    parser.add_argument("--model", type=Path, metavar="FOLDER")
    parser.add_argument("--translations", type=Path, metavar="FILE")
    options = parser.parse_args()
    unknown = options.settings.keys() - {setting.name for setting in fields(Settings)}
    if unknown:
        parser.error(f"no settings {', '.join(sorted(unknown))}")
    request = Request(
        options.task,
        Settings(**options.settings),
        options.steps,
        options.seconds,
        options.warm_up,
        options.model,
        options.translations,
    )
    if request.model is not None and options.job != "translate":
        if request.model.exists() and any(request.model.iterdir()):
            parser.error(f"{request.model} is not empty")
        request.model.mkdir(parents=True, exist_ok=True)
    # Frameworks print, some from C++: redirect stdout, so that only the result goes there.
    stdout = os.dup(1)
    os.dup2(2, 1)
    # Here the imports at the top of the script are loaded.
    result = {"imported_memory": process_memory(), **jobs[options.job](request)}
    result["settings"] = asdict(request.settings)
    result["versions"] = package_versions(*packages)
    sys.stdout.flush()
    os.write(stdout, (json.dumps(result) + "\n").encode())
    sys.stderr.flush()
    # Skip interpreter shutdown: some frameworks take seconds for it, or crash.
    os._exit(0)
