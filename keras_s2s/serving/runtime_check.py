"""A SavedModel on trial: loaded as TF Serving loads it, and asked a few sentences."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from keras_s2s.serving.graph_checks import minimum_server, verdict
from keras_s2s.serving.inspection import Check
from keras_s2s.serving.saved_model import SavedModel
from keras_s2s.serving.session import SavedModelSession, SessionError, tensorflow_text_libraries
from keras_s2s.utils.errors import one_line

SCORE_TOLERANCE = 1e-4
BATCH_SIZE = 40
# The first is empty, so that rows which follow the first of their batch are empty too.
TEXTS = (b"", b"Go.", b"I won!", b"words of no language xqzzt", b"  ", b"\xff\xfe \xc3", b"a \0")


def needed_libraries(model: SavedModel) -> list[Path]:
    """The libraries with ops that a server has built in and TensorFlow alone has not.

    Args:
        model: any SavedModel.

    Returns:
        The paths, for the `op_libraries` of `SavedModelSession`; none for core ops alone.

    Raises:
        SessionError: TensorFlow Text is needed and not installed.
    """
    return tensorflow_text_libraries() if minimum_server(model) else []


def check_running(
    model: SavedModel,
    proof: dict[str, Any] | None,
    strangers: list[str],
    libraries: str | os.PathLike[str] | None = None,
) -> list[Check]:
    """Loads a model as a server does and, if it is the contract's, asks it a few sentences.

    Args:
        model: any SavedModel.
        proof: the record that `keras-s2s export` leaves, if there is one.
        strangers: the signatures that are missing or not those of the contract; when there are
            any, the model is asked nothing.
        libraries: as for `SavedModelSession`.

    Returns:
        Two checks, `loading` and `answers`.
    """
    try:
        op_libraries = needed_libraries(model)
        if op_libraries and libraries is not None:
            raise SessionError("TensorFlow Text is here for the installed TensorFlow only")
    except SessionError as error:
        return [Check(name, "not applicable", str(error)) for name in ("loading", "answers")]
    try:
        with SavedModelSession(model.folder, libraries, op_libraries) as session:
            loading = (
                f"TensorFlow {session.tensorflow_version} loads it without Python, as a server"
            )
            return [
                Check("loading", "passed", loading),
                _check_answers(model, proof, strangers, session),
            ]
    except SessionError as error:
        return [
            Check("loading", "failed", f"a server cannot load it: {_reason(model, error)}"),
            Check("answers", "not applicable", "it does not load"),
        ]


class Answer(NamedTuple):
    """What `serving_default` says to a sentence."""

    translation: bytes
    score: float
    num_tokens: int

    def is_like(self, other: "Answer") -> bool:
        """Whether it is the same, but for rounding in the score."""
        tolerance = SCORE_TOLERANCE * max(1.0, abs(other.score))
        same = (self.translation, self.num_tokens) == (other.translation, other.num_tokens)
        return same and abs(self.score - other.score) <= tolerance


def _check_answers(
    model: SavedModel,
    proof: dict[str, Any] | None,
    strangers: list[str],
    session: SavedModelSession,
) -> Check:
    if strangers:
        signature = f"signature {', '.join(strangers)} is not that of the contract"
        return Check("answers", "not applicable", signature)
    known = _known_answers(proof)
    texts = [*TEXTS, *(text for text in known if text not in TEXTS)]
    batch = (texts * BATCH_SIZE)[: max(BATCH_SIZE, len(texts))]
    found = []
    try:
        together = _ask(session, batch)
        alone = {text: _ask(session, [text])[0] for text in texts}
        session.run("score", text=batch, reference=[answer.translation for answer in together])
    except (SessionError, ValueError) as error:
        found = [f"a request fails: {_reason(model, error)}"]
    else:
        for text, answer in zip(batch, together, strict=True):
            found += [f"{text!r:.40} {wrong}" for wrong in _wrong(text, answer, alone[text], known)]
    return verdict(
        "answers",
        found[:1],
        "",
        f"a server gives {len(texts)} texts the same answers alone and in a batch of {len(batch)}",
    )


def _known_answers(proof: dict[str, Any] | None) -> dict[bytes, Answer]:
    """The answers that were written down when the export was proven."""
    try:
        return {
            answer["text"].encode(): Answer(
                answer["translation"].encode(), answer["score"], answer["num_tokens"]
            )
            for answer in (proof or {})["answers"]
        }
    except (AttributeError, KeyError, TypeError):
        return {}


def _ask(session: SavedModelSession, texts: list[bytes]) -> list[Answer]:
    outputs = session.run("serving_default", text=texts)
    columns = [outputs[name].tolist() for name in Answer._fields]
    if any(len(column) != len(texts) for column in columns):
        raise ValueError(f"{len(texts)} texts get {[len(column) for column in columns]} answers")
    return [Answer(*row) for row in zip(*columns, strict=True)]


def _wrong(text: bytes, answer: Answer, alone: Answer, known: dict[bytes, Answer]) -> Iterator[str]:
    """What is wrong with an answer from a batch."""
    if not answer.is_like(alone):
        yield "gets another answer alone than in a batch, and a server joins requests into batches"
    if not answer.is_like(known.get(text, answer)):
        yield "gets another answer than when the export was proven"
    if not text and answer.translation:
        yield "gets a translation although it is empty"
    try:
        answer.translation.decode()
    except UnicodeDecodeError:
        yield "gets an answer that is not UTF-8, which REST cannot take"


def _reason(model: SavedModel, error: Exception) -> str:
    return one_line(str(error).removeprefix(f"{model.folder}: "), 300)
