"""The same model in built-in Keras layers, with stock `compile` and `fit`.

Batches are bucketed by length, padded to their longest pair, and masked: what an experienced Keras
user writes without custom layers.
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
from measuring import PROCESS_START, Request, Settings, limit_tensorflow_threads, run
from pairs import BOS, EOS, Pairs, read_chapter, read_pairs


def make_model(settings: Settings, source_size: int, target_size: int) -> keras.Model:
    """Return encoder and decoder as a compiled functional model."""
    keras.utils.set_random_seed(settings.seed)
    policy = {"float32": "float32", "bfloat16": "mixed_bfloat16"}[settings.dtype]
    keras.config.set_dtype_policy(policy)
    embed, hidden, depth = settings.embed_size, settings.num_hiddens, settings.num_layers
    source = keras.Input((None,), dtype="int32")
    target = keras.Input((None,), dtype="int32")
    # Keras checks masks for right padding only on GPUs, which is irrelevant here.
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
        # Mean over tokens without padding.
        loss=keras.losses.SparseCategoricalCrossentropy(
            from_logits=True, reduction="mean_with_sample_weight"
        ),
    )
    return model


def pad(rows: list[list[int]], steps: int | None = None) -> np.ndarray:
    """Return ids, (rows, steps)."""
    steps = steps or max(map(len, rows))
    array = np.zeros((len(rows), steps), np.int32)
    for i, row in enumerate(rows):
        array[i, : len(row)] = row
    return array


def make_batch(pairs: Pairs, indices: list[int]) -> tuple:
    """Return inputs, labels and sample weights for `fit`."""
    target = pad([[BOS, *pairs.target[i], EOS] for i in indices])
    labels = target[:, 1:]
    source = pad([pairs.source[i] or [EOS] for i in indices])
    return (source, target[:, :-1]), labels, (labels != 0).astype(np.float32)


def train(request: Request) -> dict:
    """Measure training on the task by `fit`."""
    settings = request.settings
    limit_tensorflow_threads(settings)
    pairs = read_pairs(request.task)
    model = make_model(settings, len(pairs.source_vocabulary), len(pairs.target_vocabulary))
    stopwatch = request.stopwatch()
    # A queue, since the dataset prefetches batches.
    tokens: deque[int] = deque()

    def batches():
        for indices in pairs.batches(settings.batch_size, 0):
            tokens.append(pairs.target_tokens(indices))
            yield make_batch(pairs, indices)

    ids, weights = tf.TensorSpec((None, None), tf.int32), tf.TensorSpec((None, None), tf.float32)
    data = tf.data.Dataset.from_generator(batches, output_signature=((ids, ids), ids, weights))

    class Timer(keras.callbacks.Callback):
        # Without the loss: Keras logs a running mean weighted by sentences, not by tokens.
        def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
            if stopwatch.step(tokens.popleft()):
                model.stop_training = True

    model.fit(
        data.prefetch(tf.data.AUTOTUNE),
        steps_per_epoch=10**9,
        shuffle=False,
        verbose=0,
        callbacks=[Timer()],
    )
    return stopwatch.result()


def chapter(request: Request) -> dict:
    """Measure the chapter's job: all epochs, and throughput from epoch 11 on."""
    settings = request.settings
    limit_tensorflow_threads(settings)
    pairs = read_chapter(request.task)
    model = make_model(settings, len(pairs.source_vocabulary), len(pairs.target_vocabulary))
    inputs, labels, weights = make_batch(pairs, list(range(len(pairs.target))))
    start = []

    class Timer(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
            if epoch == 10:
                start.append(time.perf_counter())

    history = model.fit(
        inputs,
        labels,
        sample_weight=weights,
        batch_size=settings.batch_size,
        epochs=settings.epochs,
        verbose=0,
        callbacks=[Timer()],
    )
    end = time.perf_counter()
    return {
        "tokens": int(weights.sum()) * (settings.epochs - 10),
        "seconds": end - start[0],
        "whole_seconds": end - PROCESS_START,
        "loss": history.history["loss"][-1],
    }


if __name__ == "__main__":
    run({"train": train, "chapter": chapter}, "keras", "tensorflow")
