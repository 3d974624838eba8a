"""What `keras-s2s` does to train: `train`, `prepare`, `runs`, `plot`.

Nothing here imports TensorFlow before it is needed, so that `--help` answers at once.
"""

import argparse
import dataclasses
import json
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

from keras_s2s.config import RESUMABLE_FIELDS, TrainingConfig, preset
from keras_s2s.data.config import PreparationConfig
from keras_s2s.data.prepared.index import PreparedIndex, is_prepared
from keras_s2s.evaluation.run_comparison import describe_runs, find_runs, format_runs
from keras_s2s.run_directory import RunDirectory
from keras_s2s.training.cluster import DistributionConfig
from keras_s2s.utils.checks import check_seed
from keras_s2s.utils.console import import_tensorflow, log, spinner
from keras_s2s.utils.errors import InputError
from keras_s2s.utils.files import check_output_folder

DEFAULT_PRESET = "chapter"


def train(options: argparse.Namespace) -> None:
    """`keras-s2s train`."""
    run = RunDirectory(options.run_dir)
    names = [field.name for field in dataclasses.fields(TrainingConfig)]
    given = {name: value for name in names if (value := getattr(options, name)) is not None}
    if options.resume:
        _refuse_changes(run, options, given)
    else:
        fields = {**_prepared_fields(options.corpus), **given}
        recipe = preset(options.preset or DEFAULT_PRESET, options.corpus, **fields)
        seed = check_seed(0 if options.seed is None else options.seed)
    devices = _devices(options, run)
    if not options.resume and devices.is_chief():
        run.check_free(options.overwrite)
    import_tensorflow()
    from keras_s2s import training

    try:
        if options.resume:
            changes = {name: given[name] for name in RESUMABLE_FIELDS if name in given}
            training.resume(run.path, corpus=options.corpus, devices=devices, **changes)
        else:
            choice = training.CorpusSpec(options.corpus, options.reverse, options.skip_bad_lines)
            training.train(choice, run.path, recipe, seed, options.overwrite, devices)
    except KeyboardInterrupt as error:
        if not error.args:
            raise
        command = ["train", options.corpus, "--run-dir", str(run.path), "--resume"]
        error.args = (f"{error}; go on with: keras-s2s {shlex.join(command)}",)
        raise
    if not devices.is_chief():
        log("done; the first worker has the run and the model")
        return
    if result := run.read_record().get("result"):
        log(
            f"loss {result['loss']:.4f} nats a token, accuracy {result['accuracy']:.4f}, "
            f"{result['tokens_per_second']:,.0f} tokens/s in the last epoch"
        )
    if run.report.is_file():
        log(f"curves, configuration and samples are in {run.report}, for a browser")
    log(f"the model is {run.model}; try: keras-s2s translate {shlex.quote(str(run.path))} 'Go.'")


def _prepared_fields(corpus: str) -> dict[str, Any]:
    """The fields of the configuration that a prepared corpus decides; none for another."""
    return PreparedIndex(corpus).fields if is_prepared(corpus) else {}


def _devices(options: argparse.Namespace, run: RunDirectory) -> DistributionConfig:
    """What a run is to run on: what is given, or else, with --resume, what it ran on."""
    devices = DistributionConfig()
    if options.strategy is None and options.resume:
        devices = DistributionConfig.from_record(run.read_record())
    given = {name: getattr(options, name) for name in DistributionConfig._fields}
    devices = devices._replace(**{name: v for name, v in given.items() if v is not None})
    devices.check()
    return devices


def _refuse_changes(run: RunDirectory, options: argparse.Namespace, given: dict[str, Any]) -> None:
    """A resumed run keeps its configuration, except for `RESUMABLE_FIELDS`."""
    record, own = run.read_record(), dataclasses.asdict(run.read_config())
    asked = given
    if options.preset is not None:
        own_ones = {name: own[name] for name in RESUMABLE_FIELDS}
        own_ones |= _prepared_fields(options.corpus)
        asked = dataclasses.asdict(preset(options.preset, options.corpus, **{**own_ones, **given}))
    own |= {"seed": record.get("seed"), **record.get("corpus", {})}
    asked = asked | {"seed": options.seed}
    asked |= {name: True for name in ("reverse", "skip_bad_lines") if getattr(options, name)}
    for name, value in asked.items():
        if value is not None and name not in RESUMABLE_FIELDS and value != own.get(name):
            allowed = ", ".join(f"--{name.replace('_', '-')}" for name in RESUMABLE_FIELDS)
            raise InputError(
                f"{run.path}: the run has {name} {own.get(name)}, not {value}; --resume goes on "
                f"as it began, and only {allowed} may be given anew"
            )


def prepare(options: argparse.Namespace) -> None:
    """`keras-s2s prepare`."""
    given = {
        field.name: value
        for field in dataclasses.fields(PreparationConfig)
        if (value := getattr(options, field.name)) is not None
    }
    recipe = preset(options.preset or DEFAULT_PRESET, "", **given)
    import_tensorflow()
    from keras_s2s.data.prepared.prepare import prepare as prepare_corpora
    from keras_s2s.data.prepared.spec import PreparationSpec
    from keras_s2s.data.prepared.statistics import format_statistics

    filters = ("keep_identical", "keep_duplicates", "max_length_ratio")
    spec = PreparationSpec(
        options.corpora,
        recipe,
        options.weights,
        options.reverse,
        options.skip_bad_lines,
        **{name: getattr(options, name) for name in filters},
    )
    index = prepare_corpora(spec, options.output, options.processes, options.overwrite)
    if options.json:
        shown = {name: index[name] for name in ("corpora", "vocabularies")}
        print(json.dumps({"output": options.output, "shards": len(index["shards"]), **shown}))
        return
    for corpus in index["corpora"]:
        for line in format_statistics(corpus):
            print(line)
    log(
        f"vocabularies of {index['vocabularies'][0]:,} and {index['vocabularies'][1]:,}, "
        f"{len(index['shards'])} shards; try: keras-s2s train {shlex.quote(options.output)} "
        "--run-dir DIR"
    )


def runs(options: argparse.Namespace) -> None:
    """`keras-s2s runs`."""
    folder = Path(options.folder)
    described = describe_runs(find_runs(folder), folder)
    if options.json:
        print(json.dumps({"runs": described}))
        return
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for line in format_runs(described, width):
        print(line)


def plot(options: argparse.Namespace) -> None:
    """`keras-s2s plot`."""
    run = RunDirectory(options.run_dir)
    run.read_record()
    output = None if options.output is None else Path(options.output)
    check_output_folder(output or run.path, "--output")
    import_tensorflow()
    from keras_s2s.evaluation.figures import plot_run

    with spinner("translating and drawing"):
        files = plot_run(run, options.corpus, output)
    for file in files:
        print(file)
