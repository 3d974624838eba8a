"""Search options that a translator, its exports and a training run share."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from keras_s2s.utils.fields import config_field, validate_fields


@dataclass(frozen=True)
class SearchConfig:
    """Options of beam search, and of its hypotheses as text.

    Args:
        beam_size: hypotheses per sentence.
        length_penalty: alpha of Wu et al., 2016; 0 ranks by log-probability alone.
        coverage_penalty: beta of Wu et al., 2016; needs a decoder with attention.
        replace_unknown: replace each `<unk>` by the most attended source word (Luong et al., 2015,
            "Addressing the Rare Word Problem"); needs attention and word tokenizers.

    Raises:
        InputError: a value is out of range.

    Example:

    >>> SearchConfig(beam_size=0)
    Traceback (most recent call last):
    keras_s2s.utils.errors.InputError: beam_size is 0; give 1 or more
    """

    beam_size: int = config_field(5, "hypotheses per sentence in beam search", 1, 1000)
    length_penalty: float = config_field(
        0.6, "length penalty of beam search; larger values favor longer translations"
    )
    coverage_penalty: float = config_field(
        0.0, "coverage penalty of beam search, against untranslated source words (with attention)"
    )
    replace_unknown: bool = config_field(
        False, "replace <unk> by the most attended source word (words, with attention)"
    )

    def __post_init__(self) -> None:
        validate_fields(self)


def search_options(config: SearchConfig) -> dict[str, Any]:
    """Return the search options of a configuration by name, also of a subclass with more fields.

    Example:

    >>> search_options(SearchConfig(beam_size=4))["beam_size"]
    4
    """
    return {field.name: getattr(config, field.name) for field in dataclasses.fields(SearchConfig)}
