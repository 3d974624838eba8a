"""JoeyNMT, through the functions behind its commands `train` and `translate`.

It has no length bucketing, and its encoder is always bidirectional; each direction has half of the
units here.
"""

import contextlib
import tempfile
from pathlib import Path

import torch
from joeynmt.config import parse_global_args
from joeynmt.prediction import predict, prepare
from joeynmt.training import TrainManager, set_validation_args
from measuring import (
    MAX_OUTPUT_TOKENS,
    Request,
    StopTraining,
    measure_translation,
    run,
    translate_in_batches,
)
from pairs import read_lines


def make_config(request: Request, folder: Path) -> dict:
    """Return the configuration, which the commands read from a file."""
    settings, task = request.settings, request.task.resolve()
    recurrent = {
        "rnn_type": "lstm",
        "embeddings": {"embedding_dim": settings.embed_size, "dropout": 0.0},
        "hidden_size": settings.num_hiddens,
        "num_layers": settings.num_layers,
        "dropout": 0.0,
        "type": "recurrent",
    }
    sides = {
        name: {
            "lang": lang,
            "level": "word",
            "lowercase": False,
            "voc_file": str(task / f"vocab.{lang}"),
        }
        for name, lang in (("src", "en"), ("trg", "fr"))
    }
    return {
        "name": "benchmark",
        "model_dir": str(folder),
        "use_cuda": False,
        "random_seed": settings.seed,
        "normalization": "tokens",
        "data": {
            "train": str(task / "train"),
            "dev": str(task / "dev"),
            "dataset_type": "plain",
            **sides,
        },
        "model": {
            "encoder": {
                **recurrent,
                "hidden_size": settings.num_hiddens // 2,
                "bidirectional": True,
            },
            "decoder": {
                **recurrent,
                "hidden_dropout": 0.0,
                "input_feeding": settings.input_feeding,
                "init_hidden": "last",
                "attention": settings.attention,
            },
        },
        "training": {
            "optimizer": "adam",
            "learning_rate": settings.learning_rate,
            "scheduling": "exponential",
            "decrease_factor": 1.0,
            "clip_grad_norm": settings.clip_norm,
            "batch_size": settings.batch_size,
            "batch_type": "sentence",
            "normalization": "tokens",
            "epochs": 10**6,
            "logging_freq": 100,
            "validation_freq": 10**9,
        },
        "testing": {"batch_size": 128, "beam_size": 1, "max_output_length": MAX_OUTPUT_TOKENS},
    }


def train(request: Request) -> dict:
    """Measure training on the task."""
    torch.set_num_threads(request.settings.threads)
    stopwatch = request.stopwatch()
    train_step = TrainManager._train_step
    pending: list[int] = []

    def timed_step(manager, batch):
        # The start of a step is the end of the previous one.
        if pending and stopwatch.step(pending.pop()):
            raise StopTraining  # the trainer saves the model on any exception
        pending.append(batch.ntokens)
        return train_step(manager, batch)

    TrainManager._train_step = timed_step
    with tempfile.TemporaryDirectory() as temporary:
        arguments = parse_global_args(
            make_config(request, request.model or Path(temporary)), mode="train"
        )
        model, train_data, dev_data, _ = prepare(arguments, rank=0, mode="train")
        manager = TrainManager(
            rank=0,
            model=model,
            model_dir=arguments.model_dir,
            device=arguments.device,
            autocast=arguments.autocast,
            seed=arguments.seed,
            train_args=arguments.train,
            dev_args=set_validation_args(arguments.test),
        )
        with contextlib.suppress(StopTraining):
            manager.train_and_validate(train_data=train_data, valid_data=dev_data)
    return stopwatch.result()


def translate(request: Request) -> dict:
    """Measure greedy translation."""
    torch.set_num_threads(request.settings.threads)
    arguments = parse_global_args(make_config(request, request.model), mode="translate")
    model, _, _, data = prepare(arguments, rank=0, mode="translate")

    def translate_batch(batch: list[str]) -> list[str]:
        data.cache.clear()
        for sentence in batch:
            data.set_item(sentence)
        _, _, _, tokens, _, _ = predict(
            model=model,
            data=data,
            device=arguments.device,
            n_gpu=0,
            args=arguments.test._replace(batch_size=len(batch)),
            autocast=arguments.autocast,
        )
        return [" ".join(word for word in words if word != "</s>") for words in tokens]

    return measure_translation(
        request,
        read_lines(request.task / "test.en"),
        lambda texts, size: translate_in_batches(texts, size, translate_batch),
    )


if __name__ == "__main__":
    run({"train": train, "translate": translate}, "joeynmt", "torch")
