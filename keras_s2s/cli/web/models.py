"""What the page of `keras-s2s web` shows of a model, wherever it runs."""

from __future__ import annotations

import time
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from keras_s2s.client.translation_client import TranslationClient
from keras_s2s.utils.errors import InputError

if TYPE_CHECKING:
    from keras_s2s.translation.exported_translator import ExportedTranslator
    from keras_s2s.translation.translator import Translator

ADDRESSES = "http://HOST:PORT/v1/models/NAME or grpc://HOST:PORT/NAME"
# Somebody waits before a page, so no long series of tries.
TIMEOUT, RETRIES = 10.0, 1

Result = TypeVar("Result")


class Candidate(NamedTuple):
    """A translation that beam search ended with.

    Attributes:
        translation: the text.
        score: what it is ranked by: log-probability in nats, divided by the length penalty.
    """

    translation: str
    score: float


class Attention(NamedTuple):
    """Where the model looked in the source while it wrote each token.

    Attributes:
        source_tokens: what the encoder read.
        target_tokens: the answer of greedy search, with `<eos>`.
        weights: a row for each target token with a number from 0 to 1 for each source token.
    """

    source_tokens: list[str]
    target_tokens: list[str]
    weights: list[list[float]]


@dataclass(frozen=True)
class PageAnswer:
    """All that the page shows of a model's answer to a sentence.

    Attributes:
        translation: by greedy search, as `Translator.translate` gives it.
        score: its log-probability in nats.
        milliseconds: that greedy search took, the way to a server and back included.
        candidates: what beam search ended with, best first; None where the model has none.
        beam_milliseconds: that beam search took.
        attention: None for a model without.
        version: of a model on a server, the one that answered.
    """

    translation: str
    score: float
    milliseconds: float
    candidates: list[Candidate] | None
    beam_milliseconds: float
    attention: Attention | None
    version: int | None = None


class PageModel(Protocol):
    """A model that the page can ask.

    Attributes:
        name: what the user called it.
        place: where it runs, for the page.
    """

    name: str
    place: str

    def ask(self, sentence: str) -> PageAnswer:
        """Translates a sentence."""


class LocalModel:
    """A model in this process.

    Args:
        name: what the user called it.
        translator: the trained model or the exported one.

    Example:

    >>> import keras_s2s as s2s
    >>> tokenizer = s2s.WordTokenizer.fit(["Go now."])
    >>> sizes = {"embed_size": 4, "num_hiddens": 4, "num_layers": 1}
    >>> encoder = s2s.Seq2SeqEncoder(len(tokenizer), **sizes)
    >>> decoder = s2s.Seq2SeqDecoder(len(tokenizer), attention="luong", **sizes)
    >>> model = s2s.Seq2Seq(encoder, decoder)
    >>> translator = s2s.Translator(model, tokenizer, tokenizer, num_steps=5)
    >>> answer = LocalModel("untrained", translator).ask("Go now.")
    >>> answer.attention.source_tokens
    ['go', 'now', '.']
    >>> answer.candidates[0].score >= answer.candidates[1].score
    True
    """

    place = "in this process"

    def __init__(self, name: str, translator: Translator | ExportedTranslator) -> None:
        self.name, self._translator = name, translator

    def ask(self, sentence: str) -> PageAnswer:
        """Translates a sentence."""
        model, sentences = self._translator, [sentence]
        ([translation], [score]), milliseconds = timed(
            lambda: model.translate(sentences, return_scores=True)
        )
        size, candidates, beam_milliseconds = model.beam_size, None, 0.0
        if size is not None:
            ([translations], [scores]), beam_milliseconds = timed(
                lambda: model.translate(sentences, beam=size, n_best=size, return_scores=True)
            )
            candidates = list(map(Candidate, translations, scores))
        attention = attention_of(model.explained(sentences))
        return PageAnswer(
            translation, score, milliseconds, candidates, beam_milliseconds, attention
        )


class ServedModel:
    """A model that TensorFlow Serving runs.

    Args:
        name: its address, as the user gave it.
        client: asks the server.
        kind: how it does, for the page.
    """

    def __init__(self, name: str, client: TranslationClient, kind: str) -> None:
        self.name, self._client = name, client
        self.place = f"on a server, by {kind}"

    def ask(self, sentence: str) -> PageAnswer:
        """Translates a sentence."""
        client, sentences = self._client, [sentence]
        # Each time, since a server may have loaded another version.
        metadata = client.metadata()
        signatures = metadata["signatures"]
        ([translation], [score]), milliseconds = timed(
            lambda: client.translate(sentences, return_scores=True)
        )
        candidates, beam_milliseconds = None, 0.0
        if "beam" in signatures:
            ([translations], [scores]), beam_milliseconds = timed(lambda: client.n_best(sentences))
            candidates = list(map(Candidate, translations, scores))
        explained = client.explain(sentences) if "explain" in signatures else None
        return PageAnswer(
            translation,
            score,
            milliseconds,
            candidates,
            beam_milliseconds,
            attention_of(explained),
            metadata["version"],
        )

    def close(self) -> None:
        """Ends the connections."""
        self._client.close()


def is_address(model: str) -> bool:
    """Whether MODEL is the address of a server and not a file or folder.

    >>> is_address("grpc://localhost:8500/en-fr"), is_address("runs/mine")
    (True, False)
    """
    return "://" in model


def connect(address: str) -> ServedModel:
    """A model on a server. Nothing is asked yet.

    Args:
        address: `http(s)://HOST:PORT/v1/models/NAME`, as the server itself has it for REST, or
            `grpc://HOST:PORT/NAME`; after the name may come `/versions/N` or `/labels/LABEL`.

    Raises:
        InputError: an address that has another form, or gRPC is not installed.

    Example:

    >>> connect("http://localhost:8501/v1/models/en-fr/labels/stable").place
    'on a server, by REST'
    """
    scheme, _, rest = address.partition("://")
    if scheme == "grpc":
        location, _, path = rest.partition("/")
    elif scheme in ("http", "https"):
        before, found, path = rest.partition("/v1/models/")
        location = f"{scheme}://{before}" if found else ""
    else:
        location, path = "", ""
    name, *choice = map(urllib.parse.unquote, path.rstrip("/").split("/"))
    version, label = None, None
    match choice:
        case []:
            known = True
        case ["versions", number] if number.isdecimal():
            known, version = True, int(number)
        case ["labels", text] if text:
            known, label = True, text
        case _:
            known = False
    if not (location and name and known):
        raise InputError(
            f"{address}: is no address of a model; give {ADDRESSES}, with /versions/N or "
            "/labels/LABEL after it if wanted"
        )
    client = TranslationClient(
        location,
        name,
        version,
        label,
        protocol="grpc" if scheme == "grpc" else "rest",
        timeout=TIMEOUT,
        retries=RETRIES,
    )
    return ServedModel(address, client, "gRPC" if scheme == "grpc" else "REST")


def timed(call: Callable[[], Result]) -> tuple[Result, float]:
    """What a call returns, and the milliseconds that it took."""
    started = time.perf_counter()
    result = call()
    return result, 1000 * (time.perf_counter() - started)


def attention_of(explained: dict[str, list[Any]] | None) -> Attention | None:
    """The attention of the first sentence, without the places that no token is in.

    >>> explained = {
    ...     "source_tokens": [["go", "!", ""]],
    ...     "target_tokens": [["va", ""]],
    ...     "attention": [[[0.75, 0.25, 0.0], [0.0, 0.0, 0.0]]],
    ... }
    >>> attention_of(explained)
    Attention(source_tokens=['go', '!'], target_tokens=['va'], weights=[[0.75, 0.25]])
    """
    if explained is None:
        return None
    source = list(filter(None, explained["source_tokens"][0]))
    target = list(filter(None, explained["target_tokens"][0]))
    rows = explained["attention"][0][: len(target)]
    return Attention(source, target, [list(map(float, row[: len(source)])) for row in rows])
