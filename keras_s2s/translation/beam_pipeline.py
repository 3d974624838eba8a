"""Shards on an Apache Beam pipeline: on this machine, or on a cluster by its options."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.ml.inference.base import ModelHandler, RunInference
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from keras_s2s.translation.output_format import Wanted
from keras_s2s.translation.shards import Shard, ShardFolder
from keras_s2s.utils.console import log


class ShardTranslation(ModelHandler[Shard, str, Any]):
    """Translates shards with a model that each process of a worker loads once.

    Args:
        load: makes a model of the path of one.
        model: the path of it, as all workers have it.
        wanted: what is asked of it.
        folder: the path of the `ShardFolder`, likewise.
    """

    def __init__(self, load: Callable[[str], Any], model: str, wanted: Wanted, folder: str) -> None:
        super().__init__()
        self._load = load
        self._model, self._wanted, self._folder = os.path.abspath(model), wanted, folder

    def load_model(self) -> Any:
        return self._load(self._model)

    def run_inference(
        self,
        batch: Sequence[Shard],
        model: Any,
        inference_args: dict[str, Any] | None = None,
    ) -> Iterable[str]:
        folder = ShardFolder(self._folder)
        for shard in batch:
            end = shard.first_line + shard.num_lines - 1
            name = f"{shard.name}, lines {shard.first_line:,} to {end:,}"
            try:
                folder.translate(shard, model, self._wanted)
            # One shard is no reason to end the others.
            except Exception as error:
                folder.error(shard).write_text(f"{type(error).__name__}: {error}\n", "utf-8")
                log(f"{name}: {error}")
            else:
                log(f"{name}: done")
            yield name

    def batch_elements_kwargs(self) -> Mapping[str, Any]:
        # A shard is a great many sentences already.
        return {"min_batch_size": 1, "max_batch_size": 1}


def translate_shards(
    shards: Sequence[Shard], translation: ShardTranslation, options: Sequence[str] = ()
) -> None:
    """Runs a pipeline to its end.

    Args:
        shards: what is to be done.
        translation: what is done with each.
        options: those of Apache Beam, such as `--runner` and `--direct_num_workers`. Without a
            runner it runs in this process.
    """
    pipeline_options = PipelineOptions(list(options))
    # Beam's own choice may be a program that it downloads first.
    chosen = pipeline_options.view_as(StandardOptions).runner
    with beam.Pipeline(chosen or FnApiRunner(), options=pipeline_options) as pipeline:
        _ = (
            pipeline
            | "Shards" >> beam.Create(shards)
            | "To all workers" >> beam.Reshuffle()
            | "Translate" >> RunInference(translation)
        )
