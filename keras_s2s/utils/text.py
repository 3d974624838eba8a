"""Sentences as bytes and tensors."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from keras_s2s.utils.checks import check_texts

if TYPE_CHECKING:
    import tensorflow as tf

# Sentences per batch when many are buffered on standard input.
MAX_LINES_PER_READ = 64


def encode_texts(sentences: Iterable[str | bytes], name: str = "sentences") -> list[bytes]:
    """Return each sentence as UTF-8; surrogate escapes become the bytes they stand for."""
    return [
        sentence if isinstance(sentence, bytes) else sentence.encode("utf-8", "surrogateescape")
        for sentence in check_texts(name, sentences)
    ]


def string_tensor(texts: Sequence[bytes]) -> tf.Tensor:
    """Return a string tensor of shape (texts,)."""
    import tensorflow as tf  # not at the top: the client of TF Serving runs without TensorFlow

    return tf.constant(texts, tf.string, (len(texts),))


def available_lines(stream: io.BufferedIOBase) -> Iterator[list[bytes]]:
    """Yield lists of the lines that are available: one when typed, many from a file."""
    incomplete: list[bytes] = []
    # `read1` returns what is buffered and blocks only for the first byte.
    while block := stream.read1(1 << 16):
        head, *tail = block.split(b"\n")
        incomplete.append(head)
        if tail:
            *lines, last = [b"".join(incomplete), *tail]
            incomplete = [last]
            for start in range(0, len(lines), MAX_LINES_PER_READ):
                batch = lines[start : start + MAX_LINES_PER_READ]
                yield [line.removesuffix(b"\r") for line in batch]
    if last_line := b"".join(incomplete):
        yield [last_line]
