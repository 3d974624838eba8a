"""Proof that an export answers as the model does, on the path a server takes."""

import importlib.metadata
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from keras_s2s.serving.runtime_check import needed_libraries
from keras_s2s.serving.saved_model import SavedModel
from keras_s2s.serving.session import SavedModelSession, SessionError
from keras_s2s.utils.errors import ExportError
from keras_s2s.utils.files import sha256_of_files, write_json
from keras_s2s.utils.text import encode_texts

BATCH_SIZES = range(1, 34)
SCORE_TOLERANCE = 1e-4
# Of the answers, so many are kept in the record, for a client to ask a running server again.
NUM_ANSWERS = 50
# So many texts for signatures that take longer.
NUM_SEARCHED = 200
EXTRA = "assets.extra"
PACKAGES = ("keras-s2s", "tensorflow", "keras", "numpy")

# What clients send besides sentences.
EDGE_CASES: tuple[str | bytes, ...] = (
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


class Proven(Protocol):
    """What is asked of the model in Python; see `SentenceTranslator`."""

    translate: Any
    score_pairs: Any

    def other_answers(self, sentences: Sequence[bytes]) -> dict[str, dict[str, np.ndarray]]:
        """For each further signature that takes only text, its outputs."""


def verify_export(
    folder: Path, translator: "Proven", sentences: Sequence[str | bytes]
) -> dict[str, Any]:
    """Compares an export with the model it was made from.

    The export is loaded in a fresh process without Python's TensorFlow, as a server does, and is
    asked in batches of every size from 1 to 33. Translations must be the same to the letter,
    scores to 1e-4; of beam search those with the same score may change places. The record of it
    goes into `assets.extra/proof.json`: what was compared, the versions of the libraries, the
    hashes of all files, and some of the answers.

    Args:
        folder: the SavedModel.
        translator: the model in Python.
        sentences: what to ask, besides a few odd texts.

    Returns:
        The record.

    Raises:
        ExportError: the export does not load or answers differently.
    """
    asked = encode_texts([*EDGE_CASES, *sentences])
    # As often as it takes for every size of a batch to have its turn.
    texts = asked * math.ceil(sum(BATCH_SIZES) / len(asked))
    translations, scores = translator.translate(texts, return_scores=True)
    references = encode_texts(translations)
    pair_scores = [pair.score for pair in translator.score_pairs(texts, references)]
    num_tokens: list[int] = []
    largest_difference = 0.0
    try:
        op_libraries = needed_libraries(SavedModel(folder))
        with SavedModelSession(folder, op_libraries=op_libraries) as session:
            for batch in _batches(len(texts)):
                answer = session.run("serving_default", text=texts[batch])
                scored = session.run("score", text=texts[batch], reference=references[batch])
                _compare_texts(texts[batch], answer["translation"], references[batch])
                num_tokens += answer["num_tokens"].tolist()
                for signature, served, own in (
                    ("serving_default", answer["score"], scores[batch]),
                    ("score", scored["score"], pair_scores[batch]),
                ):
                    difference = _compare_scores(signature, texts[batch], served, own)
                    largest_difference = max(largest_difference, difference)
            others = {
                name: _compare_signature(session, name, asked[:NUM_SEARCHED], expected)
                for name, expected in translator.other_answers(asked[:NUM_SEARCHED]).items()
            }
            libraries = session.tensorflow_version
    except SessionError as error:
        raise ExportError(f"the export fails as a server would run it: {error}") from error
    spoken = [row for row, text in enumerate(asked) if _is_plain(text)]
    record = {
        "texts": len(asked),
        "batch_sizes": [BATCH_SIZES.start, BATCH_SIZES.stop - 1],
        "largest_score_difference": largest_difference,
        "largest_difference_of_others": others,
        "versions": {
            **{name: importlib.metadata.version(name) for name in PACKAGES},
            "tensorflow libraries": libraries,
        },
        "sha256": sha256_of_files(folder),
        "answers": [
            {
                "text": asked[row].decode("utf-8"),
                "translation": translations[row],
                "score": scores[row],
                "num_tokens": num_tokens[row],
            }
            for row in spoken[:NUM_ANSWERS]
        ],
    }
    extra = folder / EXTRA
    extra.mkdir(exist_ok=True)
    write_json(extra / "proof.json", record, indent=2)
    return record


def _is_plain(text: bytes) -> bool:
    """Whether a client can send the text in any way, JSON too, and a person can read it."""
    try:
        return text.decode("utf-8").isprintable() and 0 < len(text) <= 200
    except UnicodeDecodeError:
        return False


def _compare_texts(texts: list[bytes], served: np.ndarray, own: list[bytes]) -> None:
    """Raises an `ExportError` about the first translation that is not the same to the letter."""
    for row, (text, got, wanted) in enumerate(zip(texts, served, own, strict=True)):
        if got != wanted:
            raise ExportError(
                f"the export translates {_shown(text)} to {_shown(got)} and the model to "
                f"{_shown(wanted)} (row {row} of a batch of {len(texts)})"
            )


def _compare_scores(
    signature: str, texts: list[bytes], served: np.ndarray, own: list[float]
) -> float:
    """Raises an `ExportError` about the first score that differs; returns how far any does."""
    differences = np.abs(served - np.array(own))
    # Not the other way round: a score that is no number shall not pass.
    different = ~(differences <= SCORE_TOLERANCE * np.maximum(1.0, np.abs(own)))
    if different.any():
        row = int(np.argmax(different))
        raise ExportError(
            f"signature {signature} of the export scores {_shown(texts[row])} with "
            f"{served[row]:.6f} and the model with {own[row]:.6f}"
        )
    return float(differences.max(initial=0.0))


def _compare_signature(
    session: SavedModelSession, name: str, texts: list[bytes], expected: dict[str, np.ndarray]
) -> float:
    """Asks a signature in batches; raises an `ExportError` about the first answer that differs.

    Returns:
        How far any number differs.
    """
    largest = 0.0
    for batch in _batches(len(texts)):
        served = session.run(name, text=texts[batch])
        numbers = {
            key: np.abs(served[key] - own[batch])
            for key, own in expected.items()
            if own.dtype.kind == "f"
        }
        for key, differences in numbers.items():
            # Not the other way round: a score that is no number shall not pass.
            allowed = SCORE_TOLERANCE * np.maximum(1.0, np.abs(expected[key][batch]))
            _refuse(name, key, texts[batch], ~(differences <= allowed))
            largest = max(largest, float(differences.max(initial=0.0)))
        for key, own in expected.items():
            if own.dtype.kind != "f":
                different = served[key] != own[batch]
                if key == "translations":
                    different &= ~_has_equals(expected["scores"][batch])
                _refuse(name, key, texts[batch], different)
    return largest


def _has_equals(scores: np.ndarray) -> np.ndarray:
    """Which of the scores of a row, best first, are those of a neighbour too."""
    with np.errstate(over="ignore"):
        close = -np.diff(scores, axis=1) <= SCORE_TOLERANCE * np.maximum(1, np.abs(scores[:, 1:]))
    padded = np.pad(close, [(0, 0), (1, 1)])
    return padded[:, :-1] | padded[:, 1:]


def _refuse(signature: str, key: str, texts: list[bytes], different: np.ndarray) -> None:
    rows = different.reshape(len(texts), -1).any(axis=1)
    if rows.any():
        text = _shown(texts[int(np.argmax(rows))])
        raise ExportError(
            f"{key} of signature {signature} of the export is another for {text} than the model's"
        )


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
