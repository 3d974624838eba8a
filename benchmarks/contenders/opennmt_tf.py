"""OpenNMT-tf, by its `Runner`; it translates by the SavedModel that it exports."""

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
    LONGEST_ANSWER,
    Finished,
    Request,
    Settings,
    in_batches,
    measure_translation,
    run,
)
from opennmt import decoders, encoders, inputters, layers, models
from opennmt.training import TrainingStats
from pairs import (
    read_lines,
)


def make_model(settings: Settings) -> models.SequenceToSequence:
    """Its model of these sizes. With attention, it always feeds what was attended to."""
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
    """Trains on the task's pairs for some steps, and exports the model if it is to be kept."""
    settings, task = request.settings, request.task.resolve()
    use_threads(settings)
    stopwatch = request.stopwatch()
    counted = [0]
    update, reset = TrainingStats.update_on_step, TrainingStats._reset_words_counters

    def watched(stats, step, loss):
        total = int(stats._words_counters["target"].numpy())
        over = stopwatch.step(total - counted[0])
        counted[0] = total
        if over and request.model is None:
            raise Finished
        update(stats, step, loss)

    def watched_reset(stats):
        reset(stats)
        counted[0] = 0

    TrainingStats.update_on_step, TrainingStats._reset_words_counters = watched, watched_reset
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for side in ("en", "fr"):
            words = ["<blank>", "<s>", "</s>", *read_lines(task / f"vocab.{side}")]
            text = "".join(f"{word}\n" for word in words)
            (folder / f"vocab.{side}").write_text(text, encoding="utf-8")
        configuration = {
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
                "maximum_decoding_length": LONGEST_ANSWER,
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
        runner = opennmt.Runner(make_model(settings), configuration, seed=settings.seed)
        with contextlib.suppress(Finished):
            runner.train()
        if request.model is not None:
            runner.export(str(request.model / "export"))
    return stopwatch.result()


def translate(request: Request) -> dict:
    """Greedy translation by the exported SavedModel: tokens in, tokens out."""
    use_threads(request.settings)
    loaded = tf.saved_model.load(str(request.model / "export"))
    function = loaded.signatures["serving_default"]

    def answers_to(batch: Sequence[str]) -> list[str]:
        rows = [sentence.split() for sentence in batch]
        lengths = [len(row) for row in rows]
        longest = max(lengths)
        tokens = [row + [""] * (longest - len(row)) for row in rows]
        answer = function(
            tokens=tf.constant(tokens), length=tf.constant(np.array(lengths, np.int32))
        )
        words, sizes = answer["tokens"][:, 0].numpy(), answer["length"][:, 0].numpy()
        return [b" ".join(row[:size]).decode() for row, size in zip(words, sizes, strict=True)]

    return measure_translation(
        request,
        read_lines(request.task / "test.en"),
        lambda texts, size: in_batches(texts, size, answers_to),
    )


def use_threads(settings: Settings) -> None:
    """TensorFlow takes as many as there are cores unless it is told otherwise."""
    if settings.threads != os.cpu_count():
        tf.config.threading.set_intra_op_parallelism_threads(settings.threads)
        tf.config.threading.set_inter_op_parallelism_threads(settings.threads)


if __name__ == "__main__":
    run({"train": train, "translate": translate}, "OpenNMT-tf", "tensorflow")
