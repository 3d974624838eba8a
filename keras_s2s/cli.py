"""The command `keras-s2s`: its arguments, and what becomes of its errors."""

import argparse
import dataclasses
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from keras_s2s import commands
from keras_s2s.errors import ExportError, InputError, did_you_mean
from keras_s2s.model_files import MODEL_HELP
from keras_s2s.options import value_type
from keras_s2s.recipes import PREPARED_FIELDS, PRESETS, Recipe
from keras_s2s.windows import WINDOW_LINES

CORPUS_HELP = (
    "a name from `keras-s2s corpora`, a file of tab-separated pairs, a .zip or .gz holding one, "
    "or two line-aligned files as FILE.en,FILE.fr"
)
PRESET_HELP = f"{' | '.join(PRESETS)} (default: {commands.DEFAULT_PRESET})"
SPLITS = ("train", "valid", "test", "all")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # it is closed
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    try:
        try:
            options = parse(arguments)
            return options.command(options) or 0
        finally:
            # Here, because at exit it is too late to say what is wrong.
            sys.stdout.flush()
    except (InputError, ExportError) as error:
        return fail(str(error))
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
        return fail(f"{error.filename or 'input or output'}: {error.strerror or error}")
    return 0


def fail(message: str) -> int:
    """Prints an error as one line; returns the exit status."""
    line = " ".join(message.split())
    # A name may hold characters that would play tricks on a terminal.
    shown = "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in line)
    print(f"keras-s2s: error: {shown}", file=sys.stderr)
    return 2


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line and say what was probably meant."""

    def error(self, message: str) -> NoReturn:
        """Ends the program as `main` does for other errors."""
        sys.exit(fail(f"{message} (see {self.prog} --help)"))

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            choices = list(action.choices)
            raise argparse.ArgumentError(
                action, f"{value!r} is none of {', '.join(choices)}{did_you_mean(value, choices)}"
            )

    def refuse_unknown(self, arguments: Sequence[str]) -> None:
        """Ends the program when there are arguments left over."""
        if arguments:
            option = arguments[0].partition("=")[0]
            known = [name for name in self._option_string_actions if name.startswith("--")]
            self.error(f"unknown argument {option}{did_you_mean(option, known)}")


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
    else:
        more = []
    if more:
        left_over = [argument for argument in left_over if argument.startswith("-")]
    options.parser.refuse_unknown(left_over)
    return options


def build_parser() -> Parser:
    """Returns the parser of the command with all its subcommands."""
    parser = Parser(
        prog="keras-s2s",
        description="Train, score, run and export LSTM encoder-decoder translators.",
        epilog="keras-s2s COMMAND --help tells more of a command.",
        allow_abbrev=False,
    )
    subparsers = parser.add_subparsers(dest="COMMAND", metavar="COMMAND", required=True)

    def add(command: Callable[[argparse.Namespace], int | None], text: str) -> Parser:
        subparser = subparsers.add_parser(
            command.__name__.replace("_", "-"),
            help=text,
            description=text,
            allow_abbrev=False,
        )
        subparser.set_defaults(command=command, parser=subparser)
        return subparser

    sub = add(commands.train, "Train a model on a corpus.")
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
        type=whole_number,
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
    fields = sub.add_argument_group("fields of the preset (defaults: those of chapter)")
    for field in dataclasses.fields(Recipe):
        add_recipe_option(fields, field)

    sub = add(
        commands.prepare, "Tokenize large corpora into a folder that train takes as its corpus."
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
        type=any_number,
        nargs="+",
        metavar="X",
        help="for each corpus, how often its pairs come in an epoch (default: all once)",
    )
    sub.add_argument(
        "--max-length-ratio",
        type=any_number,
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
        type=whole_number,
        metavar="N",
        help="that work at the same time (default: one for each processor)",
    )
    sub.add_argument("--json", action="store_true", help="print one JSON object")
    add_corpus_options(sub)
    fields = sub.add_argument_group("fields of the preset (defaults: those of chapter)")
    for field in dataclasses.fields(Recipe):
        if field.name in PREPARED_FIELDS:
            add_recipe_option(fields, field)

    sub = add(commands.translate, "Translate sentences, standard input line by line, or a file.")
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
        commands.translate_shards,
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
        type=whole_number,
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
        commands.evaluate,
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
        "--max-pairs", type=whole_number, metavar="N", help="use only the first so many pairs"
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

    sub = add(commands.export, "Write a SavedModel for TF Serving, and prove that it works.")
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
    sub.add_argument("--version", type=whole_number, metavar="N", help="default: the next free one")

    sub = add(commands.inspect, "Show an exported version, and check whether a server can run it.")
    sub.add_argument(
        "folder", metavar="EXPORTED_VERSION_DIR", help="the folder with saved_model.pb in it"
    )
    sub.add_argument("--json", action="store_true", help="print one JSON object")

    sub = add(
        commands.runs, "List training runs side by side: how far, how good, and how they differ."
    )
    sub.add_argument("folder", metavar="DIR", help="a run directory, or a folder above several")
    sub.add_argument("--json", action="store_true", help="print one JSON object")

    sub = add(commands.corpora, "List the corpora that are known by name, and where each is.")
    sub.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def add_answer_options(parser: argparse.ArgumentParser) -> None:
    """The options of what is written of a sentence."""
    parser.add_argument(
        "--with-scores",
        action="store_true",
        help="add a tab and the log-probability of the translation in nats; with --beam divided "
        "by the length penalty, as the translations are ranked",
    )
    add_beam_option(parser)
    parser.add_argument(
        "--n-best",
        type=whole_number,
        metavar="N",
        help="print so many translations of each sentence, best first, a line each with the "
        "number of the sentence and a tab before it; at most as many as the beam",
    )


def add_beam_option(parser: argparse.ArgumentParser) -> None:
    """The option of how to search."""
    parser.add_argument(
        "--beam",
        type=whole_number,
        metavar="N",
        default=1,
        help="translations that the search keeps in view; an export has its own number "
        "(default: 1, greedy search)",
    )


def add_corpus_options(parser: argparse.ArgumentParser) -> None:
    """The options that say how a corpus is read."""
    parser.add_argument("--reverse", action="store_true", help="swap the sides of the corpus")
    parser.add_argument(
        "--skip-bad-lines", action="store_true", help="leave out lines that hold no pair"
    )


def add_recipe_option(group: argparse._ArgumentGroup, field: "dataclasses.Field[Any]") -> None:
    """An option for a field of `Recipe`: `--num-hiddens` for `num_hiddens`."""
    flag = f"--{field.name.replace('_', '-')}"
    shown, kind = field.metadata["description"], value_type(field)
    default = "no limit" if field.default is None else field.default
    if kind is bool:
        group.add_argument(flag, action=argparse.BooleanOptionalAction, default=None, help=shown)
    elif kind is str:
        choices = field.metadata["choices"]
        group.add_argument(
            flag,
            choices=choices,
            metavar="NAME",
            help=f"{shown}: {' | '.join(choices)} (default: {default})",
        )
    else:
        number, metavar = (whole_number, "N") if kind is int else (any_number, "X")
        group.add_argument(flag, type=number, metavar=metavar, help=f"{shown} (default: {default})")


def whole_number(text: str) -> int:
    """The type of an option."""
    return _number(text, int, "a whole number")


def any_number(text: str) -> float:
    """The type of an option."""
    return _number(text, float, "a number")


def _number(text: str, kind: type, wanted: str) -> Any:
    try:
        return kind(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}") from None


if __name__ == "__main__":
    sys.exit(main())
