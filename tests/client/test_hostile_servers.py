"""The client against servers that are broken, hostile, or something else."""

import contextlib
import json
import math
import random
import re
import socket
import subprocess
import sys
import threading
import time
from concurrent import futures

import grpc
import pytest

from keras_s2s.client import Credentials, TranslationClient, read_answers
from keras_s2s.client.__main__ import main
from keras_s2s.serving.serving_protos import load_serving_api
from keras_s2s.utils.errors import InputError, ServerError

api = load_serving_api()

OUTPUTS = {"translation": ["va !", "non"], "score": [-0.5, -1.25], "num_tokens": [3, 2]}
TEXTS = ["Go.", "No."]


def http(content, head=b"HTTP/1.1 200 OK"):
    return head + b"\r\nContent-Length: %d\r\n\r\n%b" % (len(content), content)


def as_json(outputs):
    return json.dumps({"outputs": outputs}).encode()


def as_protobuf(outputs):
    """Return the bytes of a response; a tensor is a list, or fields of a `TensorProto`."""
    response = api.predict_pb2.PredictResponse()
    for name, values in outputs.items():
        fields = {
            "translation": (7, "string_val"), "score": (1, "float_val"),
            "num_tokens": (3, "int_val"), "num_unknown": (3, "int_val"),
            "confidence": (1, "float_val"),
        }  # fmt: skip
        dtype, field = fields[name]
        tensor = response.outputs[name]
        if isinstance(values, list):
            encoded = [value.encode() if isinstance(value, str) else value for value in values]
            values = {"dtype": dtype, field: encoded, "shape": [len(values)]}
        tensor.dtype = values["dtype"]
        for size in values["shape"]:
            tensor.tensor_shape.dim.add(size=size)
        for field in values.keys() & {"string_val", "float_val", "int_val"}:
            getattr(tensor, field).extend(values[field])
        tensor.tensor_content = values.get("tensor_content", b"")
    return response.SerializeToString()


def read_request(connection):
    """Read a whole HTTP request: closing a socket with unread data resets the connection."""
    request = b""
    while chunk := connection.recv(1 << 16):
        request += chunk
        head, end, body = request.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        if end and (length is None or len(body) >= int(length[1])):
            return


class RestServer:
    """A server that sends the parts of its `answer` to each request.

    Attributes:
        answer: bytes, or an iterable of bytes.
        pause: seconds between the parts.
        num_sent: number of parts sent for the last request.
    """

    protocol = "rest"

    def __init__(self):
        self.answer, self.pause, self.num_sent = b"", 0.0, 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self):
        self._listener.close()

    def _serve(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            parts = [self.answer] if isinstance(self.answer, bytes) else self.answer
            self.num_sent = 0
            with connection, contextlib.suppress(OSError):
                read_request(connection)
                for part in parts:
                    connection.sendall(part)
                    self.num_sent += 1
                    time.sleep(self.pause)


class GrpcServer(grpc.GenericRpcHandler):
    """A server that answers each call with the bytes of `answer`."""

    protocol = "grpc"

    def __init__(self):
        self.answer = b""
        self._server = grpc.server(futures.ThreadPoolExecutor(1))
        self._server.add_generic_rpc_handlers([self])
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def service(self, handler_call_details):
        return grpc.unary_unary_rpc_method_handler(lambda request, context: self.answer)

    def close(self):
        self._server.stop(None)


@pytest.fixture(scope="module")
def rest():
    server = RestServer()
    yield server
    server.close()


@pytest.fixture(scope="module")
def grpc_server():
    server = GrpcServer()
    yield server
    server.close()


@pytest.fixture(params=["grpc", "rest"])
def server(request, rest, grpc_server):
    """A server of each protocol."""
    return rest if request.param == "rest" else grpc_server


def answer(server, outputs):
    """Set the outputs that a server answers."""
    server.answer = as_protobuf(outputs) if server.protocol == "grpc" else http(as_json(outputs))


def call(server, **options):
    options = {"retries": 0, "timeout": 10.0, **options}
    with TranslationClient(server.address, "en-fr", protocol=server.protocol, **options) as client:
        return client.translate(TEXTS, return_scores=True)


def run(server, *arguments):
    """Run the command and return its exit status."""
    options = ["--rest"] if server.protocol == "rest" else []
    return main([server.address, "en-fr", "--retries=0", *options, *map(str, arguments)])


class TestDeadline:
    """A response that drips in for minutes; the client must leave before its end."""

    @pytest.mark.parametrize(
        "start",
        [
            b"",
            b"HTTP/1.1 200 OK\r\nX-Header: ",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n",
            b"HTTP/1.1 200 OK\r\n\r\n",
        ],
    )
    def test_it_covers_all_of_a_response(self, rest, start):
        rest.answer, rest.pause = [start or b"H", *[b" "] * 400], 0.05
        try:
            with pytest.raises(ServerError) as caught:
                call(rest, timeout=0.3)
            assert caught.value.code == "DEADLINE_EXCEEDED"
            assert rest.num_sent < 100
        finally:
            rest.pause = 0.0

    def test_it_covers_a_server_that_does_not_read(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            address = f"127.0.0.1:{listener.getsockname()[1]}"
            with (
                TranslationClient(
                    address, "en-fr", protocol="rest", timeout=0.3, retries=0
                ) as client,
                pytest.raises(ServerError) as caught,
            ):
                client.translate(["x" * (32 << 20)])
        assert caught.value.code == "DEADLINE_EXCEEDED"

    def test_it_covers_the_name_lookup(self, rest, monkeypatch):
        finished = threading.Event()
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: finished.wait(60))
        with pytest.raises(ServerError) as caught:
            call(rest, timeout=0.1)
        finished.set()
        assert caught.value.code == "DEADLINE_EXCEEDED"

    def test_an_address_that_does_not_respond_leaves_time_for_the_next(self, rest, monkeypatch):
        look_up = socket.getaddrinfo
        with (
            socket.create_server(("127.0.0.1", 0), backlog=0) as full,
            contextlib.ExitStack() as on,
        ):
            for _ in range(8):  # until connecting to it has to wait
                waiting = on.enter_context(socket.socket())
                waiting.settimeout(0.05)
                with contextlib.suppress(TimeoutError):
                    waiting.connect(full.getsockname())
            port = full.getsockname()[1]
            monkeypatch.setattr(
                socket,
                "getaddrinfo",
                lambda host, *rest, **options: [
                    *look_up(host, port, **options),
                    *look_up(host, *rest, **options),
                ],
            )
            answer(rest, OUTPUTS)
            assert call(rest, timeout=2.0) == (["va !", "non"], [-0.5, -1.25])


class TestHttp:
    """Responses that are not TF Serving's."""

    @staticmethod
    def refusal(rest, *parts):
        rest.answer = parts
        with pytest.raises(ServerError) as caught:
            call(rest)
        return caught.value

    def test_an_error_page_of_a_gateway(self, rest):
        page = b"<html>\n<h1>Bad Gateway</h1>\n</html>"
        error = self.refusal(rest, http(page, b"HTTP/1.1 502 Bad Gateway"))
        assert error.code == "UNKNOWN"
        assert "HTTP status 502 <html> <h1>Bad Gateway</h1> </html> (UNKNOWN)" in str(error)

    def test_no_response(self, rest):
        assert self.refusal(rest).code == "UNAVAILABLE"

    @pytest.mark.parametrize(
        "start",
        [
            b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n{",
        ],
    )
    def test_a_truncated_response(self, rest, start):
        assert self.refusal(rest, start).code == "UNAVAILABLE"

    def test_a_port_of_another_protocol(self, rest):
        error = self.refusal(rest, b"\x00\x00\x12\x04\x00\x00\x00\x00\x00")
        assert error.code == "UNIMPLEMENTED"
        assert "port is the one for REST" in str(error)


MALFORMED = {
    "no outputs": {},
    "an output is missing": {"translation": ["a", "b"], "score": [-1.0, -1.0]},
    "too few rows": {name: column[:1] for name, column in OUTPUTS.items()},
    "too many rows": {name: column * 2 for name, column in OUTPUTS.items()},
    "columns of different lengths": {**OUTPUTS, "score": [-1.0]},
    "not a number": {**OUTPUTS, "score": [-1.0, float("nan")]},
    "infinite": {**OUTPUTS, "score": [-1.0, float("-inf")]},
}
MALFORMED_JSON = {
    **MALFORMED,
    "null": None,
    "null text": {**OUTPUTS, "translation": ["a", None]},
    "an object": {**OUTPUTS, "translation": ["a", {"b64": "YQ=="}]},
    "a number as text": {**OUTPUTS, "translation": ["a", 7]},
    "a deeper text": {**OUTPUTS, "translation": ["a", ["b"]]},
    "a string of characters": {**OUTPUTS, "translation": "ab"},
    "a lone surrogate": {**OUTPUTS, "translation": ["a", "\ud800"]},
    "true": {**OUTPUTS, "score": [-1.0, True]},
    "a text as score": {**OUTPUTS, "score": [-1.0, "-1"]},
    "a huge number": {**OUTPUTS, "score": [-1.0, 10**400]},
    "half a token": {**OUTPUTS, "num_tokens": [3, 2.5]},
    "one confidence": {**OUTPUTS, "confidence": [0.5]},
    "a text as confidence": {**OUTPUTS, "confidence": [0.5, "1"]},
    "half an unknown token": {**OUTPUTS, "num_unknown": [0, 0.5]},
    "many tokens": {**OUTPUTS, "num_tokens": [3, 2**31]},
    "a list of columns": [["a", "b"]],
}
MALFORMED_TENSORS = {
    **MALFORMED,
    "another dtype": {**OUTPUTS, "score": {"dtype": 3, "shape": [2], "int_val": [1, 1]}},
    "a deeper tensor": {**OUTPUTS, "score": {"dtype": 1, "shape": [2, 1], "float_val": [1, 1]}},
    "a scalar": {**OUTPUTS, "score": {"dtype": 1, "shape": [], "float_val": [1]}},
    "a negative size": {**OUTPUTS, "score": {"dtype": 1, "shape": [-2], "float_val": [1]}},
    "3e8 repetitions": {**OUTPUTS, "score": {"dtype": 1, "shape": [300_000_000], "float_val": [1]}},
    "no values": {**OUTPUTS, "score": {"dtype": 1, "shape": [2], "float_val": []}},
    "more values": {**OUTPUTS, "score": {"dtype": 1, "shape": [2], "float_val": [1, 1, 1]}},
    "packed": {**OUTPUTS, "score": {"dtype": 1, "shape": [2], "tensor_content": b"12345678"}},
    "not UTF-8": {**OUTPUTS, "translation": [b"a", b"\xff"]},
}


BODIES = [
    b"",
    b"null",
    b"[1]",
    b'{"outputs": null}',
    b'{"outputs": ' + b"[" * 100_000,
    b'{"outputs": {"score": [' + b"1" * 5000 + b"]}}",
    b'{"predictions": ["a", "b"]}',
    b"\xff\xfe{\x00",
]


def check_refused(outcome, status, code="INTERNAL"):
    """Check for status 2 and one line, with nothing on stdout."""
    assert status == 2
    out, err = outcome
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("keras-s2s: error: ")
    assert f"({code})" in err


class TestAnswers:
    """An answer that is not the signature's is an error, which is not "different"."""

    @pytest.mark.parametrize("name", MALFORMED_JSON)
    def test_malformed_json(self, rest, capfd, name):
        answer(rest, MALFORMED_JSON[name])
        status = run(rest, *TEXTS)
        check_refused(capfd.readouterr(), status)

    @pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
    def test_other_bodies(self, rest, capfd, body):
        rest.answer = http(body)
        status = run(rest, *TEXTS)
        check_refused(capfd.readouterr(), status)

    @pytest.mark.parametrize("name", MALFORMED_TENSORS)
    def test_malformed_tensors(self, grpc_server, capfd, name):
        answer(grpc_server, MALFORMED_TENSORS[name])
        status = run(grpc_server, *TEXTS)
        check_refused(capfd.readouterr(), status)

    def test_a_check_of_a_malformed_answer_is_not_a_difference(self, server, capfd, tmp_path):
        answers = [
            {"text": text, "translation": "va !", "score": -1.0, "num_tokens": 3} for text in TEXTS
        ]
        write_answers(tmp_path, answers)
        answer(server, MALFORMED["infinite"])
        status = run(server, "--check", tmp_path)
        check_refused(capfd.readouterr(), status)
        answer(server, OUTPUTS)
        assert run(server, "--check", tmp_path) == 1
        capfd.readouterr()

    def test_repetitions_that_a_tensor_leaves_out(self, grpc_server):
        last = {"dtype": 1, "shape": [2], "float_val": [-1.5]}
        answer(grpc_server, {**OUTPUTS, "score": last})
        assert call(grpc_server)[1] == [-1.5, -1.5]

    def test_whole_numbers_of_json_are_scores(self, rest):
        answer(rest, {**OUTPUTS, "score": [-1, -2]})
        assert [repr(score) for score in call(rest)[1]] == ["-1.0", "-2.0"]

    @pytest.mark.parametrize(
        "content",
        [
            "{}",
            '{"model_version_status": [1]}',
            '{"model_version_status": [{"version": "one", "state": "AVAILABLE"}]}',
            '{"model_version_status": [{"version": "1", "state": null}]}',
            '{"model_version_status": [{"version": 1e999, "state": "END", "status": {}}]}',
            '{"model_version_status": [{"version": "1", "state": "END", "status": []}]}',
        ],
    )
    def test_status(self, rest, capfd, content):
        rest.answer = http(content.encode())
        status = run(rest, "--status")
        check_refused(capfd.readouterr(), status)

    def test_an_unknown_state(self, grpc_server, capfd):
        grpc_server.answer = b"\x0a\x04\x08\x01\x10\x63"  # version 1, state 99
        status = run(grpc_server, "--status")
        check_refused(capfd.readouterr(), status)

    @pytest.mark.parametrize(
        "signatures",
        [
            [],
            {"a": None},
            {"a": {"inputs": {}, "outputs": {"b": {"dtype": [], "tensor_shape": []}}}},
        ],
    )
    def test_metadata(self, rest, signatures):
        content = {"model_spec": {"version": "1"}}
        content["metadata"] = {"signature_def": {"signature_def": signatures}}
        rest.answer = http(json.dumps(content).encode())
        with (
            TranslationClient(rest.address, "en-fr", protocol="rest") as client,
            pytest.raises(ServerError, match="metadata"),
        ):
            client.metadata()

    @pytest.mark.parametrize("content", [b"", b"\xff", b"\x02\xff\xff"])
    def test_metadata_of_another_kind(self, grpc_server, content):
        response = api.get_model_metadata_pb2.GetModelMetadataResponse()
        response.metadata["signature_def"].type_url = "type.googleapis.com/tensorflow.serving."
        response.metadata["signature_def"].type_url += "SignatureDefMap" if content else "Other"
        response.metadata["signature_def"].value = content
        grpc_server.answer = response.SerializeToString()
        with (
            TranslationClient(grpc_server.address, "en-fr") as client,
            pytest.raises(ServerError, match="metadata"),
        ):
            client.metadata()

    def test_bytes_that_nobody_asked_for_are_no_answer(self, rest):
        """The next request must not read them."""
        other = {**OUTPUTS, "translation": ["the answer", "to others"]}
        padding = b" " * (1 << 14)
        rest.answer = http(as_json(OUTPUTS) + padding) + http(as_json(other) + padding)
        with TranslationClient(rest.address, "en-fr", protocol="rest", retries=0) as client:
            for _ in range(3):
                assert client.translate(TEXTS) == OUTPUTS["translation"]


def write_answers(folder, answers):
    record = folder / "assets.extra" / "proof.json"
    record.parent.mkdir()
    record.write_text(json.dumps({"answers": answers}), encoding="utf-8")


@pytest.mark.parametrize(
    "answers", [{"a": 1}, [1], [{"text": "a"}], [{"text": "a", "translation": "b", "score": "1"}]]
)
def test_a_damaged_verification_record(tmp_path, answers):
    write_answers(tmp_path, answers)
    with pytest.raises(InputError, match=re.escape("proof.json")):
        read_answers(tmp_path)


class TestOutput:
    def test_each_text_is_one_line(self, server, capfdbinary):
        texts = ["a\nb\tc\r\x1b[2J\x85d\u2028", "non\u00a0!\u202f\u200c é"]
        answer(server, {**OUTPUTS, "translation": texts})
        assert run(server, "--with-scores", *TEXTS) == 0
        out, _ = capfdbinary.readouterr()
        assert out.decode() == (
            "a\\nb\\tc\\r\\x1b[2J\\x85d\\u2028\t-0.500000\nnon\u00a0!\u202f\u200c é\t-1.250000\n"
        )

    def test_messages_are_one_short_line_without_controls(self, rest):
        rest.answer = http(b"a\x1b[2J\n" + b"b" * 5000, b"HTTP/1.1 400 Bad Request")
        with pytest.raises(ServerError) as caught:
            call(rest)
        assert "\x1b" not in str(caught.value)
        assert "\\x1b[2J bbb" in str(caught.value)
        assert len(str(caught.value)) < 1200

    def test_a_state_is_one_line(self, rest, capfd):
        entry = {"version": "1", "state": "END", "status": {"error_message": "a\nb"}}
        rest.answer = http(json.dumps({"model_version_status": [entry]}).encode())
        assert run(rest, "--status") == 0
        assert capfd.readouterr().out == "1 END a\\nb\n"


class TestSecrets:
    @pytest.mark.parametrize(
        "content", ["", " ", "secret\nsecret", "secret secret", "sécret", "secret\x00"]
    )
    def test_a_token_that_cannot_be_sent(self, tmp_path, capfd, content):
        token = tmp_path / "token"
        token.write_text(content, encoding="utf-8")
        for protocol in ([], ["--rest"]):
            assert main(["localhost:1", "en-fr", "Go.", "--token-file", str(token), *protocol]) == 2
            err = capfd.readouterr().err
            assert str(token) in err
            assert "cret" not in err.replace(str(token), "")
            assert err.count("\n") == 1

    def test_a_token_that_a_server_repeats(self, server, tmp_path):
        """TLS is not the point here: the transport has the credentials, the channel has not."""
        token = tmp_path / "token"
        token.write_text("secret\n", encoding="ascii")
        with TranslationClient(
            server.address, "en-fr", protocol=server.protocol, retries=0
        ) as client:
            client._transport.credentials = Credentials(token_file=token)
            error = client._transport.error("INTERNAL", "Authorization: Bearer secret")
        assert "secret" not in str(error)

    @pytest.mark.parametrize("protocol", ["grpc", "rest"])
    @pytest.mark.parametrize(
        "address", ["http://me:secret@host", "me:secret@host:1", "http://host:1?key=secret"]
    )
    def test_an_address_with_a_password(self, address, protocol):
        with pytest.raises(InputError) as caught:
            TranslationClient(address, "en-fr", protocol=protocol)
        assert "secret" not in str(caught.value)


def test_a_host_name_that_no_lookup_takes():
    for protocol in ("grpc", "rest"):
        with pytest.raises(InputError, match="give HOST:PORT"):
            TranslationClient(f"{'a' * 64}.com:1", "en-fr", protocol=protocol)


# A process of this name does not load TensorFlow.
MEASURE = """
import json, re, sys
from pathlib import Path
from keras_s2s.client.__main__ import main
for arguments in json.loads(sys.argv[1]):
    status = main(arguments)
    [peak] = re.findall(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())
    print(status, int(peak) >> 10, flush=True)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
class TestMemory:
    """Answers of gigabytes: the client reads what a translator can have answered, and no more."""

    @pytest.fixture
    def peaks(self, tmp_path):
        """Return a function that runs the command against servers, with the codes to expect."""
        servers = []

        def peaks(cls, answers):
            for answer in answers:
                servers.append(cls())
                servers[-1].answer = answer
            options = ["--rest"] if cls is RestServer else []
            commands = [
                [server.address, "en-fr", "--retries=0", *options, *TEXTS] for server in servers
            ]
            script = tmp_path / "keras-s2s"
            script.write_text(MEASURE, encoding="utf-8")
            done = subprocess.run(
                [sys.executable, script, json.dumps(commands)], capture_output=True, text=True
            )
            errors = done.stderr.splitlines()
            assert all(error.startswith("keras-s2s: error: ") for error in errors), done.stderr
            statuses = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
            assert {status for status, _ in statuses} == {2}
            assert max(peak for _, peak in statuses) < 500, statuses
            return [re.findall(r"\((\w+)\);", error)[-1] for error in errors], servers

        yield peaks
        for server in servers:
            server.close()

    def test_rest(self, peaks):
        block = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
        heads = b"Transfer-Encoding: chunked", b"Content-Length: 3000000000", b"X: y"
        floods = [[b"HTTP/1.1 200 OK\r\n%b\r\n\r\n" % head, *[block] * 3000] for head in heads]
        header_without_end = [b"HTTP/1.1 200 OK\r\n", *[b"X: " + b"y" * 0x100000] * 3000]
        grows_when_parsed = http(b'{"outputs": {"score": [' + b"{}," * 1_600_000 + b"{}]}}")
        codes, servers = peaks(RestServer, [*floods, header_without_end, grows_when_parsed])
        assert codes == ["OUT_OF_RANGE"] * 3 + ["UNIMPLEMENTED", "INTERNAL"]
        assert max(server.num_sent for server in servers) < 100

    def test_grpc(self, peaks):
        answers = [
            as_protobuf({**OUTPUTS, "translation": ["a" * (20 << 20), "b"]}),
            as_protobuf(MALFORMED_TENSORS["3e8 repetitions"]),
            b"\x0a\x04\x0a\x00\x12\x00" * 700_000,  # tensors without a name
        ]
        codes, _ = peaks(GrpcServer, answers)
        assert codes == ["OUT_OF_RANGE", "INTERNAL", "INTERNAL"]


def mutated(value, rng):
    """Return JSON with one value replaced, removed or repeated."""
    if isinstance(value, dict | list) and value and rng.random() < 0.8:
        value = value.copy()
        key = rng.choice(list(value) if isinstance(value, dict) else range(len(value)))
        kind = rng.random()
        if kind < 0.15:
            del value[key]
        elif kind < 0.3 and isinstance(value, list):
            value.append(value[key])
        else:
            value[key] = mutated(value[key], rng)
        return value
    odd = [
        None,
        True,
        -1,
        2**40,
        1e999,
        0.5,
        "",
        "\ud800",
        "a\n\x1b",
        [],
        {},
        [[]],
        {"b64": "YQ=="},
    ]
    return rng.choice(odd)


def damaged(content, rng):
    """Return bytes with some changed, removed or repeated."""
    content = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        start = rng.randrange(len(content))
        end = start + rng.choice([1, 1, 2, 8, 64])
        kind = rng.random()
        if kind < 0.5:
            content[start] = rng.randrange(256)
        elif kind < 0.7:
            del content[start:end]
        elif kind < 0.9:
            content[start:start] = content[start:end]
        else:
            del content[start:]
        content = content or bytearray(b"x")
    return bytes(content)


@pytest.mark.parametrize("kind", ["JSON", "HTTP", "protobuf", "tensors"])
def test_fuzzed_answers(rest, grpc_server, kind):
    """Each is an error of the client's, or a valid answer."""
    rng = random.Random(kind)
    server = rest if kind in ("JSON", "HTTP") else grpc_server
    messages = []
    for _ in range(60):
        if kind == "JSON":
            rest.answer = http(json.dumps(mutated({"outputs": OUTPUTS}, rng)).encode())
        elif kind == "HTTP":
            rest.answer = damaged(http(as_json(OUTPUTS)), rng)
        elif kind == "protobuf":
            grpc_server.answer = damaged(as_protobuf(OUTPUTS), rng)
        else:
            name = rng.choice(list(OUTPUTS))
            tensor = {
                "dtype": rng.choice([1, 3, 7, 9, 99]),
                "shape": [rng.choice([-1, 0, 1, 2, 2**40]) for _ in range(rng.randint(0, 2))],
                rng.choice(["float_val", "int_val"]): [1] * rng.randint(0, 3),
            }
            answer(grpc_server, {**OUTPUTS, name: tensor})
        try:
            texts, scores = call(server, timeout=5.0)
        except ServerError as error:
            messages.append(str(error))
        else:
            assert [type(text) for text in texts] == [str, str]
            assert all(math.isfinite(score) for score in scores)
    assert len(messages) > 20
    assert all(map(str.isprintable, messages))
