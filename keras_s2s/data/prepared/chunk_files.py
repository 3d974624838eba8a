"""Intermediate files of a chunk: written by the first pass, read by the second."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_s2s.utils.files import parse_json

TRAIN, VALID, TEST = range(3)


class ChunkStats(NamedTuple):
    """Statistics of a chunk after the first pass.

    Attributes:
        corpus: index of the corpus.
        sha256: checksum of the text.
        num_lines: number of lines.
        pairs: number of pairs that pass the filter, held out or not.
        bad: number of malformed lines.
        first_bad: line numbers and excerpts of the first malformed lines.
        columns: smallest and largest number of columns of a pair.
        identical: number of pairs dropped because both sides are the same.
    """

    corpus: int
    sha256: str
    num_lines: int
    pairs: int
    bad: int
    first_bad: list[tuple[int, str]]
    columns: tuple[int, int]
    identical: int


class HeldOut(NamedTuple):
    """A pair held out for validation or testing."""

    split_hash: float
    source: str
    target: str


class ChunkFiles:
    """The intermediate files of a chunk.

    Args:
        work: their folder.
        index: index of the chunk among those of all corpora.
    """

    def __init__(self, work: Path, index: int) -> None:
        name = f"chunk-{index:05}"
        self.stats = work / f"{name}.json"
        self.texts = work / f"{name}.npz"
        self.hashes = work / f"{name}-hashes.npy"
        self.positions = work / f"{name}-places.npy"

    def read_stats(self) -> ChunkStats | None:
        """Return the statistics, or None where the chunk is not complete."""
        try:
            stats = parse_json(self.stats.read_text(encoding="utf-8"))
            stats["first_bad"] = [(line, excerpt) for line, excerpt in stats["first_bad"]]
            stats["columns"] = tuple(stats["columns"])
            return ChunkStats(**stats)
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def training_texts(self) -> tuple[list[str], list[str], np.ndarray, np.ndarray]:
        """Return sources, targets, the position of each pair in the chunk, and its hash."""
        with np.load(self.texts) as arrays:
            positions = arrays["train_places"]
            sources, targets = (
                decode_texts(arrays[f"train_{side}"], len(positions))
                for side in ("sources", "targets")
            )
            return sources, targets, positions, arrays["train_hashes"]

    def samples(self) -> dict[str, int]:
        """Return the training sources with the lowest hashes, and these hashes."""
        with np.load(self.texts) as arrays:
            hashes = arrays["sample_hashes"].tolist()
            return dict(zip(decode_texts(arrays["samples"], len(hashes)), hashes, strict=True))

    def held_out(self, duplicates: np.ndarray) -> Iterator[tuple[int, HeldOut]]:
        """Yield the split and the pair of those held out, skipping duplicates.

        Args:
            duplicates: (num_pairs,), bool.
        """
        with np.load(self.texts) as arrays:
            positions, splits, hashes = (
                arrays[f"held_{name}"].tolist() for name in ("places", "parts", "draws")
            )
            sources, targets = (
                decode_texts(arrays[f"held_{side}"], len(positions))
                for side in ("sources", "targets")
            )
        for position, split, *pair in zip(positions, splits, hashes, sources, targets, strict=True):
            if not duplicates[position]:
                yield split, HeldOut(*pair)


def encode_texts(texts: list[str]) -> np.ndarray:
    """Return texts as one array of bytes, which can be saved without pickling."""
    return np.frombuffer("\n".join(texts).encode(), np.uint8)


def decode_texts(content: np.ndarray, count: int) -> list[str]:
    """Return the texts that `encode_texts` has encoded."""
    return content.tobytes().decode().split("\n") if count else []
