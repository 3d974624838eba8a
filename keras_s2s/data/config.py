"""Configuration of the data: tokenization, splits, and what of a corpus is used."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from keras_s2s.utils.errors import InputError
from keras_s2s.utils.fields import config_field, validate_fields
from keras_s2s.utils.renaming import accept_old_names
from keras_s2s.utils.text import NORMALIZATIONS, WORD_RULES

# Upper bound of layer sizes; larger ones exceed any machine's memory.
MAX_LAYER_SIZE = 2**16


@accept_old_names(max_tokens="vocab_size")
@dataclass(frozen=True)
class PreparationConfig:
    """Tokenization and splits: the fields that are fixed when a corpus is prepared.

    Raises:
        InputError: a value is invalid, or two values exclude each other.
    """

    tokenizer: str = config_field(
        "word", "tokenizer of both sides", choices=("word", "sentencepiece")
    )
    word_rules: str = config_field(
        "chapter",
        "what a word is (word): the chapter's rules, or all of Unicode's spaces and punctuation",
        choices=WORD_RULES,
    )
    min_freq: int = config_field(3, "minimum frequency of a word in the vocabulary", 1)
    vocab_size: int | None = config_field(
        None, "maximum vocabulary size (default: no limit for words, 8000 for subwords)", 5
    )
    joint_vocabulary: bool = config_field(False, "one vocabulary for both sides (sentencepiece)")
    lowercase: bool = config_field(True, "fold case (sentencepiece; words always are)")
    source_normalization: str | None = config_field(
        None,
        "normalization of sources (sentencepiece): nfkc replaces compatibility characters and "
        "spaces, nfc composes accents only (default: nfkc; with joint_vocabulary, the targets')",
        choices=NORMALIZATIONS,
    )
    target_normalization: str = config_field(
        "nfc",
        "normalization of targets (sentencepiece), which answers are written in",
        choices=NORMALIZATIONS,
    )
    num_steps: int = config_field(
        10, "maximum number of tokens per sentence; longer ones are truncated", 3, MAX_LAYER_SIZE
    )
    drop_long: bool = config_field(False, "drop pairs instead of truncating them")
    vocabulary_pairs: str = config_field(
        "kept",
        "pairs to learn the vocabularies from: kept, or all, with those that drop_long drops",
        choices=("kept", "all"),
    )
    valid_fraction: float = config_field(0.0, "fraction of the sources for validation", lt=1)
    test_fraction: float = config_field(0.0, "fraction of the sources for testing", lt=1)
    split_seed: int = config_field(0, "random seed of the split into training and held-out pairs")

    def __post_init__(self) -> None:
        validate_fields(self)
        if self.valid_fraction + self.test_fraction >= 1:
            raise InputError(
                f"valid_fraction {self.valid_fraction} and test_fraction {self.test_fraction} "
                "leave nothing to train on; give fractions that add up to less than 1"
            )
        for is_set, option in (
            (self.joint_vocabulary, "joint_vocabulary"),
            (not self.lowercase, "lowercase off"),
        ):
            if is_set and self.tokenizer != "sentencepiece":
                raise InputError(f"{option} needs tokenizer sentencepiece; give that too")
        source, target = self.source_normalization, self.target_normalization
        if self.joint_vocabulary and source not in (None, target):
            raise InputError(
                f"source_normalization is {source}, and joint_vocabulary normalizes both sides by "
                f"target_normalization {target}; give the same to both"
            )


# Values of fields that the files of earlier versions lack: what those versions did.
EARLIER_VALUES: Mapping[str, Any] = {
    "source_normalization": None,
    "target_normalization": "nfkc",
    "vocabulary_pairs": "all",
    "word_rules": "chapter",
}


def ignored_fields(fields: Mapping[str, Any]) -> set[str]:
    """Return the names of the fields of `PreparationConfig` without effect beside the others."""
    subwords = fields["tokenizer"] == "sentencepiece"
    ignored = {"word_rules"} if subwords else {"source_normalization", "target_normalization"}
    return ignored if fields["drop_long"] else ignored | {"vocabulary_pairs"}


def preparation_fields(config: PreparationConfig) -> dict[str, Any]:
    """Return the fields of `PreparationConfig` of a configuration that may have more."""
    return {field.name: getattr(config, field.name) for field in fields(PreparationConfig)}


@accept_old_names()
@dataclass(frozen=True)
class DataConfig(PreparationConfig):
    """The configuration of the data of a training run.

    Raises:
        InputError: a value is invalid, or two values exclude each other.
    """

    subword_sampling: float = config_field(
        0.0, "subword regularization: SentencePiece's alpha, 0 to disable; 0.2 is usual", 0, 1
    )
    max_pairs: int | None = config_field(None, "use only the first N pairs of the corpus", 1)
