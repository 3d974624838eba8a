"""The client of a running TensorFlow Serving, for use from Python."""

import json
import os
import random
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, overload

from keras_s2s.client.grpc_transport import GrpcTransport
from keras_s2s.client.rest_transport import RestTransport
from keras_s2s.client.transport import (
    Credentials,
    ModelSpec,
    Transport,
    VersionStatus,
    server_error,
)
from keras_s2s.serving.signatures import MIN_SCORE, ScoredPair
from keras_s2s.utils.errors import InputError, ServerError
from keras_s2s.utils.text import encode_texts

# Another time they may go well, and nothing has been done twice. A deadline that was exceeded is
# not among them: the server may be busy with the request still, and would get one more.
RETRYABLE = ("UNAVAILABLE", "RESOURCE_EXHAUSTED")
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0  # seconds
SCORE_TOLERANCE = 1e-4
ANSWER = ("translation", "score", "num_tokens")

Result = TypeVar("Result")


class TranslationClient:
    """Translates with a model that TensorFlow Serving runs.

    Several threads may share one. It is a context manager.

    Args:
        address: `HOST:PORT` of the server; for REST also a URL.
        model_name: the model's name on the server.
        version: of the model; the highest that is loaded when neither this nor a label is given.
        version_label: a label of the server's configuration, `"stable"` for instance, instead.
        protocol: `"grpc"` or `"rest"`.
        timeout: seconds that a request may take; a try after a failed one has as many again.
        retries: tries after the first one, with pauses that double.
        retryable: the statuses after which a request is tried again.
        credentials: TLS, certificates and a token; none of it when left out.
        batch_size: sentences in a request, at most the server's `max_batch_size`.

    Raises:
        InputError: an argument that cannot be used.

    Example:

    ```python
    with TranslationClient("localhost:8500", "en-fr", version_label="stable") as client:
        client.translate(["Go.", "I won!"])  # ["va !", "j'ai gagné !"]
    ```
    """

    def __init__(
        self,
        address: str,
        model_name: str,
        version: int | None = None,
        version_label: str | None = None,
        *,
        protocol: Literal["grpc", "rest"] = "grpc",
        timeout: float = 10.0,
        retries: int = 4,
        retryable: Collection[str] = RETRYABLE,
        credentials: Credentials | None = None,
        batch_size: int = 32,
    ) -> None:
        if version is not None and version_label is not None:
            raise InputError("a version and a label exclude each other; give one of them")
        if not model_name:
            raise InputError("the model's name is empty; give the one it has on the server")
        if protocol not in ("grpc", "rest"):
            raise InputError(f"protocol is {protocol!r}; give 'grpc' or 'rest'")
        for name, value, least in (("timeout", timeout, 1e-3), ("batch_size", batch_size, 1)):
            if not value >= least:
                raise InputError(f"{name} is {value}; give {least} or more")
        if retries < 0:
            raise InputError(f"retries is {retries}; give 0 or more")
        self.model = ModelSpec(model_name, version, version_label)
        self.timeout, self.retries, self.batch_size = timeout, retries, batch_size
        self.retryable = frozenset(retryable)
        make = GrpcTransport if protocol == "grpc" else RestTransport
        self._transport: Transport = make(address, credentials or Credentials())
        self._closed = False

    @overload
    def translate(
        self, sentences: Iterable[str | bytes], return_scores: Literal[False] = False
    ) -> list[str]: ...

    @overload
    def translate(
        self, sentences: Iterable[str | bytes], return_scores: Literal[True]
    ) -> tuple[list[str], list[float]]: ...

    def translate(
        self, sentences: Iterable[str | bytes], return_scores: bool = False
    ) -> list[str] | tuple[list[str], list[float]]:
        """Translates sentences.

        Args:
            sentences: raw text; bytes need not be valid UTF-8.
            return_scores: whether to return the log-probabilities as well.

        Returns:
            A list of translations, in the order of the sentences; with `return_scores` a tuple of
            that and a list of log-probabilities in nats.

        Raises:
            InputError: one sentence instead of a list of them.
            ServerError: the server does not answer, or answers with an error.
        """
        outputs = self._run("serving_default", {"text": encode_texts(sentences)}, ANSWER)
        translations, scores = outputs["translation"], outputs["score"]
        return (translations, scores) if return_scores else translations

    def n_best(self, sentences: Iterable[str | bytes]) -> tuple[list[list[str]], list[list[float]]]:
        """Asks for all that beam search ends with, on as many beams as the export was made for.

        Args:
            sentences: raw text; bytes need not be valid UTF-8.

        Returns:
            For each sentence a list of translations, best first, and one of their scores: nats,
            divided by the length penalty. They are shorter where there are fewer.

        Raises:
            InputError: one sentence instead of a list of them.
            ServerError: the server does not answer, or answers with an error.
        """
        outputs = self._run("beam", {"text": encode_texts(sentences)}, ("translations", "scores"))
        translations, scores = outputs["translations"], outputs["scores"]
        # Half, because not every server writes all digits of it.
        sizes = [max(sum(score > MIN_SCORE / 2 for score in row), 1) for row in scores]
        return (
            [row[:size] for row, size in zip(translations, sizes, strict=True)],
            [row[:size] for row, size in zip(scores, sizes, strict=True)],
        )

    def explain(self, sentences: Iterable[str | bytes]) -> dict[str, list[Any]]:
        """Asks a model with attention where it looked while it wrote.

        Args:
            sentences: raw text; bytes need not be valid UTF-8.

        Returns:
            What `Translator.explain` does, as lists.

        Raises:
            InputError: one sentence instead of a list of them.
            ServerError: the server does not answer, or answers with an error; `INVALID_ARGUMENT`
                where the model has no attention.
        """
        names = ("source_tokens", "target_tokens", "attention")
        return self._run("explain", {"text": encode_texts(sentences)}, names)

    def score_pairs(
        self, sentences: Iterable[str | bytes], references: Iterable[str | bytes]
    ) -> list[ScoredPair]:
        """Scores given translations.

        Args:
            sentences: raw text.
            references: a translation of each; one that is too long to be an answer is cut.

        Returns:
            A `ScoredPair` for each.

        Raises:
            InputError: as many references as sentences are needed.
            ServerError: the server does not answer, or answers with an error.
        """
        texts, translations = encode_texts(sentences), encode_texts(references)
        if len(texts) != len(translations):
            raise InputError(
                f"{len(texts)} sentences and {len(translations)} references; give one for each"
            )
        outputs = self._run("score", {"text": texts, "reference": translations}, ANSWER[1:])
        return list(map(ScoredPair, outputs["score"], outputs["num_tokens"]))

    def metadata(self) -> dict[str, Any]:
        """Asks for the signatures of the model.

        Returns:
            A dict of `version`, the one that answers, and `signatures`: for each name the
            `inputs` and `outputs`, and for each of these `dtype` and `shape`, in which -1 stands
            for any size.

        Raises:
            ServerError: the server does not answer, or answers with an error.
        """
        return self._again(lambda: self._transport.metadata(self.model, self.timeout))

    def status(self) -> list[VersionStatus]:
        """Asks for the state of all versions of the model, the newest first.

        Raises:
            ServerError: the server does not answer, or answers with an error.
        """
        return self._again(lambda: self._transport.status(self.model, self.timeout))

    def check(self, answers: Sequence[dict[str, Any]]) -> list[str]:
        """Compares the server's answers with those that an export was proven with.

        Args:
            answers: dicts of `text`, `translation`, `score` and `num_tokens`, see `read_answers`.

        Returns:
            A line about each difference. Translations must be the same to the letter, scores to
            1e-4.

        Raises:
            ServerError: the server does not answer, or answers with an error.
        """
        texts = encode_texts([answer["text"] for answer in answers])
        outputs = self._run("serving_default", {"text": texts}, ANSWER)
        differences = []
        for expected, translation, score, num_tokens in zip(
            answers, outputs["translation"], outputs["score"], outputs["num_tokens"], strict=True
        ):
            wanted = expected["translation"], expected["num_tokens"]
            tolerance = SCORE_TOLERANCE * max(1.0, abs(expected["score"]))
            # Not the other way round: a score that is no number shall not pass.
            close = abs(score - expected["score"]) <= tolerance
            if (translation, num_tokens) != wanted or not close:
                differences.append(
                    f"{expected['text']!r}: the server says {translation!r} "
                    f"(score {score:.6f}, {num_tokens} tokens), the record "
                    f"{wanted[0]!r} (score {expected['score']:.6f}, {wanted[1]} tokens)"
                )
        return differences

    def close(self) -> None:
        """Ends the connections. The client cannot be used any more."""
        self._closed = True
        self._transport.close()

    def __enter__(self) -> "TranslationClient":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _run(
        self, signature: str, inputs: dict[str, list[bytes]], names: Sequence[str]
    ) -> dict[str, list[Any]]:
        """The outputs of a signature, asked for in batches and put together in their order."""
        outputs: dict[str, list[Any]] = {name: [] for name in names}
        for start in range(0, len(inputs["text"]), self.batch_size):
            batch = {name: texts[start : start + self.batch_size] for name, texts in inputs.items()}
            answer = self._again(self._request(signature, batch))
            for name, column in outputs.items():
                if len(answer.get(name, ())) != len(batch["text"]):
                    raise server_error(
                        self._transport.address,
                        self._transport.kind,
                        "INTERNAL",
                        f"signature {signature} of {self.model.name} gave "
                        f"{len(answer.get(name, ()))} of output {name!r} for "
                        f"{len(batch['text'])} sentences; it is none of a translator",
                    )
                column += answer[name]
        return outputs

    def _request(
        self, signature: str, batch: dict[str, list[bytes]]
    ) -> Callable[[], dict[str, list[Any]]]:
        return lambda: self._transport.predict(self.model, signature, batch, self.timeout)

    def _again(self, call: Callable[[], Result]) -> Result:
        """The result of a request, tried again after failures that may pass."""
        if self._closed:
            raise InputError("the client is closed; make a new one")
        for tries in range(1, self.retries + 2):
            try:
                return call()
            except ServerError as error:
                if error.code not in self.retryable or not self.retries:
                    raise
                if tries > self.retries:
                    raise ServerError(f"{error} (tried {tries} times)", error.code) from error
            # Random, or clients that failed together would come back together.
            pause = min(FIRST_PAUSE * 2 ** (tries - 1), LONGEST_PAUSE)
            time.sleep(pause * random.uniform(0.5, 1.5))
        raise AssertionError("the last try either returns or raises")


def read_answers(folder: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Reads the answers that an export was proven with.

    Args:
        folder: a version's folder, as `keras-s2s export` wrote it.

    Returns:
        For each sentence a dict of `text`, `translation`, `score` and `num_tokens`.

    Raises:
        InputError: the folder has no record, or one without answers.
    """
    path = Path(folder) / "assets.extra" / "proof.json"
    try:
        answers = json.loads(path.read_text(encoding="utf-8")).get("answers")
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); give the folder of an exported version"
        ) from error
    except (ValueError, AttributeError) as error:
        raise InputError(f"{path}: is not the record of a proof; export the model again") from error
    if not answers:
        raise InputError(f"{path}: has no answers to compare with; export the model again")
    return answers
