"""The command line of the benchmarks."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.plan import OURS

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_short_plan(tmp_path, phrasebook):
    tsv = tmp_path / "pairs.tsv"
    rows = zip(phrasebook.source, phrasebook.target, strict=True)
    tsv.write_text("".join(f"{a}\t{b}\n" for a, b in rows), encoding="utf-8")
    command = [sys.executable, "-m", "benchmarks.task", str(tsv), str(tmp_path / "task")]
    subprocess.run([*command, "--held-out", "50"], check=True, cwd=ROOT)
    command = [sys.executable, "-m", "benchmarks", "--short", "--corpus", str(tsv)]
    command += ["--task", str(tmp_path / "task"), "--work", str(tmp_path / "work")]
    report = subprocess.run(command, check=True, cwd=ROOT, capture_output=True, text=True).stdout
    results = json.loads((tmp_path / "work" / "results.json").read_text(encoding="utf-8"))
    successful = [record for record in results["records"] if record["result"]]
    assert {("chapter", OURS), ("train", OURS), ("train", "plain Keras")} <= {
        (record["part"], record["contender"]) for record in successful
    }
    assert (tmp_path / "work" / "RESULTS.md").read_text(encoding="utf-8").strip() == report.strip()
    chapter = next(record for record in successful if record["part"] == "chapter")
    assert 0 < chapter["result"]["loss"] < 6
