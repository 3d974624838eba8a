"""Runs measurements, each in a process of its own, and keeps what they tell."""

import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import environments
from benchmarks.plan import CONTENDERS, Measurement, Phase, turns
from benchmarks.task import read_references

HERE = Path(__file__).resolve().parent

Record = dict[str, Any]


class LeftOut(Exception):
    """A contender that cannot take part, and why."""


class Runner:
    """Runs measurements in turns and writes a line of JSON for each.

    A contender that fails is not tried again in its other rounds; its records say why. What went
    well in a run before, by the file of records in the folder for work, is not measured again.

    Args:
        task: folder with the task's files.
        chapter: folder with the chapter's pairs.
        work: folder for models, translations, logs and records.
        threads: how many each contender may use.
        say: gets a line about each measurement.
    """

    def __init__(
        self, task: Path, chapter: Path, work: Path, threads: int, say: Callable[[str], None]
    ) -> None:
        self._task, self._chapter, self._work = task.resolve(), chapter.resolve(), work.resolve()
        self._threads, self._say = threads, say
        self._file = work / "records.jsonl"
        self._work.mkdir(parents=True, exist_ok=True)
        self._failed: dict[str, str] = {}
        # What failed may go well this time.
        self.records = [record for record in read_records(self._file) if not record["error"]]
        text = "".join(f"{json.dumps(record)}\n" for record in self.records)
        self._file.write_text(text, encoding="utf-8")

    def run(self, phases: Sequence[Phase], plan: Sequence[Phase] = ()) -> list[Record]:
        """Runs what has not been run.

        Args:
            phases: what is to be run.
            plan: what else there may be records of.

        Returns:
            The records of both, in the order in which they were made.
        """
        done = {(record["key"], record["round"]) for record in self.records}
        wanted = [turn for turn in turns(phases) if (turn[1].key, turn[0]) not in done]
        for number, (round_number, measurement) in enumerate(wanted, start=1):
            record = self.measure(round_number, measurement)
            self._say(f"[{number}/{len(wanted)}] {in_a_line(record)}")
            self.records.append(record)
            with open(self._file, "a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        keys = {one.key for phase in (*phases, *plan) for one in phase.measurements}
        return [record for record in self.records if record["key"] in keys]

    def measure(self, round_number: int, measurement: Measurement) -> Record:
        """One process, and what came of it."""
        record: Record = {
            **{name: value for name, value in asdict(measurement).items() if name != "saves"},
            "key": measurement.key,
            "round": round_number,
            "load": os.getloadavg()[0],
            "error": None,
            "result": None,
        }
        try:
            if measurement.key in self._failed:
                raise LeftOut(self._failed[measurement.key])
            record |= self._spawn(measurement, round_number)
        except LeftOut as reason:
            self._failed[measurement.key] = record["error"] = str(reason)
        return record

    def _spawn(self, measurement: Measurement, round_number: int) -> Record:
        way = measurement.settings.get("through", "")
        names = measurement.part, measurement.contender, measurement.label, measurement.job, way
        name = "".join(c if c.isalnum() else "-" for c in " ".join(filter(None, names)))
        command = [*self._script(measurement), *self._options(measurement)]
        model = self._work / "models" / (measurement.model or "none").replace(" ", "-")
        # One round's model is enough, and the others are spared the writing.
        writes = measurement.saves and (round_number == 1 or not model.exists())
        if writes:
            shutil.rmtree(model, ignore_errors=True)
        elif measurement.model is not None and not model.exists():
            raise LeftOut(f"there is no model: its training failed ({measurement.model})")
        if writes or (measurement.model is not None and not measurement.saves):
            command += ["--model", os.fspath(model)]
        translations = None
        if measurement.job == "translate" and measurement.part == "translate":
            translations = self._work / f"{name}.fr"
            command += ["--translations", os.fspath(translations)]
        timeout = 20 * (measurement.seconds or 60) + 3600
        try:
            found = run_process(command, self._work / "logs" / f"{name}.log", timeout)
        except LeftOut:
            if writes:  # what there is of it is not whole
                shutil.rmtree(model, ignore_errors=True)
            raise
        if translations is not None:
            found["result"]["bleu"] = bleu(translations, self._task)
        return found

    def _script(self, measurement: Measurement) -> list[str]:
        contender = CONTENDERS[measurement.contender]
        python: Path | None = Path(sys.executable)
        if contender.environment is not None:
            python = environments.interpreter(contender.environment)
        if python is None:
            raise LeftOut(environments.why_missing(contender.environment or ""))
        return [os.fspath(python), os.fspath(HERE / "contenders" / contender.script)]

    def _options(self, measurement: Measurement) -> list[str]:
        at_chapter = measurement.part == "chapter" and measurement.job != "speed"
        settings = {**measurement.settings, "threads": self._threads}
        options = [os.fspath(self._chapter if at_chapter else self._task), measurement.job]
        options += ["--settings", json.dumps(settings), "--warm-up", str(measurement.warm_up)]
        for name in ("steps", "seconds"):
            if getattr(measurement, name) is not None:
                options += [f"--{name}", str(getattr(measurement, name))]
        return options


def run_process(command: Sequence[str], log: Path, timeout: float) -> Record:
    """Runs a contender.

    Args:
        command: prints a line of JSON, last on stdout.
        log: gets what it prints on stderr.
        timeout: seconds after which it is ended.

    Returns:
        `result`, what it printed; `peak_memory`, the largest resident set, in bytes, of it and of
        each of its children by itself; `wall`, seconds from start to end.

    Raises:
        LeftOut: it failed, or took too long.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {
        **os.environ,
        # A comparison on processors alone.
        "CUDA_VISIBLE_DEVICES": "-1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONUNBUFFERED": "1",
    }
    answer = log.with_suffix(".json")
    began = time.perf_counter()
    with open(log, "wb") as errors, open(answer, "wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            env=environment,
            start_new_session=True,
        )
        memory = 0
        try:
            while True:
                memory = max(memory, _peak_memory(process.pid))
                ended, status, usage = os.wait4(process.pid, os.WNOHANG)
                if ended:
                    break
                if time.perf_counter() - began > timeout:
                    raise LeftOut(f"not done after {timeout:.0f} s")
                time.sleep(0.02)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            os.wait4(process.pid, 0)
            process.returncode = -signal.SIGKILL
            raise
        process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - began
    lines = answer.read_text(encoding="utf-8").splitlines()
    if process.returncode or not lines:
        raise LeftOut(_last_words(log) or f"ended with status {process.returncode}")
    # Kilobytes on Linux, bytes on a Mac.
    unit = 1 if sys.platform == "darwin" else 1024
    return {
        "result": json.loads(lines[-1]),
        "peak_memory": memory or usage.ru_maxrss * unit,
        "wall": wall,
    }


def _peak_memory(pid: int) -> int:
    """The most memory that a running process has had so far, in bytes; 0 where Linux does not say.

    What the system tells once it has ended also counts what the process it was forked from had.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    words = status.partition("VmHWM:")[2].split()
    return 1024 * int(words[0]) if words else 0


def _last_words(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines()]
    return next((line for line in reversed(lines) if line), "")[:200]


def bleu(translations: Path, task: Path) -> dict[str, float]:
    """BLEU against all references, words as they stand and by sacreBLEU's own tokenizer."""
    import sacrebleu

    references = read_references(task)
    texts = translations.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    return {
        tokenize: sacrebleu.corpus_bleu(
            texts, references, lowercase=True, force=True, tokenize=tokenize
        ).score
        for tokenize in ("none", "13a")
    }


def read_records(path: Path) -> list[Record]:
    """The records of a file; none where there is no file."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def in_a_line(record: Record) -> str:
    """A record for somebody who waits."""
    name = f"round {record['round']}: {record['part']}, {record['contender']} {record['label']}"
    if record["error"]:
        return f"{name}: left out: {record['error']}"
    result = record["result"]
    told = [f"{record['wall']:.0f} s"]
    if "tokens" in result:
        told.append(f"{result['tokens'] / result['seconds']:,.0f} tokens/s")
    if "file" in result:
        told.append(f"{result['file']['sentences'] / result['file']['seconds']:,.0f} sentences/s")
    return f"{name}: {', '.join(told)}"


def machine() -> dict[str, Any]:
    """What the results were measured on."""
    processor = platform.processor() or platform.machine()
    memory = None
    if sys.platform == "linux":
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        named = [line for line in text.splitlines() if line.startswith("model name")]
        processor = named[0].partition(":")[2].strip() if named else processor
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": processor,
        "cores": os.cpu_count(),
        "memory": memory,
        "system": f"{platform.system()} {platform.release()}",
    }


def token_counts(pairs: Iterable[tuple[int, int]]) -> dict[str, int]:
    """Sums over pairs of (source tokens, target tokens), for the roofline.

    Returns:
        `pairs`, `source_tokens`, `target_tokens`, and `products`, the sum of the products of
        both, which attention's work goes with.
    """
    counts = {"pairs": 0, "source_tokens": 0, "target_tokens": 0, "products": 0}
    for source, target in pairs:
        for name, number in zip(counts, (1, source, target, source * target), strict=True):
            counts[name] += number
    return counts
