"""The argument parser of `keras-s2s`; each module of commands adds its subparsers."""

import argparse
import importlib
import sys
from collections.abc import Sequence

from keras_s2s import __version__
from keras_s2s.cli.commands import COMMANDS
from keras_s2s.utils.argument_parser import CommandParser


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options; `options.command(options)` runs the subcommand.

    The command may return an exit status.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    options, unknown = build_parser(arguments).parse_known_args(arguments)
    # WORKAROUND(CPython<=3.14): argparse assigns no more arguments to a positional with nargs="*"
    # or "+" after an option has followed it; they come back as unknown.
    values = [argument for argument in unknown if not argument.startswith("-")]
    if "corpora" in options:
        options.corpora = [*options.corpora, *values]
    elif "sentences" in options:
        options.sentences = [*options.sentences, *values]
    elif "models" in options:
        paths = [*options.models, *filter(None, [options.corpus]), *values]
        options.models, options.corpus = (paths[:-1], paths[-1]) if paths[1:] else (paths, None)
    elif "second" in options and options.second is None and len(values) == 1:
        [options.second] = values
    else:
        values = []
    if values:
        unknown = [argument for argument in unknown if argument.startswith("-")]
    options.parser.refuse_unknown(unknown)
    return options


def build_parser(arguments: Sequence[str]) -> CommandParser:
    """Return the parser with all subcommands, and the options of those named in `arguments`.

    Only their modules are imported, so that `keras-s2s --help` answers at once.
    """
    parser = CommandParser(
        prog="keras-s2s",
        description="Train, evaluate, run and export LSTM encoder-decoder models.",
        epilog="keras-s2s COMMAND --help describes a command.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    subparsers = parser.add_subparsers(dest="COMMAND", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        if name in arguments:
            module = importlib.import_module(f"keras_s2s.cli.{command.module}")
            getattr(module, f"add_{name.replace('-', '_')}")(subparsers)
        else:
            subparsers.add_parser(name, help=command.summary)
    return parser
