"""Rendering of Matplotlib figures to files and to SVG inside HTML."""

from __future__ import annotations

import io
import os
import re
import warnings
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np

from keras_s2s.evaluation.palette import PALETTE
from keras_s2s.utils.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = (PALETTE["first"].light, PALETTE["second"].light)
GRID_COLOR = PALETTE["line"].light
# Colors of a figure, and the CSS that replaces them inside HTML.
CSS_COLORS = {
    **{PALETTE[name].light: f"var(--{name})" for name in ("first", "second", "line", "paper")},
    "#000000": "currentColor",
}
# In inches. On a phone, where a figure is as wide as the page, its text of 10 points has 10 pixels.
PANEL_WIDTH = 4.6
# Fallbacks for glyphs that Matplotlib's DejaVu Sans lacks, where they are installed.
FALLBACK_FONTS = (
    *(f"Noto Sans CJK {region}" for region in ("SC", "JP", "KR", "TC")),
    *(f"Noto Sans {script}" for script in ("Devanagari", "Bengali", "Tamil", "Thai", "Ethiopic")),
    *("Hiragino Sans", "Microsoft YaHei", "Malgun Gothic", "WenQuanYi Zen Hei", "Unifont"),
)
# `none` keeps text searchable and lets the viewer choose the font; the salt makes ids, and so the
# bytes of a file, deterministic.
SVG_SETTINGS: Any = {"svg.fonttype": "none", "svg.hashsalt": "keras_s2s"}


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure to a file, in the format of the suffix of `path`.

    The output is deterministic.

    Raises:
        InputError: the file cannot be written.
    """
    import matplotlib
    from matplotlib import font_manager

    installed = font_manager.fontManager.get_font_names()
    fonts = ["DejaVu Sans", *(font for font in FALLBACK_FONTS if font in installed)]
    with (
        atomic_write(path) as temporary,
        matplotlib.rc_context(SVG_SETTINGS | {"font.family": fonts}),
        warnings.catch_warnings(),
    ):
        metadata = {"Date": None} if temporary.suffix == ".svg" else None
        # A glyph that no font has is drawn as an empty box; that needs no warning.
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        figure.savefig(temporary, dpi=150, metadata=metadata)


def inline_svg(figure: Figure, title: str) -> str:
    """Return a figure as an `<svg>` element for HTML.

    Colors are CSS variables, so that the figure follows the light or dark colors of the page (see
    `CSS_COLORS`). A marker of a curve has a tooltip with its value.

    Args:
        figure: the figure.
        title: text for screen readers.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    lines = [line for axes in figure.axes for line in axes.get_lines() if line.get_marker() == "o"]
    for index, line in enumerate(lines):
        line.set_gid(f"curve-{index}")
    tooltips = {
        line.get_gid(): [
            f"{line.get_label()}, epoch {epoch:g}: {value:,.4g}"
            for epoch, value in np.asarray(line.get_xydata()).tolist()
        ]
        for line in lines
    }
    output = io.StringIO()
    with matplotlib.rc_context(SVG_SETTINGS):
        # Unlike savefig, this draws once. Without metadata the file names no other address.
        metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        FigureCanvasSVG(figure).print_svg(output, metadata=metadata)
    # HTML knows the namespaces of SVG without declarations.
    text = re.sub(r' xmlns(:xlink)?="[^"]*"', "", output.getvalue()).replace("xlink:href", "href")
    svg = ElementTree.fromstring(text)
    for group in svg.iter("g"):
        texts = tooltips.get(group.attrib.pop("id", None), ())
        for marker, tooltip in zip(group.iter("use"), texts, strict=False):
            ElementTree.SubElement(marker, "title").text = tooltip
    for defs in svg.findall("defs"):
        if defs.find("style") is not None:  # would apply to the whole page
            svg.remove(defs)
    for name in ("width", "height", "version"):
        svg.attrib.pop(name, None)
    svg.attrib |= {"role": "img", "aria-label": title}
    for element in svg.iter():
        if style := element.get("style"):
            style = re.sub("|".join(CSS_COLORS), lambda color: CSS_COLORS[color[0]], style)
            element.set("style", style)
    return ElementTree.tostring(svg, encoding="unicode")


def make_figure(width: float, height: float) -> Figure:
    """Return a figure of this size, in inches, whose layout fits its labels."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def add_legend(axes: Axes) -> None:
    """Add a legend above the axes, where it covers nothing."""
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2)


def style_axes(axes: Axes) -> None:
    """Draw a grid behind the data, and no frame."""
    axes.grid(color=GRID_COLOR, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
