"""HTML report of a run: history, scores, sample translations, attention and configuration."""

import csv
import operator
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2

from keras_s2s.config import TrainingConfig
from keras_s2s.evaluation.attention_map import AttentionMap
from keras_s2s.evaluation.error_analysis import Confusions, TokenError
from keras_s2s.evaluation.history import curve, panels
from keras_s2s.evaluation.palette import NUM_SHADES, palette_css
from keras_s2s.evaluation.plots import plot_panel
from keras_s2s.evaluation.rendering import inline_svg
from keras_s2s.run_directory import RunDirectory, run_state
from keras_s2s.utils.console import pluralize
from keras_s2s.utils.files import atomic_write
from keras_s2s.utils.scores import SCORES, scores_in

# Columns of history.csv, as the report names them.
METRIC_LABELS = {
    "loss": "training loss (nats per token)",
    "accuracy": "training accuracy",
    "perplexity": "training perplexity",
    "val_loss": "validation loss (nats per token)",
    "val_accuracy": "validation accuracy",
    "val_perplexity": "validation perplexity",
    **{score.column: f"validation {score.title}" for score in SCORES.values()},
    "seconds": "duration (s)",
    "tokens_per_second": "throughput (target tokens/s)",
}

# Versions of a sample translation that are shown.
MAX_SPANS = 8

Rows = dict[str, str]


class ReportFigure(NamedTuple):
    """A figure of the report.

    Attributes:
        caption: text above it.
        svg: trusted markup, from `inline_svg`.
    """

    caption: str
    svg: str


class FrequentError(NamedTuple):
    """An error of the report.

    Attributes:
        error: the tokens, and how often they occur.
        share: of the occurrences of the reference token.
    """

    error: TokenError
    share: float


class ReportData(NamedTuple):
    """Results of a trained model that the run directory does not hold.

    Attributes:
        sample: description of the examples that were scored.
        scores: values by label.
        translations: source, translation and reference of some examples.
        attention_maps: of some examples.
        figures: plots.
        worst: as `translations`, the worst first.
        frequent: the most frequent errors.
        confusions: counts of errors by token; None where tokens are not symbols of a word.
    """

    sample: str = ""
    scores: Mapping[str, str] = {}
    translations: Sequence[tuple[str, str, str]] = ()
    attention_maps: Sequence[AttentionMap] = ()
    figures: Sequence[ReportFigure] = ()
    worst: Sequence[tuple[str, str, str]] = ()
    frequent: Sequence[FrequentError] = ()
    confusions: Confusions | None = None


def write_report(
    run: RunDirectory, path: Path | None = None, data: ReportData | None = None
) -> Path:
    """Write the report: one HTML file without scripts or references to other files.

    Args:
        run: a run directory; sections without content are omitted.
        path: of the file; default `report.html` of the run.
        data: results to show besides those in the run directory.

    Returns:
        Path of the file.

    Raises:
        InputError: the run does not exist, its files are damaged, or the report cannot be written.
    """
    record, rows = run.read_record(), run.read_history()
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("keras_s2s.evaluation"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    html = templates.get_template("report.html").render(
        palette=palette_css(),
        num_shades=NUM_SHADES,
        title=run.path.absolute().name,
        summary=_summary(record, rows),
        history=[
            (inline_svg(plot_panel(panel), panel.title), panel.minor) for panel in panels(rows)
        ],
        epochs=_selected_epochs(rows),
        data=data or ReportData(),
        sample_histories=_sample_histories(run.logs / "samples.tsv"),
        note=_case_note(record),
        settings=_settings(record),
        environment=_environment(record),
    )
    path = run.report if path is None else path
    with atomic_write(path) as temporary:
        temporary.write_text(html, encoding="utf-8")
    return path


def _summary(record: Mapping[str, Any], rows: Sequence[Mapping[str, str]]) -> list[str]:
    corpus, sizes = record.get("corpus", {}), record.get("sizes", {})
    of_epochs = record.get("recipe", {}).get("epochs", 0)
    state = run_state(record, len(rows), of_epochs)
    facts = [f"{state}, {len(rows)} of {pluralize(of_epochs, 'epoch')}"]
    if "train_pairs" in sizes:
        reverse = ", reversed" if corpus.get("reverse") else ""
        facts.append(f"{sizes['train_pairs']:,} pairs of {corpus.get('corpus')}{reverse}")
    if "train_unknown_target" in sizes:
        shares = [f"{sizes[f'train_unknown_{side}']:.1%}" for side in ("source", "target")]
        facts.append(f"unknown tokens {' of the source, '.join(shares)} of the target")
    if "parameters" in sizes:
        facts.append(f"{sizes['parameters']:,} parameters")
    times = [_format_time(str(record[name])) for name in ("started", "finished") if name in record]
    return [line for line in (" · ".join(facts), " to ".join(times)) if line]


def _format_time(time: str) -> str:
    """Format a UTC time of `run.json`.

    >>> _format_time("2026-11-26T15:10:00+00:00")
    '2026-11-26 15:10 UTC'
    """
    return re.sub(r"^([\d-]+)T(\d\d:\d\d):\d\d\+00:00$", r"\1 \2 UTC", time)


def _selected_epochs(rows: Sequence[Mapping[str, str]]) -> dict[str, Rows]:
    """Return metrics of the last epoch and of the best ones, by label, each epoch once."""
    if not rows:
        return {}
    labels = {rows[-1]["epoch"]: ["last"]}
    criteria = [("val_loss", "lowest validation loss", min)]
    # The first score is the one to show first.
    for score in scores_in(rows[-1])[:1]:
        extreme = "highest" if score.higher_is_better else "lowest"
        best_of = max if score.higher_is_better else min
        criteria.append((score.column, f"{extreme} validation {score.title}", best_of))
    for name, label, best in criteria:
        if points := curve(rows, name):
            epoch, _ = best(points, key=operator.itemgetter(1))
            labels.setdefault(str(epoch), []).append(label)
    # Quality first, as METRIC_LABELS has it; then columns that it does not name.
    names = [*METRIC_LABELS, *(name for name in rows[0] if name not in METRIC_LABELS)]
    by_epoch = {row["epoch"]: row for row in rows}
    return {
        ", ".join(texts): {"epoch": epoch}
        | {
            METRIC_LABELS.get(name, name): _format_metric(by_epoch[epoch][name] or "")
            for name in names
            if name != "epoch" and name in by_epoch[epoch]
        }
        for epoch, texts in labels.items()
    }


def _case_note(record: Mapping[str, Any]) -> str:
    """Return why translations and references differ in case, where they do."""
    recipe = record.get("recipe", {})
    kind = recipe.get("target_tokenizer") or recipe.get("tokenizer")
    # Words are lower-case whatever the setting is, characters and phones never changed.
    if not (kind == "word" or (kind == "sentencepiece" and recipe.get("lowercase"))):
        return ""
    return (
        "The model writes lower-case text, as it was trained to; the references are shown as they "
        "are in the corpus."
    )


def _format_metric(text: str) -> str:
    """Format a number of `history.csv` with four significant digits."""
    try:
        value = float(text)
    except ValueError:
        return text
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def _sample_histories(samples: Path) -> list[Rows]:
    """Return how the translation of each sample changed during training."""
    try:
        with open(samples, newline="", encoding="utf-8") as file:
            rows = [row for row in csv.reader(file, delimiter="\t") if len(row) == 4]
    except FileNotFoundError:
        return []
    histories: dict[tuple[str, str], dict[int, str]] = {}
    for epoch, source, translation, reference in rows:
        # A resumed run repeats epochs; the last one counts.
        histories.setdefault((source, reference), {})[int(epoch)] = translation
    return [
        {
            "source": source,
            **{
                f"epoch {first}" if first == last else f"epochs {first}–{last}": text
                for first, last, text in subsample(merge_epochs(by_epoch), MAX_SPANS)
            },
            "reference": reference,
        }
        for (source, reference), by_epoch in histories.items()
    ]


def merge_epochs(by_epoch: Mapping[int, str]) -> list[tuple[int, int, str]]:
    """Merge consecutive epochs with the same text into spans (first, last, text).

    Example:

    >>> merge_epochs({1: "je", 2: "va", 3: "va"})
    [(1, 1, 'je'), (2, 3, 'va')]
    """
    spans: list[tuple[int, int, str]] = []
    for epoch, text in sorted(by_epoch.items()):
        first = spans.pop()[0] if spans and spans[-1][2] == text else epoch
        spans.append((first, epoch, text))
    return spans


def subsample(items: Sequence[Any], max_items: int) -> list[Any]:
    """Return at most `max_items` items, evenly spaced, with the first and the last.

    Example:

    >>> subsample(range(10), 4)
    [0, 3, 6, 9]
    """
    if len(items) <= max_items:
        return list(items)
    return [items[round(i * (len(items) - 1) / (max_items - 1))] for i in range(max_items)]


def _settings(record: Mapping[str, Any]) -> list[tuple[str, str, bool]]:
    """Return name, value, and whether it differs from the preset `chapter`."""
    defaults = TrainingConfig()
    return [
        (
            name,
            _format_value(value),
            _format_value(getattr(defaults, name, value)) != _format_value(value),
        )
        for name, value in record.get("recipe", {}).items()
    ]


def _environment(record: Mapping[str, Any]) -> Rows:
    rows = {"seed": _format_value(record.get("seed"))}
    for section in ("corpus", "sizes", "versions", "git"):
        for name, value in (record.get(section) or {}).items():
            rows[f"{section}: {name}"] = _format_value(value)
    return rows


def _format_value(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return " ".join(map(str, value)) or "–"
    return f"{value:,}" if isinstance(value, int) else str(value)
