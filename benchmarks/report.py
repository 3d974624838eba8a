"""From records to a page: what was measured, as Markdown.

Everything here is a function of the document that `results.json` holds: `{"meta": …, "records":
[…]}`, as `benchmarks.__main__` puts it together.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.claims import claims
from benchmarks.growth import WHY, fitted, growth_points
from benchmarks.plan import CONTENDERS, GROWTH, OURS
from benchmarks.series import (
    Machine,
    Record,
    compared,
    imported_memory,
    milliseconds,
    peak_memory,
    reading_time,
    seconds_of_epoch,
    sentences_per_second,
    series,
    share_in_translation,
    share_of_roofline,
    tokens_per_second,
    whole,
)

COUNTED = """\
A token is a target token: the words of the reference, or of the answer, and its `</s>`; padding \
and `<s>` are none. Training's tokens a second are those over wall time from the end of the \
warm-up on: start-up, graph compilation and the first steps are left out, and so are reading the \
corpus and saving the model; making the batches is not. Where a whole command is timed, nothing \
is left out. Translation goes from a line of words to a line of words; loading the model and two \
batches of warm-up are left out. All contenders read the same files and have the same sizes, \
optimizer (Adam, clipped to a global norm of 1), batch size, number of threads and no dropout. \
Peak memory is the largest resident set of a contender's process, as the operating system tells \
it; of a process with children, that of the largest. Beside it stands what is resident once a \
framework is imported, before anything is made with it."""

ROOFLINE = """\
Training is held against the floating-point operations that its tokens need: two for each weight \
and token (recurrent layers, attention, dense layer), those of attention's scores and contexts, \
and all of it three times, once forwards and twice for the gradient. Padding needs none, and what \
is done element by element is not counted. 100% would be these at the speed of one large matrix \
product (2048 × 2048) in the same data type. One sentence at a time is held against the time of \
reading each weight once for every step that uses it, at the speed at which a product of a matrix \
as large as the decoder's weights with a vector reads them."""


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def named(contender: str) -> str:
    """As it stands in a table."""
    return f"**{contender}**" if contender == OURS else contender


def chapter_part(document: dict[str, Any]) -> str:
    """The chapter's job."""
    records, counts = document["records"], document["meta"]["chapter"]
    machine = Machine(records, "chapter")
    found = series(records, "chapter", "chapter")
    ours = next((one for one in found if one.contender == OURS and one.records), None)
    rows = []
    for one in found:
        if not one.records:
            rows.append([named(one.contender), "left out", "", "", "", "", ""])
            continue
        times = compared(ours, one, tokens_per_second)
        share = "–"
        if machine:
            share = one.spread(lambda r: share_of_roofline(r, counts, machine)).shown(1, 100)
        rows.append([
            named(one.contender),
            one.spread(whole).shown(1),
            one.spread(tokens_per_second).shown(),
            f"{times:.2f}" if times else "–",
            share,
            one.spread(peak_memory).shown(0, 1e-6),
            one.spread(lambda r: r["result"]["loss"]).shown(3),
        ])  # fmt: skip
    text = table(
        ["contender", "whole job, s", "tokens/s from the 11th epoch on", "this package ÷ it",
         "of the roofline, %", "peak memory, MB", "nats a token, last epoch"], rows,
    )  # fmt: skip
    translated = [one for one in series(records, "chapter", "translate") if one.records]
    if translated:
        text += "\nWhat it has learned, asked a sentence at a time:\n\n"
        text += table(
            ["contender", "ms a sentence", "tokens/s"],
            [
                [
                    f"{named(one.contender)} {one.label}".strip(),
                    one.spread(milliseconds).shown(2),
                    one.spread(
                        lambda r: r["result"]["single"]["tokens"] / r["result"]["single"]["seconds"]
                    ).shown(),
                ]
                for one in translated
            ],
        )
    return text


def train_part(document: dict[str, Any]) -> str:
    """Steady training of the large model, a table for each attention and data type."""
    records, counts = document["records"], document["meta"]["train"]
    machine = Machine(records, "train")
    found = series(records, "train", "train")
    text = ""
    for label in dict.fromkeys(one.label for one in found):
        group = [one for one in found if one.label == label]
        ours = next((one for one in group if one.contender == OURS and one.records), None)
        rows = []
        for one in group:
            if not one.records:
                rows.append([named(one.contender), "left out", "", "", "", "", ""])
                continue
            times = compared(ours, one, tokens_per_second)
            share = "–"
            if machine:
                share = one.spread(lambda r: share_of_roofline(r, counts, machine)).shown(0, 100)
            rows.append([
                named(one.contender),
                one.spread(tokens_per_second).shown(),
                f"{times:.2f}" if times else "–",
                share,
                one.spread(peak_memory).shown(2, 1e-9),
                one.spread(imported_memory).shown(2, 1e-9),
                one.spread(lambda r: r["result"]["start_up"]).shown(1),
            ])  # fmt: skip
        attention, dtype = label.split()
        title = {"none": "no attention", "luong": "Luong attention"}[attention]
        text += f"\n### {title[0].upper()}{title[1:]}, {dtype}\n\n"
        text += table(
            ["contender", "target tokens/s", "this package ÷ it", "of the roofline, %",
             "peak memory, GB", "of that, imports, GB", "start-up and warm-up, s"], rows,
        )  # fmt: skip
    return text.lstrip("\n")


def translate_part(document: dict[str, Any]) -> str:
    """What an epoch has taught the large model, and how fast it translates."""
    records, counts = document["records"], document["meta"]["train"]
    machine = Machine(records, "translate")
    learned = {(one.contender, one.label): one for one in series(records, "translate", "train")}
    rows = []
    for one in series(records, "translate", "translate"):
        teaching = learned.get((one.contender, one.label))
        name = named(one.contender)
        if not one.records:
            rows.append([name, one.label, "left out", *[""] * 8])
            continue
        if one.through == "session":
            name += ", export"
        record = next(iter(one.records.values()))
        score = record["result"]["bleu"]
        epoch = "–"
        if teaching and teaching.records:
            epoch = teaching.spread(seconds_of_epoch).shown()
        bound, share = "–", "–"
        if machine:
            bound = one.spread(
                lambda r: r["result"]["single"]["seconds"] / reading_time(r, counts, machine)
            ).shown(2)
            share = one.spread(lambda r: share_in_translation(r, counts, machine)).shown(0, 100)
        rows.append([
            name,
            one.label,
            epoch,
            f"{score['none']:.1f} / {score['13a']:.1f}",
            one.spread(sentences_per_second("file")).shown(),
            share,
            one.spread(sentences_per_second("batches")).shown(),
            one.spread(milliseconds).shown(1),
            bound,
            one.spread(peak_memory).shown(2, 1e-9),
        ])  # fmt: skip
    return "Each model was trained once.\n\n" + table(
        ["contender", "model", "epoch, s", "BLEU none / 13a", "whole file, sentences/s",
         "of the roofline, %", "32 in file order, sentences/s", "one sentence, ms",
         "÷ reading the weights", "peak memory, GB"], rows,
    )  # fmt: skip


def growth_part(document: dict[str, Any]) -> str:
    """How the cost grows."""
    machine = Machine(document["records"], "growth")
    text = "![cost as work grows](growth.png)\n"
    for name, points in growth_points(document).items():
        title, _, _ = GROWTH[name]
        unit, factor, digits = ("s an epoch", 1.0, 2) if name == "pairs" else ("ms a step", 1e3, 1)
        rows = []
        for number, point in enumerate(points):
            grown = "–"
            if number:
                before = points[number - 1]
                grown = (
                    f"{point.seconds.median / before.seconds.median:.2f} / "
                    f"{point.operations / before.operations:.2f}"
                )
            share = "–"
            if machine:
                speed = machine.operations_per_second("float32").median
                share = f"{100 * point.operations / point.seconds.median / speed:.0f}"
            rows.append([
                f"{point.size:,}",
                point.seconds.shown(digits, factor),
                grown,
                f"{point.tokens_per_second:,.0f}",
                share,
                f"{point.peak_memory / 1e9:.2f}",
                f"{point.preparation:.1f}",
            ])  # fmt: skip
        text += f"\n### {title[0].upper()}{title[1:]}\n\n"
        text += table(
            [title, unit, "time / work, times the row above", "target tokens/s",
             "of the roofline, %", "peak memory, GB", "preparation, s"], rows,
        ) + "\n"  # fmt: skip
        if len(points) > 2:
            # Against the work, which is no multiple of every size.
            start, _ = fitted([(point.operations, point.seconds.median) for point in points])
            share = 100 * start / points[0].seconds.median
            text += (
                f"Best fit by a fixed part and one in proportion to the work: "
                f"{start * factor:.{digits}f} {unit} are fixed, {share:.0f}% of the first row.\n"
            )
        text += f"{WHY[name]}\n"
    return text


def left_out(records: Iterable[Record]) -> list[str]:
    """Who did not take part in what, and why: a line each."""
    lines = []
    for record in records:
        if record["error"]:
            name = f"{record['part']}: {record['contender']} {record['label']}".strip()
            lines.append(f"- {name}: {record['error']}")
    return list(dict.fromkeys(lines))


def rounds_of(records: Iterable[Record]) -> str:
    """How many rounds there were, by part where they had different numbers."""
    rounds: dict[str, int] = {}
    for record in records:
        rounds[record["part"]] = max(record["round"], rounds.get(record["part"], 0))
    told = {name: f"{count} round{'s' if count > 1 else ''}" for name, count in rounds.items()}
    if len(set(told.values())) < 2:
        return next(iter(told.values()), "no rounds")
    return ", ".join(f"{count} (`{name}`)" for name, count in told.items())


def markdown(document: dict[str, Any]) -> str:
    """All results as one page."""
    meta, records = document["meta"], document["records"]
    machine = meta["machine"]
    memory = f", {machine['memory'] / 1e9:.0f} GB" if machine["memory"] else ""
    parts = [
        "# Results\n\n",
        f"Written by `make {meta['command']}` on {meta['date']}; `results.json` has the figures. "
        "README.md says how to run it.\n\n",
        f"{machine['processor']}, {machine['cores']} cores{memory}, {machine['system']}; "
        f"{meta['threads']} threads. Medians of {rounds_of(records)}, "
        "in which the contenders took turns; in brackets the "
        "least and the greatest. A ratio is the median of the ratios of each round.\n\n",
    ]
    described = [record for record in records if record["result"]]
    names = list(dict.fromkeys(record["contender"] for record in described))
    rows = []
    for name in names:
        versions: dict[str, str] = next(
            record["result"]["versions"] for record in described if record["contender"] == name
        )
        listed = ", ".join(f"{package} {version}" for package, version in versions.items())
        rows.append([named(name), CONTENDERS[name].what, listed])
    parts += [table(["contender", "what it is", "versions"], rows), "\n"]
    missing = left_out(records)
    if missing:
        parts += ["Left out:\n\n", *(f"{line}\n" for line in missing), "\n"]
    parts += ["## What is counted\n\n", COUNTED, "\n\n", ROOFLINE, "\n\n"]
    train = meta["train"]
    parts.append(
        f"The task: {train['pairs']:,} pairs of `{meta['task']}`, {train['source_tokens']:,} "
        f"source and {train['target_tokens']:,} target tokens, {train['vocab_size']:,} words and "
        "special tokens a side; LSTM encoder and decoder of 2 layers, 512 units, embedding 256; 64 "
        "sentences a batch. The chapter's: "
        f"{meta['chapter']['pairs']:,} pairs, 32 units, embedding 32.\n\n"
    )
    rows = [
        [
            part,
            found.operations_per_second("float32").shown(0, 1e-9),
            found.operations_per_second("bfloat16").shown(0, 1e-9),
            found.bytes_per_second().shown(1, 1e-9),
            found.bytes_per_second("bytes_per_second_summed").shown(1, 1e-9),
        ]
        for part in dict.fromkeys(record["part"] for record in records)
        if (found := Machine(records, part))
    ]
    heads = ["during", "float32, GFLOP/s", "bfloat16, GFLOP/s", "reading by a product, GB/s",
             "reading for a sum, GB/s"]  # fmt: skip
    parts += [table(heads, rows), "\n"]
    if meta["command"] == "bench":
        parts.append("## What they should show\n\n")
        shown = {True: "yes", False: "**no**", None: "–"}
        parts.append(
            table(
                ["", "wanted", "measured", "met"],
                [[claim.what, claim.wanted, claim.measured, shown[claim.met]]
                 for claim in claims(document)],
            )
        )  # fmt: skip
        parts.append("\n")
    for name, title, part in (
        ("chapter", "The chapter's job", chapter_part),
        ("train", "Training, 2 × 512 units", train_part),
        ("translate", "Greedy translation, after one epoch", translate_part),
        ("growth", "Cost as work grows", growth_part),
    ):
        if any(record["part"] == name for record in records):
            parts += [f"## {title}\n\n", part(document), "\n"]
    return "".join(parts).rstrip("\n") + "\n"
