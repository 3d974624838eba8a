"""A parser of arguments with errors of one line, and options that several subcommands have."""

import argparse
import dataclasses
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from keras_s2s.console import fail
from keras_s2s.devices import STRATEGIES
from keras_s2s.errors import did_you_mean
from keras_s2s.options import value_type

CORPUS_HELP = (
    "a name from `keras-s2s corpora`, a file of tab-separated pairs, a .zip or .gz holding one, "
    "or two line-aligned files as FILE.en,FILE.fr"
)


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line and say what was probably meant."""

    _given: Sequence[str] = ()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        self._given = sys.argv[1:] if args is None else args
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Ends the program as `main` does for other errors."""
        # Of an option that is misspelt argparse would say only that the right one is missing.
        if message.startswith(("the following arguments are required", "unrecognized arguments")):
            options = [word.partition("=")[0] for word in self._given if word.startswith("--")]
            known = self._option_string_actions
            unknown = [word for word in options if word != "--" and word not in known]
            if unknown:
                message = self._about_unknown(unknown[0])
        sys.exit(fail(f"{message} (see {self.prog} --help)"))

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            choices = list(action.choices)
            raise argparse.ArgumentError(
                action,
                f"{value!r} is not known; give one of {', '.join(choices)}"
                f"{did_you_mean(value, choices)}",
            )

    def refuse_unknown(self, arguments: Sequence[str]) -> None:
        """Ends the program when there are arguments left over."""
        if arguments:
            self.error(self._about_unknown(arguments[0].partition("=")[0]))

    def _about_unknown(self, option: str) -> str:
        known = [name for name in self._option_string_actions if name.startswith("--")]
        if not option.startswith("-") and os.path.isfile(option):
            hint = ""
            if any(action.dest == "corpus" for action in self._actions):
                hint = "; two aligned files are given as a.en,a.fr"
            return f"{option} is one argument too many{hint}"
        return f"unknown argument {option}{did_you_mean(option, known)}"


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


def add_device_options(parser: argparse.ArgumentParser) -> None:
    """The options that say what a training runs on; see docs/several-machines.md."""
    group = parser.add_argument_group("what it runs on, which may be given anew with --resume")
    group.add_argument(
        "--strategy",
        choices=STRATEGIES,
        metavar="NAME",
        help="none: one device; mirrored: all GPUs of this machine; multiworker: the processes "
        "that TF_CONFIG names (default: none)",
    )
    group.add_argument(
        "--devices",
        type=whole_number,
        metavar="N",
        help="with mirrored: so many GPUs, or the processor as so many devices",
    )
    group.add_argument(
        "--wait",
        type=any_number,
        metavar="SECONDS",
        help="with multiworker: how long to wait for the others at the beginning (default: 600)",
    )


def add_recipe_option(group: argparse._ArgumentGroup, field: "dataclasses.Field[Any]") -> None:
    """An option for a field of `Recipe`: `--num-hiddens` for `num_hiddens`."""
    flag = f"--{field.name.replace('_', '-')}"
    shown, kind = field.metadata["description"], value_type(field)
    default = f" (default: {field.default})"
    if field.default is None:
        # Others say in their description what it is to leave them out.
        default = " (default: no limit)" if field.name.startswith("max_") else ""
    if kind is bool:
        group.add_argument(flag, action=argparse.BooleanOptionalAction, default=None, help=shown)
    elif kind is str:
        choices = field.metadata["choices"]
        group.add_argument(
            flag,
            choices=choices,
            metavar="NAME",
            help=f"{shown}: {' | '.join(choices)}{default}",
        )
    else:
        number, metavar = (whole_number, "N") if kind is int else (any_number, "X")
        group.add_argument(flag, type=number, metavar=metavar, help=f"{shown}{default}")


def whole_number(text: str) -> int:
    """The type of an option."""
    return _number(text, int, "a whole number", "3")


def any_number(text: str) -> float:
    """The type of an option."""
    return _number(text, float, "a number", "0.5")


def _number(text: str, kind: type, wanted: str, example: str) -> Any:
    try:
        return kind(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not {wanted}; give one, such as {example}"
        ) from None
