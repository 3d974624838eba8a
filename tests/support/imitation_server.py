"""A fake TensorFlow Serving in this process, which serves real exports.

It tests the client, not TensorFlow Serving; `test_tfserving.py` does that. It uses the official
protocol buffers and stubs, the documented REST formats, and `SavedModelSession` to run models.
"""

import base64
import collections
import contextlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from imitation_metrics import PATH as METRICS_PATH
from imitation_metrics import Metrics

from keras_s2s.serving.serving_protos import load_serving_api
from keras_s2s.serving.session import SavedModelSession, SessionError
from keras_s2s.serving.signatures import WARMUP_FILE

api = load_serving_api()

HTTP_STATUS = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "NOT_FOUND": 404,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
NUM_REST_THREADS = 8
DATA_TYPES = {"float32": 1, "int32": 3, "string": 7}


class StatusError(Exception):
    """A status other than OK."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def check_batch_sizes(max_batch_size: int, allowed_batch_sizes: Sequence[int]) -> None:
    """Refuse sizes with which the server loads no version."""
    if allowed_batch_sizes and allowed_batch_sizes[-1] != max_batch_size:
        raise StatusError(
            "INVALID_ARGUMENT",
            "Last entry in allowed_batch_sizes must match max_batch_size; last entry was "
            f"{allowed_batch_sizes[-1]}; expected {max_batch_size}",
        )


class Models:
    """The versions of one model, with fault injection.

    Args:
        name: name of the model.
        versions: a session by version.
        labels: a version by label.
        batching: whether requests are batched, as with `--enable_batching`: an empty one then
            waits, without an end, until another request of its signature arrives.

    Attributes:
        metrics: what the metrics page shows.
        requests: signature and number of sentences of each request.
        headers: metadata or HTTP headers of each request.
        faults: called before a request is answered, one per request; they sleep or raise a
            `StatusError`.
    """

    def __init__(
        self,
        name: str,
        versions: dict[int, SavedModelSession],
        labels: dict[str, int],
        batching: bool = False,
    ) -> None:
        self.name, self.versions, self.labels = name, versions, labels
        self.requests: list[tuple[str, int]] = []
        self.headers: list[dict[str, str]] = []
        self.faults: list[Callable[[], None]] = []
        self.metrics = Metrics()
        self._batching = batching
        self._lock = threading.Lock()
        self._arrival = threading.Condition()
        self._batches: collections.Counter[str] = collections.Counter()

    def load(self, version: int, session: SavedModelSession) -> None:
        """Add a version after its warm-up; one whose warm-up fails is not added."""
        loading = Models(self.name, {version: session}, {})
        for request in warmup_requests(session.path):
            inputs = {name: list(tensor.string_val) for name, tensor in request.inputs.items()}
            signature = request.model_spec.signature_name
            loading.predict(request.model_spec.name, version, None, signature, inputs, {})
        self.requests += loading.requests
        self.versions[version] = session

    def version(self, name: str, version: int | None, label: str | None) -> int:
        if name != self.name or not self.versions:
            raise StatusError("NOT_FOUND", f"Servable not found for request: Latest({name})")
        if label is not None:
            if label not in self.labels:
                raise StatusError(
                    "INVALID_ARGUMENT", f"Unrecognized servable version label: {label}"
                )
            version = self.labels[label]
        if version is None:
            version = max(self.versions)
        if version not in self.versions:
            raise StatusError(
                "NOT_FOUND", f"Servable not found for request: Specific({name}, {version})"
            )
        return version

    def predict(
        self,
        name: str,
        version: int | None,
        label: str | None,
        signature: str,
        inputs: dict[str, list[bytes]],
        headers: dict[str, str],
    ) -> dict[str, np.ndarray]:
        self.headers.append(headers)
        if self.faults:
            self.faults.pop(0)()
        size = len(next(iter(inputs.values())))
        self.requests.append((signature, size))
        session = self.versions[self.version(name, version, label)]
        if self._batching:
            self._wait_for_batch(signature, size)
        try:
            with self._lock:  # a session is not thread-safe
                return session.run(signature, **inputs)
        except SessionError as error:
            raise StatusError(grpc_name(error.code), str(error)) from error

    def _wait_for_batch(self, signature: str, size: int) -> None:
        """Let an empty request wait: a batch of size 0 is never scheduled."""
        with self._arrival:
            self._batches[signature] += size > 0
            self._arrival.notify_all()
            seen = self._batches[signature]
            while size == 0 and self._batches[signature] == seen:
                self._arrival.wait()

    def status(self, name: str) -> list[int]:
        if name != self.name or not self.versions:
            raise StatusError("NOT_FOUND", f"Could not find any versions of model {name}")
        return sorted(self.versions, reverse=True)


def warmup_requests(folder: Path) -> list[Any]:
    """The warm-up requests of a version folder."""
    records = tf.data.TFRecordDataset(str(folder / WARMUP_FILE)).as_numpy_iterator()
    logs = map(api.prediction_log_pb2.PredictionLog.FromString, records)
    return [log.predict_log.request for log in logs]


def grpc_name(code: int | None) -> str:
    names = {status.value[0]: status.name for status in grpc.StatusCode}
    return names[13 if code is None else code]


class GrpcServices:
    """The prediction service and the model service."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def Predict(self, request: Any, context: grpc.ServicerContext) -> Any:
        inputs = {name: list(tensor.string_val) for name, tensor in request.inputs.items()}
        name = request.model_spec.name
        with aborting(context), recording(self._models.metrics, lambda: (name, "Predict"), "GRPC"):
            outputs = self._models.predict(
                *self._model_spec(request.model_spec),
                request.model_spec.signature_name or "serving_default",
                inputs,
                dict(context.invocation_metadata()),
            )
        response = api.predict_pb2.PredictResponse()
        for name, values in outputs.items():
            tensor = response.outputs[name]
            dtype = "string" if values.dtype == object else values.dtype.name
            tensor.dtype = DATA_TYPES[dtype]
            for size in values.shape:
                tensor.tensor_shape.dim.add(size=size)
            field = {"string": "string_val", "float32": "float_val", "int32": "int_val"}[dtype]
            getattr(tensor, field).extend(values.ravel().tolist())
        return response

    def GetModelMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:
        response = api.get_model_metadata_pb2.GetModelMetadataResponse()
        with aborting(context):
            version = self._models.version(*self._model_spec(request.model_spec))
        response.model_spec.name = request.model_spec.name
        response.model_spec.version.value = version
        signatures = api.get_model_metadata_pb2.SignatureDefMap()
        for name, signature in self._models.versions[version].signatures.items():
            entry = signatures.signature_def[name]
            for side in ("inputs", "outputs"):
                for tensor, spec in getattr(signature, side).items():
                    info = getattr(entry, side)[tensor]
                    info.dtype = DATA_TYPES[spec.dtype]
                    for size in spec.shape:
                        info.tensor_shape.dim.add(size=size)
        signatures.signature_def["__saved_model_init_op"].outputs["init"].dtype = 0
        response.metadata["signature_def"].Pack(signatures)
        return response

    def GetModelStatus(self, request: Any, context: grpc.ServicerContext) -> Any:
        response = api.get_model_status_pb2.GetModelStatusResponse()
        with aborting(context):
            for version in self._models.status(request.model_spec.name):
                response.model_version_status.add(version=version, state=30)  # AVAILABLE
        return response

    @staticmethod
    def _model_spec(spec: Any) -> tuple[str, int | None, str | None]:
        return (
            spec.name,
            spec.version.value if spec.HasField("version") else None,
            spec.version_label or None,
        )


@contextlib.contextmanager
def recording(
    metrics: Metrics, names: Callable[[], tuple[str, str]], entrypoint: str
) -> Iterator[None]:
    """Record a request of the model and the API that `names` returns."""
    status, start = "OK", time.monotonic()
    try:
        yield
    except StatusError as error:
        status = error.code
        raise
    finally:
        metrics.record(*names(), entrypoint, status, time.monotonic() - start)


class aborting:
    """Convert a `StatusError` to the status of the call."""

    def __init__(self, context: grpc.ServicerContext) -> None:
        self._context = context

    def __enter__(self) -> None:
        pass

    def __exit__(self, error_type: object, error: object, traceback: object) -> None:
        if isinstance(error, StatusError):
            self._context.abort(grpc.StatusCode[error.code], str(error))


def start_grpc(
    models: Models, credentials: grpc.ServerCredentials | None = None, port: int = 0
) -> tuple[grpc.Server, str]:
    """Start a server and return it with its address."""
    server = grpc.server(futures.ThreadPoolExecutor(4))
    services = GrpcServices(models)
    api.prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        _with_all_methods(services, api.prediction_service_pb2_grpc.PredictionServiceServicer),
        server,
    )
    api.model_service_pb2_grpc.add_ModelServiceServicer_to_server(
        _with_all_methods(services, api.model_service_pb2_grpc.ModelServiceServicer), server
    )
    address = f"127.0.0.1:{port}"
    if credentials is None:
        port = server.add_insecure_port(address)
    else:
        port = server.add_secure_port(address, credentials)
    server.start()
    return server, f"127.0.0.1:{port}"


def _with_all_methods(services: GrpcServices, base: type) -> Any:
    """The services, with the methods that they do not have from the official class."""
    return type("Services", (GrpcServices, base), {})(services._models)


def as_json(value: Any) -> Any:
    """Lists of any depth, with text instead of bytes."""
    if isinstance(value, list):
        return list(map(as_json, value))
    return value.decode() if isinstance(value, bytes) else value


class RestHandler(BaseHTTPRequestHandler):
    """REST API: status, metadata, and `:predict` in row and column format."""

    protocol_version = "HTTP/1.1"
    # Do not delay a small response until its header is acknowledged.
    disable_nagle_algorithm = True
    models: Models
    server: "RestServer"

    def log_message(self, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.path == METRICS_PATH:
            with self.server.threads:
                self._write(200, self.models.metrics.page().encode(), "text/plain")
            return

        def answer() -> dict[str, Any]:
            name, version, label, method = self._model_spec()
            if method == "metadata":
                return self._metadata(name, self.models.version(name, version, label))
            status = {"error_code": "OK", "error_message": ""}
            return {
                "model_version_status": [
                    {"version": str(version), "state": "AVAILABLE", "status": status}
                    for version in self.models.status(name)
                ]
            }

        self._reply("", answer)

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["content-length"]))

        def answer() -> dict[str, Any]:
            name, version, label, method = self._model_spec()
            if method != "predict":
                raise StatusError("INVALID_ARGUMENT", f"Malformed request: POST {self.path}")
            body = parse_json(content)
            columns = body["inputs"] if "inputs" in body else as_columns(body["instances"])
            inputs = {
                name: [
                    base64.b64decode(text["b64"])
                    if isinstance(text, dict)
                    else text.encode(errors="surrogateescape")
                    for text in texts
                ]
                for name, texts in columns.items()
            }
            headers = {name.lower(): value for name, value in self.headers.items()}
            signature = body.get("signature_name", "serving_default")
            values = {
                name: as_json(column.tolist())
                for name, column in self.models.predict(
                    name, version, label, signature, inputs, headers
                ).items()
            }
            if "inputs" in body:
                return {"outputs": in_any_order(values)}
            rows = zip(*values.values(), strict=True)
            return {
                "predictions": [in_any_order(dict(zip(values, row, strict=True))) for row in rows]
            }

        self._reply("predict", answer)

    def _model_spec(self) -> tuple[str, int | None, str | None, str]:
        path, _, method = self.path.removeprefix("/v1/models/").partition(":")
        name, *parts = path.split("/")
        if parts and parts[-1] == "metadata":
            method = parts.pop()
        selectors = dict(zip(parts[::2], parts[1::2], strict=True))
        version = selectors.get("versions")
        return name, None if version is None else int(version), selectors.get("labels"), method

    def _metadata(self, name: str, version: int) -> dict[str, Any]:
        def tensors(specs: dict[str, Any]) -> dict[str, Any]:
            names = {"float32": "DT_FLOAT", "int32": "DT_INT32", "string": "DT_STRING"}
            return {
                tensor: {
                    "dtype": names[spec.dtype],
                    "tensor_shape": {
                        "dim": [{"size": str(size), "name": ""} for size in spec.shape],
                        "unknown_rank": False,
                    },
                    "name": f"{tensor}:0",
                }
                for tensor, spec in specs.items()
            }

        signatures = {
            signature: {"inputs": tensors(spec.inputs), "outputs": tensors(spec.outputs)}
            for signature, spec in self.models.versions[version].signatures.items()
        }
        return {
            "model_spec": {"name": name, "signature_name": "", "version": str(version)},
            "metadata": {"signature_def": {"signature_def": signatures}},
        }

    def _reply(self, api: str, answer: Callable[[], dict[str, Any]]) -> None:
        def names() -> tuple[str, str]:
            return self._model_spec()[0], api

        with self.server.threads:
            try:
                with recording(self.models.metrics, names, "REST"):
                    status, content = 200, answer()
            except StatusError as error:
                status, content = HTTP_STATUS[error.code], {"error": str(error)}
            # Indented, as the server writes it.
            encoded = json.dumps(content, indent=1, ensure_ascii=False).encode()
            self._write(status, encoded, "application/json")

    def _write(self, status: int, content: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def parse_json(content: bytes) -> dict[str, Any]:
    """Parse a request as the server does, which passes on bytes that are not UTF-8."""
    lone = re.search(rb"\\u[dD][89aAbB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])", content)
    if lone:
        message = "JSON Parse error: The surrogate pair in string is invalid. at offset: "
        raise StatusError("INVALID_ARGUMENT", f"{message}{lone.start()}")
    try:
        body = json.loads(content.decode(errors="surrogateescape"))
    except ValueError as error:
        raise StatusError("INVALID_ARGUMENT", f"JSON Parse error: {error}") from error
    if body.get("instances") == []:
        raise StatusError("INVALID_ARGUMENT", "JSON Value: {} No values in 'instances' array")
    return body


def in_any_order(values: dict[str, Any]) -> dict[str, Any]:
    """Reverse the order of keys, which is that of a hash table in the server."""
    return dict(reversed(values.items()))


def as_columns(instances: list[Any]) -> dict[str, list[Any]]:
    """Convert the row format to columns. A plain string is the only input, `text`."""
    rows = [row if isinstance(row, dict) else {"text": row} for row in instances]
    return {name: [row[name] for row in rows] for name in rows[0]}


class RestServer(ThreadingHTTPServer):
    """A server that stops without waiting for persistent connections."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        # Four for each of two processors, shared by all requests.
        self.threads = threading.BoundedSemaphore(NUM_REST_THREADS)

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore disconnected clients."""


def start_rest(models: Models, port: int = 0) -> tuple[RestServer, str]:
    """Start a server and return it with its address."""
    handler = type("Handler", (RestHandler,), {"models": models})
    server = RestServer(("127.0.0.1", port), handler)
    threading.Thread(target=server.serve_forever, args=[0.05], daemon=True).start()
    return server, f"127.0.0.1:{server.server_address[1]}"
