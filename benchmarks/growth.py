"""How the cost of training grows with each of its sizes."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from benchmarks.roofline import training_operations
from benchmarks.series import (
    Record,
    Spread,
    peak_memory,
    series,
    sizes_of,
    tokens_per_second,
)


class Point(NamedTuple):
    """A size, and what training costs with it.

    Attributes:
        size: of what grows.
        seconds: an epoch's where the corpus grows, else a step's; median and ends.
        operations: that its tokens need.
        tokens_per_second: median.
        peak_memory: bytes, median.
        preparation: seconds from the corpus to the first batch, median.
    """

    size: int
    seconds: Spread
    operations: float
    tokens_per_second: float
    peak_memory: float
    preparation: float


def growth_points(document: dict[str, Any]) -> dict[str, list[Point]]:
    """What was measured of growing cost, by what grows."""
    records, counts = document["records"], document["meta"]["train"]
    found: dict[str, list[Point]] = {}
    for one in series(records, "growth", "train"):
        if not one.records:
            continue
        name, size = one.label.split()
        record = next(iter(one.records.values()))
        sizes = sizes_of(record, counts["vocab_size"])
        length = record["result"]["settings"]["sentence_tokens"]
        source, target, products = (
            counts[key] / counts["pairs"] for key in ("source_tokens", "target_tokens", "products")
        )
        if length is not None:
            source, target, products = length, length + 1, length * (length + 1)
        of_token = training_operations(sizes, source, target, products) / target

        def cost(record: Record, name: str = name) -> float:
            result = record["result"]
            return result["seconds"] / (1 if name == "pairs" else result["steps"])

        def tokens(record: Record, name: str = name) -> float:
            result = record["result"]
            return result["tokens"] / (1 if name == "pairs" else result["steps"])

        found.setdefault(name, []).append(
            Point(
                int(size),
                one.spread(cost),
                of_token * one.spread(tokens).median,
                one.spread(tokens_per_second).median,
                one.spread(peak_memory).median,
                one.spread(lambda r: r["result"]["preparation_seconds"]).median,
            )
        )
    return found


def fitted(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Least squares of relative errors: a + b x for points (x, y), with a not below zero."""
    weights = [1 / y**2 for _, y in points]
    total = sum(weights)
    mean_x, mean_y = (
        sum(weight * point[axis] for weight, point in zip(weights, points, strict=True)) / total
        for axis in (0, 1)
    )
    over = sum(w * (x - mean_x) * (y - mean_y) for w, (x, y) in zip(weights, points, strict=True))
    under = sum(w * (x - mean_x) ** 2 for w, (x, _) in zip(weights, points, strict=True))
    slope = over / under
    start = mean_y - slope * mean_x
    if start >= 0:
        return start, slope
    products = sum(w * x * y for w, (x, y) in zip(weights, points, strict=True))
    return 0.0, products / sum(w * x * x for w, (x, _) in zip(weights, points, strict=True))


# Where the cost departs from a multiple of the size, and why.
WHY = {
    "pairs": "An epoch is as many steps as there are batches, and each costs the same; tokenizing "
    "takes its time for each pair. Both are linear. What is fixed is making the order of an epoch.",
    "sentence_tokens": "Each token adds a step to both loops and a row to the dense layer. What is "
    "fixed is what a step of training does whatever it reads: the norm of the gradients is taken, "
    "and the optimizer goes through all weights and their moments. (With attention, scores and "
    "contexts grow with the square.)",
    "batch_size": "Fixed are the optimizer again and, for each step of the loops, reading the "
    "recurrent weights: a product with few rows is bound by reading them, not by multiplying, so "
    "that a token costs more in small batches.",
    "vocab_size": "The work is no multiple of the vocabulary, since the dense layer grows with "
    "it and the recurrent layers do not. What grows besides the counted work is the way of the "
    "optimizer through the embeddings and the dense layer, whichever words a batch holds.",
    "num_hiddens": "The work grows with the square of the width, but for the dense layer, with the "
    "width. Narrow layers do not reach the speed of a large product: starting an operation, and "
    "what is done element by element, are a larger part of their time.",
}
