"""Verify that an export answers as the model in Python does, in the runtime of TF Serving."""

import importlib.metadata
import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from keras_s2s.serving.runtime_check import required_op_libraries
from keras_s2s.serving.saved_model import SavedModel
from keras_s2s.serving.session import SavedModelSession, SessionError
from keras_s2s.serving.signatures import (
    SCORE,
    SCORE_TOLERANCE,
    SERVING_DEFAULT,
    VERIFICATION_FILE,
    Answer,
)
from keras_s2s.utils.console import ProgressFn
from keras_s2s.utils.errors import ExportError
from keras_s2s.utils.files import sha256_of_files, write_json
from keras_s2s.utils.text import encode_texts

BATCH_SIZES = range(1, 34)
# Answers kept in the record, for a client to compare a running server with.
NUM_ANSWERS = 50
# Texts for the slower signatures.
NUM_EXTRA_TEXTS = 200
PACKAGES = ("keras-s2s", "tensorflow", "keras", "numpy")

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


def sample_sentences(
    vocabulary: list[str], size: int, seed: int = 0, separator: str = " "
) -> list[str]:
    """Sample sentences of 1 to 12 random words of a vocabulary."""
    rng = random.Random(seed)
    return [separator.join(rng.choices(vocabulary, k=rng.randint(1, 12))) for _ in range(size)]


class ReferenceTranslator(Protocol):
    """The model in Python that an export is compared with; see `SentenceTranslator`."""

    answers: Any
    score_pairs: Any

    def extra_outputs(self, sentences: Sequence[bytes]) -> dict[str, dict[str, np.ndarray]]:
        """Return the outputs of each further signature that takes only text."""


def verify_export(
    folder: Path,
    translator: ReferenceTranslator,
    sentences: Sequence[str | bytes],
    progress: ProgressFn = lambda step, done, total: None,
    min_confidence: float | None = None,
) -> dict[str, Any]:
    """Compare an export with the model it was made from.

    The export is loaded in a fresh process without Python's TensorFlow, as a server loads it, and
    queried in batches of every size from 1 to 33. Translations must be identical, scores within
    1e-4; hypotheses of beam search with equal scores may be swapped. The record in
    `assets.extra/proof.json` holds what was compared, library versions, checksums of all files,
    and some of the answers.

    Args:
        folder: the SavedModel.
        translator: the model in Python.
        sentences: texts to compare on, in addition to `EDGE_CASES`.
        progress: called with each step, and the number of compared texts.
        min_confidence: the confidence below which the output `guarded` has to be empty; None for
            an export without it.

    Returns:
        The record.

    Raises:
        ExportError: the export does not load or answers differently.
    """
    unique_texts = encode_texts([*EDGE_CASES, *sentences])
    # Repeated until every batch size occurs.
    texts = unique_texts * math.ceil(sum(BATCH_SIZES) / len(unique_texts))
    extra_texts = unique_texts[:NUM_EXTRA_TEXTS]
    progress("translating with the model in Python", 0, 0)
    expected = translator.answers(texts)
    translations, scores, confidences, num_unknown, _ = map(list, zip(*expected, strict=True))
    references = encode_texts(translations)
    pair_scores = [pair.score for pair in translator.score_pairs(texts, references)]
    extra_outputs = translator.extra_outputs(extra_texts)
    num_texts = len(texts) + len(extra_outputs) * len(extra_texts)
    num_compared = 0

    def compared(batch: list[bytes]) -> None:
        nonlocal num_compared
        num_compared += len(batch)
        progress("comparing the answers to texts", num_compared, num_texts)

    num_tokens: list[int] = []
    max_difference = 0.0
    try:
        progress("loading the SavedModel as a server does", 0, 0)
        op_libraries = required_op_libraries(SavedModel(folder))
        with SavedModelSession(folder, op_libraries=op_libraries) as session:
            for batch in _batches(len(texts)):
                answer = session.run(SERVING_DEFAULT, text=texts[batch])
                scored = session.run(SCORE, text=texts[batch], reference=references[batch])
                _compare_translations(texts[batch], answer["translation"], references[batch])
                num_tokens += answer["num_tokens"].tolist()
                if min_confidence is not None:
                    guarded = answer["guarded"]
                    _compare_guarded(texts[batch], guarded, expected[batch], min_confidence)
                for name, outputs, expected_values in (
                    ("score", answer, scores),
                    ("confidence", answer, confidences),
                    ("num_unknown", answer, num_unknown),
                    ("score", scored, pair_scores),
                ):
                    signature = SCORE if outputs is scored else SERVING_DEFAULT
                    difference = _compare_values(
                        f"{name} of signature {signature}",
                        texts[batch],
                        outputs[name],
                        expected_values[batch],
                    )
                    max_difference = max(max_difference, difference)
                compared(texts[batch])
            extra_differences = {
                name: _compare_signature(session, name, extra_texts, outputs, compared)
                for name, outputs in extra_outputs.items()
            }
            runtime_version = session.tensorflow_version
    except SessionError as error:
        raise ExportError(f"the export fails as a server would run it: {error}") from error
    readable_rows = [row for row, text in enumerate(unique_texts) if _is_readable(text)]
    record = {
        "texts": len(unique_texts),
        "batch_sizes": [BATCH_SIZES.start, BATCH_SIZES.stop - 1],
        "largest_score_difference": max_difference,
        **({} if min_confidence is None else {"min_confidence": min_confidence}),
        "largest_difference_of_others": extra_differences,
        "versions": {
            **{name: importlib.metadata.version(name) for name in PACKAGES},
            "tensorflow libraries": runtime_version,
        },
        "sha256": sha256_of_files(folder),
        "answers": [
            {
                "text": unique_texts[row].decode("utf-8"),
                "translation": translations[row],
                "score": scores[row],
                "num_tokens": num_tokens[row],
            }
            for row in readable_rows[:NUM_ANSWERS]
        ],
    }
    path = folder / VERIFICATION_FILE
    path.parent.mkdir(exist_ok=True)
    write_json(path, record, indent=2)
    return record


def _is_readable(text: bytes) -> bool:
    """Return whether a text is short and printable, so that JSON and terminals can carry it."""
    try:
        return text.decode("utf-8").isprintable() and 0 < len(text) <= 200
    except UnicodeDecodeError:
        return False


def _compare_translations(texts: list[bytes], actual: np.ndarray, expected: list[bytes]) -> None:
    """Raise an `ExportError` for the first translation that differs."""
    for row, (text, got, reference) in enumerate(zip(texts, actual, expected, strict=True)):
        if got != reference:
            raise ExportError(
                f"the export translates {_shorten(text)} to {_shorten(got)} and the model to "
                f"{_shorten(reference)} (row {row} of a batch of {len(texts)})"
            )


def _compare_guarded(
    texts: list[bytes], actual: np.ndarray, answers: list[Answer], min_confidence: float
) -> None:
    """Raise an `ExportError` for the first answer that is refused or given unlike the model's."""
    for text, got, answer in zip(texts, actual, answers, strict=True):
        confidence = answer.confidence or 0.0
        guarded = answer.translation.encode() if confidence >= min_confidence else b""
        if got != guarded and abs(confidence - min_confidence) > SCORE_TOLERANCE:
            raise ExportError(
                f"guarded of the export is {_shorten(got)} for {_shorten(text)}, whose translation "
                f"has a confidence of {confidence:.6f} by the model"
            )


def _compare_values(
    name: str, texts: list[bytes], actual: np.ndarray, expected: list[float]
) -> float:
    """Raise an `ExportError` for the first value that differs; return the largest difference."""
    mismatches = ~_is_close(actual, np.array(expected))
    if mismatches.any():
        row = int(np.argmax(mismatches))
        raise ExportError(
            f"{name} of the export is {actual[row]:.6f} for {_shorten(texts[row])}, and the "
            f"model's {expected[row]:.6f}"
        )
    return float(np.abs(actual - np.array(expected)).max(initial=0.0))


def _compare_signature(
    session: SavedModelSession,
    name: str,
    texts: list[bytes],
    outputs: dict[str, np.ndarray],
    compared: Callable[[list[bytes]], None],
) -> float:
    """Run a signature in batches; raise an `ExportError` for the first output that differs.

    Args:
        session: of the export.
        name: of the signature.
        texts: its inputs.
        outputs: those of the model in Python.
        compared: called with the texts of each batch.

    Returns:
        The largest difference of any float.
    """
    max_difference = 0.0
    for batch in _batches(len(texts)):
        served = session.run(name, text=texts[batch])
        for key, expected in ((key, output[batch]) for key, output in outputs.items()):
            actual = served[key]
            if expected.dtype.kind == "f":
                mismatches = ~_is_close(actual, expected)
                difference = float(np.abs(actual - expected).max(initial=0.0))
                max_difference = max(max_difference, difference)
            else:
                mismatches = actual != expected
            if key in ("translations", "confidences"):
                mismatches &= ~_has_ties(outputs["scores"][batch])
            rows = mismatches.reshape(len(texts[batch]), -1).any(axis=1)
            if rows.any():
                text = _shorten(texts[batch][int(np.argmax(rows))])
                raise ExportError(
                    f"{key} of signature {name} of the export differs from the model's for {text}"
                )
        compared(texts[batch])
    return max_difference


def _is_close(actual: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Vectorize `is_close_score`: False for NaN."""
    return np.abs(actual - expected) <= SCORE_TOLERANCE * np.maximum(1.0, np.abs(expected))


def _has_ties(scores: np.ndarray) -> np.ndarray:
    """Return which scores, sorted within each row, equal a neighbor's."""
    with np.errstate(over="ignore"):
        ties = -np.diff(scores, axis=1) <= SCORE_TOLERANCE * np.maximum(1, np.abs(scores[:, 1:]))
    padded = np.pad(ties, [(0, 0), (1, 1)])
    return padded[:, :-1] | padded[:, 1:]


def _batches(size: int) -> list[slice]:
    """Return slices that cycle through `BATCH_SIZES` until they cover `size` rows."""
    batches: list[slice] = []
    start = 0
    while start < size:
        for batch_size in BATCH_SIZES:
            if start < size:
                batches.append(slice(start, min(start + batch_size, size)))
                start += batch_size
    return batches


def _shorten(text: bytes) -> str:
    quoted = repr(text.decode("utf-8", errors="replace"))
    return quoted if len(quoted) <= 60 else quoted[:57] + "…'"
