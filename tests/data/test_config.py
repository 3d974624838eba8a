"""The configuration of the data, and the names of its fields in earlier files."""

import dataclasses

import pytest

from keras_s2s.config import TrainingConfig
from keras_s2s.data.config import DataConfig, PreparationConfig, preparation_fields
from keras_s2s.utils.errors import InputError


def test_earlier_name_of_vocab_size():
    for cls in (PreparationConfig, DataConfig, TrainingConfig):
        config = cls(max_tokens=50)
        assert config.vocab_size == config.max_tokens == 50
        assert dataclasses.replace(config, max_tokens=60).vocab_size == 60
        assert "max_tokens" not in dataclasses.asdict(config)


def test_preparation_fields():
    config = TrainingConfig(vocab_size=50, valid_fraction=0.1, epochs=3)
    fields = preparation_fields(config)
    assert PreparationConfig(**fields) == PreparationConfig(vocab_size=50, valid_fraction=0.1)


@pytest.mark.parametrize("cls", [PreparationConfig, DataConfig, TrainingConfig])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_steps": 2}, "num_steps is 2; give 3 or more"),
        ({"valid_fraction": 0.5, "test_fraction": 0.5}, "leave nothing to train on"),
        ({"joint_vocabulary": True}, "joint_vocabulary needs tokenizer sentencepiece"),
        ({"lowercase": False}, "lowercase off needs tokenizer sentencepiece"),
    ],
)
def test_invalid_options(cls, options, message):
    with pytest.raises(InputError, match=message):
        cls(**options)
