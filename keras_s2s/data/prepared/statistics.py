"""What is counted of corpora while they are prepared, and which pairs are kept beside them."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_s2s.data.corpus_reader import CorpusStream
from keras_s2s.data.prepared.filtering import (
    NUM_SAMPLES,
    TEST,
    VALID,
    ChunkFiles,
    ChunkStats,
    HeldOut,
)
from keras_s2s.data.prepared.shards import Shard
from keras_s2s.data.prepared.tokenization import ChunkToRead
from keras_s2s.utils.errors import InputError

# Pairs that are kept of those held out, for validation and for testing each.
MOST_HELD_OUT = 10_000


class Texts(NamedTuple):
    """What is known of corpora before they are tokenized.

    Attributes:
        corpora: of each what was read, left out and why, held out, and is left to train on.
        held_out: by part, `VALID` and `TEST`, the pairs that are kept.
        samples: sources to prove exports with.
    """

    corpora: list[dict[str, Any]]
    held_out: dict[int, list[HeldOut]]
    samples: list[str]


def count_texts(
    streams: Sequence[CorpusStream],
    weights: Sequence[float],
    chunks: Iterable[tuple[ChunkStats, ChunkToRead]],
) -> Texts:
    """Puts together what is known of the chunks of corpora.

    Args:
        streams: the corpora, read to their ends.
        weights: how often an epoch goes through each.
        chunks: all of them, in their order.
    """
    corpora: list[dict[str, Any]] = [
        {
            "corpus": stream.name,
            "sha256": list(stream.sha256),
            "weight": weight,
            "lines": 0,
            "pairs": 0,
            "dropped": {"bad_lines": 0, "identical": 0, "duplicates": 0},
            "valid_pairs": 0,
            "test_pairs": 0,
            "train_pairs": 0,
        }
        for stream, weight in zip(streams, weights, strict=True)
    ]
    held_out: dict[int, list[HeldOut]] = {VALID: [], TEST: []}
    samples: dict[str, int] = {}
    for said, chunk in chunks:
        corpus, duplicates = corpora[said.corpus], chunk.duplicates()
        corpus["lines"] += said.num_lines
        corpus["pairs"] += said.pairs + said.identical
        dropped = corpus["dropped"]
        dropped["bad_lines"] += said.bad
        dropped["identical"] += said.identical
        dropped["duplicates"] += int(np.sum(duplicates))
        counted = {VALID: 0, TEST: 0}
        files = ChunkFiles(chunk.work, chunk.number)
        samples = _lowest(files.samples(), samples)
        for part, pair in files.held_out(duplicates):
            counted[part] += 1
            held_out[part].append(pair)
        for part, name in ((VALID, "valid_pairs"), (TEST, "test_pairs")):
            corpus[name] += counted[part]
            held_out[part] = _lowest_draws(held_out[part])
        corpus["train_pairs"] += said.pairs - int(np.sum(duplicates)) - sum(counted.values())
    return Texts(corpora, held_out, list(samples))


def add_tokens(
    corpora: list[dict[str, Any]], shards: Sequence[Shard], num_steps: int
) -> dict[str, list[list[int]]]:
    """Adds to what is known of corpora what their shards hold and left out.

    Args:
        corpora: see `Texts`.
        shards: all of them.
        num_steps: tokens of a sentence at most.

    Returns:
        For each side, `source_lengths` and `target_lengths`, for each corpus how many sentences
        have so many tokens.

    Raises:
        InputError: there is no pair in them.
    """
    lengths = {
        side: [[0] * (num_steps + 1) for _ in corpora]
        for side in ("source_lengths", "target_lengths")
    }
    for corpus in corpora:
        corpus["dropped"] |= {"too_long": 0, "length_ratio": 0}
        corpus["cut"] = corpus["train_pairs"] = 0
    for shard in shards:
        corpus = corpora[shard.corpus]
        corpus["dropped"]["too_long"] += shard.too_long
        corpus["dropped"]["length_ratio"] += shard.length_ratio
        corpus["cut"] += shard.cut
        corpus["train_pairs"] += shard.pairs
        for side, counts in lengths.items():
            together = zip(counts[shard.corpus], getattr(shard, side), strict=True)
            counts[shard.corpus] = [first + second for first, second in together]
    if not sum(corpus["train_pairs"] for corpus in corpora):
        names = ", ".join(corpus["corpus"] for corpus in corpora)
        raise InputError(
            f"{names}: no pair has at most {num_steps} source tokens and {num_steps - 2} target "
            "tokens; raise --num-steps"
        )
    step = np.arange(num_steps + 1)
    for number, corpus in enumerate(corpora):
        corpus["source_tokens"] = int(step @ np.array(lengths["source_lengths"][number]))
        # All but <bos>.
        targets = np.array(lengths["target_lengths"][number])
        corpus["target_tokens"] = int(np.maximum(step - 1, 0) @ targets)
    return lengths


def _lowest(samples: dict[str, int], others: dict[str, int]) -> dict[str, int]:
    """Of sources and their hashes so many as are kept, which chance decides: those first."""
    together = sorted({**others, **samples}.items(), key=lambda item: (item[1], item[0]))
    return dict(together[:NUM_SAMPLES])


def _lowest_draws(pairs: list[HeldOut]) -> list[HeldOut]:
    """At most `MOST_HELD_OUT` of them, in their order: always the same ones of the same sources."""
    if len(pairs) <= MOST_HELD_OUT:
        return pairs
    numbers = sorted(range(len(pairs)), key=lambda number: (pairs[number].draw, number))
    return [pairs[number] for number in sorted(numbers[:MOST_HELD_OUT])]
