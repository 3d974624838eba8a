"""OpenNMT-py, through the functions behind its commands `onmt_train` and `onmt_translate`."""

import contextlib
from pathlib import Path

import torch
from measuring import (
    MAX_OUTPUT_TOKENS,
    Request,
    StopTraining,
    measure_translation,
    run,
    translate_in_batches,
)
from onmt.bin import train as train_command
from onmt.bin import translate as translate_command
from onmt.inference_engine import InferenceEnginePY
from onmt.trainer import Trainer
from onmt.utils.parse import ArgumentParser
from pairs import read_lines


def train(request: Request) -> dict:
    """Measure training on the task."""
    settings, task = request.settings, request.task.resolve()
    torch.set_num_threads(settings.threads)
    folder = request.model or Path("unused")
    steps = request.warm_up + (request.steps or 10**6)
    options = {
        "src_vocab": task / "vocab.en",
        "tgt_vocab": task / "vocab.fr",
        "save_model": folder / "model",
        "encoder_type": "rnn",
        "decoder_type": "rnn",
        "rnn_type": "LSTM",
        "layers": settings.num_layers,
        "hidden_size": settings.num_hiddens,
        "word_vec_size": settings.embed_size,
        "global_attention": {"none": "none", "luong": "general"}[settings.attention],
        "input_feed": int(settings.input_feeding),
        "optim": "adam",
        "learning_rate": settings.learning_rate,
        "max_grad_norm": settings.clip_norm,
        "batch_type": "sents",
        "batch_size": settings.batch_size,
        # Its default divides the loss by sentences, which suits its Transformers.
        "normalization": "tokens",
        # Sort all pairs together; make batches in the training process.
        "bucket_size": len(read_lines(task / "train.en")),
        "num_workers": 0,
        "train_steps": steps,
        "valid_steps": 10**9,
        "save_checkpoint_steps": 10**9,
        "report_every": 50,
        "seed": settings.seed,
    }
    arguments = [text for name, value in options.items() for text in (f"-{name}", str(value))]
    data = f"{{task: {{path_src: {task / 'train.en'}, path_tgt: {task / 'train.fr'}}}}}"
    arguments += ["-data", data, "-dropout", "0.0", "-attention_dropout", "0.0"]
    stopwatch = request.stopwatch()
    report = Trainer._maybe_report_training
    previous = [0, 0.0]

    def timed_report(trainer, step, num_steps, learning_rate, report_stats):
        tokens = report_stats.n_words - previous[0]
        loss_sum = report_stats.loss - previous[1]
        is_complete = stopwatch.step(tokens, loss_sum)
        if is_complete and request.model is None:
            raise StopTraining
        new = report(trainer, step, num_steps, learning_rate, report_stats)
        previous[:] = new.n_words, new.loss
        return new

    Trainer._maybe_report_training = timed_report
    options = train_command._get_parser().parse_args(arguments)
    with contextlib.suppress(StopTraining):
        train_command.train(options)
    return stopwatch.result()


def translate(request: Request) -> dict:
    """Measure greedy translation."""
    torch.set_num_threads(request.settings.threads)
    [checkpoint] = request.model.glob("model_step_*.pt")
    engines = {}
    for batch_size in (128, 32, 1):
        arguments = ["-model", str(checkpoint), "-src", str(request.task / "test.en")]
        arguments += ["-output", str(request.model / "unused.txt"), "-beam_size", "1"]
        arguments += ["-batch_type", "sents", "-batch_size", str(batch_size)]
        arguments += ["-max_length", str(MAX_OUTPUT_TOKENS), "-max_length_ratio", "0"]
        options = translate_command._get_parser().parse_args(arguments)
        ArgumentParser.validate_translate_opts(options)
        ArgumentParser._get_all_transform_translate(options)
        ArgumentParser._validate_transforms_opts(options)
        ArgumentParser.validate_translate_opts_dynamic(options)
        engines[batch_size] = InferenceEnginePY(options)

    def translate_texts(texts: list[str], size: int | None) -> list[str]:
        engine = engines[size or 128]

        def translate_batch(batch: list[str]) -> list[str]:
            _, outputs = engine.infer_list(batch)
            return [hypotheses[0] for hypotheses in outputs]

        # The engine sorts its input by length; pass single batches to keep file order.
        return (
            translate_batch(list(texts))
            if size is None
            else translate_in_batches(texts, size, translate_batch)
        )

    return measure_translation(request, read_lines(request.task / "test.en"), translate_texts)


if __name__ == "__main__":
    run({"train": train, "translate": translate}, "OpenNMT-py", "torch")
