"""HTTP connections on `http.client` whose calls end at one deadline.

`http.client` and `urllib3` give a time to each wait for bytes, and it starts again with each byte:
a response that drips in never exceeds it. Here the deadline is checked before each operation on
the socket.
"""

import http.client
import io
import queue
import selectors
import socket
import ssl
import threading
import time
from typing import Any


class DeadlineConnection(http.client.HTTPConnection):
    """A connection whose operations raise `TimeoutError` after a deadline.

    It covers the name lookup, connecting, the TLS handshake, the request, the response's header
    and its body.

    Args:
        host: host name or IP address, without brackets.
        port: port number.
        ssl_context: for HTTPS.

    Attributes:
        deadline: in seconds of `time.monotonic`; may be moved between requests.
    """

    def __init__(self, host: str, port: int, ssl_context: ssl.SSLContext | None = None) -> None:
        super().__init__(host, port)
        self._ssl_context = ssl_context
        if ssl_context is not None:
            self.default_port = 443  # omitted from the header "Host"
        self.deadline = 0.0

    def remaining(self) -> float:
        """Return the seconds that are left, more than 0."""
        remaining = self.deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError
        return remaining

    def connect(self) -> None:
        """Connect to the first address that accepts."""
        addresses = self._look_up()
        for index, address in enumerate(addresses):
            # An address that does not respond leaves time for the others.
            timeout = self.remaining() / (len(addresses) - index)
            try:
                self.sock = _DeadlineSocket(self._connect_to(address, timeout), self)
                return
            except ssl.SSLError:
                raise
            except OSError:
                if index == len(addresses) - 1:
                    raise

    def is_stale(self) -> bool:
        """Return whether an idle connection has been closed, or has bytes that nobody asked for."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.sock, selectors.EVENT_READ)
            return bool(selector.select(0))

    def _connect_to(self, address: Any, timeout: float) -> socket.socket:
        *family, _, host_and_port = address
        connected = socket.socket(*family)
        try:
            connected.settimeout(timeout)
            connected.connect(host_and_port)
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._ssl_context is not None:
                connected.settimeout(self.remaining())  # for the whole handshake
                return self._ssl_context.wrap_socket(connected, server_hostname=self.host)
            return connected
        except BaseException:
            connected.close()
            raise

    def _look_up(self) -> list[Any]:
        """Return the addresses of the host; in a thread, since the system's call has no timeout."""
        outcome: queue.SimpleQueue[Any] = queue.SimpleQueue()

        def look_up() -> None:
            try:
                outcome.put(socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM))
            except Exception as error:
                outcome.put(error)

        threading.Thread(target=look_up, daemon=True).start()
        try:
            found = outcome.get(timeout=self.remaining())
        except queue.Empty:
            raise TimeoutError from None
        if isinstance(found, Exception):
            raise found
        return found


class _DeadlineSocket:
    """The methods of a socket that `http.client` uses."""

    def __init__(self, connected: socket.socket, connection: DeadlineConnection) -> None:
        self._socket, self._connection = connected, connection

    def fileno(self) -> int:
        return self._socket.fileno()

    def sendall(self, content: bytes) -> None:
        unsent = memoryview(content)
        while unsent:
            self._socket.settimeout(self._connection.remaining())
            unsent = unsent[self._socket.send(unsent) :]

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_DeadlineReader(self._socket, self._connection))

    def shutdown(self, how: int) -> None:
        self._socket.shutdown(how)

    def close(self) -> None:
        self._socket.close()


class _DeadlineReader(io.RawIOBase):
    def __init__(self, connected: socket.socket, connection: DeadlineConnection) -> None:
        self._socket, self._connection = connected, connection
        # Keeps the socket open until the response is closed.
        self._file = connected.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._socket.settimeout(self._connection.remaining())
        return self._file.readinto(buffer)

    def close(self) -> None:
        self._file.close()
        super().close()
