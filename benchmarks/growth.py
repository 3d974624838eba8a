"""Scaling of the cost of training with each size."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from benchmarks.roofline import training_flops
from benchmarks.series import (
    Record,
    Spread,
    group_series,
    peak_memory,
    sizes_of,
    tokens_per_second,
)


class Point(NamedTuple):
    """A size, and the cost of training with it.

    Attributes:
        size: the varied size.
        seconds: time per epoch if the corpus is varied, else per step.
        flops: floating-point operations in that time.
        tokens_per_second: median.
        peak_memory: bytes, median.
        preparation: seconds from the corpus to the first batch, median.
    """

    size: int
    seconds: Spread
    flops: float
    tokens_per_second: float
    peak_memory: float
    preparation: float


def growth_points(document: dict[str, Any]) -> dict[str, list[Point]]:
    """Return the measured points by the name of the varied size."""
    records, counts = document["records"], document["meta"]["train"]
    points: dict[str, list[Point]] = {}
    for series in group_series(records, "growth", "train"):
        if not series.records:
            continue
        name, size = series.label.split()
        record = series.first_record
        sizes = sizes_of(record, counts["vocab_size"])
        length = record["result"]["settings"]["sentence_tokens"]
        source, target, products = (
            counts[key] / counts["pairs"] for key in ("source_tokens", "target_tokens", "products")
        )
        if length is not None:
            source, target, products = length, length + 1, length * (length + 1)
        flops_per_token = training_flops(sizes, source, target, products) / target

        def cost(record: Record, name: str = name) -> float:
            result = record["result"]
            return result["seconds"] / (1 if name == "pairs" else result["steps"])

        def tokens(record: Record, name: str = name) -> float:
            result = record["result"]
            return result["tokens"] / (1 if name == "pairs" else result["steps"])

        points.setdefault(name, []).append(
            Point(
                int(size),
                series.spread(cost),
                flops_per_token * series.spread(tokens).median,
                series.spread(tokens_per_second).median,
                series.spread(peak_memory).median,
                series.spread(lambda r: r["result"]["preparation_seconds"]).median,
            )
        )
    return points


def fit_linear(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Fit y = a + b x by least squares of the relative errors, with a ≥ 0; return a and b."""
    weights = [1 / y**2 for _, y in points]
    total = sum(weights)
    mean_x, mean_y = (
        sum(weight * point[axis] for weight, point in zip(weights, points, strict=True)) / total
        for axis in (0, 1)
    )
    covariance = sum(
        w * (x - mean_x) * (y - mean_y) for w, (x, y) in zip(weights, points, strict=True)
    )
    variance = sum(w * (x - mean_x) ** 2 for w, (x, _) in zip(weights, points, strict=True))
    slope = covariance / variance
    intercept = mean_y - slope * mean_x
    if intercept >= 0:
        return intercept, slope
    products = sum(w * x * y for w, (x, y) in zip(weights, points, strict=True))
    return 0.0, products / sum(w * x * x for w, (x, _) in zip(weights, points, strict=True))


# Why the cost deviates from proportionality to the size.
EXPLANATIONS = {
    "pairs": "Steps per epoch are proportional to the pairs, and each costs the same; so does "
    "tokenization per pair. The fixed cost is shuffling.",
    "sentence_tokens": "Each token adds a step to both recurrent loops and a row to the dense "
    "layer. The fixed cost is that of the gradient norm and of the optimizer, which updates all "
    "weights and their moments. (With attention, scores and contexts grow quadratically.)",
    "batch_size": "The fixed cost is the optimizer and, per step of the loops, reading the "
    "recurrent weights: matrix products with few rows are memory-bound, so that tokens cost more "
    "in small batches.",
    "vocab_size": "The work is not proportional to the vocabulary: the dense layer grows with it, "
    "the recurrent layers do not. Not counted in the work is the optimizer, which updates all of "
    "the embeddings and the dense layer in each step.",
    "num_hiddens": "The work grows quadratically with the width, except for the dense layer, which "
    "grows linearly. Narrow layers do not reach the throughput of a large matrix product: "
    "operation overhead and element-wise operations take a larger share of their time.",
}
