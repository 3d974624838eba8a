"""What is trained: the model and the data of a run, made anew from its configuration and seed."""

import importlib.util

import keras
import tensorflow as tf

from keras_s2s.config import TrainingConfig
from keras_s2s.data.batching import DataPosition
from keras_s2s.data.dataset import TokenizedPairs
from keras_s2s.decoding.config import search_options
from keras_s2s.models.mixed_precision import to_full_precision
from keras_s2s.models.seq2seq import Seq2Seq
from keras_s2s.run_directory import RunDirectory
from keras_s2s.training.builders import make_model, make_optimizer
from keras_s2s.training.callbacks import ValidationScores
from keras_s2s.training.data_source import Corpus, make_training_data
from keras_s2s.training.distribution import SyncLogsFromChief, Workers
from keras_s2s.translation.translator import Translator

# Batches that run as one call of the training function, at most: spares the way through Python.
MAX_STEPS_PER_EXECUTION = 32
# Sentences that are translated after each epoch, at most.
MAX_VALIDATION_SENTENCES = 1000


class TrainingJob:
    """The model and the data of a run, made anew from the configuration and the seed."""

    def __init__(
        self, corpus: Corpus, recipe: TrainingConfig, seed: int, workers: Workers | None = None
    ) -> None:
        keras.utils.set_random_seed(seed)
        self.recipe = recipe
        self._workers = Workers() if workers is None else workers
        self.data = data = make_training_data(corpus, recipe, seed)
        self.source, self.target, self.num_batches = data.source, data.target, data.num_batches
        self.validation_pairs = data.valid
        # A checkpoint lies between two calls, also where one device goes on with what several did.
        self.batches_at_a_time = _batches_at_a_time(self.num_batches)
        self.validation_data, num_valid = None, 0
        if len(data.valid):
            pairs = TokenizedPairs(
                data.valid, self.source, self.target, recipe.num_steps, recipe.drop_long
            )
            num_valid = len(pairs)
            self.validation_data = pairs.batches(
                recipe.batch_size, bucket_by_length=recipe.bucket_by_length
            )
        self.model = make_model(recipe, len(self.source), len(self.target), recipe.precision)
        self.model.compile(
            make_optimizer(recipe, self.num_batches),
            steps_per_execution=self.batches_at_a_time,
            label_smoothing=recipe.label_smoothing,
        )
        self.sizes = {
            "train_pairs": data.num_pairs,
            "valid_pairs": num_valid,
            "test_pairs": data.num_test,
            "source_vocabulary": len(self.source),
            "target_vocabulary": len(self.target),
            "parameters": self.model.count_params(),
            "target_tokens_an_epoch": data.target_tokens,
        }

    def training_batches(self, start: DataPosition) -> tf.data.Dataset:
        """All batches from some place on, without end.

        One iterator for all epochs, since making one takes as long as some batches of a small
        model.
        """
        return self.data.batches(start)

    def batch_as_text(self, position: DataPosition) -> list[tuple[str, str]]:
        """The pairs of the batch that comes after a place, as they were given to the model."""
        (source, target) = next(iter(self.training_batches(position)))
        sides = (self.source.detokenize(*source), self.target.detokenize(*target))
        columns = [[text.decode() for text in side.numpy()] for side in sides]
        return list(zip(*columns, strict=True))

    def finished(self) -> Translator:
        """The translator that the run leaves: in full precision, without the optimizer."""
        return self._translator(to_full_precision(self.model))

    def callbacks(self, run: RunDirectory) -> list[keras.callbacks.Callback]:
        """What the configuration asks for at the end of each epoch, before it is written down."""
        recipe, callbacks = self.recipe, []
        if len(self.validation_pairs):
            sources, references = self.validation_pairs.references()
            callbacks.append(
                ValidationScores(
                    self._translator(self.model),
                    sources[:MAX_VALIDATION_SENTENCES],
                    references[:MAX_VALIDATION_SENTENCES],
                    run.logs / "samples.tsv",
                )
            )
        if self._workers.cluster is not None:
            callbacks.append(SyncLogsFromChief(self._workers))
        if recipe.ema_momentum:
            callbacks.append(keras.callbacks.SwapEMAWeights())
        if recipe.lr_schedule == "plateau":
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
        if importlib.util.find_spec("tensorboard") is not None:
            callbacks.append(
                keras.callbacks.TensorBoard(run.logs / "tensorboard", write_graph=False)
            )
        return callbacks

    def _translator(self, model: Seq2Seq) -> Translator:
        recipe = self.recipe
        return Translator(
            model,
            self.source,
            self.target,
            num_steps=recipe.num_steps,
            **search_options(recipe),
        )


def _batches_at_a_time(num_batches: int) -> int:
    """As many as an epoch can be divided by.

    Keras makes whole calls only: the last one of an epoch would go on with the batches of the next.
    """
    return max(size for size in range(1, MAX_STEPS_PER_EXECUTION + 1) if num_batches % size == 0)
