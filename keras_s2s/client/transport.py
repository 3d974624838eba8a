"""Interface of the gRPC and REST transports: model spec, credentials, errors.

One call is one request; `TranslationClient` retries. Neither transport imports TensorFlow, and
REST needs only Python.
"""

import abc
import contextlib
import re
import ssl
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from keras_s2s.serving.session_worker import is_signature
from keras_s2s.utils.errors import InputError, ServerError, one_line, printable

ADVICE = {
    "UNAVAILABLE": "check that it runs, is not overloaded, and that the port is the one for {}",
    "DEADLINE_EXCEEDED": "give a longer timeout or smaller batches",
    "RESOURCE_EXHAUSTED": "send smaller requests, or give the server more resources",
    "NOT_FOUND": "ask for a model and a version that its status shows as AVAILABLE",
    "UNAUTHENTICATED": "check the certificates and the token",
    "PERMISSION_DENIED": "check the certificates and the token",
    "UNIMPLEMENTED": "check that the port is the one for {}",
    "OUT_OF_RANGE": "give smaller batches, or check that the model is a translator",
}
OTHER_ADVICE = "correct the request, or see the server's log"

# Bytes of a message that is not about texts, and characters of a server's message that are shown.
MAX_MESSAGE_BYTES = 4 << 20
MAX_MESSAGE_LENGTH = 1000


class ModelSpec(NamedTuple):
    """A model on a server and one of its versions, as in TF Serving's `ModelSpec`.

    Attributes:
        name: the model's name on the server.
        version: version number; the highest loaded one when neither this nor a label is given.
        version_label: a label of the server's configuration instead of a number.
    """

    name: str
    version: int | None = None
    version_label: str | None = None


class VersionStatus(NamedTuple):
    """The state of a version of a model on a server.

    Attributes:
        version: version number.
        state: `"START"`, `"LOADING"`, `"AVAILABLE"`, `"UNLOADING"` or `"END"`.
        error: why it failed to load; empty otherwise.
    """

    version: int
    state: str
    error: str


class Credentials:
    """TLS certificates and a bearer token.

    Args:
        tls: whether to use TLS; certificates and a token imply it.
        ca: PEM file of the certificate authorities that sign the server's certificate; by
            default the system's for REST, and gRPC's own.
        cert: PEM file of the client certificate, for mutual TLS.
        key: PEM file of its private key.
        token_file: file with a bearer token, read for every request, since tokens are rotated.

    Raises:
        InputError: a file cannot be read, or a certificate comes without its key.
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
                "a client certificate needs its private key, and vice versa; give both"
            )
        self.tls = tls or any(path is not None for path in (ca, cert, token_file))
        self.ca, self.cert, self.key, self.token_file = ca, cert, key, token_file
        self._token = ""
        for path in (ca, cert, key, token_file):
            if path is not None:
                _read(path)
        self.authorization()
        if self.tls:
            self.ssl_context()  # gRPC does not report invalid files

    def ssl_context(self) -> ssl.SSLContext:
        """Return the context for `http.client`."""
        try:
            context = ssl.create_default_context(cafile=self.ca)
            if self.cert is not None and self.key is not None:
                # A password keeps OpenSSL from prompting for one.
                context.load_cert_chain(self.cert, self.key, password=b"")
        except (ssl.SSLError, ValueError) as error:
            raise InputError(
                f"{self.ca or self.cert}: invalid certificate or key ({error}); "
                "give PEM files with unencrypted keys"
            ) from error
        return context

    def grpc_credentials(self, grpc: Any) -> Any:
        """Return the channel credentials for gRPC."""
        return grpc.ssl_channel_credentials(
            *(None if path is None else _read(path) for path in (self.ca, self.key, self.cert))
        )

    def authorization(self) -> dict[str, str]:
        """Return the authorization header, if there is a token.

        Raises:
            InputError: the file is not a token; the message does not repeat it.
        """
        if self.token_file is None:
            return {}
        token = _read(self.token_file).strip()
        if not re.fullmatch(rb"[!-~]+", token):
            raise InputError(
                f"{self.token_file}: is not a token; give a file with one word of ASCII characters"
            )
        self._token = token.decode("ascii")
        return {"authorization": f"Bearer {self._token}"}

    def without_token(self, message: str) -> str:
        """Return a message without the token, which a server or proxy may have repeated in it."""
        return message.replace(self._token, "(token)") if self._token else message


def _read(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); give an existing file"
        ) from error


class Transport(abc.ABC):
    """A connection to a server. Calls raise `ServerError` on failure and may be retried.

    Attributes:
        protocol: `"gRPC"` or `"REST"`, for messages.
        address: the server's address, for messages.
        credentials: certificates and token.
    """

    protocol: str
    address: str
    credentials: Credentials

    @abc.abstractmethod
    def predict(
        self, model: ModelSpec, signature: str, inputs: dict[str, list[bytes]], timeout: float
    ) -> dict[str, list[Any]]:
        """Run a signature on string tensors of shape (batch,).

        Args:
            model: the model.
            signature: name of the signature.
            inputs: the strings of each input.
            timeout: seconds for the whole request.

        Returns:
            Nested lists for each output, in its shape, unchecked. Strings are `str`.
        """

    @abc.abstractmethod
    def status(self, model: ModelSpec, timeout: float) -> list[VersionStatus]:
        """Return the state of each version, newest first."""

    @abc.abstractmethod
    def metadata(self, model: ModelSpec, timeout: float) -> dict[str, Any]:
        """Return the version and its signatures; see `TranslationClient.metadata`."""

    @abc.abstractmethod
    def close(self) -> None:
        """Close the connections."""

    def error(self, code: str, message: str) -> ServerError:
        """Return an error whose message has address, problem, status code and advice."""
        advice = ADVICE.get(code, OTHER_ADVICE).format(self.protocol)
        message = one_line(self.credentials.without_token(message), MAX_MESSAGE_LENGTH)
        return ServerError(f"{self.address}: {printable(message)} ({code}); {advice}", code)

    @contextlib.contextmanager
    def expected_format(self, content: str) -> Iterator[None]:
        """Raise a `ServerError` if the content of a message is not what is read from it."""
        try:
            yield
        except (AttributeError, ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise self.error("INTERNAL", f"the {content} has an unknown format") from error


def host_and_port(address: str, location: str, default_port: int) -> tuple[str, int]:
    """Parse `HOST:PORT` or `HOST`; an IPv6 address keeps its brackets."""
    with contextlib.suppress(ValueError):
        url = urllib.parse.urlsplit(f"//{location}")
        if url.hostname and not url.path and not url.username:
            url.hostname.encode("idna")  # as the system's name lookup does
            host = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
            return host, default_port if url.port is None else url.port
    raise InputError(
        f"{shown_address(address)!r} is not an address; give HOST:PORT, such as "
        f"localhost:{default_port}"
    )


def shown_address(address: str) -> str:
    """Return an address for a message, without the password that it may hold.

    Example:

    >>> shown_address("https://me:secret@gateway/tf?key=secret")
    'https://gateway/tf'
    """
    return re.sub(r"[^/]*@|[?#].*", "", address)


def format_metadata(version: int, signatures: dict[str, Any]) -> dict[str, Any]:
    """Return the result of `metadata`, without init ops."""
    names = filter(is_signature, sorted(signatures))
    return {"version": version, "signatures": {name: signatures[name] for name in names}}
