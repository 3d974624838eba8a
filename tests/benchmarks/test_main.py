"""The benchmarks as a command."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.plan import OURS

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_short_form_runs(tmp_path, phrasebook):
    tsv = tmp_path / "pairs.tsv"
    rows = zip(phrasebook.source, phrasebook.target, strict=True)
    tsv.write_text("".join(f"{a}\t{b}\n" for a, b in rows), encoding="utf-8")
    command = [sys.executable, "-m", "benchmarks.task", str(tsv), str(tmp_path / "task")]
    subprocess.run([*command, "--held-out", "50"], check=True, cwd=ROOT)
    command = [sys.executable, "-m", "benchmarks", "--short", "--corpus", str(tsv)]
    command += ["--task", str(tmp_path / "task"), "--work", str(tmp_path / "work")]
    page = subprocess.run(command, check=True, cwd=ROOT, capture_output=True, text=True).stdout
    results = json.loads((tmp_path / "work" / "results.json").read_text(encoding="utf-8"))
    ran = {(one["part"], one["contender"]) for one in results["records"] if one["result"]}
    assert {("chapter", OURS), ("train", OURS), ("train", "plain Keras")} <= ran
    assert (tmp_path / "work" / "RESULTS.md").read_text(encoding="utf-8").strip() == page.strip()
    loss = next(one for one in results["records"] if one["part"] == "chapter")["result"]["loss"]
    assert 0 < loss < 6
