"""Runs side by side."""

import json
import shutil
import subprocess

import pytest

from keras_s2s.evaluation.run_comparison import describe_runs, find_runs, table_of_runs
from keras_s2s.run_directory import git_revision


@pytest.fixture
def folder(trained_run, tmp_path):
    """A finished run, one that is not finished and has another width, and a damaged one."""
    for name in ("first", "below/second", "third"):
        shutil.copytree(trained_run, tmp_path / name)
    record = json.loads((trained_run / "run.json").read_text(encoding="utf-8"))
    del record["finished"]
    record["recipe"]["num_hiddens"] = 16
    record["git"] = {"revision": "abc", "changed": True}
    (tmp_path / "below" / "second" / "run.json").write_text(json.dumps(record), encoding="utf-8")
    (tmp_path / "third" / "run.json").write_text("{", encoding="utf-8")
    return tmp_path


def test_what_is_told_of_each(folder, trained_run):
    second, first, third = describe_runs(find_runs(folder), folder)
    assert [one["run"] for one in (first, second, third)] == ["first", "below/second", "third"]
    assert (first["state"], second["state"]) == ("finished", "not finished")
    assert third.keys() == {"run", "state", "settings"}
    assert third["state"].startswith("cannot be read (")
    record = json.loads((trained_run / "run.json").read_text(encoding="utf-8"))
    assert first["val_bleu"] == record["result"]["val_bleu"]
    assert (first["epochs"], first["of_epochs"], first["seed"]) == (2, 2, 3)
    assert first["pairs"] == record["sizes"]["train_pairs"]
    assert 0 < first["hours"] < 1
    assert second["git"] == "abc+"
    assert (first["settings"]["num_hiddens"], second["settings"]["num_hiddens"]) == (8, 16)


def test_the_command(command, folder):
    (folder / "third" / "run.json").unlink()
    outcome = command("runs", folder)
    assert outcome.status == 0, outcome.err
    heads, second, first = outcome.out.splitlines()
    assert heads.split() == [
        *("run", "state", "epochs", "loss", "val_loss", "val_bleu", "val_chrf"),
        *("tokens_per_second", "hours", "num_hiddens"),
    ]
    assert second.split()[:4] == ["below/second", "not", "finished", "2/2"]
    assert (first.split()[-1], second.split()[-1]) == ("8", "16")
    # Columns stand below their heads.
    assert first.index("finished") == heads.index("state")
    answer = json.loads(command("runs", folder / "first", "--json").out)
    assert [one["run"] for one in answer["runs"]] == ["first"]
    assert answer["runs"][0]["settings"] == {}


def test_a_table_that_is_wider_than_the_terminal(folder):
    (folder / "third" / "run.json").unlink()
    described = describe_runs(find_runs(folder), folder)
    wide = table_of_runs(described)
    assert table_of_runs(described, len(wide[0])) == wide
    heads, *rows = table_of_runs(described, len(wide[0]) - 1)
    assert heads.split() == ["run", "below/second", "first"]
    assert [row.split()[0] for row in rows][:2] == ["state", "epochs"]
    assert rows[-1].split() == ["num_hiddens", "16", "8"]
    # It goes on being a row for each run where it is narrower so.
    many = [one | {"run": f"{one['run']}-{'x' * 40}"} for one in described * 4]
    assert table_of_runs(many, 20) == table_of_runs(many)


@pytest.mark.parametrize(
    ("name", "message"), [("missing", "no such folder"), ("empty", "holds no run")]
)
def test_nothing_there(command, tmp_path, name, message):
    (tmp_path / "empty").mkdir()
    outcome = command("runs", tmp_path / name)
    assert (outcome.status, outcome.out) == (2, "")
    assert f"{tmp_path / name}: {message}" in outcome.err


def test_a_run_that_stopped_early(folder):
    run = folder / "first"
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    record["recipe"]["epochs"] = 30
    (run / "run.json").write_text(json.dumps(record), encoding="utf-8")
    [described] = describe_runs(find_runs(run), run)
    assert (described["state"], described["run"]) == ("stopped early", "first")
    assert "2/30" in table_of_runs([described])[1]


def test_the_revision_of_a_folder(tmp_path, monkeypatch):
    if not shutil.which("git"):
        pytest.skip("no git")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_revision() is None

    def git(*words):
        options = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        done = subprocess.run(["git", *options, *words], capture_output=True, check=True, text=True)
        return done.stdout.strip()

    git("init")
    (tmp_path / "file").write_text("1", encoding="utf-8")
    git("add", "file")
    git("commit", "-m", "first")
    revision = git("rev-parse", "HEAD")
    assert git_revision() == {"revision": revision, "changed": False}
    (tmp_path / "file").write_text("2", encoding="utf-8")
    assert git_revision() == {"revision": revision, "changed": True}
    monkeypatch.setenv("PATH", "")
    assert git_revision() is None


def test_a_run_whose_record_is_another_kind_of_object(folder):
    run = folder / "first"
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    (run / "run.json").write_text(json.dumps(record | {"corpus": "text"}), encoding="utf-8")
    [described] = describe_runs(find_runs(run), run)
    assert "its corpus is no object" in described["state"]
