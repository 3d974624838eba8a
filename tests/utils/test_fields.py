"""Fields of configurations: types, limits, validation."""

import dataclasses
import json

import numpy as np
import pytest

from keras_s2s.utils.errors import InputError
from keras_s2s.utils.fields import INT32_MAX, config_field, field_type, validate_fields


@dataclasses.dataclass
class Options:
    color: str = config_field("red", "a color", choices=("red", "green"))
    count: int = config_field(3, "a count", 1, 9)
    share: float = config_field(0.5, "a fraction", gt=0, lt=1)
    limit: int | None = config_field(None, "a limit")
    loud: bool = config_field(False, "a flag")


FIELDS = {field.name: field for field in dataclasses.fields(Options)}


def test_types():
    types = {name: field_type(field) for name, field in FIELDS.items()}
    assert types == {"color": str, "count": int, "share": float, "limit": int, "loud": bool}


def test_metadata():
    assert FIELDS["count"].metadata["description"] == "a count"
    assert FIELDS["count"].metadata["limits"] == {"ge": 1, "le": 9}
    assert FIELDS["limit"].metadata["limits"] == {"ge": 0, "le": INT32_MAX}
    assert FIELDS["color"].metadata["choices"] == ("red", "green")
    assert FIELDS["count"].default == 3


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"color": "green", "count": 9, "share": 0.999, "limit": 7, "loud": True},
        {"count": 1, "share": 0.001, "limit": 0},
        {"limit": None},
    ],
)
def test_valid_values(values):
    validate_fields(Options(**values))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("color", "gren", "color is 'gren'; give one of red, green; did you mean green?"),
        ("color", 7, "color is 7; give one of red, green"),
        ("color", None, "color is None; give one of red, green"),
        ("count", "3", "count is '3'; give an integer"),
        ("count", 3.0, "count is 3.0; give an integer"),
        ("count", True, "count is True; give an integer"),
        ("count", None, "count is None; give an integer"),
        ("count", 0, "count is 0; give 1 or more"),
        ("count", 10, "count is 10; give 9 or less"),
        ("share", 0, "share is 0; give more than 0"),
        ("share", 1.0, "share is 1.0; give less than 1"),
        ("share", float("nan"), "share is nan; give a number"),
        ("share", "half", "share is 'half'; give a number"),
        ("limit", -1, "limit is -1; give 0 or more"),
        ("limit", 2**31, f"limit is {2**31}; give {2**31 - 1} or less"),
        ("limit", False, "limit is False; give an integer"),
        ("loud", 1, "loud is 1; give True or False"),
        ("loud", "yes", "loud is 'yes'; give True or False"),
    ],
)
def test_invalid_values(name, value, message):
    with pytest.raises(InputError) as error:
        validate_fields(Options(**{name: value}))
    assert str(error.value) == message


def test_numpy_numbers_become_those_of_python():
    options = Options(count=np.int64(2), share=np.float32(0.5), limit=np.uint8(7))
    validate_fields(options)
    values = dataclasses.asdict(options)
    assert json.loads(json.dumps(values)) == values
    assert (options.count, options.share, options.limit) == (2, 0.5, 7)
