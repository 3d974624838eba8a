"""Checks of arguments before they reach TensorFlow, where errors are hard to read."""

import math
import numbers
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from keras_s2s.utils.errors import InputError

# Servers read the name of a version's folder as a signed 64-bit integer.
MAX_VERSION = 2**63 - 1

_COMPARISONS: Mapping[str, tuple[Callable[[Any, Any], bool], str]] = {
    "ge": (operator.ge, "{} or more"),
    "le": (operator.le, "{} or less"),
    "gt": (operator.gt, "more than {}"),
    "lt": (operator.lt, "less than {}"),
}


def check_number(
    name: str, value: Any, dtype: type = int, advice: str = "", **limits: float
) -> int | float:
    """Return a number if it is finite and within limits.

    NumPy's numbers are accepted, booleans are not.

    Args:
        name: the argument's name.
        value: its value.
        dtype: `int` for integers only, `float` for any real number.
        advice: the end of the message when a limit is exceeded.
        **limits: bounds by comparison: `ge`, `le`, `gt`, `lt`.

    Raises:
        InputError: `value` is not such a number.

    Example:

    >>> check_number("dropout", 1, float, ge=0, lt=1)
    Traceback (most recent call last):
    keras_s2s.utils.errors.InputError: dropout is 1; give less than 1
    """
    cls = numbers.Integral if dtype is int else numbers.Real
    is_integer = isinstance(value, numbers.Integral)
    # `isfinite` overflows for integers beyond float64.
    is_finite = is_integer or (isinstance(value, cls) and math.isfinite(value))
    if isinstance(value, bool) or not is_finite:
        raise InputError(
            f"{name} is {value!r}; give {'an integer' if dtype is int else 'a number'}"
        )
    for limit, bound in limits.items():
        compare, description = _COMPARISONS[limit]
        if not compare(value, bound):
            raise InputError(f"{name} is {value}; give {description.format(bound)}{advice}")
    return operator.index(value) if is_integer else float(value)


def check_int(name: str, value: Any, ge: int = 1, advice: str = "") -> int:
    """Return `value` as an `int`.

    Args:
        name: the argument's name.
        value: its value.
        ge: the smallest allowed integer.
        advice: the end of the message when the integer is too small.

    Raises:
        InputError: `value` is not an integer, or too small.

    Example:

    >>> check_int("batch_size", 64)
    64
    """
    return int(check_number(name, value, int, advice, ge=ge))


def check_ints(ge: int = 1, /, **values: Any) -> None:
    """Check several integers by name; see `check_int`.

    Example:

    >>> check_ints(embed_size=32, num_layers=0)
    Traceback (most recent call last):
    keras_s2s.utils.errors.InputError: num_layers is 0; give 1 or more
    """
    for name, value in values.items():
        check_int(name, value, ge)


def check_fraction(name: str, value: Any) -> None:
    """Check that a number is in [0, 1).

    Raises:
        InputError: it is not.
    """
    check_number(name, value, float, ge=0, lt=1)


def check_seed(seed: Any) -> int:
    """Return a seed that NumPy accepts.

    Raises:
        InputError: it is not an unsigned 32-bit integer.
    """
    return int(check_number("seed", seed, int, ge=0, le=2**32 - 1))


def check_type(name: str, value: Any, cls: type, advice: str) -> None:
    """Check that an argument is an instance of a class.

    Args:
        name: the argument's name.
        value: its value.
        cls: the expected class.
        advice: how to get an instance.

    Raises:
        InputError: it is not.
    """
    if not isinstance(value, cls):
        actual = repr(value) if isinstance(value, str) else f"a {type(value).__name__}"
        raise InputError(f"{name} is {actual}, not a {cls.__name__}; give {advice}")


def check_texts(name: str, texts: Any) -> list[str | bytes]:
    """Return an iterable of texts as a list.

    Args:
        name: the argument's name.
        texts: its value.

    Raises:
        InputError: it is a single text, or an element is not a text.

    Example:

    >>> check_texts("sentences", ("Go.", b"Hi."))
    ['Go.', b'Hi.']
    """
    if isinstance(texts, (str, bytes)):
        raise InputError(f"{name}: expected a list of sentences, got one; put it in brackets")
    # A scalar tensor has `__iter__`, which fails.
    if not isinstance(texts, Iterable) or getattr(texts, "shape", None) == ():
        raise InputError(
            f"{name}: expected a list of sentences, got {_describe(texts)}; give a list"
        )
    result = list(texts)
    for index, text in enumerate(result, 1):
        if not isinstance(text, (str, bytes)):
            raise InputError(
                f"{name}: number {index} is {_describe(text)}; give each as str or bytes"
            )
    return result


def _describe(value: Any) -> str:
    if value is None or isinstance(value, numbers.Number):
        return repr(value)
    return type(value).__name__
