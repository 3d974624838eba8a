"""OpenNMT-tf: trained by its `Runner`, translating by its exported SavedModel."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import contextlib
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import opennmt
import tensorflow as tf
import tensorflow_addons as tfa
from measuring import (
    MAX_OUTPUT_TOKENS,
    Request,
    Settings,
    StopTraining,
    limit_tensorflow_threads,
    measure_translation,
    run,
    translate_in_batches,
)
from opennmt import decoders, encoders, inputters, layers, models
from opennmt.training import TrainingStats
from pairs import read_lines


def make_model(settings: Settings) -> models.SequenceToSequence:
    """Return the model. With attention, it always has input feeding."""
    sizes = {"num_layers": settings.num_layers, "num_units": settings.num_hiddens, "dropout": 0.0}
    decoder = {**sizes, "bridge_class": layers.CopyBridge, "cell_class": tf.keras.layers.LSTMCell}
    return models.SequenceToSequence(
        source_inputter=inputters.WordEmbedder(embedding_size=settings.embed_size),
        target_inputter=inputters.WordEmbedder(embedding_size=settings.embed_size),
        encoder=encoders.RNNEncoder(**sizes, cell_class=tf.keras.layers.LSTMCell),
        decoder=decoders.RNNDecoder(**decoder)
        if settings.attention == "none"
        else decoders.AttentionalRNNDecoder(
            **decoder, attention_mechanism_class=tfa.seq2seq.LuongAttention
        ),
    )


def train(request: Request) -> dict:
    """Measure training on the task, and export the model if requested."""
    settings, task = request.settings, request.task.resolve()
    limit_tensorflow_threads(settings)
    stopwatch = request.stopwatch()
    previous = [0]
    update, reset = TrainingStats.update_on_step, TrainingStats._reset_words_counters

    def timed_update(stats, step, loss):
        total = int(stats._words_counters["target"].numpy())
        is_complete = stopwatch.step(total - previous[0])
        previous[0] = total
        if is_complete and request.model is None:
            raise StopTraining
        update(stats, step, loss)

    def timed_reset(stats):
        reset(stats)
        previous[0] = 0

    TrainingStats.update_on_step = timed_update
    TrainingStats._reset_words_counters = timed_reset
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for side in ("en", "fr"):
            words = ["<blank>", "<s>", "</s>", *read_lines(task / f"vocab.{side}")]
            text = "".join(f"{word}\n" for word in words)
            (folder / f"vocab.{side}").write_text(text, encoding="utf-8")
        config = {
            "model_dir": str(folder / "run"),
            "data": {
                "source_vocabulary": str(folder / "vocab.en"),
                "target_vocabulary": str(folder / "vocab.fr"),
                "train_features_file": str(task / "train.en"),
                "train_labels_file": str(task / "train.fr"),
            },
            "params": {
                "optimizer": "Adam",
                "optimizer_params": {"global_clipnorm": settings.clip_norm},
                "learning_rate": settings.learning_rate,
                "average_loss_in_time": True,
                "maximum_decoding_length": MAX_OUTPUT_TOKENS,
                "beam_width": 1,
            },
            "train": {
                "batch_type": "examples",
                "batch_size": settings.batch_size,
                "length_bucket_width": 1,
                "sample_buffer_size": 60000,
                "max_step": request.warm_up + (request.steps or 10**6),
                "save_checkpoints_steps": 10**9,
                "save_summary_steps": 100,
            },
            "eval": {"steps": 10**9},
        }
        runner = opennmt.Runner(make_model(settings), config, seed=settings.seed)
        with contextlib.suppress(StopTraining):
            runner.train()
        if request.model is not None:
            runner.export(str(request.model / "export"))
    return stopwatch.result()


def translate(request: Request) -> dict:
    """Measure greedy translation by the exported SavedModel."""
    limit_tensorflow_threads(request.settings)
    loaded = tf.saved_model.load(str(request.model / "export"))
    signature = loaded.signatures["serving_default"]

    def translate_batch(batch: Sequence[str]) -> list[str]:
        rows = [sentence.split() for sentence in batch]
        lengths = [len(row) for row in rows]
        max_length = max(lengths)
        tokens = [row + [""] * (max_length - len(row)) for row in rows]
        output = signature(
            tokens=tf.constant(tokens), length=tf.constant(np.array(lengths, np.int32))
        )
        words, sizes = output["tokens"][:, 0].numpy(), output["length"][:, 0].numpy()
        return [b" ".join(row[:size]).decode() for row, size in zip(words, sizes, strict=True)]

    return measure_translation(
        request,
        read_lines(request.task / "test.en"),
        lambda texts, size: translate_in_batches(texts, size, translate_batch),
    )


if __name__ == "__main__":
    run({"train": train, "translate": translate}, "OpenNMT-tf", "tensorflow")
