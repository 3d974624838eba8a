"""Run measurements, each in its own process, and record the results."""

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
from benchmarks.plan import CONTENDERS, Measurement, Phase, interleave
from benchmarks.task import read_references

HERE = Path(__file__).resolve().parent

Record = dict[str, Any]


class ContenderError(Exception):
    """The reason why a contender failed or is not installed."""


class Runner:
    """Runs interleaved measurements and appends a line of JSON for each.

    A measurement that fails is not retried in later rounds. Successful records of an earlier run in
    the work folder are kept, and not measured again.

    Args:
        task: folder of the task.
        chapter: folder of the chapter's pairs.
        work: folder of models, translations, logs and records.
        threads: number of threads of each contender.
        log: receives a line after each measurement.
    """

    def __init__(
        self, task: Path, chapter: Path, work: Path, threads: int, log: Callable[[str], None]
    ) -> None:
        self._task, self._chapter, self._work = task.resolve(), chapter.resolve(), work.resolve()
        self._threads, self._log = threads, log
        self._file = work / "records.jsonl"
        self._work.mkdir(parents=True, exist_ok=True)
        self._failed: dict[str, str] = {}
        # Failures are retried.
        self.records = [record for record in read_records(self._file) if not record["error"]]
        text = "".join(f"{json.dumps(record)}\n" for record in self.records)
        self._file.write_text(text, encoding="utf-8")

    def run(self, phases: Sequence[Phase], plan: Sequence[Phase] = ()) -> list[Record]:
        """Run the measurements that have no record yet.

        Args:
            phases: the measurements.
            plan: other measurements whose records are kept.

        Returns:
            The records of both, in chronological order.
        """
        done = {(record["key"], record["round"]) for record in self.records}
        pending = [item for item in interleave(phases) if (item[1].key, item[0]) not in done]
        for count, (round_index, measurement) in enumerate(pending, start=1):
            record = self.measure(round_index, measurement)
            self._log(f"[{count}/{len(pending)}] {summarize(record)}")
            self.records.append(record)
            with open(self._file, "a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        keys = {item.key for phase in (*phases, *plan) for item in phase.measurements}
        return [record for record in self.records if record["key"] in keys]

    def measure(self, round_index: int, measurement: Measurement) -> Record:
        """Run a measurement once; return its record."""
        record: Record = {
            **{name: value for name, value in asdict(measurement).items() if name != "saves"},
            "key": measurement.key,
            "round": round_index,
            "load": os.getloadavg()[0],
            "error": None,
            "result": None,
        }
        try:
            if measurement.key in self._failed:
                raise ContenderError(self._failed[measurement.key])
            record |= self._spawn(measurement, round_index)
        except ContenderError as reason:
            self._failed[measurement.key] = record["error"] = str(reason)
        return record

    def _spawn(self, measurement: Measurement, round_index: int) -> Record:
        through = measurement.settings.get("through", "")
        names = measurement.part, measurement.contender, measurement.label, measurement.job, through
        name = "".join(c if c.isalnum() else "-" for c in " ".join(filter(None, names)))
        command = [*self._script(measurement), *self._options(measurement)]
        model = self._work / "models" / (measurement.model or "none").replace(" ", "-")
        # Save the model in the first round only.
        writes = measurement.saves and (round_index == 1 or not model.exists())
        if writes:
            shutil.rmtree(model, ignore_errors=True)
        elif measurement.model is not None and not model.exists():
            raise ContenderError(f"no model, its training failed ({measurement.model})")
        if writes or (measurement.model is not None and not measurement.saves):
            command += ["--model", os.fspath(model)]
        translations = None
        if measurement.job == "translate" and measurement.part == "translate":
            translations = self._work / f"{name}.fr"
            command += ["--translations", os.fspath(translations)]
        timeout = 20 * (measurement.seconds or 60) + 3600
        try:
            result = run_process(command, self._work / "logs" / f"{name}.log", timeout)
        except ContenderError:
            if writes:  # it may be incomplete
                shutil.rmtree(model, ignore_errors=True)
            raise
        if translations is not None:
            result["result"]["bleu"] = bleu(translations, self._task)
        return result

    def _script(self, measurement: Measurement) -> list[str]:
        contender = CONTENDERS[measurement.contender]
        python: Path | None = Path(sys.executable)
        if contender.environment is not None:
            python = environments.interpreter(contender.environment)
        if python is None:
            raise ContenderError(environments.installation_error(contender.environment or ""))
        return [os.fspath(python), os.fspath(HERE / "contenders" / contender.script)]

    def _options(self, measurement: Measurement) -> list[str]:
        is_chapter = measurement.part == "chapter" and measurement.job != "speed"
        settings = {**measurement.settings, "threads": self._threads}
        options = [os.fspath(self._chapter if is_chapter else self._task), measurement.job]
        options += ["--settings", json.dumps(settings), "--warm-up", str(measurement.warm_up)]
        for name in ("steps", "seconds"):
            if getattr(measurement, name) is not None:
                options += [f"--{name}", str(getattr(measurement, name))]
        return options


def run_process(command: Sequence[str], log: Path, timeout: float) -> Record:
    """Run a contender.

    Args:
        command: its last line on stdout is JSON.
        log: file for stderr.
        timeout: seconds after which it is killed.

    Returns:
        `result`, the JSON; `peak_memory`, the largest peak resident set size of the process or one
        of its children, in bytes; `wall`, the duration in seconds.

    Raises:
        ContenderError: it failed or timed out.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {
        **os.environ,
        # CPU only.
        "CUDA_VISIBLE_DEVICES": "-1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONUNBUFFERED": "1",
    }
    output_file = log.with_suffix(".json")
    start = time.perf_counter()
    with open(log, "wb") as errors, open(output_file, "wb") as output:
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
                if time.perf_counter() - start > timeout:
                    raise ContenderError(f"timeout after {timeout:.0f} s")
                time.sleep(0.02)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            os.wait4(process.pid, 0)
            process.returncode = -signal.SIGKILL
            raise
        process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - start
    lines = output_file.read_text(encoding="utf-8").splitlines()
    if process.returncode or not lines:
        raise ContenderError(_last_line(log) or f"exit status {process.returncode}")
    # `ru_maxrss` is in kilobytes on Linux, in bytes on macOS.
    unit = 1 if sys.platform == "darwin" else 1024
    return {
        "result": json.loads(lines[-1]),
        "peak_memory": memory or usage.ru_maxrss * unit,
        "wall": wall,
    }


def _peak_memory(pid: int) -> int:
    """Return the peak memory of a running process in bytes; 0 if unknown.

    `ru_maxrss` would include the memory of the process that it was forked from.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    fields = status.partition("VmHWM:")[2].split()
    return 1024 * int(fields[0]) if fields else 0


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines()]
    return next((line for line in reversed(lines) if line), "")[:200]


def bleu(translations: Path, task: Path) -> dict[str, float]:
    """Return BLEU against all references, without tokenization and with sacreBLEU's 13a."""
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
    """Return the records of a file, if it exists."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def summarize(record: Record) -> str:
    """Return a record as a line of text."""
    name = f"round {record['round']}: {record['part']}, {record['contender']} {record['label']}"
    if record["error"]:
        return f"{name}: failed: {record['error']}"
    result = record["result"]
    figures = [f"{record['wall']:.0f} s"]
    if "tokens" in result:
        figures.append(f"{result['tokens'] / result['seconds']:,.0f} tokens/s")
    if "file" in result:
        figures.append(
            f"{result['file']['sentences'] / result['file']['seconds']:,.0f} sentences/s"
        )
    return f"{name}: {', '.join(figures)}"


def describe_machine() -> dict[str, Any]:
    """Return a description of the machine."""
    processor = platform.processor() or platform.machine()
    memory = None
    if sys.platform == "linux":
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        models = [line for line in text.splitlines() if line.startswith("model name")]
        processor = models[0].partition(":")[2].strip() if models else processor
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": processor,
        "cores": os.cpu_count(),
        "memory": memory,
        "system": f"{platform.system()} {platform.release()}",
    }


def count_tokens(lengths: Iterable[tuple[int, int]]) -> dict[str, int]:
    """Return sums over pairs, given (source tokens, target tokens), for the roofline.

    Returns:
        `pairs`, `source_tokens`, `target_tokens`, and `products`, the sum of the products of both,
        to which the work of attention is proportional.
    """
    counts = {"pairs": 0, "source_tokens": 0, "target_tokens": 0, "products": 0}
    for source, target in lengths:
        for name, value in zip(counts, (1, source, target, source * target), strict=True):
            counts[name] += value
    return counts
