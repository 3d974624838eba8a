"""Performance targets, and whether the results meet them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from benchmarks.plan import OURS
from benchmarks.series import (
    MachineSpeed,
    Record,
    Series,
    best_peer,
    compare,
    find_series,
    group_series,
    job_seconds,
    latency_ms,
    peak_memory,
    roofline_fraction,
    sentences_per_second,
    tokens_per_second,
    weight_reading_ratio,
)


class Target(NamedTuple):
    """A performance target and its result.

    Attributes:
        metric: what is measured.
        bound: the target value.
        result: the figure, or why there is none.
        is_met: None if it was not measured, or there is no bound.
    """

    metric: str
    bound: str
    result: str
    is_met: bool | None


def at_least(metric: str, value: float | None, bound: float, unit: str = "×") -> Target:
    """Return a target with a lower bound."""
    if value is None:
        return Target(metric, f"≥ {bound:g}{unit}", "not measured", None)
    return Target(metric, f"≥ {bound:g}{unit}", f"{value:.2f}{unit}", value >= bound)


def at_most(metric: str, value: float | None, bound: float, unit: str = "×") -> Target:
    """Return a target with an upper bound."""
    if value is None:
        return Target(metric, f"≤ {bound:g}{unit}", "not measured", None)
    return Target(metric, f"≤ {bound:g}{unit}", f"{value:.2f}{unit}", value <= bound)


def evaluate_targets(document: dict[str, Any]) -> list[Target]:
    """Return all targets with the results of a document."""
    records, meta = document["records"], document["meta"]
    chapter = group_series(records, "chapter", "chapter")
    ours = find_series(chapter, OURS, "")
    return [
        at_least(
            "Chapter job: steady-state tokens/s vs. the PyTorch loop",
            compare(ours, find_series(chapter, "PyTorch, padded", ""), tokens_per_second),
            2,
        ),
        at_most(
            "Chapter job: whole command, including start-up and compilation",
            ours.spread(job_seconds).median if ours else None,
            15,
            " s",
        ),
        *_training_targets(records, meta),
        *_translation_targets(records, meta),
    ]


def _name(peer: Series | None, default: str = "the fastest peer") -> str:
    return peer.contender if peer else default


def _training_targets(records: Sequence[Record], meta: dict[str, Any]) -> list[Target]:
    targets: list[Target] = []
    training = group_series(records, "train", "train")
    machine = MachineSpeed(records, "train")
    for attention, title in (("none", "no attention"), ("luong", "Luong attention")):
        label = f"{attention} float32"
        group = [series for series in training if series.label == label]
        ours, peer = find_series(training, OURS, label), best_peer(group, tokens_per_second)
        fraction = None
        if ours and machine:
            spread = ours.spread(lambda r: roofline_fraction(r, meta["train"], machine))
            fraction = 100 * spread.median
        peers = [series for series in group if series.contender != OURS and series.records]
        leanest = min(peers, key=lambda series: series.spread(peak_memory).median, default=None)
        bfloat16 = find_series(training, OURS, f"{attention} bfloat16")
        targets += [
            at_least(
                f"Training, {title}, float32: tokens/s vs. the fastest peer ({_name(peer)})",
                compare(ours, peer, tokens_per_second),
                1.2,
            ),
            at_least(f"Training, {title}, float32: fraction of the roofline", fraction, 75, "%"),
            at_least(
                f"Training, {title}, float32: tokens/s vs. the padded PyTorch loop",
                compare(ours, find_series(training, "PyTorch, padded", label), tokens_per_second),
                3,
            ),
            at_most(
                f"Training, {title}, float32: peak memory vs. the leanest peer "
                f"({_name(leanest, 'the leanest peer')})",
                compare(ours, leanest, peak_memory),
                1,
            ),
            at_least(
                f"Training, {title}, mixed_bfloat16: tokens/s vs. the fastest peer in float32 "
                f"({_name(peer)})",
                compare(bfloat16, peer, tokens_per_second),
                1.6,
            ),
        ]
        group = [series for series in training if series.label == f"{attention} bfloat16"]
        peer = best_peer(group, tokens_per_second)
        ratio = compare(bfloat16, peer, tokens_per_second)
        if ratio is not None:
            metric = (
                f"Training, {title}, mixed_bfloat16: tokens/s vs. the fastest peer in bfloat16 "
                f"({_name(peer)})"
            )
            targets.append(Target(metric, "–", f"{ratio:.2f}×", None))
    return targets


def _translation_targets(records: Sequence[Record], meta: dict[str, Any]) -> list[Target]:
    targets: list[Target] = []
    translation = group_series(records, "translate", "translate")
    machine = MachineSpeed(records, "translate")
    metric = "BLEU after one epoch in mixed_bfloat16, float32"
    scores = [
        series.first_record["result"]["bleu"]["none"]
        for dtype in ("bfloat16", "float32")
        if (series := find_series(translation, OURS, f"luong {dtype}", "python"))
    ]
    if len(scores) == 2:
        bfloat16, float32 = scores
        result = f"{bfloat16:.1f}, {float32:.1f}"
        targets.append(Target(metric, "within 1", result, bfloat16 >= float32 - 1))
    else:
        targets.append(Target(metric, "–", "not measured", None))
    label = "luong float32"
    group = [series for series in translation if series.label == label]
    ours = find_series(translation, OURS, label, "python")
    for mode, title, bound in (
        ("file", "whole file, free batching", 3.0),
        ("batches", "batches of 32 in file order", 1.8),
    ):
        figure = sentences_per_second(mode)
        peer = best_peer(group, figure)
        targets.append(
            at_least(
                f"Greedy translation, {title}: sentences/s vs. the fastest peer ({_name(peer)})",
                compare(ours, peer, figure),
                bound,
            )
        )
    exported = find_series(translation, OURS, label, "session")
    ratio = None
    if exported and machine:
        ratio = exported.spread(lambda r: weight_reading_ratio(r, meta["train"], machine)).median
    chapter = [series for series in group_series(records, "chapter", "translate") if series.records]
    session, loop = (
        next((series for series in chapter if series.through == through), None)
        for through in ("session", "loop")
    )
    targets += [
        at_most(
            "Latency of one sentence through the export vs. OpenNMT-tf's SavedModel",
            compare(exported, find_series(translation, "OpenNMT-tf", label), latency_ms),
            0.7,
        ),
        at_most(
            "Latency of one sentence through the export vs. reading the weights once per step",
            ratio,
            1.5,
        ),
        at_least(
            "Latency of one sentence at the chapter's size: its Python loop vs. the export",
            compare(loop, session, latency_ms),
            10,
        ),
    ]
    return targets
