"""Proof that an export answers as the model does, on the path a server takes."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np

from keras_s2s.errors import ExportError
from keras_s2s.sentences import SentenceTranslator, as_list
from keras_s2s.session import SavedModelSession, SessionError

BATCH_SIZES = range(1, 34)
SCORE_TOLERANCE = 1e-4

# What clients send besides sentences.
ODD_TEXTS: tuple[str | bytes, ...] = (
    "",
    "   ",
    "\t\n",
    "!",
    "...",
    "<eos>",
    "<pad> <bos> <unk>",
    "IT'S ALL CAPITALS!",
    "no-break\u202f!\u00a0spaces",
    "İstanbul ẞ ŒUVRE",
    "emoji 🙂🙃",
    "שלום עולם",
    "words of no language xqzzt vrrk",
    b"invalid \xff\xfe UTF-8 \xc3",
    b"a NUL \x00 inside",
    "word " * 10_000,
    "long" * 10_000,
)


def sample_sentences(vocabulary: list[str], size: int, seed: int = 0) -> list[str]:
    """Sentences of one to twelve words of a vocabulary, drawn at random."""
    choice = random.Random(seed)
    return [" ".join(choice.choices(vocabulary, k=choice.randint(1, 12))) for _ in range(size)]


def prove(
    folder: Path, translator: SentenceTranslator, sentences: list[str | bytes]
) -> dict[str, Any]:
    """Compares an export with the model it was made from.

    The export is loaded in a fresh process without Python's TensorFlow, as a server does, and is
    asked in batches of every size from 1 to 33. Translations must be the same to the letter,
    scores to 1e-4. The record of it is written to `assets.extra/proof.json`.

    Args:
        folder: the SavedModel.
        translator: the model in Python.
        sentences: what to ask, besides a few odd texts.

    Returns:
        The record.

    Raises:
        ExportError: the export does not load or answers differently.
    """
    texts = as_list([*ODD_TEXTS, *sentences])
    expected, expected_scores = translator.translate(texts, return_scores=True)
    pairs = translator.score_pairs(texts, expected)
    largest_difference = 0.0
    try:
        with SavedModelSession(folder) as session:
            for batch in _batches(len(texts)):
                answer = session.run("serving_default", text=texts[batch])
                scored = session.run("score", text=texts[batch], reference=expected[batch])
                for row, text, translation, score, pair in zip(
                    range(batch.stop - batch.start),
                    texts[batch],
                    expected[batch],
                    expected_scores[batch],
                    pairs[batch],
                    strict=True,
                ):
                    got = answer["translation"][row]
                    if got != translation.encode():
                        raise ExportError(
                            f"the export translates {_shown(text)} to {_shown(got)} and the "
                            f"model to {translation!r} (row {row} of {batch.stop - batch.start})"
                        )
                    for name, served, own in (
                        ("serving_default", answer["score"][row], score),
                        ("score", scored["score"][row], pair.score),
                    ):
                        difference = abs(float(served) - own)
                        largest_difference = max(largest_difference, difference)
                        if not difference <= SCORE_TOLERANCE * max(1.0, abs(own)):
                            raise ExportError(
                                f"signature {name} of the export scores {_shown(text)} with "
                                f"{served} and the model with {own}"
                            )
            libraries = session.tensorflow_version
    except SessionError as error:
        raise ExportError(f"the export fails as a server would run it: {error}") from error
    record = {
        "sentences": len(texts),
        "batch_sizes": [BATCH_SIZES.start, BATCH_SIZES.stop - 1],
        "equal_translations": len(texts),
        "largest_score_difference": largest_difference,
        "tensorflow_libraries": libraries,
    }
    extra = folder / "assets.extra"
    extra.mkdir(exist_ok=True)
    (extra / "proof.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return record


def _batches(size: int) -> list[slice]:
    """Slices of every size in `BATCH_SIZES`, in turn, until all is covered."""
    batches: list[slice] = []
    start = 0
    while start < size:
        for batch_size in BATCH_SIZES:
            if start < size:
                batches.append(slice(start, min(start + batch_size, size)))
                start += batch_size
    return batches


def _shown(text: bytes) -> str:
    shown = repr(text.decode("utf-8", errors="replace"))
    return shown if len(shown) <= 60 else shown[:57] + "…'"
