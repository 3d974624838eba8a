"""Names, tolerances and files shared by an export, its checks and its clients.

Importable without TensorFlow and NumPy: the client uses it on machines that have neither.
"""

import json
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from keras_s2s.utils.files import parse_json

SERVING_DEFAULT, SCORE, BEAM, EXPLAIN = "serving_default", "score", "beam", "explain"
REQUIRED_SIGNATURES = (SERVING_DEFAULT, SCORE)

# Inputs and outputs of each signature. A letter stands for any size, the same within a signature.
SIGNATURES: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    SERVING_DEFAULT: (
        {"text": "string [-1]"},
        {"translation": "string [-1]", "score": "float32 [-1]", "num_tokens": "int32 [-1]"},
    ),
    SCORE: (
        {"text": "string [-1]", "reference": "string [-1]"},
        {"score": "float32 [-1]", "num_tokens": "int32 [-1]"},
    ),
    BEAM: (
        {"text": "string [-1]"},
        {"translations": "string [-1, n]", "scores": "float32 [-1, n]"},
    ),
    EXPLAIN: (
        {"text": "string [-1]"},
        {
            "source_tokens": "string [-1, S]",
            "target_tokens": "string [-1, T]",
            "attention": "float32 [-1, T, S]",
        },
    ),
}

# Outputs that some exports lack: those of earlier versions, or without a threshold (`guarded`).
OPTIONAL_OUTPUTS: dict[str, dict[str, str]] = {
    SERVING_DEFAULT: {
        "confidence": "float32 [-1]",
        "num_unknown": "int32 [-1]",
        "guarded": "string [-1]",
    },
    SCORE: {},
    BEAM: {"confidences": "float32 [-1, n]", "num_unknown": "int32 [-1]"},
    EXPLAIN: {"probabilities": "float32 [-1, T]", "unknown_source": "int32 [-1, S]"},
}

# Score of a missing hypothesis: the lowest float32, since JSON has no minus infinity.
MIN_SCORE = -3.4028234663852886e38

# Relative to the expected score, absolute below 1 nat.
SCORE_TOLERANCE = 1e-4

# Files of a version folder. TF Serving reads warm-up requests from this path.
EXTRA_ASSETS = "assets.extra"
VERIFICATION_FILE = Path(EXTRA_ASSETS, "proof.json")
WARMUP_FILE = Path(EXTRA_ASSETS, "tf_serving_warmup_requests")


class ScoredPair(NamedTuple):
    """Score of a reference translation.

    Attributes:
        score: log-probability in nats.
        num_tokens: number of tokens it sums over, including the end-of-sentence token.
    """

    score: float
    num_tokens: int


class Answer(NamedTuple):
    """A translation, and what it is worth.

    Attributes:
        translation: the text.
        score: log-probability in nats, of a beam search divided by the length penalty.
        confidence: probability of the whole translation given the source, 0 to 1; None from the
            beam search of an export that does not tell it.
        num_unknown: number of source tokens that the model does not know; None from an export that
            does not tell it.
        guarded: the translation, or "" if the export refuses it for its low confidence; None from
            an export without a threshold.
    """

    translation: str
    score: float
    confidence: float | None
    num_unknown: int | None
    guarded: str | None = None

    def as_json(self, text: bytes) -> str:
        """Return a JSON object with the source text, in a line without control characters.

        Example:

        >>> print(Answer("va !", float("nan"), 0.5, None).as_json(b"Go."))
        {"text": "Go.", "translation": "va !", "score": null, "confidence": 0.5, "num_unknown": null}
        """  # noqa: E501
        fields = {"text": text.decode("utf-8", errors="replace"), **self._asdict()}
        # JSON has no NaN.
        fields["score"] = self.score if math.isfinite(self.score) else None
        if self.guarded is None:
            del fields["guarded"]
        line = json.dumps(fields, ensure_ascii=False)
        return re.sub("[\x7f-\x9f\u2028\u2029]", lambda match: f"\\u{ord(match[0]):04x}", line)


def answers_of(outputs: Mapping[str, list[Any]]) -> list[Answer]:
    """Return the answers in the outputs of `serving_default`, as lists.

    Example:

    >>> [answer] = answers_of({"translation": ["va !"], "score": [-0.5], "num_tokens": [3]})
    >>> round(answer.confidence, 4), answer.num_unknown
    (0.6065, None)
    """
    scores = outputs["score"]
    confidences = outputs.get("confidence") or [math.exp(min(score, 0.0)) for score in scores]
    num_unknown, guarded = (
        outputs.get(name) or [None] * len(scores) for name in ("num_unknown", "guarded")
    )
    return list(map(Answer, outputs["translation"], scores, confidences, num_unknown, guarded))


def is_close_score(score: float, expected: float) -> bool:
    """Return whether two scores are equal within `SCORE_TOLERANCE`; False for NaN."""
    return abs(score - expected) <= SCORE_TOLERANCE * max(1.0, abs(expected))


def read_verification_record(folder: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Read the record that `verify_export` left in a version folder.

    Returns:
        The record; an empty dict if the file is damaged, None without one.
    """
    file = Path(folder) / VERIFICATION_FILE
    if not file.is_file():
        return None
    try:
        record = parse_json(file.read_bytes())
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}
