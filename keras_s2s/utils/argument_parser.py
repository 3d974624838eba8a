"""An argument parser with one-line errors."""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from keras_s2s.utils.console import print_error
from keras_s2s.utils.errors import did_you_mean


class CommandParser(argparse.ArgumentParser):
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
        sys.exit(print_error(f"{message} (see {self.prog} --help)"))

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


def int_value(text: str) -> int:
    """The type of an option."""
    return _number(text, int, "a whole number", "3")


def float_value(text: str) -> float:
    """The type of an option."""
    return _number(text, float, "a number", "0.5")


def _number(text: str, kind: type, wanted: str, example: str) -> Any:
    try:
        return kind(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not {wanted}; give one, such as {example}"
        ) from None
