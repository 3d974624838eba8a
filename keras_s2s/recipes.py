"""What a training run can be told, and the presets."""

import dataclasses
import difflib
import math
import operator
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from keras_s2s.errors import InputError

# Where whole numbers end in TensorFlow, and sizes of layers that no machine holds begin.
LARGEST_NUMBER = 2**31 - 1
LARGEST_SIZE = 2**16


def option(
    default: Any,
    description: str,
    at_least: float = 0,
    at_most: float = LARGEST_NUMBER,
    **limits: float,
) -> Any:
    """A field of `Recipe` with what the command line says of it and the values it may have.

    Args:
        default: its value when left out.
        description: what it is, in a few words.
        at_least: the smallest value it may have.
        at_most: the largest one.
        **limits: `above` and `below`, for values that are themselves outside.
    """
    limits = {**limits, "at_least": at_least, "at_most": at_most}
    return field(default=default, metadata={"description": description, "limits": limits})


@dataclass(frozen=True)
class Recipe:
    """The configuration of a training run. The defaults are the chapter's.

    Raises:
        InputError: a value makes no sense.
    """

    embed_size: int = option(32, "width of both embeddings", 1, LARGEST_SIZE)
    num_hiddens: int = option(32, "width of each LSTM layer", 1, LARGEST_SIZE)
    num_layers: int = option(2, "LSTM layers in the encoder, and in the decoder", 1, 256)
    dropout: float = option(0.0, "share of values dropped between layers in training", below=1)
    min_freq: int = option(3, "words seen less often are not in the vocabularies", 1)
    max_tokens: int | None = option(None, "the most tokens that a vocabulary may have", 5)
    num_steps: int = option(10, "tokens after which a sentence is cut", 3, LARGEST_SIZE)
    drop_long: bool = option(False, "leave out the pairs that would be cut")
    max_pairs: int | None = option(None, "use only the first so many pairs of the corpus", 1)
    valid_fraction: float = option(0.0, "share of the sources kept for validation", below=1)
    test_fraction: float = option(0.0, "share of the sources kept for testing", below=1)
    split_seed: int = option(0, "another one keeps other sources for validation and testing")
    batch_size: int = option(64, "pairs in a batch", 1)
    epochs: int = option(300, "times to go through the training pairs", 1)
    learning_rate: float = option(0.005, "learning rate of Adam", above=0)
    clip_norm: float = option(1.0, "largest norm of all gradients together", above=0)

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            if value is not None or type(None) not in typing.get_args(item.type):
                _check_value(item, value)
        if self.valid_fraction + self.test_fraction >= 1:
            raise InputError(
                f"valid_fraction {self.valid_fraction} and test_fraction {self.test_fraction} "
                "leave nothing to train on; give fractions that add up to less than 1"
            )


# How to compare a value with each limit, and how to say it.
_COMPARISONS: Mapping[str, tuple[Callable[[Any, Any], bool], str]] = {
    "at_least": (operator.ge, "give {} or more"),
    "at_most": (operator.le, "give {} or less"),
    "above": (operator.gt, "give more than {}"),
    "below": (operator.lt, "give less than {}"),
}


def number_type(item: "dataclasses.Field[Any]") -> type:
    """The type of a field of `Recipe`, whether it may be None or not: bool, int or float."""
    types = typing.get_args(item.type) or (item.type,)
    return next(kind for kind in types if kind is not type(None))


def _check_value(item: "dataclasses.Field[Any]", value: Any) -> None:
    kind = number_type(item)
    # To Python, True is a whole number.
    fits = isinstance(value, (int, kind)) and isinstance(value, bool) == (kind is bool)
    if not fits or (isinstance(value, float) and not math.isfinite(value)):
        wanted = {bool: "True or False", int: "a whole number", float: "a number"}[kind]
        raise InputError(f"{item.name} is {value!r}; give {wanted}")
    for name, limit in item.metadata["limits"].items():
        compare, advice = _COMPARISONS[name]
        if not compare(value, limit):
            raise InputError(f"{item.name} is {value}; {advice.format(limit)}")


def check_seed(seed: Any) -> int:
    """Returns a seed that NumPy takes.

    Raises:
        InputError: it does not take this one.
    """
    if not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise InputError(f"seed is {seed!r}; give a whole number from 0 to {2**32 - 1}")
    return seed


PRESETS: Mapping[str, Recipe] = {"chapter": Recipe()}


def preset(name: str, corpus: str, **changes: Any) -> Recipe:
    """A preset for a corpus, with some fields changed.

    On `fra-eng` the preset `chapter` is the chapter's job to the letter, which reads lines 0 to
    1000: 1001 pairs. On any other corpus it takes all pairs.

    Raises:
        InputError: no such preset, or a value that makes no sense.
    """
    if name not in PRESETS:
        close = difflib.get_close_matches(name, PRESETS, n=1)
        meant = f"; did you mean {close[0]}?" if close else ""
        raise InputError(f"no preset {name!r}; there is {', '.join(PRESETS)}{meant}")
    if name == "chapter" and corpus == "fra-eng":
        changes = {"max_pairs": 1001, **changes}
    return dataclasses.replace(PRESETS[name], **changes)
