"""The page that a run leaves: its curves, configuration, scores and sample translations.

Written without Matplotlib and without TensorFlow, so that it costs a training next to nothing.
"""

import base64
import csv
import html
import importlib.resources
import operator
import re
import string
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from keras_s2s.config import TrainingConfig
from keras_s2s.evaluation.attention_map import AttentionMap
from keras_s2s.evaluation.history import curve, panels
from keras_s2s.evaluation.svg_charts import line_chart
from keras_s2s.run_directory import RunDirectory, run_state
from keras_s2s.utils.console import pluralize
from keras_s2s.utils.files import atomic_write

# Lines that tell how the translation of a sentence changed, at most.
MOST_CHANGES = 8


class Picture(NamedTuple):
    """A picture for the page.

    Attributes:
        caption: what it shows.
        svg: the file.
    """

    caption: str
    svg: bytes


class ReportData(NamedTuple):
    """What was found out about a finished model.

    Attributes:
        of_what: which sentences it was tried on, for a person.
        scores: rows of a table: what, and the value.
        translations: source, translation and reference of some sentences.
        explained: where the model looked, for some sentences.
    """

    of_what: str = ""
    scores: Mapping[str, str] = {}
    translations: Sequence[tuple[str, str, str]] = ()
    explained: Sequence[AttentionMap] = ()


def write_report(
    run: RunDirectory,
    path: Path | None = None,
    findings: ReportData | None = None,
    pictures: Iterable[Picture] = (),
) -> Path:
    """Writes the page, which needs no other file, no script and no network.

    Args:
        run: a run directory; what it has not is left out.
        path: the file; `report.html` of the run when left out.
        findings: what was found out about the model.
        pictures: to show besides.

    Returns:
        The file.

    Raises:
        InputError: there is no run, its files are damaged, or the page cannot be written.
    """
    record, rows = run.read_record(), run.read_history()
    found = findings or ReportData()
    samples = run.logs / "samples.tsv"
    body = [
        _heading(record, rows),
        _section("Training", _charts(rows) + _epochs_of_note(rows)),
        _section("Scores", _scores(found)),
        _section("Pictures", _pictures(pictures)),
        _section("Translations over the epochs", _changes(samples)),
        _section("Translations", _translations(found)),
        _section("Where it looked", _attention(found)),
        _section("Configuration", _configuration(record)),
    ]
    template = importlib.resources.files("keras_s2s.evaluation").joinpath("templates/report.html")
    page = string.Template(template.read_text(encoding="utf-8")).substitute(
        title=html.escape(run.path.absolute().name), body="\n".join(filter(None, body))
    )
    path = run.report if path is None else path
    with atomic_write(path) as aside:
        aside.write_text(page, encoding="utf-8")
    return path


def _section(title: str, content: str) -> str:
    """Nothing where there is nothing to show."""
    return f"<section>\n<h2>{title}</h2>\n{content}\n</section>" if content else ""


def _heading(record: Mapping[str, Any], rows: Sequence[Mapping[str, str]]) -> str:
    corpus, sizes = record.get("corpus", {}), record.get("sizes", {})
    of_epochs = record.get("recipe", {}).get("epochs", 0)
    state = run_state(record, len(rows), of_epochs)
    parts = [f"{state}, {len(rows)} of {pluralize(of_epochs, 'epoch')}"]
    if "train_pairs" in sizes:
        reverse = ", reversed" if corpus.get("reverse") else ""
        parts.append(f"{sizes['train_pairs']:,} pairs of {corpus.get('corpus')}{reverse}")
    if "parameters" in sizes:
        parts.append(f"{sizes['parameters']:,} parameters")
    times = [_hour(str(record[name])) for name in ("started", "finished") if name in record]
    lines = " · ".join(parts), " to ".join(times)
    return "\n".join(f'<p class="pale">{html.escape(line)}</p>' for line in lines)


def _hour(time: str) -> str:
    """A time of `run.json` as a person wants it.

    >>> _hour("2026-11-26T15:10:00+00:00")
    '2026-11-26 15:10 UTC'
    """
    return re.sub(r"^([\d-]+)T(\d\d:\d\d):\d\d\+00:00$", r"\1 \2 UTC", time)


def _charts(rows: Sequence[Mapping[str, str]]) -> str:
    charts = "\n".join(map(line_chart, panels(rows)))
    return f'<div class="charts">\n{charts}\n</div>' if charts else ""


def _epochs_of_note(rows: Sequence[Mapping[str, str]]) -> str:
    """The last epoch beside the best ones."""
    if not rows:
        return ""
    chosen = {"last": rows[-1]}
    for name, label, best in (
        ("val_loss", "lowest validation loss", min),
        ("val_bleu", "highest validation BLEU", max),
    ):
        if points := curve(rows, name):
            epoch, _ = best(points, key=operator.itemgetter(1))
            chosen[label] = next(row for row in rows if row["epoch"] == str(epoch))
    heads = "".join(
        f"<th>epoch {html.escape(row['epoch'])}<br>{label}</th>" for label, row in chosen.items()
    )
    lines = [
        f"<tr><th>{html.escape(name)}</th>"
        + "".join(f"<td>{html.escape(_shortened(row[name] or ''))}</td>" for row in chosen.values())
        + "</tr>"
        for name in rows[-1]
        if name != "epoch"
    ]
    return (
        f'\n<div class="wide"><table class="numbers"><thead><tr><th></th>{heads}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _shortened(figure: str) -> str:
    """A number of `history.csv` as a person wants it."""
    try:
        return f"{float(figure):,.0f}" if float(figure) >= 1000 else f"{float(figure):.4g}"
    except ValueError:
        return figure


def _scores(found: ReportData) -> str:
    if not found.scores:
        return ""
    return f'<p class="pale">{html.escape(found.of_what)}</p>\n{_table(found.scores)}'


def _pictures(pictures: Iterable[Picture]) -> str:
    figures = "".join(map(_figure, pictures))
    return f'<div class="charts">\n{figures}</div>' if figures else ""


def _figure(picture: Picture) -> str:
    caption = html.escape(picture.caption)
    data = base64.b64encode(picture.svg).decode()
    return (
        f'<figure><figcaption class="pale">{caption}</figcaption>'
        f'<img alt="{caption}" src="data:image/svg+xml;base64,{data}"></figure>\n'
    )


def _changes(samples: Path) -> str:
    """How the translations of some sentences changed in training."""
    try:
        with open(samples, newline="", encoding="utf-8") as file:
            rows = [row for row in csv.reader(file, delimiter="\t") if len(row) == 4]
    except FileNotFoundError:
        return ""
    found: dict[tuple[str, str], dict[int, str]] = {}
    for epoch, source, translation, reference in rows:
        # A resumed run has an epoch twice that it went through again.
        found.setdefault((source, reference), {})[int(epoch)] = translation
    blocks = []
    for (source, reference), of_epoch in found.items():
        spans = subsample(spans_of(of_epoch), MOST_CHANGES)
        lines = {
            f"epoch {first}" if first == last else f"epochs {first}–{last}": text
            for first, last, text in spans
        }
        blocks.append(_table({"source": source, **lines, "reference": reference}))
    return f'<div class="samples">{"".join(blocks)}</div>' if blocks else ""


def spans_of(of_epoch: Mapping[int, str]) -> list[tuple[int, int, str]]:
    """Epochs that gave the same text, put together.

    Example:

    >>> spans_of({1: "je", 2: "va", 3: "va"})
    [(1, 1, 'je'), (2, 3, 'va')]
    """
    spans: list[tuple[int, int, str]] = []
    for epoch, text in sorted(of_epoch.items()):
        if spans and spans[-1][2] == text:
            spans[-1] = (spans[-1][0], epoch, text)
        else:
            spans.append((epoch, epoch, text))
    return spans


def subsample(items: Sequence[Any], most: int) -> list[Any]:
    """At most so many of the items, the first and the last among them, evenly spaced.

    Example:

    >>> thinned(range(10), 4)
    [0, 3, 6, 9]
    """
    if len(items) <= most:
        return list(items)
    return [items[round(place * (len(items) - 1) / (most - 1))] for place in range(most)]


def _translations(found: ReportData) -> str:
    if not found.translations:
        return ""
    blocks = [
        _table({"source": source, "translation": translation, "reference": reference})
        for source, translation, reference in found.translations
    ]
    of_what = html.escape(found.of_what)
    return f'<p class="pale">{of_what}</p>\n<div class="samples">{"".join(blocks)}</div>'


def _attention(found: ReportData) -> str:
    """A table for each sentence: the browser has fonts for every script."""
    blocks = []
    for source, target, attention in found.explained:
        head = "".join(f"<th>{html.escape(token)}</th>" for token in source)
        lines = [
            f"<tr><th>{html.escape(token)}</th>"
            + "".join(f'<td style="--w:{weight:.2f}" title="{weight:.2f}"></td>' for weight in row)
            + "</tr>"
            for token, row in zip(target, attention, strict=True)
        ]
        blocks.append(
            f'<div class="wide"><table class="attention"><thead><tr><td></td>{head}</tr></thead>'
            f"<tbody>{''.join(lines)}</tbody></table></div>"
        )
    if not blocks:
        return ""
    explanation = (
        "A row is a token that it wrote, a column one that it read; the stronger the colour, the "
        "more attention."
    )
    tables = "\n".join(blocks)
    return f'<p class="pale">{explanation}</p>\n<div class="attentions">\n{tables}\n</div>'


def _configuration(record: Mapping[str, Any]) -> str:
    usual = TrainingConfig()
    changed = {
        name: getattr(usual, name, value) != value
        for name, value in record.get("recipe", {}).items()
    }
    rows = [
        f"<tr{' class=changed' if changed[name] else ''}><th>{html.escape(name)}</th>"
        f"<td>{html.escape(_said(value))}</td></tr>"
        for name, value in record.get("recipe", {}).items()
    ]
    others = {"seed": record.get("seed")}
    for part in ("corpus", "sizes", "versions", "git"):
        others |= {f"{part}: {name}": value for name, value in (record.get(part) or {}).items()}
    return (
        '<p class="pale">What is not as in the preset chapter is bold.</p>\n'
        f'<div class="settings"><table><tbody>{"".join(rows)}</tbody></table></div>\n'
        f'<h2>Data and versions</h2>\n<div class="settings">'
        f"{_table({name: _said(value) for name, value in others.items()})}</div>"
    )


def _said(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _table(rows: Mapping[str, str]) -> str:
    lines = "".join(
        f'<tr><th>{html.escape(name)}</th><td dir="auto">{html.escape(text)}</td></tr>'
        for name, text in rows.items()
    )
    return f"<table><tbody>{lines}</tbody></table>"
