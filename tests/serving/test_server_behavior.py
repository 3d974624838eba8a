"""What the guide and the manifests say of the server's behavior, on the imitated server."""

import contextlib
import json
import re
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import imitation_metrics
import pytest
import yaml
from imitation_server import NUM_REST_THREADS, Models, StatusError, start_grpc, start_rest

from keras_s2s.client.translation_client import TranslationClient
from keras_s2s.serving.session import SavedModelSession
from keras_s2s.utils.errors import ServerError

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "export" / "README.md").read_text(encoding="utf-8")

# The flags of tensorflow_model_server 2.20 that the files of `export/` may use. One that it does
# not know is named in its log, and otherwise ignored.
FLAGS = {
    "allow_version_labels_for_unavailable_models",
    "batching_parameters_file",
    "enable_batching",
    "enable_model_warmup",
    "grpc_max_threads",
    "load_retry_interval_micros",
    "max_num_load_retries",
    "model_base_path",
    "model_config_file",
    "model_config_file_poll_wait_seconds",
    "model_name",
    "monitoring_config_file",
    "port",
    "rest_api_num_threads",
    "rest_api_port",
    "rest_api_timeout_in_ms",
    "ssl_config_file",
    "tensorflow_inter_op_parallelism",
    "tensorflow_intra_op_parallelism",
}


@pytest.fixture(scope="module")
def pod():
    text = (ROOT / "export" / "kubernetes" / "serving.yaml").read_text(encoding="utf-8")
    [deployment] = [item for item in yaml.safe_load_all(text) if item["kind"] == "Deployment"]
    return deployment["spec"]["template"]["spec"]


@pytest.fixture(scope="module")
def rest_timeout(pod):
    """Seconds within which a request by REST is answered."""
    [container] = pod["containers"]
    [value] = [flag for flag in container["args"] if flag.startswith("--rest_api_timeout_in_ms=")]
    return int(value.partition("=")[2]) / 1000


@pytest.fixture(scope="module")
def session(exports):
    with SavedModelSession(exports / "1") as session:
        yield session


@contextlib.contextmanager
def serving(models):
    """Serve by both protocols; yield the addresses."""
    rest, rest_address = start_rest(models)
    grpc, grpc_address = start_grpc(models)
    try:
        yield rest_address, grpc_address
    finally:
        grpc.stop(None)
        rest.shutdown()
        rest.server_close()


def get(address, path, timeout=10.0):
    with urllib.request.urlopen(f"http://{address}{path}", timeout=timeout) as response:
        return response.read().decode()


def post(address, body, selector="", timeout=30.0):
    """Return the status and the answer of a prediction."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(f"http://{address}/v1/models/en-fr{selector}:predict", content)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


class TestEmptyRequests:
    def test_they_hold_all_rest_threads_and_the_liveness_probe_notices(self, session, pod):
        [container] = pod["containers"]
        path = container["livenessProbe"]["httpGet"]["path"]
        models = Models("en-fr", {1: session}, {}, batching=True)
        answers = []

        def ask(address):
            answers.append(post(address, {"inputs": {"text": []}}))

        with serving(models) as (rest, grpc):
            threads = [
                threading.Thread(target=ask, args=[rest], daemon=True)
                for _ in range(NUM_REST_THREADS)
            ]
            get(rest, path)
            for thread in threads:
                thread.start()
            while len(models.requests) < NUM_REST_THREADS:
                time.sleep(0.01)
            with pytest.raises(TimeoutError):
                get(rest, path, timeout=0.5)
            with TranslationClient(grpc, "en-fr") as client:
                assert client.status()[0].state == "AVAILABLE", "gRPC notices nothing"
                assert answers == []
                client.translate(["Go."])
            for thread in threads:
                thread.join(timeout=30)
            outputs = session.signatures["serving_default"].outputs
            empty = {"outputs": {name: [] for name in outputs}}
            assert answers == [(200, empty)] * NUM_REST_THREADS
            assert get(rest, path)

    def test_rows_are_refused_and_without_batching_columns_are_answered(self, session):
        with serving(Models("en-fr", {1: session}, {})) as (rest, _):
            status, answer = post(rest, {"instances": []})
            assert status == 400
            assert "No values in 'instances' array" in answer["error"]
            status, answer = post(rest, {"inputs": {"text": []}})
            assert (status, answer["outputs"]["translation"]) == (200, [])
        assert "No values in 'instances' array" in GUIDE

    def test_the_liveness_probe_asks_for_no_model(self, pod):
        """A model that has left models.config is no reason to restart."""
        [container] = pod["containers"]
        with serving(Models("en-fr", {}, {})) as (rest, _):
            get(rest, container["livenessProbe"]["httpGet"]["path"])
            with pytest.raises(urllib.error.HTTPError, match="404"):
                get(rest, container["readinessProbe"]["httpGet"]["path"])

    def test_load_alone_does_not_fail_the_liveness_probe(self, pod, rest_timeout):
        [container] = pod["containers"]
        assert container["livenessProbe"]["timeoutSeconds"] > rest_timeout


class TestShutdown:
    def test_a_pod_stops_after_its_last_request(self, pod, rest_timeout):
        # As process 1 the server would ignore SIGTERM; elsewhere it ends at once.
        assert pod["shareProcessNamespace"] is True
        [container] = pod["containers"]
        *shell, command = container["lifecycle"]["preStop"]["exec"]["command"]
        assert shell == ["bash", "-c"]
        wait = int(re.fullmatch(r"sleep (\d+)", command)[1])
        removal_from_endpoints = 5
        assert wait >= removal_from_endpoints + rest_timeout
        assert wait < pod["terminationGracePeriodSeconds"]


def queries(text):
    """The queries of the table of metrics, by what they show."""
    table = text[text.index("| metric | PromQL |") :].partition("\n\n")[0]
    return dict(re.findall(r"^\| ([^|]+?) \| `([^`|]+)` \|$", table, re.MULTILINE))


class TestMonitoring:
    def test_queries_leave_out_health_checks(self, session):
        found = queries(GUIDE)
        rate, latency, share = (
            found[name]
            for name in (
                "translation requests per second",
                "p99 latency, in microseconds",
                "share of failed requests",
            )
        )
        [bucket] = imitation_metrics.selectors(latency)
        models = Models("en-fr", {1: session}, {})

        def predictions():
            page = get(rest, imitation_metrics.PATH)
            infinite = re.sub(r"\}$", ',le="+Inf"}', bucket)
            rate_of_buckets = imitation_metrics.select(infinite, page)
            assert imitation_metrics.evaluate(rate, page) == rate_of_buckets
            return rate_of_buckets, page

        with serving(models) as (rest, grpc):
            for _ in range(20):
                get(rest, "/v1/models/en-fr")
            assert predictions()[0] == 0
            for address, protocol in ((rest, "rest"), (grpc, "grpc")):
                with TranslationClient(address, "en-fr", protocol=protocol) as client:
                    client.translate(["Go."])
                    client.status()
            assert predictions()[0] == 2
            post(rest, {"instances": ["Go."]}, selector="/versions/9")
            count, page = predictions()
        assert count == 2
        assert imitation_metrics.evaluate(share, page) == pytest.approx(1 / 3)
        # Counted over all requests it would be 1/24.
        total = imitation_metrics.select(imitation_metrics.COUNT, page)
        assert total == 24
        failed = imitation_metrics.evaluate(found["failed requests per second"], page)
        assert failed == 1

    def test_each_page_has_the_same_queries(self):
        text = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
        shorter = queries(text)
        assert len(shorter) >= 3
        assert shorter.items() <= queries(GUIDE).items()


class TestErrors:
    """The errors in the guide's table, as the server gives them."""

    def test_bytes_that_are_not_utf8_pass_and_a_lone_surrogate_does_not(self, session):
        expected = session.run(text=[b"Go \xff\xc3."])["translation"][0].decode()
        with serving(Models("en-fr", {1: session}, {})) as (rest, _):
            status, answer = post(rest, b'{"instances": ["Go \xff\xc3."]}')
            assert (status, answer["predictions"][0]["translation"]) == (200, expected)
            status, answer = post(rest, rb'{"instances": ["Go \ud83d."]}')
            assert status == 400
            [message] = re.findall(r"`(JSON Parse error: [^`]+)`", GUIDE)
            assert answer["error"].startswith(message)
            assert post(rest, rb'{"instances": ["Go \ud83d\ude42."]}')[0] == 200

    @pytest.mark.parametrize(
        ("code", "message", "status"),
        [
            ("RESOURCE_EXHAUSTED", "Run() timeout exceeded while waiting in batching queue", 429),
            ("UNAVAILABLE", "The batch scheduling queue to which this task was submitted is full",
             503),
            ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED", 504),
        ],
    )  # fmt: skip
    def test_overload(self, session, code, message, status):
        assert re.search(rf"^\| `{re.escape(message)}`, HTTP {status} \|", GUIDE, re.MULTILINE)

        def fault():
            raise StatusError(code, message)

        models = Models("en-fr", {1: session}, {})
        with serving(models) as (rest, grpc):
            models.faults.append(fault)
            assert post(rest, {"instances": ["Go."]}) == (status, {"error": message})
            for address, protocol in ((rest, "rest"), (grpc, "grpc")):
                models.faults.append(fault)
                with (
                    TranslationClient(address, "en-fr", protocol=protocol, retries=0) as client,
                    pytest.raises(ServerError, match=re.escape(message)) as caught,
                ):
                    client.translate(["Go."])
                assert caught.value.code == code

    def test_a_label_of_a_retired_version_fails_at_once(self, session):
        models = Models("en-fr", {2: session}, {"stable": 1})
        with serving(models) as (rest, grpc):
            status, answer = post(rest, {"instances": ["Go."]}, selector="/labels/stable")
            assert status == 404
            assert "Servable not found for request" in answer["error"]
            for address, protocol in ((rest, "rest"), (grpc, "grpc")):
                with (
                    TranslationClient(
                        address, "en-fr", version_label="stable", protocol=protocol
                    ) as client,
                    pytest.raises(ServerError) as caught,
                ):
                    client.translate(["Go."])
                assert caught.value.code == "NOT_FOUND"

    def test_keys_of_an_answer_come_in_any_order(self, session):
        with serving(Models("en-fr", {1: session}, {})) as (rest, _):
            [row] = post(rest, {"instances": ["Go."]})[1]["predictions"]
            assert list(row) != list(session.signatures["serving_default"].outputs)
            with TranslationClient(rest, "en-fr", protocol="rest") as client:
                assert client.translate(["Go."]) == [row["translation"]]


def test_the_server_knows_all_flags():
    files = [ROOT / "export" / "docker-compose.yml", *(ROOT / "export" / "kubernetes").iterdir()]
    [command] = re.findall(r"tensorflow_model_server --(?:.*\\\n)*.*", GUIDE)
    for text in [command, *(file.read_text(encoding="utf-8") for file in files)]:
        flags = re.findall(r"(?<![\w-])--([a-z_]+)=", text)
        assert set(flags) <= FLAGS, "the server would name it in its log and run without"
    assert "unknown argument: --" in GUIDE
