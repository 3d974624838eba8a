"""Results on the page equal those of the translator, wherever the model runs."""

import contextlib
import math
import socket

import pytest
from imitation_server import Models, StatusError, start_grpc, start_rest

import keras_s2s as s2s
from keras_s2s.cli.web.models import LocalModel, connect, is_url
from keras_s2s.client.translation_client import TranslationClient
from keras_s2s.utils.errors import InputError, ServerError

SENTENCES = ["I see you.", "Go, you old friend!", "🙂 <b>?</b>", "you " * 50]


def expected_of(translator, sentence):
    """Return translation, score and candidates of the translator itself."""
    [translation], [score] = translator.translate([sentence], return_scores=True)
    size = translator.beam_size
    [texts], [scores] = translator.translate([sentence], beam=size, n_best=size, return_scores=True)
    return translation, score, texts, scores


def check(result, translator, sentence):
    translation, score, texts, scores = expected_of(translator, sentence)
    assert result.translation == translation
    assert result.score == pytest.approx(score, rel=1e-4, abs=1e-4)
    assert [candidate.translation for candidate in result.candidates] == texts
    assert [candidate.score for candidate in result.candidates] == pytest.approx(
        scores, rel=1e-4, abs=1e-4
    )
    assert result.latency > 0
    assert result.beam_latency > 0
    if translator.model.decoder.attention is None:
        assert result.attention is None
        return
    source, target, weights, probabilities, is_unknown = result.attention
    assert result.confidence == pytest.approx(math.exp(score), rel=1e-3)
    assert result.num_unknown == sum(is_unknown)
    assert math.prod(probabilities) == pytest.approx(result.confidence, rel=1e-3)
    assert len(is_unknown) == len(source)
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
def test_local_models(sentence, plain, attending, exported):
    for model in (plain, attending):
        check(LocalModel("local", model).translate(sentence), model, sentence)
    check(LocalModel("exported", exported).translate(sentence), attending, sentence)


def test_export_without_attention(plain, exported_run):
    without = s2s.ExportedTranslator(exported_run)
    check(LocalModel("exported", without).translate("Go."), plain, "Go.")
    assert without.explained(["Go."]) is None


def test_export_without_beam_search(attending, exported, monkeypatch):
    monkeypatch.setattr(exported, "beam_size", None)
    result = LocalModel("older", exported).translate("Go.")
    assert result.candidates is None
    assert [result.translation] == attending.translate(["Go."])


def test_single_sentence_instead_of_a_list(attending):
    with pytest.raises(InputError, match="put it in brackets"):
        attending.explained("Go.")


@pytest.fixture
def models(sessions):
    return Models("en-fr", dict(sessions), {"stable": 1, "canary": 2})


@pytest.fixture(params=["grpc", "rest"])
def url(request, models):
    """URL of the model on a running server."""
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
def translate(url):
    """Translates with the model, or with the version that a suffix of the URL selects."""

    def translate(sentence, selector=""):
        with contextlib.closing(connect(url + selector)) as model:
            return model.translate(sentence)

    return translate


@pytest.fixture
def client(url):
    protocol, _, location = url.partition("://")
    protocol = protocol.replace("http", "rest")
    with TranslationClient(location.partition("/")[0], "en-fr", protocol=protocol) as client:
        yield client


class TestServed:
    def test_results_equal_the_translator(self, translate, attending, plain):
        for sentence in SENTENCES:
            result = translate(sentence)
            check(result, attending, sentence)
            assert result.version == 2
        for selector in ("/versions/1", "/labels/stable", "/labels/stable/"):
            result = translate("Go.", selector)
            check(result, plain, "Go.")
            assert result.version == 1

    def test_client_on_many_sentences(self, client, attending):
        sentences = [*SENTENCES, ""] * 8
        size = attending.beam_size
        translations, scores = client.n_best(sentences)
        expected, expected_scores = attending.translate(
            sentences, beam=size, n_best=size, return_scores=True
        )
        assert translations == expected
        for row, expected_row in zip(scores, expected_scores, strict=True):
            assert row == pytest.approx(expected_row, rel=1e-4, abs=1e-4)
        outputs, expected_outputs = client.explain(sentences), attending.explained(sentences)
        for name in ("source_tokens", "target_tokens"):
            assert outputs[name] == expected_outputs[name]
        for weights, expected_weights in zip(
            outputs["attention"], expected_outputs["attention"], strict=True
        ):
            for row, expected_row in zip(weights, expected_weights, strict=True):
                assert row == pytest.approx(expected_row, abs=1e-5)

    def test_missing_signature(self, client, models):
        models.versions.pop(2)
        with pytest.raises(ServerError):
            client.explain(["Go."])

    def test_server_error(self, translate, models):
        def fault():
            raise StatusError("INTERNAL", "out of luck")

        models.faults.append(fault)
        with pytest.raises(ServerError, match="out of luck"):
            translate("Go.")


@pytest.mark.parametrize("form", ["grpc://{}/en-fr", "http://{}/v1/models/en-fr"])
def test_unreachable_server(form):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = f"127.0.0.1:{closed.getsockname()[1]}"
    with pytest.raises(ServerError, match="check that it runs"):
        connect(form.format(address)).translate("Go.")  # no connection was opened


@pytest.mark.parametrize(
    "url",
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
def test_invalid_urls(url):
    assert is_url(url)
    with pytest.raises(InputError, match=r"URL|address") as caught:
        connect(url)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "server", "model", "protocol"),
    [
        ("https://gate/fr/v1/models/a%2Fb", "https://gate:8501/fr", ("a/b", None, None), "REST"),
        ("http://h:1/v1/models/m/versions/3/", "http://h:1", ("m", 3, None), "REST"),
        ("grpc://[::1]:9/m/labels/stable", "[::1]:9", ("m", None, "stable"), "gRPC"),
        ("grpc://h/m", "h:8500", ("m", None, None), "gRPC"),
    ],
)
def test_urls(url, server, model, protocol):
    assert is_url(url)
    with contextlib.closing(connect(url)) as served:
        assert served.name == url
        assert served.location == f"on TensorFlow Serving, by {protocol}"
        assert served._client.model == model
        assert served._client._transport.address == server
    assert not is_url("runs/mine")
