"""What a training run can be told, and the presets."""

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from keras_s2s.errors import InputError


def option(default: Any, description: str, at_least: float, below: float | None = None) -> Any:
    """A field of `Recipe` with what the command line says of it and the values it may have."""
    limits = {"description": description, "at_least": at_least, "below": below}
    return field(default=default, metadata=limits)


@dataclass(frozen=True)
class Recipe:
    """The configuration of a training run. The defaults are the chapter's.

    Raises:
        InputError: a value makes no sense.
    """

    embed_size: int = option(32, "width of both embeddings", 1)
    num_hiddens: int = option(32, "width of each LSTM layer", 1)
    num_layers: int = option(2, "LSTM layers of the encoder, and of the decoder", 1)
    dropout: float = option(0.0, "share of values dropped between layers in training", 0, 1)
    min_freq: int = option(3, "rarer words are left out of the vocabularies", 1)
    max_tokens: int | None = option(None, "size of each vocabulary at most", 5)
    num_steps: int = option(10, "longer sentences are cut to so many tokens", 3)
    drop_long: bool = option(False, "leave out pairs that would be cut", 0)
    max_pairs: int | None = option(None, "use only the first pairs of the corpus", 1)
    valid_fraction: float = option(0.0, "share of the sources held out for validation", 0, 1)
    test_fraction: float = option(0.0, "share of the sources held out for a test", 0, 1)
    split_seed: int = option(0, "seed of the held-out shares", 0)
    batch_size: int = option(64, "pairs in a batch", 1)
    epochs: int = option(300, "times to go through the training pairs", 1)
    learning_rate: float = option(0.005, "of the Adam optimizer", 0)
    clip_norm: float = option(1.0, "bound of the gradients' global norm", 0)

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            value, limits = getattr(self, item.name), item.metadata
            if value is None:
                continue
            if value < limits["at_least"]:
                raise InputError(f"{item.name} is {value}; give {limits['at_least']} or more")
            if limits["below"] is not None and value >= limits["below"]:
                raise InputError(f"{item.name} is {value}; give less than {limits['below']}")


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
