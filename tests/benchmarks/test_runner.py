"""Contenders as processes: measurement, records and failures."""

import sys

import pytest
from small_benchmarks import small_task

from benchmarks import environments, plan, runner
from benchmarks.plan import Contender, Measurement, Phase
from benchmarks.runner import ContenderError, Runner, run_process
from benchmarks.task import read_references


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return small_task(tmp_path_factory.mktemp("task"))


def write_script(tmp_path, text):
    path = tmp_path / "it.py"
    path.write_text(text, encoding="utf-8")
    return path


def test_process_is_measured(tmp_path):
    lines = "import time", "x = b'1' * 10**8", "time.sleep(0.5)", "print('chatter')"
    path = write_script(tmp_path, "\n".join([*lines, "print('{\"tokens\": 5}')"]))
    memory = b"1" * 3 * 10**8  # of the parent process, which does not count
    result = run_process([sys.executable, str(path)], tmp_path / "log", 60)
    assert result["result"] == {"tokens": 5}
    assert 10**8 < result["peak_memory"] < len(memory)
    assert 0 < result["wall"] < 60


def test_failed_process(tmp_path):
    path = write_script(tmp_path, "raise RuntimeError('no such thing')\n")
    with pytest.raises(ContenderError, match="RuntimeError: no such thing"):
        run_process([sys.executable, str(path)], tmp_path / "log", 60)


def test_timeout(tmp_path):
    path = write_script(tmp_path, "import time\ntime.sleep(60)\n")
    with pytest.raises(ContenderError, match="timeout after 0 s"):
        run_process([sys.executable, str(path)], tmp_path / "log", 0.3)


SAVES = """
import sys
from pathlib import Path
saves = "--model" in sys.argv
if saves:
    folder = Path(sys.argv[sys.argv.index("--model") + 1])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "weights").write_text("1")
print('{"tokens": 9, "seconds": 3, "saves": %s}' % str(saves).lower())
"""


@pytest.fixture
def two_contenders(tmp_path, monkeypatch):
    """A contender that counts its runs, and one that fails; the arguments of the runner."""
    counts = tmp_path / "count"
    good = f"open({str(counts)!r}, 'a').write('x')\nprint('{{\"tokens\": 9, \"seconds\": 3}}')\n"
    bad = f"open({str(counts)!r}, 'a').write('y')\nraise SystemExit('out of luck')\n"
    for name, text in (("good", good), ("bad", bad)):
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
        contender = Contender(name, str(tmp_path / f"{name}.py"), None, "")
        monkeypatch.setitem(plan.CONTENDERS, name, contender)
    absent = Contender("absent", "none.py", "absent", "")
    monkeypatch.setitem(plan.CONTENDERS, "absent", absent)
    monkeypatch.setattr(environments, "FOLDER", tmp_path)
    return (tmp_path, tmp_path, tmp_path / "work", 1), counts


def test_failed_contender_is_recorded_and_not_retried(two_contenders):
    arguments, counts = two_contenders
    lines = []
    measurements = tuple(Measurement("train", name, "train") for name in ("good", "bad", "absent"))
    records = Runner(*arguments, lines.append).run([Phase(measurements, 3)])
    assert counts.read_text() == "xyxx"
    assert [record["contender"] for record in records] == ["good", "bad", "absent"] * 3
    good, bad, absent = records[:3]
    assert good["result"] == {"tokens": 9, "seconds": 3}
    assert good["error"] is None
    assert (bad["result"], bad["error"]) == (None, "out of luck")
    assert "python -m benchmarks.environments absent" in absent["error"]
    assert "3 tokens/s" in lines[0]
    assert "failed: out of luck" in lines[1]


def test_resume(two_contenders):
    arguments, counts = two_contenders
    measurements = tuple(Measurement("train", name, "train") for name in ("good", "bad"))
    first = Runner(*arguments, lambda line: None).run([Phase(measurements, 2)])
    assert counts.read_text() == "xyx"
    resumed = Runner(*arguments, lambda line: None).run([Phase(measurements, 3)])
    # Failures are retried, once.
    assert counts.read_text() == "xyxyx"
    good = [record for record in resumed if record["contender"] == "good"]
    assert good[:2] == [record for record in first if record["contender"] == "good"]
    assert [record["round"] for record in good] == [1, 2, 3]


def test_records_of_other_parts_are_kept(two_contenders):
    arguments, counts = two_contenders
    parts = [Phase((Measurement(part, "good", "train"),), 1) for part in ("train", "growth")]
    Runner(*arguments, lambda line: None).run(parts[:1], parts)
    records = Runner(*arguments, lambda line: None).run(parts[1:], parts)
    assert [record["part"] for record in records] == ["train", "growth"]
    assert counts.read_text() == "xx"


def test_translation_without_a_model(two_contenders):
    arguments, _ = two_contenders
    measurement = Measurement("translate", "good", "translate", model="good luong")
    records = Runner(*arguments, lambda line: None).run([Phase((measurement,), 1)])
    assert records[0]["error"] == "no model, its training failed (good luong)"


def test_model_is_saved_in_the_first_round_only(two_contenders, tmp_path, monkeypatch):
    arguments, _ = two_contenders
    (tmp_path / "saver.py").write_text(SAVES, encoding="utf-8")
    saver = Contender("saver", str(tmp_path / "saver.py"), None, "")
    monkeypatch.setitem(plan.CONTENDERS, "saver", saver)
    trains = Measurement("chapter", "saver", "chapter", model="of it", saves=True)
    reads = Measurement("chapter", "saver", "translate", model="of it")
    phases = [Phase((trains,), 2), Phase((reads,), 2)]
    records = Runner(*arguments, lambda line: None).run(phases)
    assert [record["result"]["saves"] for record in records] == [True, False, True, True]


def test_incomplete_model_is_removed(two_contenders, tmp_path, monkeypatch):
    arguments, _ = two_contenders
    text = f"{SAVES}\nsys.exit('out of memory')\n"
    (tmp_path / "saver.py").write_text(text, encoding="utf-8")
    saver = Contender("saver", str(tmp_path / "saver.py"), None, "")
    monkeypatch.setitem(plan.CONTENDERS, "saver", saver)
    trains = Measurement("chapter", "saver", "chapter", model="of it", saves=True)
    reads = Measurement("chapter", "saver", "translate", model="of it")
    records = Runner(*arguments, lambda line: None).run([Phase((trains, reads), 1)])
    assert [record["error"] for record in records] == [
        "out of memory",
        "no model, its training failed (of it)",
    ]


def test_bleu_of_a_file(task, tmp_path):
    first = [line for line in read_references(task)[0] if line]
    (tmp_path / "right.fr").write_text("".join(f"{line}\n" for line in first), encoding="utf-8")
    assert runner.bleu(tmp_path / "right.fr", task)["none"] == pytest.approx(100)
