"""What the page shows of a model is what the model says, wherever it runs."""

import contextlib
import socket

import pytest
from imitation_server import Failure, Models, start_grpc, start_rest

import keras_s2s as s2s
from keras_s2s.cli.web.models import LocalModel, connect, is_address
from keras_s2s.client.translation_client import TranslationClient
from keras_s2s.serving.session import SavedModelSession
from keras_s2s.utils.errors import InputError, ServerError

SENTENCES = ["I see you.", "Go, you old friend!", "🙂 <b>?</b>", "you " * 50]


def expected_of(translator, sentence):
    """Translation, score, candidates and the rows of attention, from the translator itself."""
    [translation], [score] = translator.translate([sentence], return_scores=True)
    size = translator.beam_size
    [texts], [scores] = translator.translate([sentence], beam=size, n_best=size, return_scores=True)
    return translation, score, texts, scores


def check(answer, translator, sentence):
    translation, score, texts, scores = expected_of(translator, sentence)
    assert answer.translation == translation
    assert answer.score == pytest.approx(score, rel=1e-4, abs=1e-4)
    assert [candidate.translation for candidate in answer.candidates] == texts
    assert [candidate.score for candidate in answer.candidates] == pytest.approx(
        scores, rel=1e-4, abs=1e-4
    )
    assert answer.milliseconds > 0
    assert answer.beam_milliseconds > 0
    if translator.model.decoder.attention is None:
        assert answer.attention is None
        return
    source, target, weights = answer.attention
    assert len(weights) == len(target)
    assert [word for word in target if word != "<eos>"] == translation.split()
    assert source == sentence.lower().replace(".", " .").split()[: len(source)] or "," in sentence
    for row in weights:
        assert len(row) == len(source)
        assert 0.99 < sum(row) < 1.01


@pytest.fixture(scope="module")
def exported(attending_export):
    return s2s.ExportedTranslator(attending_export)


@pytest.mark.parametrize("sentence", SENTENCES)
def test_a_model_in_this_process(sentence, plain, attending, exported):
    for model in (plain, attending):
        check(LocalModel("local", model).ask(sentence), model, sentence)
    check(LocalModel("exported", exported).ask(sentence), attending, sentence)


def test_an_export_without_attention(plain, exported_run):
    without = s2s.ExportedTranslator(exported_run)
    check(LocalModel("exported", without).ask("Go."), plain, "Go.")
    assert without.explained(["Go."]) is None


def test_an_export_without_beam_search(attending, exported, monkeypatch):
    monkeypatch.setattr(exported, "_searches", {})
    monkeypatch.setattr(exported, "beam_size", None)
    answer = LocalModel("older", exported).ask("Go.")
    assert answer.candidates is None
    assert [answer.translation] == attending.translate(["Go."])


def test_one_sentence_is_no_list(attending):
    with pytest.raises(InputError, match="put it in brackets"):
        attending.explained("Go.")


@pytest.fixture(scope="module")
def sessions(exported_run, attending_export):
    with SavedModelSession(exported_run) as first, SavedModelSession(attending_export) as second:
        for session in (first, second):
            for signature in {"serving_default", "beam", "explain"} & {*session.signatures}:
                session.run(signature, text=[b"Go."])  # the first time takes longest
        yield {1: first, 2: second}


@pytest.fixture
def models(sessions):
    return Models("en-fr", dict(sessions), {"stable": 1, "canary": 2})


@pytest.fixture(params=["grpc", "rest"])
def address(request, models):
    """Of the model on a running server."""
    if request.param == "grpc":
        server, address = start_grpc(models)
        yield f"grpc://{address}/en-fr"
        server.stop(None)
    else:
        server, address = start_rest(models)
        yield f"http://{address}/v1/models/en-fr"
        server.shutdown()
        server.server_close()


@pytest.fixture
def ask(address):
    """Asks the model, or the version that is meant by what comes after its name."""

    def ask(sentence, choice=""):
        with contextlib.closing(connect(address + choice)) as model:
            return model.ask(sentence)

    return ask


@pytest.fixture
def client(address):
    protocol, _, location = address.partition("://")
    protocol = protocol.replace("http", "rest")
    with TranslationClient(location.partition("/")[0], "en-fr", protocol=protocol) as client:
        yield client


class TestServed:
    def test_the_same_answers(self, ask, attending, plain):
        for sentence in SENTENCES:
            answer = ask(sentence)
            check(answer, attending, sentence)
            assert answer.version == 2
        for choice in ("/versions/1", "/labels/stable", "/labels/stable/"):
            answer = ask("Go.", choice)
            check(answer, plain, "Go.")
            assert answer.version == 1

    def test_what_the_client_says_of_many_sentences(self, client, attending):
        sentences = [*SENTENCES, ""] * 8
        size = attending.beam_size
        translations, scores = client.n_best(sentences)
        expected, expected_scores = attending.translate(
            sentences, beam=size, n_best=size, return_scores=True
        )
        assert translations == expected
        for row, expected_row in zip(scores, expected_scores, strict=True):
            assert row == pytest.approx(expected_row, rel=1e-4, abs=1e-4)
        explained, wanted = client.explain(sentences), attending.explained(sentences)
        for name in ("source_tokens", "target_tokens"):
            assert explained[name] == wanted[name]
        for got, matrix in zip(explained["attention"], wanted["attention"], strict=True):
            for row, wanted_row in zip(got, matrix, strict=True):
                assert row == pytest.approx(wanted_row, abs=1e-5)

    def test_a_signature_that_is_not_there(self, client, models):
        models.versions.pop(2)
        with pytest.raises(ServerError):
            client.explain(["Go."])

    def test_an_error_of_the_server(self, ask, models):
        def trouble():
            raise Failure("INTERNAL", "out of luck")

        models.troubles.append(trouble)
        with pytest.raises(ServerError, match="out of luck"):
            ask("Go.")


@pytest.mark.parametrize("form", ["grpc://{}/en-fr", "http://{}/v1/models/en-fr"])
def test_a_server_that_is_not_there(form):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = f"127.0.0.1:{closed.getsockname()[1]}"
    with pytest.raises(ServerError, match="check that it runs"):
        connect(form.format(address)).ask("Go.")  # nothing is open, so there is nothing to close


@pytest.mark.parametrize(
    "address",
    [
        "http://localhost:8501",
        "http://localhost:8501/en-fr",
        "http://localhost:8501/v1/models/",
        "http://localhost:8501/v1/models/en-fr:predict/1",
        "http://localhost:8501/v1/models/en-fr/versions/one",
        "http://localhost:8501/v1/models/en-fr/labels/",
        "http://localhost:a/v1/models/en-fr",
        "grpc://localhost:8500",
        "grpc://localhost:8500/",
        "grpc:///en-fr",
        "grpc://local host:8500:9/en-fr",
        "ftp://localhost/en-fr",
    ],
)
def test_an_address_in_another_form(address):
    assert is_address(address)
    with pytest.raises(InputError, match="is no address") as caught:
        connect(address)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "server", "model", "kind"),
    [
        ("https://gate/fr/v1/models/a%2Fb", "https://gate:8501/fr", ("a/b", None, None), "REST"),
        ("http://h:1/v1/models/m/versions/3/", "http://h:1", ("m", 3, None), "REST"),
        ("grpc://[::1]:9/m/labels/stable", "[::1]:9", ("m", None, "stable"), "gRPC"),
        ("grpc://h/m", "h:8500", ("m", None, None), "gRPC"),
    ],
)
def test_addresses(address, server, model, kind):
    assert is_address(address)
    with contextlib.closing(connect(address)) as served:
        assert served.name == address
        assert served.place == f"on a server, by {kind}"
        assert served._client.model == model
        assert served._client._transport.address == server
    assert not is_address("runs/mine")
