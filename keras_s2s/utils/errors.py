"""The exceptions that a user is meant to read, and a suggestion to end them with."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Something the user gave cannot be used: a file, an option, a folder.

    The message is a single line that says what is wrong, where (file and line number when there
    is one) and what to do about it. The command line prints it and exits with status 2; from
    Python it is an ordinary `ValueError`.
    """


class ExportError(RuntimeError):
    """An export does not do in a server what the model does in Python, and was thrown away.

    The message is a single line that says what differed.
    """


class ServerError(RuntimeError):
    """A model server does not answer, or answers with an error.

    The message is a single line that says what happened, which server was asked, and what to do
    about it.

    Attributes:
        code: the name of the status, `"UNAVAILABLE"` for instance. Those of gRPC are used for
            REST as well, where the status of HTTP tells which it is.
    """

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Returns a suggestion to end a message with, or nothing.

    Example:

    >>> did_you_mean("tarin", ["train", "translate"])
    '; did you mean train?'
    >>> did_you_mean("zzz", ["train", "translate"])
    ''
    """
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


class WorkerLost(InputError):
    """Another worker did not come, or is gone."""
