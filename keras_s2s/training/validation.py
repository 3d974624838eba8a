"""What a model in training makes of sentences that it does not learn from."""

import contextlib
import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras

from keras_s2s.evaluation.metrics import make_metrics, score, sentence_statistics
from keras_s2s.translation.base import SentenceTranslator


class ValidationScores(keras.callbacks.Callback):
    """Puts `val_bleu` and `val_chrf` into the logs of each epoch.

    They are sacreBLEU's, of greedy search, without regard to case, from 0 to 100. Where the
    optimizer keeps a moving average of the weights, that is what is scored.

    Args:
        translator: made of the model that is trained.
        sources: sentences to translate.
        references: of each of them one or more translations.
        samples: a file that gets some of the translations of each epoch, tab-separated: epoch,
            source, translation, first reference.
        num_samples: how many.
    """

    def __init__(
        self,
        translator: SentenceTranslator,
        sources: list[str],
        references: list[list[str]],
        samples: Path | None = None,
        num_samples: int = 10,
    ) -> None:
        super().__init__()
        self._translator = translator
        self._sources = sources
        self._references = references
        self._samples = samples
        self._num_samples = num_samples

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        with ema_weights(self.model):
            translations = self._translator.translate(self._sources)
        for name, metric in make_metrics().items():
            counts = sentence_statistics(metric, translations, self._references)
            if logs is not None:
                logs[f"val_{name}"] = score(metric, counts)
        if self._samples is not None:
            self._write_samples(self._samples, epoch + 1, translations[: self._num_samples])

    def _write_samples(self, path: Path, epoch: int, translations: list[str]) -> None:
        columns = self._sources, translations, (texts[0] for texts in self._references)
        with open(path, "a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, delimiter="\t", lineterminator="\n")
            # The translations are the fewest; there are that many rows.
            writer.writerows((epoch, *row) for row in zip(*columns, strict=False))


@contextlib.contextmanager
def ema_weights(model: keras.Model) -> Iterator[None]:
    """Gives a model the moving average of its weights for a while, where there is one."""
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    if not optimizer.use_ema:
        yield
        return
    weights = [weight.numpy() for weight in model.trainable_variables]
    optimizer.finalize_variable_values(model.trainable_variables)
    try:
        yield
    finally:
        for variable, weight in zip(model.trainable_variables, weights, strict=True):
            variable.assign(weight)
