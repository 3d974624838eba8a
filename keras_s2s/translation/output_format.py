"""The lines that `keras-s2s translate` writes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from keras_s2s.serving.signatures import Answer
from keras_s2s.utils.errors import escape_controls

# A translation and its score, or all that is known of an answer.
ScoredTranslation = tuple[str, float] | Answer
# The output for a line whose translation failed.
FAILED: list[ScoredTranslation] = [("", math.nan)]


class OutputOptions(NamedTuple):
    """Options of a translation to lines.

    Attributes:
        beam: see `Translator.translate`.
        n_best: number of output lines per sentence, with the line number in front; None for one
            line without it.
        with_scores: append a tab and the score to each translation.
        json: write a JSON object for each sentence, with `text`, `translation`, `score`,
            `confidence` and `num_unknown`; see `Answer`. A value that is not known is null.

    Example:

    >>> OutputOptions(beam=2, n_best=2).format_lines(7, b"Go.", [("va !", -0.1), ("vas !", -1.5)])
    b'7\\tva !\\n7\\tvas !\\n'
    >>> OutputOptions(with_scores=True).format_lines(7, b"Go.", [("va !", -0.1)])
    b'va !\\t-0.100000\\n'
    >>> OutputOptions(json=True).format_lines(7, b"Go.", [Answer("va !", -0.125, 0.875, 0)])
    b'{"text": "Go.", "translation": "va !", "score": -0.125, "confidence": 0.875, "num_unknown": 0}\\n'
    """  # noqa: E501

    beam: int = 1
    n_best: int | None = None
    with_scores: bool = False
    json: bool = False

    def settings(self) -> dict[str, Any]:
        """Return the options as they are recorded with unfinished output."""
        # Earlier versions do not record `json`.
        return {name: value for name, value in self._asdict().items() if name != "json" or value}

    def translate(self, model: Any, sentences: Sequence[bytes]) -> list[list[ScoredTranslation]]:
        """Return the translations of each sentence, best first.

        Args:
            model: a `Translator` or `ExportedTranslator`.
            sentences: raw text.
        """
        if self.json:
            return [[answer] for answer in model.answers(sentences, beam=self.beam)]
        translations, scores = model.translate(
            sentences, beam=self.beam, n_best=self.n_best or 1, return_scores=True
        )
        return [list(zip(*pair, strict=True)) for pair in zip(translations, scores, strict=True)]

    def format_lines(
        self,
        line_number: int,
        text: bytes,
        translations: list[ScoredTranslation],
        escape: bool = False,
    ) -> bytes:
        """Return the output lines for the translations of an input line.

        Args:
            line_number: of the input line, from 1.
            text: the input line.
            translations: best first.
            escape: escape control characters, as on a terminal, which would obey them.
        """
        if self.json:
            translation, score, *worth = translations[0]
            answer = Answer(translation, score, *(worth or (None, None)))
            return answer.as_json(text).encode() + b"\n"
        lines = []
        for translation, score, *_ in translations:
            # Subword models can generate any bytes, line feeds included.
            line = escape_controls(translation) if escape else translation.replace("\n", " ")
            if self.with_scores:
                line = f"{line}\t{score:.6f}"
            if self.n_best is not None:
                line = f"{line_number}\t{line}"
            lines.append(f"{line}\n".encode())
        return b"".join(lines)
