"""The training run: from a corpus to a translator on disk."""

import contextlib
import dataclasses
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from keras_s2s.config import TrainingConfig, check_held_out
from keras_s2s.data.batching import DataPosition
from keras_s2s.data.parallel_corpus import ParallelCorpus
from keras_s2s.data.text_counts import log_counts
from keras_s2s.evaluation.analysis import sample_attention_maps
from keras_s2s.evaluation.report import ReportData, write_report
from keras_s2s.run_directory import RunDirectory
from keras_s2s.training.builders import resolve_precision
from keras_s2s.training.callbacks import HistoryFile, TrainingProgress
from keras_s2s.training.checkpoint_callbacks import CheckpointCallback, ResumeEpoch
from keras_s2s.training.checkpoints import CheckpointFolder, TrainingState
from keras_s2s.training.cluster import DistributionConfig
from keras_s2s.training.data_source import Corpus, CorpusSpec, resolve_for_corpus
from keras_s2s.training.distribution import Workers, start_workers
from keras_s2s.training.job import TrainingJob
from keras_s2s.training.nonfinite_guard import NonFiniteGradientGuard
from keras_s2s.training.run_record import (
    distribution_record,
    finish_record,
    format_first_pair,
    format_position,
    format_summary,
    make_record,
    read_run,
)
from keras_s2s.translation.translator import Translator
from keras_s2s.utils.checks import check_int, check_seed, check_type
from keras_s2s.utils.console import log, pluralize, spinner
from keras_s2s.utils.errors import InputError
from keras_s2s.utils.renaming import accept_old_names
from keras_s2s.utils.signals import GracefulShutdown


@accept_old_names(choice="corpus", recipe="config", devices="distribution")
def train(
    corpus: CorpusSpec | str,
    run_dir: str | os.PathLike[str],
    config: TrainingConfig,
    seed: int = 0,
    overwrite: bool = False,
    distribution: DistributionConfig | None = None,
) -> Translator:
    """Train a model, and save it in a run directory.

    Args:
        corpus: the corpus, and files of validation and test pairs if there are any; a string is
            short for `CorpusSpec(corpus)`.
        run_dir: the run directory; an empty folder, or one that does not exist.
        config: the configuration.
        seed: random seed. The same seed gives the same weights on the same machine.
        overwrite: replace an existing run.
        distribution: devices and processes, by default one device. With several workers, each has
            to make this call.

    Returns:
        The trained translator, also saved as `model.keras` in the run directory.

    Raises:
        InputError: an argument is invalid; nothing on disk has changed then.
    """
    if isinstance(corpus, str):
        corpus = CorpusSpec(corpus)
    check_type("corpus", corpus, CorpusSpec, "CorpusSpec(corpus)")
    check_type("config", config, TrainingConfig, "one, such as PRESETS['chapter']")
    run = RunDirectory(run_dir)
    if distribution is None:
        distribution = DistributionConfig()
    with contextlib.ExitStack() as stack:
        if distribution.is_chief():
            stack.enter_context(run.lock())
            run.check_free(overwrite)
        seed = check_seed(seed)
        config = resolve_precision(config)
        check_held_out(config, corpus.valid or corpus.prepared_file("valid"), corpus.test)
        pairs, held_out = corpus.load(config.max_pairs), corpus.load_held_out()
        config = resolve_for_corpus(config, pairs)
        workers = stack.enter_context(start_workers(distribution))
        output = stack.enter_context(_writable_run(run, workers))
        fingerprint = pairs.fingerprint()
        job = _prepare_job(pairs, held_out, fingerprint, config, seed, workers)
        job.check_validation(corpus.corpus)
        output.clear()
        record = make_record(corpus, fingerprint, held_out, job, seed, distribution, workers)
        output.write_record(record)
        output.write_samples(job.data.samples)
        if workers.is_chief and isinstance(pairs, ParallelCorpus):
            log(format_first_pair(pairs.source[0], pairs.target[0]))
        return _fit(run, output, job, record, TrainingState(), workers)


@accept_old_names(devices="distribution")
def resume(
    run_dir: str | os.PathLike[str],
    epochs: int | None = None,
    corpus: str | None = None,
    nonfinite: str | None = None,
    checkpoint_steps: int | None = None,
    keep_checkpoints: int | None = None,
    distribution: DistributionConfig | None = None,
    valid: str | None = None,
    test: str | None = None,
) -> Translator:
    """Resume a run from its newest checkpoint, as if it had never been interrupted.

    On the same machine, without a GPU, the final weights are bitwise equal. Arguments that are
    None keep the run's values.

    Args:
        run_dir: the run directory.
        epochs: total number of epochs.
        corpus: where the corpus is now.
        nonfinite: see `TrainingConfig`.
        checkpoint_steps: see `TrainingConfig`.
        keep_checkpoints: see `TrainingConfig`.
        distribution: devices and processes.
        valid: where the file of the validation pairs is now.
        test: where that of the test pairs is now.

    Returns:
        The trained translator. A run that has completed all its epochs is not changed.

    Raises:
        InputError: there is no run or no intact checkpoint, or the corpus or a held-out file
            has changed.
    """
    run = RunDirectory(run_dir)
    record = run.read_record()
    options = {
        "epochs": epochs,
        "nonfinite": nonfinite,
        "checkpoint_steps": checkpoint_steps,
        "keep_checkpoints": keep_checkpoints,
    }
    with contextlib.ExitStack() as stack:
        if _writes_run(distribution or DistributionConfig.from_record(record)):
            stack.enter_context(run.lock())
        moved = {"corpus": corpus, "valid": valid, "test": test}
        return _resume(run, moved, options, distribution)


def _resume(
    run: RunDirectory,
    moved: dict[str, str | None],
    options: dict[str, Any],
    distribution: DistributionConfig | None,
) -> Translator:
    epochs = options["epochs"]
    record, config = run.read_record(), run.read_config()
    spec, fingerprint, seed = read_run(run, record)
    spec = spec.moved(run.path, moved)
    if epochs is not None:
        check_int("epochs", epochs)
    is_extended = epochs is not None and epochs > config.epochs
    config = dataclasses.replace(
        config, **{name: value for name, value in options.items() if value is not None}
    )
    folder = CheckpointFolder(run.checkpoints, config.keep_checkpoints)
    position = folder.newest()
    if position > DataPosition(config.epochs):
        raise InputError(
            f"{run.path}: has completed {pluralize(position.epoch, 'epoch')} already; raise "
            "--epochs"
        )
    if position == DataPosition() and run.model.is_file():
        raise InputError(
            f"{run.path}: has no checkpoint to resume from; start over with --overwrite"
        )
    pairs = spec.load(config.max_pairs)
    if pairs.fingerprint() != fingerprint:
        raise InputError(
            f"{run.path}: the corpus {spec.corpus} is not the one this run began with; restore the "
            "old one, or start a new run in another --run-dir"
        )
    held_out = spec.load_held_out()
    for split, pairs_of_split in held_out.items():
        if pairs_of_split.fingerprint() != record["corpus"].get(f"{split}_sha256"):
            raise InputError(
                f"{run.path}: the file {getattr(spec, split)} of its {split} pairs is not the one "
                f"this run began with; restore the old one, or give --{split} where it is now"
            )
    if "finished" in record and run.model.is_file() and not is_extended:
        log(
            f"{run.path}: has completed its {pluralize(position.epoch, 'epoch')}; raise --epochs "
            "to continue"
        )
        return Translator.load(run.model)
    if distribution is None:
        distribution = DistributionConfig.from_record(record)
    with start_workers(distribution) as workers, _writable_run(run, workers) as output:
        job = _prepare_job(pairs, held_out, fingerprint, config, seed, workers)
        state = folder.restore(job.model)
        workers.assert_equal(checkpoint=str(state.position))
        CheckpointFolder(output.checkpoints).remove_after(state.position)
        if is_extended:
            state.clear_early_stopping()
        log(f"{run.path}: resuming after {format_position(state.position)}")
        # Written now, so that a later --resume without options keeps the new number of epochs.
        for outdated in ("result", "finished"):
            record.pop(outdated, None)
        record["corpus"] |= spec.to_record()
        record["recipe"] = dataclasses.asdict(config)
        record["devices"] = distribution_record(distribution, workers)
        output.write_record(record)
        return _fit(run, output, job, record, state, workers)


def _writes_run(distribution: DistributionConfig) -> bool:
    """Return whether this process is the one that writes; without a cluster there is no other."""
    try:
        return distribution.is_chief()
    except InputError:
        return True


@contextlib.contextmanager
def _writable_run(run: RunDirectory, workers: Workers) -> Iterator[RunDirectory]:
    """Yield the run directory on the chief, and a temporary one on other workers."""
    if workers.is_chief:
        yield run
        return
    with tempfile.TemporaryDirectory() as folder:
        yield RunDirectory(folder)


def _prepare_job(
    pairs: Corpus,
    held_out: dict[str, ParallelCorpus],
    fingerprint: str,
    config: TrainingConfig,
    seed: int,
    workers: Workers,
) -> TrainingJob:
    checksums = [fingerprint, *(part.fingerprint() for part in held_out.values())]
    workers.assert_equal(corpus=" ".join(checksums), configuration=f"{config} {seed}")
    with _out_of_memory_advice(), spinner("reading the corpus"), workers.scope():
        return TrainingJob(pairs, config, seed, workers, held_out)


def _fit(
    run: RunDirectory,
    output: RunDirectory,
    job: TrainingJob,
    record: dict[str, Any],
    state: TrainingState,
    workers: Workers,
) -> Translator:
    output.logs.mkdir(exist_ok=True)
    log(format_summary(job, workers))
    if workers.is_chief:
        log_counts(job.config, training=job.counts["train"], validation=job.counts.get("valid"))
    if state.position.epoch < job.config.epochs and not state.stopped:
        _train_epochs(run, output, job, state, workers)
    else:
        state.finalize_weights(job.model)
    translator = job.make_translator()
    translator.save(output.model)
    finish_record(record, output.read_history())
    output.write_record(record)
    _write_report(output, job, translator)
    workers.barrier()
    return translator


def _write_report(run: RunDirectory, job: TrainingJob, translator: Translator) -> None:
    """Write the report; a failure does not invalidate the run."""
    try:
        sentences = job.validation_pairs.source or run.read_samples()
        data = ReportData(attention_maps=sample_attention_maps(translator, sentences))
        write_report(run, data=data)
    except Exception as error:
        log(f"{run.report}: not written ({error}); to retry: keras-s2s plot {run.path}")


def _train_epochs(
    run: RunDirectory,
    output: RunDirectory,
    job: TrainingJob,
    state: TrainingState,
    workers: Workers,
) -> None:
    config, epochs_done = job.config, state.position.epoch
    folder = CheckpointFolder(run.checkpoints, config.keep_checkpoints)
    progress = TrainingProgress(config.epochs, output.logs / "train.log")
    callbacks = job.callbacks(output)
    guard = NonFiniteGradientGuard(
        config.nonfinite, job.num_batches, job.batch_as_text, output.logs
    )
    history = HistoryFile(output.history, output.read_history()[:epochs_done], state.seconds)
    try:
        with (
            # Keras prints to stdout, which is for results.
            contextlib.redirect_stdout(sys.stderr),
            _out_of_memory_advice(),
            GracefulShutdown("this step") as shutdown,
        ):
            checkpoint = CheckpointCallback(
                folder,
                callbacks,
                state,
                config.checkpoint_steps,
                shutdown,
                workers,
                job.steps_per_execution,
            )
            job.model.fit(
                job.data.batches(state.position),
                steps_per_epoch=job.num_batches,
                validation_data=job.validation_data,
                initial_epoch=epochs_done,
                epochs=config.epochs,
                verbose=0,
                callbacks=[ResumeEpoch(state), guard, *callbacks, history, progress, checkpoint],
            )
    except KeyboardInterrupt as error:
        saved, batches = folder.newest(), ""
        if saved.batch:
            batches = f" and {saved.batch} of {job.num_batches} batches of the next"
        error.args = (
            f"{run.path} keeps {saved.epoch} of {pluralize(config.epochs, 'epoch')}{batches}",
        )
        raise
    except tf.errors.OpError as error:
        if (damage := job.data.find_damage()) is None:
            raise
        raise InputError(f"{damage}; then resume with --resume") from error
    finally:
        progress.close()


@contextlib.contextmanager
def _out_of_memory_advice() -> Iterator[None]:
    try:
        yield
    except (MemoryError, tf.errors.ResourceExhaustedError) as error:
        raise InputError(
            "not enough memory for this model; lower --num-hiddens, --embed-size, --num-steps "
            "or --batch-size"
        ) from error
