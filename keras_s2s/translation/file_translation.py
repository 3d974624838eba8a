"""Files of any size from a source language to a target language, and on after a kill."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from keras_s2s.translation.fault_isolation import OneByOne
from keras_s2s.translation.journal import Journal, ResumableOutput, VerifiedPrefix
from keras_s2s.translation.line_reader import WINDOW_LINES, LineReader
from keras_s2s.translation.output_format import FAILED, Answer, Wanted
from keras_s2s.utils.console import log
from keras_s2s.utils.errors import InputError, one_line
from keras_s2s.utils.signals import GracefulShutdown, Interrupted

# So many at a time, since a request to end waits for them.
LINES_AT_A_TIME = 2048
SECONDS_BETWEEN_REPORTS = 10.0


class FileResult(NamedTuple):
    """What has come of a file.

    Attributes:
        num_lines: its lines.
        num_failed: those of them that have no translation.
        failures: the file that says which.
    """

    num_lines: int
    num_failed: int
    failures: Path


class WindowTranslator:
    """Lines in, lines out, in their order; a line that the model fails for fails alone.

    Args:
        model: a `Translator`, or an `ExportedTranslator`.
        wanted: what is asked of it.
        before_each_part: called every `LINES_AT_A_TIME` lines; it may raise.

    Example:

    >>> class Backwards:
    ...     def translate(self, sentences, **options):
    ...         texts = [sentence.decode() for sentence in sentences]
    ...         return [[text[::-1]] for text in texts], [[-1.0] for _ in texts]
    >>> WindowTranslator(Backwards(), Wanted())(1, [b"Go.", b"", b"Wow!", b"bad\\xff"])
    (b'.oG\\n\\n!woW\\n\\n', b"4\\tUnicodeDecodeError: 'utf-8' codec can't decode byte 0xff in \
position 3: invalid start byte\\tbad\\xff\\n")
    """

    def __init__(
        self, model: Any, wanted: Wanted, before_each_part: Callable[[], None] = lambda: None
    ) -> None:
        self._wanted = wanted
        self._before_each_part = before_each_part
        ask: Callable[[Sequence[bytes]], list[list[Answer]]] = lambda part: wanted.ask(model, part)  # noqa: E731
        self._answers = OneByOne(ask)

    def __call__(self, first: int, lines: list[bytes]) -> tuple[bytes, bytes]:
        """Translates lines.

        Args:
            first: the number of the first one.
            lines: without their ends.

        Returns:
            What is written of them, and for each one that failed its number, the error and itself,
            with tabs in between.
        """
        # An answer does not depend on what is asked with it, so one is enough for equal lines.
        distinct = sorted(set(lines), key=lambda line: (len(line), line))
        found: dict[bytes, list[Answer] | Exception] = {}
        for start in range(0, len(distinct), LINES_AT_A_TIME):
            self._before_each_part()
            part = distinct[start : start + LINES_AT_A_TIME]
            found.update(zip(part, self._answers(part), strict=True))
        output, failed = [], []
        for number, line in enumerate(lines, first):
            answers = found[line]
            if isinstance(answers, Exception):
                reason = one_line(f"{type(answers).__name__}: {answers}")
                text = reason.encode("utf-8", "backslashreplace")
                failed.append(b"%d\t%b\t%b\n" % (number, text, line))
                answers = FAILED
            output.append(self._wanted.lines(number, answers))
        return b"".join(output), b"".join(failed)


def translate_file(
    load: Callable[[], Any],
    model_checksum: str,
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    wanted: Wanted,
    overwrite: bool = False,
    window_lines: int = WINDOW_LINES,
) -> FileResult:
    """Translates each line of a file into a line of another one, in constant memory.

    While it works there is a folder `TARGET.partial`. When it was ended in any way, the same call
    goes on with what is complete in there, and the output is in the end the same.

    Args:
        load: returns the model; called when everything else is there.
        model_checksum: what tells the model from others.
        source: a file of lines, or a `.gz` of one.
        target: the file for the translations, which gets its name when it is complete.
        wanted: what is asked of the model and written.
        overwrite: whether a file at `target`, or what was begun there of something else, is
            replaced.
        window_lines: lines that are done, or not, as a whole.

    Returns:
        A `FileResult`. When lines failed, `TARGET.failed.tsv` has for each its number, the error
        and the line.

    Raises:
        InputError: a file cannot be read or written, is in the way, or what was begun at `target`
            is of something else.
        Interrupted: a signal asked for it.
    """
    partial = ResumableOutput(target)
    partial.check_free(overwrite)
    settings = {"model": model_checksum, **wanted._asdict(), "window_lines": window_lines}
    with LineReader(source, window_lines):
        pass  # better now than when the model is there
    with partial, GracefulShutdown("these lines") as request:
        journal, reader = _go_on(partial, source, settings, overwrite)
        with reader:
            try:
                if not journal.is_complete:
                    translator = WindowTranslator(load(), wanted, request.raise_if_requested)
                    journal = _translate_rest(partial, reader, journal, translator)
                partial.finish(journal)
            except OSError as error:
                raise InputError(
                    f"{error.filename or partial.folder}: {error.strerror or error}; "
                    f"{partial.folder} keeps what is done: mend that, and give the same command"
                ) from error
    return FileResult(journal.num_lines, journal.num_failed, partial.failures)


def _go_on(
    partial: ResumableOutput,
    source: str | os.PathLike[str],
    settings: dict[str, Any],
    overwrite: bool,
) -> tuple[Journal, LineReader]:
    """Where to go on, or begin, and the input there."""
    reader = LineReader(source, settings["window_lines"])
    try:
        journal = partial.read()
        if journal is not None:
            _check_same(partial, journal, settings)
            if not journal.is_complete:
                reader.skip(journal.source.num_bytes, journal.num_lines)
                if reader.checksum != journal.source.checksum:
                    raise InputError(
                        f"{source}: its first {journal.num_lines:,} lines are not those that "
                        f"{partial.folder} was made of; give that file, or --overwrite to begin "
                        "anew"
                    )
                partial.go_on(journal)
                log(f"goes on after {journal.num_lines:,} lines")
            return journal, reader
    except InputError:
        reader.__exit__(None, None, None)
        if not overwrite:
            raise
        reader = LineReader(source, settings["window_lines"])
    partial.begin()
    return Journal(settings), reader


def _check_same(partial: ResumableOutput, journal: Journal, settings: dict[str, Any]) -> None:
    unlike = [name for name, value in settings.items() if journal.settings.get(name) != value]
    if unlike:
        names = ", ".join(name.replace("_", "-") for name in unlike)
        raise InputError(
            f"{partial.folder}: was begun with another {names}; give the same command to go on "
            "with it, or --overwrite to begin anew"
        )


def _translate_rest(
    partial: ResumableOutput, reader: LineReader, journal: Journal, translator: WindowTranslator
) -> Journal:
    report = _Report(reader)
    try:
        while lines := reader.window():
            output, failed = translator(journal.num_lines + 1, lines)
            journal = partial.add(
                journal._replace(
                    num_lines=reader.num_lines,
                    num_failed=journal.num_failed + failed.count(b"\n"),
                    source=VerifiedPrefix(reader.num_bytes, reader.checksum),
                ),
                output,
                failed,
            )
            report.tell()
    except Interrupted as error:
        kept = f"{partial.folder} keeps {journal.num_lines:,} lines"
        error.args = (f"{kept}; the same command goes on with them",)
        raise
    report.tell(is_last=True)
    return journal


class _Report:
    """Says now and then how far the work is, how fast, and how long it will take."""

    def __init__(self, reader: LineReader) -> None:
        self._reader = reader
        self._lines, self._share = reader.num_lines, reader.share
        self._begin = self._last = time.monotonic()

    def tell(self, is_last: bool = False) -> None:
        now = time.monotonic()
        if not is_last and now - self._last < SECONDS_BETWEEN_REPORTS:
            return
        self._last = now
        seconds = now - self._begin
        speed = (self._reader.num_lines - self._lines) / max(seconds, 1e-9)
        message = f"{self._reader.num_lines:,} lines, {speed:,.0f} lines/s"
        share = self._reader.share
        if not is_last and share is not None and self._share is not None and share > self._share:
            left = seconds * (1 - share) / (share - self._share)
            message += f", {share:.0%}, {_shown_seconds(left)} left"
        log(message)


def _shown_seconds(seconds: float) -> str:
    """Hours, minutes and seconds.

    >>> _shown_seconds(7384.2)
    '2:03:04'
    """
    minutes, seconds = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"
