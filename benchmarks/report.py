"""Report of the results in Markdown.

All functions take the content of `results.json`: `{"meta": …, "records": […]}`, as written by
`benchmarks.__main__`.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.growth import EXPLANATIONS, fit_linear, growth_points
from benchmarks.plan import CONTENDERS, GROWTH, OURS
from benchmarks.series import (
    MachineSpeed,
    Record,
    Series,
    compare,
    epoch_seconds,
    group_series,
    imported_memory,
    job_seconds,
    latency_ms,
    peak_memory,
    roofline_fraction,
    sentences_per_second,
    tokens_per_second,
    translation_roofline_fraction,
    weight_reading_ratio,
)
from benchmarks.targets import evaluate_targets

METHOD = """\
Tokens are target tokens: the words of the reference or of the translation, and `</s>`, without \
`<s>` and padding. Training throughput is measured after the warm-up: it excludes start-up, graph \
compilation, the first steps, reading the corpus and saving the model, and includes batching. \
Times of whole commands include everything. Translation is measured from text to text, after \
loading the model and two warm-up batches. All contenders read the same files and use the same \
sizes, optimizer (Adam, gradients clipped to a global norm of 1), batch size and number of \
threads, and no dropout. Peak memory is the peak resident set size of a contender's process as \
reported by the operating system; of a process with children, that of the largest. Next to it is \
the resident set size after importing the framework."""

ROOFLINE = """\
For training, the roofline is the number of floating-point operations required by the tokens: two \
per weight and token (recurrent layers, attention, dense layer), plus those of attention scores \
and contexts, times three for the forward and backward pass. Padding and element-wise operations \
do not count. 100% is the speed of one large matrix product (2048 × 2048) in the same data type. \
For single sentences, the bound is the time to read each weight once per step that uses it, at \
the bandwidth of a matrix-vector product with a matrix of the size of the decoder's weights."""


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def display_name(contender: str) -> str:
    """Return the name of a contender in a table."""
    return f"**{contender}**" if contender == OURS else contender


def _first_of_ours(group: Iterable[Series]) -> Series | None:
    return next((series for series in group if series.contender == OURS and series.records), None)


def _failed_row(series: Series, num_columns: int) -> list[str]:
    return [display_name(series.contender), "failed", *[""] * (num_columns - 2)]


def _format_ratio(ratio: float | None) -> str:
    return f"{ratio:.2f}" if ratio else "–"


def chapter_section(document: dict[str, Any]) -> str:
    """Return the section on the chapter job."""
    records, counts = document["records"], document["meta"]["chapter"]
    machine = MachineSpeed(records, "chapter")
    group = group_series(records, "chapter", "chapter")
    ours = _first_of_ours(group)
    header = ["contender", "whole job, s", "tokens/s from epoch 11 on", "speedup of this package",
              "of the roofline, %", "peak memory, MB", "final loss, nats/token"]  # fmt: skip
    rows = []
    for series in group:
        if not series.records:
            rows.append(_failed_row(series, len(header)))
            continue
        fraction = "–"
        if machine:
            fraction = series.spread(lambda r: roofline_fraction(r, counts, machine)).format(1, 100)
        rows.append([
            display_name(series.contender),
            series.spread(job_seconds).format(1),
            series.spread(tokens_per_second).format(),
            _format_ratio(compare(ours, series, tokens_per_second)),
            fraction,
            series.spread(peak_memory).format(0, 1e-6),
            series.spread(lambda r: r["result"]["loss"]).format(3),
        ])  # fmt: skip
    text = table(header, rows)
    translation = [s for s in group_series(records, "chapter", "translate") if s.records]
    if translation:
        text += "\nTranslation of single sentences with the trained model:\n\n"
        text += table(
            ["contender", "ms/sentence", "tokens/s"],
            [
                [
                    f"{display_name(series.contender)} {series.label}".strip(),
                    series.spread(latency_ms).format(2),
                    series.spread(
                        lambda r: r["result"]["single"]["tokens"] / r["result"]["single"]["seconds"]
                    ).format(),
                ]
                for series in translation
            ],
        )
    return text


def train_section(document: dict[str, Any]) -> str:
    """Return the section on training the large model, a table per attention and data type."""
    records, counts = document["records"], document["meta"]["train"]
    machine = MachineSpeed(records, "train")
    training = group_series(records, "train", "train")
    header = ["contender", "target tokens/s", "speedup of this package", "of the roofline, %",
              "peak memory, GB", "of that, imports, GB", "start-up and warm-up, s"]  # fmt: skip
    text = ""
    for label in dict.fromkeys(series.label for series in training):
        group = [series for series in training if series.label == label]
        ours = _first_of_ours(group)
        rows = []
        for series in group:
            if not series.records:
                rows.append(_failed_row(series, len(header)))
                continue
            fraction = "–"
            if machine:
                spread = series.spread(lambda r: roofline_fraction(r, counts, machine))
                fraction = spread.format(0, 100)
            rows.append([
                display_name(series.contender),
                series.spread(tokens_per_second).format(),
                _format_ratio(compare(ours, series, tokens_per_second)),
                fraction,
                series.spread(peak_memory).format(2, 1e-9),
                series.spread(imported_memory).format(2, 1e-9),
                series.spread(lambda r: r["result"]["start_up"]).format(1),
            ])  # fmt: skip
        attention, dtype = label.split()
        title = {"none": "No attention", "luong": "Luong attention"}[attention]
        text += f"\n### {title}, {dtype}\n\n{table(header, rows)}"
    return text.lstrip("\n")


def translate_section(document: dict[str, Any]) -> str:
    """Return the section on translating with the large model after one epoch."""
    records, counts = document["records"], document["meta"]["train"]
    machine = MachineSpeed(records, "translate")
    training = {(s.contender, s.label): s for s in group_series(records, "translate", "train")}
    header = ["contender", "model", "epoch, s", "BLEU none / 13a", "whole file, sentences/s",
              "of the roofline, %", "batches of 32 in file order, sentences/s",
              "single sentence, ms", "÷ reading the weights", "peak memory, GB"]  # fmt: skip
    rows = []
    for series in group_series(records, "translate", "translate"):
        trained = training.get((series.contender, series.label))
        name = display_name(series.contender)
        if not series.records:
            rows.append([name, series.label, "failed", *[""] * (len(header) - 3)])
            continue
        if series.through == "session":
            name += ", export"
        bleu = series.first_record["result"]["bleu"]
        epoch = "–"
        if trained and trained.records:
            epoch = trained.spread(epoch_seconds).format()
        reading_ratio, fraction = "–", "–"
        if machine:
            reading_ratio = series.spread(
                lambda r: weight_reading_ratio(r, counts, machine)
            ).format(2)
            fraction = series.spread(
                lambda r: translation_roofline_fraction(r, counts, machine)
            ).format(0, 100)
        rows.append([
            name,
            series.label,
            epoch,
            f"{bleu['none']:.1f} / {bleu['13a']:.1f}",
            series.spread(sentences_per_second("file")).format(),
            fraction,
            series.spread(sentences_per_second("batches")).format(),
            series.spread(latency_ms).format(1),
            reading_ratio,
            series.spread(peak_memory).format(2, 1e-9),
        ])  # fmt: skip
    return "Each model was trained once.\n\n" + table(header, rows)


def growth_section(document: dict[str, Any]) -> str:
    """Return the section on the scaling of the training cost."""
    machine = MachineSpeed(document["records"], "growth")
    text = "![cost of training against each size](growth.png)\n"
    for name, points in growth_points(document).items():
        title, _, _ = GROWTH[name]
        unit, factor, digits = (
            ("s per epoch", 1.0, 2) if name == "pairs" else ("ms per step", 1e3, 1)
        )
        rows = []
        for i, point in enumerate(points):
            growth = "–"
            if i:
                previous = points[i - 1]
                growth = (
                    f"{point.seconds.median / previous.seconds.median:.2f} / "
                    f"{point.flops / previous.flops:.2f}"
                )
            fraction = "–"
            if machine:
                speed = machine.flops_per_second("float32").median
                fraction = f"{100 * point.flops / point.seconds.median / speed:.0f}"
            rows.append([
                f"{point.size:,}",
                point.seconds.format(digits, factor),
                growth,
                f"{point.tokens_per_second:,.0f}",
                fraction,
                f"{point.peak_memory / 1e9:.2f}",
                f"{point.preparation:.1f}",
            ])  # fmt: skip
        text += f"\n### {title[0].upper()}{title[1:]}\n\n"
        text += table(
            [title, unit, "time / work, ratio to the row above", "target tokens/s",
             "of the roofline, %", "peak memory, GB", "preparation, s"], rows,
        ) + "\n"  # fmt: skip
        if len(points) > 2:
            # Against the work, which is not proportional to every size.
            fixed, _ = fit_linear([(point.flops, point.seconds.median) for point in points])
            text += (
                f"Best linear fit of the time against the work: a fixed cost of "
                f"{fixed * factor:.{digits}f} {unit}, "
                f"{100 * fixed / points[0].seconds.median:.0f}% of the first row.\n"
            )
        text += f"{EXPLANATIONS[name]}\n"
    return text


def failures(records: Iterable[Record]) -> list[str]:
    """Return a line for each failed measurement, with the reason."""
    lines = []
    for record in records:
        if record["error"]:
            name = f"{record['part']}: {record['contender']} {record['label']}".strip()
            lines.append(f"- {name}: {record['error']}")
    return list(dict.fromkeys(lines))


def format_rounds(records: Iterable[Record]) -> str:
    """Return the number of rounds, by part if it differs."""
    rounds: dict[str, int] = {}
    for record in records:
        rounds[record["part"]] = max(record["round"], rounds.get(record["part"], 0))
    texts = {part: f"{count} round{'s' if count > 1 else ''}" for part, count in rounds.items()}
    if len(set(texts.values())) < 2:
        return next(iter(texts.values()), "no rounds")
    return ", ".join(f"{text} (`{part}`)" for part, text in texts.items())


def format_report(document: dict[str, Any]) -> str:
    """Return the report of all results."""
    meta, records = document["meta"], document["records"]
    machine = meta["machine"]
    memory = f", {machine['memory'] / 1e9:.0f} GB" if machine["memory"] else ""
    sections = [
        "# Results\n\n",
        f"Written by `make {meta['command']}` on {meta['date']} from `results.json`; README.md "
        "describes how to run it.\n\n",
        f"{machine['processor']}, {machine['cores']} cores{memory}, {machine['system']}; "
        f"{meta['threads']} threads. Medians of {format_rounds(records)}, interleaved between "
        "contenders, with the range in parentheses. Ratios are medians of the ratios within each "
        "round.\n\n",
    ]
    successful = [record for record in records if record["result"]]
    names = list(dict.fromkeys(record["contender"] for record in successful))
    rows = []
    for name in names:
        versions: dict[str, str] = next(
            record["result"]["versions"] for record in successful if record["contender"] == name
        )
        packages = ", ".join(f"{package} {version}" for package, version in versions.items())
        rows.append([display_name(name), CONTENDERS[name].description, packages])
    sections += [table(["contender", "description", "versions"], rows), "\n"]
    failed = failures(records)
    if failed:
        sections += ["Failed:\n\n", *(f"{line}\n" for line in failed), "\n"]
    sections += ["## Method\n\n", METHOD, "\n\n", ROOFLINE, "\n\n"]
    train = meta["train"]
    sections.append(
        f"Task: {train['pairs']:,} pairs of `{meta['task']}`, {train['source_tokens']:,} source "
        f"and {train['target_tokens']:,} target tokens, vocabularies of {train['vocab_size']:,} "
        "with special tokens; LSTM encoder and decoder with 2 layers, 512 units, embedding size "
        f"256; batch size 64. Chapter job: {meta['chapter']['pairs']:,} pairs, 32 units, embedding "
        "size 32.\n\n"
    )
    rows = [
        [
            part,
            speed.flops_per_second("float32").format(0, 1e-9),
            speed.flops_per_second("bfloat16").format(0, 1e-9),
            speed.bytes_per_second().format(1, 1e-9),
            speed.bytes_per_second("bytes_per_second_summed").format(1, 1e-9),
        ]
        for part in dict.fromkeys(record["part"] for record in records)
        if (speed := MachineSpeed(records, part))
    ]
    header = ["during", "float32, GFLOP/s", "bfloat16, GFLOP/s", "read by a product, GB/s",
              "read by a sum, GB/s"]  # fmt: skip
    sections += [table(header, rows), "\n"]
    if meta["command"] == "bench":
        marks = {True: "yes", False: "**no**", None: "–"}
        rows = [[t.metric, t.bound, t.result, marks[t.is_met]] for t in evaluate_targets(document)]
        sections += ["## Targets and results\n\n", table(["", "target", "result", "met"], rows)]
        sections.append("\n")
    for part, title, section in (
        ("chapter", "Chapter job", chapter_section),
        ("train", "Training, 2 × 512 units", train_section),
        ("translate", "Greedy translation after one epoch", translate_section),
        ("growth", "Scaling of the training cost", growth_section),
    ):
        if any(record["part"] == part for record in records):
            sections += [f"## {title}\n\n", section(document), "\n"]
    return "".join(sections).rstrip("\n") + "\n"
