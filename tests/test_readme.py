"""What the README says runs."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"


def test_the_python_of_the_readme(tmp_path, monkeypatch, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, str(README), "exec"), {})
    assert (tmp_path / "enfr.keras").is_file()
    assert (tmp_path / "export" / "models" / "en-fr" / "1" / "saved_model.pb").is_file()


def test_the_commands_of_the_readme_exist():
    from keras_s2s.cli import build_parser

    text = README.read_text(encoding="utf-8")
    commands = re.findall(r"^keras-s2s (.+?)(?: {2,}#.*)?$", text, re.MULTILINE)
    assert len(commands) >= 5
    for command in commands:
        arguments = [word.strip("\"'") for word in re.findall(r"\"[^\"]*\"|\S+", command)]
        build_parser().parse_args(arguments)


@pytest.mark.parametrize("target", re.findall(r"^make (\w+)", README.read_text(), re.MULTILINE))
def test_the_make_targets_of_the_readme_exist(target):
    makefile = (README.parent / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^{target}:", makefile, re.MULTILINE)
