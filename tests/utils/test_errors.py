"""One-line messages."""

from pathlib import Path

import pytest

from keras_s2s.utils.errors import did_you_mean, first_line, one_line, printable


def test_one_line():
    assert one_line(ValueError(" bad\n\tshape  (3,) ")) == "bad shape (3,)"
    assert one_line("abc" * 10, 12) == "abcabcabc..."
    assert one_line("abcdefghijkl", 12) == "abcdefghijkl"


def test_first_line():
    assert first_line(ValueError("\nno such op\nstack trace\n")) == "no such op"
    assert first_line("") == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("œufs.tsv", "œufs.tsv"),
        (Path("a\nb"), "a\\nb"),
        ("\x1b[2Jname", "\\x1b[2Jname"),
        ("\udcff", "\\udcff"),
        ("\u202e", "\\u202e"),
    ],
)
def test_printable(text, expected):
    assert printable(text) == expected
    assert printable(text).isprintable()


def test_printable_keeps_characters():
    assert printable("a\tb\nc", keep="\n") == "a\\tb\nc"


def test_did_you_mean():
    assert did_you_mean("fra-egn", ["phrasebook", "fra-eng"]) == "; did you mean fra-eng?"
    assert did_you_mean("x", []) == ""
    names = ["--wait", "--valid-fraction", "--num-layers", "--output-dropout", "--cell"]
    assert did_you_mean("--valid", names) == "; did you mean --valid-fraction?"
    assert did_you_mean("--layers", names) == "; did you mean --num-layers?"
    assert did_you_mean("--num_layer", names) == "; did you mean --num-layers?"
    assert did_you_mean("--celll", names) == did_you_mean("--clel", names) != ""
    for other in ("--config", "--wandb", "--call-me", "--c", "--init-from"):
        assert did_you_mean(other, names) == ""
