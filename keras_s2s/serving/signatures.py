"""Names, tolerances and files shared by an export, its checks and its clients.

Importable without TensorFlow and NumPy: the client uses it on machines that have neither.
"""

import os
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
