"""This package, by its public interface: `fit`, the command line, `Translator`, an export."""

import csv
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measuring import (
    MAX_OUTPUT_TOKENS,
    NUM_SINGLE_SENTENCES,
    Request,
    limit_tensorflow_threads,
    measure_translation,
    process_memory,
    run,
    translate_in_batches,
)
from pairs import BOS, EOS, SPECIAL_TOKENS, read_chapter, read_lines, to_text

TEST_FILE_NAME = "sentences.txt"


def train(request: Request) -> dict:
    """Measure training on the task by `fit`."""
    start = time.perf_counter()
    import keras

    import keras_s2s as s2s

    settings = request.settings
    limit_tensorflow_threads(settings)
    keras.utils.set_random_seed(settings.seed)
    policy = {"float32": "float32", "bfloat16": "mixed_bfloat16"}[settings.dtype]
    keras.config.set_dtype_policy(policy)
    imported, imported_memory = time.perf_counter(), process_memory()
    corpus = make_corpus(request)
    source, target = (make_tokenizer(request, side) for side in ("en", "fr"))
    max_words = max(len(line.split()) for line in [*corpus.source, *corpus.target])
    data = s2s.make_dataset(
        corpus,
        source,
        target,
        batch_size=settings.batch_size,
        num_steps=max_words + 2,
        shuffle=True,
        seed=0,
        bucket_by_length=True,
    )
    prepared = time.perf_counter()
    sizes = settings.embed_size, settings.num_hiddens, settings.num_layers
    attention = None if settings.attention == "none" else settings.attention
    initializer = {"init_scale": s2s.PRESETS["base"].init_scale}

    def make_model():
        return s2s.Seq2Seq(
            s2s.Seq2SeqEncoder(len(source), *sizes, **initializer),
            s2s.Seq2SeqDecoder(
                len(target),
                *sizes,
                attention=attention,
                input_feeding=settings.input_feeding,
                **initializer,
            ),
        )

    model = make_model()
    model.compile(keras.optimizers.Adam(settings.learning_rate, global_clipnorm=settings.clip_norm))
    stopwatch = request.stopwatch()

    class Timer(keras.callbacks.Callback):
        previous = 0.0, 0.0

        def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
            metric = model.loss_metric
            totals = float(metric.num_tokens.numpy()), float(metric.total.numpy())
            tokens, loss_sum = (new - old for new, old in zip(totals, self.previous, strict=True))
            self.previous = totals
            if stopwatch.step(tokens, loss_sum):
                model.stop_training = True

    # Endless, so that the measurement includes no end of an epoch.
    model.fit(data.repeat(), steps_per_epoch=10**9, verbose=0, callbacks=[Timer()])
    if request.model is not None:
        # Saved in float32, as by the command: in bfloat16 a translation depends on its batch.
        keras.config.set_dtype_policy("float32")
        trained, model = model, make_model()
        model.set_weights(trained.get_weights())
        translator = s2s.Translator(model, source, target, num_steps=MAX_OUTPUT_TOKENS)
        translator.save(request.model / "model.keras")
        translator.export(request.model / "export", sentences=corpus.source[:200])
        (request.model / TEST_FILE_NAME).write_text("test.en\n", encoding="utf-8")
    return stopwatch.result() | {
        "pairs": len(corpus),
        "imported_memory": imported_memory,
        "import_seconds": imported - start,
        "preparation_seconds": prepared - imported,
    }


def make_corpus(request: Request):
    """Return the task's pairs, or synthetic ones of the requested number and length."""
    import keras_s2s as s2s

    settings = request.settings
    sides = [read_lines(request.task / f"train.{side}") for side in ("en", "fr")]
    if settings.sentence_tokens is not None:
        # Split the running text into sentences of equal length.
        sides = [" ".join(side).split() for side in sides]
        size = settings.sentence_tokens
        count = min(map(len, sides)) // size
        sides = [[" ".join(words[i * size : (i + 1) * size]) for i in range(count)]
                 for words in sides]  # fmt: skip
    if settings.pairs is not None:
        repeats = -(-settings.pairs // len(sides[0]))
        sides = [(side * repeats)[: settings.pairs] for side in sides]
    return s2s.ParallelCorpus(*sides, name="the task")


def make_tokenizer(request: Request, side: str):
    """Return a tokenizer with the task's vocabulary, truncated or extended by unused words."""
    import keras_s2s as s2s

    words = read_lines(request.task / f"vocab.{side}")
    size = request.settings.vocab_size
    if size is not None:
        words = [*words, *(f"word-{i}" for i in range(size - len(words)))][:size]
    return s2s.WordTokenizer([*SPECIAL_TOKENS, *words])


def chapter(request: Request) -> dict:
    """Measure the chapter's job: the whole command, and throughput from epoch 11 on."""
    settings = request.settings
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder, "run")
        command = [sys.executable, "-m", "keras_s2s", "train", settings.corpus]
        command += ["--preset", "chapter", "--run-dir", os.fspath(run_dir)]
        command += ["--epochs", str(settings.epochs)]
        if settings.corpus != "fra-eng":  # its preset has this option already
            command += ["--max-pairs", "1001"]
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - start
        peak_memory = children_peak_memory()
        with open(run_dir / "history.csv", newline="", encoding="utf-8") as file:
            epochs = list(csv.DictReader(file))
        if request.model is not None:
            from keras_s2s import Translator

            translator = Translator.load(run_dir / "model.keras")
            translator.save(request.model / "model.keras")
            sentences = read_lines(request.task / "chapter.en")
            translator.export(request.model / "export", sentences=sentences[:200])
            (request.model / TEST_FILE_NAME).write_text("chapter.en\n", encoding="utf-8")
    pairs = read_chapter(request.task)
    tokens = pairs.target_tokens(range(len(pairs.target)))
    return {
        "tokens": tokens * len(epochs[10:]),
        "seconds": sum(tokens / float(epoch["tokens_per_second"]) for epoch in epochs[10:]),
        "whole_seconds": seconds,
        "peak_memory": peak_memory,
        "loss": float(epochs[-1]["loss"]),
    }


def translate_by_loop(translator, sentence: str) -> str:
    """Translate by a Python loop over words, as the chapter's `predict_s2s_ch8`."""
    import tensorflow as tf

    model, tokenizer = translator.model, translator.source_tokenizer
    state, memory = model.encode(
        tokenizer.encode_source(tf.constant([sentence]), translator.num_steps)
    )
    words = [BOS]
    while len(words) <= translator.num_steps and words[-1] != EOS:
        logits, state, _ = model.decoder.step(tf.constant(words[-1:]), state, memory)
        words.append(int(tf.argmax(logits[0])))
    return to_text(words[1:], translator.target_tokenizer.vocabulary)


def children_peak_memory() -> int:
    """Return the peak memory of the command in bytes, without that of this process."""
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss


def translate(request: Request) -> dict:
    """Measure greedy translation by `Translator`, by the export as on a server, or by a loop."""
    name = (request.model / TEST_FILE_NAME).read_text(encoding="utf-8").strip()
    sentences = list(dict.fromkeys(read_lines(request.task / name)))
    if request.settings.through == "session":
        from keras_s2s.serving.session import SavedModelSession

        [version] = (request.model / "export").iterdir()
        threads = request.settings.threads
        with SavedModelSession(
            version, intra_op_threads=threads, inter_op_threads=threads
        ) as session:

            def translate_batch(batch: list[str]) -> list[str]:
                outputs = session.run(text=batch)["translation"]
                return [output.decode() for output in outputs.tolist()]

            result = measure_translation(
                request,
                sentences,
                lambda texts, size: translate_in_batches(texts, size, translate_batch),
            )
            # The peak memory of the server process, not of this client.
            memory = process_memory("VmHWM", session._process.pid)
            return result if memory is None else {**result, "peak_memory": memory}
    import keras_s2s as s2s

    limit_tensorflow_threads(request.settings)
    translator = s2s.Translator.load(request.model / "model.keras")
    if request.settings.through == "loop":  # too slow for all
        sentences = sentences[:NUM_SINGLE_SENTENCES]

    def translate_texts(texts: list[str], size: int | None) -> list[str]:
        if request.settings.through == "loop":
            return [translate_by_loop(translator, text) for text in texts]
        if size is None:
            return translator.translate(texts)
        # `translate` would sort by length; pass single batches to keep file order.
        return translate_in_batches(texts, size, translator.translate)

    return measure_translation(request, sentences, translate_texts)


if __name__ == "__main__":
    run({"train": train, "chapter": chapter, "translate": translate},
        "keras-s2s", "keras", "tensorflow")  # fmt: skip
