"""Griffe extension that renders doctest examples as code blocks on the site.

Griffe recognizes examples in an indented section only; here they are plain paragraphs, which
Markdown would render as block quotes.
"""

import re
from typing import Any

import griffe

DOCTEST = re.compile(r"^>>> .*(?:\n.+)*", re.MULTILINE)


class DoctestsAsCode(griffe.Extension):
    """Wrap each paragraph that begins with `>>>` in a code fence."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring:
            obj.docstring.value = DOCTEST.sub(
                lambda match: f"```pycon\n{match[0]}\n```", obj.docstring.value
            )
