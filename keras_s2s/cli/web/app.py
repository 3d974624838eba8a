"""Flask application of `keras-s2s web` (`pip install 'keras-s2s[web]'`).

The page is rendered on the server, with one style sheet and one short script. It loads nothing from
other hosts, which its Content-Security-Policy enforces.
"""

import errno
import ipaddress
import logging
import math
import socket
from collections.abc import Sequence

import flask
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from keras_s2s.cli.web.models import PageModel, TranslationResult
from keras_s2s.utils.errors import InputError, ServerError, first_line, one_line

MAX_CHARACTERS = 10_000
MAX_REQUEST_BYTES = 1 << 18

# Shading levels of the attention map, see page.css.
SHADES = 20

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}

_logger = logging.getLogger("keras_s2s")


def make_app(
    models: Sequence[PageModel], trusted_hosts: Sequence[str] | None = None
) -> flask.Flask:
    """Return the WSGI application of the page.

    Args:
        models: models to show side by side.
        trusted_hosts: accepted values of the `Host` header; default any.

    Returns:
        The application. `/` is the page, which also works without its script; a POST of
        `sentence` to `/translations/N` returns the HTML fragment with the result of model N.
    """
    app = flask.Flask(
        "keras_s2s.cli.web.app",
        template_folder="templates",
        static_folder="templates",
        static_url_path="/files",
    )
    app.config["MAX_CONTENT_LENGTH"] = MAX_REQUEST_BYTES
    # Against DNS rebinding: another site could point its own name here and read the page.
    app.config["TRUSTED_HOSTS"] = trusted_hosts and list(trusted_hosts)
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.add_template_filter(shade)
    app.add_template_filter(milliseconds)
    app.add_template_filter(signed)

    @app.get("/")
    def page() -> str:
        return flask.render_template("page.html", models=models, sentence="", results=None)

    @app.post("/")
    def page_with_results() -> str:
        sentence = flask.request.form.get("sentence", "")
        results = [translate(model, sentence) for model in models]
        return flask.render_template("page.html", models=models, sentence=sentence, results=results)

    @app.post("/translations/<int:index>")
    def translation(index: int) -> str:
        if index >= len(models):
            flask.abort(404)
        result = translate(models[index], flask.request.form.get("sentence", ""))
        return flask.render_template("result.html", result=result)

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> tuple[str, int]:
        message = too_long(None) if isinstance(error, RequestEntityTooLarge) else str(error)
        return flask.render_template("result.html", result=message), error.code or 500

    @app.after_request
    def add_headers(response: flask.Response) -> flask.Response:
        response.headers.update(HEADERS)
        return response

    return app


def translate(model: PageModel, sentence: str) -> TranslationResult | str:
    """Return the result of a model, or an error message of one line."""
    if not sentence.strip():
        return "Nothing to translate: type a sentence."
    if len(sentence) > MAX_CHARACTERS:
        return too_long(len(sentence))
    try:
        return model.translate(sentence)
    except (InputError, ServerError) as error:
        return one_line(error)
    except Exception as error:
        # A defect: the traceback goes to the terminal.
        _logger.exception("%s failed on %r", model.name, sentence)
        reason = f"{type(error).__name__}: {first_line(error)}"
        return f"The model failed ({reason}); see the terminal."


def too_long(characters: int | None) -> str:
    """Return the error message for a text of this length; None if unknown."""
    count = "too many" if characters is None else f"{characters:,}"
    return f"The text has {count} characters; give at most {MAX_CHARACTERS:,}."


def shade(weight: float) -> int:
    """Return the shading level for an attention weight, which may be NaN.

    >>> shade(0.5), shade(1.0), shade(float("nan"))
    (10, 20, 0)
    """
    return round(SHADES * min(max(weight, 0.0), 1.0)) if math.isfinite(weight) else 0


def milliseconds(value: float) -> str:
    """Format a latency.

    >>> milliseconds(3.14159), milliseconds(1234.5)
    ('3.1 ms', '1,234 ms')
    """
    return f"{value:.1f} ms" if value < 100 else f"{value:,.0f} ms"


def signed(value: float) -> str:
    """Format a score, with a typographic minus sign.

    >>> signed(-0.4612)
    '−0.461'
    """
    return f"{value:.3f}".replace("-", "−")


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
    """Return the URL of the page."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


class _QuietHandler(WSGIRequestHandler):
    """Request handler without access log: the terminal shows errors only."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


def make_page_server(models: Sequence[PageModel], listener: socket.socket) -> BaseWSGIServer:
    """Return a server of the page.

    Args:
        models: models to show side by side.
        listener: result of `listen`.

    Returns:
        The server; its `serve_forever` returns on Ctrl-C.
    """
    host, port = listener.getsockname()[:2]
    return make_server(
        host,
        port,
        make_app(models, ("localhost", host, "[::1]") if is_loopback(listener) else None),
        threaded=True,
        request_handler=_QuietHandler,
        fd=listener.fileno(),
    )
