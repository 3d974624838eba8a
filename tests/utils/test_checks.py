"""Argument checks."""

import numpy as np
import pytest

from keras_s2s.utils.checks import (
    check_fraction,
    check_int,
    check_ints,
    check_texts,
    check_type,
)
from keras_s2s.utils.errors import InputError


def test_integers():
    assert check_int("beam", 3) == 3
    assert check_int("beam", np.int64(3)) == 3
    for value in ("3", 3.0, True, None, [3]):
        with pytest.raises(InputError, match=r"^beam is .*; give an integer$"):
            check_int("beam", value)
    with pytest.raises(InputError, match=r"^num_steps is 2; give 3 or more, since so$"):
        check_int("num_steps", 2, 3, ", since so")


def test_several_integers():
    check_ints(embed_size=1, num_layers=np.int64(2))
    with pytest.raises(InputError, match=r"^num_layers is None; give an integer$"):
        check_ints(embed_size=1, num_layers=None)
    with pytest.raises(InputError, match=r"^num_layers is 2; give 3 or more$"):
        check_ints(3, num_layers=2)


def test_fractions():
    for value in (0, 0.5, np.float32(0.9)):
        check_fraction("dropout", value)
    for value in (-0.1, 1, float("nan"), "0.1", None):
        with pytest.raises(InputError, match=r"^dropout is .*; give (0 or more|less|a number)"):
            check_fraction("dropout", value)


def test_types():
    check_type("corpus", "pairs", str, "a text")
    with pytest.raises(InputError, match=r"^corpus is 'pairs', not a dict; give another$"):
        check_type("corpus", "pairs", dict, "another")
    with pytest.raises(InputError, match=r"^corpus is a NoneType, not a dict; give another$"):
        check_type("corpus", None, dict, "another")


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("Go.", "expected a list of sentences, got one; put it in brackets"),
        (b"Go.", "expected a list of sentences, got one; put it in brackets"),
        (None, "expected a list of sentences, got None; give a list"),
        (3, "expected a list of sentences, got 3; give a list"),
        (np.array("Go."), "expected a list of sentences, got ndarray; give a list"),
        (["Go.", 3], "number 2 is 3; give each as str or bytes"),
        ([["Go."]], "number 1 is list; give each as str or bytes"),
    ],
)
def test_invalid_lists_of_texts(texts, message):
    with pytest.raises(InputError) as error:
        check_texts("sentences", texts)
    assert str(error.value) == f"sentences: {message}"


def test_lists_of_texts():
    assert check_texts("sentences", np.array(["Go.", "Hi."])) == ["Go.", "Hi."]
    assert check_texts("sentences", iter([b"Go."])) == [b"Go."]
    assert check_texts("sentences", []) == []
