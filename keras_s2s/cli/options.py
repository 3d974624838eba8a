"""Options that several subcommands share, and options made from configuration fields."""

import argparse
import dataclasses
import logging
from collections.abc import Callable, Iterable
from typing import Any

from keras_s2s.cli.commands import COMMANDS
from keras_s2s.config import PRESETS, TrainingConfig
from keras_s2s.data.columns import COLUMNS_HELP
from keras_s2s.data.config import PreparationConfig, ignored_fields
from keras_s2s.data.corpus_spec import HELD_OUT_SPLITS
from keras_s2s.training.cluster import DistributionConfig
from keras_s2s.utils.argument_parser import CommandParser, float_value, int_value
from keras_s2s.utils.fields import field_type
from keras_s2s.utils.renaming import old_names

Subparsers = argparse._SubParsersAction

DEFAULT_PRESET = "chapter"
CORPUS_HELP = (
    "a name from `keras-s2s corpora`, a file of tab-separated pairs, a .zip or .gz archive of "
    "one, or two line-aligned files as FILE.en,FILE.fr"
)


def _renamed_fields(config: type) -> dict[str, str]:
    return {
        f"--{old.replace('_', '-')}": f"--{new.replace('_', '-')}"
        for old, new in old_names(config).items()
    }


# Old spellings, which keep working: subcommand, old option, new option.
RENAMED_OPTIONS = {
    "train": _renamed_fields(TrainingConfig) | _renamed_fields(DistributionConfig),
    "prepare": _renamed_fields(PreparationConfig),
    "evaluate": {"--tokenize": "--sacrebleu-tokenize"},
}

# Options of other libraries, and their counterparts here.
COUNTERPARTS = {
    **dict.fromkeys(("--output", "--output-dir", "--out", "--save-dir"), "--run-dir"),
    "--lr": "--learning-rate",
    "--hidden-size": "--num-hiddens",
    **dict.fromkeys(("--max-len", "--max-length"), "--num-steps"),
}


def add_command(
    subparsers: "Subparsers[CommandParser]",
    name: str,
    command: Callable[[argparse.Namespace], int | None],
) -> CommandParser:
    """Add the parser of a subcommand, which `main` runs as `options.command(options)`."""
    summary = COMMANDS[name].summary
    parser = subparsers.add_parser(name, help=summary, description=summary, allow_abbrev=False)
    parser.renamed_options = RENAMED_OPTIONS.get(name, {})
    parser.counterparts = COUNTERPARTS
    parser.set_defaults(command=command, parser=parser)
    return parser


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for what is printed for each sentence."""
    parser.add_argument(
        "--with-scores",
        action="store_true",
        help="append a tab and the log-probability of the translation in nats; with --beam "
        "divided by the length penalty, as the hypotheses are ranked",
    )
    add_beam_option(parser)
    parser.add_argument(
        "--n-best",
        type=int_value,
        metavar="N",
        help="print the N best hypotheses of each sentence, best first, each on a line after the "
        "index of the sentence and a tab; at most the beam size",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="print a JSON object for each sentence, with text, translation, score, confidence "
        "(the probability of the whole translation) and num_unknown (unknown source tokens)",
    )


def add_beam_option(parser: argparse.ArgumentParser) -> None:
    """Add the option for the beam size."""
    parser.add_argument(
        "--beam",
        type=int_value,
        metavar="N",
        default=1,
        help="beam size; fixed in an export (default: 1, greedy search)",
    )


def add_corpus_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for how a corpus is read."""
    parser.add_argument("--reverse", action="store_true", help="swap source and target")
    parser.add_argument("--skip-bad-lines", action="store_true", help="skip malformed lines")
    parser.add_argument("--columns", metavar="NAMES", help=COLUMNS_HELP)


def add_held_out_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for files of validation and test pairs."""
    for split, description in (("valid", "validation"), ("test", "test")):
        parser.add_argument(
            f"--{split}",
            metavar="FILE",
            help=f"{description} pairs, in any form that CORPUS has, in place of a "
            f"--{split}-fraction of it",
        )


def without_fractions(options: argparse.Namespace) -> dict[str, float]:
    """Return no fraction for splits that have files, in place of the preset's fractions."""
    return {
        f"{split}_fraction": 0.0 for split in HELD_OUT_SPLITS if getattr(options, split) is not None
    }


def add_trust_option(parser: argparse.ArgumentParser) -> None:
    """Add the option to run exports that hold more than the allowed ops."""
    parser.add_argument(
        "--trust",
        action="store_true",
        help="run an export whatever its ops, which can read and write any file; by default one "
        "that holds others than this program's exports is refused",
    )


def add_json_option(parser: argparse.ArgumentParser) -> None:
    """Add the option for machine-readable results."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def add_preset_option(parser: argparse.ArgumentParser) -> None:
    """Add the option for the preset that the configuration starts from."""
    parser.add_argument(
        "--preset",
        metavar="NAME",
        help=f"{' | '.join(PRESETS)}: defaults of the options below, which are listed for "
        f"{DEFAULT_PRESET} (default: {DEFAULT_PRESET})",
    )


def add_field_options(
    parser: argparse.ArgumentParser, title: str, fields: "Iterable[dataclasses.Field[Any]]"
) -> None:
    """Add a group with an option for each field of a configuration.

    Args:
        parser: of the subcommand.
        title: of the group in --help.
        fields: made with `config_field`; `num_hiddens` becomes `--num-hiddens`.
    """
    group = parser.add_argument_group(title)
    for field in fields:
        _add_field_option(group, field)


def warn_without_effect(config: PreparationConfig, changes: Iterable[str]) -> None:
    """Log a warning of options that are given and have no effect beside the others."""
    ignored, tokenizers = ignored_fields(config), " and ".join(sorted(config.tokenizers()))
    for name in changes:
        if name in ignored:
            reason = "without drop_long" if name == "vocabulary_pairs" else f"with {tokenizers}"
            flag = f"--{name.replace('_', '-')}"
            logging.getLogger("keras_s2s").warning("%s has no effect %s; omit it", flag, reason)


def _add_field_option(group: argparse._ArgumentGroup, field: "dataclasses.Field[Any]") -> None:
    flag = f"--{field.name.replace('_', '-')}"
    description, dtype = field.metadata["description"], field_type(field)
    default = f" (default: {field.default})"
    if field.default is None:
        # The other descriptions name the default themselves.
        default = " (default: no limit)" if field.name == "max_pairs" else ""
    if dtype is bool:
        group.add_argument(
            flag, action=argparse.BooleanOptionalAction, default=None, help=description
        )
    elif dtype is tuple:
        group.add_argument(flag, nargs="+", metavar="TEXT", help=description)
    elif dtype is str:
        if choices := field.metadata["choices"]:
            group.add_argument(
                flag,
                choices=choices,
                metavar="NAME",
                help=f"{description}: {' | '.join(choices)}{default}",
            )
        else:
            group.add_argument(flag, metavar="TEXT", help=f"{description}{default}")
    else:
        parse, metavar = (int_value, "N") if dtype is int else (float_value, "X")
        group.add_argument(flag, type=parse, metavar=metavar, help=f"{description}{default}")
