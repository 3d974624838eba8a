"""The stages of preparing corpora, each in parallel over chunks and resumable."""

import collections
import dataclasses
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from keras_s2s.data.config import SIDES, DataConfig
from keras_s2s.data.corpus_reader import CorpusReader
from keras_s2s.data.corpus_spec import HELD_OUT_SPLITS, describe_overlap
from keras_s2s.data.parallel_corpus import ParallelCorpus
from keras_s2s.data.prepared.chunk_files import TEST, VALID, ChunkStats
from keras_s2s.data.prepared.filtering import FilterTask, filter_chunk
from keras_s2s.data.prepared.index import HELD_OUT_FILES, SAMPLES, has_checksum
from keras_s2s.data.prepared.output_folder import OutputFolder
from keras_s2s.data.prepared.shards import ShardInfo
from keras_s2s.data.prepared.spec import PreparationSpec
from keras_s2s.data.prepared.statistics import summarize_texts
from keras_s2s.data.prepared.tokenization import (
    CountTask,
    ShardTask,
    TextChunk,
    WordCounts,
    count_chunk,
    count_features_of_chunk,
    counting_tokenizers,
    make_shard,
    subword_tokenizers,
)
from keras_s2s.data.prepared.vocabulary_files import tokenizer_files, vocabulary_files
from keras_s2s.tokenizers.columns_tokenizer import ColumnsTokenizer
from keras_s2s.tokenizers.source_columns import features_of, has_features
from keras_s2s.tokenizers.tokenizer import Tokenizer
from keras_s2s.utils.console import log, progress_bar
from keras_s2s.utils.errors import InputError
from keras_s2s.utils.files import atomic_write, parse_json, sha256_of, write_json
from keras_s2s.utils.process_pool import ProcessPool
from keras_s2s.utils.signals import GracefulShutdown

_logger = logging.getLogger("keras_s2s")

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclasses.dataclass(frozen=True)
class Stages:
    """The stages of a preparation, to be called in the order of the methods.

    Args:
        spec: what is prepared.
        streams: the corpora.
        folder: the output.
        pool: processes that do the work.
        shutdown: ends a stage after the chunks in progress.
        held_out: pairs of the splits that have files of their own.
    """

    spec: PreparationSpec
    streams: list[CorpusReader]
    folder: OutputFolder
    pool: ProcessPool
    shutdown: GracefulShutdown
    held_out: dict[str, ParallelCorpus] = dataclasses.field(default_factory=dict)

    def held_out_files(self) -> dict[str, dict[str, Any]]:
        """Return the number of pairs and the checksum of each of `held_out`, for the index."""
        return {
            split: {"pairs": len(pairs), "sha256": pairs.fingerprint()}
            for split, pairs in self.held_out.items()
        }

    def read_corpora(self) -> None:
        """Read all corpora to their ends, for their checksums."""
        for stream in self.streams:
            for _ in stream.chunks(self.spec.CHUNK_LINES):
                self.shutdown.raise_if_requested()

    def filter_corpora(self) -> list[ChunkStats]:
        """Filter all chunks of all corpora.

        Raises:
            InputError: a corpus has malformed lines, or no pairs.
        """
        stats: list[ChunkStats] = []

        def num_lines() -> Iterator[int]:
            for chunk in self._map(filter_chunk, self._filter_tasks()):
                stats.append(chunk)
                yield chunk.num_lines

        _show_progress("reading", "lines", num_lines())
        for i, stream in enumerate(self.streams):
            chunks = [chunk for chunk in stats if chunk.corpus == i]
            bad = stream.malformed_lines()
            for chunk in chunks:
                bad.add(chunk.bad, chunk.first_bad, chunk.columns)
            bad.report(
                sum(chunk.num_lines for chunk in chunks),
                sum(chunk.pairs + chunk.identical for chunk in chunks),
                self.spec.skip_bad_lines,
            )
        return stats

    def _filter_tasks(self) -> Iterator[FilterTask]:
        index = 0
        for corpus, stream in enumerate(self.streams):
            for chunk in stream.chunks(self.spec.CHUNK_LINES):
                yield FilterTask(
                    self.folder.work, index, corpus, stream.name, chunk, self.spec.filter_config
                )
                index += 1

    def check_corpora(self) -> None:
        """Compare the corpora, read to their ends, with those prepared before.

        Raises:
            InputError: one has changed.
        """
        if self.folder.previous_index is None:
            return
        previous = self.folder.previous_index["corpora"]
        for stream, corpus in zip(self.streams, previous, strict=True):
            if list(stream.sha256) != corpus["sha256"]:
                raise InputError(
                    f"{stream.display_name}: differs from the text that {self.folder.path} was "
                    "prepared from; restore the old text, or pass --overwrite"
                )

        for split, file in self.held_out_files().items():
            if file != self.folder.previous_index.get("held_out", {}).get(split):
                raise InputError(
                    f"{self.held_out[split].name}: differs from the {split} pairs that "
                    f"{self.folder.path} was prepared with; restore the old text, or pass "
                    "--overwrite"
                )

    def discard_outdated_results(self, stats: list[ChunkStats]) -> None:
        """Discard results of an interrupted preparation of other texts."""
        file, checksums = self.folder.work / "texts.json", [chunk.sha256 for chunk in stats]
        if _read_json(file) != checksums:
            (self.folder.work / "vocabularies.json").unlink(missing_ok=True)
            for info in self.folder.work.glob("shard-*.json"):
                info.unlink()
            write_json(file, checksums)

    def summarize_corpora(
        self, stats: list[ChunkStats], chunks: list[TextChunk]
    ) -> list[dict[str, Any]]:
        """Write the held-out pairs and the samples; return the statistics of each corpus."""

        def interruptible() -> Iterator[tuple[ChunkStats, TextChunk]]:
            for pair in zip(stats, chunks, strict=True):
                yield pair
                self.shutdown.raise_if_requested()

        summary = summarize_texts(self.streams, self.spec.to_json()["weights"], interruptible())
        for split, split_name, name in zip(
            (VALID, TEST), HELD_OUT_SPLITS, HELD_OUT_FILES, strict=True
        ):
            pairs: Iterable[tuple[str, str]]
            if (file := self.held_out.get(split_name)) is not None:
                pairs = zip(file.source, file.target, strict=True)
                self._report_overlap(file, chunks)
            else:
                pairs = ((pair.source, pair.target) for pair in summary.held_out[split])
            # Sentences of aligned files may contain tabs; those between columns are kept.
            rows = (
                (
                    source if self.spec.columns else source.replace("\t", " "),
                    target.replace("\t", " "),
                )
                for source, target in pairs
            )
            self._write_text(name, "".join(f"{source}\t{target}\n" for source, target in rows))
        self._write_text(SAMPLES, "".join(f"{source}\n" for source in summary.samples))
        return summary.corpora

    def _report_overlap(self, file: ParallelCorpus, chunks: list[TextChunk]) -> None:
        """Log how many sources of a held-out file stand in the training pairs."""
        sources, shared = set(file.source), set()
        for chunk in chunks:
            shared |= sources.intersection(chunk.training_texts()[0])
            self.shutdown.raise_if_requested()
        if (line := describe_overlap(file.name, file.source, shared)) is not None:
            _logger.warning("%s", line)

    def _write_text(self, name: str, text: str) -> None:
        with atomic_write(self.folder.path / name) as temporary:
            temporary.write_bytes(text.encode())

    def learn_vocabularies(self, chunks: list[TextChunk], num_pairs: int) -> None:
        """Write the vocabularies, unless they are there and intact.

        Args:
            chunks: all chunks.
            num_pairs: number of pairs to train on.

        Raises:
            InputError: there are no pairs to train on.
        """
        folder, config = self.folder, self.spec.config
        names = vocabulary_files(config, self.spec.column_kinds)
        learned = folder.work / "vocabularies.json"
        checksums = folder.previous_index["files"] if folder.previous_index else _read_json(learned)
        if checksums and all(has_checksum(folder.path / name, checksums[name]) for name in names):
            return
        if not num_pairs:
            raise InputError(
                f"{', '.join(self.spec.corpora)}: no pair is left to train on; lower "
                "--valid-fraction and --test-fraction or give more pairs"
            )
        if "sentencepiece" not in config.tokenizers():
            words = self._count_words(chunks, config)
            tokenizers: tuple[Tokenizer, Tokenizer] = counting_tokenizers(config, words.counts)
            if words.max_discarded >= min(map(config.min_freq_of, SIDES)):
                log(
                    "too many distinct words to count: those that occur up to "
                    f"{words.max_discarded} times may be missing from the vocabularies"
                )
        else:
            log("learning subwords")
            columns = self.spec.column_kinds
            tokenizers = subword_tokenizers(config, chunks, num_pairs, columns)
        tokenizers = self._with_features(tokenizers, chunks)
        for name, tokenizer in zip(tokenizer_files(config), tokenizers, strict=True):
            tokenizer.save(folder.path / name)
        write_json(learned, {name: sha256_of(folder.path / name) for name in names})

    def _with_features(
        self, tokenizers: tuple[Tokenizer, Tokenizer], chunks: list[TextChunk]
    ) -> tuple[Tokenizer, Tokenizer]:
        """Give the source a vocabulary of all features, where it has several columns."""
        columns, (source, target) = self.spec.column_kinds, tokenizers
        if columns is None or not has_features(columns):
            return tokenizers
        if isinstance(source, ColumnsTokenizer):  # which knows the features of a sample
            source = source.tokenizer
        counts: collections.Counter[str] = collections.Counter()
        tasks = [CountTask(chunk, self.spec.config, columns) for chunk in chunks]
        for counts_of_chunk in self._map(count_features_of_chunk, tasks):
            counts.update(counts_of_chunk)
        separator = self.spec.config.feature_separator
        return ColumnsTokenizer(source, columns, features_of(counts), separator), target

    def _count_words(self, chunks: list[TextChunk], config: DataConfig) -> WordCounts:
        columns = self.spec.column_kinds
        words, tasks = WordCounts(), [CountTask(chunk, config, columns) for chunk in chunks]

        def num_pairs() -> Iterator[int]:
            for chunk, counts in zip(chunks, self._map(count_chunk, tasks), strict=True):
                words.add(counts)
                yield chunk.num_pairs

        unit = "words" if config.tokenizers() == {"word"} else "tokens"
        _show_progress(f"counting {unit}", "pairs", num_pairs())
        return words

    def make_shards(
        self, stats: list[ChunkStats], chunks: list[TextChunk], id_dtype: str
    ) -> list[ShardInfo]:
        """Tokenize the chunks whose shards are missing or damaged; return all shards."""
        folder, config, columns = self.folder, self.spec.config, self.spec.column_kinds
        previous = folder.previous_index
        files = vocabulary_files(config, columns)
        checksums = tuple(sha256_of(folder.path / file) for file in files)
        shards: dict[int, ShardInfo] = {}
        tasks = []
        for chunk_stats, chunk in zip(stats, chunks, strict=True):
            entry = (
                previous["shards"][chunk.chunk_index] if previous else _read_json(_info_file(chunk))
            )
            shard = None if entry is None else _shard_info(entry)
            if shard is not None and shard.is_intact(folder.path):
                shards[chunk.chunk_index] = shard
            else:
                tasks.append(
                    ShardTask(
                        chunk,
                        folder.path / f"shard-{chunk.chunk_index:05}.tfrecord",
                        chunk_stats.corpus,
                        folder.path,
                        checksums,
                        config,
                        columns,
                        self.spec.max_length_ratio,
                        id_dtype,
                    )
                )
            self.shutdown.raise_if_requested()

        def num_pairs() -> Iterator[int]:
            for task, shard in zip(tasks, self._map(make_shard, tasks), strict=True):
                write_json(_info_file(task.chunk), dataclasses.asdict(shard))
                shards[task.chunk.chunk_index] = shard
                yield task.chunk.num_pairs

        _show_progress("tokenizing", "pairs", num_pairs())
        if previous and tasks:
            names = ", ".join(task.path.name for task in tasks)
            log(f"{folder.path}: repaired: {names}")
        return [shards[i] for i in range(len(chunks))]

    def _map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yield results in order, and end between two of them after a signal."""
        for result in self.pool.map(function, items):
            yield result
            self.shutdown.raise_if_requested()


def _show_progress(description: str, unit: str, amounts: Iterable[int]) -> None:
    """Exhaust an iterator of amounts of finished work, and show the total and throughput."""
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

    start, total = time.perf_counter(), 0
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with progress_bar(*columns, transient=True) as bar:
        task = bar.add_task(description, total=None)
        for amount in amounts:
            total += amount
            rate = total / (time.perf_counter() - start)
            bar.update(task, description=f"{description}: {total:,} {unit}, {rate:,.0f} {unit}/s")
    seconds = time.perf_counter() - start
    if total:
        log(f"{description}: {total:,} {unit} in {seconds:.1f} s, {total / seconds:,.0f} {unit}/s")


def _shard_info(entry: Any) -> ShardInfo | None:
    """Return the shard of an entry, or None where the entry is damaged."""
    try:
        return ShardInfo.from_json(entry)
    except (ValueError, TypeError):
        return None


def _info_file(chunk: TextChunk) -> Path:
    return chunk.work / f"shard-{chunk.chunk_index:05}.json"


def _read_json(file: Path) -> Any:
    """Return the content of a file, or None where it is missing or damaged."""
    try:
        return parse_json(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
