"""Fields of configuration dataclasses: descriptions for the command line, and allowed values."""

import dataclasses
import typing
from typing import Any

from keras_s2s.utils.checks import check_number
from keras_s2s.utils.errors import InputError, did_you_mean

# The largest integer of most TensorFlow operations.
INT32_MAX = 2**31 - 1


def config_field(
    default: Any,
    description: str,
    ge: float = 0,
    le: float = INT32_MAX,
    choices: tuple[str, ...] = (),
    **limits: float,
) -> Any:
    """Return a dataclass field with a description and limits in its metadata.

    Args:
        default: the default value.
        description: the help of the command line, a few words.
        ge: the smallest allowed number.
        le: the largest allowed number.
        choices: the allowed strings; none where any may be given.
        **limits: exclusive bounds, `gt` and `lt`.
    """
    limits = {**limits, "ge": ge, "le": le}
    metadata = {"description": description, "limits": limits, "choices": choices}
    return dataclasses.field(default=default, metadata=metadata)


def field_type(field: "dataclasses.Field[Any]") -> type:
    """Return bool, int, float, str, or tuple for several strings; of a field, optional or not."""
    if typing.get_origin(field.type) is tuple:
        return tuple
    types = typing.get_args(field.type) or (field.type,)
    return next(cls for cls in types if cls is not type(None))


def validate_fields(config: Any) -> None:
    """Check all fields of a configuration, and convert NumPy's numbers, which JSON lacks.

    Raises:
        InputError: a value is not allowed.
    """
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if value is not None or type(None) not in typing.get_args(field.type):
            # The configuration may be frozen.
            object.__setattr__(config, field.name, _check_value(field, value))


def _check_value(field: "dataclasses.Field[Any]", value: Any) -> Any:
    dtype, choices = field_type(field), field.metadata["choices"]
    if dtype is tuple:
        # JSON has lists only.
        if not isinstance(value, (list, tuple)) or not all(isinstance(v, str) for v in value):
            raise InputError(f"{field.name} is {value!r}; give a list of texts")
        return tuple(value)
    if dtype is str:
        if not choices:
            if not isinstance(value, str) or not value:
                raise InputError(f"{field.name} is {value!r}; give a text")
        elif value not in choices:
            close = did_you_mean(str(value), choices)
            raise InputError(f"{field.name} is {value!r}; give one of {', '.join(choices)}{close}")
    elif dtype is bool:
        if not isinstance(value, bool):
            raise InputError(f"{field.name} is {value!r}; give True or False")
    else:
        return check_number(field.name, value, dtype, **field.metadata["limits"])
    return value
