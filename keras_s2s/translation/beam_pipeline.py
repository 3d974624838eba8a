"""Translation of file slices by an Apache Beam pipeline, local or on a cluster."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.ml.inference.base import ModelHandler, RunInference
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from keras_s2s.translation.output_format import OutputOptions
from keras_s2s.translation.shards import FileSlice, ShardFolder
from keras_s2s.utils.console import log


class SliceModelHandler(ModelHandler[FileSlice, str, Any]):
    """Translates file slices with a model that each worker process loads once.

    Args:
        load_model: loads the model from its path.
        model: the path, valid on all workers.
        options: of the output.
        folder: the path of the `ShardFolder`, valid on all workers.
    """

    def __init__(
        self, load_model: Callable[[str], Any], model: str, options: OutputOptions, folder: str
    ) -> None:
        super().__init__()
        self._load_model = load_model
        self._model, self._options, self._folder = os.path.abspath(model), options, folder

    def load_model(self) -> Any:
        return self._load_model(self._model)

    def run_inference(
        self,
        batch: Sequence[FileSlice],
        model: Any,
        inference_args: dict[str, Any] | None = None,
    ) -> Iterable[str]:
        folder = ShardFolder(self._folder)
        for item in batch:
            last_line = item.first_line + item.num_lines - 1
            name = f"{item.name}, lines {item.first_line:,} to {last_line:,}"
            try:
                folder.translate(item, model, self._options)
            # A failed shard must not end the pipeline.
            except Exception as error:
                folder.error(item).write_text(f"{type(error).__name__}: {error}\n", "utf-8")
                log(f"{name}: {error}")
            else:
                log(f"{name}: done")
            yield name

    def batch_elements_kwargs(self) -> Mapping[str, Any]:
        # A slice is already a large batch of sentences.
        return {"min_batch_size": 1, "max_batch_size": 1}


def run_pipeline(
    slices: Sequence[FileSlice], handler: SliceModelHandler, options: Sequence[str] = ()
) -> None:
    """Run a pipeline to completion.

    Args:
        slices: the input.
        handler: translates a slice.
        options: of Apache Beam, such as `--runner` and `--direct_num_workers`. Without a runner
            the pipeline runs in this process.
    """
    pipeline_options = PipelineOptions(list(options))
    # Beam's default may be a runner that it downloads first.
    runner = pipeline_options.view_as(StandardOptions).runner
    with beam.Pipeline(runner or FnApiRunner(), options=pipeline_options) as pipeline:
        _ = (
            pipeline
            | "Slices" >> beam.Create(slices)
            | "Distribute" >> beam.Reshuffle()
            | "Translate" >> RunInference(handler)
        )
