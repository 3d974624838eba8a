"""A client for a translator that runs in TensorFlow Serving.

From Python it is `TranslationClient`; at the terminal

    python -m keras_s2s.client localhost:8500 en-fr "Go." "I won!"
    python -m keras_s2s.client localhost:8501 en-fr --rest --check export/models/en-fr/1

Neither loads TensorFlow. REST needs nothing but Python; gRPC needs `keras-s2s[serving]`.
"""

import argparse
import io
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

from keras_s2s.client.translation_client import TranslationClient, read_answers
from keras_s2s.client.transport import Credentials
from keras_s2s.utils.argument_parser import CommandParser, float_value, int_value
from keras_s2s.utils.console import print_error
from keras_s2s.utils.errors import InputError, ServerError
from keras_s2s.utils.text import available_lines

__all__ = ["TranslationClient", "main", "read_answers"]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command `python -m keras_s2s.client`; returns its exit status.

    It is 0 when all went well, 1 when `--check` found a difference, and 2 for what could not be
    done.
    """
    # Sentences may come after options.
    options = _parser().parse_intermixed_args(arguments)
    # What it would log about a failure comes as an exception besides.
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
        # Whoever read the output has enough. Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _run_command(options: argparse.Namespace) -> int:
    answers = read_answers(options.check) if options.check else []
    version = options.version
    if options.check and version is None and options.label is None:
        # The version that the record is about, not one that came since.
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
                print(*status[:2], *filter(None, status[2:]))
        if answers:
            return _report(client.check(answers), len(answers))
        if options.sentences or not options.status:
            for sentences in _asked(options.sentences):
                translations, scores = client.translate(sentences, return_scores=True)
                for translation, score in zip(translations, scores, strict=True):
                    line = f"{translation}\t{score:.6f}" if options.with_scores else translation
                    sys.stdout.buffer.write(line.encode("utf-8") + b"\n")
                sys.stdout.buffer.flush()
    return 0


def _report(differences: list[str], size: int) -> int:
    """Says what a check found; returns the exit status."""
    for difference in differences:
        print(difference)
    if differences:
        print(f"{len(differences)} of {size} answers differ from the record of the export")
        return 1
    print(f"all {size} answers are those of the record of the export")
    return 0


def _asked(sentences: list[str]) -> Iterator[list[bytes]]:
    if sentences:
        return iter([[os.fsencode(sentence) for sentence in sentences]])
    return available_lines(cast(io.BufferedIOBase, sys.stdin.buffer))


def _parser() -> CommandParser:
    parser = CommandParser(
        prog="python -m keras_s2s.client",
        description="Translate with a model that TensorFlow Serving runs, or check that it "
        "answers as its export was proven to.",
        allow_abbrev=False,
    )
    parser.add_argument("address", metavar="ADDRESS", help="HOST:PORT; for REST also a URL")
    parser.add_argument("model", metavar="MODEL", help="the model's name on the server")
    parser.add_argument(
        "sentences", metavar="SENTENCE", nargs="*", help="left out: the lines of standard input"
    )
    parser.add_argument("--rest", action="store_true", help="use REST instead of gRPC")
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--version", type=int_value, metavar="N", help="default: the highest loaded one"
    )
    which.add_argument("--label", metavar="NAME", help="a version by its label, such as stable")
    parser.add_argument(
        "--check",
        metavar="EXPORTED_VERSION_DIR",
        help="compare the server's answers with the record of this export's proof",
    )
    parser.add_argument("--status", action="store_true", help="print the state of each version")
    parser.add_argument("--with-scores", action="store_true", help="add a tab and the score")
    number = "default: %(default)s"
    parser.add_argument("--timeout", type=float_value, default=10.0, metavar="SECONDS", help=number)
    parser.add_argument("--retries", type=int_value, default=4, metavar="N", help=number)
    parser.add_argument("--batch-size", type=int_value, default=32, metavar="N", help=number)
    tls = parser.add_argument_group("credentials, from files of your own")
    tls.add_argument("--tls", action="store_true", help="use TLS; the files below imply it")
    tls.add_argument("--ca", metavar="FILE", help="authorities that sign servers, PEM")
    tls.add_argument("--cert", metavar="FILE", help="the client's certificate, PEM")
    tls.add_argument("--key", metavar="FILE", help="the private key to it, PEM")
    tls.add_argument("--token-file", metavar="FILE", help="a bearer token to send")
    return parser


if __name__ == "__main__":
    sys.exit(main())
