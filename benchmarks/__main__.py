"""Runs the comparison and writes its results.

    python -m benchmarks [--task FOLDER] [--corpus CORPUS] [--rounds N] [--short] …

`make bench` and `make bench-short` call it.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from benchmarks import environments
from benchmarks.growth import growth_points
from benchmarks.picture import draw
from benchmarks.plan import CONTENDERS, OURS, PARTS, full_plan, short_plan, without
from benchmarks.report import markdown
from benchmarks.runner import Runner, machine, token_counts
from benchmarks.task import CHAPTER, is_task, read_lengths

HERE = Path(__file__).resolve().parent


def options_of(arguments: list[str] | None = None) -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", type=Path, metavar="FOLDER",
                        help="the task's files; made of the corpus when left out")  # fmt: skip
    parser.add_argument("--corpus", default="fra-eng", help="as keras-s2s train takes it")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART",
                        help=", ".join(PARTS))  # fmt: skip
    parser.add_argument("--without", nargs="+", default=[], metavar="CONTENDER",
                        choices=[name for name in CONTENDERS if name not in (OURS, "machine")],
                        help="who does not take part, such as OpenNMT-tf")  # fmt: skip
    parser.add_argument("--rounds", type=int, default=3, help="how often all take turns")
    parser.add_argument("--seconds", type=float, default=40, help="of training in a turn")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of each contender")
    parser.add_argument("--work", type=Path, metavar="FOLDER", help="for records, models and logs")
    parser.add_argument("--results", type=Path, metavar="FOLDER", help="for the results")
    parser.add_argument("--short", action="store_true", help="a minute, to see that all works")
    parser.add_argument("--resume", action="store_true",
                        help="keep what the last run has measured, and go on")  # fmt: skip
    parser.add_argument("--report-only", action="store_true", help="write results.json's page anew")
    options = parser.parse_args(arguments)
    name = "short" if options.short else "full"
    options.work = options.work or environments.FOLDER / name
    options.results = options.results or (options.work if options.short else HERE)
    return options


def say(message: str) -> None:
    """A line for somebody who waits."""
    print(f"{time.strftime('%H:%M:%S')} {message}", file=sys.stderr, flush=True)


def prepare(options: argparse.Namespace) -> tuple[Path, Path]:
    """The folders of the task and of the chapter's pairs, made where they are not there."""

    # In a process of its own: what is resident here would count as memory of all contenders.
    def run(folder: Path, *more: str) -> None:
        script = os.fspath(HERE / "task.py")
        command = [sys.executable, script, options.corpus, os.fspath(folder), *more]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
        if done.returncode:  # the rest is what TensorFlow says while it is loaded
            sys.exit(done.stderr.strip().rpartition("\n")[2])

    task = options.task
    if task is None:
        task = options.work.parent / "task"
        if not is_task(task):
            run(task)
    elif not is_task(task):
        sys.exit(f"{task}: not the folder of a task; benchmarks/task.py says what belongs there")
    chapter = task
    if not (task / "chapter.en").exists():
        chapter = options.work / "chapter"
        run(chapter, "--chapter-only")
    return task, chapter


def describe(options: argparse.Namespace, task: Path, chapter: Path) -> dict[str, Any]:
    """What the results have to tell besides the records."""
    vocabulary = (task / "vocab.fr").read_text(encoding="utf-8").count("\n")
    small = read_lengths(chapter, "chapter")
    words: dict[str, int] = {}
    for word in (chapter / "chapter.fr").read_text(encoding="utf-8").split():
        words[word] = words.get(word, 0) + 1
    return {
        "command": "bench-short" if options.short else "bench",
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "machine": machine(),
        "threads": options.threads,
        "task": options.corpus if options.task is None else options.task.name,
        "train": {
            **token_counts(read_lengths(task, "train")),
            "vocab_size": vocabulary + 4,
        },
        "chapter": {
            **token_counts(small[:CHAPTER]),
            "vocab_size": sum(count >= 3 for count in words.values()) + 4,
        },
    }


def write(document: dict[str, Any], folder: Path) -> None:
    """Writes `results.json`, `RESULTS.md` and, where growth was measured, `growth.png`."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(document, indent=1, ensure_ascii=False)
    (folder / "results.json").write_text(text + "\n", encoding="utf-8")
    (folder / "RESULTS.md").write_text(markdown(document), encoding="utf-8")
    if growth_points(document):
        draw(document, folder / "growth.png")


def main() -> None:
    """Runs what is asked for."""
    options = options_of()
    if options.report_only:
        text = (options.results / "results.json").read_text(encoding="utf-8")
        write(json.loads(text), options.results)
        return
    task, chapter = prepare(options)
    options.work.mkdir(parents=True, exist_ok=True)
    if not options.resume:
        (options.work / "records.jsonl").unlink(missing_ok=True)
    if options.short:
        plan = phases = short_plan(options.corpus)
    else:
        sizes = options.rounds, options.seconds, options.corpus
        plan = full_plan(*sizes)
        phases = without(full_plan(*sizes, options.parts), options.without)
    runner = Runner(task, chapter, options.work, options.threads, say)
    records = runner.run(phases, plan)
    document = {"meta": describe(options, task, chapter), "records": records}
    write(document, options.results)
    if options.short:
        print(markdown(document))
    say(f"{options.results / 'RESULTS.md'}")


if __name__ == "__main__":
    main()
