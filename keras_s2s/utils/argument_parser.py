"""An argument parser with one-line errors."""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from keras_s2s.utils.console import print_error
from keras_s2s.utils.errors import did_you_mean


class CommandParser(argparse.ArgumentParser):
    """An argument parser with one-line errors that suggest similar spellings.

    Attributes:
        renamed_options: the new spelling for each old one, which is accepted but not listed.
        counterparts: what to suggest for options that other programs have; an option that this
            parser does not have is ignored.
    """

    renamed_options: Mapping[str, str] = {}
    counterparts: Mapping[str, str] = {}
    _arguments: Sequence[str] = ()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        self._arguments = self._rename(sys.argv[1:] if args is None else list(args))
        return super().parse_known_args(self._arguments, namespace)

    def _rename(self, arguments: list[str]) -> list[str]:
        end = arguments.index("--") if "--" in arguments else len(arguments)
        words = [word.partition("=") for word in arguments[:end]]
        renamed = ["".join((self.renamed_options.get(name, name), *tail)) for name, *tail in words]
        return [*renamed, *arguments[end:]]

    def error(self, message: str) -> NoReturn:
        """Print an error and exit, in the format of `main`."""
        # For a misspelled option argparse reports only that the correct one is missing.
        if message.startswith(("the following arguments are required", "unrecognized arguments")):
            options = [word.partition("=")[0] for word in self._arguments if word.startswith("--")]
            unknown = [
                word for word in options if word != "--" and word not in self._option_string_actions
            ]
            if unknown:
                message = self._unknown_argument(unknown[0])
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
        """Exit with an error if there are unparsed arguments."""
        if arguments:
            self.error(self._unknown_argument(arguments[0].partition("=")[0]))

    def _unknown_argument(self, option: str) -> str:
        options = [name for name in self._option_string_actions if name.startswith("--")]
        if not option.startswith("-") and os.path.isfile(option):
            hint = ""
            if any(action.dest == "corpus" for action in self._actions):
                hint = "; give two aligned files as a.en,a.fr"
            return f"{option} is one argument too many{hint}"
        counterpart = self.counterparts.get(option, option)
        sought = counterpart if counterpart in options else option
        return f"unknown argument {option}{did_you_mean(sought, options)}"


def int_value(text: str) -> int:
    """Parse an integer option; an argparse type."""
    return _parse(text, int, "an integer", "3")


def float_value(text: str) -> float:
    """Parse a float option; an argparse type."""
    return _parse(text, float, "a number", "0.5")


def _parse(text: str, dtype: type, description: str, example: str) -> Any:
    try:
        return dtype(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not {description}; give one, such as {example}"
        ) from None
