"""Client for a translator in TensorFlow Serving."""

import functools
import random
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Literal, TypeVar, overload

from keras_s2s.client.answers import InvalidAnswerError, check_outputs
from keras_s2s.client.grpc_transport import GrpcTransport
from keras_s2s.client.rest_transport import RestTransport
from keras_s2s.client.transport import (
    Credentials,
    ModelSpec,
    Transport,
    VersionStatus,
)
from keras_s2s.serving.signatures import (
    BEAM,
    EXPLAIN,
    MIN_SCORE,
    OPTIONAL_OUTPUTS,
    SCORE,
    SERVING_DEFAULT,
    SIGNATURES,
    Answer,
    ScoredPair,
    answers_of,
    is_close_score,
)
from keras_s2s.utils.errors import InputError, ServerError
from keras_s2s.utils.text import encode_texts

# Transient statuses. Not DEADLINE_EXCEEDED: the server may still be working on the request, and a
# retry would add to its load.
RETRYABLE = ("UNAVAILABLE", "RESOURCE_EXHAUSTED")
INITIAL_BACKOFF, MAX_BACKOFF = 0.2, 5.0  # seconds

Result = TypeVar("Result")


class TranslationClient:
    """A client that translates with a model in TensorFlow Serving.

    A context manager; thread-safe.

    Args:
        address: `HOST:PORT` of the server, or a URL for REST.
        model_name: the model's name on the server.
        version: model version; the highest loaded one when neither this nor a label is given.
        version_label: a label of the server's configuration, such as `"stable"`, instead.
        protocol: `"grpc"` or `"rest"`.
        timeout: seconds for a whole request, from the name lookup to the last byte; each retry
            gets the full timeout.
        retries: maximum number of retries, with exponential backoff.
        retryable: the status codes after which a request is retried.
        credentials: TLS certificates and token; by default none.
        batch_size: sentences per request, at most the server's `max_batch_size`.

    Raises:
        InputError: an argument is invalid.

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
            raise InputError("version and version_label are mutually exclusive; give one of them")
        if not model_name:
            raise InputError("the model name is empty; give its name on the server")
        if protocol not in ("grpc", "rest"):
            raise InputError(f"protocol is {protocol!r}; give 'grpc' or 'rest'")
        for name, value, minimum in (("timeout", timeout, 1e-3), ("batch_size", batch_size, 1)):
            if not value >= minimum:  # also rejects NaN
                raise InputError(f"{name} is {value}; give {minimum} or more")
        if retries < 0:
            raise InputError(f"retries is {retries}; give 0 or more")
        self.model = ModelSpec(model_name, version, version_label)
        self.timeout, self.retries, self.batch_size = timeout, retries, batch_size
        self.retryable = frozenset(retryable)
        credentials = credentials or Credentials()
        self._transport: Transport = (
            GrpcTransport(address, credentials, batch_size)
            if protocol == "grpc"
            else RestTransport(address, credentials)
        )
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
        """Translate sentences.

        Args:
            sentences: raw text; bytes need not be valid UTF-8.
            return_scores: whether to return the log-probabilities as well.

        Returns:
            A list of translations, in order; with `return_scores` a tuple of that and a list of
            log-probabilities in nats.

        Raises:
            InputError: `sentences` is a single string.
            ServerError: the server does not respond, or returns an error.
        """
        outputs = self._run(SERVING_DEFAULT, {"text": encode_texts(sentences)})
        translations, scores = outputs["translation"], outputs["score"]
        return (translations, scores) if return_scores else translations

    def answers(self, sentences: Iterable[str | bytes]) -> list[Answer]:
        """Translate sentences, and tell what each answer is worth.

        Args:
            sentences: raw text; bytes need not be valid UTF-8.

        Returns:
            An `Answer` for each.

        Raises:
            InputError: `sentences` is a single string.
            ServerError: the server does not respond, or returns an error.
        """
        return answers_of(self._run(SERVING_DEFAULT, {"text": encode_texts(sentences)}))

    def n_best(self, sentences: Iterable[str | bytes]) -> tuple[list[list[str]], list[list[float]]]:
        """Translate sentences with beam search of the export's beam size.

        Args:
            sentences: raw text; bytes need not be valid UTF-8.

        Returns:
            For each sentence a list of hypotheses, best first, and a list of their scores: nats,
            divided by the length penalty. Missing hypotheses are omitted.

        Raises:
            InputError: `sentences` is a single string.
            ServerError: the server does not respond, or returns an error.
        """
        outputs = self._run(BEAM, {"text": encode_texts(sentences)})
        translations, scores = outputs["translations"], outputs["scores"]
        # Half of it, because REST may round.
        sizes = [max(sum(score > MIN_SCORE / 2 for score in row), 1) for row in scores]
        return (
            [row[:size] for row, size in zip(translations, sizes, strict=True)],
            [row[:size] for row, size in zip(scores, sizes, strict=True)],
        )

    def explain(self, sentences: Iterable[str | bytes]) -> dict[str, list[Any]]:
        """Return the attention weights of greedy translations.

        Args:
            sentences: raw text; bytes need not be valid UTF-8.

        Returns:
            The outputs of `Translator.explain`, as lists.

        Raises:
            InputError: `sentences` is a single string.
            ServerError: the server does not respond, or returns an error; `INVALID_ARGUMENT` for
                a model without attention.
        """
        return self._run(EXPLAIN, {"text": encode_texts(sentences)})

    def score_pairs(
        self, sentences: Iterable[str | bytes], references: Iterable[str | bytes]
    ) -> list[ScoredPair]:
        """Score reference translations.

        Args:
            sentences: raw text.
            references: a translation of each; truncated to the maximum length of a translation.

        Returns:
            A `ScoredPair` for each.

        Raises:
            InputError: the numbers of sentences and references differ.
            ServerError: the server does not respond, or returns an error.
        """
        texts, translations = encode_texts(sentences), encode_texts(references)
        if len(texts) != len(translations):
            raise InputError(
                f"{len(texts)} sentences and {len(translations)} references; give one for each"
            )
        outputs = self._run(SCORE, {"text": texts, "reference": translations})
        return list(map(ScoredPair, outputs["score"], outputs["num_tokens"]))

    def metadata(self) -> dict[str, Any]:
        """Return the signatures of the model.

        Returns:
            A dict of `version` and `signatures`: for each name the `inputs` and `outputs`, and
            for each of these `dtype` and `shape`, where -1 is any size.

        Raises:
            ServerError: the server does not respond, or returns an error.
        """
        return self._retry(lambda: self._transport.metadata(self.model, self.timeout))

    def status(self) -> list[VersionStatus]:
        """Return the state of all versions of the model, newest first.

        Raises:
            ServerError: the server does not respond, or returns an error.
        """
        return self._retry(lambda: self._transport.status(self.model, self.timeout))

    def check(self, answers: Sequence[dict[str, Any]]) -> list[str]:
        """Compare the server's answers with those recorded when the export was verified.

        Args:
            answers: dicts of `text`, `translation`, `score` and `num_tokens`; see `read_answers`.

        Returns:
            A line per difference. Translations must be identical, scores within 1e-4.

        Raises:
            ServerError: the server does not respond, or returns an error.
        """
        texts = encode_texts([answer["text"] for answer in answers])
        outputs = self._run(SERVING_DEFAULT, {"text": texts})
        differences = []
        for expected, translation, score, num_tokens in zip(
            answers, outputs["translation"], outputs["score"], outputs["num_tokens"], strict=True
        ):
            same = (translation, num_tokens) == (expected["translation"], expected["num_tokens"])
            if not same or not is_close_score(score, expected["score"]):
                differences.append(
                    f"{expected['text']!r}: the server returns {translation!r} "
                    f"(score {score:.6f}, {num_tokens} tokens), the record has "
                    f"{expected['translation']!r} (score {expected['score']:.6f}, "
                    f"{expected['num_tokens']} tokens)"
                )
        return differences

    def close(self) -> None:
        """Close the connections."""
        self._closed = True
        self._transport.close()

    def __enter__(self) -> "TranslationClient":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _run(self, signature: str, inputs: dict[str, list[bytes]]) -> dict[str, list[Any]]:
        """Run a signature in batches and concatenate the outputs."""
        outputs: dict[str, list[Any]] = {
            name: [] for name in SIGNATURES[signature][1] | OPTIONAL_OUTPUTS[signature]
        }
        for start in range(0, len(inputs["text"]), self.batch_size):
            batch = {name: texts[start : start + self.batch_size] for name, texts in inputs.items()}
            response = self._retry(
                functools.partial(
                    self._transport.predict, self.model, signature, batch, self.timeout
                )
            )
            try:
                response = check_outputs(signature, len(batch["text"]), response)
            except InvalidAnswerError as error:
                raise self._transport.error(
                    "INTERNAL",
                    f"signature {signature} of {self.model.name} {error}; it is not a translator's",
                ) from error
            # Optional outputs may be missing, from the moment on that another version answers.
            outputs = {name: outputs[name] + response[name] for name in outputs if name in response}
        return outputs

    def _retry(self, call: Callable[[], Result]) -> Result:
        """Make a request and retry it after transient failures."""
        if self._closed:
            raise InputError("the client is closed; create a new one")
        for attempt in range(1, self.retries + 2):
            try:
                return call()
            except ServerError as error:
                if error.code not in self.retryable or not self.retries:
                    raise
                if attempt > self.retries:
                    message = f"{error} (tried {attempt} times)"
                    raise ServerError(message, error.code) from error
            # Jitter spreads the retries of clients that failed together.
            backoff = min(INITIAL_BACKOFF * 2 ** (attempt - 1), MAX_BACKOFF)
            time.sleep(backoff * random.uniform(0.5, 1.5))
        raise AssertionError("the last attempt either returns or raises")
