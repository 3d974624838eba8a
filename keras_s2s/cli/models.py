"""Commands for exports: `keras-s2s export` and `keras-s2s inspect`.

TensorFlow is imported only when a command needs it, so that `--help` is fast.
"""

import argparse
import json
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from keras_s2s.cli.evaluation_corpus import run_split
from keras_s2s.cli.model_paths import is_export, load_model
from keras_s2s.cli.options import Subparsers, add_command, add_json_option, add_trust_option
from keras_s2s.run_directory import RunDirectory
from keras_s2s.utils.argument_parser import CommandParser, float_value, int_value
from keras_s2s.utils.checks import MAX_VERSION
from keras_s2s.utils.console import log, spinner, step_progress
from keras_s2s.utils.errors import InputError

if TYPE_CHECKING:
    from keras_s2s.data.parallel_corpus import ParallelCorpus
    from keras_s2s.translation.translator import Translator


def add_export(subparsers: "Subparsers[CommandParser]") -> None:
    """Add the parser of `keras-s2s export`."""
    parser = add_command(subparsers, "export", export)
    parser.add_argument("model", metavar="RUN_DIR", help="a run directory or a .keras file")
    parser.add_argument(
        "--model-name", metavar="NAME", required=True, help="name of the servable, such as en-fr"
    )
    parser.add_argument(
        "--output",
        metavar="DIR",
        default="export/models",
        help="folder of all models (default: %(default)s)",
    )
    parser.add_argument(
        "--version", type=int_value, metavar="N", help="version number (default: the next free one)"
    )
    parser.add_argument(
        "--refuse-below",
        type=float_value,
        metavar="X",
        help="add an output `guarded` that is empty where the confidence is low, so that at most "
        "this share of the answers given to the validation pairs is wrong, such as 0.01",
    )


def export(options: argparse.Namespace) -> None:
    """Run `keras-s2s export`."""
    # The name is a folder here, and a part of a URL on the server.
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", options.model_name):
        raise InputError(
            f"--model-name is {options.model_name!r}; give letters, digits, '.', '_' and '-', "
            "such as en-fr"
        )
    if options.version is not None and not 1 <= options.version <= MAX_VERSION:
        raise InputError(f"--version is {options.version}; give 1 to {MAX_VERSION}")
    if is_export(Path(options.model)):
        raise InputError(f"{options.model}: is an export already; give a run directory")
    from keras_s2s.serving.signatures import read_verification_record

    max_error = options.refuse_below
    if max_error is not None and not 0 <= max_error < 1:
        raise InputError(f"--refuse-below is {max_error}; give a share of answers from 0 to 1")
    pairs = None if max_error is None else run_split(options.model, "valid")
    with spinner("loading the model"):
        model = load_model(options.model)
    min_confidence = None if pairs is None else _calibrate(model, pairs, options)
    with step_progress() as progress:
        version = model.export(
            Path(options.output) / options.model_name,
            options.version,
            RunDirectory(options.model).read_samples() or None,
            progress,
            min_confidence,
        )
    record = read_verification_record(version) or {}
    log(
        f"verified: loaded as a server loads it, {record['texts']} texts in batches of "
        f"{record['batch_sizes'][0]} to {record['batch_sizes'][1]} have the same translations "
        f"(scores within {record['largest_score_difference']:.1e})"
    )
    print(version)


def _calibrate(model: "Translator", pairs: "ParallelCorpus", options: argparse.Namespace) -> float:
    """Return the confidence below which answers are refused; plot errors against refusals."""
    from keras_s2s.evaluation.metrics.refusal import choose_threshold, refusal_curve_of
    from keras_s2s.evaluation.rendering import save
    from keras_s2s.evaluation.score_plots import plot_refusals

    with spinner("calibrating on the validation pairs"):
        curve = refusal_curve_of(model, pairs)
    chosen, everything = choose_threshold(curve, options.refuse_below), curve[-1]
    figure = RunDirectory(options.model).plots / "refusals.png"
    figure.parent.mkdir(exist_ok=True)
    save(plot_refusals(curve, chosen), figure)
    share = chosen.num_answered / everything.num_answered
    log(
        f"answers of a confidence below {chosen.min_confidence:.4f} are refused: of "
        f"{everything.num_answered:,} validation sources {share:.1%} are answered, and "
        f"{chosen.error:.2%} of these answers are wrong (of all answers, {everything.error:.2%}); "
        f"see {figure}"
    )
    return chosen.min_confidence


def add_inspect(subparsers: "Subparsers[CommandParser]") -> None:
    """Add the parser of `keras-s2s inspect`."""
    parser = add_command(subparsers, "inspect", inspect)
    parser.add_argument(
        "folder", metavar="EXPORTED_VERSION_DIR", help="the folder that holds saved_model.pb"
    )
    add_trust_option(parser)
    add_json_option(parser)


def inspect(options: argparse.Namespace) -> int:
    """Run `keras-s2s inspect`; return 1 for an export that breaks the contract."""
    if RunDirectory(options.folder).exists():
        raise InputError(
            f"{options.folder}: is a run, not an export; make one with keras-s2s export "
            f"{shlex.quote(options.folder)} --model-name NAME"
        )
    from keras_s2s.serving.contract import inspect_export

    inspection = inspect_export(options.folder, trust=options.trust)
    print(json.dumps(inspection.as_dict()) if options.json else inspection.report())
    return 0 if inspection.passed else 1
