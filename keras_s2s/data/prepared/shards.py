"""Tokenized pairs on disk: files of blocks, each block a record of TensorFlow's with a checksum.

A shard is a TFRecord file. Each of its records is a `tf.train.Example` with the features
`source_lengths`, `target_lengths` (uint16, one for each pair), `source_ids` and `target_ids`
(uint16, or uint32 for large vocabularies; those of all pairs one after the other, without
`<bos>`, `<eos>` and padding), each of them one value of little-endian bytes, which
`tf.io.decode_raw` reads.
"""

import dataclasses
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from keras_s2s.data.prepared.index import MEND
from keras_s2s.utils.errors import InputError
from keras_s2s.utils.files import atomic_write, fsync, sha256_of

# Pairs in a block: those that neighbours stay with when blocks are mixed.
BLOCK_PAIRS = 256
# What TensorFlow puts around a record: its length with a checksum before, a checksum after.
_BEFORE, _AROUND = 12, 16


class Block(NamedTuple):
    """Pairs as ids, without special tokens.

    Attributes:
        source_lengths: (pairs,).
        target_lengths: (pairs,).
        source_ids: those of all pairs one after the other.
        target_ids: likewise.
    """

    source_lengths: np.ndarray
    target_lengths: np.ndarray
    source_ids: np.ndarray
    target_ids: np.ndarray

    @property
    def pairs(self) -> int:
        """How many."""
        return len(self.source_lengths)

    def part(self, begin: int, end: int) -> "Block":
        """Some of the pairs; as a slice, it may end behind the last one."""
        end = min(end, self.pairs)
        ids = []
        for lengths, side in ((self[0], self[2]), (self[1], self[3])):
            ends = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
            ids.append(side[ends[begin] : ends[end]])
        return Block(self[0][begin:end], self[1][begin:end], *ids)


def joined(blocks: list[Block]) -> Block:
    """The pairs of one or more blocks, in their order."""
    return Block(*map(np.concatenate, zip(*blocks, strict=True)))


@dataclasses.dataclass
class Shard:
    """What the index says of a shard.

    Attributes:
        file: its name.
        corpus: the number of the corpus that its pairs are from.
        bytes: its size.
        sha256: its checksum.
        block_pairs: the pairs in each block.
        block_bytes: the size of each block, without what TensorFlow puts around it.
        block_crc32: the checksum of each block.
        source_lengths: (num_steps + 1,): how many sources there are of each length.
        target_lengths: the same of the targets, `<bos>` and `<eos>` included.
        too_long: pairs of its text left out since they have too many tokens.
        length_ratio: those left out since the lengths of their sides differ too much.
        cut: pairs of which a side was cut.
    """

    file: str
    corpus: int
    bytes: int
    sha256: str
    block_pairs: list[int]
    block_bytes: list[int]
    block_crc32: list[int]
    source_lengths: list[int] = dataclasses.field(default_factory=list)
    target_lengths: list[int] = dataclasses.field(default_factory=list)
    too_long: int = 0
    length_ratio: int = 0
    cut: int = 0

    @property
    def pairs(self) -> int:
        """How many."""
        return sum(self.block_pairs)

    def check(self, folder: Path) -> None:
        """Compares the file with what was written.

        Raises:
            InputError: it is missing, has another size, or another checksum.
        """
        file = folder / self.file
        try:
            size = file.stat().st_size
            if size != self.bytes:
                raise InputError(
                    f"{file}: is damaged, it has {size} bytes instead of {self.bytes}; {MEND}"
                )
            if sha256_of(file) != self.sha256:
                raise InputError(f"{file}: is damaged, its checksum is not right; {MEND}")
        except OSError as error:
            raise InputError(f"{file}: cannot be read ({error.strerror}); {MEND}") from error

    def offsets(self) -> np.ndarray:
        """Where each block begins in the file."""
        sizes = np.array([0, *self.block_bytes], np.int64)[:-1] + _AROUND
        return np.cumsum(sizes) - _AROUND + _BEFORE if self.block_bytes else sizes[:0]


def write_shard(path: Path, corpus: int, pairs: Block, id_type: str) -> Shard:
    """Writes a shard aside and renames it.

    Args:
        path: the file to be.
        corpus: the number of the corpus.
        pairs: all that goes into it.
        id_type: `uint16` or `uint32`.
    """
    shard = Shard(path.name, corpus, 0, "", [], [], [])
    with atomic_write(path) as aside:
        with tf.io.TFRecordWriter(str(aside)) as writer:
            for begin in range(0, pairs.pairs, BLOCK_PAIRS):
                block = pairs.part(begin, begin + BLOCK_PAIRS)
                content = _encoded(block, id_type)
                writer.write(content)
                shard.block_pairs.append(block.pairs)
                shard.block_bytes.append(len(content))
                shard.block_crc32.append(zlib.crc32(content))
        shard.bytes = aside.stat().st_size
        shard.sha256 = sha256_of(aside)
        fsync(aside)
    return shard


def read_block(file: Path, offset: int, size: int, crc32: int, id_type: str) -> Block:
    """Reads a block.

    Raises:
        InputError: it is not what was written.
    """
    try:
        with open(file, "rb", buffering=0) as opened:
            opened.seek(offset)
            content = opened.read(size) or b""
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}); {MEND}") from error
    if len(content) != size or zlib.crc32(content) != crc32:
        raise InputError(f"{file}: is damaged in the block at byte {offset}; {MEND}")
    return _decoded(content, id_type)


_FEATURES = ("source_lengths", "target_lengths", "source_ids", "target_ids")


def _types(id_type: str) -> tuple[Any, ...]:
    ids = np.dtype(id_type).newbyteorder("<")
    return "<u2", "<u2", ids, ids


def _encoded(block: Block, id_type: str) -> bytes:
    features = {
        name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[column.astype(kind).tobytes()]))
        for name, column, kind in zip(_FEATURES, block, _types(id_type), strict=True)
    }
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return bytes(example.SerializeToString(deterministic=True))


def _decoded(content: bytes, id_type: str) -> Block:
    features = tf.train.Example.FromString(content).features.feature
    return Block(
        *(
            np.frombuffer(features[name].bytes_list.value[0], kind)
            for name, kind in zip(_FEATURES, _types(id_type), strict=True)
        )
    )
