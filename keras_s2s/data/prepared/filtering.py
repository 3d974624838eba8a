"""The first pass over large corpora: drop and hold out pairs by their text, chunk by chunk.

The pairs of a chunk go to intermediate files for the second pass. A chunk that is complete is not
filtered again when the first pass restarts.
"""

import dataclasses
import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from keras_s2s.data.columns import parse_columns
from keras_s2s.data.corpus_reader import Chunk, CorpusReader
from keras_s2s.data.parallel_corpus import split_for_hash, split_hash
from keras_s2s.data.prepared.chunk_files import ChunkFiles, ChunkStats, encode_texts
from keras_s2s.utils.files import atomic_write, write_json

# Sources kept to verify exports with.
NUM_SAMPLES = 1000


@dataclasses.dataclass(frozen=True)
class FilterConfig:
    """Which pairs are dropped and held out by their text alone.

    Args:
        reverse: whether source and target are swapped.
        skip_bad_lines: whether malformed lines are skipped instead of an error.
        keep_identical: whether pairs with two identical sides are kept.
        keep_duplicates: whether repeated pairs are kept.
        valid_fraction: see `ParallelCorpus.split`.
        test_fraction: likewise.
        split_seed: likewise.
        columns: see `load_corpus`.
    """

    reverse: bool = False
    skip_bad_lines: bool = False
    keep_identical: bool = False
    keep_duplicates: bool = False
    valid_fraction: float = 0.0
    test_fraction: float = 0.0
    split_seed: int = 0
    columns: str | None = None

    def split_hash(self, source: str) -> float:
        """Return the hash that decides the split of a source; 1 where nothing is held out."""
        if not self.valid_fraction and not self.test_fraction:
            return 1.0
        return split_hash(source, self.split_seed)

    def split(self, source_hash: float) -> int:
        """Return `TRAIN`, `VALID` or `TEST`."""
        return split_for_hash(source_hash, self.valid_fraction, self.test_fraction)


class FilterTask(NamedTuple):
    """The arguments of `filter_chunk`.

    Attributes:
        work: folder of the intermediate files.
        chunk_index: index of the chunk among those of all corpora.
        corpus: index of the corpus.
        name: of the corpus, see `CorpusReader`.
        chunk: the text.
        config: which pairs are kept.
    """

    work: Path
    chunk_index: int
    corpus: int
    name: str
    chunk: Chunk
    config: FilterConfig


def filter_chunk(task: FilterTask) -> ChunkStats:
    """Write the pairs of a chunk to its intermediate files, with the hash of each.

    Raises:
        InputError: a line is not UTF-8, or has a NUL byte.
    """
    config, files = task.config, ChunkFiles(task.work, task.chunk_index)
    stream = CorpusReader(
        task.name, None if config.columns is None else parse_columns(config.columns)
    )
    sha256 = task.chunk.sha256
    stats = files.read_stats()
    if stats and (stats.corpus, stats.sha256) == (task.corpus, sha256):
        return stats
    bad = stream.malformed_lines()
    identical = 0
    hashes: list[bytes] = []
    # The names of the columns are those of the arrays on disk.
    columns: dict[str, list[Any]] = {
        f"{group}_{column}": []
        for group in ("train", "held")
        for column in ("sources", "targets", "places", "hashes", "parts", "draws")
    }
    for source, target in stream.pairs(task.chunk, bad, config.skip_bad_lines):
        if config.reverse:
            source, target = target, source
        if source == target and not config.keep_identical:
            identical += 1
            continue
        digest = hashlib.blake2b(f"{source}\n{target}".encode(), digest_size=8).digest()
        source_hash = config.split_hash(source)
        split = config.split(source_hash)
        group = "held" if split else "train"
        columns[f"{group}_sources"].append(source)
        columns[f"{group}_targets"].append(target)
        columns[f"{group}_places"].append(len(hashes))
        if split:
            columns["held_parts"].append(split)
            columns["held_draws"].append(source_hash)
        else:
            columns["train_hashes"].append(digest)
        hashes.append(digest)
    dtypes = {"places": np.uint32, "parts": np.uint8, "draws": np.float64}
    arrays: dict[str, np.ndarray] = {}
    for name, values in columns.items():
        column = name.partition("_")[2]
        if column in dtypes:
            arrays[name] = np.array(values, dtypes[column])
        elif column == "hashes":
            arrays[name] = np.frombuffer(b"".join(values), np.uint64)
        else:
            arrays[name] = encode_texts(values)
    sampled = np.argsort(arrays["train_hashes"], kind="stable")[:NUM_SAMPLES]
    arrays["sample_hashes"] = arrays["train_hashes"][sampled]
    arrays["samples"] = encode_texts([columns["train_sources"][i] for i in sampled.tolist()])
    pair_hashes = np.frombuffer(b"".join(hashes), np.uint64)
    order = np.argsort(pair_hashes, kind="stable").astype(np.uint32)
    for path, content in ((files.hashes, pair_hashes[order]), (files.positions, order)):
        with atomic_write(path) as temporary:
            np.save(temporary, content)
    with atomic_write(files.texts) as temporary:
        np.savez(temporary, allow_pickle=False, **arrays)
    stats = ChunkStats(
        corpus=task.corpus,
        sha256=sha256,
        num_lines=task.chunk.num_lines,
        pairs=len(hashes),
        bad=bad.count,
        first_bad=bad.examples,
        columns=bad.columns,
        identical=identical,
    )
    # Written last: its presence marks the chunk as complete.
    write_json(files.stats, stats._asdict())
    return stats
