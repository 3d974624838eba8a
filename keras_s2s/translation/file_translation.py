"""Translation of files of any size, resumable after a kill."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from keras_s2s.translation.journal import Journal, ResumableOutput, VerifiedPrefix
from keras_s2s.translation.line_reader import WINDOW_LINES, LineReader
from keras_s2s.translation.output_format import FAILED, OutputOptions, ScoredTranslation
from keras_s2s.utils.console import log
from keras_s2s.utils.errors import InputError, one_line
from keras_s2s.utils.signals import GracefulShutdown, Interrupted
from keras_s2s.utils.text import InvalidLines

# Lines between two checks for a request to shut down.
BATCH_LINES = 2048
# Seconds between two progress messages.
PROGRESS_INTERVAL = 10.0
# After this number of failures in a row the cause is not the input.
MAX_CONSECUTIVE_FAILURES = 100

Input = TypeVar("Input")
Output = TypeVar("Output")


class FileResult(NamedTuple):
    """Summary of a translated file.

    Attributes:
        num_lines: number of input lines.
        num_failed: number of lines without a translation.
        failures: the file that lists them.
    """

    num_lines: int
    num_failed: int
    failures: Path


def isolate_failures(
    function: Callable[[Sequence[Input]], list[Output]],
) -> Callable[[Sequence[Input]], list[Output | Exception]]:
    """Wrap a batch function to return an exception for each input that fails by itself.

    A batch that fails is bisected. The wrapper raises an `InputError` of the function, which does
    not concern a single input, and the last of `MAX_CONSECUTIVE_FAILURES` exceptions in a row.

    Args:
        function: returns an output for each input.

    Example:

    >>> def halve(values):
    ...     if 3 in values:
    ...         raise ValueError("3 is odd")
    ...     return [value // 2 for value in values]
    >>> isolate_failures(halve)([2, 3, 4, 6])
    [1, ValueError('3 is odd'), 2, 3]
    """
    consecutive_failures = 0

    def call(inputs: Sequence[Input]) -> list[Output | Exception]:
        nonlocal consecutive_failures
        outputs: list[Output | Exception] = []
        try:
            outputs += function(inputs)
            if len(outputs) != len(inputs):
                raise RuntimeError(f"{len(outputs)} results for {len(inputs)} values")
        except InputError:
            raise
        except Exception as error:
            if len(inputs) == 1:
                consecutive_failures += 1
                if consecutive_failures == MAX_CONSECUTIVE_FAILURES:
                    raise
                return [error]
            middle = len(inputs) // 2
            return call(inputs[:middle]) + call(inputs[middle:])
        if outputs:
            consecutive_failures = 0
        return outputs

    return call


class WindowTranslator:
    """Translates lines in order; a line for which the model raises fails by itself.

    Args:
        model: a `Translator` or `ExportedTranslator`.
        options: of the output.
        before_batch: called every `BATCH_LINES` lines; may raise.

    Example:

    >>> class Backwards:
    ...     def translate(self, sentences, **options):
    ...         texts = [sentence.decode() for sentence in sentences]
    ...         return [[text[::-1]] for text in texts], [[-1.0] for _ in texts]
    >>> WindowTranslator(Backwards(), OutputOptions())(1, [b"Go.", b"", b"Wow!", b"bad\\xff"])
    (b'.oG\\n\\n!woW\\n\\n', b"4\\tUnicodeDecodeError: 'utf-8' codec can't decode byte 0xff in \
position 3: invalid start byte\\tbad\\xff\\n")
    """

    def __init__(
        self, model: Any, options: OutputOptions, before_batch: Callable[[], None] = lambda: None
    ) -> None:
        def translate(lines: Sequence[bytes]) -> list[list[ScoredTranslation]]:
            return options.translate(model, lines)

        self._options = options
        self._before_batch = before_batch
        self._translate = isolate_failures(translate)

    def __call__(self, first_line: int, lines: list[bytes]) -> tuple[bytes, bytes]:
        """Translate lines.

        Args:
            first_line: the number of the first line.
            lines: without line ends.

        Returns:
            The output, and a tab-separated list of failures: line number, error, line.
        """
        # A translation does not depend on its batch, so equal lines are translated once.
        distinct = sorted(set(lines), key=lambda line: (len(line), line))
        results: dict[bytes, list[ScoredTranslation] | Exception] = {}
        for start in range(0, len(distinct), BATCH_LINES):
            self._before_batch()
            batch = distinct[start : start + BATCH_LINES]
            results.update(zip(batch, self._translate(batch), strict=True))
        output, failures = [], []
        for line_number, line in enumerate(lines, first_line):
            result = results[line]
            if isinstance(result, Exception):
                reason = one_line(f"{type(result).__name__}: {result}")
                text = reason.encode("utf-8", "backslashreplace")
                failures.append(b"%d\t%b\t%b\n" % (line_number, text, line))
                result = FAILED
            output.append(self._options.format_lines(line_number, line, result))
        return b"".join(output), b"".join(failures)


def translate_file(
    load_model: Callable[[], Any],
    model_checksum: str,
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    options: OutputOptions,
    overwrite: bool = False,
    window_lines: int = WINDOW_LINES,
) -> FileResult:
    """Translate a file line by line, in constant memory.

    Progress is kept in a folder `TARGET.partial`. After an interruption of any kind the same call
    resumes from there, and the final output is the same.

    Args:
        load_model: returns the model; called once all files have been checked.
        model_checksum: identifies the model.
        source: a text file, or a `.gz` of one.
        target: the output file; created when it is complete.
        options: of the output.
        overwrite: replace an existing `target`, or progress that does not belong to this call.
        window_lines: lines between two checkpoints.

    Returns:
        A `FileResult`. If lines failed, `TARGET.failed.tsv` lists line number, error and line.

    Raises:
        InputError: a file cannot be read or written, exists already, or the progress at `target`
            does not belong to this call.
        Interrupted: after a signal.
    """
    partial = ResumableOutput(target)
    partial.check_free(overwrite)
    settings = {"model": model_checksum, **options.settings(), "window_lines": window_lines}
    with LineReader(source, window_lines):
        pass  # fail before the model is loaded
    with partial, GracefulShutdown("these lines") as shutdown:
        journal, reader = _start_or_resume(partial, source, settings, overwrite)
        with reader:
            try:
                if not journal.is_complete:
                    translator = WindowTranslator(
                        load_model(), options, shutdown.raise_if_requested
                    )
                    journal = _translate_remaining(partial, reader, journal, translator)
                partial.finish(journal)
            except OSError as error:
                raise InputError(
                    f"{error.filename or partial.folder}: {error.strerror or error}; "
                    f"{partial.folder} keeps the progress: fix the problem, then run the same "
                    "command again"
                ) from error
    return FileResult(journal.num_lines, journal.num_failed, partial.failures)


def _start_or_resume(
    partial: ResumableOutput,
    source: str | os.PathLike[str],
    settings: dict[str, Any],
    overwrite: bool,
) -> tuple[Journal, LineReader]:
    """Open the output, and the input at the first line that is not translated."""
    reader = LineReader(source, settings["window_lines"])
    try:
        journal = partial.read_journal()
        if journal is not None:
            _check_settings(partial, journal, settings)
            if not journal.is_complete:
                reader.skip(journal.source.num_bytes, journal.num_lines)
                if reader.checksum != journal.source.checksum:
                    raise InputError(
                        f"{source}: its first {journal.num_lines:,} lines have changed since "
                        f"{partial.folder} was written; give the old file, or --overwrite to "
                        "start over"
                    )
                partial.resume(journal)
                log(f"resuming after {journal.num_lines:,} lines")
            return journal, reader
    except InputError:
        reader.__exit__(None, None, None)
        if not overwrite:
            raise
        reader = LineReader(source, settings["window_lines"])
    partial.start()
    return Journal(settings), reader


def _check_settings(partial: ResumableOutput, journal: Journal, settings: dict[str, Any]) -> None:
    changed = [name for name, value in settings.items() if journal.settings.get(name) != value]
    if changed:
        names = ", ".join(name.replace("_", "-") for name in changed)
        raise InputError(
            f"{partial.folder}: was started with another {names}; give the same command to resume "
            "it, or --overwrite to start over"
        )


def _translate_remaining(
    partial: ResumableOutput, reader: LineReader, journal: Journal, translator: WindowTranslator
) -> Journal:
    progress, invalid = _ProgressLog(reader), InvalidLines(reader.name)
    try:
        while lines := reader.window():
            invalid.add(journal.num_lines + 1, lines)
            output, failures = translator(journal.num_lines + 1, lines)
            journal = partial.append(
                journal._replace(
                    num_lines=reader.num_lines,
                    num_failed=journal.num_failed + failures.count(b"\n"),
                    source=VerifiedPrefix(reader.num_bytes, reader.checksum),
                ),
                output,
                failures,
            )
            progress.update()
    except Interrupted as error:
        error.args = (
            f"{partial.folder} keeps {journal.num_lines:,} lines; run the same command to resume",
        )
        raise
    progress.update(is_last=True)
    invalid.report()
    return journal


class _ProgressLog:
    """Logs lines, throughput and remaining time every `PROGRESS_INTERVAL` seconds."""

    def __init__(self, reader: LineReader) -> None:
        self._reader = reader
        self._start_lines, self._start_progress = reader.num_lines, reader.progress
        self._start = self._last = time.monotonic()

    def update(self, is_last: bool = False) -> None:
        now = time.monotonic()
        if not is_last and now - self._last < PROGRESS_INTERVAL:
            return
        self._last = now
        seconds = now - self._start
        throughput = (self._reader.num_lines - self._start_lines) / max(seconds, 1e-9)
        message = f"{self._reader.num_lines:,} lines, {throughput:,.0f} lines/s"
        start, progress = self._start_progress, self._reader.progress
        if not is_last and progress is not None and start is not None and progress > start:
            remaining = seconds * (1 - progress) / (progress - start)
            message += f", {progress:.0%}, {_format_duration(remaining)} left"
        log(message)


def _format_duration(seconds: float) -> str:
    """Format seconds as hours, minutes and seconds.

    >>> _format_duration(7384.2)
    '2:03:04'
    """
    minutes, seconds = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"
