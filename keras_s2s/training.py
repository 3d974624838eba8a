"""The training run: from a corpus to a translator on disk."""

import contextlib
import dataclasses
import datetime
import importlib.metadata
import os
import platform
import sys
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_s2s.callbacks import Checkpoints, HistoryFile, TrainingProgress
from keras_s2s.corpus import CorpusSplits, load_corpus
from keras_s2s.decoder import Seq2SeqDecoder
from keras_s2s.encoder import Seq2SeqEncoder
from keras_s2s.errors import InputError
from keras_s2s.pipeline import make_dataset
from keras_s2s.recipes import Recipe
from keras_s2s.runs import RunDirectory
from keras_s2s.seq2seq import Seq2Seq
from keras_s2s.tokenizers import WordTokenizer
from keras_s2s.translator import Translator

# Batches that run as one call of the training function: spares the way through Python.
BATCHES_AT_A_TIME = 32


class CorpusChoice(NamedTuple):
    """Which corpus, and how it is read; see `load_corpus`."""

    corpus: str
    reverse: bool = False
    skip_bad_lines: bool = False

    def load(self, recipe: Recipe) -> CorpusSplits:
        """The pairs that a recipe takes, split as it says."""
        corpus = load_corpus(
            self.corpus,
            max_pairs=recipe.max_pairs,
            reverse=self.reverse,
            skip_bad_lines=self.skip_bad_lines,
        )
        return corpus.split(recipe.valid_fraction, recipe.test_fraction, recipe.split_seed)


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
    splits = choice.load(recipe)
    _check_splits(splits, choice)
    job = _Job(splits, recipe, seed)
    run.clear()
    record = {
        "corpus": {**choice._asdict(), "sha256": splits.train.fingerprint()},
        "recipe": dataclasses.asdict(recipe),
        "seed": seed,
        "sizes": job.sizes,
        "versions": _versions(),
        "started": _now(),
    }
    run.write_record(record)
    return _fit(run, job, record, epochs_done=0)


def resume(run_dir: str | os.PathLike[str], epochs: int | None = None) -> Translator:
    """Goes on with a run from its newest checkpoint.

    Args:
        run_dir: the run directory.
        epochs: the new number of epochs in all; that of the run when left out.

    Returns:
        The trained translator.

    Raises:
        InputError: there is no run, or its corpus is not what it was.
    """
    run = RunDirectory(run_dir)
    record = run.read_record()
    try:
        recipe = Recipe(**record["recipe"])
        corpus = dict(record["corpus"])
        fingerprint, seed = corpus.pop("sha256"), record["seed"]
        choice = CorpusChoice(**corpus)
    except (KeyError, TypeError) as error:
        raise InputError(f"{run.record}: not written by this version ({error})") from error
    if epochs is not None:
        recipe = dataclasses.replace(recipe, epochs=epochs)
    splits = choice.load(recipe)
    if splits.train.fingerprint() != fingerprint:
        raise InputError(
            f"{run.path}: the corpus {choice.corpus} is not the one this run began with; "
            "put the old one back or begin a new run"
        )
    job = _Job(splits, recipe, seed)
    epochs_done = Checkpoints.restore(run.checkpoints, job.model)
    if epochs_done > recipe.epochs:
        raise InputError(
            f"{run.path}: has {epochs_done} epochs behind it; give --epochs of more than that"
        )
    record["recipe"] = dataclasses.asdict(recipe)
    return _fit(run, job, record, epochs_done)


class _Job:
    """The model and the data of a run, made anew from the configuration and the seed."""

    def __init__(self, splits: CorpusSplits, recipe: Recipe, seed: int) -> None:
        keras.utils.set_random_seed(seed)
        self.recipe = recipe
        self.source, self.target = (
            WordTokenizer.fit(sentences, recipe.min_freq, recipe.max_tokens)
            for sentences in (splits.train.source, splits.train.target)
        )
        self.training_data = self._dataset(splits.train, shuffle=True, seed=seed)
        self.validation_data = self._dataset(splits.valid) if len(splits.valid) else None
        encoder, decoder = (
            layer(
                len(tokenizer),
                recipe.embed_size,
                recipe.num_hiddens,
                recipe.num_layers,
                recipe.dropout,
            )
            for layer, tokenizer in ((Seq2SeqEncoder, self.source), (Seq2SeqDecoder, self.target))
        )
        self.model = Seq2Seq(encoder, decoder)
        num_batches = int(self.training_data.cardinality())
        self.model.compile(
            keras.optimizers.Adam(recipe.learning_rate, global_clipnorm=recipe.clip_norm),
            steps_per_execution=min(num_batches, BATCHES_AT_A_TIME),
        )
        self.sizes = {
            "train_pairs": len(splits.train),
            "valid_pairs": len(splits.valid),
            "test_pairs": len(splits.test),
            "source_vocabulary": len(self.source),
            "target_vocabulary": len(self.target),
            "parameters": self.model.count_params(),
            "target_tokens_an_epoch": _count_target_tokens(self._dataset(splits.train)),
        }

    def _dataset(self, corpus: Any, **shuffling: Any) -> tf.data.Dataset:
        recipe = self.recipe
        return make_dataset(
            corpus,
            self.source,
            self.target,
            batch_size=recipe.batch_size,
            num_steps=recipe.num_steps,
            drop_long=recipe.drop_long,
            **shuffling,
        )


def _fit(run: RunDirectory, job: _Job, record: dict[str, Any], epochs_done: int) -> Translator:
    run.logs.mkdir(exist_ok=True)
    epochs = job.recipe.epochs
    num_batches = int(job.training_data.cardinality())
    # One iterator for all epochs, since making one takes as long as some batches of a small
    # model. The order of an epoch's pairs follows from the epochs that were drawn before it.
    training_data = job.training_data.repeat().skip(epochs_done * num_batches)
    # Keras prints to stdout; that is for results.
    with contextlib.redirect_stdout(sys.stderr):
        history = job.model.fit(
            training_data,
            steps_per_epoch=num_batches,
            validation_data=job.validation_data,
            initial_epoch=epochs_done,
            epochs=epochs,
            verbose=0,
            callbacks=[
                HistoryFile(run.history, run.read_history()[:epochs_done]),
                Checkpoints(run.checkpoints),
                TrainingProgress(epochs, run.logs / "train.log"),
            ],
        )
    translator = Translator(job.model, job.source, job.target, job.recipe.num_steps)
    translator.save(run.model)
    if epochs_done < epochs:
        record["result"] = {name: float(values[-1]) for name, values in history.history.items()}
    record["finished"] = _now()
    run.write_record(record)
    return translator


def _check_splits(splits: CorpusSplits, choice: CorpusChoice) -> None:
    if not len(splits.train):
        raise InputError(
            f"{choice.corpus}: no pair is left to train on; lower --valid-fraction and "
            "--test-fraction or give more pairs"
        )


def _count_target_tokens(data: tf.data.Dataset) -> int:
    """Tokens that an epoch predicts: all but `<bos>` and padding."""
    return int(sum(np.sum(valid_length.numpy() - 1) for _, (_, valid_length) in data))


def _versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "keras_s2s": importlib.metadata.version("keras-s2s"),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
    }


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
