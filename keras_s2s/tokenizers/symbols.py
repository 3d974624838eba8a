"""User-defined symbols: tokens that are never split, such as language tags and placeholders."""

import re
from collections.abc import Callable, Iterable, Sequence

import tensorflow as tf

from keras_s2s.utils.errors import InputError
from keras_s2s.utils.text import is_symbol

# A control character, which cleaned text has none of.
_MARK = "\x01"


def check_symbols(symbols: Sequence[str]) -> tuple[str, ...]:
    """Return valid symbols.

    Raises:
        InputError: one is a special token, empty, a duplicate, or contains white space or a control
            character.

    Example:

    >>> check_symbols(["<2fr>", "{first name}"])
    Traceback (most recent call last):
    keras_s2s.utils.errors.InputError: symbols: '{first name}' is no symbol; give text without \
white space that is not one of <pad> <bos> <eos> <unk>
    """
    if isinstance(symbols, str):
        raise InputError(f"symbols is {symbols!r}; give a list of them")
    for index, symbol in enumerate(symbols):
        if not is_symbol(symbol):
            raise InputError(
                f"symbols: {symbol!r} is no symbol; give text without white space that is not one "
                "of <pad> <bos> <eos> <unk>"
            )
        if symbol in symbols[:index]:
            raise InputError(f"symbols: {symbol!r} is given twice; remove one")
    return tuple(symbols)


def symbol_pattern(symbols: Iterable[str]) -> str:
    """Return a regular expression whose group is one of some symbols; the longest that matches."""
    # The first alternative that matches counts.
    return f"({'|'.join(map(re.escape, sorted(symbols, key=len, reverse=True)))})"


def split_symbols(
    text: tf.Tensor, symbols: Sequence[str], split: Callable[[tf.Tensor], tf.RaggedTensor]
) -> tf.RaggedTensor:
    """Split texts by a function, but keep symbols whole; of several that match, the longest.

    Args:
        text: string tensor, shape (batch,); valid UTF-8 without control characters.
        symbols: these.
        split: returns the tokens of texts, a ragged string tensor of shape (batch, (tokens)).

    Returns:
        Ragged string tensor, shape (batch, (tokens)).

    Example:

    >>> split_symbols(tf.constant(["<2fr>go <2fr>"]), ["<2fr>"], tf.strings.split).to_list()
    [[b'<2fr>', b'go', b'<2fr>']]
    """
    if not symbols:
        return split(text)
    marked = tf.strings.regex_replace(text, symbol_pattern(symbols), rf"{_MARK}\1{_MARK}")
    pieces = tf.strings.split(marked, _MARK)
    # Every second piece of a text is a symbol.
    is_symbol_piece = tf.ragged.range(pieces.row_lengths()).flat_values % 2 == 1
    symbol_rows = tf.RaggedTensor.from_row_lengths(
        tf.boolean_mask(pieces.values, is_symbol_piece),
        tf.cast(is_symbol_piece, tf.int64),
        validate=False,
    )
    others = split(tf.where(is_symbol_piece, "", pieces.values))
    return pieces.with_values(tf.concat([others, symbol_rows], axis=1)).merge_dims(1, 2)
