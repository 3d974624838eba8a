"""Training history as curves, grouped into the panels of a plot."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from keras_s2s.utils.scores import SCORES


def _columns(*names: str) -> dict[str, str]:
    return {SCORES[name].column: SCORES[name].label for name in names}


# Panel titles, with the columns of history.csv that each shows and their labels; at most two, as
# there are colors.
_PANELS: Mapping[str, Mapping[str, str]] = {
    "loss (nats per token)": {"loss": "training", "val_loss": "validation"},
    "next-token accuracy": {"accuracy": "training", "val_accuracy": "validation"},
    "validation scores": _columns("bleu", "chrf"),
    "validation exact match (%)": _columns("exact"),
    "validation error rates (%)": _columns("wer", "ter"),
    "throughput (target tokens/s)": {"tokens_per_second": "training"},
}
# Shown smaller than the quality of the model.
_MINOR = "throughput (target tokens/s)"


class Panel(NamedTuple):
    """Curves that share their axes.

    Attributes:
        title: quantity and unit.
        curves: points (epoch from 1, value) by label.
        minor: whether it is of less interest than the others.
    """

    title: str
    curves: dict[str, list[tuple[int, float]]]
    minor: bool = False


def panels(rows: Sequence[Mapping[str, Any]]) -> list[Panel]:
    """Return the panels that have at least one point.

    Args:
        rows: those of `history.csv`; missing and non-finite values are skipped.

    Example:

    >>> [panel] = panels([{"epoch": "1", "loss": "2.5"}, {"epoch": "2", "loss": "nan"}])
    >>> panel
    Panel(title='loss (nats per token)', curves={'training': [(1, 2.5)]}, minor=False)
    """
    result = []
    for title, labels in _PANELS.items():
        curves = {label: points for name, label in labels.items() if (points := curve(rows, name))}
        if curves:
            result.append(Panel(title, curves, title == _MINOR))
    return result


def curve(rows: Sequence[Mapping[str, Any]], name: str) -> list[tuple[int, float]]:
    """Return the epochs and finite values of one column."""
    points = []
    for row in rows:
        try:
            epoch, value = int(row["epoch"]), float(row[name])
        except (KeyError, TypeError, ValueError):
            continue
        if math.isfinite(value):
            points.append((epoch, value))
    return points
