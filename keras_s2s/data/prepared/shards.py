"""Shards of tokenized pairs: TFRecord files of blocks, with a checksum per block and per file.

Each record is a `tf.train.Example` with the features `source_lengths`, `target_lengths` (uint16,
one per pair), `source_ids` and `target_ids` (uint16, or uint32 for large vocabularies;
concatenated over the pairs, without `<bos>`, `<eos>` and padding). Each feature is one value of
little-endian bytes, as `tf.io.decode_raw` reads them.
"""

import dataclasses
import os
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from keras_s2s.data.prepared.index import REPAIR_HINT
from keras_s2s.utils.errors import InputError
from keras_s2s.utils.files import atomic_write, fsync, sha256_of

# Pairs per block, the unit that is shuffled on disk.
BLOCK_PAIRS = 256
# TFRecord framing in bytes: length and its checksum before the data, 4 bytes of checksum after.
_RECORD_HEADER_BYTES, _RECORD_OVERHEAD_BYTES = 12, 16


class Block(NamedTuple):
    """Pairs as ids, without special tokens.

    Attributes:
        source_lengths: (num_pairs,).
        target_lengths: (num_pairs,).
        source_ids: concatenated over the pairs.
        target_ids: likewise.
    """

    source_lengths: np.ndarray
    target_lengths: np.ndarray
    source_ids: np.ndarray
    target_ids: np.ndarray

    @property
    def num_pairs(self) -> int:
        """Number of pairs."""
        return len(self.source_lengths)

    def slice(self, begin: int, end: int) -> "Block":
        """Return the pairs from `begin` to `end`, which is clipped to the number of pairs."""
        end = min(end, self.num_pairs)
        ids = []
        for lengths, side in ((self[0], self[2]), (self[1], self[3])):
            offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
            ids.append(side[offsets[begin] : offsets[end]])
        return Block(self[0][begin:end], self[1][begin:end], *ids)


def concatenate(blocks: list[Block]) -> Block:
    """Return the pairs of one or more blocks, in order."""
    return Block(*map(np.concatenate, zip(*blocks, strict=True)))


@dataclasses.dataclass
class ShardInfo:
    """The entry of a shard in the index.

    Attributes:
        file: file name.
        corpus: index of the corpus of its pairs.
        bytes: size of the file.
        sha256: checksum of the file.
        block_pairs: number of pairs in each block.
        block_bytes: size of each block, without TFRecord framing.
        block_crc32: checksum of each block.
        source_lengths: (num_steps + 1,): number of sources of each length.
        target_lengths: the same for targets, including `<bos>` and `<eos>`.
        too_long: number of pairs dropped because they have too many tokens.
        length_ratio: number of pairs dropped because the lengths of their sides differ too much.
        cut: number of pairs with a truncated side.
        counts: the values of `TextCounts`; none in shards of earlier versions.
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
    counts: list[int] = dataclasses.field(default_factory=list)

    @classmethod
    def from_json(cls, content: Any) -> "ShardInfo":
        """Return the shard of an entry of the index.

        Raises:
            ValueError: a value has another type, or does not fit the others.
            TypeError: a field is missing, or unknown.
        """
        shard = cls(**content)
        for field in dataclasses.fields(cls):
            value = getattr(shard, field.name)
            if field.type is str:
                valid = isinstance(value, str)
            elif field.type is int:
                valid = _is_count(value)
            else:
                valid = isinstance(value, list) and all(map(_is_count, value))
            if not valid:
                raise ValueError(f"{field.name} of a shard is {value!r:.40}")
        if len({len(shard.block_pairs), len(shard.block_bytes), len(shard.block_crc32)}) > 1:
            raise ValueError(f"its lists of the blocks of {shard.file} differ in length")
        return shard

    @property
    def num_pairs(self) -> int:
        """Number of pairs."""
        return sum(self.block_pairs)

    def check(self, folder: Path) -> None:
        """Compare the file with its size and checksum.

        Raises:
            InputError: it is missing, or differs.
        """
        file = folder / self.file
        try:
            size = file.stat().st_size
            if size != self.bytes:
                raise InputError(
                    f"{file}: is damaged, it has {size} bytes instead of {self.bytes}; "
                    f"{REPAIR_HINT}"
                )
            if sha256_of(file) != self.sha256:
                raise InputError(f"{file}: is damaged, its checksum differs; {REPAIR_HINT}")
        except OSError as error:
            raise InputError(f"{file}: cannot be read ({error.strerror}); {REPAIR_HINT}") from error

    def is_intact(self, folder: Path) -> bool:
        """Return whether `check` passes."""
        try:
            self.check(folder)
        except InputError:
            return False
        return True

    def offsets(self) -> np.ndarray:
        """Return the byte offset of each block in the file."""
        sizes = np.array(self.block_bytes, np.int64) + _RECORD_OVERHEAD_BYTES
        return np.cumsum(sizes) - sizes + _RECORD_HEADER_BYTES


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**48


def write_shard(path: Path, corpus: int, pairs: Block, id_dtype: str) -> ShardInfo:
    """Write a shard atomically.

    Args:
        path: the file.
        corpus: index of the corpus.
        pairs: the content.
        id_dtype: `uint16` or `uint32`.
    """
    shard = ShardInfo(path.name, corpus, 0, "", [], [], [])
    with atomic_write(path) as temporary:
        with tf.io.TFRecordWriter(str(temporary)) as writer:
            for begin in range(0, pairs.num_pairs, BLOCK_PAIRS):
                block = pairs.slice(begin, begin + BLOCK_PAIRS)
                content = _serialize(block, id_dtype)
                writer.write(content)
                shard.block_pairs.append(block.num_pairs)
                shard.block_bytes.append(len(content))
                shard.block_crc32.append(zlib.crc32(content))
        shard.bytes = temporary.stat().st_size
        shard.sha256 = sha256_of(temporary)
        fsync(temporary)
    return shard


def read_block(file: Path, offset: int, size: int, crc32: int, id_dtype: str) -> Block:
    """Read a block and verify its checksum.

    Raises:
        InputError: it is damaged.
    """
    try:
        with open(file, "rb", buffering=0) as opened:
            # Reading allocates the size first.
            is_inside = offset + size <= os.fstat(opened.fileno()).st_size
            opened.seek(offset)
            content = (opened.read(size) if is_inside else None) or b""
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}); {REPAIR_HINT}") from error
    if len(content) != size or zlib.crc32(content) != crc32:
        raise InputError(f"{file}: is damaged in the block at byte {offset}; {REPAIR_HINT}")
    try:
        return _parse(content, id_dtype)
    except (DecodeError, IndexError, ValueError) as error:  # written by something else
        raise InputError(
            f"{file}: holds no pairs in the block at byte {offset}; {REPAIR_HINT}"
        ) from error


def _dtypes(id_dtype: str) -> dict[str, Any]:
    """Return the dtype of each feature, in the order of the columns of `Block`."""
    ids = np.dtype(id_dtype).newbyteorder("<")
    return dict(zip(Block._fields, ("<u2", "<u2", ids, ids), strict=True))


def _serialize(block: Block, id_dtype: str) -> bytes:
    features = {
        name: tf.train.Feature(
            bytes_list=tf.train.BytesList(value=[getattr(block, name).astype(dtype).tobytes()])
        )
        for name, dtype in _dtypes(id_dtype).items()
    }
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return bytes(example.SerializeToString(deterministic=True))


def _parse(content: bytes, id_dtype: str) -> Block:
    features = tf.train.Example.FromString(content).features.feature
    block = Block(
        *(
            np.frombuffer(features[name].bytes_list.value[0], dtype)
            for name, dtype in _dtypes(id_dtype).items()
        )
    )
    if len(block.source_lengths) != len(block.target_lengths) or any(
        int(lengths.sum()) != len(ids)
        for lengths, ids in ((block[0], block[2]), (block[1], block[3]))
    ):
        raise ValueError("lengths that do not fit the ids")
    return block
