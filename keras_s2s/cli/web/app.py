"""The page of `keras-s2s web`; needs Flask (`pip install 'keras-s2s[web]'`).

The page is HTML that the program here writes, with one style sheet and one short script; nothing
in it comes from another address, and browsers are told to allow no other.
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

from keras_s2s.cli.web.models import PageAnswer, PageModel
from keras_s2s.utils.errors import InputError, ServerError, first_line, one_line

MAX_CHARACTERS = 10_000
MAX_BYTES = 1 << 18

# Steps of shading in the picture of attention, see page.css.
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
    """The page as a WSGI application.

    Args:
        models: those that answer, side by side.
        trusted_hosts: names by which browsers may ask for it; any when left out.

    Returns:
        The application. `/` is the page, which also works without its script; `/answers/N` is
        what model N answers to the `sentence` that is sent there, as a part of the page.
    """
    app = flask.Flask(
        "keras_s2s.cli.web.app",
        template_folder="templates",
        static_folder="templates",
        static_url_path="/files",
    )
    app.config["MAX_CONTENT_LENGTH"] = MAX_BYTES
    # Another site could else have its own name point here, and read what the page says.
    app.config["TRUSTED_HOSTS"] = trusted_hosts and list(trusted_hosts)
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.add_template_filter(shade)
    app.add_template_filter(milliseconds)
    app.add_template_filter(signed)

    @app.get("/")
    def page() -> str:
        return flask.render_template("page.html", models=models, sentence="", answers=None)

    @app.post("/")
    def page_with_answers() -> str:
        sentence = flask.request.form.get("sentence", "")
        answers = [ask(model, sentence) for model in models]
        return flask.render_template("page.html", models=models, sentence=sentence, answers=answers)

    @app.post("/answers/<int:number>")
    def answer(number: int) -> str:
        if number >= len(models):
            flask.abort(404)
        answered = ask(models[number], flask.request.form.get("sentence", ""))
        return flask.render_template("answer.html", model=models[number], answer=answered)

    @app.errorhandler(HTTPException)
    def refusal(error: HTTPException) -> tuple[str, int]:
        line = too_long(None) if isinstance(error, RequestEntityTooLarge) else str(error)
        return flask.render_template("answer.html", model=None, answer=line), error.code or 500

    @app.after_request
    def with_headers(response: flask.Response) -> flask.Response:
        response.headers.update(HEADERS)
        return response

    return app


def ask(model: PageModel, sentence: str) -> PageAnswer | str:
    """What a model answers, or a line that says why it does not."""
    if not sentence.strip():
        return "There is nothing to translate yet: type a sentence."
    if len(sentence) > MAX_CHARACTERS:
        return too_long(len(sentence))
    try:
        return model.ask(sentence)
    except (InputError, ServerError) as error:
        return one_line(error)
    except Exception as error:
        # A defect: the terminal gets all of it, the page what a reader can use.
        _logger.exception("%s failed on %r", model.name, sentence)
        reason = f"{type(error).__name__}: {first_line(error)}"
        return f"The model failed ({reason}); the terminal says more."


def too_long(characters: int | None) -> str:
    """The line about a text that is no sentence any more."""
    has = "too many" if characters is None else f"{characters:,}"
    return f"The text has {has} characters; give at most {MAX_CHARACTERS:,}."


def shade(weight: float) -> int:
    """The step of shading for a weight of attention, which need not be a number.

    >>> shade(0.5), shade(1.0), shade(float("nan"))
    (10, 20, 0)
    """
    return round(SHADES * min(max(weight, 0.0), 1.0)) if math.isfinite(weight) else 0


def milliseconds(value: float) -> str:
    """A time for the page.

    >>> milliseconds(3.14159), milliseconds(1234.5)
    ('3.1 ms', '1,234 ms')
    """
    return f"{value:.1f} ms" if value < 100 else f"{value:,.0f} ms"


def signed(value: float) -> str:
    """A score for the page, with a real minus sign.

    >>> signed(-0.4612)
    '−0.461'
    """
    return f"{value:.3f}".replace("-", "−")


def listen(host: str, port: int) -> socket.socket:
    """A socket that takes connections, before anything that takes time is done.

    Args:
        host: name or number of an address of this machine.
        port: 0 for any that is free.

    Raises:
        InputError: no such address, or the port is in use or not allowed.
    """
    if not 0 <= port <= 65535:
        raise InputError(f"--port is {port}; give 0 to 65535, with 0 for any that is free")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise InputError(
            f"--host is {host!r}, which is no address; give one of this machine, such as 127.0.0.1"
        ) from error
    # Of the two of localhost the one that everybody means.
    family, kind, protocol, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()
    except OSError as error:
        listener.close()
        advice = "give another --port, or 0 for any that is free"
        if error.errno == errno.EADDRNOTAVAIL:
            advice = "give an address of this machine as --host"
        raise InputError(
            f"port {port} of {host} cannot be used ({error.strerror}); {advice}"
        ) from error
    return listener


def is_local(listener: socket.socket) -> bool:
    """Whether only this machine reaches a socket."""
    return ipaddress.ip_address(listener.getsockname()[0]).is_loopback


def url_of(listener: socket.socket) -> str:
    """What to open in a browser."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


class _QuietHandler(WSGIRequestHandler):
    """The terminal is for what goes wrong."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


def make_server_for(models: Sequence[PageModel], listener: socket.socket) -> BaseWSGIServer:
    """A server of the page.

    Args:
        models: those that answer, side by side.
        listener: see `listen`.

    Returns:
        The server; its `serve_forever` takes Ctrl-C as the end.
    """
    host, port = listener.getsockname()[:2]
    return make_server(
        host,
        port,
        make_app(models, ("localhost", host, "[::1]") if is_local(listener) else None),
        threaded=True,
        request_handler=_QuietHandler,
        fd=listener.fileno(),
    )
