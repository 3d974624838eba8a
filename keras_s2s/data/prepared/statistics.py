"""Statistics of each corpus while it is prepared, and the held-out pairs and samples to store."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_s2s.data.corpus_reader import CorpusReader
from keras_s2s.data.prepared.chunk_files import TEST, VALID, ChunkFiles, ChunkStats, HeldOut
from keras_s2s.data.prepared.filtering import NUM_SAMPLES
from keras_s2s.data.prepared.shards import ShardInfo
from keras_s2s.data.prepared.tokenization import TextChunk
from keras_s2s.data.text_counts import sum_recorded
from keras_s2s.utils.errors import InputError

# Stored pairs of each held-out split.
MAX_HELD_OUT = 10_000


class TextSummary(NamedTuple):
    """Statistics of the corpora before tokenization, and the texts to store.

    Attributes:
        corpora: for each corpus the counts of pairs read, dropped by reason, held out, and left
            to train on, as in the index.
        held_out: the stored pairs by split, `VALID` and `TEST`.
        samples: sources to verify exports with.
    """

    corpora: list[dict[str, Any]]
    held_out: dict[int, list[HeldOut]]
    samples: list[str]


def summarize_texts(
    streams: Sequence[CorpusReader],
    weights: Sequence[float],
    chunks: Iterable[tuple[ChunkStats, TextChunk]],
) -> TextSummary:
    """Combine the statistics of the chunks by corpus.

    Args:
        streams: the corpora, read to their ends.
        weights: passes over each corpus in an epoch.
        chunks: all of them, in order.
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
    for stats, chunk in chunks:
        corpus, duplicates = corpora[stats.corpus], chunk.duplicates()
        num_duplicates = int(np.sum(duplicates))
        corpus["lines"] += stats.num_lines
        corpus["pairs"] += stats.pairs + stats.identical
        dropped = corpus["dropped"]
        dropped["bad_lines"] += stats.bad
        dropped["identical"] += stats.identical
        dropped["duplicates"] += num_duplicates
        counts = {VALID: 0, TEST: 0}
        files = ChunkFiles(chunk.work, chunk.chunk_index)
        samples = _select_samples(samples | files.samples())
        for split, pair in files.held_out(duplicates):
            counts[split] += 1
            held_out[split].append(pair)
        for split, name in ((VALID, "valid_pairs"), (TEST, "test_pairs")):
            corpus[name] += counts[split]
            held_out[split] = _select_held_out(held_out[split])
        corpus["train_pairs"] += stats.pairs - num_duplicates - sum(counts.values())
    return TextSummary(corpora, held_out, list(samples))


def add_token_statistics(
    corpora: list[dict[str, Any]], shards: Sequence[ShardInfo], num_steps: int
) -> dict[str, list[list[int]]]:
    """Add the statistics of the shards to those of the corpora.

    Args:
        corpora: see `TextSummary`; changed in place.
        shards: all of them.
        num_steps: maximum number of tokens of a sentence.

    Returns:
        `source_lengths` and `target_lengths`: for each corpus the number of sentences of each
        length, (num_steps + 1,).

    Raises:
        InputError: no pair is left.
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
        corpus["train_pairs"] += shard.num_pairs
        for side, counts in lengths.items():
            sums = np.add(counts[shard.corpus], getattr(shard, side))
            counts[shard.corpus] = sums.tolist()
    if not sum(corpus["train_pairs"] for corpus in corpora):
        names = ", ".join(corpus["corpus"] for corpus in corpora)
        raise InputError(
            f"{names}: no pair has at most {num_steps} source tokens and {num_steps - 2} target "
            "tokens; raise --num-steps"
        )
    length = np.arange(num_steps + 1)
    for i, corpus in enumerate(corpora):
        recorded = sum_recorded(shard.counts for shard in shards if shard.corpus == i)
        corpus["counts"] = recorded and recorded._asdict()
        corpus["source_tokens"] = int(length @ np.array(lengths["source_lengths"][i]))
        # Predicted tokens: all except <bos>.
        predicted = np.maximum(length - 1, 0)
        corpus["target_tokens"] = int(predicted @ np.array(lengths["target_lengths"][i]))
    return lengths


def format_statistics(corpus: dict[str, Any]) -> list[str]:
    """Return the statistics of a prepared corpus as lines of text.

    Args:
        corpus: one of `corpora` of the index.
    """
    dropped = {name.replace("_", " "): count for name, count in corpus["dropped"].items()}
    reasons = [f"  {count:>12,} dropped: {name}" for name, count in dropped.items() if count]
    cut = f", {corpus['cut']:,} of them truncated" if corpus["cut"] else ""
    weight = f", {corpus['weight']:g} times an epoch" if corpus["weight"] != 1 else ""
    return [
        f"{corpus['corpus']}: {corpus['pairs']:,} pairs in {corpus['lines']:,} lines",
        *reasons,
        f"  {corpus['valid_pairs']:>12,} held out for validation",
        f"  {corpus['test_pairs']:>12,} held out for testing",
        f"  {corpus['train_pairs']:>12,} to train on{cut}{weight}",
    ]


def _select_samples(samples: dict[str, int]) -> dict[str, int]:
    """Return the `NUM_SAMPLES` sources with the lowest hashes: a random but repeatable choice."""
    lowest = sorted(samples.items(), key=lambda item: (item[1], item[0]))
    return dict(lowest[:NUM_SAMPLES])


def _select_held_out(pairs: list[HeldOut]) -> list[HeldOut]:
    """Return the `MAX_HELD_OUT` pairs with the lowest split hashes, in corpus order."""
    if len(pairs) <= MAX_HELD_OUT:
        return pairs
    indices = sorted(range(len(pairs)), key=lambda i: (pairs[i].split_hash, i))
    return [pairs[i] for i in sorted(indices[:MAX_HELD_OUT])]
