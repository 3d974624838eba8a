"""The arguments of the command `keras-s2s`."""

import argparse
import dataclasses
from collections.abc import Callable, Sequence

from keras_s2s import __version__
from keras_s2s.cli import models as model_commands
from keras_s2s.cli import training as training_commands
from keras_s2s.cli import translation as translation_commands
from keras_s2s.cli.model_paths import MODEL_HELP
from keras_s2s.cli.options import (
    CORPUS_HELP,
    add_answer_options,
    add_beam_option,
    add_corpus_options,
    add_device_options,
    add_recipe_option,
)
from keras_s2s.config import PRESETS, TrainingConfig
from keras_s2s.data.config import PreparationConfig
from keras_s2s.translation.line_reader import WINDOW_LINES
from keras_s2s.utils.argument_parser import CommandParser, float_value, int_value

PRESET_HELP = f"{' | '.join(PRESETS)} (default: {training_commands.DEFAULT_PRESET})"
SPLITS = ("train", "valid", "test", "all")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Returns the options; their `command` carries them out and may return an exit status."""
    options, left_over = build_parser().parse_known_args(arguments)
    # argparse takes no more of what may be given many times once an option has come in between.
    more = [argument for argument in left_over if not argument.startswith("-")]
    if "corpora" in options:
        options.corpora = [*options.corpora, *more]
    elif "sentences" in options:
        options.sentences = [*options.sentences, *more]
    elif "models" in options:
        paths = [*options.models, options.corpus, *more]
        options.models, options.corpus = paths[:-1], paths[-1]
    elif "second" in options and options.second is None and len(more) == 1:
        [options.second] = more
    else:
        more = []
    if more:
        left_over = [argument for argument in left_over if argument.startswith("-")]
    options.parser.refuse_unknown(left_over)
    return options


def build_parser() -> CommandParser:
    """Returns the parser of the command with all its subcommands."""
    parser = CommandParser(
        prog="keras-s2s",
        description="Train, score, run and export LSTM encoder-decoder translators.",
        epilog="keras-s2s COMMAND --help tells more of a command.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    subparsers = parser.add_subparsers(dest="COMMAND", metavar="COMMAND", required=True)

    def add(command: Callable[[argparse.Namespace], int | None], text: str) -> CommandParser:
        subparser = subparsers.add_parser(
            command.__name__.replace("_", "-"),
            help=text,
            description=text,
            allow_abbrev=False,
        )
        subparser.set_defaults(command=command, parser=subparser)
        return subparser

    sub = add(training_commands.train, "Train a model on a corpus.")
    sub.add_argument(
        "corpus",
        metavar="CORPUS",
        help=f"{CORPUS_HELP}; or the folder of a corpus from `keras-s2s prepare`",
    )
    sub.add_argument(
        "--run-dir", metavar="DIR", required=True, help="folder for the model and its records"
    )
    sub.add_argument(
        "--preset",
        metavar="NAME",
        help=PRESET_HELP,
    )
    sub.add_argument(
        "--seed",
        type=int_value,
        metavar="N",
        help="of everything random; the same seed gives the same model (default: 0)",
    )
    when_there = sub.add_mutually_exclusive_group()
    when_there.add_argument(
        "--resume", action="store_true", help="go on with the run in the run directory"
    )
    when_there.add_argument(
        "--overwrite", action="store_true", help="replace the run in the run directory"
    )
    add_corpus_options(sub)
    add_device_options(sub)
    fields = sub.add_argument_group("fields of the preset (defaults: those of chapter)")
    for field in dataclasses.fields(TrainingConfig):
        add_recipe_option(fields, field)

    sub = add(
        training_commands.prepare,
        "Tokenize large corpora into a folder that train takes as its corpus.",
    )
    sub.add_argument("corpora", metavar="CORPUS", nargs="+", help=f"{CORPUS_HELP}; one or more")
    sub.add_argument(
        "--output",
        metavar="DIR",
        required=True,
        help="folder for what is made; the same command again goes on where it was interrupted, "
        "and makes anew what is damaged",
    )
    sub.add_argument(
        "--overwrite", action="store_true", help="replace the prepared corpus in the folder"
    )
    sub.add_argument("--preset", metavar="NAME", help=PRESET_HELP)
    sub.add_argument(
        "--weights",
        type=float_value,
        nargs="+",
        metavar="X",
        help="for each corpus, how often its pairs come in an epoch (default: all once)",
    )
    sub.add_argument(
        "--max-length-ratio",
        type=float_value,
        metavar="X",
        help="leave out pairs whose one side has more than so many times the tokens of the other; "
        "9 is usual (default: no limit)",
    )
    sub.add_argument(
        "--keep-identical", action="store_true", help="keep pairs whose sides are the same"
    )
    sub.add_argument(
        "--keep-duplicates", action="store_true", help="keep pairs that have come before"
    )
    sub.add_argument(
        "--processes",
        type=int_value,
        metavar="N",
        help="that work at the same time (default: one for each processor)",
    )
    sub.add_argument("--json", action="store_true", help="print one JSON object")
    add_corpus_options(sub)
    fields = sub.add_argument_group("fields of the preset (defaults: those of chapter)")
    for field in dataclasses.fields(PreparationConfig):
        add_recipe_option(fields, field)

    sub = add(
        translation_commands.translate,
        "Translate sentences, standard input line by line, or a file.",
    )
    sub.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    sub.add_argument(
        "sentences",
        metavar="SENTENCE",
        nargs="*",
        default=[],
        help="left out: each line of standard input",
    )
    add_answer_options(sub)
    sub.add_argument(
        "--input",
        metavar="FILE",
        help="translate each line of a file of any size, or of a .gz; goes on where it was killed",
    )
    sub.add_argument("--output", metavar="FILE", help="the file for the translations of --input")
    sub.add_argument(
        "--overwrite",
        action="store_true",
        help="replace the file at --output, and what was begun there of another input or model",
    )

    sub = add(
        translation_commands.translate_shards,
        "Translate files in parts, on this machine or a cluster (needs Apache Beam).",
    )
    sub.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    sub.add_argument(
        "--input", metavar="FILE", nargs="+", required=True, help="files, .gz, or patterns"
    )
    sub.add_argument(
        "--output-dir", metavar="DIR", required=True, help="folder for the parts and their plan"
    )
    sub.add_argument(
        "--overwrite", action="store_true", help="replace the parts of something else in there"
    )
    sub.add_argument(
        "--merge", action="store_true", help="join the parts, in the end, to a file for each input"
    )
    sub.add_argument(
        "--shard-lines",
        type=int_value,
        metavar="N",
        default=WINDOW_LINES,
        help="lines in a part (default: %(default)s)",
    )
    sub.add_argument(
        "--pipeline-options",
        metavar="TEXT",
        default="",
        help="options of Apache Beam in one argument, such as '--runner=FlinkRunner "
        "--flink_master=host:8081' (default: this process)",
    )
    add_answer_options(sub)

    sub = add(
        model_commands.evaluate,
        "Score a model on a corpus: BLEU, chrF, perplexity. "
        "Or several, and test how each differs from the first.",
    )
    sub.add_argument("models", metavar="MODEL", nargs="+", help=f"{MODEL_HELP}; one or more")
    sub.add_argument("corpus", metavar="CORPUS", help=CORPUS_HELP)
    sub.add_argument(
        "--split",
        choices=SPLITS,
        default="all",
        help="the part of the corpus, divided as the run did (default: %(default)s)",
    )
    sub.add_argument(
        "--max-pairs", type=int_value, metavar="N", help="use only the first so many pairs"
    )
    add_beam_option(sub)
    sub.add_argument(
        "--tokenize",
        metavar="NAME",
        default="13a",
        help="how sacreBLEU takes text apart for BLEU: 13a | none | intl | char | any other that "
        "it has; none is for text with a space between all tokens (default: %(default)s)",
    )
    sub.add_argument(
        "--save-translations",
        metavar="FILE",
        help="write a line for each distinct source: source, translation, all references, with "
        "tabs in between",
    )
    sub.add_argument("--json", action="store_true", help="print one JSON object")
    add_corpus_options(sub)

    sub = add(model_commands.export, "Write a SavedModel for TF Serving, and prove that it works.")
    sub.add_argument("model", metavar="RUN_DIR", help="a run directory or a .keras file")
    sub.add_argument(
        "--model-name", metavar="NAME", required=True, help="what servers call it: en-fr"
    )
    sub.add_argument(
        "--output",
        metavar="DIR",
        default="export/models",
        help="the folder of all models (default: %(default)s)",
    )
    sub.add_argument("--version", type=int_value, metavar="N", help="default: the next free one")

    sub = add(
        model_commands.inspect, "Show an exported version, and check whether a server can run it."
    )
    sub.add_argument(
        "folder", metavar="EXPORTED_VERSION_DIR", help="the folder with saved_model.pb in it"
    )
    sub.add_argument("--json", action="store_true", help="print one JSON object")

    sub = add(
        training_commands.runs,
        "List training runs side by side: how far, how good, and how they differ.",
    )
    sub.add_argument("folder", metavar="DIR", help="a run directory, or a folder above several")
    sub.add_argument("--json", action="store_true", help="print one JSON object")

    sub = add(
        translation_commands.web, "Try a model, or two side by side, on a page in the browser."
    )
    kinds = f"{MODEL_HELP}, or the address of one on TF Serving"
    sub.add_argument(
        "model",
        metavar="MODEL",
        help=f"{kinds}: http://HOST:PORT/v1/models/NAME or grpc://HOST:PORT/NAME",
    )
    sub.add_argument("second", metavar="MODEL2", nargs="?", help="another one, beside it")
    sub.add_argument(
        "--host",
        metavar="ADDRESS",
        default="127.0.0.1",
        help="where browsers reach it (default: %(default)s, from this machine only)",
    )
    sub.add_argument(
        "--port",
        type=int_value,
        metavar="N",
        default=7860,
        help="0 for any that is free (default: %(default)s)",
    )

    sub = add(
        training_commands.plot,
        "Draw a run: history, lengths, scores, BLEU by length, attention. PNG and SVG of each, "
        "and report.html with all of them.",
    )
    sub.add_argument("run_dir", metavar="RUN_DIR", help="a run directory")
    sub.add_argument(
        "corpus",
        metavar="CORPUS",
        nargs="?",
        help="where the corpus of the run is now, or another one of text to try the model on "
        "(default: that of the run)",
    )
    sub.add_argument(
        "--output", metavar="DIR", help="folder for all files (default: plots in the run directory)"
    )

    sub = add(model_commands.corpora, "List the corpora that are known by name, and where each is.")
    sub.add_argument("--json", action="store_true", help="print one JSON object")
    return parser
