"""The same model of Keras's own layers, with the stock `compile` and `fit`.

Batches are of pairs of similar lengths, each padded to its own longest pair, and padding is
masked: what a careful user of Keras writes without any code below its layers.
"""

import os

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import time
from collections import deque

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from measuring import (
    BEGAN,
    Request,
    Settings,
    run,
)
from pairs import (
    BOS,
    EOS,
    Pairs,
    read_chapter,
    read_pairs,
)


def make_model(settings: Settings, source_size: int, target_size: int) -> keras.Model:
    """Encoder and decoder as a functional model, compiled."""
    keras.utils.set_random_seed(settings.seed)
    policy = {"float32": "float32", "bfloat16": "mixed_bfloat16"}[settings.dtype]
    keras.config.set_dtype_policy(policy)
    embed, hidden, depth = settings.embed_size, settings.num_hiddens, settings.num_layers
    source = keras.Input((None,), dtype="int32")
    target = keras.Input((None,), dtype="int32")
    # Keras looks for a mask's left padding on a GPU alone; this is a comparison on a CPU.
    values = layers.Embedding(source_size, embed, mask_zero=True)(source)
    states = []
    for _ in range(depth):
        values, *state = layers.LSTM(hidden, return_sequences=True, return_state=True)(values)
        states.append(state)
    outputs = layers.Embedding(target_size, embed)(target)
    for state in states:
        outputs = layers.LSTM(hidden, return_sequences=True)(outputs, initial_state=state)
    if settings.attention == "luong":
        keys = layers.Dense(hidden, use_bias=False)(values)
        context = layers.Attention()([outputs, values, keys])
        joined = layers.Concatenate()([context, outputs])
        outputs = layers.Dense(hidden, activation="tanh", use_bias=False)(joined)
    logits = layers.Dense(target_size)(outputs)
    logits = layers.Activation("linear", dtype="float32")(logits)
    model = keras.Model([source, target], logits)
    model.compile(
        optimizer=keras.optimizers.Adam(settings.learning_rate, global_clipnorm=settings.clip_norm),
        # The sum over the real tokens by the weights' sum: a mean over tokens.
        loss=keras.losses.SparseCategoricalCrossentropy(
            from_logits=True, reduction="mean_with_sample_weight"
        ),
    )
    return model


def padded(rows: list[list[int]], steps: int | None = None) -> np.ndarray:
    """Ids, (rows, steps)."""
    steps = steps or max(map(len, rows))
    array = np.zeros((len(rows), steps), np.int32)
    for number, row in enumerate(rows):
        array[number, : len(row)] = row
    return array


def arrays(pairs: Pairs, numbers: list[int]) -> tuple:
    """What `fit` takes: inputs, labels and weights."""
    target = padded([[BOS, *pairs.target[number], EOS] for number in numbers])
    labels = target[:, 1:]
    source = padded([pairs.source[number] or [EOS] for number in numbers])
    return (source, target[:, :-1]), labels, (labels != 0).astype(np.float32)


def train(request: Request) -> dict:
    """Trains on the task's pairs for some steps of `fit`."""
    settings = request.settings
    use_threads(settings)
    pairs = read_pairs(request.task)
    model = make_model(settings, len(pairs.source_vocabulary), len(pairs.target_vocabulary))
    stopwatch = request.stopwatch()
    # The dataset runs ahead of the training.
    tokens: deque[int] = deque()

    def batches():
        for numbers in pairs.batches(settings.batch_size, 0):
            tokens.append(pairs.target_tokens(numbers))
            yield arrays(pairs, numbers)

    ids, weights = tf.TensorSpec((None, None), tf.int32), tf.TensorSpec((None, None), tf.float32)
    data = tf.data.Dataset.from_generator(batches, output_signature=((ids, ids), ids, weights))

    class Watch(keras.callbacks.Callback):
        # Keras tells the mean over the batches so far, each weighted by its sentences: of equal
        # batches the sum of the losses of tokens is to be had from that only about.
        def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
            if stopwatch.step(tokens.popleft()):
                model.stop_training = True

    model.fit(
        data.prefetch(tf.data.AUTOTUNE),
        steps_per_epoch=10**9,
        shuffle=False,
        verbose=0,
        callbacks=[Watch()],
    )
    return stopwatch.result()


def chapter(request: Request) -> dict:
    """The chapter's job: all its epochs, and what is counted from the eleventh on."""
    settings = request.settings
    use_threads(settings)
    pairs = read_chapter(request.task)
    model = make_model(settings, len(pairs.source_vocabulary), len(pairs.target_vocabulary))
    inputs, labels, weights = arrays(pairs, list(range(len(pairs.target))))
    began = []

    class Watch(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
            if epoch == 10:
                began.append(time.perf_counter())

    history = model.fit(
        inputs,
        labels,
        sample_weight=weights,
        batch_size=settings.batch_size,
        epochs=settings.epochs,
        verbose=0,
        callbacks=[Watch()],
    )
    ended = time.perf_counter()
    return {
        "tokens": int(weights.sum()) * (settings.epochs - 10),
        "seconds": ended - began[0],
        "whole_seconds": ended - BEGAN,
        "loss": history.history["loss"][-1],
    }


def use_threads(settings: Settings) -> None:
    """TensorFlow takes as many as there are cores unless it is told otherwise."""
    if settings.threads != os.cpu_count():
        tf.config.threading.set_intra_op_parallelism_threads(settings.threads)
        tf.config.threading.set_inter_op_parallelism_threads(settings.threads)


if __name__ == "__main__":
    run({"train": train, "chapter": chapter}, "keras", "tensorflow")
