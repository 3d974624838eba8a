"""Command-line client for a translator in TensorFlow Serving.

    python -m keras_s2s.client localhost:8500 en-fr "Go." "I won!"
    python -m keras_s2s.client localhost:8501 en-fr --rest --check export/models/en-fr/1

It does not load TensorFlow. REST needs only Python; gRPC needs `grpcio` and
`tensorflow-serving-api`.
"""

import argparse
import io
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

from keras_s2s.client.recorded_answers import read_answers
from keras_s2s.client.translation_client import TranslationClient
from keras_s2s.client.transport import Credentials
from keras_s2s.utils.argument_parser import CommandParser, float_value, int_value
from keras_s2s.utils.console import print_error
from keras_s2s.utils.errors import InputError, ServerError, escape_controls
from keras_s2s.utils.text import available_lines

__all__ = ["TranslationClient", "main", "read_answers"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command `python -m keras_s2s.client`.

    Returns:
        The exit status: 0 on success, 1 if `--check` found differences, 2 on errors.
    """
    options = _parser().parse_intermixed_args(arguments)  # sentences may follow options
    # gRPC logs failures that it raises as exceptions too.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        try:
            return _run_command(options)
        finally:
            sys.stdout.flush()
    except (InputError, ServerError) as error:
        return print_error(str(error))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader closed the pipe; keep Python from reporting it again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return print_error(f"{error.filename or 'input or output'}: {error.strerror or error}")
    except Exception:
        traceback.print_exc()
        return 2  # a defect; 1 would mean that answers differ


def _run_command(options: argparse.Namespace) -> int:
    answers = read_answers(options.check) if options.check else []
    version = options.version
    if options.check and version is None and options.label is None:
        # Check the version that was verified, not a newer one.
        name = Path(options.check).resolve().name
        version = int(name) if name.isdecimal() else None
    with TranslationClient(
        options.address,
        options.model,
        version,
        options.label,
        protocol="rest" if options.rest else "grpc",
        timeout=options.timeout,
        retries=options.retries,
        batch_size=options.batch_size,
        credentials=Credentials(
            options.tls, options.ca, options.cert, options.key, options.token_file
        ),
    ) as client:
        if options.status:
            for status in client.status():
                _print_line(" ".join(map(str, filter(None, status))))
        if answers:
            return _report_check(client.check(answers), len(answers))
        if options.sentences or not options.status:
            for sentences in _batches(options.sentences):
                answers_of_batch = client.answers(sentences)
                for sentence, answer in zip(sentences, answers_of_batch, strict=True):
                    if options.json:
                        _print_line(answer.as_json(sentence))
                        continue
                    score = [f"{answer.score:.6f}"] if options.with_scores else []
                    _print_line(answer.translation, *score)
                sys.stdout.buffer.flush()
    return 0


def _print_line(*columns: str) -> None:
    """Print texts of a server as one line, with a tab between them."""
    line = "\t".join(map(escape_controls, columns))
    sys.stdout.buffer.write(line.encode("utf-8") + b"\n")


def _report_check(differences: list[str], count: int) -> int:
    """Print the result of a check and return the exit status."""
    for difference in differences:
        _print_line(difference)
    if differences:
        _print_line(f"{len(differences)} of {count} answers differ from the verification record")
        return 1
    _print_line(f"all {count} answers match the verification record")
    return 0


def _batches(sentences: list[str]) -> Iterator[list[bytes]]:
    if sentences:
        return iter([[os.fsencode(sentence) for sentence in sentences]])
    return available_lines(cast(io.BufferedIOBase, sys.stdin.buffer))


def _parser() -> CommandParser:
    parser = CommandParser(
        prog="python -m keras_s2s.client",
        description="Translate with a model in TensorFlow Serving, or check its answers against "
        "the verification record of its export.",
        allow_abbrev=False,
    )
    parser.add_argument("address", metavar="ADDRESS", help="HOST:PORT, or a URL for REST")
    parser.add_argument("model", metavar="MODEL", help="the model's name on the server")
    parser.add_argument(
        "sentences", metavar="SENTENCE", nargs="*", help="default: the lines of standard input"
    )
    parser.add_argument("--rest", action="store_true", help="use REST instead of gRPC")
    version = parser.add_mutually_exclusive_group()
    version.add_argument(
        "--version", type=int_value, metavar="N", help="default: the highest loaded version"
    )
    version.add_argument("--label", metavar="NAME", help="version label, such as stable")
    parser.add_argument(
        "--check",
        metavar="EXPORTED_VERSION_DIR",
        help="compare the server's answers with the verification record of this export",
    )
    parser.add_argument("--status", action="store_true", help="print the state of each version")
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--with-scores", action="store_true", help="append a tab and the score")
    output.add_argument(
        "--json",
        action="store_true",
        help="print a JSON object for each sentence, with text, translation, score, confidence and "
        "num_unknown (null from an export of an earlier version)",
    )
    default = "default: %(default)s"
    parser.add_argument(
        "--timeout", type=float_value, default=10.0, metavar="SECONDS", help=default
    )
    parser.add_argument("--retries", type=int_value, default=4, metavar="N", help=default)
    parser.add_argument("--batch-size", type=int_value, default=32, metavar="N", help=default)
    tls = parser.add_argument_group("credentials")
    tls.add_argument("--tls", action="store_true", help="use TLS (implied by the files below)")
    tls.add_argument("--ca", metavar="FILE", help="CA certificates that sign the server's, PEM")
    tls.add_argument("--cert", metavar="FILE", help="client certificate, PEM")
    tls.add_argument("--key", metavar="FILE", help="private key of the client certificate, PEM")
    tls.add_argument("--token-file", metavar="FILE", help="file with a bearer token")
    return parser


if __name__ == "__main__":
    sys.exit(main())
