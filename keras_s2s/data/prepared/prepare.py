"""Prepare corpora: read once, in parallel, resumable."""

import concurrent.futures
import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np

from keras_s2s.data.columns import parse_columns
from keras_s2s.data.corpus_reader import CorpusReader
from keras_s2s.data.prepared.deduplication import deduplicate
from keras_s2s.data.prepared.index import FORMAT, HELD_OUT_FILES, INDEX, SAMPLES
from keras_s2s.data.prepared.output_folder import OutputFolder
from keras_s2s.data.prepared.shards import ShardInfo
from keras_s2s.data.prepared.spec import PreparationSpec
from keras_s2s.data.prepared.stages import Stages
from keras_s2s.data.prepared.statistics import add_token_statistics
from keras_s2s.data.prepared.tokenization import TextChunk
from keras_s2s.data.prepared.vocabulary_files import load_tokenizers, vocabulary_files
from keras_s2s.utils.console import log
from keras_s2s.utils.errors import InputError
from keras_s2s.utils.files import remove_folder, sha256_of, write_json
from keras_s2s.utils.folder_lock import lock_folder
from keras_s2s.utils.process_pool import ProcessPool
from keras_s2s.utils.signals import GracefulShutdown


def prepare(
    spec: PreparationSpec,
    output: str | os.PathLike[str],
    processes: int | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Tokenize corpora into a folder that `train` takes as its corpus.

    Memory does not grow with the corpora. After an interruption, the same call resumes with the
    chunks that are complete. The result is bit-identical for any number of processes.

    Args:
        spec: what to prepare.
        output: the folder: new, empty, or with the same corpus, complete or interrupted.
        processes: number of worker processes; default one per processor.
        overwrite: whether a prepared corpus in the folder may be replaced.

    Returns:
        The content of `index.json`: `corpora` (statistics of each), `vocabularies` (their sizes),
        `source_lengths` and `target_lengths` (for each corpus the number of sentences of each
        length), `shards`, `files`, `configuration`, and `held_out` (number of pairs and checksum
        of each file of held-out pairs, if there are any).

    Raises:
        InputError: an argument or a corpus is invalid.
    """
    if processes is not None and processes < 1:
        raise InputError(f"processes is {processes}; give 1 or more")
    columns = None if spec.columns is None else parse_columns(spec.columns)
    streams = [CorpusReader(name, columns) for name in spec.corpora]
    held_out = spec.load_held_out()
    folder = OutputFolder(Path(output), spec)
    with lock_folder(folder.path, "--output"):
        folder.open(overwrite)
        with GracefulShutdown("the chunks in progress") as shutdown:
            try:
                with ProcessPool(processes or len(os.sched_getaffinity(0))) as pool:
                    return _run(Stages(folder.spec, streams, folder, pool, shutdown, held_out))
            except KeyboardInterrupt as error:
                error.args = (f"{output} keeps what is complete; run the same command to resume",)
                raise
            except InputError as error:
                # After the death of a worker process, the complete chunks can be resumed.
                if not isinstance(error.__cause__, concurrent.futures.BrokenExecutor):
                    folder.discard()
                raise


def _run(stages: Stages) -> dict[str, Any]:
    spec, folder = stages.spec, stages.folder
    previous = folder.previous_index
    if previous is not None and folder.is_intact():
        stages.read_corpora()
        stages.check_corpora()
        log(f"{folder.path}: already prepared, all files are intact")
        remove_folder(folder.work)
        return previous
    stats = stages.filter_corpora()
    stages.check_corpora()
    sizes = [chunk.pairs for chunk in stats]
    begins = np.concatenate([[0], np.cumsum(sizes)]).tolist()
    chunks = [TextChunk(folder.work, i, begins[i], size) for i, size in enumerate(sizes)]
    stages.discard_outdated_results(stats)
    if not spec.keep_duplicates:
        deduplicate(folder.work, sizes)
    corpora = stages.summarize_corpora(stats, chunks)
    stages.learn_vocabularies(chunks, sum(corpus["train_pairs"] for corpus in corpora))
    tokenizers = load_tokenizers(folder.path, spec.config, spec.column_kinds)
    vocab_sizes = [len(tokenizer) for tokenizer in tokenizers]
    id_dtype = "uint16" if max(vocab_sizes) <= 2**16 else "uint32"
    shards = stages.make_shards(stats, chunks, id_dtype)
    index = _index(spec, folder.path, corpora, shards, vocab_sizes, id_dtype)
    if stages.held_out:
        index["held_out"] = stages.held_out_files()
    if previous is not None:
        # The configuration was compared before; old versions name its fields differently.
        if not _extends({**index, "configuration": previous["configuration"]}, previous):
            raise InputError(
                f"{folder.path}: was prepared with another result; pass --overwrite to replace it"
            )
        # Not rewritten: its checksum is the fingerprint of the corpus.
        index = previous
    else:
        # Written last: its presence marks the corpus as complete.
        write_json(folder.path / INDEX, index)
    remove_folder(folder.work)
    return index


def _extends(new: Any, old: Any) -> bool:
    """Return whether an index equals an older one but for entries that the older one lacks."""
    if isinstance(old, dict):
        return all(name in new and _extends(new[name], value) for name, value in old.items())
    if isinstance(old, list):
        return len(new) == len(old) and all(map(_extends, new, old))
    return bool(new == old)


def _index(
    spec: PreparationSpec,
    path: Path,
    corpora: list[dict[str, Any]],
    shards: list[ShardInfo],
    vocab_sizes: list[int],
    id_dtype: str,
) -> dict[str, Any]:
    lengths = add_token_statistics(corpora, shards, spec.config.num_steps)
    vocabularies = vocabulary_files(spec.config, spec.column_kinds)
    names = sorted({*vocabularies, *HELD_OUT_FILES, SAMPLES})
    return {
        "format": FORMAT,
        "configuration": spec.to_json(),
        "corpora": corpora,
        "vocabularies": vocab_sizes,
        "id_type": id_dtype,
        **lengths,
        "files": {name: sha256_of(path / name) for name in names},
        "shards": [dataclasses.asdict(shard) for shard in shards],
    }
