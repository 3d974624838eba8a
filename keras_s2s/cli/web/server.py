"""HTTP server of the page of `keras-s2s web`: its address, who may ask, and the WSGI server."""

import errno
import ipaddress
import logging
import socket
import urllib.parse
from collections.abc import Callable, Sequence
from typing import Any

import waitress
from waitress import wasyncore

from keras_s2s.utils.errors import InputError

# Open connections and the threads that answer them. A connection without a request holds no thread,
# and is closed after IDLE_SECONDS.
MAX_CONNECTIONS, NUM_THREADS, IDLE_SECONDS = 512, 4, 10
# Refused by the server before it is read. The application has a smaller limit, with a message.
MAX_BODY_BYTES = 1 << 22


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Args:
        host: host name or IP address of this machine.
        port: 0 for any free port.

    Raises:
        InputError: the address does not exist, or the port is in use or not permitted.
    """
    if not 0 <= port <= 65535:
        raise InputError(f"--port is {port}; give 0 to 65535, with 0 for any free port")
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise InputError(
            f"--host is {host!r}, which is not an address; give one of this machine, such as "
            "127.0.0.1"
        ) from error
    # Prefer IPv4: localhost has an address of each family.
    family, type_, protocol, _, address = min(
        addresses, key=lambda entry: entry[0] != socket.AF_INET
    )
    listener = socket.socket(family, type_, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()
    except OSError as error:
        listener.close()
        advice = "give another --port, or 0 for any free port"
        if error.errno == errno.EADDRNOTAVAIL:
            advice = "give an address of this machine as --host"
        raise InputError(
            f"port {port} of {host} cannot be used ({error.strerror}); {advice}"
        ) from error
    return listener


def is_loopback(listener: socket.socket) -> bool:
    """Return whether only this machine can connect to the socket."""
    return ipaddress.ip_address(listener.getsockname()[0]).is_loopback


def page_url(listener: socket.socket) -> str:
    """Return the URL of the page for a browser on this machine."""
    host, port = listener.getsockname()[:2]
    if ipaddress.ip_address(host).is_unspecified:
        host = "::1" if listener.family == socket.AF_INET6 else "127.0.0.1"
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def names_of_this_machine(host: str) -> list[str]:
    """Return the names by which the page may be opened besides IP addresses.

    Args:
        host: the value of --host.
    """
    name = socket.gethostname()
    return ["localhost", name, f"{name}.local", host]


def is_trusted_host(header: str | None, names: Sequence[str]) -> bool:
    """Return whether a request is for this machine, from its `Host` header.

    Another site can point its own name to this machine and read the page in a visitor's browser
    (DNS rebinding). It cannot do so with an IP address.

    Args:
        header: the host name or IP address, optionally with a port.
        names: accepted host names; any IP address is accepted.

    Example:

    >>> [is_trusted_host(header, ["localhost"]) for header in ("[::1]:7860", "Localhost", "a.org")]
    [True, True, False]
    """
    try:
        host = urllib.parse.urlsplit(f"//{header or ''}").hostname or ""
    except ValueError:  # an IPv6 address with an invalid form
        return False
    try:
        return bool(ipaddress.ip_address(host))
    except ValueError:
        return host in map(str.lower, names)


def is_cross_origin(fetch_site: str | None, origin: str | None, host: str | None) -> bool:
    """Return whether another site's page sent a request, from its headers.

    A program without these headers is not a browser, and is none of another site's.

    Args:
        fetch_site: `Sec-Fetch-Site`, which browsers send over HTTPS and to this machine.
        origin: `Origin`, which browsers send with each POST.
        host: `Host`.

    Example:

    >>> is_cross_origin("same-origin", "http://localhost:7860", "localhost:7860")
    False
    >>> is_cross_origin("cross-site", "https://example.org", "localhost:7860")
    True
    """
    if fetch_site is not None and fetch_site not in ("same-origin", "none"):
        return True
    return origin is not None and origin.partition("://")[2].lower() != (host or "").lower()


class PageServer:
    """WSGI server with bounded connections, threads and requests.

    Args:
        application: the WSGI application.
        listener: result of `listen`.
    """

    def __init__(self, application: Callable[..., Any], listener: socket.socket) -> None:
        # Full queues and broken connections of clients are no concern of the user's terminal.
        logging.getLogger("waitress").setLevel(logging.ERROR)
        self._connections: dict[int, Any] = {}
        self._server = waitress.create_server(
            application,
            map=self._connections,
            sockets=[listener],
            threads=NUM_THREADS,
            connection_limit=MAX_CONNECTIONS,
            channel_timeout=IDLE_SECONDS,
            cleanup_interval=max(1, IDLE_SECONDS // 2),
            max_request_body_size=MAX_BODY_BYTES,
            max_request_header_size=1 << 14,
            # select() fails for file descriptors from 1,024 on.
            asyncore_use_poll=True,
            ident=None,
        )

    def serve_forever(self) -> None:
        """Serve until Ctrl-C or `shutdown`."""
        try:
            self._server.run()
        finally:
            self._server.task_dispatcher.shutdown()
            wasyncore.close_all(self._connections, ignore_all=True)

    def shutdown(self) -> None:
        """Make `serve_forever`, in another thread, return."""
        self._server.trigger.pull_trigger(
            lambda: wasyncore.close_all(self._connections, ignore_all=True)
        )
