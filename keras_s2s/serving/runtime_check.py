"""Load a SavedModel as TF Serving does, and run a few sentences through it."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from keras_s2s.serving.graph_checks import make_check, min_server_version
from keras_s2s.serving.inspection import Check
from keras_s2s.serving.op_libraries import tensorflow_text_libraries
from keras_s2s.serving.saved_model import SavedModel
from keras_s2s.serving.session import SavedModelSession, SessionError
from keras_s2s.serving.signatures import SCORE, SERVING_DEFAULT, is_close_score
from keras_s2s.utils.errors import one_line

BATCH_SIZE = 40
# The first is empty, so that a model whose rows follow the first of their batch is caught.
TEXTS = (b"", b"Go.", b"I won!", b"words of no language xqzzt", b"  ", b"\xff\xfe \xc3", b"a \0")


def required_op_libraries(model: SavedModel) -> list[Path]:
    """Return the op libraries that a server links and TensorFlow alone lacks.

    Args:
        model: any SavedModel.

    Returns:
        Paths for the `op_libraries` of `SavedModelSession`; none if core ops suffice.

    Raises:
        SessionError: TensorFlow Text is needed and not installed.
    """
    return tensorflow_text_libraries() if min_server_version(model) else []


def check_runtime(
    model: SavedModel,
    record: dict[str, Any] | None,
    nonconforming: list[str],
    unsafe: list[str],
    libraries: str | os.PathLike[str] | None = None,
) -> list[Check]:
    """Load a model as a server does and, if its signatures conform, run sentences through it.

    Args:
        model: any SavedModel.
        record: the record of `verify_export`, if there is one.
        nonconforming: required signatures that are missing or break the contract; if there are
            any, nothing is run.
        unsafe: what speaks against loading the model at all; if there is anything, it is not.
        libraries: as for `SavedModelSession`.

    Returns:
        Two checks, `loading` and `answers`.
    """
    if unsafe:
        reason = f"not loaded, since it is not safe to run ({unsafe[0]}); --trust runs it"
        return [Check(name, "not applicable", reason) for name in ("loading", "answers")]
    try:
        op_libraries = required_op_libraries(model)
        if op_libraries and libraries is not None:
            raise SessionError("TensorFlow Text is available for the installed TensorFlow only")
    except SessionError as error:
        return [Check(name, "not applicable", str(error)) for name in ("loading", "answers")]
    try:
        with SavedModelSession(model.folder, libraries, op_libraries, read_only=True) as session:
            loading = (
                f"TensorFlow {session.tensorflow_version} loads it without Python, as a server does"
            )
            if session.read_only:
                loading += ", in a process that cannot change files"
            return [
                Check("loading", "passed", loading),
                _check_answers(model, record, nonconforming, session),
            ]
    except SessionError as error:
        return [
            Check("loading", "failed", f"a server cannot load it: {_reason(model, error)}"),
            Check("answers", "not applicable", "the model does not load"),
        ]


class Prediction(NamedTuple):
    """The outputs of `serving_default` for one sentence."""

    translation: bytes
    score: float
    num_tokens: int

    def is_close(self, other: "Prediction") -> bool:
        """Return whether it is equal except for rounding of the score."""
        same = (self.translation, self.num_tokens) == (other.translation, other.num_tokens)
        return same and is_close_score(self.score, other.score)


def _check_answers(
    model: SavedModel,
    record: dict[str, Any] | None,
    nonconforming: list[str],
    session: SavedModelSession,
) -> Check:
    if nonconforming:
        reason = f"signature {', '.join(nonconforming)} does not follow the contract"
        return Check("answers", "not applicable", reason)
    recorded = _recorded_predictions(record)
    texts = [*TEXTS, *(text for text in recorded if text not in TEXTS)]
    batch = (texts * BATCH_SIZE)[: max(BATCH_SIZE, len(texts))]
    problems = []
    try:
        batched = _predict(session, batch)
        alone = {text: _predict(session, [text])[0] for text in texts}
        session.run(SCORE, text=batch, reference=[result.translation for result in batched])
    except (SessionError, ValueError) as error:
        problems = [f"a request fails: {_reason(model, error)}"]
    else:
        for text, result in zip(batch, batched, strict=True):
            expected = recorded.get(text, result)
            problems += [
                f"{text!r:.40} {problem}"
                for problem in _problems(text, result, alone[text], expected)
            ]
    return make_check(
        "answers",
        problems[:1],
        "",
        f"{len(texts)} texts get the same answers alone and in a batch of {len(batch)}",
    )


def _recorded_predictions(record: dict[str, Any] | None) -> dict[bytes, Prediction]:
    """Return the answers of a verification record, by text."""
    try:
        return {
            answer["text"].encode(): Prediction(
                answer["translation"].encode(), answer["score"], answer["num_tokens"]
            )
            for answer in (record or {})["answers"]
        }
    except (AttributeError, KeyError, TypeError):
        return {}


def _predict(session: SavedModelSession, texts: list[bytes]) -> list[Prediction]:
    outputs = session.run(SERVING_DEFAULT, text=texts)
    columns = [outputs[name].tolist() for name in Prediction._fields]
    if any(len(column) != len(texts) for column in columns):
        raise ValueError(f"{len(texts)} texts get {[len(column) for column in columns]} answers")
    return [Prediction(*row) for row in zip(*columns, strict=True)]


def _problems(
    text: bytes, batched: Prediction, alone: Prediction, recorded: Prediction
) -> Iterator[str]:
    """Yield the defects of a prediction that was made in a batch."""
    if not batched.is_close(alone):
        yield "gets another answer alone than in a batch, and a server batches requests"
    if not batched.is_close(recorded):
        yield "gets another answer than when the export was verified"
    if not text and batched.translation:
        yield "gets a translation although it is empty"
    try:
        batched.translation.decode()
    except UnicodeDecodeError:
        yield "gets an answer that is not UTF-8, which REST cannot return"


def _reason(model: SavedModel, error: Exception) -> str:
    return one_line(str(error).removeprefix(f"{model.folder}: "), 300)
