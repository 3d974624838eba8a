"""Check what a server answers before it is used.

A server may be another program, a broken proxy or a hostile machine. Importable without
TensorFlow and NumPy.
"""

from collections.abc import Callable
from typing import Any

from keras_s2s.serving.signatures import OPTIONAL_OUTPUTS, SIGNATURES

# A little past the range of float32: REST may round `MIN_SCORE` away from zero.
_FLOAT32_LIMIT = 3.41e38


class InvalidAnswerError(ValueError):
    """An answer that is not one of the signature's; the message says in what."""


def check_outputs(signature: str, num_texts: int, outputs: Any) -> dict[str, list[Any]]:
    """Return the outputs of a signature if they are what it promises.

    Args:
        signature: name of the signature.
        num_texts: number of texts in the request.
        outputs: nested lists for each output. Those of `OPTIONAL_OUTPUTS` may be missing. Others
            that the signature does not have are omitted from the result.

    Returns:
        For each output nested lists of `str` (valid Unicode), `float` (finite) or `int`.

    Raises:
        InvalidAnswerError: an output is missing, or has another shape, dtype or number of rows.

    Example:

    >>> check_outputs("score", 1, {"score": [-2], "num_tokens": [3]})
    {'score': [-2.0], 'num_tokens': [3]}
    >>> check_outputs("score", 1, {"score": [float("nan")], "num_tokens": [3]})
    Traceback (most recent call last):
    keras_s2s.client.answers.InvalidAnswerError: has nan in output 'score', not a finite float32
    """
    if not isinstance(outputs, dict):
        raise InvalidAnswerError("has no outputs by name")
    sizes: dict[str, int] = {}
    checked = {}
    optional = OPTIONAL_OUTPUTS[signature].items()
    present = {name: spec for name, spec in optional if name in outputs}
    for name, spec in (SIGNATURES[signature][1] | present).items():
        rows = outputs.get(name)
        num_rows = len(rows) if isinstance(rows, list) else 0
        if num_rows != num_texts:
            raise InvalidAnswerError(
                f"returned {num_rows} of output {name!r} for {num_texts} texts"
            )
        dtype, axes = output_spec(spec)
        checked[name] = _check_tensor(rows, name, dtype, axes, sizes)
    return checked


def output_spec(spec: str) -> tuple[str, list[str]]:
    """Return the dtype and the axes of an entry of `SIGNATURES`.

    Example:

    >>> output_spec("float32 [-1, T, S]")
    ('float32', ['-1', 'T', 'S'])
    """
    dtype, _, axes = spec.partition(" ")
    return dtype, axes.strip("[]").split(", ")


def _check_tensor(
    value: Any, name: str, dtype: str, axes: list[str], sizes: dict[str, int]
) -> list[Any]:
    """Return nested lists if each axis has the same size wherever its letter stands."""
    if not isinstance(value, list) or len(value) != sizes.setdefault(axes[0], len(value)):
        raise InvalidAnswerError(f"has an output {name!r} of another shape")
    if len(axes) > 1:
        return [_check_tensor(row, name, dtype, axes[1:], sizes) for row in value]
    is_valid, description = _ELEMENTS[dtype]
    for element in value:
        if not is_valid(element):
            text = repr(element) if isinstance(element, float) else type(element).__name__
            raise InvalidAnswerError(f"has {text} in output {name!r}, not {description}")
    return [float(element) for element in value] if dtype == "float32" else value


def is_text(value: Any) -> bool:
    """Return whether a value is a text; one with a lone surrogate could not be written."""
    try:
        return isinstance(value, str) and (value.isascii() or value.encode() != b"")
    except UnicodeEncodeError:
        return False


def is_float32(value: Any) -> bool:
    """Return whether a value is a finite number. JSON may write a whole number as an integer."""
    return type(value) in (int, float) and -_FLOAT32_LIMIT <= value <= _FLOAT32_LIMIT


def is_int32(value: Any) -> bool:
    """Return whether a value is an integer of 32 bits."""
    return type(value) is int and -(2**31) <= value < 2**31


_ELEMENTS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "string": (is_text, "text"),
    "float32": (is_float32, "a finite float32"),
    "int32": (is_int32, "an int32"),
}
