"""Sentences as bytes and tensors."""

from __future__ import annotations

import codecs
import io
import logging
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from keras_s2s.utils.checks import check_texts
from keras_s2s.utils.errors import InputError, printable

if TYPE_CHECKING:
    import tensorflow as tf

# The ids of all vocabularies begin with these.
SPECIAL_TOKENS = ("<pad>", "<bos>", "<eos>", "<unk>")
# What a column of a source is; see `ColumnsTokenizer`.
SOURCE, FEATURES = "source", "features"
# How text is normalized; see `SentencePieceTokenizer.fit` and `CharacterTokenizer`.
NORMALIZATIONS = "nfkc", "nfc", "none"
DECOMPOSITIONS = "nfd", "nfkd"
ALL_NORMALIZATIONS = (*NORMALIZATIONS, *DECOMPOSITIONS)
# Kinds of SentencePiece models; see `SentencePieceTokenizer.fit`.
MODEL_TYPES = "unigram", "bpe", "char"
# What a word is; see `WordTokenizer`.
WORD_RULES = "chapter", "unicode"
# Sentences per batch when many are buffered on standard input.
MAX_LINES_PER_READ = 64
# Bytes at the start of a text that show its encoding, and the share of NUL among them above which
# it is no UTF-8. Text has next to none; UTF-16 of Latin letters is half NUL.
HEAD_BYTES = 4096
MAX_NUL_SHARE = 0.1

# Categories of Unicode: control characters, surrogates.
_NEVER_TEXT = "Cc", "Cs"
_UTF16_MARKS = codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE
_logger = logging.getLogger("keras_s2s")


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


def without_mark(text: bytes, name: object) -> bytes:
    r"""Return the start of a text, or all of it, without a byte order mark.

    Every file and stream of text begins here, so that none is read in another encoding.

    Args:
        text: the start; `HEAD_BYTES` of it decide, or all if there are fewer.
        name: the file, for messages.

    Raises:
        InputError: it looks like UTF-16, UTF-32 or binary data.

    Example:

    >>> without_mark(b"\xef\xbb\xbfGo.", "greetings.txt")
    b'Go.'
    """
    head = text[:HEAD_BYTES]
    if head.startswith(_UTF16_MARKS):
        raise InputError(f"{printable(name)}: looks like UTF-16; convert it to UTF-8")
    if head.count(0) > MAX_NUL_SHARE * len(head):
        raise InputError(
            f"{printable(name)}: is binary, not text, or UTF-16; give a text file in UTF-8"
        )
    return text.removeprefix(codecs.BOM_UTF8)


def is_symbol(text: object) -> bool:
    """Return whether a text can be a token that is never split: no special token, no white space.

    Example:

    >>> [is_symbol(text) for text in ("<2fr>", "{first name}", "<unk>", "")]
    [True, False, False, False]
    """
    if not isinstance(text, str) or not text or text in SPECIAL_TOKENS:
        return False
    # Unlike `str.isprintable`, allow characters of newer versions of Unicode.
    return not any(char.isspace() or unicodedata.category(char) in _NEVER_TEXT for char in text)


class InvalidLines:
    """The lines of a text that are not UTF-8, for a warning; they are used all the same.

    Args:
        name: the file.
    """

    def __init__(self, name: object) -> None:
        self._name, self._count, self._first = printable(name), 0, 0

    def add(self, first_line: int, lines: Iterable[bytes]) -> None:
        """Look for invalid lines among consecutive ones, of which the first has this number."""
        for line_number, line in enumerate(lines, first_line):
            try:
                line.decode()
            except UnicodeDecodeError:
                self._count += 1
                self._first = self._first or line_number

    def report(self) -> None:
        """Log a warning if there are any."""
        if self._count:
            _logger.warning(
                "%s: %s not UTF-8, first line %d; invalid bytes are read as \ufffd; "
                "convert it to UTF-8",
                self._name,
                "1 line is" if self._count == 1 else f"{self._count:,} lines are",
                self._first,
            )


def available_lines(
    stream: io.BufferedIOBase, name: str = "standard input"
) -> Iterator[list[bytes]]:
    """Yield lists of the lines that are available: one when typed, many from a file.

    A byte order mark is removed; at the end, lines that are not UTF-8 are reported.

    Args:
        stream: where the lines come from.
        name: its name, for messages.

    Raises:
        InputError: it looks like UTF-16 or binary data.
    """
    invalid, line_number = InvalidLines(name), 1
    for lines in _available_lines(stream):
        if line_number == 1:
            lines[0] = without_mark(lines[0], name)
        invalid.add(line_number, lines)
        line_number += len(lines)
        yield lines
    invalid.report()


def _available_lines(stream: io.BufferedIOBase) -> Iterator[list[bytes]]:
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
