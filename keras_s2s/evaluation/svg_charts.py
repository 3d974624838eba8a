"""Curves as plain SVG, for a page that has to be there in no time and without Matplotlib.

Matplotlib takes the better part of a second until its first picture, which is a tenth of what the
whole training of a small model may take.
"""

import html
import math
from collections.abc import Iterator, Sequence

from keras_s2s.evaluation.history import Panel

WIDTH, HEIGHT = 440, 240
# Room for the title, and for the numbers on the left and below.
TOP, LEFT, BOTTOM, RIGHT = 26, 54, 24, 12
# With more epochs than this the points of a curve would run into each other.
MOST_POINTS = 60


def line_chart(panel: Panel) -> str:
    """Returns an `<svg>` element with curves over epochs.

    The page's style says what `curve-0` and `curve-1` look like; all else has the colour of the
    text around it. A point tells its value when the mouse is on it.

    Args:
        panel: curves of at least one point each, with finite values.

    Example:

    >>> chart = line_chart(Panel("loss", {"training": [(1, 2.5), (2, 2.0)]}))
    >>> chart.startswith("<svg"), "epoch 2: 2</title>" in chart
    (True, True)
    """
    points = [point for curve in panel.curves.values() for point in curve]
    epochs, values = zip(*points, strict=True)
    first, last = min(epochs), max(max(epochs), min(epochs) + 1)
    value_ticks = ticks(min(values), max(values))
    lowest, highest = min(*values, value_ticks[0]), max(*values, value_ticks[-1])

    def x(epoch: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (epoch - first) / (last - first)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - lowest) / (highest - lowest)

    title = html.escape(panel.title)
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">',
        f'<text x="{LEFT}" y="16" class="title">{title}</text>',
    ]
    for value in value_ticks:
        parts.append(
            f'<path class="grid" d="M{LEFT} {y(value):.1f}H{WIDTH - RIGHT}"/>'
            f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:,.6g}</text>'
        )
    for epoch in ticks(first, last, about=8):
        if epoch == int(epoch) and first <= epoch <= max(epochs):
            parts.append(
                f'<text x="{x(epoch):.1f}" y="{HEIGHT - 6}" text-anchor="middle">{epoch:g}</text>'
            )
    for number, (label, curve) in enumerate(panel.curves.items()):
        parts += _curve(number, [(x(epoch), y(value)) for epoch, value in curve])
        if len(curve) <= MOST_POINTS:
            parts += [
                f'<circle class="curve-{number}" cx="{x(epoch):.1f}" cy="{y(value):.1f}" r="3">'
                f"<title>{html.escape(label)}, epoch {epoch}: {value:,.4g}</title></circle>"
                for epoch, value in curve
            ]
    if len(panel.curves) > 1:
        parts += _legend(list(panel.curves))
    return "".join([*parts, "</svg>"])


def ticks(lowest: float, highest: float, about: int = 5) -> list[float]:
    """Round numbers from the last one below `lowest` to the first one above `highest`.

    Example:

    >>> ticks(0.13, 0.87)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    span = highest - lowest or abs(highest) or 1.0
    power = 10.0 ** math.floor(math.log10(span / about))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor * about >= span)
    places = range(math.floor(lowest / step), math.ceil(highest / step) + 1)
    found = [round(place * step, 12) for place in places]
    # For a single value that is a round number there is but one, and an axis has two ends.
    return found if len(found) > 1 else [*found, found[0] + step]


def _curve(number: int, points: Sequence[tuple[float, float]]) -> Iterator[str]:
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    yield f'<polyline class="curve-{number}" points="{line}"/>'


def _legend(labels: Sequence[str]) -> Iterator[str]:
    end = WIDTH - RIGHT
    for number, label in reversed(list(enumerate(labels))):
        # A letter is about 6 wide.
        end -= 6 * len(label) + 12
        yield (
            f'<circle class="curve-{number}" cx="{end}" cy="12" r="4"/>'
            f'<text x="{end + 8}" y="16">{html.escape(label)}</text>'
        )
        end -= 12
