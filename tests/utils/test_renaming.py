"""Old keyword arguments and attributes after a rename."""

import dataclasses
import inspect
import pickle

import pytest

from keras_s2s.utils.renaming import accept_old_names, with_new_names


@accept_old_names(max_tokens="vocab_size")
@dataclasses.dataclass(frozen=True)
class Base:
    vocab_size: int = 5
    lowercase: bool = True


@accept_old_names(schedule="lr_schedule")
@dataclasses.dataclass(frozen=True)
class Config(Base):
    lr_schedule: str = "constant"


@accept_old_names(count="size")
def zeros(size, value=0):
    return [value] * size


def test_function():
    assert zeros(2) == zeros(size=2) == zeros(count=2) == [0, 0]
    assert zeros(value=1, count=1) == [1]
    assert list(inspect.signature(zeros).parameters) == ["size", "value"]
    with pytest.raises(TypeError, match="count is now size"):
        zeros(size=2, count=2)
    with pytest.raises(TypeError):
        zeros(2, count=2)


def test_dataclass():
    assert Base(max_tokens=9) == Base(vocab_size=9) == Base(9)
    assert Base(9).max_tokens == 9
    with pytest.raises(TypeError, match="max_tokens is now vocab_size"):
        Base(vocab_size=9, max_tokens=9)
    assert [field.name for field in dataclasses.fields(Base)] == ["vocab_size", "lowercase"]
    assert dataclasses.asdict(Base(max_tokens=9)) == {"vocab_size": 9, "lowercase": True}
    assert pickle.loads(pickle.dumps(Base(9))) == Base(9)


def test_subclass():
    config = Config(max_tokens=9, schedule="cosine")
    assert config == Config(9, True, "cosine")
    assert (config.vocab_size, config.schedule) == (9, "cosine")
    assert "schedule" not in vars(Base)


def test_replace():
    config = Config(vocab_size=9)
    assert dataclasses.replace(config, max_tokens=7) == Config(vocab_size=7)
    assert dataclasses.replace(config, schedule="cosine", vocab_size=7) == Config(7, True, "cosine")


def test_with_new_names():
    arguments = {"max_tokens": 7, "lowercase": False, "schedule": "cosine", "other": 1}
    expected = {"vocab_size": 7, "lowercase": False, "lr_schedule": "cosine", "other": 1}
    assert with_new_names(Config, arguments) == expected
