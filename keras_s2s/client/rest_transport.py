"""REST transport for TensorFlow Serving, on Python's standard library."""

import base64
import http.client
import json
import ssl
import time
import urllib.parse
from typing import Any

from keras_s2s.client.answers import is_text
from keras_s2s.client.http_connection import DeadlineConnection
from keras_s2s.client.transport import (
    MAX_MESSAGE_BYTES,
    Credentials,
    ModelSpec,
    Transport,
    VersionStatus,
    format_metadata,
    host_and_port,
    shown_address,
)
from keras_s2s.utils.errors import InputError, ServerError

PORT = 8501

# Bytes of a response for each text of a request, and of any response; parsed, it may take 30 times
# as much memory. Attention weights are the largest outputs: 300 kB for 100 tokens on both sides.
BYTES_PER_TEXT, MAX_BYTES = 512 << 10, 24 << 20

# The server's own mapping, and statuses of gateways in front of it.
HTTP_STATUS_TO_CODE = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}

# tensorflow.DataType: names of the types that translators return.
DATA_TYPES = {
    "DT_FLOAT": "float32",
    "DT_INT32": "int32",
    "DT_STRING": "string",
    "DT_INT64": "int64",
}


class RestTransport(Transport):
    """REST over persistent HTTP connections.

    Args:
        address: `HOST:PORT`, or an `http` or `https` URL, which may have a path.
        credentials: certificates and token.

    Raises:
        InputError: the address is invalid.
    """

    protocol = "REST"

    def __init__(self, address: str, credentials: Credentials) -> None:
        self.credentials = credentials
        scheme = "https" if credentials.tls else "http"
        url = urllib.parse.urlsplit(address if "://" in address else f"{scheme}://{address}")
        if url.scheme not in ("http", "https") or url.query or url.fragment or url.username:
            raise InputError(
                f"{shown_address(address)}: is not an address for REST; give HOST:PORT or "
                "http(s)://…"
            )
        if url.scheme == "http" and credentials.tls:
            raise InputError(
                f"{shown_address(address)}: certificates and tokens need TLS; give an address with "
                "https://"
            )
        self._host, self._port = host_and_port(address, url.netloc, PORT)
        self._path = url.path.rstrip("/")
        self.address = f"{url.scheme}://{self._host}:{self._port}{self._path}"
        self._ssl_context = credentials.ssl_context() if url.scheme == "https" else None
        # Shared by threads: pop and append are atomic, and a popped connection is exclusive.
        self._idle: list[DeadlineConnection] = []

    def predict(
        self, model: ModelSpec, signature: str, inputs: dict[str, list[bytes]], timeout: float
    ) -> dict[str, list[Any]]:
        columns = {name: [_json_text(text) for text in texts] for name, texts in inputs.items()}
        body = json.dumps({"signature_name": signature, "inputs": columns}).encode("ascii")
        num_texts = len(next(iter(inputs.values())))
        limit = min(MAX_MESSAGE_BYTES + num_texts * BYTES_PER_TEXT, MAX_BYTES)
        response = self._call("POST", f"{_model_path(model)}:predict", body, timeout, limit)
        return response.get("outputs", {})

    def status(self, model: ModelSpec, timeout: float) -> list[VersionStatus]:
        response = self._call("GET", _model_path(ModelSpec(model.name)), None, timeout)
        with self.expected_format("status"):
            return sorted(
                (
                    VersionStatus(
                        int(entry["version"]),
                        _text(entry["state"]),
                        _text(entry.get("status", {}).get("error_message", "")),
                    )
                    for entry in response["model_version_status"]
                ),
                reverse=True,
            )

    def metadata(self, model: ModelSpec, timeout: float) -> dict[str, Any]:
        response = self._call("GET", f"{_model_path(model)}/metadata", None, timeout)
        with self.expected_format("metadata"):
            return format_metadata(
                int(response["model_spec"]["version"]),
                {
                    name: {
                        side: {
                            tensor: {
                                "dtype": DATA_TYPES.get(info["dtype"], _text(info["dtype"])),
                                "shape": None
                                if info["tensor_shape"].get("unknown_rank")
                                else [int(axis["size"]) for axis in info["tensor_shape"]["dim"]],
                            }
                            for tensor, info in sorted(signature[side].items())
                        }
                        for side in ("inputs", "outputs")
                    }
                    for name, signature in response["metadata"]["signature_def"][
                        "signature_def"
                    ].items()
                },
            )

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def _call(
        self,
        method: str,
        path: str,
        body: bytes | None,
        timeout: float,
        limit: int = MAX_MESSAGE_BYTES,
    ) -> dict[str, Any]:
        """Return the JSON object of a response of at most `limit` bytes."""
        status, content = self._exchange(method, self._path + path, body, timeout, limit)
        try:
            parsed = json.loads(content)
        except (ValueError, RecursionError):
            parsed = None
        if status != 200:
            # Not always JSON: a gateway may respond, and the server does not escape quotes.
            error = parsed.get("error") if isinstance(parsed, dict) else None
            message = str(error or content[:4000].decode("utf-8", errors="replace"))
            code = HTTP_STATUS_TO_CODE.get(status)
            if code is None or not message.strip():
                message = f"HTTP status {status} {message}"
            raise self.error(code or "UNKNOWN", message)
        if not isinstance(parsed, dict):
            raise self.error("INTERNAL", "the response is not a JSON object")
        return parsed

    def _exchange(
        self, method: str, path: str, body: bytes | None, timeout: float, limit: int
    ) -> tuple[int, bytes]:
        """Return status and content of the response."""
        headers = {"content-type": "application/json", **self.credentials.authorization()}
        deadline = time.monotonic() + timeout
        while True:
            connection, is_reused = self._connection()
            connection.deadline = deadline
            try:
                return self._send(connection, method, path, body, headers, limit)
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                if is_reused and isinstance(error, ConnectionError | ssl.SSLError):
                    continue  # the server has closed an idle connection
                raise self._failure(error, timeout) from error
            except BaseException:
                connection.close()
                raise

    def _connection(self) -> tuple[DeadlineConnection, bool]:
        """Return a connection, and whether it has been used before."""
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                host = self._host.strip("[]")
                return DeadlineConnection(host, self._port, self._ssl_context), False
            if not connection.is_stale():
                return connection, True
            connection.close()

    def _send(
        self,
        connection: DeadlineConnection,
        method: str,
        path: str,
        body: bytes | None,
        headers: dict[str, str],
        limit: int,
    ) -> tuple[int, bytes]:
        connection.request(method, path, body, headers)
        content = bytearray()
        with connection.getresponse() as response:
            while response.length != 0 and not response.isclosed():
                content += response.read1(1 << 16)
                if len(content) + (response.length or 0) > limit:
                    raise self.error("OUT_OF_RANGE", f"the response has more than {limit} bytes")
            if response.length:
                raise ConnectionResetError("the response was cut off")
        if connection.sock is not None:
            self._idle.append(connection)
        return response.status, bytes(content)

    def _failure(self, error: Exception, timeout: float) -> ServerError:
        """Convert an exception of `http.client`."""
        if isinstance(error, TimeoutError):
            return self.error("DEADLINE_EXCEEDED", f"no response within {timeout:g} s")
        if isinstance(error, ssl.SSLError):
            return self.error("UNAUTHENTICATED", f"TLS: {error.reason or error}")
        if isinstance(error, http.client.IncompleteRead):
            return self.error("UNAVAILABLE", "the response was cut off")
        if isinstance(error, http.client.RemoteDisconnected):
            return self.error("UNAVAILABLE", "the connection was closed without a response")
        if isinstance(error, OSError):
            return self.error("UNAVAILABLE", error.strerror or str(error))
        return self.error("UNIMPLEMENTED", "the response is not HTTP")


def _model_path(model: ModelSpec) -> str:
    path = f"/v1/models/{urllib.parse.quote(model.name, safe='')}"
    if model.version is not None:
        path += f"/versions/{model.version}"
    if model.version_label is not None:
        path += f"/labels/{urllib.parse.quote(model.version_label, safe='')}"
    return path


def _json_text(text: bytes) -> str | dict[str, str]:
    """Encode a string for JSON: as base64 unless it is UTF-8 without NUL."""
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError:
        decoded = "\0"
    return {"b64": base64.b64encode(text).decode("ascii")} if "\0" in decoded else decoded


def _text(value: Any) -> str:
    if not is_text(value):
        raise ValueError(value)
    return value
