"""The answers of a verification record, to compare a server with."""

import os
from pathlib import Path
from typing import Any

from keras_s2s.client.answers import is_float32, is_int32, is_text
from keras_s2s.serving.signatures import VERIFICATION_FILE, read_verification_record
from keras_s2s.utils.errors import InputError

# What the record has for each text.
_ANSWER = {"text": is_text, "translation": is_text, "score": is_float32, "num_tokens": is_int32}


def read_answers(folder: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Read the answers recorded when an export was verified.

    Args:
        folder: a version folder that `keras-s2s export` wrote.

    Returns:
        For each sentence a dict of `text`, `translation`, `score` and `num_tokens`.

    Raises:
        InputError: the folder has no verification record, or one without answers.
    """
    path = Path(folder) / VERIFICATION_FILE
    try:
        record = read_verification_record(folder)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check its mode") from error
    if record is None:
        raise InputError(f"{path}: no such file; give the folder of an exported version")
    answers = record.get("answers")
    if not answers or not isinstance(answers, list):
        raise InputError(f"{path}: has no answers to compare with; export the model again")
    for number, answer in enumerate(answers, 1):
        if not isinstance(answer, dict) or not all(
            is_valid(answer.get(name)) for name, is_valid in _ANSWER.items()
        ):
            raise InputError(f"{path}: answer {number} is damaged; export the model again")
    return answers
