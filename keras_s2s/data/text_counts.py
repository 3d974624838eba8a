"""What a model sees of a text: pairs that are too long, and tokens that are unknown."""

import logging
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from keras_s2s.data.config import PreparationConfig
from keras_s2s.tokenizers.tokenizer import TOKENIZE_BATCH_SIZE, UNK, Tokenizer
from keras_s2s.utils.console import log

_logger = logging.getLogger("keras_s2s")

# Share of pairs or tokens from which on a message is a warning.
WARNING_SHARE = 0.05


class TextCounts(NamedTuple):
    """Counts of the pairs of a split, and of the tokens that a model gets of them.

    Attributes:
        pairs: number of pairs, dropped ones included.
        long: pairs with a side of too many tokens, which are dropped or truncated.
        long_source: those whose source is too long.
        long_target: those whose target is too long.
        source_tokens: tokens of the pairs that are kept, after truncation.
        source_unknown: those that are `<unk>`.
        target_tokens: likewise, without `<bos>` and `<eos>`.
        target_unknown: likewise.
    """

    pairs: int = 0
    long: int = 0
    long_source: int = 0
    long_target: int = 0
    source_tokens: int = 0
    source_unknown: int = 0
    target_tokens: int = 0
    target_unknown: int = 0

    def unknown_share(self, side: str) -> float:
        """Return the share of unknown tokens of the side `source` or `target`."""
        tokens, unknown = (getattr(self, f"{side}_{name}") for name in ("tokens", "unknown"))
        return unknown / tokens if tokens else 0.0


def sum_counts(counts: Iterable[TextCounts]) -> TextCounts:
    """Return the sum of counts."""
    return TextCounts(*map(sum, zip(TextCounts(), *counts, strict=True)))


def sum_recorded(records: Iterable[Mapping[str, int] | list[int] | None]) -> TextCounts | None:
    """Return the sum of counts from JSON, by name or in order; None if one is missing.

    Raises:
        TypeError: one has other fields.
        ValueError: a value is not a count.
    """
    counts = []
    for record in records:
        if not record:
            return None
        counts.append(TextCounts(**record) if isinstance(record, Mapping) else TextCounts(*record))
        if not all(type(value) is int and value >= 0 for value in counts[-1]):
            raise ValueError(f"the counts {record!r:.40} of a text")
    return sum_counts(counts)


class LongPairs(NamedTuple):
    """Which pairs of a batch are too long, bool arrays of shape (batch,)."""

    source: np.ndarray
    target: np.ndarray

    @property
    def either(self) -> np.ndarray:
        """The pairs that are dropped or truncated."""
        return self.source | self.target


def find_long(source: tf.RaggedTensor, target: tf.RaggedTensor, num_steps: int) -> LongPairs:
    """Return which pairs of ids, without special tokens, have too many tokens for the model."""
    # The target has <bos> and <eos> too.
    return LongPairs(
        source.row_lengths().numpy() > num_steps, target.row_lengths().numpy() > num_steps - 2
    )


def count_batch(long: LongPairs, source: tf.RaggedTensor, target: tf.RaggedTensor) -> TextCounts:
    """Count a batch.

    Args:
        long: of all pairs.
        source: ids of the pairs that are kept, truncated.
        target: likewise, without `<bos>` and `<eos>`.
    """
    tokens = []
    for side in (source, target):
        ids = side.flat_values.numpy()
        tokens += [len(ids), int(np.sum(ids == UNK))]
    columns = (int(np.sum(column)) for column in (long.either, *long))
    return TextCounts(len(long.source), *columns, *tokens)


def unknown_share(tokenizer: Tokenizer, texts: list[str]) -> float:
    """Return the share of the tokens of some texts, of any length, that are `<unk>`."""
    tokens = unknown = 0
    for start in range(0, len(texts), TOKENIZE_BATCH_SIZE):
        ids = tokenizer.tokenize(tf.constant(texts[start : start + TOKENIZE_BATCH_SIZE]))
        ids = ids.flat_values.numpy()
        tokens, unknown = tokens + len(ids), unknown + int(np.sum(ids == UNK))
    return unknown / tokens if tokens else 0.0


def log_counts(config: PreparationConfig, **splits: TextCounts | None) -> None:
    """Log how many pairs are too long; warn if these, or unknown tokens, are many.

    Args:
        config: the configuration of the tokenizers and the data.
        **splits: counts by the name of the split; None for unknown ones.
    """
    if (long := format_long(config, **splits)) is not None:
        text, is_warning = long
        (_logger.warning if is_warning else log)(text)
    for warning in unknown_warnings(config, **splits):
        _logger.warning("%s", warning)


def format_long(config: PreparationConfig, **splits: TextCounts | None) -> tuple[str, bool] | None:
    """Return a line about pairs that are too long, and whether it is a warning.

    Args:
        config: the configuration that drops or truncates them.
        **splits: counts by the name of the split; None for unknown ones.

    Returns:
        None if no pair is too long.

    Example:

    >>> counts = TextCounts(pairs=1000, long=902, long_source=870, long_target=890)
    >>> config = PreparationConfig(num_steps=40, drop_long=True)
    >>> print(format_long(config, training=counts)[0])
    902 of 1,000 training pairs (870 sources, 890 targets) have more than 40 tokens (the target \
with <bos> and <eos>) and are dropped; raise --num-steps, or truncate them with --no-drop-long
    """
    found = {name: counts for name, counts in splits.items() if counts and counts.long}
    if not found:
        return None
    parts = [
        f"{counts.long:,} of {counts.pairs:,} {name} pairs "
        f"({counts.long_source:,} sources, {counts.long_target:,} targets)"
        for name, counts in found.items()
    ]
    text = (
        f"{' and '.join(parts)} have more than {config.num_steps} tokens (the target with <bos> "
        f"and <eos>) and are {'dropped' if config.drop_long else 'truncated'}"
    )
    is_warning = any(counts.long >= WARNING_SHARE * counts.pairs for counts in found.values())
    if is_warning:
        alternative = ", or truncate them with --no-drop-long" if config.drop_long else ""
        text += f"; raise --num-steps{alternative}"
    return text, is_warning


def unknown_warnings(config: PreparationConfig, **splits: TextCounts | None) -> list[str]:
    """Return a warning for each side with many unknown tokens; see `format_long`.

    Example:

    >>> counts = TextCounts(source_tokens=900, target_tokens=100, target_unknown=90)
    >>> print(*unknown_warnings(PreparationConfig(), training=counts))
    target: 90.0% of the training tokens are <unk>, which the model then learns to answer; give \
--tokenizer sentencepiece, or a lower --min-freq than 3
    """
    effects = {"source": "which the model cannot tell apart"}
    effects["target"] = "which the model then learns to answer"
    warnings = []
    for side, effect in effects.items():
        shares = {
            name: counts.unknown_share(side)
            for name, counts in splits.items()
            if counts is not None
        }
        if any(share >= WARNING_SHARE for share in shares.values()):
            parts = [f"{share:.1%} of the {name} tokens" for name, share in shares.items()]
            warnings.append(
                f"{side}: {' and '.join(parts)} are <unk>, {effect}; {_advice(config, side)}"
            )
    return warnings


def _advice(config: PreparationConfig, side: str) -> str:
    """Return what to do about unknown tokens of a side."""
    kind, min_freq = config.tokenizer_of(side), config.min_freq_of(side)
    if kind == "sentencepiece":
        return "clean the text of rare characters, or raise --vocab-size"
    option = "--tokenizer" if len(config.tokenizers()) == 1 else f"--{side}-tokenizer"
    advice = f"give {option} sentencepiece" if kind == "word" else "clean the text of rare tokens"
    if min_freq > 1:
        advice += f", or a lower --min-freq than {min_freq}"
    if config.vocab_size is not None:
        advice += f", or a larger --vocab-size than {config.vocab_size}"
    return advice
