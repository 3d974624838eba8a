"""Run the benchmarks and write the results.

    python -m benchmarks [--task FOLDER] [--corpus CORPUS] [--rounds N] [--short] …

Called by `make bench` and `make bench-short`.
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
from benchmarks.growth_chart import plot_growth
from benchmarks.plan import CONTENDERS, OURS, PARTS, exclude, full_plan, short_plan
from benchmarks.report import format_report
from benchmarks.runner import Runner, count_tokens, describe_machine
from benchmarks.task import CHAPTER_PAIRS, is_task, read_lengths

HERE = Path(__file__).resolve().parent


def parse_options(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", type=Path, metavar="FOLDER",
                        help="folder of the task; default: made from the corpus")  # fmt: skip
    parser.add_argument("--corpus", default="fra-eng", help="as for keras-s2s train")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART",
                        help=", ".join(PARTS))  # fmt: skip
    parser.add_argument("--without", nargs="+", default=[], metavar="CONTENDER",
                        choices=[name for name in CONTENDERS if name not in (OURS, "machine")],
                        help="contenders to exclude, such as OpenNMT-tf")  # fmt: skip
    parser.add_argument("--rounds", type=int, default=3, help="number of interleaved rounds")
    parser.add_argument(
        "--seconds", type=float, default=40, help="duration of training per measurement"
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads per contender")
    parser.add_argument(
        "--work", type=Path, metavar="FOLDER", help="folder of records, models and logs"
    )
    parser.add_argument("--results", type=Path, metavar="FOLDER", help="folder of the results")
    parser.add_argument("--short", action="store_true", help="smoke test of a minute")
    parser.add_argument("--resume", action="store_true",
                        help="keep the records of the last run")  # fmt: skip
    parser.add_argument(
        "--report-only", action="store_true", help="rewrite RESULTS.md from results.json"
    )
    options = parser.parse_args(arguments)
    name = "short" if options.short else "full"
    options.work = options.work or environments.FOLDER / name
    options.results = options.results or (options.work if options.short else HERE)
    return options


def log(message: str) -> None:
    """Print a line of progress to stderr."""
    print(f"{time.strftime('%H:%M:%S')} {message}", file=sys.stderr, flush=True)


def prepare(options: argparse.Namespace) -> tuple[Path, Path]:
    """Return the folders of the task and of the chapter's pairs, creating missing ones."""

    # In its own process: memory of this process would count for its children.
    def run(folder: Path, *arguments: str) -> None:
        script = os.fspath(HERE / "task.py")
        command = [sys.executable, script, options.corpus, os.fspath(folder), *arguments]
        process = subprocess.run(command, stderr=subprocess.PIPE, text=True)
        if process.returncode:  # the lines before are TensorFlow's
            sys.exit(process.stderr.strip().rpartition("\n")[2])

    task = options.task
    if task is None:
        task = options.work.parent / "task"
        if not is_task(task):
            run(task)
    elif not is_task(task):
        sys.exit(f"{task}: not the folder of a task; see benchmarks/task.py for its files")
    chapter = task
    if not (task / "chapter.en").exists():
        chapter = options.work / "chapter"
        run(chapter, "--chapter-only")
    return task, chapter


def describe(options: argparse.Namespace, task: Path, chapter: Path) -> dict[str, Any]:
    """Return the metadata of the results."""
    vocab_size = (task / "vocab.fr").read_text(encoding="utf-8").count("\n")
    chapter_lengths = read_lengths(chapter, "chapter")
    words: dict[str, int] = {}
    for word in (chapter / "chapter.fr").read_text(encoding="utf-8").split():
        words[word] = words.get(word, 0) + 1
    return {
        "command": "bench-short" if options.short else "bench",
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "machine": describe_machine(),
        "threads": options.threads,
        "task": options.corpus if options.task is None else options.task.name,
        "train": {
            **count_tokens(read_lengths(task, "train")),
            "vocab_size": vocab_size + 4,
        },
        "chapter": {
            **count_tokens(chapter_lengths[:CHAPTER_PAIRS]),
            "vocab_size": sum(count >= 3 for count in words.values()) + 4,
        },
    }


def write(document: dict[str, Any], folder: Path) -> None:
    """Write `results.json`, `RESULTS.md` and, if growth was measured, `growth.png`."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(document, indent=1, ensure_ascii=False)
    (folder / "results.json").write_text(text + "\n", encoding="utf-8")
    (folder / "RESULTS.md").write_text(format_report(document), encoding="utf-8")
    if growth_points(document):
        plot_growth(document, folder / "growth.png")


def main() -> None:
    """Run the requested measurements, or rewrite the report."""
    options = parse_options()
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
        phases = exclude(full_plan(*sizes, options.parts), options.without)
    runner = Runner(task, chapter, options.work, options.threads, log)
    records = runner.run(phases, plan)
    document = {"meta": describe(options, task, chapter), "records": records}
    write(document, options.results)
    if options.short:
        print(format_report(document))
    log(f"{options.results / 'RESULTS.md'}")


if __name__ == "__main__":
    main()
