"""What all contenders share: the command line, the files of the task, what is counted and timed.

A contender is a script with functions for the jobs it can do, and hands them to `run`:

    python NAME.py TASK JOB [--settings JSON] [--steps N] [--seconds S] [--model FOLDER]
                            [--translations FILE]

It prints one line of JSON, the last one on stdout; whatever else is printed goes to stderr. Only
the standard library is used here, since each contender runs in an environment of its own.
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

BEGAN = time.perf_counter()

# An answer is over after so many tokens, whoever gives it.
LONGEST_ANSWER = 30
SENTENCES_ONE_BY_ONE = 200


@dataclass
class Settings:
    """Sizes and options of a model and its training, the same for all contenders."""

    attention: str = "none"  # or luong, the score that Luong calls "general"
    dtype: str = "float32"  # or bfloat16
    embed_size: int = 256
    num_hiddens: int = 512
    num_layers: int = 2
    batch_size: int = 64
    learning_rate: float = 0.001
    clip_norm: float = 1.0
    seed: int = 1
    threads: int = field(default_factory=lambda: os.cpu_count() or 1)
    epochs: int = 300  # of the chapter's job
    corpus: str = "fra-eng"  # likewise
    through: str = "python"  # or session or loop: how this package translates
    input_feeding: bool = False
    # What varies where the growth of the cost is measured; None for what the task's files say.
    pairs: int | None = None
    sentence_tokens: int | None = None
    vocab_size: int | None = None


class Request(NamedTuple):
    """What a contender is asked to do.

    Attributes:
        task: folder with the files of the task; see `benchmarks/task.py`.
        settings: sizes and options.
        steps: how many steps of training are measured, or None.
        seconds: how long training is measured, or None; one of both is given.
        warm_up: steps before that.
        model: where a trained model is written or read, or None.
        translations: where translations are written, or None.
    """

    task: Path
    settings: Settings
    steps: int | None
    seconds: float | None
    warm_up: int
    model: Path | None
    translations: Path | None

    def stopwatch(self) -> "Stopwatch":
        """One that stops after the wanted steps or seconds."""
        return Stopwatch(self.warm_up, self.steps, self.seconds)


class Finished(Exception):
    """Ends a training loop that has no other way to be ended."""


class Stopwatch:
    """Counts target tokens and the time they take, from the end of the warm-up on.

    Args:
        warm_up: steps, at least one, that are left out: in them graphs are made and memory is
            filled.
        steps: how many steps to measure.
        seconds: for how long to measure; the step that goes on then is counted.
        now: the clock.
    """

    def __init__(
        self,
        warm_up: int,
        steps: int | None,
        seconds: float | None,
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        if warm_up < 1 or (steps is None and seconds is None):
            raise ValueError("a stopwatch needs a warm-up, and steps or seconds to stop after")
        self._warm_up, self._most_steps, self._most_seconds = warm_up, steps, seconds
        self._now = now
        self._began = 0.0
        self._taken = 0
        self.steps, self.tokens, self.seconds, self.loss_sum = 0, 0, 0.0, 0.0
        self.start_up = 0.0

    def step(self, tokens: float, loss_sum: float = 0.0) -> bool:
        """To be called at the end of each step.

        Args:
            tokens: target tokens of the step, with `</s>` and without padding.
            loss_sum: sum of their losses in nats, where it is known.

        Returns:
            Whether the measurement is over.
        """
        now = self._now()
        self._taken += 1
        if self._taken <= self._warm_up:
            self._began = now
            self.start_up = now - BEGAN
            return False
        self.steps += 1
        self.tokens += round(tokens)
        self.loss_sum += loss_sum
        self.seconds = now - self._began
        return (self._most_steps is not None and self.steps >= self._most_steps) or (
            self._most_seconds is not None and self.seconds >= self._most_seconds
        )

    def result(self) -> dict[str, Any]:
        """What a job that trains has to tell.

        Raises:
            RuntimeError: the training ended before anything was measured.
        """
        if not self.steps:
            raise RuntimeError(f"the training ended after {self._taken} steps, within the warm-up")
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
    """Times a contender's greedy translation in three ways.

    `file`: all sentences at once, in whatever batches the contender likes; `batches`: 32 at a
    time in the order of the file; `single`: the first 200, one by one. Reading the text, looking
    up the words and putting the answers together are part of it; loading the model is not.

    Args:
        request: where the translations of the whole file go.
        sentences: words with spaces between them.
        translate: from sentences and a batch size, None for the contender's choice, to answers in
            the order of the sentences.

    Returns:
        For each way `sentences`, `tokens` (of the answers, with `</s>`), `source_tokens` and
        `seconds`; for `single` also `median_milliseconds`.
    """
    one_by_one = sentences[:SENTENCES_ONE_BY_ONE]
    for batch_size in (None, 32, 1):
        translate(sentences[: (batch_size or 128) * 2], batch_size)
    result: dict[str, Any] = {}
    began = time.perf_counter()
    answers = translate(sentences, None)
    result["file"] = _answered(sentences, answers, time.perf_counter() - began)
    if request.translations is not None:
        text = "".join(f"{answer}\n" for answer in answers)
        request.translations.write_text(text, encoding="utf-8")
    began = time.perf_counter()
    answers = translate(sentences, 32)
    result["batches"] = _answered(sentences, answers, time.perf_counter() - began)
    times, answers = [], []
    for sentence in one_by_one:
        began = time.perf_counter()
        answers += translate([sentence], 1)
        times.append(time.perf_counter() - began)
    result["single"] = _answered(one_by_one, answers, sum(times))
    result["single"]["median_milliseconds"] = 1000 * statistics.median(times)
    return result


def _answered(sentences: Sequence[str], answers: Sequence[str], seconds: float) -> dict[str, Any]:
    if len(answers) != len(sentences):
        raise RuntimeError(f"{len(answers)} answers to {len(sentences)} sentences")
    return {
        "sentences": len(sentences),
        "source_tokens": sum(len(sentence.split()) for sentence in sentences),
        "tokens": sum(len(answer.split()) + 1 for answer in answers),
        "seconds": seconds,
    }


def in_batches(
    sentences: Sequence[str],
    batch_size: int | None,
    translate: Callable[[list[str]], list[str]],
    free_size: int = 128,
) -> list[str]:
    """Translates in batches: in the order of the file, or sorted by length where one is free to.

    Args:
        sentences: words with spaces between them.
        batch_size: None to be free.
        translate: for one batch.
        free_size: sentences in a batch then.
    """
    order = list(range(len(sentences)))
    if batch_size is None:
        order.sort(key=lambda number: len(sentences[number].split()))
    answers = [""] * len(sentences)
    size = batch_size or free_size
    for start in range(0, len(order), size):
        numbers = order[start : start + size]
        for number, answer in zip(
            numbers, translate([sentences[number] for number in numbers]), strict=True
        ):
            answers[number] = answer
    return answers


def resident(name: str = "VmRSS", process: int | str = "self") -> int | None:
    """Bytes of memory that a process has resident now, or (`VmHWM`) had at most; Linux only."""
    try:
        words = Path(f"/proc/{process}/status").read_text().partition(f"{name}:")[2].split()
    except OSError:
        return None
    return 1024 * int(words[0]) if words else None


def versions_of(*packages: str) -> dict[str, str]:
    """Versions of installed packages, and of Python."""
    return {"python": platform.python_version()} | {
        package: metadata.version(package) for package in packages
    }


def run(jobs: dict[str, Callable[[Request], dict[str, Any]]], *packages: str) -> None:
    """Does the job that the command line asks for, and prints the result.

    Args:
        jobs: functions by the names of the jobs.
        *packages: whose versions the result tells.
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
    # Frameworks print, and some of them from C++: only the result goes to the real stdout.
    stdout = os.dup(1)
    os.dup2(2, 1)
    # What is imported at the top of a script is there now.
    result = {"imported_memory": resident(), **jobs[options.job](request)}
    result["settings"] = asdict(request.settings)
    result["versions"] = versions_of(*packages)
    sys.stdout.flush()
    os.write(stdout, (json.dumps(result) + "\n").encode())
    sys.stderr.flush()
    # Some frameworks take seconds to clear up, or die of it.
    os._exit(0)
