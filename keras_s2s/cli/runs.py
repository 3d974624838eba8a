"""Commands for training runs: `keras-s2s runs` and `keras-s2s plot`.

TensorFlow is imported only when a command needs it, so that `--help` is fast.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

from keras_s2s.cli.options import Subparsers, add_command, add_json_option
from keras_s2s.evaluation.run_comparison import describe_runs, find_runs, format_runs
from keras_s2s.run_directory import RunDirectory
from keras_s2s.utils.argument_parser import CommandParser
from keras_s2s.utils.console import import_tensorflow, spinner
from keras_s2s.utils.files import check_output_folder


def add_runs(subparsers: "Subparsers[CommandParser]") -> None:
    """Add the parser of `keras-s2s runs`."""
    parser = add_command(subparsers, "runs", runs)
    parser.add_argument("folder", metavar="DIR", help="a run directory, or a folder of several")
    add_json_option(parser)


def runs(options: argparse.Namespace) -> None:
    """Run `keras-s2s runs`."""
    folder = Path(options.folder)
    descriptions = describe_runs(find_runs(folder), folder)
    if options.json:
        print(json.dumps({"runs": descriptions}))
        return
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for line in format_runs(descriptions, width):
        print(line)


def add_plot(subparsers: "Subparsers[CommandParser]") -> None:
    """Add the parser of `keras-s2s plot`."""
    parser = add_command(subparsers, "plot", plot)
    parser.add_argument("run_dir", metavar="RUN_DIR", help="a run directory")
    parser.add_argument(
        "corpus",
        metavar="CORPUS",
        nargs="?",
        help="the run's corpus if it has moved, or another text corpus to translate "
        "(default: the run's)",
    )
    parser.add_argument(
        "--output", metavar="DIR", help="output folder (default: plots/ in the run directory)"
    )


def plot(options: argparse.Namespace) -> None:
    """Run `keras-s2s plot`."""
    run = RunDirectory(options.run_dir)
    run.read_record()
    output = None if options.output is None else Path(options.output)
    check_output_folder(output or run.path, "--output")
    import_tensorflow()
    from keras_s2s.evaluation.figures import plot_run

    with spinner("translating and plotting"):
        files = plot_run(run, options.corpus, output)
    for file in files:
        print(file)
