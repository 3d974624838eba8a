"""Commands for corpora: `keras-s2s prepare` and `keras-s2s corpora`.

TensorFlow is imported only when a command needs it, so that `--help` is fast.
"""

import argparse
import dataclasses
import json
import shlex

from keras_s2s.cli.options import (
    CORPUS_HELP,
    DEFAULT_PRESET,
    Subparsers,
    add_command,
    add_corpus_options,
    add_field_options,
    add_held_out_options,
    add_json_option,
    add_preset_option,
    warn_without_effect,
    without_fractions,
)
from keras_s2s.config import preset
from keras_s2s.data.catalog import BUILTIN_CORPORA, locate
from keras_s2s.data.config import PreparationConfig
from keras_s2s.utils.argument_parser import CommandParser, float_value, int_value
from keras_s2s.utils.console import import_tensorflow, log


def add_prepare(subparsers: "Subparsers[CommandParser]") -> None:
    """Add the parser of `keras-s2s prepare`."""
    parser = add_command(subparsers, "prepare", prepare)
    parser.add_argument("corpora", metavar="CORPUS", nargs="+", help=f"{CORPUS_HELP}; one or more")
    parser.add_argument(
        "--output",
        metavar="DIR",
        required=True,
        help="output folder; the same command resumes an interrupted preparation and replaces "
        "damaged files",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the prepared corpus in the folder"
    )
    add_preset_option(parser)
    parser.add_argument(
        "--weights",
        type=float_value,
        nargs="+",
        metavar="X",
        help="sampling weight of each corpus: how often its pairs occur in an epoch "
        "(default: 1 each)",
    )
    parser.add_argument(
        "--max-length-ratio",
        type=float_value,
        metavar="X",
        help="drop pairs in which one side has more than X times the tokens of the other; "
        "9 is common (default: no limit)",
    )
    parser.add_argument(
        "--keep-identical", action="store_true", help="keep pairs with identical sides"
    )
    parser.add_argument("--keep-duplicates", action="store_true", help="do not deduplicate pairs")
    parser.add_argument(
        "--processes",
        type=int_value,
        metavar="N",
        help="number of worker processes (default: one per processor)",
    )
    add_json_option(parser)
    add_corpus_options(parser)
    add_held_out_options(parser)
    add_field_options(parser, "data", dataclasses.fields(PreparationConfig))


def prepare(options: argparse.Namespace) -> None:
    """Run `keras-s2s prepare`."""
    changes = {
        field.name: value
        for field in dataclasses.fields(PreparationConfig)
        if (value := getattr(options, field.name)) is not None
    }
    config = preset(
        options.preset or DEFAULT_PRESET, "", **{**without_fractions(options), **changes}
    )
    warn_without_effect(config, changes)
    import_tensorflow()
    from keras_s2s.data.prepared.prepare import prepare as prepare_corpora
    from keras_s2s.data.prepared.spec import PreparationSpec
    from keras_s2s.data.prepared.statistics import format_statistics
    from keras_s2s.data.text_counts import log_counts, sum_recorded

    others = ("keep_identical", "keep_duplicates", "max_length_ratio", "columns", "valid", "test")
    spec = PreparationSpec(
        options.corpora,
        config,
        options.weights,
        options.reverse,
        options.skip_bad_lines,
        **{name: getattr(options, name) for name in others},
    )
    index = prepare_corpora(spec, options.output, options.processes, options.overwrite)
    if options.json:
        result = {name: index[name] for name in ("corpora", "vocabularies")}
        print(json.dumps({"output": options.output, "shards": len(index["shards"]), **result}))
        return
    for corpus in index["corpora"]:
        for line in format_statistics(corpus):
            print(line)
    for split, file in index.get("held_out", {}).items():
        print(f"{getattr(spec, split)}: {file['pairs']:,} pairs of the {split} split")
    counts = sum_recorded(corpus.get("counts") for corpus in index["corpora"])
    log_counts(config, training=counts)
    sizes = []
    for side, size in zip(("source", "target"), index["vocabularies"], strict=True):
        share = "" if counts is None else f" ({counts.unknown_share(side):.1%} of tokens unknown)"
        sizes.append(f"{size:,}{share}")
    log(
        f"vocabulary sizes {' and '.join(sizes)}, {len(index['shards'])} shards; "
        f"try: keras-s2s train {shlex.quote(options.output)} --run-dir DIR"
    )


def add_corpora(subparsers: "Subparsers[CommandParser]") -> None:
    """Add the parser of `keras-s2s corpora`."""
    parser = add_command(subparsers, "corpora", corpora)
    add_json_option(parser)


def corpora(options: argparse.Namespace) -> None:
    """Run `keras-s2s corpora`."""
    locations = {name: locate(name) for name in BUILTIN_CORPORA}
    if options.json:
        rows = {
            name: {
                "description": entry.description,
                "languages": list(entry.languages),
                "license": entry.license,
                "where": locations[name].where,
                "path": None if locations[name].path is None else str(locations[name].path),
            }
            for name, entry in BUILTIN_CORPORA.items()
        }
        print(json.dumps(rows))
        return
    for name, entry in BUILTIN_CORPORA.items():
        where, path = locations[name]
        print(f"{name:12} {'-'.join(entry.languages)}  {entry.description}")
        print(f"{'':12} {where}{f': {path}' if path else ''}  ({entry.license})")
