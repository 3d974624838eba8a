"""The pairs that `keras-s2s evaluate` scores: a corpus, or a split as the run made it.

TensorFlow is not imported, so that errors are reported fast.
"""

import argparse
import dataclasses
import functools
import logging
import shlex
from collections.abc import Callable
from typing import Any

from keras_s2s.cli.model_paths import find_model
from keras_s2s.data.corpus_spec import HELD_OUT_SPLITS, CorpusSpec, split_corpus
from keras_s2s.data.parallel_corpus import ParallelCorpus
from keras_s2s.data.prepared.index import PreparedIndex, is_prepared
from keras_s2s.run_directory import RunDirectory
from keras_s2s.utils.errors import InputError

_ReadFn = Callable[[CorpusSpec, int | None], ParallelCorpus]
_logger = logging.getLogger("keras_s2s")


def separate_corpus(options: argparse.Namespace) -> None:
    """Take the last path as a model, not the corpus, if it is a run whose split is asked for.

    Without a corpus, a split is that of the corpus in the record of the run.

    Raises:
        InputError: there is no corpus and no split.
    """
    last = options.models[-1] if options.corpus is None else options.corpus
    if RunDirectory(last).exists():
        if options.split == "all":
            raise InputError(
                f"{last}: is a run, and the corpus comes last; give keras-s2s evaluate "
                f"{shlex.quote(last)} CORPUS, or --split test for what the run held out"
            )
        options.models = [*options.models, *([] if options.corpus is None else [last])]
        options.corpus = None
    elif options.corpus is None:
        raise InputError(
            f"{last}: there is no CORPUS after it; give keras-s2s evaluate MODEL CORPUS, or a run "
            "and --split test"
        )


def evaluation_corpus(options: argparse.Namespace) -> ParallelCorpus:
    """Return the pairs to score all models on."""
    # Each run has the split of the same file, which is read once for all.
    read = functools.cache(_read_corpus)
    if options.split == "all":
        columns = options.columns or _columns_of_runs(options.models)
        spec = CorpusSpec(options.corpus, options.reverse, options.skip_bad_lines, columns)
        return read(spec, options.max_pairs)
    first, *others = options.models
    pairs = _split_of_run(options, first, read)
    for other in others:
        pairs_of_other = _split_of_run(options, other, read)
        if (pairs_of_other.source, pairs_of_other.target) != (pairs.source, pairs.target):
            configs = [_data_record(run) for run in (first, other)]
            differences = [
                f"{name} {configs[1][name]} instead of {configs[0][name]}"
                for name in (
                    *("max_pairs", "valid_fraction", "test_fraction", "split_seed"),
                    *("columns", *HELD_OUT_SPLITS),
                )
                if configs[0][name] != configs[1][name]
            ]
            raise InputError(
                f"{other}: its {options.split} split differs from that of {first} "
                f"({', '.join(differences)}); compare runs with the same split, or give a "
                "corpus that neither was trained on with --split all"
            )
    return pairs


def run_split(path: str, split: str) -> ParallelCorpus:
    """Return a split of the corpus that a run was trained on."""
    options = argparse.Namespace(
        models=[path], corpus=None, split=split, columns=None, reverse=False, max_pairs=None
    )
    return evaluation_corpus(options)


def _data_record(path: str) -> dict[str, Any]:
    run = RunDirectory(path)
    return {**_spec_of_run(run)._asdict(), **dataclasses.asdict(run.read_config())}


def _columns_of_runs(models: list[str]) -> str | None:
    """Return the columns of the runs among the models; None if they have none.

    Raises:
        InputError: they differ.
    """
    specs = {
        path: _spec_of_run(run).columns for path in models if (run := RunDirectory(path)).exists()
    }
    if len(set(specs.values())) > 1:
        raise InputError(
            f"the runs have different columns ({', '.join(map(str, specs.values()))}); give "
            "--columns for all"
        )
    return next(iter(specs.values()), None)


def _spec_of_run(run: RunDirectory) -> CorpusSpec:
    record = run.read_record().get("corpus") or {}
    defaults = {"corpus": "", "reverse": False, "skip_bad_lines": False}
    spec = CorpusSpec.from_record({**defaults, **record})
    if spec.columns is None and is_prepared(spec.corpus):
        spec = spec._replace(columns=spec.prepared_columns())
    return spec


def _read_corpus(spec: CorpusSpec, max_pairs: int | None) -> ParallelCorpus:
    if is_prepared(spec.corpus):
        raise InputError(
            f"{spec.corpus}: is prepared, which keeps only the text of the valid and test "
            "splits; give --split valid or --split test of a run trained on it, or the original "
            "corpus"
        )
    return spec.read_pairs(spec.corpus, max_pairs)


def _split_of_run(options: argparse.Namespace, path: str, read: _ReadFn) -> ParallelCorpus:
    """Return the requested split of the corpus, as a run split it.

    Args:
        options: of the command.
        path: the run.
        read: returns the pairs of a corpus, at most a number of them.
    """
    run = RunDirectory(path)
    if not run.exists():
        find_model(path)
        raise InputError(
            f"{path}: only a run directory records how its corpus was split; "
            "give that, or --split all"
        )
    config, trained_on = run.read_config(), _spec_of_run(run)
    if options.reverse != trained_on.reverse and (options.corpus is not None or options.reverse):
        raise InputError(
            f"{path}: the run was trained with{'out' if options.reverse else ''} "
            f"--reverse; evaluate --split {options.split} likewise"
        )
    if options.columns not in (None, trained_on.columns):
        raise InputError(
            f"{path}: the run was trained with --columns {trained_on.columns}; omit --columns"
        )
    spec = trained_on
    if options.corpus is not None:
        spec = spec._replace(corpus=options.corpus, skip_bad_lines=options.skip_bad_lines)
    if options.split in HELD_OUT_SPLITS and getattr(spec, options.split) is not None:
        return _held_out_file(options, run, spec, trained_on.corpus, read)
    if is_prepared(spec.corpus) and options.split != "train":
        return _prepared_split(options, run, spec.corpus)
    max_pairs = config.max_pairs if options.max_pairs is None else options.max_pairs
    pairs: ParallelCorpus = getattr(
        split_corpus(read(_without_files(spec), max_pairs), config), options.split
    )
    if not len(pairs):
        raise InputError(
            f"{path}: the run's {options.split} split is empty; give --split all, or "
            f"train with --{options.split}-fraction 0.05"
        )
    return pairs


def _held_out_file(
    options: argparse.Namespace,
    run: RunDirectory,
    spec: CorpusSpec,
    training_corpus: str,
    read: _ReadFn,
) -> ParallelCorpus:
    """Return the pairs of the file of the split; or of CORPUS, if these are the same."""
    file: str = getattr(spec, options.split)
    moved = options.corpus not in (None, training_corpus, file)
    pairs = read(_without_files(spec._replace(corpus=options.corpus if moved else file)), None)
    if pairs.fingerprint() != run.read_record()["corpus"].get(f"{options.split}_sha256"):
        if moved:
            raise InputError(
                f"{run.path}: its {options.split} pairs are those of {file}, and "
                f"{options.corpus} holds others; omit CORPUS, give that file where it is now, or "
                "--split all"
            )
        _logger.warning("%s: has changed since the run %s", file, run.path)
    return _first_pairs(pairs, options.max_pairs)


def _without_files(spec: CorpusSpec) -> CorpusSpec:
    return spec._replace(valid=None, test=None)


def _prepared_split(options: argparse.Namespace, run: RunDirectory, corpus: str) -> ParallelCorpus:
    """Return a held-out split of the prepared corpus that a run was trained on."""
    index = PreparedIndex(corpus)
    if run.read_record().get("corpus", {}).get("sha256") != index.fingerprint():
        raise InputError(
            f"{run.path}: was not trained on {corpus}; give the corpus that it was "
            "trained on, or another one with --split all"
        )
    index.check_files()
    pairs = index.held_out(options.split)
    if not len(pairs):
        raise InputError(f"{corpus}: its {options.split} split is empty; give another one")
    return _first_pairs(pairs, options.max_pairs)


def _first_pairs(pairs: ParallelCorpus, count: int | None) -> ParallelCorpus:
    return dataclasses.replace(pairs, source=pairs.source[:count], target=pairs.target[:count])
