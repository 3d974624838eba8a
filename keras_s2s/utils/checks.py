"""What a call may be given: values of a wrong kind are told before they get into TensorFlow."""

import numbers
import operator
from collections.abc import Iterable
from typing import Any

from keras_s2s.utils.errors import InputError

# Servers read the name of a version's folder as a signed number of 64 bits.
MAX_VERSION = 2**63 - 1


def check_int(name: str, value: Any, at_least: int = 1, advice: str = "") -> int:
    """Returns a whole number of a call.

    Args:
        name: of the argument.
        value: what was given.
        at_least: the smallest it may be.
        advice: what to say after "give … or more".

    Raises:
        InputError: it is no whole number, or too small.

    Example:

    >>> check_whole_number("batch_size", 64)
    64
    """
    # To Python, True is a whole number; those of NumPy are no `int`.
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise InputError(f"{name} is {value!r}; give a whole number")
    if value < at_least:
        raise InputError(f"{name} is {value}; give {at_least} or more{advice}")
    return operator.index(value)


def check_ints(at_least: int = 1, /, **values: Any) -> None:
    """Makes sure of several whole numbers of a call, by name; see `check_int`.

    Raises:
        InputError: one is no whole number, or too small.

    Example:

    >>> check_whole_numbers(embed_size=32, num_layers=0)
    Traceback (most recent call last):
    keras_s2s.errors.InputError: num_layers is 0; give 1 or more
    """
    for name, value in values.items():
        check_int(name, value, at_least)


def check_fraction(name: str, value: Any) -> None:
    """Makes sure of a number from 0 to 1, without 1.

    Raises:
        InputError: it is none.
    """
    if not isinstance(value, numbers.Real) or not 0 <= float(value) < 1:
        raise InputError(f"{name} is {value!r}; give 0 or more and less than 1")


def check_type(name: str, value: Any, kind: type, advice: str) -> None:
    """Makes sure that an object of a call is of the kind that is wanted.

    Args:
        name: of the argument.
        value: what was given.
        kind: the class that it has to be of.
        advice: how to get one.

    Raises:
        InputError: it is of another kind.
    """
    if not isinstance(value, kind):
        shown = repr(value) if isinstance(value, str) else f"a {type(value).__name__}"
        raise InputError(f"{name} is {shown}, no {kind.__name__}; give {advice}")


def check_texts(name: str, texts: Any) -> list[str | bytes]:
    """Returns the texts of a call as a list.

    Args:
        name: of the argument.
        texts: what was given.

    Raises:
        InputError: one text instead of several, or something in it that is no text.

    Example:

    >>> check_texts("sentences", ("Go.", b"Hi."))
    ['Go.', b'Hi.']
    """
    if isinstance(texts, (str, bytes)):
        raise InputError(f"{name}: a list of sentences is wanted, not one; put it in brackets")
    # A tensor of one string can be iterated over by name only.
    if not isinstance(texts, Iterable) or getattr(texts, "shape", None) == ():
        raise InputError(f"{name}: a list of sentences is wanted, not {_shown(texts)}; give one")
    found = list(texts)
    for number, text in enumerate(found, 1):
        if not isinstance(text, (str, bytes)):
            raise InputError(
                f"{name}: number {number} is {_shown(text)}; give each as str or bytes"
            )
    return found


def _shown(value: Any) -> str:
    return (
        f"{value!r}" if value is None or isinstance(value, numbers.Number) else type(value).__name__
    )


def check_seed(seed: Any) -> int:
    """Returns a seed that NumPy takes.

    Raises:
        InputError: it does not take this one.
    """
    if not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise InputError(f"seed is {seed!r}; give a whole number from 0 to {2**32 - 1}")
    return seed
