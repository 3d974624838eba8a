"""Fields of a configuration: their types, and what is said of values they may not have."""

import dataclasses

import pytest

from keras_s2s.utils.errors import InputError
from keras_s2s.utils.fields import INT32_MAX, config_field, field_type, validate_fields


@dataclasses.dataclass
class Options:
    colour: str = config_field("red", "what it looks like", choices=("red", "green"))
    number: int = config_field(3, "how many", 1, 9)
    share: float = config_field(0.5, "how much of it", gt=0, lt=1)
    limit: int | None = config_field(None, "no more than that")
    loud: bool = config_field(False, "whether one hears it")


FIELDS = {item.name: item for item in dataclasses.fields(Options)}


def test_types():
    kinds = {name: field_type(item) for name, item in FIELDS.items()}
    assert kinds == {"colour": str, "number": int, "share": float, "limit": int, "loud": bool}


def test_what_a_field_says_of_itself():
    assert FIELDS["number"].metadata["description"] == "how many"
    assert FIELDS["number"].metadata["limits"] == {"ge": 1, "le": 9}
    assert FIELDS["limit"].metadata["limits"] == {"ge": 0, "le": INT32_MAX}
    assert FIELDS["colour"].metadata["choices"] == ("red", "green")
    assert FIELDS["number"].default == 3


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"colour": "green", "number": 9, "share": 0.999, "limit": 7, "loud": True},
        {"number": 1, "share": 0.001, "limit": 0},
        {"limit": None},
    ],
)
def test_what_they_may_be(values):
    validate_fields(Options(**values))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("colour", "gren", "colour is 'gren'; give one of red, green; did you mean green?"),
        ("colour", 7, "colour is 7; give one of red, green"),
        ("colour", None, "colour is None; give one of red, green"),
        ("number", "3", "number is '3'; give an integer"),
        ("number", 3.0, "number is 3.0; give an integer"),
        ("number", True, "number is True; give an integer"),
        ("number", None, "number is None; give an integer"),
        ("number", 0, "number is 0; give 1 or more"),
        ("number", 10, "number is 10; give 9 or less"),
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
def test_what_they_may_not_be(name, value, message):
    with pytest.raises(InputError) as refused:
        validate_fields(Options(**{name: value}))
    assert str(refused.value) == message
