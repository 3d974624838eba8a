"""Deduplicate the pairs of all chunks by hash, in bounded memory."""

import itertools
from pathlib import Path

import numpy as np

from keras_s2s.data.prepared.chunk_files import ChunkFiles
from keras_s2s.utils.errors import InputError
from keras_s2s.utils.files import atomic_write

# Hashes that are sorted together, about: those in one range of hash values.
HASHES_PER_RANGE = 2**20


def deduplicate(work: Path, sizes: list[int]) -> None:
    """Write the duplicate mask: one byte per pair, 1 where an earlier pair is the same.

    Pairs are compared by 64-bit hashes: among 10 million distinct pairs, the probability of any
    collision is 3 in a million. The hashes of each chunk are sorted on disk; they are merged one
    range of hash values at a time, so that memory does not grow with the corpora.

    Args:
        work: the folder of the chunks.
        sizes: the number of pairs in each chunk.
    """
    begins = np.concatenate([[0], np.cumsum(sizes)]).tolist()
    with atomic_write(work / "duplicates") as temporary:
        with open(temporary, "wb") as file:
            file.truncate(begins[-1])
        num_ranges = -(-begins[-1] // HASHES_PER_RANGE)
        bounds = np.array([i * 2**64 // num_ranges for i in range(1, num_ranges)], np.uint64)
        cuts = []
        for chunk in range(len(sizes)):
            hashes = np.load(ChunkFiles(work, chunk).hashes)
            cuts.append([0, *np.searchsorted(hashes, bounds).tolist(), len(hashes)])
        with open(temporary, "r+b", buffering=0) as file:
            for hash_range in range(num_ranges):
                duplicates = np.sort(_duplicates(work, begins, cuts, hash_range))
                for begin, end in itertools.pairwise(begins):
                    first, last = np.searchsorted(duplicates, [begin, end])
                    if first < last:
                        file.seek(begin)
                        mask = np.frombuffer(file.read(end - begin), np.uint8).copy()
                        mask[duplicates[first:last] - begin] = 1
                        file.seek(begin)
                        file.write(mask)


def read_duplicate_mask(work: Path, begin: int, size: int) -> np.ndarray:
    """Return the duplicate mask of some pairs; all False where `deduplicate` has not run.

    Args:
        work: the folder of the chunks.
        begin: index of the first pair.
        size: number of pairs.

    Returns:
        (size,), bool.
    """
    path = work / "duplicates"
    if not path.exists():
        return np.zeros(size, bool)
    with open(path, "rb") as file:
        file.seek(begin)
        mask = np.frombuffer(file.read(size), bool)
    if len(mask) != size:
        raise InputError(f"{path}: is damaged; remove {work} and prepare the corpus again")
    return mask


def _duplicates(
    work: Path, begins: list[int], cuts: list[list[int]], hash_range: int
) -> np.ndarray:
    """Return the indices of the duplicates among the pairs whose hashes are in one range."""
    all_hashes, all_pairs = [], []
    for chunk, cut in enumerate(cuts):
        files, (begin, end) = ChunkFiles(work, chunk), cut[hash_range : hash_range + 2]
        all_hashes.append(_load_slice(files.hashes, begin, end))
        all_pairs.append(_load_slice(files.positions, begin, end).astype(np.int64) + begins[chunk])
    hashes, pairs = np.concatenate(all_hashes), np.concatenate(all_pairs)
    # A stable sort keeps pairs with equal hashes in corpus order, so that the first one stays.
    order = np.argsort(hashes, kind="stable")
    repeated = hashes[order][1:] == hashes[order][:-1]
    return pairs[order][1:][repeated]


def _load_slice(path: Path, begin: int, end: int) -> np.ndarray:
    if begin == end:  # an empty file cannot be mapped
        return np.zeros(0, np.uint64)
    # Copied, so that the mapping is released.
    return np.array(np.load(path, mmap_mode="r")[begin:end])
