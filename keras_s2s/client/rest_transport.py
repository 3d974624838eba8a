"""TensorFlow Serving by REST, with Python's own HTTP."""

import base64
import http.client
import json
import ssl
import time
import urllib.parse
from typing import Any

from keras_s2s.client.transport import (
    Credentials,
    ModelSpec,
    VersionStatus,
    described,
    host_and_port,
    server_error,
)
from keras_s2s.utils.errors import InputError, ServerError

PORT = 8501

# As the server translates its own statuses, and what gateways before it say.
CODE_OF_HTTP_STATUS = {
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

# Names of the data types that translators answer with.
DATA_TYPES = {
    "DT_FLOAT": "float32",
    "DT_INT32": "int32",
    "DT_STRING": "string",
    "DT_INT64": "int64",
}


class RestTransport:
    """REST over Python's own HTTP; connections are kept and used again.

    Args:
        address: `HOST:PORT`, or a URL with `http` or `https`, which may have a path.
        credentials: certificates and token.

    Raises:
        InputError: no such address is possible.
    """

    kind = "REST"

    def __init__(self, address: str, credentials: Credentials) -> None:
        self._credentials = credentials
        scheme = "https" if credentials.tls else "http"
        url = urllib.parse.urlsplit(address if "://" in address else f"{scheme}://{address}")
        if url.scheme not in ("http", "https") or url.query or url.fragment or url.username:
            raise InputError(f"{address}: is no address for REST; give HOST:PORT or http(s)://…")
        if url.scheme == "http" and credentials.tls:
            raise InputError(
                f"{address}: certificates and tokens are for TLS; give an address with https://"
            )
        self._host, self._port = host_and_port(address, url.netloc, PORT)
        self._path = url.path.rstrip("/")
        self.address = f"{url.scheme}://{self._host}:{self._port}{self._path}"
        self._ssl_context = credentials.ssl_context() if url.scheme == "https" else None
        # Several threads may take from it and put back: each has what it took for itself.
        self._idle: list[http.client.HTTPConnection] = []

    def predict(
        self, model: ModelSpec, signature: str, inputs: dict[str, list[bytes]], timeout: float
    ) -> dict[str, list[Any]]:
        columns = {name: [_json_text(text) for text in texts] for name, texts in inputs.items()}
        body = json.dumps({"signature_name": signature, "inputs": columns}).encode("ascii")
        answer = self._call("POST", f"{_model_path(model)}:predict", body, timeout)
        outputs = answer.get("outputs")
        if not isinstance(outputs, dict) or not all(
            isinstance(column, list) for column in outputs.values()
        ):
            raise self._error("INTERNAL", "the answer holds no outputs by name")
        return outputs

    def status(self, model: ModelSpec, timeout: float) -> list[VersionStatus]:
        answer = self._call("GET", _model_path(ModelSpec(model.name)), None, timeout)
        return sorted(
            (
                VersionStatus(
                    int(entry["version"]),
                    entry["state"],
                    entry.get("status", {}).get("error_message", ""),
                )
                for entry in answer.get("model_version_status", [])
            ),
            reverse=True,
        )

    def metadata(self, model: ModelSpec, timeout: float) -> dict[str, Any]:
        answer = self._call("GET", f"{_model_path(model)}/metadata", None, timeout)
        try:
            return described(
                int(answer["model_spec"]["version"]),
                {
                    name: {
                        side: {
                            tensor: (
                                DATA_TYPES.get(info["dtype"], info["dtype"]),
                                None
                                if info["tensor_shape"].get("unknown_rank")
                                else [int(axis["size"]) for axis in info["tensor_shape"]["dim"]],
                            )
                            for tensor, info in signature[side].items()
                        }
                        for side in ("inputs", "outputs")
                    }
                    for name, signature in answer["metadata"]["signature_def"][
                        "signature_def"
                    ].items()
                },
            )
        except (KeyError, TypeError, ValueError) as error:
            raise self._error(
                "INTERNAL", "the metadata is not in the form that is known"
            ) from error

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def _call(self, method: str, path: str, body: bytes | None, timeout: float) -> dict[str, Any]:
        """The JSON object that a request is answered with."""
        status, content = self._exchange(method, self._path + path, body, timeout)
        try:
            answer = json.loads(content)
        except ValueError:
            answer = None
        if status != 200:
            # Not always JSON: a gateway may have answered, or the message holds a quote.
            message = answer.get("error") if isinstance(answer, dict) else None
            shown = str(message or content.decode("utf-8", errors="replace"))[:1000]
            code = CODE_OF_HTTP_STATUS.get(status)
            if code is None or not shown.strip():
                shown = f"HTTP status {status} {shown}"
            raise self._error(code or "UNKNOWN", shown)
        if not isinstance(answer, dict):
            raise self._error("INTERNAL", "the answer is no JSON object")
        return answer

    def _exchange(
        self, method: str, path: str, body: bytes | None, timeout: float
    ) -> tuple[int, bytes]:
        """Status and content of the answer to a request."""
        headers = {"content-type": "application/json", **self._credentials.authorization()}
        deadline = time.monotonic() + timeout
        while True:
            used_before = True
            try:
                connection = self._idle.pop()
            except IndexError:
                connection, used_before = self._connection(), False
            try:
                answer = self._talk(connection, method, path, body, headers, deadline)
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                if used_before and isinstance(error, ConnectionError | ssl.SSLError):
                    continue  # the server closed it since, which is no failure
                raise self._failure(error, timeout) from error
            except BaseException:
                connection.close()
                raise
            return answer

    def _connection(self) -> http.client.HTTPConnection:
        host = self._host.strip("[]")
        if self._ssl_context is None:
            return http.client.HTTPConnection(host, self._port)
        return http.client.HTTPSConnection(host, self._port, context=self._ssl_context)

    def _talk(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: bytes | None,
        headers: dict[str, str],
        deadline: float,
    ) -> tuple[int, bytes]:
        connection.timeout = _remaining(deadline)
        if connection.sock is not None:
            connection.sock.settimeout(connection.timeout)
        connection.request(method, path, body, headers)
        socket = connection.sock
        socket.settimeout(_remaining(deadline))
        response = connection.getresponse()
        content = bytearray()
        while response.length != 0 and not response.isclosed():
            # What comes drop by drop shall not take longer than the whole may.
            socket.settimeout(_remaining(deadline))
            content += response.read1(1 << 16)
        if response.length:
            raise ConnectionResetError("the answer was cut off")
        response.close()
        if connection.sock is not None:
            self._idle.append(connection)
        return response.status, bytes(content)

    def _failure(self, error: Exception, timeout: float) -> ServerError:
        """What to raise for an exception of Python's HTTP."""
        if isinstance(error, TimeoutError):
            return self._error("DEADLINE_EXCEEDED", f"no answer within {timeout:g} s")
        if isinstance(error, ssl.SSLError):
            return self._error("UNAUTHENTICATED", f"TLS: {error.reason or error}")
        if isinstance(error, http.client.RemoteDisconnected):
            return self._error("UNAVAILABLE", "the connection was closed without an answer")
        if isinstance(error, OSError):
            return self._error("UNAVAILABLE", error.strerror or str(error))
        return self._error("UNIMPLEMENTED", "the answer is not HTTP")

    def _error(self, code: str, message: str) -> ServerError:
        return server_error(self.address, self.kind, code, message)


def _remaining(deadline: float) -> float:
    remaining = deadline - time.monotonic()
    if remaining <= 0:
        raise TimeoutError
    return remaining


def _model_path(model: ModelSpec) -> str:
    path = f"/v1/models/{urllib.parse.quote(model.name, safe='')}"
    if model.version is not None:
        path += f"/versions/{model.version}"
    if model.version_label is not None:
        path += f"/labels/{urllib.parse.quote(model.version_label, safe='')}"
    return path


def _json_text(text: bytes) -> str | dict[str, str]:
    """A string in a request. What is not text goes in base64, which the server takes apart."""
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError:
        decoded = "\0"
    return {"b64": base64.b64encode(text).decode("ascii")} if "\0" in decoded else decoded
