"""Preparing corpora: read once, in parallel, and gone on with where it was interrupted."""

import concurrent.futures
import dataclasses
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from keras_s2s.data.config import preparation_fields
from keras_s2s.data.corpus_reader import CorpusStream
from keras_s2s.data.prepared.corpus import load_tokenizers, tokenizer_files
from keras_s2s.data.prepared.filtering import (
    TEST,
    VALID,
    ChunkStats,
    FilterTask,
    deduplicate,
    filter_chunk,
)
from keras_s2s.data.prepared.index import FORMAT, HELD_OUT_FILES, INDEX, SAMPLES
from keras_s2s.data.prepared.shards import Shard
from keras_s2s.data.prepared.spec import CHUNK_LINES, PreparationSpec, PreparedFolder
from keras_s2s.data.prepared.statistics import add_tokens, count_texts
from keras_s2s.data.prepared.tokenization import (
    ChunkToRead,
    ShardToMake,
    WordCounts,
    count_chunk,
    make_shard,
    subword_tokenizers,
    word_tokenizers,
)
from keras_s2s.utils.console import log, progress_bar
from keras_s2s.utils.errors import InputError
from keras_s2s.utils.files import atomic_write, remove_folder, sha256_of, write_json
from keras_s2s.utils.process_pool import ProcessPool
from keras_s2s.utils.signals import GracefulShutdown

Item = TypeVar("Item")
Result = TypeVar("Result")


def prepare(
    preparation: PreparationSpec,
    output: str | os.PathLike[str],
    processes: int | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Tokenizes corpora into a folder that `train` takes as its corpus.

    Memory does not grow with the corpora. What has been done when it is interrupted is not done
    again; the outcome is the same to the byte, with any number of processes.

    Args:
        preparation: what and how.
        output: the folder; one that is empty or does not exist, or has been begun so.
        processes: that work at the same time; one for each processor when left out.
        overwrite: whether a prepared corpus that is there may be replaced.

    Returns:
        What `index.json` says: `corpora` (for each what was read, left out and why, held out and
        kept), `sizes`, `source_lengths` and `target_lengths` (for each corpus how many sentences
        have so many tokens), `shards`, `files` and `configuration`.

    Raises:
        InputError: something given cannot be used.
    """
    if processes is not None and processes < 1:
        raise InputError(f"processes is {processes}; give 1 or more")
    streams = [CorpusStream(name) for name in preparation.corpora]
    folder = PreparedFolder(Path(output), preparation)
    folder.begin(overwrite)
    with GracefulShutdown("the chunks that are worked on") as request:
        try:
            with ProcessPool(processes or len(os.sched_getaffinity(0))) as workers:
                return _Run(preparation, streams, folder, workers, request).index()
        except KeyboardInterrupt as error:
            error.args = (f"{output} keeps what is done; give the same command to go on",)
            raise
        except InputError as error:
            # What a process that has ended left can be gone on with.
            if not isinstance(error.__cause__, concurrent.futures.BrokenExecutor):
                folder.forget()
            raise


class _Run:
    """One go at preparing."""

    def __init__(
        self,
        preparation: PreparationSpec,
        streams: list[CorpusStream],
        folder: PreparedFolder,
        workers: ProcessPool,
        request: GracefulShutdown,
    ) -> None:
        self._preparation, self._streams, self._folder = preparation, streams, folder
        self._workers, self._request = workers, request
        self._fields = preparation_fields(preparation.recipe)

    def index(self) -> dict[str, Any]:
        """Goes all the way, and returns what is written as the last file."""
        folder = self._folder
        if folder.before is not None and folder.is_sound():
            for stream in self._streams:
                for _ in stream.chunks(CHUNK_LINES):
                    self._request.raise_if_requested()
            self._check_texts()
            log(f"{folder.path}: is prepared already, and as it was written")
            remove_folder(folder.work)
            return folder.before
        sifted = self._sift()
        self._check_texts()
        sizes = [chunk.pairs for chunk in sifted]
        begins = np.concatenate([[0], np.cumsum(sizes)]).tolist()
        chunks = [
            ChunkToRead(folder.work, number, begins[number], size)
            for number, size in enumerate(sizes)
        ]
        self._forget_other_texts(sifted)
        if not self._preparation.keep_duplicates:
            deduplicate(folder.work, sizes)
        corpora = self._counted_texts(sifted, chunks)
        self._learn_vocabularies(chunks, sum(corpus["train_pairs"] for corpus in corpora))
        vocabularies = [len(one) for one in load_tokenizers(folder.path, self._fields)]
        id_type = "uint16" if max(vocabularies) <= 2**16 else "uint32"
        shards = self._make_shards(sifted, chunks, id_type)
        index = self._indexed(corpora, shards, vocabularies, id_type)
        if folder.before is not None and folder.before != index:
            raise InputError(
                f"{folder.path}: what is made now is not what was made before; give --overwrite "
                "to replace it"
            )
        write_json(folder.path / INDEX, index)
        remove_folder(folder.work)
        return index

    def _forget_other_texts(self, sifted: list[ChunkStats]) -> None:
        """Throws away what was made of other texts before it was interrupted."""
        file, texts = self._folder.work / "texts.json", [chunk.sha256 for chunk in sifted]
        if _json_or_none(file) != texts:
            (self._folder.work / "vocabularies.json").unlink(missing_ok=True)
            for said in self._folder.work.glob("shard-*.json"):
                said.unlink()
            write_json(file, texts)

    def _sift(self) -> list[ChunkStats]:
        found: list[ChunkStats] = []
        jobs = self._chunks_to_sift()
        lines = (chunk.num_lines for chunk in self._done(filter_chunk, jobs, found))
        _with_progress("reading", "lines", lines)
        for number, stream in enumerate(self._streams):
            own = [chunk for chunk in found if chunk.corpus == number]
            bad = stream.bad_lines()
            for chunk in own:
                bad.add(chunk.bad, chunk.first_bad)
            num_pairs = sum(chunk.pairs + chunk.identical for chunk in own)
            bad.report(
                sum(chunk.num_lines for chunk in own),
                num_pairs,
                self._preparation.skip_bad_lines,
            )
        return found

    def _chunks_to_sift(self) -> Iterator[FilterTask]:
        number = 0
        for corpus, stream in enumerate(self._streams):
            for chunk in stream.chunks(CHUNK_LINES):
                yield FilterTask(
                    self._folder.work, number, corpus, stream.name, chunk, self._preparation.sieve
                )
                number += 1

    def _check_texts(self) -> None:
        """Compares the texts with those that were prepared before."""
        if self._folder.before is None:
            return
        for stream, known in zip(self._streams, self._folder.before["corpora"], strict=True):
            if list(stream.sha256) != known["sha256"]:
                raise InputError(
                    f"{stream.where}: is not what {self._folder.path} was prepared from; put the "
                    "old one back, or give --overwrite"
                )

    def _counted_texts(
        self, sifted: list[ChunkStats], chunks: list[ChunkToRead]
    ) -> list[dict[str, Any]]:
        """What is known of each corpus before it is tokenized; writes what is held out."""

        def counted() -> Iterator[tuple[ChunkStats, ChunkToRead]]:
            for both in zip(sifted, chunks, strict=True):
                yield both
                self._request.raise_if_requested()

        weights = self._preparation.as_json()["weights"]
        texts = count_texts(self._streams, weights, counted())
        for part, name in zip((VALID, TEST), HELD_OUT_FILES, strict=True):
            # What two aligned files have inside of a sentence may be a tab.
            lines = [
                [side.replace("\t", " ") for side in pair[1:]] for pair in texts.held_out[part]
            ]
            self._write(name, "".join(f"{source}\t{target}\n" for source, target in lines))
        self._write(SAMPLES, "".join(f"{source}\n" for source in texts.samples))
        return texts.corpora

    def _write(self, name: str, text: str) -> None:
        with atomic_write(self._folder.path / name) as aside:
            aside.write_bytes(text.encode())

    def _learn_vocabularies(self, chunks: list[ChunkToRead], pairs: int) -> None:
        folder, recipe = self._folder, self._preparation.recipe
        names = sorted(set(tokenizer_files(self._fields)))
        learned = folder.work / "vocabularies.json"
        known = folder.before["files"] if folder.before else _json_or_none(learned)
        if known and all(_has_checksum(folder.path / name, known[name]) for name in names):
            return
        if not pairs:
            raise InputError(
                f"{', '.join(self._preparation.corpora)}: no pair is left to train on; lower "
                "--valid-fraction and --test-fraction or give more pairs"
            )
        if recipe.tokenizer == "word":
            words = WordCounts()

            def counted() -> Iterator[int]:
                results = self._workers.map(count_chunk, chunks)
                for chunk, counts in zip(chunks, results, strict=True):
                    words.add(counts)
                    self._request.raise_if_requested()
                    yield chunk.pairs

            _with_progress("counting words", "pairs", counted())
            tokenizers = word_tokenizers(recipe, words.counts)
            if words.forgotten >= recipe.min_freq:
                log(
                    f"words that occur {words.forgotten} times may be missing in the vocabularies, "
                    "since there are too many different ones to count"
                )
        else:
            log("learning subwords")
            tokenizers = subword_tokenizers(recipe, chunks, pairs)
        for name, tokenizer in zip(tokenizer_files(self._fields), tokenizers, strict=True):
            tokenizer.save(folder.path / name)
        write_json(learned, {name: sha256_of(folder.path / name) for name in names})

    def _make_shards(
        self, sifted: list[ChunkStats], chunks: list[ChunkToRead], id_type: str
    ) -> list[Shard]:
        folder = self._folder
        checksums = tuple(sha256_of(folder.path / name) for name in tokenizer_files(self._fields))
        before = {} if folder.before is None else folder.before
        made: dict[int, Shard] = {}
        missing = []
        for said, chunk in zip(sifted, chunks, strict=True):
            job = ShardToMake(
                chunk,
                folder.path / f"shard-{chunk.number:05}.tfrecord",
                said.corpus,
                folder.path,
                checksums,
                self._fields,
                self._preparation.max_length_ratio,
                id_type,
            )
            known = before["shards"][chunk.number] if before else _json_or_none(_said_of(chunk))
            shard = None if known is None else Shard(**known)
            if shard is not None and _is_sound(shard, folder.path):
                made[chunk.number] = shard
            else:
                missing.append(job)
            self._request.raise_if_requested()

        def finished() -> Iterator[int]:
            done: list[Shard] = []
            for job, shard in zip(missing, self._done(make_shard, missing, done), strict=True):
                write_json(_said_of(job.chunk), dataclasses.asdict(shard))
                made[job.chunk.number] = shard
                yield job.chunk.pairs

        _with_progress("tokenising", "pairs", finished())
        if before and missing:
            names = ", ".join(job.path.name for job in missing)
            log(f"{folder.path}: made anew: {names}")
        return [made[number] for number in range(len(chunks))]

    def _indexed(
        self,
        corpora: list[dict[str, Any]],
        shards: list[Shard],
        vocabularies: list[int],
        id_type: str,
    ) -> dict[str, Any]:
        lengths = add_tokens(corpora, shards, self._fields["num_steps"])
        names = sorted({*tokenizer_files(self._fields), *HELD_OUT_FILES, SAMPLES})
        return {
            "format": FORMAT,
            "configuration": self._preparation.as_json(),
            "corpora": corpora,
            "vocabularies": vocabularies,
            "id_type": id_type,
            **lengths,
            "files": {name: sha256_of(self._folder.path / name) for name in names},
            "shards": [dataclasses.asdict(shard) for shard in shards],
        }

    def _done(
        self, function: Callable[[Item], Result], items: Iterable[Item], found: list[Result]
    ) -> Iterator[Result]:
        """Results as they come, which are kept too; a signal ends it in between."""
        for result in self._workers.map(function, items):
            found.append(result)
            yield result
            self._request.raise_if_requested()


def _with_progress(description: str, things: str, numbers: Iterable[int]) -> None:
    """Goes through an iterator whose items are amounts of work that is done."""
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

    began, total = time.perf_counter(), 0
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with progress_bar(*columns, transient=True) as bar:
        task = bar.add_task(description, total=None)
        for number in numbers:
            total += number
            speed = total / (time.perf_counter() - began)
            bar.update(
                task, description=f"{description}: {total:,} {things}, {speed:,.0f} a second"
            )
    seconds = time.perf_counter() - began
    if total:
        log(
            f"{description}: {total:,} {things} in {seconds:.1f} s, {total / seconds:,.0f} a second"
        )


def _said_of(chunk: ChunkToRead) -> Path:
    return chunk.work / f"shard-{chunk.number:05}.json"


def _is_sound(shard: Shard, folder: Path) -> bool:
    try:
        shard.check(folder)
    except InputError:
        return False
    return True


def _json_or_none(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _has_checksum(file: Path, checksum: str | None) -> bool:
    return file.is_file() and sha256_of(file) == checksum
