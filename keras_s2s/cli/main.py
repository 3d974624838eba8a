"""The command `keras-s2s`, and what becomes of its errors."""

import os
import signal
import sys
from collections.abc import Sequence

from keras_s2s.cli.parser import parse
from keras_s2s.utils.console import one_line_warnings, print_error
from keras_s2s.utils.errors import ExportError, InputError, WorkerLost


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # it is closed
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    try:
        try:
            with one_line_warnings():
                options = parse(arguments)
                return options.command(options) or 0
        finally:
            # Here, because at exit it is too late to say what is wrong.
            sys.stdout.flush()
    except WorkerLost as error:
        # TensorFlow waits at exit for what is gone.
        os._exit(print_error(str(error)))
    except (InputError, ExportError) as error:
        return print_error(str(error))
    except KeyboardInterrupt as error:
        after_its_echo = "\n" if sys.stderr.isatty() else ""
        print(
            f"{after_its_echo}keras-s2s: interrupted{f'; {error}' if error.args else ''}",
            file=sys.stderr,
        )
        # As a shell has it: 130 for Ctrl-C, 143 for SIGTERM.
        return 128 + getattr(error, "signal_number", signal.SIGINT)
    except BrokenPipeError:
        # Whoever read the output has enough. Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        # A full disk or missing permission is no defect of the program.
        return print_error(f"{error.filename or 'input or output'}: {error.strerror or error}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
