"""The training run: from a corpus to a translator on disk."""

import contextlib
import dataclasses
import datetime
import importlib.metadata
import os
import platform
import random
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_s2s.assembly import for_this_machine, make_model, make_optimizer, make_tokenizers
from keras_s2s.callbacks import Checkpoints, HistoryFile, TrainingProgress
from keras_s2s.console import say, working
from keras_s2s.corpus import ParallelCorpus, load_corpus
from keras_s2s.errors import InputError
from keras_s2s.pipeline import make_dataset
from keras_s2s.recipes import Recipe, check_seed
from keras_s2s.runs import RunDirectory
from keras_s2s.seq2seq import Seq2Seq
from keras_s2s.translator import Translator
from keras_s2s.validation import ValidationScores

# Batches that run as one call of the training function, at most: spares the way through Python.
BATCHES_AT_A_TIME = 32
# Sentences kept for the proof of exports.
NUM_SAMPLES = 500
# Sentences that are translated after each epoch, at most.
NUM_VALIDATED = 1000


class CorpusChoice(NamedTuple):
    """Which corpus, and how it is read; see `load_corpus`."""

    corpus: str
    reverse: bool = False
    skip_bad_lines: bool = False

    def load(self, max_pairs: int | None) -> ParallelCorpus:
        """The first so many pairs, or all."""
        return load_corpus(
            self.corpus,
            max_pairs=max_pairs,
            reverse=self.reverse,
            skip_bad_lines=self.skip_bad_lines,
        )


def train(
    choice: CorpusChoice,
    run_dir: str | os.PathLike[str],
    recipe: Recipe,
    seed: int = 0,
    overwrite: bool = False,
) -> Translator:
    """Trains a model and leaves it in a run directory.

    Args:
        choice: the corpus.
        run_dir: where the run goes; a folder that is empty or does not exist.
        recipe: the configuration.
        seed: of everything random. The same seed gives the same weights on the same machine.
        overwrite: whether a run that is there may be replaced.

    Returns:
        The trained translator, which is also in `model.keras` of the run directory.

    Raises:
        InputError: something given cannot be used; nothing on disk has changed then.
    """
    run = RunDirectory(run_dir)
    run.check_free(overwrite)
    check_seed(seed)
    recipe = for_this_machine(recipe)
    corpus = choice.load(recipe.max_pairs)
    with _memory_reported(), working("reading the corpus"):
        job = _Job(corpus, recipe, seed)
    run.clear()
    record = {
        "corpus": {**choice._asdict(), "sha256": corpus.fingerprint()},
        "recipe": dataclasses.asdict(recipe),
        "seed": seed,
        "sizes": job.sizes,
        "versions": _versions(),
        "started": _now(),
    }
    run.write_record(record)
    run.write_samples(job.samples)
    return _fit(run, job, record, epochs_done=0)


def resume(
    run_dir: str | os.PathLike[str],
    epochs: int | None = None,
    corpus: str | None = None,
) -> Translator:
    """Goes on with a run from its newest checkpoint.

    Args:
        run_dir: the run directory.
        epochs: the new number of epochs in all; that of the run when left out.
        corpus: where the corpus is now; where it was when left out.

    Returns:
        The trained translator. When the run has all its epochs behind it, nothing is changed.

    Raises:
        InputError: there is no run or no usable checkpoint, or the corpus is another one.
    """
    run = RunDirectory(run_dir)
    record, recipe = run.read_record(), run.recipe()
    try:
        choice, fingerprint = (
            CorpusChoice(
                record["corpus"]["corpus"] if corpus is None else corpus,
                record["corpus"]["reverse"],
                record["corpus"]["skip_bad_lines"],
            ),
            record["corpus"]["sha256"],
        )
        seed = check_seed(record["seed"])
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{run.record}: not written by this version ({error}); begin anew with --overwrite"
        ) from error
    if epochs is not None:
        recipe = dataclasses.replace(recipe, epochs=epochs)
    epochs_done = Checkpoints.newest(run.checkpoints)
    if epochs_done > recipe.epochs:
        raise InputError(
            f"{run.path}: has {epochs_done} epochs behind it already; give a larger number of "
            "--epochs"
        )
    if not epochs_done and run.model.is_file():
        raise InputError(
            f"{run.path}: has no checkpoint to go on from; begin anew with --overwrite"
        )
    pairs = choice.load(recipe.max_pairs)
    if pairs.fingerprint() != fingerprint:
        raise InputError(
            f"{run.path}: the corpus {choice.corpus} is not the one this run began with; "
            "put the old one back, or begin a new run in another --run-dir"
        )
    if epochs_done == recipe.epochs and "finished" in record and run.model.is_file():
        say(
            f"{run.path}: has all its {epochs_done} epochs; give a larger number of --epochs "
            "to go on"
        )
        return Translator.load(run.model)
    with _memory_reported(), working("reading the corpus"):
        job = _Job(pairs, recipe, seed)
    epochs_done = Checkpoints.restore(run.checkpoints, job.model)
    say(f"{run.path}: goes on after epoch {epochs_done}")
    # As long as it is not finished, a run with nothing but --resume goes on to the new number.
    for outdated in ("result", "finished"):
        record.pop(outdated, None)
    record["corpus"]["corpus"] = choice.corpus
    record["recipe"] = dataclasses.asdict(recipe)
    run.write_record(record)
    return _fit(run, job, record, epochs_done)


class _Job:
    """The model and the data of a run, made anew from the configuration and the seed."""

    def __init__(self, corpus: ParallelCorpus, recipe: Recipe, seed: int) -> None:
        splits = corpus.split(recipe.valid_fraction, recipe.test_fraction, recipe.split_seed)
        if not len(splits.train):
            raise InputError(
                f"{corpus.name}: none of its {len(corpus)} pairs is left to train on; lower "
                "--valid-fraction and --test-fraction or give more pairs"
            )
        keras.utils.set_random_seed(seed)
        self.recipe = recipe
        sentences = list(dict.fromkeys(splits.train.source))
        size = min(NUM_SAMPLES, len(sentences))
        self.samples = random.Random(seed).sample(sentences, size)
        self.source, self.target = make_tokenizers(recipe, splits.train)
        self.training_data = self._dataset(
            splits.train,
            shuffle=True,
            seed=seed,
            batch_tokens=recipe.batch_tokens,
            subword_sampling=recipe.subword_sampling,
        )
        self.num_batches = int(self.training_data.cardinality())
        if self.num_batches < 0:
            # Batches are counted in tokens, and how many there are varies a little by epoch.
            self.num_batches = sum(1 for _ in self.training_data)
        self.validation_data = self._dataset(splits.valid) if len(splits.valid) else None
        self.validation_pairs = splits.valid
        self.model = make_model(recipe, len(self.source), len(self.target), recipe.precision)
        self.model.compile(
            make_optimizer(recipe, self.num_batches),
            steps_per_execution=_batches_at_a_time(self.num_batches),
            label_smoothing=recipe.label_smoothing,
        )
        train_pairs, target_tokens = _count(self._dataset(splits.train))
        self.sizes = {
            "train_pairs": train_pairs,
            "valid_pairs": _count(self.validation_data)[0] if self.validation_data else 0,
            "test_pairs": len(splits.test),
            "source_vocabulary": len(self.source),
            "target_vocabulary": len(self.target),
            "parameters": self.model.count_params(),
            "target_tokens_an_epoch": target_tokens,
        }

    def finished(self) -> Translator:
        """The translator that the run leaves: in full precision, without the optimizer."""
        recipe = self.recipe
        model = make_model(recipe, len(self.source), len(self.target), "float32")
        model.set_weights(self.model.get_weights())
        return self._translator(model)

    def callbacks(self, run: RunDirectory) -> list[keras.callbacks.Callback]:
        """What the configuration asks for at the end of each epoch, before it is written down."""
        recipe, callbacks = self.recipe, []
        if len(self.validation_pairs):
            sources, references = self.validation_pairs.references()
            callbacks.append(
                ValidationScores(
                    self._translator(self.model),
                    sources[:NUM_VALIDATED],
                    references[:NUM_VALIDATED],
                    run.logs / "samples.tsv",
                )
            )
        if recipe.average:
            callbacks.append(keras.callbacks.SwapEMAWeights())
        if recipe.schedule == "plateau":
            callbacks.append(
                keras.callbacks.ReduceLROnPlateau("val_loss", factor=0.5, patience=recipe.patience)
            )
        if recipe.early_stopping != "none":
            callbacks.append(
                keras.callbacks.EarlyStopping(
                    f"val_{recipe.early_stopping}",
                    patience=recipe.patience,
                    mode="max" if recipe.early_stopping == "bleu" else "min",
                    restore_best_weights=True,
                )
            )
        return callbacks

    def _translator(self, model: Seq2Seq) -> Translator:
        recipe = self.recipe
        return Translator(
            model,
            self.source,
            self.target,
            num_steps=recipe.num_steps,
            beam_size=recipe.beam_size,
            length_penalty=recipe.length_penalty,
            replace_unknown=recipe.replace_unknown,
        )

    def _dataset(self, corpus: Any, **options: Any) -> tf.data.Dataset:
        recipe = self.recipe
        return make_dataset(
            corpus,
            self.source,
            self.target,
            batch_size=recipe.batch_size,
            num_steps=recipe.num_steps,
            drop_long=recipe.drop_long,
            bucket_by_length=recipe.bucket_by_length,
            **options,
        )


def _fit(run: RunDirectory, job: _Job, record: dict[str, Any], epochs_done: int) -> Translator:
    run.logs.mkdir(exist_ok=True)
    say(_summary(job))
    if epochs_done < job.recipe.epochs:
        _go_through_epochs(run, job, epochs_done)
    translator = job.finished()
    translator.save(run.model)
    rows = run.read_history()
    if rows:
        figures = {name: float(value) for name, value in rows[-1].items()}
        record["result"] = {name: figures[name] for name in figures if name != "epoch"}
    record["finished"] = _now()
    run.write_record(record)
    return translator


def _go_through_epochs(run: RunDirectory, job: _Job, epochs_done: int) -> None:
    epochs, num_batches = job.recipe.epochs, job.num_batches
    # One iterator for all epochs, since making one takes as long as some batches of a small
    # model. The order of an epoch's pairs follows from the epochs that were drawn before it.
    training_data = job.training_data.repeat().skip(epochs_done * num_batches)
    progress = TrainingProgress(epochs, run.logs / "train.log")
    try:
        # Keras prints to stdout; that is for results.
        with contextlib.redirect_stdout(sys.stderr), _memory_reported():
            job.model.fit(
                training_data,
                steps_per_epoch=num_batches,
                validation_data=job.validation_data,
                initial_epoch=epochs_done,
                epochs=epochs,
                verbose=0,
                callbacks=[
                    *job.callbacks(run),
                    HistoryFile(run.history, run.read_history()[:epochs_done]),
                    Checkpoints(run.checkpoints),
                    progress,
                ],
            )
    except KeyboardInterrupt as error:
        saved = Checkpoints.newest(run.checkpoints)
        raise KeyboardInterrupt(f"{run.path} keeps {saved} of {epochs} epochs") from error
    finally:
        progress.close()


def _batches_at_a_time(num_batches: int) -> int:
    """As many as an epoch can be divided by.

    Keras makes whole calls only: the last one of an epoch would go on with the batches of the next.
    """
    return max(size for size in range(1, BATCHES_AT_A_TIME + 1) if num_batches % size == 0)


def _summary(job: _Job) -> str:
    """What a run is about to do, in a line."""
    sizes, held_out = job.sizes, ""
    if sizes["valid_pairs"] or sizes["test_pairs"]:
        held_out = f" and {sizes['valid_pairs']} for validation, {sizes['test_pairs']} for testing"
    gpus = tf.config.list_physical_devices("GPU")
    return (
        f"{sizes['train_pairs']} pairs{held_out}, vocabularies of {sizes['source_vocabulary']} "
        f"and {sizes['target_vocabulary']}, {sizes['target_tokens_an_epoch']} target tokens an "
        f"epoch, {job.recipe.epochs} epochs on the {'GPU' if gpus else 'CPU'}"
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


def _count(data: tf.data.Dataset) -> tuple[int, int]:
    """Pairs, and tokens that an epoch predicts: all but `<bos>` and padding."""
    lengths = [valid_length.numpy() for _, (_, valid_length) in data]
    return sum(map(len, lengths)), int(sum(np.sum(length - 1) for length in lengths))


def _versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "keras_s2s": importlib.metadata.version("keras-s2s"),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
    }


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
