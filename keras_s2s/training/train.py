"""The training run: from a corpus to a translator on disk."""

import contextlib
import dataclasses
import datetime
import importlib.metadata
import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from keras_s2s.config import TrainingConfig
from keras_s2s.data.batching import DataPosition
from keras_s2s.data.parallel_corpus import ParallelCorpus, load_corpus
from keras_s2s.data.prepared.corpus import PreparedCorpus
from keras_s2s.data.prepared.index import is_prepared
from keras_s2s.evaluation.analysis import sample_attention_maps
from keras_s2s.evaluation.report import ReportData, write_report
from keras_s2s.run_directory import RunDirectory, git_revision
from keras_s2s.training.builders import resolve_precision
from keras_s2s.training.callbacks import HistoryFile, TrainingProgress
from keras_s2s.training.checkpoint_callbacks import CheckpointCallback, ResumedEpoch
from keras_s2s.training.checkpoints import CheckpointFolder, TrainingState
from keras_s2s.training.cluster import DistributionConfig
from keras_s2s.training.data_source import Corpus
from keras_s2s.training.distribution import Workers, start_workers
from keras_s2s.training.job import TrainingJob
from keras_s2s.training.nonfinite_guard import NonFiniteGradientGuard
from keras_s2s.translation.translator import Translator
from keras_s2s.utils.checks import check_int, check_seed, check_type
from keras_s2s.utils.console import log, pluralize, spinner
from keras_s2s.utils.errors import InputError
from keras_s2s.utils.signals import GracefulShutdown


class CorpusSpec(NamedTuple):
    """Which corpus, and how it is read; see `load_corpus`. Or the folder of a prepared one."""

    corpus: str
    reverse: bool = False
    skip_bad_lines: bool = False

    def load(self, max_pairs: int | None) -> Corpus:
        """The first so many pairs, or all; or a prepared corpus."""
        if is_prepared(self.corpus):
            if self.reverse or self.skip_bad_lines:
                raise InputError(
                    f"{self.corpus}: is prepared, so --reverse and --skip-bad-lines are for "
                    "keras-s2s prepare; leave them out"
                )
            return PreparedCorpus(self.corpus)
        return load_corpus(
            self.corpus,
            max_pairs=max_pairs,
            reverse=self.reverse,
            skip_bad_lines=self.skip_bad_lines,
        )


def train(
    choice: CorpusSpec,
    run_dir: str | os.PathLike[str],
    recipe: TrainingConfig,
    seed: int = 0,
    overwrite: bool = False,
    devices: DistributionConfig | None = None,
) -> Translator:
    """Trains a model and leaves it in a run directory.

    Args:
        choice: the corpus.
        run_dir: where the run goes; a folder that is empty or does not exist.
        recipe: the configuration.
        seed: of everything random. The same seed gives the same weights on the same machine.
        overwrite: whether a run that is there may be replaced.
        devices: what it runs on, one device when left out; several workers are all called alike.

    Returns:
        The trained translator, which is also in `model.keras` of the run directory.

    Raises:
        InputError: something given cannot be used; nothing on disk has changed then.
    """
    check_type("choice", choice, CorpusSpec, "CorpusSpec(corpus)")
    check_type("recipe", recipe, TrainingConfig, "one, such as PRESETS['chapter']")
    run = RunDirectory(run_dir)
    if devices is None:
        devices = DistributionConfig()
    if devices.is_chief():
        run.check_free(overwrite)
    check_seed(seed)
    recipe = resolve_precision(recipe)
    corpus = choice.load(recipe.max_pairs)
    with start_workers(devices) as workers, _to_write(run, workers) as written:
        fingerprint = corpus.fingerprint()
        workers.assert_equal(corpus=fingerprint, configuration=f"{recipe} {seed}")
        with _memory_reported(), spinner("reading the corpus"), workers.scope():
            job = TrainingJob(corpus, recipe, seed, workers)
        written.clear()
        record = {
            "corpus": {**choice._asdict(), "sha256": fingerprint},
            "recipe": dataclasses.asdict(recipe),
            "seed": seed,
            "devices": _described_devices(devices, workers),
            "sizes": job.sizes,
            "versions": _versions(),
            "git": git_revision(),
            "started": _now(),
        }
        written.write_record(record)
        written.write_samples(job.data.samples)
        if workers.is_chief and isinstance(corpus, ParallelCorpus):
            # A wrong column, or the wrong direction, would be seen only in what it says at last.
            log(f"the first pair: {_excerpt(corpus.source[0])} to {_excerpt(corpus.target[0])}")
        return _fit(run, written, job, record, TrainingState(), workers)


def resume(
    run_dir: str | os.PathLike[str],
    epochs: int | None = None,
    corpus: str | None = None,
    nonfinite: str | None = None,
    checkpoint_steps: int | None = None,
    keep_checkpoints: int | None = None,
    devices: DistributionConfig | None = None,
) -> Translator:
    """Goes on with a run from its newest checkpoint, as if it had never been interrupted.

    On the same machine, without a GPU, the weights are in the end the same to the bit.

    Args:
        run_dir: the run directory.
        epochs: the new number of epochs in all; that of the run when left out.
        corpus: where the corpus is now; where it was when left out.
        nonfinite: see `TrainingConfig`; that of the run when left out.
        checkpoint_steps: likewise.
        keep_checkpoints: likewise.
        devices: likewise.

    Returns:
        The trained translator. When the run has all its epochs behind it, nothing is changed.

    Raises:
        InputError: there is no run or no usable checkpoint, or the corpus is another one.
    """
    run = RunDirectory(run_dir)
    record, recipe = run.read_record(), run.read_config()
    try:
        choice, fingerprint = (
            CorpusSpec(
                record["corpus"]["corpus"] if corpus is None else corpus,
                record["corpus"]["reverse"],
                record["corpus"]["skip_bad_lines"],
            ),
            record["corpus"]["sha256"],
        )
        seed = check_seed(record["seed"])
    except (KeyError, TypeError, InputError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else error
        raise InputError(
            f"{run.record}: not written by this version ({reason}); begin anew with --overwrite"
        ) from error
    if epochs is not None:
        check_int("epochs", epochs)
    has_more = epochs is not None and epochs > recipe.epochs
    changes = {
        "epochs": epochs,
        "nonfinite": nonfinite,
        "checkpoint_steps": checkpoint_steps,
        "keep_checkpoints": keep_checkpoints,
    }
    given: dict[str, Any] = {name: v for name, v in changes.items() if v is not None}
    recipe = dataclasses.replace(recipe, **given)
    folder = CheckpointFolder(run.checkpoints, recipe.keep_checkpoints)
    position = folder.newest()
    if position.epoch > recipe.epochs or (position.epoch == recipe.epochs and position.batch):
        raise InputError(
            f"{run.path}: has {pluralize(position.epoch, 'epoch')} behind it already; give "
            "a larger number of --epochs"
        )
    if position == DataPosition() and run.model.is_file():
        raise InputError(
            f"{run.path}: has no checkpoint to go on from; begin anew with --overwrite"
        )
    pairs = choice.load(recipe.max_pairs)
    if pairs.fingerprint() != fingerprint:
        raise InputError(
            f"{run.path}: the corpus {choice.corpus} is not the one this run began with; "
            "put the old one back, or begin a new run in another --run-dir"
        )
    if "finished" in record and run.model.is_file() and not has_more:
        log(
            f"{run.path}: has all its {pluralize(position.epoch, 'epoch')}; give a larger number "
            "of --epochs to go on"
        )
        return Translator.load(run.model)
    if devices is None:
        devices = DistributionConfig.from_record(record)
    with start_workers(devices) as workers, _to_write(run, workers) as written:
        workers.assert_equal(corpus=fingerprint, configuration=f"{recipe} {seed}")
        with _memory_reported(), spinner("reading the corpus"), workers.scope():
            job = TrainingJob(pairs, recipe, seed, workers)
        state = folder.restore(job.model)
        workers.assert_equal(checkpoint=str(state.position))
        CheckpointFolder(written.checkpoints).remove_after(state.position)
        if has_more:
            state.forget_end()
        log(f"{run.path}: goes on after {format_position(state.position)}")
        # As long as it is not finished, a run with nothing but --resume goes on to the new number.
        for outdated in ("result", "finished"):
            record.pop(outdated, None)
        record["corpus"]["corpus"] = choice.corpus
        record["recipe"] = dataclasses.asdict(recipe)
        record["devices"] = _described_devices(devices, workers)
        written.write_record(record)
        return _fit(run, written, job, record, state, workers)


@contextlib.contextmanager
def _to_write(run: RunDirectory, workers: Workers) -> Iterator[RunDirectory]:
    """Where a process writes: the run directory, which has one chief, or what nobody keeps."""
    if workers.is_chief:
        yield run
        return
    with tempfile.TemporaryDirectory() as folder:
        yield RunDirectory(folder)


def _described_devices(devices: DistributionConfig, workers: Workers) -> dict[str, Any]:
    return {**devices._asdict(), "replicas": workers.replicas}


def _fit(
    run: RunDirectory,
    written: RunDirectory,
    job: TrainingJob,
    record: dict[str, Any],
    state: TrainingState,
    workers: Workers,
) -> Translator:
    written.logs.mkdir(exist_ok=True)
    log(_summary(job, workers))
    if state.position.epoch < job.recipe.epochs and not state.stopped:
        _go_through_epochs(run, written, job, state, workers)
    else:
        state.finish(job.model)
    translator = job.finished()
    translator.save(written.model)
    rows = written.read_history()
    if rows:
        figures = {name: float(value) for name, value in rows[-1].items() if value}
        record["result"] = {name: figures[name] for name in figures if name != "epoch"}
    record["finished"] = _now()
    written.write_record(record)
    _report(written, job, translator)
    workers.barrier()
    return translator


def _report(run: RunDirectory, job: TrainingJob, translator: Translator) -> None:
    """The page of the run, without which it would be as good."""
    try:
        sentences = job.validation_pairs.source or run.read_samples()
        data = ReportData(attention_maps=sample_attention_maps(translator, sentences))
        write_report(run, data=data)
    except Exception as error:
        log(f"{run.report}: left out ({error}); keras-s2s plot {run.path} tries again")


def _go_through_epochs(
    run: RunDirectory,
    written: RunDirectory,
    job: TrainingJob,
    state: TrainingState,
    workers: Workers,
) -> None:
    recipe, epochs_done = job.recipe, state.position.epoch
    folder = CheckpointFolder(run.checkpoints, recipe.keep_checkpoints)
    progress = TrainingProgress(recipe.epochs, written.logs / "train.log")
    callbacks = job.callbacks(written)
    try:
        with (
            # Keras prints to stdout; that is for results.
            contextlib.redirect_stdout(sys.stderr),
            _memory_reported(),
            GracefulShutdown("this step") as request,
        ):
            job.model.fit(
                job.training_batches(state.position),
                steps_per_epoch=job.num_batches,
                validation_data=job.validation_data,
                initial_epoch=epochs_done,
                epochs=recipe.epochs,
                verbose=0,
                callbacks=[
                    ResumedEpoch(state),
                    NonFiniteGradientGuard(
                        recipe.nonfinite, job.num_batches, job.batch_as_text, written.logs
                    ),
                    *callbacks,
                    HistoryFile(
                        written.history, written.read_history()[:epochs_done], state.seconds
                    ),
                    progress,
                    CheckpointCallback(
                        folder,
                        callbacks,
                        state,
                        recipe.checkpoint_steps,
                        request,
                        workers,
                        job.batches_at_a_time,
                    ),
                ],
            )
    except KeyboardInterrupt as error:
        saved, rest = folder.newest(), ""
        if saved.batch:
            rest = f" and {saved.batch} of {job.num_batches} batches of the next"
        error.args = (
            f"{run.path} keeps {saved.epoch} of {pluralize(recipe.epochs, 'epoch')}{rest}",
        )
        raise
    except tf.errors.OpError as error:
        if (damage := job.data.damage()) is None:
            raise
        raise InputError(f"{damage}; then go on with --resume") from error
    finally:
        progress.close()


def format_position(position: DataPosition) -> str:
    """A place in a training, in words."""
    batches = f" and {position.batch} batches" if position.batch else ""
    return f"epoch {position.epoch}{batches}"


def _excerpt(sentence: str) -> str:
    return repr(sentence if len(sentence) <= 60 else sentence[:57] + "…")


def _summary(job: TrainingJob, workers: Workers) -> str:
    """What a run is about to do, in a line."""
    sizes, held_out = job.sizes, ""
    if sizes["valid_pairs"] or sizes["test_pairs"]:
        held_out = f" and {sizes['valid_pairs']} for validation, {sizes['test_pairs']} for testing"
    where = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
    if workers.cluster is not None:
        where = f"{where}s of {len(workers.cluster.workers)} workers"
    elif workers.replicas > 1:
        where = f"{where} as {workers.replicas} devices"
        if "GPU" in where:
            where = f"{workers.replicas} GPUs"
    return (
        f"{pluralize(sizes['train_pairs'], 'pair')}{held_out}, vocabularies of "
        f"{sizes['source_vocabulary']} and {sizes['target_vocabulary']}, "
        f"{sizes['target_tokens_an_epoch']} target tokens an epoch, "
        f"{pluralize(job.recipe.epochs, 'epoch')} on the {where}"
    )


@contextlib.contextmanager
def _memory_reported() -> Iterator[None]:
    try:
        yield
    except (MemoryError, tf.errors.ResourceExhaustedError) as error:
        raise InputError(
            "not enough memory for this model; lower --num-hiddens, --embed-size, --num-steps "
            "or --batch-size"
        ) from error


def _versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "keras_s2s": importlib.metadata.version("keras-s2s"),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
    }


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
