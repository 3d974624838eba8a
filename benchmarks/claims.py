"""What the results should show, and whether they do."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from benchmarks.plan import OURS
from benchmarks.series import (
    Machine,
    Record,
    best_peer,
    compared,
    find,
    milliseconds,
    peak_memory,
    reading_time,
    sentences_per_second,
    series,
    share_of_roofline,
    tokens_per_second,
    whole,
)


class Claim(NamedTuple):
    """Something the results should show.

    Attributes:
        what: in words.
        wanted: the bound, in words.
        measured: the figure, or why there is none.
        met: whether it is met; None where it was not measured, or nothing is wanted.
    """

    what: str
    wanted: str
    measured: str
    met: bool | None


def at_least(what: str, found: float | None, bound: float, unit: str = "×") -> Claim:
    """A claim that a figure is not below a bound."""
    if found is None:
        return Claim(what, f"≥ {bound:g}{unit}", "not measured", None)
    return Claim(what, f"≥ {bound:g}{unit}", f"{found:.2f}{unit}", found >= bound)


def at_most(what: str, found: float | None, bound: float, unit: str = "×") -> Claim:
    """A claim that a figure is not above a bound."""
    if found is None:
        return Claim(what, f"≤ {bound:g}{unit}", "not measured", None)
    return Claim(what, f"≤ {bound:g}{unit}", f"{found:.2f}{unit}", found <= bound)


def claims(document: dict[str, Any]) -> list[Claim]:
    """What the results should show, and whether they do."""
    records, meta = document["records"], document["meta"]
    chapter = series(records, "chapter", "chapter")
    ours, loop = find(chapter, OURS, ""), find(chapter, "PyTorch, padded", "")
    found = [
        at_least(
            "Chapter's job: tokens/s in steady state, by the PyTorch loop's",
            compared(ours, loop, tokens_per_second),
            2,
        ),
        at_most(
            "Chapter's job: the whole command, start-up and compilation included",
            ours.spread(whole).median if ours else None,
            15,
            " s",
        ),
    ]
    found += _training_claims(records, meta)
    found += _translation_claims(records, meta)
    return found


def _training_claims(records: Sequence[Record], meta: dict[str, Any]) -> list[Claim]:
    found: list[Claim] = []
    trained = series(records, "train", "train")
    machine = Machine(records, "train")
    for attention, title in (("none", "no attention"), ("luong", "Luong attention")):
        label = f"{attention} float32"
        group = [one for one in trained if one.label == label]
        ours, peer = find(trained, OURS, label), best_peer(group, tokens_per_second)
        name = peer.contender if peer else "the best peer"
        found.append(
            at_least(
                f"Training, {title}, float32: tokens/s by the best peer's ({name})",
                compared(ours, peer, tokens_per_second),
                1.2,
            )
        )
        share = None
        if ours and machine:
            share = 100 * ours.spread(lambda r: share_of_roofline(r, meta["train"], machine)).median
        found.append(at_least(f"Training, {title}, float32: of the roofline", share, 75, "%"))
        padded = find(trained, "PyTorch, padded", label)
        found.append(
            at_least(
                f"Training, {title}, float32: tokens/s by the padded PyTorch loop's",
                compared(ours, padded, tokens_per_second),
                3,
            )
        )
        peers = [one for one in group if one.contender != OURS and one.records]
        leanest = min(peers, key=lambda one: one.spread(peak_memory).median, default=None)
        name = leanest.contender if leanest else "the leanest peer"
        found.append(
            at_most(
                f"Training, {title}, float32: peak memory by the leanest peer's ({name})",
                compared(ours, leanest, peak_memory),
                1,
            )
        )
        half = find(trained, OURS, f"{attention} bfloat16")
        name = peer.contender if peer else "the best peer"
        found.append(
            at_least(
                f"Training, {title}, mixed_bfloat16: tokens/s by the best peer's in float32 "
                f"({name})",
                compared(half, peer, tokens_per_second),
                1.6,
            )
        )
        group = [one for one in trained if one.label == f"{attention} bfloat16"]
        peer = best_peer(group, tokens_per_second)
        figure = compared(half, peer, tokens_per_second)
        if peer and figure is not None:
            found.append(
                Claim(
                    f"Training, {title}, mixed_bfloat16: tokens/s by the best peer's in bfloat16 "
                    f"({peer.contender})",
                    "–",
                    f"{figure:.2f}×",
                    None,
                )
            )
    return found


def _translation_claims(records: Sequence[Record], meta: dict[str, Any]) -> list[Claim]:
    found: list[Claim] = []
    translated = series(records, "translate", "translate")
    machine = Machine(records, "translate")
    scores = [
        find(translated, OURS, f"luong {dtype}", "python") for dtype in ("float32", "bfloat16")
    ]
    if all(scores):
        full, half = (
            next(iter(one.records.values()))["result"]["bleu"]["none"] for one in scores if one
        )
        found.append(
            Claim(
                "BLEU after one epoch in mixed_bfloat16, beside float32",
                "within 1",
                f"{half:.1f}, {full:.1f}",
                half >= full - 1,
            )
        )
    else:
        found.append(Claim("BLEU after one epoch in mixed_bfloat16", "–", "not measured", None))
    label = "luong float32"
    group = [one for one in translated if one.label == label]
    ours = find(translated, OURS, label, "python")
    for way, title, bound in (
        ("file", "whole file, free batching", 3.0),
        ("batches", "32 in file order", 1.8),
    ):
        of = sentences_per_second(way)
        peer = best_peer(group, of)
        name = peer.contender if peer else "the best peer"
        found.append(
            at_least(
                f"Greedy translation, {title}: sentences/s by the best peer's ({name})",
                compared(ours, peer, of),
                bound,
            )
        )
    exported = find(translated, OURS, label, "session")
    found.append(
        at_most(
            "One sentence through the export, by OpenNMT-tf's SavedModel",
            compared(exported, find(translated, "OpenNMT-tf", label), milliseconds),
            0.7,
        )
    )
    bound = None
    if exported and machine:
        bound = exported.spread(
            lambda r: r["result"]["single"]["seconds"] / reading_time(r, meta["train"], machine)
        ).median
    found.append(
        at_most("One sentence through the export, by reading the weights once a step", bound, 1.5)
    )
    small = series(records, "chapter", "translate")
    exported = next((one for one in small if one.records and one.through == "session"), None)
    loop = next((one for one in small if one.records and one.through == "loop"), None)
    found.append(
        at_least(
            "One sentence at the chapter's size: the time of its loop in Python by the export's",
            compared(loop, exported, milliseconds),
            10,
        )
    )
    return found
