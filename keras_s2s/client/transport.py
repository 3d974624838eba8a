"""What the two ways to a running TensorFlow Serving, gRPC and REST, have in common.

One call is one request: what is asked again after a failure is the client's business. Neither way
imports TensorFlow, and REST needs nothing but Python.
"""

import contextlib
import ssl
import urllib.parse
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from keras_s2s.utils.errors import InputError, ServerError, one_line

ADVICE = {
    "UNAVAILABLE": "check that it runs, has room for more, and that the port is the one for {}",
    "DEADLINE_EXCEEDED": "give a longer timeout or smaller batches",
    "RESOURCE_EXHAUSTED": "send less at a time, or give the server more to work with",
    "NOT_FOUND": "ask for a model and a version that its status shows as AVAILABLE",
    "UNAUTHENTICATED": "check the certificates and the token",
    "PERMISSION_DENIED": "check the certificates and the token",
    "UNIMPLEMENTED": "check that the port is the one for {}",
}
OTHER_ADVICE = "correct the request, or see the server's log"


class ModelSpec(NamedTuple):
    """Which model of a server is meant, and which of its versions.

    Attributes:
        name: the model's name on the server.
        version: its number; the highest that is loaded when neither this nor a label is given.
        version_label: a label of the server's configuration instead of a number.
    """

    name: str
    version: int | None = None
    version_label: str | None = None


class VersionStatus(NamedTuple):
    """The state of a version of a model on a server.

    Attributes:
        version: its number.
        state: `"START"`, `"LOADING"`, `"AVAILABLE"`, `"UNLOADING"` or `"END"`.
        error: why it could not be loaded; empty when nothing went wrong.
    """

    version: int
    state: str
    error: str


class Credentials:
    """How a server is recognised, and how it recognises the client.

    Args:
        tls: whether to use TLS; certificates and a token imply it.
        ca: PEM file of the authorities that may have signed the server's certificate; when left
            out, those of the system for REST, and those that gRPC brings with it.
        cert: PEM file of the client's own certificate, where the server asks for one.
        key: PEM file of the private key to it.
        token_file: file of a bearer token, read again for every request, since what puts such
            files there replaces them from time to time.

    Raises:
        InputError: a file that cannot be read, or a certificate without its key.
    """

    def __init__(
        self,
        tls: bool = False,
        ca: str | Path | None = None,
        cert: str | Path | None = None,
        key: str | Path | None = None,
        token_file: str | Path | None = None,
    ) -> None:
        if (cert is None) != (key is None):
            raise InputError(
                "a client's certificate and its private key are of use together only; give both"
            )
        self.tls = tls or any(path is not None for path in (ca, cert, token_file))
        self.ca, self.cert, self.key, self.token_file = ca, cert, key, token_file
        for path in (ca, cert, key, token_file):
            if path is not None:
                _read(path)
        if self.tls:
            self.ssl_context()  # gRPC does not say what is wrong with a file

    def ssl_context(self) -> ssl.SSLContext:
        """For Python's own HTTP."""
        try:
            context = ssl.create_default_context(cafile=self.ca)
            if self.cert is not None and self.key is not None:
                # Never asks for a password on the terminal.
                context.load_cert_chain(self.cert, self.key, password=b"")
        except (ssl.SSLError, ValueError) as error:
            raise InputError(
                f"{self.ca or self.cert}: no certificate or key that can be used ({error}); "
                "give PEM files, keys without a password"
            ) from error
        return context

    def grpc_credentials(self, grpc: Any) -> Any:
        """For gRPC."""
        return grpc.ssl_channel_credentials(
            *(None if path is None else _read(path) for path in (self.ca, self.key, self.cert))
        )

    def authorization(self) -> dict[str, str]:
        """The header of a request, if there is a token."""
        if self.token_file is None:
            return {}
        token = _read(self.token_file).decode("ascii", errors="replace").strip()
        return {"authorization": f"Bearer {token}"}


def _read(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); give a file that is there"
        ) from error


class Transport(Protocol):
    """A way to a server. Each call raises a `ServerError` when it fails, and may be repeated.

    Attributes:
        kind: its name, for messages.
        address: the server's, for messages.
    """

    kind: str
    address: str

    def predict(
        self, model: ModelSpec, signature: str, inputs: dict[str, list[bytes]], timeout: float
    ) -> dict[str, list[Any]]:
        """Runs a signature on string tensors of shape (batch,).

        Args:
            model: the model to ask.
            signature: name of the signature.
            inputs: the strings of each input.
            timeout: seconds that the whole request may take.

        Returns:
            A list for each output, with lists in it as its shape has it. Strings are `str`.
        """

    def status(self, model: ModelSpec, timeout: float) -> list[VersionStatus]:
        """The state of each version that the server has had, the newest first."""

    def metadata(self, model: ModelSpec, timeout: float) -> dict[str, Any]:
        """The version that answers, and its signatures; see `TranslationClient.metadata`."""

    def close(self) -> None:
        """Ends the connections."""


def server_error(address: str, kind: str, code: str, message: str) -> ServerError:
    """An error in one line: where, what, its code, and what to do."""
    advice = ADVICE.get(code, OTHER_ADVICE).format(kind)
    return ServerError(f"{address}: {one_line(message)} ({code}); {advice}", code)


def host_and_port(address: str, location: str, default_port: int) -> tuple[str, int]:
    """Host and port of `HOST:PORT` or `HOST`; an address of IPv6 stays in its brackets."""
    with contextlib.suppress(ValueError):
        url = urllib.parse.urlsplit(f"//{location}")
        if url.hostname and not url.path and not url.username:
            host = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
            return host, default_port if url.port is None else url.port
    raise InputError(f"{address!r} is no address; give HOST:PORT, such as localhost:{default_port}")


def described(version: int, signatures: dict[str, Any]) -> dict[str, Any]:
    """What `metadata` returns, from (data type, shape) of each tensor."""
    return {
        "version": version,
        "signatures": {
            name: {
                side: {
                    tensor: {"dtype": dtype, "shape": shape}
                    for tensor, (dtype, shape) in sorted(tensors.items())
                }
                for side, tensors in sides.items()
            }
            for name, sides in sorted(signatures.items())
            # The init op is written down among the signatures too.
            if not name.startswith("__saved_model")
        },
    }
