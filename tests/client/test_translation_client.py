"""The client against a fake TensorFlow Serving in this process.

This tests the client, not the server: `imitation_server.py` serves real exports with the official
protocol; `test_tfserving.py` tests against a real server if there is one.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import grpc
import numpy as np
import pytest
from imitation_server import Models, StatusError, start_grpc, start_rest

import keras_s2s as s2s
from keras_s2s.client import translation_client
from keras_s2s.client.__main__ import TranslationClient, main, read_answers
from keras_s2s.client.transport import Credentials
from keras_s2s.serving.session import SavedModelSession
from keras_s2s.serving.verification import EDGE_CASES
from keras_s2s.utils.errors import InputError, ServerError
from keras_s2s.utils.text import encode_texts


@pytest.fixture(scope="module")
def sessions(exports):
    with SavedModelSession(exports / "1") as first, SavedModelSession(exports / "2") as second:
        yield {1: first, 2: second}


@pytest.fixture
def models(sessions):
    return Models("en-fr", dict(sessions), {"stable": 1, "canary": 2})


@pytest.fixture(params=["grpc", "rest"])
def protocol(request):
    return request.param


@pytest.fixture
def address(protocol, models):
    """Address of a running server."""
    if protocol == "grpc":
        server, address = start_grpc(models)
        yield address
        server.stop(None)
    else:
        server, address = start_rest(models)
        yield address
        server.shutdown()
        server.server_close()


@pytest.fixture
def connect(protocol):
    """Return a function that makes clients, which are closed at the end."""
    made = []

    def connect(address, version=1, **options):
        made.append(TranslationClient(address, "en-fr", version, protocol=protocol, **options))
        return made[-1]

    yield connect
    for client in made:
        client.close()


@pytest.fixture
def backoffs(monkeypatch):
    """Record the backoffs instead of sleeping."""
    backoffs = []
    monkeypatch.setattr(translation_client, "time", SimpleNamespace(sleep=backoffs.append))
    return backoffs


def unavailable():
    raise StatusError("UNAVAILABLE", "The batch scheduling queue is full")


class TestRequests:
    def test_translations_match_the_model_in_order(
        self, translator, phrasebook, models, address, connect
    ):
        texts = encode_texts([*EDGE_CASES, *phrasebook.source[::20]])
        expected, scores = translator.translate(texts, return_scores=True)
        assert len(set(expected)) > 50, "the model has too few distinct answers for this test"
        client = connect(address, batch_size=7)
        actual, actual_scores = client.translate(texts, return_scores=True)
        assert actual == expected
        np.testing.assert_allclose(actual_scores, scores, rtol=1e-4, atol=1e-4)
        sizes = [size for _, size in models.requests]
        assert sizes == [min(7, len(texts) - start) for start in range(0, len(texts), 7)]
        assert client.translate(texts[:5]) == expected[:5]

    def test_score_pairs(self, translator, phrasebook, address, connect):
        pairs = phrasebook.source[::40], phrasebook.target[::40]
        expected = translator.score_pairs(*pairs)
        actual = connect(address, batch_size=16).score_pairs(*pairs)
        assert [pair.num_tokens for pair in actual] == [pair.num_tokens for pair in expected]
        np.testing.assert_allclose(
            [pair.score for pair in actual], [pair.score for pair in expected], rtol=1e-4
        )

    def test_version_and_label_select_the_version(self, phrasebook, sessions, address, connect):
        text = phrasebook.source[::100]
        by_version = {
            version: [text.decode() for text in session.run(text=text)["translation"]]
            for version, session in sessions.items()
        }
        assert by_version[1] != by_version[2]
        for version, label in ((1, "stable"), (2, "canary")):
            assert connect(address, version).translate(text) == by_version[version]
            assert (
                connect(address, None, version_label=label).translate(text) == by_version[version]
            )
        assert connect(address, None).translate(text) == by_version[2], (
            "the highest version by default"
        )

    def test_an_empty_list_sends_no_request(self, models, address, connect):
        client = connect(address)
        assert client.translate([]) == []
        assert client.translate([], return_scores=True) == ([], [])
        assert client.score_pairs([], []) == []
        assert models.requests == []

    def test_threads_share_a_client(self, translator, phrasebook, address, connect):
        client = connect(address, batch_size=4)
        slices = [phrasebook.source[start::200] for start in range(8)]
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(client.translate, slices))
        assert answers == [translator.translate(texts) for texts in slices]

    def test_metadata_and_status(self, sessions, address, connect):
        metadata = connect(address).metadata()
        assert metadata["version"] == 1
        assert metadata["signatures"] == {
            name: {
                side: {
                    tensor: {"dtype": spec.dtype, "shape": list(spec.shape)}
                    for tensor, spec in getattr(signature, side).items()
                }
                for side in ("inputs", "outputs")
            }
            for name, signature in sessions[1].signatures.items()
        }
        assert connect(address).status() == [(2, "AVAILABLE", ""), (1, "AVAILABLE", "")]


class TestFailures:
    @pytest.mark.parametrize("code", ["UNAVAILABLE", "RESOURCE_EXHAUSTED"])
    def test_transient_failures_are_retried(self, code, models, address, connect, backoffs):
        def fault():
            raise StatusError(code, "not now")

        models.faults += [fault] * 3
        assert len(connect(address).translate(["Go.", "I won!"])) == 2
        assert models.requests == [("serving_default", 2)]
        # Exponential backoff with jitter.
        for backoff, mean in zip(backoffs, [0.2, 0.4, 0.8], strict=True):
            assert 0.5 * mean <= backoff <= 1.5 * mean

    def test_only_the_failed_batch_is_retried(
        self, translator, phrasebook, models, address, connect, backoffs
    ):
        models.faults += [lambda: None, unavailable, lambda: None]
        texts = phrasebook.source[::68][:30]
        assert connect(address, batch_size=10).translate(texts) == translator.translate(texts)
        assert [size for _, size in models.requests] == [10, 10, 10]
        assert len(backoffs) == 1

    def test_it_gives_up_after_the_last_retry(self, models, address, connect, backoffs):
        models.faults += [unavailable] * 9
        with pytest.raises(ServerError) as caught:
            connect(address, retries=2).translate(["Go."])
        assert caught.value.code == "UNAVAILABLE"
        message = str(caught.value)
        assert address in message
        assert "queue is full" in message
        assert "check that it runs" in message
        assert message.endswith("(tried 3 times)")
        assert "\n" not in message
        assert len(models.faults) == 6

    @pytest.mark.parametrize(
        "code", ["INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "INTERNAL"]
    )
    def test_permanent_failures_are_not_retried(self, code, models, address, connect, backoffs):
        def fault():
            raise StatusError(code, 'Serving signature key "other"\n not found.')

        models.faults += [fault] * 2
        with pytest.raises(ServerError, match='"other" not found') as caught:
            connect(address).translate(["Go."])
        # REST has one status for both.
        expected = {code, "INVALID_ARGUMENT"} if code == "FAILED_PRECONDITION" else {code}
        assert caught.value.code in expected
        assert (len(models.faults), backoffs) == (1, [])

    @pytest.mark.parametrize("spec", [{"version": 9}, {"version_label": "next"}])
    def test_an_unknown_version_or_label(self, spec, address, connect):
        with pytest.raises(ServerError, match=r"9|next") as caught:
            connect(address, **{"version": None, **spec}).translate(["Go."])
        assert caught.value.code in ("NOT_FOUND", "INVALID_ARGUMENT")

    def test_the_deadline_is_enforced(self, models, address, connect):
        models.faults += [lambda: time.sleep(1.0)] * 2
        started = time.monotonic()
        with pytest.raises(ServerError) as caught:
            connect(address, timeout=0.2).translate(["Go."])
        assert time.monotonic() - started < 0.8
        assert caught.value.code == "DEADLINE_EXCEEDED"
        assert "longer timeout" in str(caught.value)
        assert len(models.faults) == 1, "the server had one request, not two"

    def test_an_exceeded_deadline_can_be_made_retryable(self, models, address, connect):
        models.faults += [lambda: time.sleep(1.0)]
        client = connect(address, timeout=0.5, retryable=["DEADLINE_EXCEEDED"])
        assert len(client.translate(["Go."])) == 1

    def test_no_server(self, connect, backoffs):
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            port = unused.getsockname()[1]
            with pytest.raises(ServerError) as caught:
                connect(f"127.0.0.1:{port}", retries=1).translate(["Go."])
        assert caught.value.code == "UNAVAILABLE"
        assert f"127.0.0.1:{port}" in str(caught.value)
        assert len(backoffs) == 1

    def test_a_restarting_server(self, protocol, models, connect):
        start = start_grpc if protocol == "grpc" else start_rest

        def stop(server):
            if protocol == "grpc":
                server.stop(None).wait()
            else:
                server.shutdown()
                server.server_close()

        first, address = start(models)
        client = connect(address)
        assert len(client.translate(["Go."])) == 1
        stop(first)
        restarted = []
        port = int(address.rpartition(":")[2])
        timer = threading.Timer(0.5, lambda: restarted.append(start(models, port=port)))
        timer.start()
        try:
            assert len(client.translate(["Go."])) == 1
        finally:
            timer.join()
            stop(restarted[0][0])

    def test_a_model_that_is_not_a_translator(self, models, address, connect):
        models.predict = lambda *_: {"translation": np.array([b"one"], dtype=object)}
        with pytest.raises(ServerError, match="1 of output 'translation'"):
            connect(address).translate(["Go.", "I won!"])

    def test_an_answer_that_is_not_utf_8(self, models, address, connect):
        models.predict = lambda *_: {"translation": np.array([b"\xff"], dtype=object)}
        with pytest.raises(ServerError):
            connect(address, retries=0).translate(["Go."])

    def test_invalid_input_is_rejected_before_it_is_sent(self, models, address, connect):
        client = connect(address)
        with pytest.raises(InputError, match="put it in brackets"):
            client.translate("Go.")
        with pytest.raises(InputError, match="2 sentences and 1 references"):
            client.score_pairs(["Go.", "No."], ["Va !"])
        client.close()
        with pytest.raises(InputError, match="closed"):
            client.translate(["Go."])
        assert models.requests == []


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"version": 1, "version_label": "stable"}, "mutually exclusive"),
        ({"model_name": ""}, "name is empty"),
        ({"protocol": "http"}, "'grpc' or 'rest'"),
        ({"timeout": 0.0}, "timeout is 0.0"),
        ({"timeout": float("nan")}, "timeout is nan"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"retries": -1}, "retries is -1"),
        ({"address": "http://localhost:8501"}, "for REST"),
        ({"address": "localhost:http"}, "give HOST:PORT"),
        ({"address": ""}, "give HOST:PORT"),
        ({"address": "ftp://localhost", "protocol": "rest"}, "not an address for REST"),
        ({"address": "localhost:99999", "protocol": "rest"}, "give HOST:PORT"),
        (
            {"address": "http://localhost:1", "protocol": "rest", "tls": True},
            "https://",
        ),
        ({"cert": "client.pem"}, "give both"),
        ({"ca": "nowhere.pem"}, "nowhere.pem: cannot be read"),
        ({"ca": __file__}, "invalid certificate"),
    ],
)
def test_invalid_arguments(options, match):
    files = {name: options.pop(name) for name in ("tls", "ca", "cert") if name in options}
    with pytest.raises(InputError, match=match):
        TranslationClient(
            **{"address": "localhost", "model_name": "en-fr", **options},
            credentials=Credentials(**files),
        )


def test_addresses():
    def shown(address, protocol):
        with TranslationClient(address, "en-fr", protocol=protocol) as client:
            return client._transport.address

    assert shown("server", "grpc") == "server:8500"
    assert shown("[::1]:9000", "grpc") == "[::1]:9000"
    assert shown("dns:///headless:8500", "grpc") == "dns:///headless:8500"
    assert shown("server", "rest") == "http://server:8501"
    assert shown("[::1]", "rest") == "http://[::1]:8501"
    assert shown("https://gateway:443/tf/", "rest") == "https://gateway:443/tf"


class TestRest:
    """Persistent connections."""

    def test_a_stale_connection_is_replaced(self, models, backoffs):
        server, address = start_rest(models)
        with TranslationClient(address, "en-fr", protocol="rest") as client:
            client.translate(["Go."])
            [connection] = client._transport._idle
            connection.sock.shutdown(socket.SHUT_RDWR)  # as when the server has closed it
            assert len(client.translate(["Go."])) == 1
        server.shutdown()
        server.server_close()
        assert backoffs == []


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """A key and a self-signed certificate for 127.0.0.1."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        [
            openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
            "-nodes", "-days", "2", "-subj", "/CN=translation test",
            "-addext", "subjectAltName=IP:127.0.0.1",
            "-addext", "keyUsage=critical,digitalSignature,keyCertSign",
            "-keyout", key, "-out", cert,
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    return key, cert


class TestCredentials:
    @pytest.fixture
    def secure_address(self, protocol, models, certificates):
        """Address of a server that requires a client certificate."""
        key, cert = certificates
        if protocol == "grpc":
            pair = [(key.read_bytes(), cert.read_bytes())]
            credentials = grpc.ssl_server_credentials(
                pair, cert.read_bytes(), require_client_auth=True
            )
            server, address = start_grpc(models, credentials)
            yield address
            server.stop(None)
        else:
            import ssl

            server, address = start_rest(models)
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=cert)
            context.load_cert_chain(cert, key)
            context.verify_mode = ssl.CERT_REQUIRED
            server.socket = context.wrap_socket(server.socket, server_side=True)
            yield address
            server.shutdown()
            server.server_close()

    def test_mutual_tls_and_token(self, certificates, secure_address, connect, models, tmp_path):
        key, cert = certificates
        token = tmp_path / "token"
        token.write_text("first\n", encoding="ascii")
        credentials = Credentials(ca=cert, cert=cert, key=key, token_file=token)
        client = connect(secure_address, credentials=credentials)
        assert len(client.translate(["Go.", "I won!"])) == 2
        token.write_text("second\n", encoding="ascii")
        client.translate(["Go."])
        sent = [headers["authorization"] for headers in models.headers]
        assert sent == ["Bearer first", "Bearer second"]

    def test_an_untrusted_server_certificate(self, secure_address, connect, capfd):
        client = connect(secure_address, credentials=Credentials(tls=True), retries=0)
        with pytest.raises(ServerError) as caught:
            client.translate(["Go."])
        assert caught.value.code == "UNAUTHENTICATED"
        capfd.readouterr()  # gRPC's own log

    def test_a_client_without_a_certificate(self, certificates, secure_address, connect, capfd):
        client = connect(secure_address, credentials=Credentials(ca=certificates[1]), retries=0)
        with pytest.raises(ServerError):
            client.translate(["Go."])
        capfd.readouterr()

    def test_a_client_without_tls(self, certificates, secure_address, connect):
        with pytest.raises(ServerError) as caught:
            connect(secure_address, retries=0).translate(["Go."])
        assert caught.value.code in ("UNAVAILABLE", "UNIMPLEMENTED")


class TestCommand:
    @pytest.fixture
    def run(self, address, protocol, capsys):
        """Return a function that runs the command and returns exit status, stdout and stderr."""

        def run(*arguments, model="en-fr"):
            capsys.readouterr()
            options = ["--rest"] if protocol == "rest" else []
            status = main([address, model, *options, *map(str, arguments)])
            return status, *capsys.readouterr()

        return run

    def test_sentences(self, run, translator):
        expected, scores = translator.translate(["Go.", "I won!"], return_scores=True)
        assert run("Go.", "I won!", "--label", "stable") == (
            0,
            "".join(map("{}\n".format, expected)),
            "",
        )
        status, out, _ = run("Go.", "--version", "1", "--with-scores")
        translation, score = out.removesuffix("\n").split("\t")
        assert (status, translation) == (0, expected[0])
        assert float(score) == pytest.approx(scores[0], rel=1e-4)

    def test_an_answer_as_json(self, run, translator):
        [answer] = translator.answers(["Go zzxxqq."])
        status, out, _ = run("Go zzxxqq.", "--json", "--version", "1")
        item = json.loads(out)
        assert (status, item["text"], item["num_unknown"]) == (0, "Go zzxxqq.", 1)
        assert item["translation"] == answer.translation
        assert item["confidence"] == pytest.approx(answer.confidence, rel=1e-3)

    def test_standard_input(self, run, translator, monkeypatch, tmp_path):
        lines = tmp_path / "lines.txt"
        lines.write_text("Go.\n\nI won!\n", encoding="utf-8")
        with lines.open(encoding="utf-8") as stdin:
            monkeypatch.setattr(sys, "stdin", stdin)
            status, out, _ = run("--version", 1)
        assert status == 0
        assert out.split("\n") == [*translator.translate(["Go.", "", "I won!"]), ""]

    def test_status(self, run):
        assert run("--status") == (0, "2 AVAILABLE\n1 AVAILABLE\n", "")

    def test_check_passes_for_the_same_version(self, run, exports):
        assert len(read_answers(exports / "1")) >= 20
        for version in (1, 2):
            status, out, err = run("--check", exports / str(version))
            assert (status, err) == (0, "")
            assert out.startswith("all ")

    def test_check_fails_for_another_version(self, run, exports):
        status, out, err = run("--check", exports / "1", "--version", "2")
        assert (status, err) == (1, "")
        assert "answers differ" in out
        assert "the server returns" in out

    def test_check_compares_scores(self, run, exports, tmp_path):
        answers = read_answers(exports / "1")[:3]
        answers[1]["score"] += 0.01
        record = tmp_path / "1" / "assets.extra" / "proof.json"
        record.parent.mkdir(parents=True)
        record.write_text(json.dumps({"answers": answers}), encoding="utf-8")
        status, out, _ = run("--check", tmp_path / "1")
        assert status == 1
        assert out.splitlines()[-1].startswith("1 of 3 answers differ")

    @pytest.mark.parametrize("content", [None, "{", "[]", '{"answers": []}', "{}"])
    def test_check_without_a_record(self, run, content, tmp_path):
        record = tmp_path / "assets.extra" / "proof.json"
        if content is not None:
            record.parent.mkdir()
            record.write_text(content, encoding="utf-8")
        status, out, err = run("--check", tmp_path)
        assert (status, out) == (2, "")
        assert str(record) in err
        assert err.count("\n") == 1

    def test_an_error_is_one_line(self, run):
        status, out, err = run("Go.", model="other")
        assert (status, out) == (2, "")
        assert "Servable not found for request: Latest(other) (NOT_FOUND)" in err
        assert err.count("\n") == 1


class TestWithoutTensorFlow:
    def test_neither_protocol_imports_it(self, protocol, address, translator):
        command = [sys.executable, "-m", "keras_s2s.client"]
        done = subprocess.run(
            [*command, address, "en-fr", "Go.", "--version=1"] + ["--rest"] * (protocol == "rest"),
            env={**os.environ, "PYTHONPROFILEIMPORTTIME": "1"},
            capture_output=True, encoding="utf-8", check=True,
        )  # fmt: skip
        assert done.stdout.split("\n") == [*translator.translate(["Go."]), ""]
        imported = [line.rpartition("|")[2].strip() for line in done.stderr.splitlines()]
        assert "keras_s2s.client.transport" in imported
        assert not [name for name in imported if name in ("tensorflow", "keras", "numpy")]

    def test_rest_needs_only_python(self, models, translator, tmp_path):
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path], check=True)
        python = tmp_path / "bin" / "python"
        # A symlink: the parent folder may hold other packages.
        (tmp_path / "only").mkdir()
        (tmp_path / "only" / "keras_s2s").symlink_to(Path(s2s.__file__).parent)
        path = {"PYTHONPATH": str(tmp_path / "only"), "PYTHONDONTWRITEBYTECODE": "1"}
        environment = {**os.environ, **path}
        server, address = start_rest(models)
        code = (
            "import sys; from keras_s2s.client import TranslationClient\n"
            "with TranslationClient(sys.argv[1], 'en-fr', 1, protocol='rest') as client:\n"
            "    sys.stdout.buffer.write(client.translate(['Go.'])[0].encode() + b'\\n')"
        )
        [expected] = translator.translate(["Go."])
        for arguments in (
            ["-m", "keras_s2s.client", address, "en-fr", "Go.", "--rest", "--version=1"],
            ["-c", code, address],
        ):
            done = subprocess.run(
                [python, *arguments], env=environment, capture_output=True, check=False
            )
            assert done.stdout.decode() == f"{expected}\n", done.stderr.decode()
        # gRPC names the missing packages.
        done = subprocess.run(
            [python, "-m", "keras_s2s.client", address, "en-fr", "Go."],
            env=environment, capture_output=True, encoding="utf-8", check=False,
        )  # fmt: skip
        assert done.returncode == 2
        assert "pip install grpcio tensorflow-serving-api, or use REST" in done.stderr
        server.shutdown()
        server.server_close()
