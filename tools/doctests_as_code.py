"""An extension of griffe: the examples of docstrings are shown as code on the site.

Griffe knows those that stand in a section of their own, indented; here they stand as paragraphs,
which Markdown would take for quotations.
"""

import re
from typing import Any

import griffe

DOCTEST = re.compile(r"^>>> .*(?:\n.+)*", re.MULTILINE)


class DoctestsAsCode(griffe.Extension):
    """Puts fences around each paragraph that begins with `>>>`."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring:
            obj.docstring.value = DOCTEST.sub(
                lambda found: f"```pycon\n{found[0]}\n```", obj.docstring.value
            )
