"""Text for messages, and sentences as bytes and tensors."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from keras_s2s.utils.checks import check_texts

if TYPE_CHECKING:
    import tensorflow as tf


def printable(path: str | os.PathLike[str]) -> str:
    """Returns `path` as it can stand in a one-line message.

    Example:

    >>> shown("pairs.tsv"), shown("two\\nlines.tsv")
    ('pairs.tsv', "'two\\\\nlines.tsv'")
    """
    text = os.fspath(path)
    return text if text.isprintable() else repr(text)


def encode_texts(sentences: Iterable[str | bytes], name: str = "sentences") -> list[bytes]:
    """UTF-8 of each sentence; what is not text in it passes as the bytes it was read from."""
    return [
        sentence if isinstance(sentence, bytes) else sentence.encode("utf-8", "surrogateescape")
        for sentence in check_texts(name, sentences)
    ]


def string_tensor(texts: Sequence[bytes]) -> tf.Tensor:
    """A string tensor of shape (texts,)."""
    # Only here: the client of a server uses this module where there is no TensorFlow.
    import tensorflow as tf

    return tf.constant(texts, tf.string, (len(texts),))


# Sentences that are translated at a time when they are waiting on standard input.
MAX_LINES_PER_READ = 64


def available_lines(stream: io.BufferedIOBase) -> Iterator[list[bytes]]:
    """Lists of the lines that are there: one at a time from a person, many from a file."""
    begun: list[bytes] = []
    # One read gives what is there and waits only when that is nothing.
    while part := stream.read1(1 << 16):
        first, *others = part.split(b"\n")
        begun.append(first)
        if others:
            *lines, rest = [b"".join(begun), *others]
            begun = [rest]
            for start in range(0, len(lines), MAX_LINES_PER_READ):
                batch = lines[start : start + MAX_LINES_PER_READ]
                yield [line.removesuffix(b"\r") for line in batch]
    if last := b"".join(begun):
        yield [last]
