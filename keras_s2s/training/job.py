"""The model, data and callbacks of a run, rebuilt from its configuration and seed."""

import importlib.util
from collections.abc import Mapping
from typing import Any

import keras

from keras_s2s.config import TrainingConfig
from keras_s2s.data.batching import DataPosition
from keras_s2s.data.dataset import TokenizedPairs
from keras_s2s.data.parallel_corpus import ParallelCorpus
from keras_s2s.data.text_counts import TextCounts
from keras_s2s.decoding.config import search_options
from keras_s2s.models.mixed_precision import to_full_precision
from keras_s2s.models.seq2seq import Seq2Seq
from keras_s2s.run_directory import RunDirectory
from keras_s2s.tokenizers.copied_tokens import copy_map
from keras_s2s.training.builders import make_model, make_optimizer
from keras_s2s.training.callbacks import ValidationScores
from keras_s2s.training.data_source import Corpus, make_training_data
from keras_s2s.training.distribution import SyncLogsFromChief, Workers
from keras_s2s.translation.translator import Translator
from keras_s2s.utils.errors import InputError
from keras_s2s.utils.scores import SCORES, scores_in

MAX_STEPS_PER_EXECUTION = 32
# Sentences translated after each epoch.
MAX_VALIDATION_SENTENCES = 1000
# Early stopping and the plateau schedule would decide by chance with fewer. Runs of earlier
# versions may have fewer, so `resume` does not check.
MIN_VALIDATION_PAIRS = 10


class TrainingJob:
    """The model and the data of a run, determined by its configuration and seed."""

    def __init__(
        self,
        corpus: Corpus,
        config: TrainingConfig,
        seed: int,
        workers: Workers | None = None,
        held_out: Mapping[str, ParallelCorpus] | None = None,
    ) -> None:
        keras.utils.set_random_seed(seed)
        self.config = config
        self._workers = Workers() if workers is None else workers
        self.data = data = make_training_data(corpus, config, seed, held_out)
        self.source, self.target, self.num_batches = data.source, data.target, data.num_batches
        self.validation_pairs = data.valid
        self.steps_per_execution = _steps_per_execution(self.num_batches)
        self.validation_data, num_valid = None, 0
        self.counts = {"train": data.counts}
        if len(data.valid):
            pairs = TokenizedPairs(
                *(data.valid, self.source, self.target),
                *(config.num_steps, config.drop_long, config.copy),
            )
            num_valid = len(pairs)
            self.counts["valid"] = pairs.counts
            self.validation_data = pairs.batches(
                config.batch_size, bucket_by_length=config.bucket_by_length
            )
        sizes = len(self.source), len(self.target)
        copied = copy_map(self.source, self.target) if config.copy else False
        self.model = make_model(config, *sizes, config.precision, copied)
        clips_sentences = config.clip_reduction == "sequence_mean"
        self.model.compile(
            make_optimizer(config, self.num_batches),
            steps_per_execution=self.steps_per_execution,
            label_smoothing=config.label_smoothing,
            clip_num_steps=config.num_steps - 1 if clips_sentences else None,
            weigh_accumulated=config.training_revision > 1,
        )
        self.sizes = {
            "train_pairs": data.num_pairs,
            "valid_pairs": num_valid,
            "test_pairs": data.num_test,
            "source_vocabulary": len(self.source),
            "target_vocabulary": len(self.target),
            "parameters": self.model.count_params(),
            "target_tokens_an_epoch": data.target_tokens,
            **_counted_sizes(self.counts),
        }

    def check_validation(self, corpus: str) -> None:
        """Check that there are pairs enough for the decisions that depend on validation.

        Args:
            corpus: its name, for the message.

        Raises:
            InputError: there are fewer than `MIN_VALIDATION_PAIRS`.
        """
        config, num_pairs = self.config, self.sizes["valid_pairs"]
        decisions = {
            f"early_stopping {config.early_stopping}": config.early_stopping != "none",
            "lr_schedule plateau": config.lr_schedule == "plateau",
        }
        if num_pairs < MIN_VALIDATION_PAIRS and any(decisions.values()):
            dropped = len(self.validation_pairs) - num_pairs
            reason = f", after {dropped:,} too long ones were dropped" if dropped else ""
            raise InputError(
                f"{corpus}: too few validation pairs for "
                f"{' and '.join(name for name, is_set in decisions.items() if is_set)}: "
                f"{num_pairs}{reason}; have {MIN_VALIDATION_PAIRS} or more by a higher "
                f"--valid-fraction{', --num-steps' if dropped else ''} or --valid FILE"
            )

    def batch_as_text(self, position: DataPosition) -> list[tuple[str, str]]:
        """Return the pairs of the batch at a position, detokenized."""
        source, target = next(iter(self.data.batches(position)))
        sides = (self.source.detokenize(*source), self.target.detokenize(*target))
        columns = [[text.decode() for text in side.numpy()] for side in sides]
        return list(zip(*columns, strict=True))

    def make_translator(self) -> Translator:
        """Return the result of the run: a translator in full precision, without the optimizer."""
        return self._translator(to_full_precision(self.model))

    def callbacks(self, run: RunDirectory) -> list[keras.callbacks.Callback]:
        """Return the callbacks of the configuration, in the order in which they have to run."""
        config, callbacks = self.config, []
        if len(self.validation_pairs):
            sources, references = self.validation_pairs.references()
            # A resumed run keeps the columns of its history.
            columns = [name for row in run.read_history()[:1] for name in row]
            recorded = [score.name for score in scores_in(columns)]
            callbacks.append(
                ValidationScores(
                    self._translator(self.model),
                    sources[:MAX_VALIDATION_SENTENCES],
                    references[:MAX_VALIDATION_SENTENCES],
                    run.logs / "samples.tsv",
                    tokenize=config.sacrebleu_tokenize,
                    lowercase=config.sacrebleu_lowercase,
                    also=[*recorded, *SCORES.keys() & {config.early_stopping}],
                )
            )
        if self._workers.cluster is not None:
            callbacks.append(SyncLogsFromChief(self._workers))
        if config.ema_momentum:
            callbacks.append(keras.callbacks.SwapEMAWeights())
        if config.lr_schedule == "plateau":
            callbacks.append(
                keras.callbacks.ReduceLROnPlateau("val_loss", factor=0.5, patience=config.patience)
            )
        if config.early_stopping != "none":
            callbacks.append(
                keras.callbacks.EarlyStopping(
                    f"val_{config.early_stopping}",
                    patience=config.patience,
                    mode=SCORES[config.early_stopping].mode
                    if config.early_stopping in SCORES
                    else "min",
                    restore_best_weights=True,
                )
            )
        if importlib.util.find_spec("tensorboard") is not None:
            callbacks.append(
                keras.callbacks.TensorBoard(run.logs / "tensorboard", write_graph=False)
            )
        return callbacks

    def _translator(self, model: Seq2Seq) -> Translator:
        config = self.config
        return Translator(
            model,
            self.source,
            self.target,
            num_steps=config.num_steps,
            **search_options(config),
        )


def _counted_sizes(counts: Mapping[str, TextCounts | None]) -> dict[str, Any]:
    """Return the long pairs and the shares of unknown tokens of each split, for the record."""
    sizes: dict[str, Any] = {}
    for split, of_split in counts.items():
        if of_split is not None:
            sizes |= {f"{split}_long_pairs": of_split.long}
            for side in ("source", "target"):
                sizes[f"{split}_long_{side}s"] = getattr(of_split, f"long_{side}")
                sizes[f"{split}_unknown_{side}"] = round(of_split.unknown_share(side), 4)
    return sizes


def _steps_per_execution(num_batches: int) -> int:
    """Return the largest divisor of the batches per epoch, up to `MAX_STEPS_PER_EXECUTION`."""
    # WORKAROUND(keras<=3.15.1): `fit` makes whole calls only, so the last call of an epoch would
    # take batches of the next. Checkpoints are saved at multiples of this number, also with a
    # strategy, so that one device can resume what several devices saved.
    sizes = range(1, MAX_STEPS_PER_EXECUTION + 1)
    return max(size for size in sizes if num_batches % size == 0)
