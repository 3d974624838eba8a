"""The real TensorFlow Serving: requests, rollouts and metrics as in the guide.

Either `tensorflow_model_server` is on the PATH and is started here with the files of `export/`, or
TF_SERVING_URL (REST) and TF_SERVING_GRPC name a running server with an export of this package as
the model TF_SERVING_MODEL (default `en-fr`). TF_SERVING_EXPORT may name its version folder, whose
verification record is then compared. A running server only gets requests. Without either, all
tests are skipped.

The server listens on all addresses, since it has no flag for that, on free ports.
"""

import contextlib
import os
import re
import shutil
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from ports import free_ports

from keras_s2s.client.__main__ import TranslationClient, read_answers
from keras_s2s.serving.signatures import WARMUP_FILE
from keras_s2s.serving.verification import EDGE_CASES
from keras_s2s.serving.warmup import write_warmup_requests
from keras_s2s.utils.errors import ServerError
from keras_s2s.utils.text import encode_texts

PROGRAM = shutil.which("tensorflow_model_server")
URL, GRPC = os.environ.get("TF_SERVING_URL"), os.environ.get("TF_SERVING_GRPC")
MODEL = os.environ.get("TF_SERVING_MODEL", "en-fr")
EXPORT = Path(__file__).parents[2] / "export"
METRICS = "/monitoring/prometheus/metrics"
POLL = 1  # seconds, for models.config

pytestmark = [
    pytest.mark.tfserving,
    pytest.mark.skipif(
        not (PROGRAM or URL or GRPC),
        reason="no TensorFlow Serving: tensorflow_model_server is not on the PATH, and neither "
        "TF_SERVING_URL nor TF_SERVING_GRPC is set",
    ),
]
started_here = pytest.mark.skipif(
    PROGRAM is None or bool(URL or GRPC),
    reason="needs a server that is started here: tensorflow_model_server on the PATH, and neither "
    "TF_SERVING_URL nor TF_SERVING_GRPC set",
)


class Server:
    """A server started here, with the configuration of `export/` except for paths.

    Attributes:
        folder: models and configuration.
        rest: REST address.
        grpc: gRPC address.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.model = folder, folder / "models" / MODEL
        self.model.mkdir(parents=True)
        ports = free_ports(2)
        self.grpc, self.rest = (f"127.0.0.1:{port}" for port in ports)
        self._flags = [
            f"--port={ports[0]}",
            f"--rest_api_port={ports[1]}",
            f"--model_config_file={folder / 'models.config'}",
            f"--model_config_file_poll_wait_seconds={POLL}",
            "--allow_version_labels_for_unavailable_models=true",
            "--enable_batching=true",
            f"--batching_parameters_file={EXPORT / 'batching.config'}",
            f"--monitoring_config_file={EXPORT / 'monitoring.config'}",
            "--max_num_load_retries=0",
        ]

    def add(self, version: int, export: Path) -> None:
        """Copy an export into the model's folder, atomically as `keras-s2s export` does."""
        temporary = self.model / f".{version}"
        shutil.copytree(export, temporary)
        temporary.rename(self.model / str(version))

    def configure(self, versions: list[int], **labels: int) -> None:
        """Write models.config: that of `export/` with other versions, labels and path."""
        text = (EXPORT / "models.config").read_text(encoding="utf-8")
        text = text.replace('"en-fr"', f'"{MODEL}"').replace("/models/en-fr", str(self.model))
        text, count = re.subn(
            r"versions: 1\n", "".join(f"versions: {version}\n" for version in versions), text
        )
        assert count == 1
        for label, version in labels.items():
            text, count = re.subn(rf'(key: "{label}" value:) 1', rf"\1 {version}", text)
            assert count == 1
        temporary = self.folder / "models.config.new"
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(self.folder / "models.config")

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Start the server, wait until it responds, and stop it at the end."""
        with (self.folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [str(PROGRAM), *self._flags],
                env={**os.environ, "LC_ALL": "C.UTF-8", "TF_CPP_MIN_LOG_LEVEL": "0"},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            try:
                wait_until(lambda: process.poll() is not None or self.states(), 60)
                assert process.poll() is None, self.log()
                yield
            finally:
                process.terminate()
                try:
                    process.wait(timeout=20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def states(self) -> dict[int, str]:
        """Return the state of each version; empty if the server does not respond."""
        with self.client(retries=0) as client, contextlib.suppress(ServerError):
            return {status.version: status.state for status in client.status()}
        return {}

    def wait_for(self, version: int, state: str) -> None:
        wait_until(lambda: self.states().get(version) == state, 30)

    def client(self, version: int | None = None, **options) -> TranslationClient:
        return TranslationClient(self.rest, MODEL, version, protocol="rest", **options)

    def log(self) -> str:
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")


def wait_until(condition, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def server(request, tmp_path_factory):
    """A server with versions 1 (stable) and 2 (canary); None if one is running already."""
    if URL or GRPC:
        yield None
        return
    exports = request.getfixturevalue("exports")
    phrasebook = request.getfixturevalue("phrasebook")
    server = Server(tmp_path_factory.mktemp("server"))
    for version in (1, 2):
        server.add(version, exports / str(version))
        texts = encode_texts(phrasebook.source[:64])
        write_warmup_requests(server.model / str(version), MODEL, texts, signatures=["beam"])
    server.configure([1, 2], stable=1, canary=2)
    with server.running():
        for version in (1, 2):
            server.wait_for(version, "AVAILABLE")
        yield server


@pytest.fixture(params=["rest", "grpc"])
def client(request, server):
    """A client for each protocol and the version labeled stable, or else the highest one."""
    addresses = {"rest": URL, "grpc": GRPC}
    label = None
    if server is not None:
        addresses, label = {"rest": server.rest, "grpc": server.grpc}, "stable"
    address = addresses[request.param]
    if address is None:
        variable = {"rest": "TF_SERVING_URL", "grpc": "TF_SERVING_GRPC"}[request.param]
        pytest.skip(f"{variable} is not set")
    with TranslationClient(
        address, MODEL, version_label=label, protocol=request.param, timeout=30.0
    ) as client:
        yield client


def page(address: str, path: str) -> str:
    base = address if "://" in address else f"http://{address}"
    with urllib.request.urlopen(base.rstrip("/") + path, timeout=10) as response:
        return response.read().decode()


class TestAnyServer:
    """Tests for any server, including one that is running already."""

    def test_status(self, client):
        assert "AVAILABLE" in [status.state for status in client.status()]

    def test_metadata(self, client):
        signatures = client.metadata()["signatures"]
        text, number = {"dtype": "string", "shape": [-1]}, {"dtype": "int32", "shape": [-1]}
        score = {"dtype": "float32", "shape": [-1]}
        assert signatures["serving_default"] == {
            "inputs": {"text": text},
            "outputs": {
                "translation": text,
                "score": score,
                "num_tokens": number,
                "confidence": score,
                "num_unknown": number,
            },
        }
        assert signatures["score"] == {
            "inputs": {"text": text, "reference": text},
            "outputs": {"score": score, "num_tokens": number},
        }

    def test_edge_cases(self, client):
        translations, scores = client.translate(EDGE_CASES, return_scores=True)
        assert len(translations) == len(EDGE_CASES)
        assert np.isfinite(scores).all()
        for text, translation in zip(EDGE_CASES, translations, strict=True):
            if not encode_texts([text])[0].strip():
                assert translation == ""

    def test_a_translation_does_not_depend_on_its_batch(self, client):
        texts = [f"{word} now ." for word in ("go", "run", "wait", "stop", "sing")]
        together = client.translate(texts)
        assert [client.translate([text])[0] for text in texts] == together
        assert client.translate(texts[::-1]) == together[::-1]

    def test_score_pairs(self, client):
        texts = ["Go.", "I won!"]
        pairs = client.score_pairs(texts, client.translate(texts))
        assert all(pair.score <= 0 and pair.num_tokens > 0 for pair in pairs)

    def test_errors_are_not_retried(self, client):
        protocol = "rest" if client._transport.protocol == "REST" else "grpc"
        for name, version in (("no-such-model", None), (MODEL, 999_999)):
            with (
                TranslationClient(
                    client._transport.address, name, version, protocol=protocol
                ) as other,
                pytest.raises(ServerError) as caught,
            ):
                other.translate(["Go."])
            assert caught.value.code == "NOT_FOUND"
            assert "tried" not in str(caught.value)

    def test_the_verification_record(self, client, server):
        folder = os.environ.get("TF_SERVING_EXPORT")
        if server is None and not folder:
            pytest.skip("TF_SERVING_EXPORT names no folder to compare with")
        assert client.check(read_answers(folder or server.model / "1")) == []

    def test_metrics(self, server):
        address = URL if server is None else server.rest
        if address is None:
            pytest.skip("TF_SERVING_URL is not set")
        text = page(address, METRICS)
        assert ":tensorflow:cc:saved_model:load_attempt_count" in text
        assert ":tensorflow:serving:request_count" in text


@started_here
class TestStartedHere:
    def test_served_output_equals_python_output(self, client, translator, phrasebook):
        texts = encode_texts([*EDGE_CASES, *phrasebook.source[::4]])
        expected, scores = translator.translate(texts, return_scores=True)
        actual, actual_scores = client.translate(texts, return_scores=True)
        assert actual == expected
        np.testing.assert_allclose(actual_scores, scores, rtol=1e-4, atol=1e-4)

    def test_warm_up_ran(self, server):
        assert (server.model / "1" / WARMUP_FILE).is_file()
        log = server.log()
        for version in (1, 2):
            read = re.search(rf"Finished reading warmup data .*/{version}/.*read: (\d+)", log)
            assert read, log
            assert int(read.group(1)) == 7

    def test_labels_select_versions(self, server, exports):
        for label, version in (("stable", 1), ("canary", 2)):
            answers = read_answers(exports / str(version))
            for address, protocol in ((server.rest, "rest"), (server.grpc, "grpc")):
                with TranslationClient(
                    address, MODEL, version_label=label, protocol=protocol
                ) as client:
                    assert client.check(answers) == []
                    assert client.metadata()["version"] == version

    def test_requests_are_batched(self, server, translator, phrasebook):
        texts = phrasebook.source[::5]
        expected = translator.translate(texts)

        def ask(text):
            return client.translate([text])[0]

        with (
            TranslationClient(server.grpc, MODEL, version_label="stable", retries=8) as client,
            ThreadPoolExecutor(16) as pool,
        ):
            assert list(pool.map(ask, texts)) == expected
        metrics = page(server.rest, METRICS)
        assert ":tensorflow:serving:batching_session:" in metrics

    def test_a_request_larger_than_a_batch_is_rejected(self, server):
        with server.client(1, batch_size=33) as client, pytest.raises(ServerError) as caught:
            client.translate(["Go."] * 33)
        assert caught.value.code == "INVALID_ARGUMENT"

    def test_metrics_count_requests(self, server):
        def count():
            pattern = (
                rf':tensorflow:serving:request_count{{model_name="{MODEL}",status="OK"}} (\d+)'
            )
            return sum(map(int, re.findall(pattern, page(server.rest, METRICS))))

        before = count()
        with server.client() as client:
            for _ in range(5):
                client.translate(["Go."])
        assert count() == before + 5


@started_here
class TestRollout:
    """Rollout and rollback under load, without a failed request."""

    def test_rollout_and_rollback(self, exports, tmp_path):
        server = Server(tmp_path)
        server.add(1, exports / "1")
        server.configure([1], stable=1, canary=1)
        answers = {version: read_answers(exports / str(version)) for version in (1, 2)}
        text = next(
            first["text"]
            for first, second in zip(answers[1], answers[2], strict=True)
            if first["translation"] != second["translation"]
        )
        by_version = {
            version: next(a["translation"] for a in answers[version] if a["text"] == text)
            for version in (1, 2)
        }
        with server.running(), continuous_requests(server, text) as (failures, translations):
            self.stays(server, by_version[1], text)
            server.add(2, exports / "2")
            server.configure([1, 2], stable=1, canary=1)
            server.wait_for(2, "AVAILABLE")
            self.stays(server, by_version[1], text)
            server.configure([1, 2], stable=1, canary=2)
            self.becomes(server, "canary", by_version[2], text)
            self.stays(server, by_version[1], text)
            server.configure([1, 2], stable=2, canary=2)
            self.becomes(server, "stable", by_version[2], text)
            server.configure([1, 2], stable=1, canary=2)  # roll back
            self.becomes(server, "stable", by_version[1], text)
            server.configure([1, 2], stable=2, canary=2)
            self.becomes(server, "stable", by_version[2], text)
            server.configure([2], stable=2, canary=2)  # retire version 1
            server.wait_for(1, "END")
            self.becomes(server, "stable", by_version[2], text)
        assert failures == []
        assert set(translations) == set(by_version.values())
        assert len(translations) > 50

    @staticmethod
    def becomes(server, label, translation, text):
        with server.client(version_label=label) as client:
            wait_until(lambda: client.translate([text]) == [translation], 30)

    @staticmethod
    def stays(server, translation, text):
        time.sleep(2 * POLL)
        with server.client(version_label="stable") as client:
            assert client.translate([text]) == [translation]

    def test_a_label_cannot_move_to_an_unloaded_version(self, exports, tmp_path):
        server = Server(tmp_path)
        server.add(1, exports / "1")
        server.add(2, exports / "2")
        server.configure([1], stable=1, canary=1)
        with server.running():
            server.configure([1, 2], stable=2, canary=1)
            wait_until(lambda: "not currently available for inference" in server.log(), 30)
            with server.client(version_label="stable") as client:
                assert client.check(read_answers(exports / "1")) == []

    def test_a_broken_version_does_no_harm(self, exports, tmp_path):
        server = Server(tmp_path)
        server.add(1, exports / "1")
        server.configure([1], stable=1, canary=1)
        broken = tmp_path / "broken"
        shutil.copytree(exports / "1", broken)
        graph = (broken / "saved_model.pb").read_bytes()
        (broken / "saved_model.pb").write_bytes(graph[: len(graph) // 2])
        with server.running():
            server.add(2, broken)
            server.configure([1, 2], stable=1, canary=1)
            server.wait_for(2, "END")
            with server.client() as client:
                [second, first] = client.status()
                assert first.state == "AVAILABLE"
                assert second.error
                assert client.check(read_answers(exports / "1")) == []


@contextlib.contextmanager
def continuous_requests(server, text):
    """Request the stable version from two threads; yield failures and translations."""
    failures, translations, stopped = [], [], threading.Event()

    def ask(address, protocol):
        # No retries: no request may fail.
        with TranslationClient(
            address, MODEL, version_label="stable", protocol=protocol, retries=0
        ) as client:
            while not stopped.is_set():
                try:
                    translations.extend(client.translate([text]))
                except ServerError as error:
                    failures.append(str(error))
                time.sleep(0.02)

    threads = [
        threading.Thread(target=ask, args=arguments)
        for arguments in ((server.rest, "rest"), (server.grpc, "grpc"))
    ]
    for thread in threads:
        thread.start()
    try:
        yield failures, translations
    finally:
        stopped.set()
        for thread in threads:
            thread.join()
