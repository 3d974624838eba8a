"""JoeyNMT, through the functions behind its commands `train` and `translate`.

It has no batches of similar lengths, and its encoder only runs in two directions, each of which has
half of the units here.
"""

import contextlib
import tempfile
from pathlib import Path

import torch
from joeynmt.config import parse_global_args
from joeynmt.prediction import predict, prepare
from joeynmt.training import TrainManager, set_validation_args
from measuring import (
    LONGEST_ANSWER,
    Finished,
    Request,
    in_batches,
    measure_translation,
    run,
)
from pairs import (
    read_lines,
)


def configuration(request: Request, folder: Path) -> dict:
    """What it reads from a file else."""
    settings, task = request.settings, request.task.resolve()
    both = {
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
                **both,
                "hidden_size": settings.num_hiddens // 2,
                "bidirectional": True,
            },
            "decoder": {
                **both,
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
        "testing": {"batch_size": 128, "beam_size": 1, "max_output_length": LONGEST_ANSWER},
    }


def train(request: Request) -> dict:
    """Trains on the task's pairs for some steps."""
    torch.set_num_threads(request.settings.threads)
    stopwatch = request.stopwatch()
    take_step = TrainManager._train_step
    before: list[int] = []

    def watched(manager, batch):
        # Called at the beginning of each step, which is the end of the one before.
        if before and stopwatch.step(before.pop()):
            raise Finished  # on its way out it saves the model
        before.append(batch.ntokens)
        return take_step(manager, batch)

    TrainManager._train_step = watched
    with tempfile.TemporaryDirectory() as temporary:
        arguments = parse_global_args(
            configuration(request, request.model or Path(temporary)), mode="train"
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
        with contextlib.suppress(Finished):
            manager.train_and_validate(train_data=train_data, valid_data=dev_data)
    return stopwatch.result()


def translate(request: Request) -> dict:
    """Greedy translation."""
    torch.set_num_threads(request.settings.threads)
    arguments = parse_global_args(configuration(request, request.model), mode="translate")
    model, _, _, data = prepare(arguments, rank=0, mode="translate")

    def answers_to(batch: list[str]) -> list[str]:
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
        return [" ".join(word for word in answer if word != "</s>") for answer in tokens]

    return measure_translation(
        request,
        read_lines(request.task / "test.en"),
        lambda texts, size: in_batches(texts, size, answers_to),
    )


if __name__ == "__main__":
    run({"train": train, "translate": translate}, "joeynmt", "torch")
