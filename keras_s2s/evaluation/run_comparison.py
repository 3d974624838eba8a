"""Comparison of training runs: progress, results, and differing settings."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keras_s2s.run_directory import RunDirectory, run_state
from keras_s2s.utils.errors import InputError
from keras_s2s.utils.scores import SCORES

# Metrics of the last epoch that are shown where a run has them.
METRICS = (
    *("loss", "val_loss"),
    *(score.column for score in SCORES.values()),
    "tokens_per_second",
)


def find_runs(folder: Path) -> list[RunDirectory]:
    """Return all runs in a folder, recursively, sorted by name.

    Raises:
        InputError: the folder does not exist or contains no run.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give one that contains training runs")
    record_name = RunDirectory(folder).record.name
    runs = [RunDirectory(record.parent) for record in sorted(folder.rglob(record_name))]
    if not runs:
        raise InputError(
            f"{folder}: holds no run (no {record_name} in it or below); give another folder"
        )
    return runs


def describe_runs(runs: Sequence[RunDirectory], folder: Path) -> list[dict[str, Any]]:
    """Summarize runs as objects that JSON can represent.

    Args:
        runs: at least one.
        folder: names are relative to it.

    Returns:
        For each run:

        - `run`: its name.
        - `state`: `finished`, `stopped early`, `not finished`, or why it cannot be read; then
          only `settings` follows, empty.
        - `epochs` (completed), `of_epochs` (requested), `pairs` (for training), `parameters`.
        - the available `METRICS` of the last epoch.
        - `hours` (sum over epochs), `started`, `corpus`, `seed`.
        - `git`: revision of the folder it was started in, with `+` where that had changes.
        - `settings`: the configuration fields that differ between the runs.
    """
    summaries = [_describe(run, folder) for run in runs]
    settings = [summary.get("settings", {}) for summary in summaries]
    names = dict.fromkeys(name for fields in settings for name in fields)
    differing = [
        name
        for name in names
        if any(fields.get(name) != settings[0].get(name) for fields in settings)
    ]
    for summary, fields in zip(summaries, settings, strict=True):
        summary["settings"] = {name: fields[name] for name in differing if name in fields}
    return summaries


def _describe(run: RunDirectory, folder: Path) -> dict[str, Any]:
    name = str(run.path.relative_to(folder))
    summary: dict[str, Any] = {"run": folder.absolute().name if name == "." else name}
    try:
        record, rows = run.read_record(), run.read_history()
        settings = dict(record["recipe"])
        last = {key: float(value) for key, value in rows[-1].items() if value} if rows else {}
        hours = sum(float(row["seconds"]) for row in rows) / 3600
    except (InputError, KeyError, TypeError, ValueError) as error:
        return {**summary, "state": f"cannot be read ({error})"}
    git = record.get("git") or {}
    return summary | {
        "state": run_state(record, len(rows), settings.get("epochs", 0)),
        "epochs": len(rows),
        "of_epochs": settings.pop("epochs", None),
        "pairs": record.get("sizes", {}).get("train_pairs"),
        "parameters": record.get("sizes", {}).get("parameters"),
        **{metric: last[metric] for metric in METRICS if metric in last},
        "hours": hours,
        "started": record.get("started"),
        "corpus": record.get("corpus", {}).get("corpus"),
        "seed": record.get("seed"),
        "git": f"{git['revision']}{'+' if git['changed'] else ''}" if git else None,
        "settings": settings,
    }


def format_runs(summaries: Sequence[dict[str, Any]], width: int | None = None) -> list[str]:
    """Return the lines of a text table with a row for each run.

    Args:
        summaries: result of `describe_runs`.
        width: of the terminal. A wider table is transposed where that makes it narrower.
    """
    settings = list(dict.fromkeys(name for summary in summaries for name in summary["settings"]))
    metrics = [name for name in METRICS if any(name in summary for summary in summaries)]
    rows = [["run", "state", "epochs", *metrics, "hours", *settings]]
    rows += [
        [
            summary["run"],
            summary["state"],
            f"{summary['epochs']}/{summary['of_epochs']}" if "epochs" in summary else "",
            *(f"{summary[name]:.5g}" if name in summary else "" for name in metrics),
            f"{summary['hours']:.2f}" if "hours" in summary else "",
            *(str(summary["settings"].get(name, "")) for name in settings),
        ]
        for summary in summaries
    ]
    table = _render(rows)
    if width is not None and _width(table) > width:
        return min(table, _render(list(zip(*rows, strict=True))), key=_width)
    return table


def _render(rows: Sequence[Sequence[str]]) -> list[str]:
    # Imported only here: the command line starts without rich.
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    for row in rows:
        table.add_row(*row)
    output = io.StringIO()
    # The width is unlimited in effect: piped output is neither wrapped nor truncated.
    Console(file=output, width=10**5, markup=False, emoji=False, highlight=False).print(table)
    return [line.rstrip() for line in output.getvalue().splitlines()]


def _width(lines: Sequence[str]) -> int:
    from rich.cells import cell_len

    return max(map(cell_len, lines))
