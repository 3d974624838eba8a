"""A parser of arguments with errors of one line, and options that several subcommands have."""

import argparse
import dataclasses
from typing import Any

from keras_s2s.training.cluster import STRATEGIES
from keras_s2s.utils.argument_parser import float_value, int_value
from keras_s2s.utils.fields import field_type

CORPUS_HELP = (
    "a name from `keras-s2s corpora`, a file of tab-separated pairs, a .zip or .gz holding one, "
    "or two line-aligned files as FILE.en,FILE.fr"
)


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
        type=int_value,
        metavar="N",
        help="print so many translations of each sentence, best first, a line each with the "
        "number of the sentence and a tab before it; at most as many as the beam",
    )


def add_beam_option(parser: argparse.ArgumentParser) -> None:
    """The option of how to search."""
    parser.add_argument(
        "--beam",
        type=int_value,
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
        type=int_value,
        metavar="N",
        help="with mirrored: so many GPUs, or the processor as so many devices",
    )
    group.add_argument(
        "--wait",
        type=float_value,
        metavar="SECONDS",
        help="with multiworker: how long to wait for the others at the beginning (default: 600)",
    )


def add_recipe_option(group: argparse._ArgumentGroup, field: "dataclasses.Field[Any]") -> None:
    """An option for a field of `Recipe`: `--num-hiddens` for `num_hiddens`."""
    flag = f"--{field.name.replace('_', '-')}"
    shown, kind = field.metadata["description"], field_type(field)
    default = f" (default: {field.default})"
    if field.default is None:
        # Others say in their description what it is to leave them out.
        no_limit = field.name in ("vocab_size", "max_pairs")
        default = " (default: no limit)" if no_limit else ""
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
        number, metavar = (int_value, "N") if kind is int else (float_value, "X")
        group.add_argument(flag, type=number, metavar=metavar, help=f"{shown}{default}")
        if field.name == "vocab_size":  # its former name
            group.add_argument("--max-tokens", dest=field.name, type=number, help=argparse.SUPPRESS)
