"""The content of `run.json`, and the lines that a run logs about itself."""

import dataclasses
import datetime
import importlib.metadata
import platform
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from keras_s2s.data.batching import DataPosition
from keras_s2s.data.corpus_spec import CorpusSpec
from keras_s2s.data.parallel_corpus import ParallelCorpus
from keras_s2s.run_directory import RunDirectory, git_revision
from keras_s2s.training.cluster import DistributionConfig
from keras_s2s.training.distribution import Workers
from keras_s2s.training.job import TrainingJob
from keras_s2s.utils.checks import check_seed
from keras_s2s.utils.console import pluralize
from keras_s2s.utils.errors import InputError


def make_record(
    corpus: CorpusSpec,
    fingerprint: str,
    held_out: Mapping[str, ParallelCorpus],
    job: TrainingJob,
    seed: int,
    distribution: DistributionConfig,
    workers: Workers,
) -> dict[str, Any]:
    """Return the record of a new run; the fingerprint is the checksum of the corpus."""
    checksums = {f"{split}_sha256": pairs.fingerprint() for split, pairs in held_out.items()}
    return {
        "corpus": {**corpus.to_record(), "sha256": fingerprint, **checksums},
        "recipe": dataclasses.asdict(job.config),
        "seed": seed,
        "devices": distribution_record(distribution, workers),
        "sizes": job.sizes,
        "versions": {
            "python": platform.python_version(),
            "keras_s2s": importlib.metadata.version("keras-s2s"),
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
        },
        "git": git_revision(),
        "started": utc_now(),
    }


def distribution_record(distribution: DistributionConfig, workers: Workers) -> dict[str, Any]:
    """Return the record of a distribution; see `DistributionConfig.from_record`."""
    return {**dataclasses.asdict(distribution), "replicas": workers.num_replicas}


def finish_record(record: dict[str, Any], history: list[dict[str, str]]) -> None:
    """Add the metrics of the last epoch, and the time."""
    if history:
        record["result"] = {
            name: float(value) for name, value in history[-1].items() if value and name != "epoch"
        }
    record["finished"] = utc_now()


def read_run(run: RunDirectory, record: dict[str, Any]) -> tuple[CorpusSpec, str, int]:
    """Return the corpus of a record, its checksum, and the random seed.

    Raises:
        InputError: one is missing or invalid.
    """
    try:
        corpus = record["corpus"]
        return CorpusSpec.from_record(corpus), corpus["sha256"], check_seed(record["seed"])
    except (KeyError, TypeError, InputError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else error
        raise InputError(
            f"{run.record}: not written by this version ({reason}); start over with --overwrite"
        ) from error


def utc_now() -> str:
    """Return the time in ISO 8601."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def format_position(position: DataPosition) -> str:
    """Return a position in the training data for a message."""
    batches = f" and {position.batch} batches" if position.batch else ""
    return f"epoch {position.epoch}{batches}"


def format_first_pair(source: str, target: str) -> str:
    """Return the first pair, which shows wrong columns or a wrong direction at once."""
    excerpts = [repr(text if len(text) <= 60 else text[:57] + "…") for text in (source, target)]
    return f"first pair: {excerpts[0]} to {excerpts[1]}"


def format_summary(job: TrainingJob, workers: Workers) -> str:
    """Return a line about the data, the model and the devices of a run."""
    sizes, held_out = job.sizes, ""
    if sizes["valid_pairs"] or sizes["test_pairs"]:
        held_out = f" and {sizes['valid_pairs']} for validation, {sizes['test_pairs']} for testing"
    has_gpu = bool(tf.config.list_physical_devices("GPU"))
    device = "GPU" if has_gpu else "CPU"
    if workers.cluster is not None:
        device = f"{device}s of {len(workers.cluster.workers)} workers"
    elif workers.num_replicas > 1:
        count = workers.num_replicas
        device = f"{count} GPUs" if has_gpu else f"CPU as {count} devices"
    vocabularies = []
    for side in ("source", "target"):
        unknown = sizes.get(f"train_unknown_{side}")
        share = "" if unknown is None else f" ({unknown:.1%} of tokens unknown)"
        vocabularies.append(f"{sizes[f'{side}_vocabulary']}{share}")
    return (
        f"{pluralize(sizes['train_pairs'], 'pair')}{held_out}, vocabularies of "
        f"{' and '.join(vocabularies)}, "
        f"{sizes['target_tokens_an_epoch']} target tokens per epoch, "
        f"{pluralize(job.config.epochs, 'epoch')} on the {device}"
    )
