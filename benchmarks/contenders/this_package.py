"""This package, as its users use it: `Seq2Seq` with `fit`, the command, `Translator`, an export."""

import csv
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measuring import (
    LONGEST_ANSWER,
    SENTENCES_ONE_BY_ONE,
    Request,
    Settings,
    in_batches,
    measure_translation,
    resident,
    run,
)
from pairs import BOS, EOS, SPECIAL_TOKENS, as_text, read_chapter, read_lines

WHERE_TO_TRANSLATE = "sentences.txt"


def train(request: Request) -> dict:
    """Trains on the task's pairs for some steps of `fit`."""
    began = time.perf_counter()
    import keras

    import keras_s2s as s2s

    settings = request.settings
    use_threads(settings)
    keras.utils.set_random_seed(settings.seed)
    policy = {"float32": "float32", "bfloat16": "mixed_bfloat16"}[settings.dtype]
    keras.config.set_dtype_policy(policy)
    imported, imported_memory = time.perf_counter(), resident()
    corpus = corpus_of(request)
    source, target = (tokenizer(request, side) for side in ("en", "fr"))
    longest = max(len(line.split()) for line in [*corpus.source, *corpus.target])
    data = s2s.make_dataset(
        corpus,
        source,
        target,
        batch_size=settings.batch_size,
        num_steps=longest + 2,
        shuffle=True,
        seed=0,
        bucket_by_length=True,
    )
    prepared = time.perf_counter()
    sizes = settings.embed_size, settings.num_hiddens, settings.num_layers
    attention = None if settings.attention == "none" else settings.attention
    start = {"init_scale": s2s.PRESETS["base"].init_scale}

    def make_model():
        return s2s.Seq2Seq(
            s2s.Seq2SeqEncoder(len(source), *sizes, **start),
            s2s.Seq2SeqDecoder(
                len(target),
                *sizes,
                attention=attention,
                input_feeding=settings.input_feeding,
                **start,
            ),
        )

    model = make_model()
    model.compile(keras.optimizers.Adam(settings.learning_rate, global_clipnorm=settings.clip_norm))
    stopwatch = request.stopwatch()

    class Watch(keras.callbacks.Callback):
        counted = 0.0, 0.0

        def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
            metric = model.loss_metric
            now = float(metric.num_tokens.numpy()), float(metric.total.numpy())
            tokens, loss_sum = (new - old for new, old in zip(now, self.counted, strict=True))
            self.counted = now
            if stopwatch.step(tokens, loss_sum):
                model.stop_training = True

    # Endless, so that a measurement does not end with an epoch, and none of its steps is the end
    # of one.
    model.fit(data.repeat(), steps_per_epoch=10**9, verbose=0, callbacks=[Watch()])
    if request.model is not None:
        # As the command leaves its runs: in half precision an answer depends on its batch.
        keras.config.set_dtype_policy("float32")
        trained, model = model, make_model()
        model.set_weights(trained.get_weights())
        translator = s2s.Translator(model, source, target, num_steps=LONGEST_ANSWER)
        translator.save(request.model / "model.keras")
        translator.export(request.model / "export", sentences=corpus.source[:200])
        (request.model / WHERE_TO_TRANSLATE).write_text("test.en\n", encoding="utf-8")
    return stopwatch.result() | {
        "pairs": len(corpus),
        "imported_memory": imported_memory,
        "import_seconds": imported - began,
        "preparation_seconds": prepared - imported,
    }


def corpus_of(request: Request):
    """The task's pairs, or what stands for them where the growth of the cost is measured."""
    import keras_s2s as s2s

    settings = request.settings
    sides = [read_lines(request.task / f"train.{side}") for side in ("en", "fr")]
    if settings.sentence_tokens is not None:
        # As many words of the text, one after the other, for each sentence.
        sides = [" ".join(side).split() for side in sides]
        size = settings.sentence_tokens
        count = min(map(len, sides)) // size
        sides = [[" ".join(words[n * size : (n + 1) * size]) for n in range(count)]
                 for words in sides]  # fmt: skip
    if settings.pairs is not None:
        repeats = -(-settings.pairs // len(sides[0]))
        sides = [(side * repeats)[: settings.pairs] for side in sides]
    return s2s.ParallelCorpus(*sides, name="the task")


def tokenizer(request: Request, side: str):
    """The task's vocabulary, cut, or filled up with words that do not occur."""
    import keras_s2s as s2s

    words = read_lines(request.task / f"vocab.{side}")
    size = request.settings.vocab_size
    if size is not None:
        words = [*words, *(f"word-{number}" for number in range(size - len(words)))][:size]
    return s2s.WordTokenizer([*SPECIAL_TOKENS, *words])


def use_threads(settings: Settings) -> None:
    """The package leaves the number to TensorFlow, which takes as many as there are cores."""
    import tensorflow as tf

    if settings.threads != os.cpu_count():
        tf.config.threading.set_intra_op_parallelism_threads(settings.threads)
        tf.config.threading.set_inter_op_parallelism_threads(settings.threads)


def chapter(request: Request) -> dict:
    """The chapter's job as a whole command, and its speed from the eleventh epoch on."""
    settings = request.settings
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder, "run")
        command = [sys.executable, "-m", "keras_s2s", "train", settings.corpus]
        command += ["--preset", "chapter", "--run-dir", os.fspath(run_dir)]
        command += ["--epochs", str(settings.epochs)]
        if settings.corpus != "fra-eng":  # whose preset has that already
            command += ["--max-pairs", "1001"]
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        whole = time.perf_counter() - began
        peak_memory = peak_of_children()
        with open(run_dir / "history.csv", newline="", encoding="utf-8") as file:
            epochs = list(csv.DictReader(file))
        if request.model is not None:
            from keras_s2s import Translator

            translator = Translator.load(run_dir / "model.keras")
            translator.save(request.model / "model.keras")
            sentences = read_lines(request.task / "chapter.en")
            translator.export(request.model / "export", sentences=sentences[:200])
            (request.model / WHERE_TO_TRANSLATE).write_text("chapter.en\n", encoding="utf-8")
    pairs = read_chapter(request.task)
    tokens = pairs.target_tokens(range(len(pairs.target)))
    return {
        "tokens": tokens * len(epochs[10:]),
        "seconds": sum(tokens / float(epoch["tokens_per_second"]) for epoch in epochs[10:]),
        "whole_seconds": whole,
        "peak_memory": peak_memory,
        "loss": float(epochs[-1]["loss"]),
    }


def answer_of_loop(translator, sentence: str) -> str:
    """As the chapter's `predict_s2s_ch8`: a loop in Python, a word at a time."""
    import tensorflow as tf

    model, tokenizer = translator.model, translator.source_tokenizer
    state, memory = model.encode(
        tokenizer.encode_source(tf.constant([sentence]), translator.num_steps)
    )
    words = [BOS]
    while len(words) <= translator.num_steps and words[-1] != EOS:
        logits, state, _ = model.decoder.step(tf.constant(words[-1:]), state, memory)
        words.append(int(tf.argmax(logits[0])))
    return as_text(words[1:], translator.target_tokenizer.vocabulary)


def peak_of_children() -> int:
    """Bytes; this process itself may need more afterwards, which is not the job's."""
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss


def translate(request: Request) -> dict:
    """Greedy translation by `Translator`, by the export as a server runs it, or by a loop."""
    name = (request.model / WHERE_TO_TRANSLATE).read_text(encoding="utf-8").strip()
    sentences = list(dict.fromkeys(read_lines(request.task / name)))
    if request.settings.through == "session":
        from keras_s2s.serving.session import SavedModelSession

        [version] = (request.model / "export").iterdir()
        threads = request.settings.threads
        with SavedModelSession(
            version, intra_op_threads=threads, inter_op_threads=threads
        ) as session:

            def served(batch: list[str]) -> list[str]:
                answers = session.run(text=batch)["translation"]
                return [answer.decode() for answer in answers.tolist()]

            result = measure_translation(
                request, sentences, lambda texts, size: in_batches(texts, size, served)
            )
            # This process is only the client.
            memory = resident("VmHWM", session._process.pid)
            return result if memory is None else {**result, "peak_memory": memory}
    import keras_s2s as s2s

    use_threads(request.settings)
    translator = s2s.Translator.load(request.model / "model.keras")
    if request.settings.through == "loop":  # which is too slow for more
        sentences = sentences[:SENTENCES_ONE_BY_ONE]

    def translated(texts: list[str], size: int | None) -> list[str]:
        if request.settings.through == "loop":
            return [answer_of_loop(translator, text) for text in texts]
        if size is None:
            return translator.translate(texts)
        # In the order of the file, which `translate` would change.
        return in_batches(texts, size, translator.translate)

    return measure_translation(request, sentences, translated)


if __name__ == "__main__":
    run({"train": train, "chapter": chapter, "translate": translate},
        "keras-s2s", "keras", "tensorflow")  # fmt: skip
