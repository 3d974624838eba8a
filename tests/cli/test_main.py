"""Arguments, help and processes of the command."""

import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import keras_s2s as s2s
from keras_s2s.cli import data as data_commands
from keras_s2s.cli.main import main
from keras_s2s.cli.options import RENAMED_OPTIONS
from keras_s2s.cli.parser import parse
from keras_s2s.data.catalog import BUILTIN_CORPORA

COMMANDS = (
    "train",
    "prepare",
    "translate",
    "translate-shards",
    "evaluate",
    "export",
    "inspect",
    "runs",
    "web",
    "plot",
    "corpora",
)
KERAS_S2S = Path(sys.executable).with_name("keras-s2s")


def test_malformed_lines_are_skipped_on_request(command, tiny, tmp_path):
    corpus = tmp_path / "pairs.tsv"
    corpus.write_bytes(b"Go.\tVa !\nHi.\tSalut !\nno tab here\n\xff\tnot UTF-8\n")
    options = ["--run-dir", tmp_path / "run", "--epochs", 1, *tiny, "--skip-bad-lines"]
    outcome = command("train", corpus, *options)
    assert outcome.status == 0, outcome.err
    assert "2 pairs," in outcome.err
    record = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    assert record["corpus"]["skip_bad_lines"]
    assert record["sizes"]["train_pairs"] == 2


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help(name, command):
    outcome = command(*name.split(), "--help")
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out.startswith(f"usage: {f'keras-s2s {name}'.strip()} ")
    assert outcome.out.isascii()
    for other in COMMANDS if not name else ():
        assert f"    {other}" in outcome.out


def test_version(command):
    outcome = command("--version")
    assert (outcome.status, outcome.out) == (0, f"keras-s2s {s2s.__version__}\n")


def test_a_file_name_as_a_sentence(command, trained_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("my text.txt").write_text("Go.\n", encoding="utf-8")
    outcome = command("translate", trained_run, "my text.txt")
    assert outcome.status == 0
    assert len(outcome.out.splitlines()) == 1
    assert outcome.err == (
        "my text.txt is a file, and its name is translated here; translate its lines with "
        "--input 'my text.txt' --output FILE\n"
    )
    assert command("translate", trained_run, "my text").err == ""


def test_a_model_as_a_sentence(refused, trained_run, exported_run):
    for model in (trained_run, exported_run, trained_run / "model.keras"):
        line = refused("translate", trained_run, "Go.", model)
        assert line.startswith(f"{model}: is a model, where a sentence is expected")
        assert f"keras-s2s web {trained_run} {model} compares" in line


def test_warnings_are_one_line(monkeypatch, capsys):
    def warn(options):
        logging.getLogger("keras_s2s").warning("%d lines skipped", 3)

    monkeypatch.setattr(data_commands, "corpora", warn)
    assert main(["corpora"]) == 0
    assert capsys.readouterr().err == "keras-s2s: 3 lines skipped\n"
    assert logging.getLogger("keras_s2s").propagate


def test_help_of_train_has_defaults(command):
    text = " ".join(command("train", "--help").out.split())
    assert re.search(r"--num-hiddens N [^-]+ \(default: 32\)", text)
    assert re.search(r"--learning-rate X [^-]+ \(default: 0.005\)", text)
    assert re.search(r"--max-pairs N [^-]+ \(default: no limit\)", text)
    assert re.search(r"--init-scale X .+ \(default: Glorot uniform", text)
    assert text.count("no limit") == 2


def test_heavy_imports_are_deferred(pairs_file, tmp_path):
    # The package recognizes the command by the name of the script.
    script = tmp_path / "keras-s2s"
    script.write_text(
        "import sys\n"
        "from keras_s2s.cli.main import main\n"
        "status = 0\n"
        "try:\n"
        "    status = main()\n"
        "finally:\n"
        "    heavy = {'tensorflow', 'keras', 'numpy', 'rich', 'sacrebleu'}\n"
        "    if sys.argv[1:] == ['--help']:\n"
        "        heavy |= {'keras_s2s.config', 'keras_s2s.cli.training'}\n"
        "    assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "sys.exit(status)\n",
        encoding="utf-8",
    )
    for arguments, status in (
        (["--help"], 0),
        *(([name, "--help"], 0) for name in COMMANDS),
        (["corpora", "--json"], 0),
        (["translate", str(tmp_path / "missing"), "Go."], 2),
        (["train", str(pairs_file), "--run-dir", str(tmp_path / "run"), "--dropout", "2"], 2),
    ):
        done = subprocess.run([sys.executable, script, *arguments], capture_output=True)
        assert done.returncode == status, done.stderr


def test_corpora(command):
    outcome = command("corpora")
    assert (outcome.status, outcome.err) == (0, "")
    for entry in BUILTIN_CORPORA.values():
        assert entry.name in outcome.out
        assert entry.description in outcome.out
        assert entry.license in outcome.out


def test_corpora_as_json(command, monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_S2S_DATA", str(tmp_path))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    outcome = command("corpora", "--json")
    listed = json.loads(outcome.out)
    assert outcome.out.count("\n") == 1
    assert listed.keys() == BUILTIN_CORPORA.keys()
    assert listed["phrasebook"]["where"] == "bundled"
    assert Path(listed["phrasebook"]["path"]).name == "phrasebook.tsv"
    assert listed["fra-eng"]["where"] == "not here yet"
    assert listed["fra-eng"]["path"] is None


@pytest.mark.parametrize("program", [[KERAS_S2S], [sys.executable, "-m", "keras_s2s"]])
def test_a_real_process(program, trained_run, tmp_path):
    # TensorFlow logs nothing, whatever other programs have set.
    environment = {**os.environ, "KERAS_BACKEND": "jax", "TF_CPP_MIN_LOG_LEVEL": "0"}

    def run(*arguments, **streams):
        return subprocess.run([*program, *arguments], env=environment, **streams, check=False)

    piped = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    done = run("translate", trained_run, "Go.", **piped)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.count(b"\n") == 1
    done = run("translate", tmp_path / "none", "Go.", **piped)
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (2, b"", 1)


@pytest.mark.parametrize(
    "arguments",
    [
        ["MODEL", "Go.", "Wow!", "--with-scores"],
        ["MODEL", "--with-scores", "Go.", "Wow!"],
        ["--with-scores", "MODEL", "Go.", "Wow!"],
        ["MODEL", "Go.", "--with-scores", "Wow!"],
    ],
)
def test_sentences_before_and_after_options(arguments):
    options = parse(["translate", *arguments])
    assert options.model == "MODEL"
    assert options.sentences == ["Go.", "Wow!"]
    assert options.with_scores


@pytest.mark.parametrize(
    "arguments",
    [
        ["A", "B", "C", "CORPUS", "--json"],
        ["--json", "A", "B", "C", "CORPUS"],
        ["A", "--json", "B", "C", "CORPUS"],
        ["A", "B", "--json", "C", "CORPUS"],
        ["A", "B", "C", "--json", "CORPUS"],
        ["A", "--beam", "1", "B", "C", "--json", "CORPUS"],
    ],
)
def test_models_before_and_after_options(arguments):
    options = parse(["evaluate", *arguments])
    assert (options.models, options.corpus) == (["A", "B", "C"], "CORPUS")
    assert options.json


def test_one_model_before_and_after_options():
    for arguments in (["A", "CORPUS", "--json"], ["A", "--json", "CORPUS"]):
        options = parse(["evaluate", *arguments])
        assert (options.models, options.corpus) == (["A"], "CORPUS")


@pytest.mark.parametrize(
    ("command", "old", "new"),
    [(name, *names) for name in RENAMED_OPTIONS for names in RENAMED_OPTIONS[name].items()],
)
def test_old_spellings_of_options(command, old, new, capsys):
    words = {"train": ["A", "--run-dir=B"], "prepare": ["A", "--output=B"], "evaluate": ["A", "B"]}
    value = "cosine" if old == "--schedule" else "1"
    expected = vars(parse([command, *words[command], new, value]))
    for spelling in ([old, value], [f"{old}={value}"]):
        options = vars(parse([command, *words[command], *spelling]))
        del options["parser"], options["command"]
        assert options.items() <= expected.items()
    with pytest.raises(SystemExit):
        parse([command, "--help"])
    assert new in (text := capsys.readouterr().out)
    assert f"{old} " not in text
