"""The figures of a run's epochs, sorted into the curves that are drawn of them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

# What stands in one picture, and what each curve is called there.
_PANELS: Mapping[str, Mapping[str, str]] = {
    "loss (nats a token)": {"loss": "training", "val_loss": "validation"},
    "accuracy of the next token": {"accuracy": "training", "val_accuracy": "validation"},
    "scores of the validation pairs": {"val_bleu": "BLEU", "val_chrf": "chrF"},
    "target tokens a second": {"tokens_per_second": "training"},
}


class Panel(NamedTuple):
    """Curves over the same axes.

    Attributes:
        title: what the values are.
        curves: for each name, epochs (from 1) and values.
    """

    title: str
    curves: dict[str, list[tuple[int, float]]]


def panels(rows: Sequence[Mapping[str, Any]]) -> list[Panel]:
    """The curves that there are values for.

    Args:
        rows: those of `history.csv`; values that are missing or no numbers are left out.

    Example:

    >>> [panel] = panels([{"epoch": "1", "loss": "2.5"}, {"epoch": "2", "loss": "nan"}])
    >>> panel
    Panel(title='loss (nats a token)', curves={'training': [(1, 2.5)]})
    """
    found = []
    for title, names in _PANELS.items():
        curves = {label: curve(rows, name) for name, label in names.items()}
        curves = {label: points for label, points in curves.items() if points}
        if curves:
            found.append(Panel(title, curves))
    return found


def curve(rows: Sequence[Mapping[str, Any]], name: str) -> list[tuple[int, float]]:
    """Epochs, and their values of one figure where it is a number."""
    points = []
    for row in rows:
        try:
            epoch, value = int(row["epoch"]), float(row[name])
        except (KeyError, TypeError, ValueError):
            continue
        if math.isfinite(value):
            points.append((epoch, value))
    return points
