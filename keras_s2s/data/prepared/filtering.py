"""The first pass over large corpora: which pairs are left out, which held out, which are twice.

The work is done in chunks of lines, whose pairs go to files of a folder for the second pass. What
has been done is not done again when the first pass begins anew.
"""

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from keras_s2s.data.corpus_reader import Chunk, CorpusStream
from keras_s2s.data.parallel_corpus import split_for_hash, split_hash
from keras_s2s.utils.errors import InputError
from keras_s2s.utils.files import atomic_write, write_json

# Hashes that are compared with each other at a time.
HASHES_AT_A_TIME = 2**20

TRAIN, VALID, TEST = range(3)

# Sources kept to prove exports with.
NUM_SAMPLES = 1000


@dataclasses.dataclass(frozen=True)
class FilterConfig:
    """Which pairs are left out and held out by their text alone.

    Args:
        reverse: whether source and target are swapped.
        skip_bad_lines: whether lines that hold no pair are left out instead of an error.
        keep_identical: whether pairs of twice the same sentence stay.
        keep_duplicates: whether pairs that have come before stay.
        valid_fraction: see `ParallelCorpus.split`.
        test_fraction: likewise.
        split_seed: likewise.
    """

    reverse: bool = False
    skip_bad_lines: bool = False
    keep_identical: bool = False
    keep_duplicates: bool = False
    valid_fraction: float = 0.0
    test_fraction: float = 0.0
    split_seed: int = 0

    def draw(self, source: str) -> float:
        """The number by which a source is held out or not."""
        if not self.valid_fraction and not self.test_fraction:
            return 1.0
        return split_hash(source, self.split_seed)

    def part(self, draw: float) -> int:
        """`TRAIN`, `VALID` or `TEST`."""
        return split_for_hash(draw, self.valid_fraction, self.test_fraction)


class ChunkStats(NamedTuple):
    """What the first pass says of a chunk.

    Attributes:
        corpus: the number of the corpus.
        sha256: of its text.
        num_lines: how many lines.
        pairs: those that are not left out, held out or not.
        bad: lines that hold no pair.
        first_bad: the numbers and beginnings of the first of them.
        identical: pairs left out since both sides are the same.
    """

    corpus: int
    sha256: str
    num_lines: int
    pairs: int
    bad: int
    first_bad: list[tuple[int, str]]
    identical: int


class HeldOut(NamedTuple):
    """A pair that is not trained on."""

    draw: float
    source: str
    target: str


class ChunkFiles:
    """The files of a chunk between the passes.

    Args:
        work: their folder.
        number: that of the chunk, among those of all corpora.
    """

    def __init__(self, work: Path, number: int) -> None:
        name = f"chunk-{number:05}"
        self.number = number
        self.said = work / f"{name}.json"
        self.texts = work / f"{name}.npz"
        self.hashes = work / f"{name}-hashes.npy"
        self.places = work / f"{name}-places.npy"

    def read(self) -> ChunkStats | None:
        """What the first pass has said, when it has been here."""
        try:
            said = json.loads(self.said.read_text(encoding="utf-8"))
            said["first_bad"] = [(number, line) for number, line in said["first_bad"]]
            return ChunkStats(**said)
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def training_texts(self) -> tuple[list[str], list[str], np.ndarray, np.ndarray]:
        """Sources and targets, the place of each pair in the chunk, and its hash."""
        with np.load(self.texts) as arrays:
            places = arrays["train_places"]
            sources, targets = (
                _texts(arrays[f"train_{side}"], len(places)) for side in ("sources", "targets")
            )
            return sources, targets, places, arrays["train_hashes"]

    def samples(self) -> dict[str, int]:
        """Sources of the pairs to train on that have the lowest hashes, with these."""
        with np.load(self.texts) as arrays:
            hashes = arrays["sample_hashes"].tolist()
            return dict(zip(_texts(arrays["samples"], len(hashes)), hashes, strict=True))

    def held_out(self, duplicates: np.ndarray) -> Iterator[tuple[int, HeldOut]]:
        """The pairs that are held out, each with its part, without those marked."""
        with np.load(self.texts) as arrays:
            places, parts, draws = (arrays[f"held_{what}"] for what in ("places", "parts", "draws"))
            sources, targets = (
                _texts(arrays[f"held_{side}"], len(places)) for side in ("sources", "targets")
            )
        for place, part, draw, source, target in zip(
            places.tolist(), parts.tolist(), draws.tolist(), sources, targets, strict=True
        ):
            if not duplicates[place]:
                yield part, HeldOut(draw, source, target)


class FilterTask(NamedTuple):
    """A piece of the work of the first pass."""

    work: Path
    number: int
    corpus: int
    name: str
    chunk: Chunk
    sieve: FilterConfig


def filter_chunk(job: FilterTask) -> ChunkStats:
    """Writes the pairs of a chunk to its files, with the hash of each.

    Raises:
        InputError: a line is not UTF-8.
    """
    stream, sieve, files = CorpusStream(job.name), job.sieve, ChunkFiles(job.work, job.number)
    if (known := files.read()) and (known.corpus, known.sha256) == (job.corpus, job.chunk.sha256):
        return known
    bad = stream.bad_lines()
    identical = place = 0
    hashes: list[bytes] = []
    columns: dict[str, list[Any]] = {
        f"{kind}_{what}": []
        for kind in ("train", "held")
        for what in ("sources", "targets", "places", "hashes", "parts", "draws")
    }
    for source, target in stream.pairs(job.chunk, bad, sieve.skip_bad_lines):
        if sieve.reverse:
            source, target = target, source
        if source == target and not sieve.keep_identical:
            identical += 1
            continue
        digest = hashlib.blake2b(f"{source}\n{target}".encode(), digest_size=8).digest()
        draw = sieve.draw(source)
        part = sieve.part(draw)
        kind = "held" if part else "train"
        columns[f"{kind}_sources"].append(source)
        columns[f"{kind}_targets"].append(target)
        columns[f"{kind}_places"].append(place)
        if part:
            columns["held_parts"].append(part)
            columns["held_draws"].append(draw)
        else:
            columns["train_hashes"].append(digest)
        hashes.append(digest)
        place += 1
    types = {"places": np.uint32, "parts": np.uint8, "draws": np.float64}
    arrays: dict[str, np.ndarray] = {}
    for name, values in columns.items():
        what = name.partition("_")[2]
        if what in types:
            arrays[name] = np.array(values, types[what])
        elif what == "hashes":
            arrays[name] = np.frombuffer(b"".join(values), np.uint64)
        else:
            arrays[name] = _as_bytes(values)
    drawn = np.argsort(arrays["train_hashes"], kind="stable")[:NUM_SAMPLES]
    arrays["sample_hashes"] = arrays["train_hashes"][drawn]
    arrays["samples"] = _as_bytes([columns["train_sources"][at] for at in drawn.tolist()])
    together = np.frombuffer(b"".join(hashes), np.uint64)
    order = np.argsort(together, kind="stable").astype(np.uint32)
    for path, content in ((files.hashes, together[order]), (files.places, order)):
        with atomic_write(path) as aside:
            np.save(aside, content)
    with atomic_write(files.texts) as aside:
        np.savez(aside, allow_pickle=False, **arrays)
    said = ChunkStats(
        job.corpus, job.chunk.sha256, job.chunk.num_lines, place, bad.number, bad.first, identical
    )
    # Last: where this is, all is.
    write_json(files.said, said._asdict())
    return said


def deduplicate(work: Path, sizes: list[int]) -> None:
    """Writes down for each pair whether the same one has come before.

    Pairs are told apart by 64 bits of a hash: of 10 million different ones, two are taken for the
    same with a probability of 3 in a million. Hashes lie on the disk in order, and so many
    of them are compared at a time that memory does not grow with their number.

    Args:
        work: the folder of the chunks.
        sizes: the pairs in each chunk.
    """
    begins = np.concatenate([[0], np.cumsum(sizes)]).tolist()
    path = work / "duplicates"
    with atomic_write(path) as aside:
        with open(aside, "wb") as file:
            file.truncate(begins[-1])
        parts = -(-begins[-1] // HASHES_AT_A_TIME)
        bounds = np.array([part * 2**64 // parts for part in range(1, parts)], np.uint64)
        cuts = []
        for number in range(len(sizes)):
            hashes = np.load(ChunkFiles(work, number).hashes)
            cuts.append([0, *np.searchsorted(hashes, bounds).tolist(), len(hashes)])
        with open(aside, "r+b", buffering=0) as file:
            for part in range(parts):
                duplicates = np.sort(_duplicates(work, begins, cuts, part))
                for begin, end in itertools.pairwise(begins):
                    first, last = np.searchsorted(duplicates, [begin, end])
                    if first < last:
                        file.seek(begin)
                        marks = np.frombuffer(file.read(end - begin), np.uint8).copy()
                        marks[duplicates[first:last] - begin] = 1
                        file.seek(begin)
                        file.write(marks)


def _duplicates(work: Path, begins: list[int], cuts: list[list[int]], part: int) -> np.ndarray:
    """Numbers of the pairs that have come before, of those whose hashes are in a part."""
    hashes, pairs = [], []
    for number, cut in enumerate(cuts):
        files, (begin, end) = ChunkFiles(work, number), cut[part : part + 2]
        hashes.append(_slice(files.hashes, begin, end))
        pairs.append(_slice(files.places, begin, end).astype(np.int64) + begins[number])
    together, numbers = np.concatenate(hashes), np.concatenate(pairs)
    # Stable, and pairs of the same hash come in their order.
    order = np.argsort(together, kind="stable")
    again = together[order][1:] == together[order][:-1]
    return numbers[order][1:][again]


def _slice(path: Path, begin: int, end: int) -> np.ndarray:
    if begin == end:  # an empty file cannot be mapped
        return np.zeros(0, np.uint64)
    # A copy, so that the file is not in memory any longer.
    return np.array(np.load(path, mmap_mode="r")[begin:end])


def read_duplicates(work: Path, begin: int, size: int) -> np.ndarray:
    """Of some pairs whether they have come before; none have where nothing was marked."""
    path = work / "duplicates"
    if not path.exists():
        return np.zeros(size, bool)
    with open(path, "rb") as file:
        file.seek(begin)
        marks = np.frombuffer(file.read(size), bool)
    if len(marks) != size:
        raise InputError(f"{path}: is damaged; remove {work} and prepare anew")
    return marks


def _as_bytes(texts: list[str]) -> np.ndarray:
    return np.frombuffer("\n".join(texts).encode(), np.uint8)


def _texts(content: np.ndarray, number: int) -> list[str]:
    return content.tobytes().decode().split("\n") if number else []
