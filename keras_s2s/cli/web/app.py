"""Flask application of `keras-s2s web` (`pip install 'keras-s2s[web]'`).

The page is rendered on the server, with one style sheet and one short script. It loads nothing from
other hosts, which its Content-Security-Policy enforces.
"""

import logging
import math
from collections.abc import Sequence

import flask
from markupsafe import Markup, escape
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from keras_s2s.cli.web.models import PageModel, TranslationResult
from keras_s2s.cli.web.server import is_cross_origin, is_trusted_host
from keras_s2s.evaluation.palette import NUM_SHADES, palette_css
from keras_s2s.utils.errors import InputError, ServerError, first_line, one_line
from keras_s2s.utils.text import SPECIAL_TOKENS

MAX_CHARACTERS = 10_000
MAX_REQUEST_BYTES = 1 << 18
UNK = SPECIAL_TOKENS[-1]

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    # Without a referrer the form would be sent with `Origin: null`, as from another site.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}

_logger = logging.getLogger("keras_s2s")


def make_app(
    models: Sequence[PageModel], trusted_names: Sequence[str] = ("localhost",)
) -> flask.Flask:
    """Return the WSGI application of the page.

    Args:
        models: models to show side by side.
        trusted_names: accepted host names in the `Host` header, besides IP addresses.

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
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.globals.update(num_shades=NUM_SHADES, UNK=UNK)
    app.add_template_filter(shade)
    app.add_template_filter(milliseconds)
    app.add_template_filter(signed)
    app.add_template_filter(percent)
    app.add_template_filter(mark_unknown)

    @app.before_request
    def refuse_other_sites() -> None:
        headers = flask.request.headers
        host = headers.get("Host")
        if not is_trusted_host(host, trusted_names):
            flask.abort(
                400,
                f"{host} is not known as a name of this machine; open the page by an IP address, "
                "or start keras-s2s web with --host and this name",
            )
        if flask.request.method == "POST" and is_cross_origin(
            headers.get("Sec-Fetch-Site"), headers.get("Origin"), host
        ):
            flask.abort(403, "the request was sent by a page of another site")

    @app.get("/")
    def page() -> str:
        return flask.render_template("page.html", models=models, sentence="", results=None)

    @app.post("/")
    def page_with_results() -> str:
        sentence = flask.request.form.get("sentence", "")
        results = [translate(model, sentence) for model in models]
        return flask.render_template("page.html", models=models, sentence=sentence, results=results)

    @app.get("/palette.css")
    def palette() -> flask.Response:
        return flask.Response(palette_css(), mimetype="text/css")

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
    return round(NUM_SHADES * min(max(weight, 0.0), 1.0)) if math.isfinite(weight) else 0


def mark_unknown(text: str) -> Markup:
    """Return a translation as HTML with its unknown words marked.

    >>> print(mark_unknown("<unk> & va !"))
    <mark title="a word outside the vocabulary">&lt;unk&gt;</mark> &amp; va !
    """
    mark = Markup('<mark title="a word outside the vocabulary">{}</mark>').format(UNK)
    return mark.join(map(escape, text.split(UNK)))


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


def percent(probability: float) -> str:
    """Format a probability.

    >>> percent(0.9712), percent(0.0004), percent(0.0)
    ('97%', '< 1%', '0%')
    """
    return "< 1%" if 0 < probability < 0.01 else f"{100 * probability:.0f}%"
