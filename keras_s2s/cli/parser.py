"""The argument parser of `keras-s2s`; each module of commands adds its subparsers."""

import argparse
from collections.abc import Sequence

from keras_s2s import __version__
from keras_s2s.cli import data, evaluation, models, runs, training, translation
from keras_s2s.utils.argument_parser import CommandParser


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options; `options.command(options)` runs the subcommand.

    The command may return an exit status.
    """
    options, unknown = build_parser().parse_known_args(arguments)
    # WORKAROUND(CPython<=3.14): argparse assigns no more arguments to a positional with nargs="*"
    # or "+" after an option has followed it; they come back as unknown.
    values = [argument for argument in unknown if not argument.startswith("-")]
    if "corpora" in options:
        options.corpora = [*options.corpora, *values]
    elif "sentences" in options:
        options.sentences = [*options.sentences, *values]
    elif "models" in options:
        paths = [*options.models, options.corpus, *values]
        options.models, options.corpus = paths[:-1], paths[-1]
    elif "second" in options and options.second is None and len(values) == 1:
        [options.second] = values
    else:
        values = []
    if values:
        unknown = [argument for argument in unknown if argument.startswith("-")]
    options.parser.refuse_unknown(unknown)
    return options


def build_parser() -> CommandParser:
    """Return the parser with all subcommands."""
    parser = CommandParser(
        prog="keras-s2s",
        description="Train, evaluate, run and export LSTM encoder-decoder models.",
        epilog="keras-s2s COMMAND --help describes a command.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    subparsers = parser.add_subparsers(dest="COMMAND", metavar="COMMAND", required=True)
    training.add_train(subparsers)
    data.add_prepare(subparsers)
    translation.add_translate(subparsers)
    translation.add_translate_shards(subparsers)
    evaluation.add_evaluate(subparsers)
    models.add_export(subparsers)
    models.add_inspect(subparsers)
    runs.add_runs(subparsers)
    translation.add_web(subparsers)
    runs.add_plot(subparsers)
    data.add_corpora(subparsers)
    return parser
