"""Comparison of runs."""

import json
import shutil
import subprocess

import pytest

from keras_s2s.evaluation.run_comparison import describe_runs, find_runs, format_runs
from keras_s2s.run_directory import git_revision


@pytest.fixture
def folder(trained_run, tmp_path):
    """A finished run, an unfinished one with another `num_hiddens`, and a damaged one."""
    for name in ("first", "below/second", "third"):
        shutil.copytree(trained_run, tmp_path / name)
    record = json.loads((trained_run / "run.json").read_text(encoding="utf-8"))
    del record["finished"]
    record["recipe"]["num_hiddens"] = 16
    record["git"] = {"revision": "abc", "changed": True}
    (tmp_path / "below" / "second" / "run.json").write_text(json.dumps(record), encoding="utf-8")
    (tmp_path / "third" / "run.json").write_text("{", encoding="utf-8")
    return tmp_path


def test_describe_runs(folder, trained_run):
    second, first, third = describe_runs(find_runs(folder), folder)
    assert [summary["run"] for summary in (first, second, third)] == [
        "first",
        "below/second",
        "third",
    ]
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
    header, second, first = outcome.out.splitlines()
    assert header.split() == [
        *("run", "state", "epochs", "loss", "val_loss", "val_bleu", "val_chrf"),
        *("tokens_per_second", "hours", "num_hiddens"),
    ]
    assert second.split()[:4] == ["below/second", "not", "finished", "2/2"]
    assert (first.split()[-1], second.split()[-1]) == ("8", "16")
    # Columns are aligned with their headers.
    assert first.index("finished") == header.index("state")
    answer = json.loads(command("runs", folder / "first", "--json").out)
    assert [summary["run"] for summary in answer["runs"]] == ["first"]
    assert answer["runs"][0]["settings"] == {}


def test_table_wider_than_the_terminal(folder):
    (folder / "third" / "run.json").unlink()
    described = describe_runs(find_runs(folder), folder)
    wide = format_runs(described)
    assert format_runs(described, len(wide[0])) == wide
    header, *rows = format_runs(described, len(wide[0]) - 1)
    assert header.split() == ["run", "below/second", "first"]
    assert [row.split()[0] for row in rows][:2] == ["state", "epochs"]
    assert rows[-1].split() == ["num_hiddens", "16", "8"]
    # Not transposed where that would not be narrower.
    many = [run | {"run": f"{run['run']}-{'x' * 40}"} for run in described * 4]
    assert format_runs(many, 20) == format_runs(many)


@pytest.mark.parametrize(
    ("name", "reason"), [("missing", "no such folder"), ("empty", "no run.json")]
)
def test_folder_without_runs(command, tmp_path, name, reason):
    (tmp_path / "empty").mkdir()
    outcome = command("runs", tmp_path / name)
    assert (outcome.status, outcome.out) == (2, "")
    assert f"{tmp_path / name}: " in outcome.err
    assert reason in outcome.err


def test_run_that_stopped_early(folder):
    run = folder / "first"
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    record["recipe"]["epochs"] = 30
    (run / "run.json").write_text(json.dumps(record), encoding="utf-8")
    [described] = describe_runs(find_runs(run), run)
    assert (described["state"], described["run"]) == ("stopped early", "first")
    assert "2/30" in format_runs([described])[1]


def test_git_revision(tmp_path, monkeypatch):
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


def test_git_revision_runs_no_program_of_the_repository(tmp_path, monkeypatch):
    if not shutil.which("git"):
        pytest.skip("no git")
    repository, marker = tmp_path / "repository", tmp_path / "was-run"
    repository.mkdir()
    monkeypatch.chdir(repository)

    def git(*words):
        options = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(["git", *options, *words], capture_output=True, check=True)

    git("init")
    (repository / "file").write_text("1", encoding="utf-8")
    (repository / ".gitattributes").write_text("file filter=evil\n", encoding="utf-8")
    git("add", ".")
    git("commit", "-m", "first")
    script = tmp_path / "script"
    script.write_text(f'#!/bin/sh\necho "$0" >> "{marker}"\ncat\n', encoding="utf-8")
    script.chmod(0o755)
    shutil.copy(script, repository / ".git" / "hooks" / "post-index-change")
    git("config", "core.fsmonitor", str(script))
    git("config", "filter.evil.clean", str(script))
    git("config", "filter.evil.process", str(script))
    git("config", "filter.evil.required", "true")
    # Of the same size, so that git has to compare the contents.
    (repository / "file").write_text("2", encoding="utf-8")
    assert git_revision()["changed"] is True
    assert not marker.exists(), marker.read_text(encoding="utf-8")
    subprocess.run(["git", "status"], capture_output=True, check=False)
    assert marker.exists(), "this repository does run programs"


def test_run_with_a_malformed_record(folder):
    run = folder / "first"
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    (run / "run.json").write_text(json.dumps(record | {"corpus": "text"}), encoding="utf-8")
    [described] = describe_runs(find_runs(run), run)
    assert described["state"].startswith("cannot be read (")
    assert "corpus" in described["state"]


def test_names_are_plain_text(folder):
    """Markup and wide characters of a name change neither its text nor the alignment."""
    (folder / "third" / "run.json").unlink()
    described = describe_runs(find_runs(folder), folder)
    for summary, name in zip(described, ("[b]a[/b] :smile:", "日本"), strict=True):
        summary["run"] = name
    header, first, second = format_runs(described)
    assert first.startswith("[b]a[/b] :smile:  not finished")
    assert second.startswith("日本              finished")
    assert header.index("state") == len("[b]a[/b] :smile:  ")
