"""The command `keras-s2s train`.

TensorFlow is imported only when the command needs it, so that `--help` is fast.
"""

import argparse
import dataclasses
import itertools
import shlex
from typing import Any

from keras_s2s.cli.options import (
    CORPUS_HELP,
    DEFAULT_PRESET,
    Subparsers,
    add_command,
    add_corpus_options,
    add_field_options,
    add_held_out_options,
    add_preset_option,
    warn_without_effect,
    without_fractions,
)
from keras_s2s.config import (
    EARLIER_VALUES,
    RESUMABLE_FIELDS,
    check_held_out,
    field_groups,
    preset,
)
from keras_s2s.data.columns import parse_columns
from keras_s2s.data.config import fields_in_full
from keras_s2s.data.corpus_spec import HELD_OUT_SPLITS, CorpusSpec
from keras_s2s.data.prepared.index import PreparedIndex, is_prepared
from keras_s2s.run_directory import RunDirectory
from keras_s2s.training.cluster import STRATEGIES, DistributionConfig
from keras_s2s.utils.argument_parser import CommandParser, float_value, int_value
from keras_s2s.utils.checks import check_seed
from keras_s2s.utils.console import import_tensorflow, log
from keras_s2s.utils.errors import InputError


def add_train(subparsers: "Subparsers[CommandParser]") -> None:
    """Add the parser of `keras-s2s train`."""
    parser = add_command(subparsers, "train", train)
    parser.add_argument(
        "corpus",
        metavar="CORPUS",
        help=f"{CORPUS_HELP}; or a corpus prepared by `keras-s2s prepare`",
    )
    parser.add_argument(
        "--run-dir", metavar="DIR", required=True, help="folder of the run: model, record, logs"
    )
    add_preset_option(parser)
    parser.add_argument(
        "--seed",
        type=int_value,
        metavar="N",
        help="random seed; the same seed gives the same model (default: 0)",
    )
    existing_run = parser.add_mutually_exclusive_group()
    existing_run.add_argument(
        "--resume", action="store_true", help="resume the run in the run directory"
    )
    existing_run.add_argument(
        "--overwrite", action="store_true", help="replace the run in the run directory"
    )
    add_corpus_options(parser)
    add_held_out_options(parser)
    _add_distribution_options(parser)
    for title, fields in field_groups().items():
        add_field_options(parser, title, fields)


def _add_distribution_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "distribution",
        "Devices to train on (see docs/several-machines.md). May change with --resume.",
    )
    group.add_argument(
        "--strategy",
        choices=STRATEGIES,
        metavar="NAME",
        help="none: one device; mirrored: all GPUs of this machine; multiworker: the workers "
        "that TF_CONFIG lists (default: none)",
    )
    group.add_argument(
        "--num-devices",
        type=int_value,
        metavar="N",
        help="with mirrored: the number of GPUs, or of logical CPU devices",
    )
    group.add_argument(
        "--worker-timeout",
        type=float_value,
        metavar="SECONDS",
        help="with multiworker: how long to wait for the other workers at startup (default: 600)",
    )


def train(options: argparse.Namespace) -> None:
    """Run `keras-s2s train`."""
    run = RunDirectory(options.run_dir)
    names = [field.name for fields in field_groups().values() for field in fields]
    changes = {name: value for name in names if (value := getattr(options, name)) is not None}
    if options.resume:
        _check_unchanged(run, options, changes)
    else:
        spec = _corpus_spec(options)
        fields = {**_prepared_fields(options.corpus), **without_fractions(options), **changes}
        config = preset(options.preset or DEFAULT_PRESET, options.corpus, **fields)
        warn_without_effect(config, changes)
        check_held_out(config, spec.valid or spec.prepared_file("valid"), spec.test)
        seed = check_seed(0 if options.seed is None else options.seed)
    distribution = _distribution(options, run)
    if not options.resume and distribution.is_chief():
        run.check_free(options.overwrite)
    import_tensorflow()
    from keras_s2s import training

    try:
        if options.resume:
            resumed = {name: changes[name] for name in RESUMABLE_FIELDS if name in changes}
            resumed |= {name: getattr(options, name) for name in ("corpus", *HELD_OUT_SPLITS)}
            training.resume(run.path, distribution=distribution, **resumed)
        else:
            training.train(spec, run.path, config, seed, options.overwrite, distribution)
    except KeyboardInterrupt as error:
        if not error.args:
            raise
        command = ["train", options.corpus, "--run-dir", str(run.path), "--resume"]
        error.args = (f"{error}; resume with: keras-s2s {shlex.join(command)}",)
        raise
    if not distribution.is_chief():
        log("done; the chief worker has the run and the model")
        return
    if result := run.read_record().get("result"):
        log(
            f"loss {result['loss']:.4f} nats per token, accuracy {result['accuracy']:.4f}, "
            f"{result['tokens_per_second']:,.0f} tokens/s in the last epoch"
        )
    if run.report.is_file():
        log(f"report with curves, configuration and samples: {run.report}")
    words = "keras-s2s", "translate", str(run.path), *_example(run)
    log(f"model: {run.model}; try: {' '.join(map(_quoted, words))}")


def _example(run: RunDirectory) -> list[str]:
    """Return a training sentence that fits into a line; none if there is no such sentence."""
    texts = (sample.decode("utf-8", errors="replace") for sample in run.read_samples())
    short = (
        text
        for text in texts
        if 0 < len(text) <= 60
        and text.replace("\t", " ").isprintable()
        and not text.startswith("-")
    )
    return list(itertools.islice(short, 1))


def _quoted(word: str) -> str:
    """Return a word as in a shell; one with tabs between columns in the form that shows them."""
    if "\t" not in word:
        return shlex.quote(word)
    escaped = word.replace("\\", "\\\\").replace("'", "\\'").replace("\t", "\\t")
    return f"$'{escaped}'"


def _corpus_spec(options: argparse.Namespace) -> CorpusSpec:
    if options.columns is not None:
        parse_columns(options.columns)
        if options.reverse:
            raise InputError("--columns say what is source and target; omit --reverse")
    return CorpusSpec(
        options.corpus,
        options.reverse,
        options.skip_bad_lines,
        options.columns,
        options.valid,
        options.test,
    )


def _prepared_fields(corpus: str) -> dict[str, Any]:
    """Return the configuration fields that a prepared corpus fixes; none for another corpus."""
    return PreparedIndex(corpus).fields if is_prepared(corpus) else {}


def _distribution(options: argparse.Namespace, run: RunDirectory) -> DistributionConfig:
    """Return the requested distribution, with --resume by default that of the run."""
    distribution = DistributionConfig()
    if options.strategy is None and options.resume:
        distribution = DistributionConfig.from_record(run.read_record())
    changes = {
        field.name: value
        for field in dataclasses.fields(DistributionConfig)
        if (value := getattr(options, field.name)) is not None
    }
    distribution = dataclasses.replace(distribution, **changes)
    distribution.validate()
    return distribution


def _check_unchanged(
    run: RunDirectory, options: argparse.Namespace, changes: dict[str, Any]
) -> None:
    """Refuse options that differ from those of a resumed run, except `RESUMABLE_FIELDS`."""
    record, recorded = run.read_record(), run.read_config()
    current = {**dataclasses.asdict(recorded), **fields_in_full(recorded)}
    requested = {n: tuple(v) if isinstance(v, list) else v for n, v in changes.items()}
    if options.preset is not None:
        # A record has what the precision `auto` was on its machine.
        names = *RESUMABLE_FIELDS, *EARLIER_VALUES, "precision"
        kept = {name: current[name] for name in names}
        kept |= {**_prepared_fields(options.corpus), **without_fractions(options)}
        config = preset(options.preset, options.corpus, **{**kept, **changes})
        requested = {**dataclasses.asdict(config), **fields_in_full(config)}
    current |= {"seed": record.get("seed"), **record.get("corpus", {})}
    requested = requested | {"seed": options.seed, "columns": options.columns}
    requested |= {name: True for name in ("reverse", "skip_bad_lines") if getattr(options, name)}
    for name, value in requested.items():
        if value is not None and name not in RESUMABLE_FIELDS and value != current.get(name):
            allowed = ", ".join(f"--{name.replace('_', '-')}" for name in RESUMABLE_FIELDS)
            raise InputError(
                f"{run.path}: the run has {name} {current.get(name)}, not {value}; --resume keeps "
                f"the configuration, and only {allowed} may change"
            )
