"""The colors of plots, reports and the page of `keras-s2s web`, in light and dark.

Text has a contrast of 4.5 and more against what is behind it (WCAG 2.2, level AA). The two colors
of curves and bars are blue and vermilion, after Okabe and Ito: they remain distinct under color
blindness.
"""

from typing import NamedTuple


class Color(NamedTuple):
    """A color as hexadecimal RGB, on a light and on a dark background."""

    light: str
    dark: str


PALETTE = {
    "paper": Color("#ffffff", "#16181a"),
    "ink": Color("#1c1c1c", "#e6e6e6"),
    "pale": Color("#5f5f5f", "#a6a6a6"),
    "line": Color("#dddddd", "#3a3d40"),
    "first": Color("#0072b2", "#56b4e9"),
    "second": Color("#b84e00", "#f0965a"),
    "error": Color("#a4262c", "#ff9a9f"),
}
# Shades of attention weights, from none to all of them.
NUM_SHADES = 20


def palette_css() -> str:
    """Return the palette as CSS variables, for light and dark, with the shades of attention.

    `--first` and the others are the colors; the classes `shade-0` to `shade-20` give a table cell
    the background of an attention weight in twentieths, and a text color that is legible on it.
    """
    light, dark = (_css(mode) for mode in (0, 1))
    return f"{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}"


def shade(weight: float, mode: int = 0) -> str:
    """Return the background of an attention weight: from the paper to the first color.

    Args:
        weight: 0 to 1.
        mode: 0 for light, 1 for dark.

    Example:

    >>> shade(0.0), shade(1.0)
    ('#ffffff', '#0072b2')
    """
    ends = (_rgb(PALETTE[name][mode]) for name in ("paper", "first"))
    mixed = (round(a + (b - a) * weight) for a, b in zip(*ends, strict=True))
    return "#" + "".join(f"{value:02x}" for value in mixed)


def readable_on(background: str) -> str:
    """Return black or white, whichever has more contrast against a color.

    Example:

    >>> readable_on("#0072b2"), readable_on("#ffffff")
    ('#ffffff', '#000000')
    """
    return max("#000000", "#ffffff", key=lambda color: contrast(color, background))


def contrast(first: str, second: str) -> float:
    """Return the contrast ratio of two colors, 1 to 21.

    Source: Web Content Accessibility Guidelines 2.2, "contrast ratio".

    Example:

    >>> contrast("#ffffff", "#000000")
    21.0
    """
    low, high = sorted((_luminance(first), _luminance(second)))
    return (high + 0.05) / (low + 0.05)


def _css(mode: int) -> str:
    colors = " ".join(f"--{name}: {color[mode]};" for name, color in PALETTE.items())
    rules = [f":root {{ color-scheme: light dark; {colors} }}"]
    for level in range(NUM_SHADES + 1):
        mixed = shade(level / NUM_SHADES, mode)
        text = readable_on(mixed)
        # Translucent: the shadow at the edge of a table that scrolls is behind its cells.
        share = f"{100 * level / NUM_SHADES:g}%"
        background = f"rgb({' '.join(map(str, _rgb(PALETTE['first'][mode])))} / {share})"
        rules.append(f".shade-{level} {{ background: {background}; color: {text}; }}")
    return "\n".join(rules)


def _rgb(color: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(color[1:]))


def _luminance(color: str) -> float:
    linear = [
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
        for value in (channel / 255 for channel in _rgb(color))
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
