"""Fields of a configuration: what each is, and the values it may have."""

import dataclasses
import math
import operator
import typing
from collections.abc import Callable, Mapping
from typing import Any

from keras_s2s.utils.errors import InputError, did_you_mean

# Where whole numbers end in TensorFlow.
INT32_MAX = 2**31 - 1


def config_field(
    default: Any,
    description: str,
    at_least: float = 0,
    at_most: float = INT32_MAX,
    choices: tuple[str, ...] = (),
    **limits: float,
) -> Any:
    """A field of a dataclass with what the command line says of it and the values it may have.

    Args:
        default: its value when left out.
        description: what it is, in a few words.
        at_least: the smallest number it may be.
        at_most: the largest one.
        choices: all that a text may be.
        **limits: `above` and `below`, for numbers that are themselves outside.
    """
    limits = {**limits, "at_least": at_least, "at_most": at_most}
    metadata = {"description": description, "limits": limits, "choices": choices}
    return dataclasses.field(default=default, metadata=metadata)


# How to compare a value with each limit, and how to say it.
_COMPARISONS: Mapping[str, tuple[Callable[[Any, Any], bool], str]] = {
    "at_least": (operator.ge, "give {} or more"),
    "at_most": (operator.le, "give {} or less"),
    "above": (operator.gt, "give more than {}"),
    "below": (operator.lt, "give less than {}"),
}


def field_type(item: "dataclasses.Field[Any]") -> type:
    """The type of a field, whether it may be None or not: bool, int, float or str."""
    types = typing.get_args(item.type) or (item.type,)
    return next(kind for kind in types if kind is not type(None))


def validate_fields(configuration: Any) -> None:
    """Makes sure that all fields of a dataclass of options have values they may have.

    Raises:
        InputError: one has not.
    """
    for item in dataclasses.fields(configuration):
        value = getattr(configuration, item.name)
        if value is not None or type(None) not in typing.get_args(item.type):
            _check_value(item, value)


def _check_value(item: "dataclasses.Field[Any]", value: Any) -> None:
    kind = field_type(item)
    if kind is str:
        choices = item.metadata["choices"]
        if value not in choices:
            close = did_you_mean(str(value), choices)
            raise InputError(f"{item.name} is {value!r}; give one of {', '.join(choices)}{close}")
        return
    # To Python, True is a whole number.
    fits = isinstance(value, (int, kind)) and isinstance(value, bool) == (kind is bool)
    if not fits or (isinstance(value, float) and not math.isfinite(value)):
        wanted = {bool: "True or False", int: "a whole number", float: "a number"}[kind]
        raise InputError(f"{item.name} is {value!r}; give {wanted}")
    for name, limit in item.metadata["limits"].items():
        compare, advice = _COMPARISONS[name]
        if not compare(value, limit):
            raise InputError(f"{item.name} is {value}; {advice.format(limit)}")
