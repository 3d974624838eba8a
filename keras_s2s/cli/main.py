"""The command `keras-s2s`: run a subcommand, report errors as one line, return an exit status."""

import os
import signal
import sys
from collections.abc import Sequence

from keras_s2s.cli.parser import parse
from keras_s2s.utils.console import one_line_warnings, print_error
from keras_s2s.utils.errors import ExportError, InputError, WorkerLost, one_line


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # the stream is closed
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    try:
        try:
            with one_line_warnings():
                options = parse(arguments)
                return options.command(options) or 0
        finally:
            # Flushed here, so that a write error is still reported as one line.
            sys.stdout.flush()
    except WorkerLost as error:
        # TensorFlow would wait at exit for the lost worker.
        os._exit(print_error(str(error)))
    except (InputError, ExportError) as error:
        return print_error(str(error))
    except KeyboardInterrupt as error:
        after_echo = "\n" if sys.stderr.isatty() else ""  # of ^C
        print(
            f"{after_echo}keras-s2s: interrupted{f'; {error}' if error.args else ''}",
            file=sys.stderr,
        )
        # As shells do: 130 for SIGINT, 143 for SIGTERM.
        return 128 + getattr(error, "signal_number", signal.SIGINT)
    except BrokenPipeError:
        # The reader has closed the pipe. Without this, Python would report it again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        # A full disk or a missing permission is not a bug.
        return print_error(f"{error.filename or 'input or output'}: {error.strerror or error}")
    except Exception as error:
        if not _is_out_of_memory(error):
            raise
        detail = f" ({one_line(error, 200)})" if str(error) else ""
        return print_error(f"there is not enough memory{detail}; give smaller sizes or batches")
    return 0


def _is_out_of_memory(error: Exception) -> bool:
    """Return whether Python or TensorFlow, if it is loaded, could not allocate memory."""
    tensorflow = sys.modules.get("tensorflow")
    return isinstance(error, MemoryError) or (
        tensorflow is not None and isinstance(error, tensorflow.errors.ResourceExhaustedError)
    )


if __name__ == "__main__":
    sys.exit(main())
