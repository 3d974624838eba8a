"""Exceptions with one-line messages for users, and helpers for the messages."""

import re
import unicodedata
from collections.abc import Iterable

# Controls, line and paragraph separators, and surrogates, which cannot be written.
_CONTROL_CATEGORIES = ("Cc", "Zl", "Zp", "Cs")


class InputError(ValueError):
    """Invalid user input: a file, an option, a folder.

    The message is one line: the problem, its location (file and line number if there is one) and
    what to do. The command line prints it and exits with status 2.
    """


class ExportError(RuntimeError):
    """An export whose output differs from the model's in Python, and which was deleted.

    The message is one line that names the difference.
    """


class ServerError(RuntimeError):
    """A model server that does not respond, or responds with an error.

    The message is one line: what happened, at which server, and what to do.

    Attributes:
        code: name of the gRPC status code, such as `"UNAVAILABLE"`. HTTP status codes are mapped
            to gRPC's.
    """

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class WorkerLost(InputError):
    """A worker of a cluster that did not start, or died."""


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """Return a suggestion for the end of a message, or an empty string.

    Candidates that begin with the word, or have it as whole parts between hyphens, go first; then
    the one with a different letter or two. Something less similar is no typing error: a wrong
    suggestion is worse than none.

    Example:

    >>> did_you_mean("tarin", ["train", "translate"])
    '; did you mean train?'
    >>> did_you_mean("--valid", ["--wait", "--valid-fraction"])
    '; did you mean --valid-fraction?'
    >>> did_you_mean("--layers", ["--num-layers", "--encoder-num-layers", "--num-hiddens"])
    '; did you mean --num-layers or --encoder-num-layers?'
    >>> did_you_mean("--config", ["--cell", "--corpus"])
    ''
    """
    sought = _normalize(word)
    names = {name: _normalize(name) for name in candidates}
    close = [name for name, spelling in names.items() if spelling == sought] or [
        name
        for name, spelling in names.items()
        if len(sought) >= 3 and (spelling.startswith(sought) or f"-{sought}-" in f"-{spelling}-")
    ]
    if not close:
        limit = max(1, len(sought) // 5)
        distances = {name: _edit_distance(sought, spelling) for name, spelling in names.items()}
        best = min(distances, key=distances.__getitem__, default="")
        # Two short words with a letter in common are different words.
        if best and distances[best] <= limit and distances[best] < len(sought) - 1:
            close = [best]
    if not close or len(close) > 3:
        return ""
    *others, last = close
    return f"; did you mean {' or '.join([', '.join(others), last] if others else [last])}?"


def _normalize(word: str) -> str:
    return re.sub(r"[_-]+", "-", word.lower()).strip("-")


def _edit_distance(first: str, second: str) -> int:
    """Return the number of letters inserted, deleted, replaced or swapped with their neighbor."""
    before: list[int] = []
    previous = list(range(len(second) + 1))
    for i, letter in enumerate(first, 1):
        row = [i]
        for j, other in enumerate(second, 1):
            row.append(min(previous[j] + 1, row[-1] + 1, previous[j - 1] + (letter != other)))
            if i > 1 and j > 1 and letter == second[j - 2] and first[i - 2] == other:
                row[-1] = min(row[-1], before[j - 2] + 1)
        before, previous = previous, row
    return previous[-1]


def one_line(message: object, max_length: int | None = None) -> str:
    """Return an exception or another object as one line of text.

    Args:
        message: the object; runs of white space in its text become single spaces.
        max_length: maximum number of characters; the end of a longer text becomes "...".

    Example:

    >>> one_line(ValueError("bad\\n  shape"))
    'bad shape'
    """
    text = " ".join(str(message).split())
    if max_length is None or len(text) <= max_length:
        return text
    return f"{text[: max_length - 3]}..."


def first_line(message: object) -> str:
    """Return the first line of an exception's text; TensorFlow's have a stack trace below it."""
    return str(message).strip().partition("\n")[0]


def printable(text: object, keep: str = "") -> str:
    """Return text with unprintable characters escaped, since they could control a terminal.

    Args:
        text: a text or path.
        keep: unprintable characters to keep.

    Example:

    >>> printable("two\\nlines.tsv")
    'two\\\\nlines.tsv'
    """
    return "".join(c if c.isprintable() or c in keep else ascii(c)[1:-1] for c in str(text))


def escape_controls(text: str) -> str:
    r"""Return a text with control characters and line breaks of any kind escaped.

    Unlike `printable`, it keeps what languages need: no-break spaces, joiners, direction marks.

    Example:

    >>> escape_controls("non\u00a0!\tva\x1b[2J\u2028")
    'non\xa0!\\tva\\x1b[2J\\u2028'
    """
    return "".join(
        ascii(c)[1:-1] if unicodedata.category(c) in _CONTROL_CATEGORIES else c for c in text
    )
