"""Answers of a model as the lines that `keras-s2s translate` writes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

# A translation and its score.
Answer = tuple[str, float]
# What a line has in place of its answers when none could be made.
FAILED: list[Answer] = [("", math.nan)]


class Wanted(NamedTuple):
    """What is asked of a model, and what is written of it.

    Attributes:
        beam: see `Translator.translate`.
        n_best: so many lines for each sentence, with its number before them; None for one without.
        with_scores: whether a tab and the score come after each translation.

    Example:

    >>> Wanted(beam=2, n_best=2).lines(7, [("va !", -0.1), ("vas !", -1.5)])
    b'7\\tva !\\n7\\tvas !\\n'
    >>> Wanted(with_scores=True).lines(7, [("va !", -0.1)])
    b'va !\\t-0.100000\\n'
    """

    beam: int = 1
    n_best: int | None = None
    with_scores: bool = False

    def ask(self, model: Any, sentences: Sequence[bytes]) -> list[list[Answer]]:
        """Returns the answers to each sentence, best first.

        Args:
            model: a `Translator`, or an `ExportedTranslator`.
            sentences: raw text.
        """
        translations, scores = model.translate(
            sentences, beam=self.beam, n_best=self.n_best or 1, return_scores=True
        )
        return [
            list(zip(*of_one, strict=True)) for of_one in zip(translations, scores, strict=True)
        ]

    def lines(self, number: int, answers: list[Answer]) -> bytes:
        """Returns what is written of the answers to the sentence of that number."""
        written = []
        for translation, score in answers:
            # Subwords may be any bytes, and a line must stay one.
            line = translation.replace("\n", " ")
            if self.with_scores:
                line = f"{line}\t{score:.6f}"
            if self.n_best is not None:
                line = f"{number}\t{line}"
            written.append(f"{line}\n".encode())
        return b"".join(written)
