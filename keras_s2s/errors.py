"""The exceptions that a user is meant to read."""


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
