"""Models of the web page, in this process or on TensorFlow Serving, and their results."""

from __future__ import annotations

import time
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, TypeVar

from keras_s2s.client.translation_client import TranslationClient
from keras_s2s.evaluation.attention_map import AttentionMap
from keras_s2s.serving.signatures import BEAM, EXPLAIN, Answer
from keras_s2s.utils.errors import InputError

if TYPE_CHECKING:
    from keras_s2s.translation.exported_translator import ExportedTranslator
    from keras_s2s.translation.translator import Translator

URL_FORMS = "http://HOST:PORT/v1/models/NAME or grpc://HOST:PORT/NAME"
# A user waits for the page: fail fast.
TIMEOUT, RETRIES = 10.0, 1

Result = TypeVar("Result")


class Candidate(NamedTuple):
    """A finished hypothesis of beam search.

    Attributes:
        translation: the text.
        score: log-probability in nats, divided by the length penalty.
    """

    translation: str
    score: float


@dataclass(frozen=True)
class TranslationResult:
    """Result of a model for one sentence.

    Attributes:
        translation: by greedy search, as `Translator.translate` returns it.
        score: its log-probability in nats.
        latency: of greedy search in milliseconds, including the network for a served model.
        candidates: hypotheses of beam search, best first; None where the model has no beam search.
        beam_latency: of beam search in milliseconds.
        attention: None for a model without attention.
        confidence: probability of the translation by greedy search, 0 to 1.
        num_unknown: number of source tokens that the model does not know; None if it does not tell.
        version: of the served model that responded.
    """

    translation: str
    score: float
    latency: float
    candidates: list[Candidate] | None
    beam_latency: float
    attention: AttentionMap | None
    confidence: float | None = None
    num_unknown: int | None = None
    version: int | None = None

    @property
    def best(self) -> str:
        """The best hypothesis of beam search; without beam search that of greedy search."""
        return self.candidates[0].translation if self.candidates else self.translation


class PageModel(Protocol):
    """Interface of a model on the page.

    Attributes:
        name: path or URL, as the user gave it.
        location: where it runs, for display.
        columns: `source` or `features` for each column of its input, if that is known.
    """

    name: str
    location: str
    columns: tuple[str, ...]

    def translate(self, sentence: str) -> TranslationResult:
        """Translate a sentence."""


class LocalModel:
    """A model in this process.

    Args:
        name: path, as the user gave it.
        translator: the model.

    Example:

    >>> import keras_s2s as s2s
    >>> tokenizer = s2s.WordTokenizer.fit(["Go now."])
    >>> sizes = {"embed_size": 4, "num_hiddens": 4, "num_layers": 1}
    >>> encoder = s2s.Seq2SeqEncoder(len(tokenizer), **sizes)
    >>> decoder = s2s.Seq2SeqDecoder(len(tokenizer), attention="luong", **sizes)
    >>> model = s2s.Seq2Seq(encoder, decoder)
    >>> translator = s2s.Translator(model, tokenizer, tokenizer, num_steps=5)
    >>> result = LocalModel("untrained", translator).translate("Go now.")
    >>> result.attention.source_tokens
    ['go', 'now', '.']
    >>> result.candidates[0].score >= result.candidates[1].score
    True
    """

    location = "in this process"

    def __init__(self, name: str, translator: Translator | ExportedTranslator) -> None:
        self.name, self._translator = name, translator
        # An export may not record its tokenizer.
        tokenizer = getattr(translator, "source_tokenizer", None)
        self.columns: tuple[str, ...] = getattr(tokenizer, "columns", ())

    def translate(self, sentence: str) -> TranslationResult:
        """Translate a sentence."""
        model, sentences = self._translator, [sentence]
        [answer], latency = timed(lambda: model.answers(sentences))
        size, candidates, beam_latency = model.beam_size, None, 0.0
        if size is not None:
            ([translations], [scores]), beam_latency = timed(
                lambda: model.translate(sentences, beam=size, n_best=size, return_scores=True)
            )
            candidates = list(map(Candidate, translations, scores))
        outputs = model.explained(sentences)
        attention = None if outputs is None else AttentionMap.from_outputs(outputs)
        return _result(answer, latency, candidates, beam_latency, attention)


class ServedModel:
    """A model on TensorFlow Serving.

    Args:
        name: URL, as the user gave it.
        client: for that model.
        protocol: for display.
    """

    def __init__(self, name: str, client: TranslationClient, protocol: str) -> None:
        self.name, self._client = name, client
        self.location = f"on TensorFlow Serving, by {protocol}"
        self.columns: tuple[str, ...] = ()

    def translate(self, sentence: str) -> TranslationResult:
        """Translate a sentence."""
        client, sentences = self._client, [sentence]
        # Each time: the server may have loaded another version.
        metadata = client.metadata()
        signatures = metadata["signatures"]
        [answer], latency = timed(lambda: client.answers(sentences))
        candidates, beam_latency = None, 0.0
        if BEAM in signatures:
            ([translations], [scores]), beam_latency = timed(lambda: client.n_best(sentences))
            candidates = list(map(Candidate, translations, scores))
        attention = None
        if EXPLAIN in signatures:
            attention = AttentionMap.from_outputs(client.explain(sentences))
        version = metadata["version"]
        return _result(answer, latency, candidates, beam_latency, attention, version)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _result(
    answer: Answer,
    latency: float,
    candidates: list[Candidate] | None,
    beam_latency: float,
    attention: AttentionMap | None,
    version: int | None = None,
) -> TranslationResult:
    return TranslationResult(
        answer.translation,
        answer.score,
        latency,
        candidates,
        beam_latency,
        attention,
        answer.confidence,
        answer.num_unknown,
        version,
    )


def is_url(model: str) -> bool:
    """Return whether MODEL is the URL of a served model and not a path.

    >>> is_url("grpc://localhost:8500/en-fr"), is_url("runs/mine")
    (True, False)
    """
    return "://" in model


def connect(url: str) -> ServedModel:
    """Return a served model. This sends no request yet.

    Args:
        url: `http(s)://HOST:PORT/v1/models/NAME`, as in the REST API of TensorFlow Serving, or
            `grpc://HOST:PORT/NAME`; optionally followed by `/versions/N` or `/labels/LABEL`.

    Raises:
        InputError: the URL has another form.

    Example:

    >>> connect("http://localhost:8501/v1/models/en-fr/labels/stable").location
    'on TensorFlow Serving, by REST'
    """
    scheme, _, rest = url.partition("://")
    if scheme == "grpc":
        server, _, path = rest.partition("/")
    elif scheme in ("http", "https"):
        host, separator, path = rest.partition("/v1/models/")
        server = f"{scheme}://{host}" if separator else ""
    else:
        server, path = "", ""
    name, *selector = map(urllib.parse.unquote, path.rstrip("/").split("/"))
    version, label = None, None
    match selector:
        case []:
            valid = True
        case ["versions", digits] if digits.isdecimal():
            valid, version = True, int(digits)
        case ["labels", text] if text:
            valid, label = True, text
        case _:
            valid = False
    if not (server and name and valid):
        raise InputError(
            f"{url}: not the URL of a served model; give {URL_FORMS}, optionally followed by "
            "/versions/N or /labels/LABEL"
        )
    protocol: Literal["grpc", "rest"] = "grpc" if scheme == "grpc" else "rest"
    client = TranslationClient(
        server, name, version, label, protocol=protocol, timeout=TIMEOUT, retries=RETRIES
    )
    return ServedModel(url, client, "gRPC" if protocol == "grpc" else "REST")


def timed(call: Callable[[], Result]) -> tuple[Result, float]:
    """Return the result of a call, and its latency in milliseconds."""
    start = time.perf_counter()
    result = call()
    return result, 1000 * (time.perf_counter() - start)
