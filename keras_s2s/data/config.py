"""Configuration of the data: tokenization, splits, and what of a corpus is used."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from keras_s2s.utils.errors import InputError
from keras_s2s.utils.fields import config_field, validate_fields
from keras_s2s.utils.renaming import accept_old_names
from keras_s2s.utils.text import (
    ALL_NORMALIZATIONS,
    DECOMPOSITIONS,
    MODEL_TYPES,
    NORMALIZATIONS,
    SPECIAL_TOKENS,
    WORD_RULES,
    is_symbol,
)

SIDES = ("source", "target")
TOKENIZERS = ("word", "sentencepiece", "character", "whitespace")

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
        "word",
        "tokenizer of both sides: words, subwords, characters, or what white space separates",
        choices=TOKENIZERS,
    )
    source_tokenizer: str | None = config_field(
        None, "tokenizer of the source (default: tokenizer)", choices=TOKENIZERS
    )
    target_tokenizer: str | None = config_field(
        None, "tokenizer of the target (default: tokenizer)", choices=TOKENIZERS
    )
    symbols: tuple[str, ...] = config_field(
        (), "tokens that are never split and always in the vocabularies, such as '<2fr>' '{name}'"
    )
    feature_separator: str = config_field(
        ";", "what separates the features of a column of them (--columns), besides spaces"
    )
    sentencepiece_model_type: str = config_field(
        "unigram", "kind of the SentencePiece model", choices=MODEL_TYPES
    )
    word_rules: str = config_field(
        "chapter",
        "what a word is (word): the chapter's rules, or all of Unicode's spaces and punctuation",
        choices=WORD_RULES,
    )
    min_freq: int | None = config_field(
        None,
        "minimum frequency of a token in the vocabulary (all but sentencepiece; default: 3 for "
        "words, 1 for characters and whitespace)",
        1,
    )
    vocab_size: int | None = config_field(
        None, "maximum vocabulary size (default: 8000 for subwords, no limit for others)", 5
    )
    joint_vocabulary: bool = config_field(False, "one vocabulary for both sides (sentencepiece)")
    lowercase: bool = config_field(
        True, "fold case (sentencepiece; word always does, the others never)"
    )
    source_normalization: str | None = config_field(
        None,
        "normalization of sources (all but word): nfkc replaces compatibility characters and "
        "spaces, nfc composes accents only, nfd and nfkd make accents and jamo tokens of their own "
        "(not sentencepiece) (default: nfkc for sentencepiece, nfc for others; with "
        "joint_vocabulary, the targets')",
        choices=ALL_NORMALIZATIONS,
    )
    target_normalization: str = config_field(
        "nfc",
        "normalization of targets (all but word), which answers are written in; composed, where "
        "nfd and nfkd decompose",
        choices=ALL_NORMALIZATIONS,
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
        self._check_tokenizers()
        source, target = self.source_normalization, self.target_normalization
        if self.joint_vocabulary and source not in (None, target):
            raise InputError(
                f"source_normalization is {source}, and joint_vocabulary normalizes both sides by "
                f"target_normalization {target}; give the same to both"
            )

    def tokenizer_of(self, side: str) -> str:
        """Return the kind of tokenizer of the side `source` or `target`."""
        return str(getattr(self, f"{side}_tokenizer") or self.tokenizer)

    def tokenizers(self) -> set[str]:
        """Return the kinds of tokenizers of both sides, one or two."""
        return {self.tokenizer_of(side) for side in SIDES}

    def min_freq_of(self, side: str) -> int:
        """Return the minimum frequency of a token of a side."""
        default = 3 if self.tokenizer_of(side) == "word" else 1
        return default if self.min_freq is None else self.min_freq

    def normalization_of(self, side: str) -> str:
        """Return the normalization of a side."""
        if side == "target":
            return self.target_normalization
        subwords = self.tokenizer_of(side) == "sentencepiece"
        return self.source_normalization or ("nfkc" if subwords else "nfc")

    def _check_tokenizers(self) -> None:
        """Check that the fields of tokenizers fit the kinds of both sides."""
        if "\t" in self.feature_separator:
            raise InputError(
                "feature_separator has a tab, which separates columns; give other characters"
            )
        for symbol in self.symbols:
            if not is_symbol(symbol) or self.symbols.count(symbol) > 1:
                raise InputError(
                    f"symbols: {symbol!r} is given twice, has white space, or is one of "
                    f"{' '.join(SPECIAL_TOKENS)}; give other symbols"
                )
        for side in SIDES:
            kind = self.tokenizer_of(side)
            where = f" on the {side} side" if len(self.tokenizers()) > 1 else ""
            # Words are lower-case, so only these can keep case.
            for is_set, option, kinds in (
                (self.joint_vocabulary, "joint_vocabulary", {"sentencepiece"}),
                (not self.lowercase, "lowercase off", set(TOKENIZERS) - {"word"}),
            ):
                if is_set and kind not in kinds:
                    raise InputError(
                        f"{option} needs tokenizer sentencepiece{where}; give that too"
                    )
            name = f"{side}_normalization"
            if kind == "sentencepiece" and getattr(self, name) in DECOMPOSITIONS:
                raise InputError(
                    f"{name} {getattr(self, name)} needs tokenizer character or whitespace{where}; "
                    f"give that too, or another of {', '.join(NORMALIZATIONS)}"
                )


# Values of fields that the files of earlier versions lack: what those versions did.
EARLIER_VALUES: Mapping[str, Any] = {
    "source_normalization": None,
    "target_normalization": "nfkc",
    "vocabulary_pairs": "all",
    "word_rules": "chapter",
}
# Fields that the files of earlier versions lack, and whose defaults are what those versions did.
ADDED_FIELDS = frozenset(
    {
        *("source_tokenizer", "target_tokenizer", "symbols", "sentencepiece_model_type"),
        "feature_separator",
    }
)


def check_one_origin(config: PreparationConfig, valid: str | None, test: str | None) -> None:
    """Check that no split has a file and a fraction of the corpus.

    Args:
        config: the fractions.
        valid: the file of the validation pairs, or None.
        test: the file of the test pairs, or None.

    Raises:
        InputError: one has both.
    """
    for split, file in (("valid", valid), ("test", test)):
        fraction = getattr(config, f"{split}_fraction")
        if file is not None and fraction:
            raise InputError(
                f"{split} is the file {file} and {split}_fraction {fraction}; give one of them"
            )


def ignored_fields(config: PreparationConfig) -> set[str]:
    """Return the names of the fields of `PreparationConfig` without effect beside the others."""
    kinds = config.tokenizers()
    effects = {
        "word_rules": "word" in kinds,
        "sentencepiece_model_type": "sentencepiece" in kinds,
        "lowercase": "sentencepiece" in kinds,
        "min_freq": kinds != {"sentencepiece"},
        "vocabulary_pairs": config.drop_long,
        **{f"{side}_normalization": config.tokenizer_of(side) != "word" for side in SIDES},
    }
    return {name for name, has_effect in effects.items() if not has_effect}


def preparation_fields(config: PreparationConfig) -> dict[str, Any]:
    """Return the fields of `PreparationConfig` of a configuration that may have more."""
    return {field.name: getattr(config, field.name) for field in fields(PreparationConfig)}


def fields_in_full(config: PreparationConfig) -> dict[str, Any]:
    """Return the fields of `PreparationConfig`, with defaults written out that depend on others.

    Example:

    >>> fields_in_full(PreparationConfig(target_tokenizer="character", min_freq=3))["min_freq"]
    3
    >>> fields_in_full(PreparationConfig())["min_freq"]
    3
    """
    full = preparation_fields(config)
    full |= {f"{side}_tokenizer": config.tokenizer_of(side) for side in SIDES}
    min_freqs = {config.min_freq_of(side) for side in SIDES}
    if "min_freq" in ignored_fields(config):
        full["min_freq"] = None
    elif len(min_freqs) == 1:
        full["min_freq"] = min_freqs.pop()
    return full


def differing_fields(config: PreparationConfig, other: PreparationConfig) -> list[str]:
    """Return the names of fields of `PreparationConfig` by which two configurations differ.

    Fields without effect in the second one, and defaults that are written out, do not count.

    Example:

    >>> config = PreparationConfig(num_steps=20, min_freq=3, source_tokenizer="word")
    >>> differing_fields(config, PreparationConfig())
    ['num_steps']
    """
    full, other_full = fields_in_full(config), fields_in_full(other)
    same_sides = all(config.tokenizer_of(side) == other.tokenizer_of(side) for side in SIDES)
    skipped = ignored_fields(other) | ({"tokenizer"} if same_sides else set())
    return [
        name
        for name in full
        # Defaults may differ because another field does, which is named.
        if getattr(config, name) != getattr(other, name)
        and full[name] != other_full[name]
        and name not in skipped
    ]


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
