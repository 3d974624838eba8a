"""Training runs side by side: how far each is, what it reached, and in what they differ."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keras_s2s.run_directory import RunDirectory, run_state
from keras_s2s.utils.errors import InputError

# Figures of the last epoch, where a run has them.
FIGURES = ("loss", "val_loss", "val_bleu", "val_chrf", "tokens_per_second")


def find_runs(folder: Path) -> list[RunDirectory]:
    """The runs in a folder and in all folders below it, by name.

    Raises:
        InputError: there is no such folder, or no run in it.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give one with training runs in it")
    runs = [
        RunDirectory(record.parent)
        for record in sorted(folder.rglob(RunDirectory(folder).record.name))
    ]
    if not runs:
        raise InputError(
            f"{folder}: holds no run (no run.json in it or below); give another folder"
        )
    return runs


def describe_runs(runs: Sequence[RunDirectory], folder: Path) -> list[dict[str, Any]]:
    """What is to be told of each run.

    Args:
        runs: at least one.
        folder: names are relative to it.

    Returns:
        For each run `run` (its name) and `state` (`finished`, `stopped early`, `not finished`, or
        what is wrong with it), and as far as there are any: `epochs` (done), `of_epochs`, `pairs`
        (trained on), `parameters`, the figures of the last epoch (see `FIGURES`), `hours` (of all
        epochs together), `started`, `corpus`, `seed`, `git` (the revision of the folder it was
        started in, with `+` where that had changes), and `settings`: the fields of its
        configuration that are not the same in all of the runs.
    """
    described = [_describe(run, folder) for run in runs]
    recipes = [one.get("settings", {}) for one in described]
    names = dict.fromkeys(name for recipe in recipes for name in recipe)
    differing = [
        name
        for name in names
        if any(recipe.get(name) != recipes[0].get(name) for recipe in recipes)
    ]
    for one, recipe in zip(described, recipes, strict=True):
        one["settings"] = {name: recipe[name] for name in differing if name in recipe}
    return described


def _describe(run: RunDirectory, folder: Path) -> dict[str, Any]:
    name = str(run.path.relative_to(folder))
    described: dict[str, Any] = {"run": folder.absolute().name if name == "." else name}
    try:
        record, rows = run.read_record(), run.read_history()
        recipe = dict(record["recipe"])
        last = {key: float(value) for key, value in rows[-1].items() if value} if rows else {}
        hours = sum(float(row["seconds"]) for row in rows) / 3600
    except (InputError, KeyError, TypeError, ValueError) as error:
        return {**described, "state": f"cannot be read ({error})"}
    git = record.get("git") or {}
    described |= {
        "state": run_state(record, len(rows), recipe.get("epochs", 0)),
        "epochs": len(rows),
        "of_epochs": recipe.pop("epochs", None),
        "pairs": record.get("sizes", {}).get("train_pairs"),
        "parameters": record.get("sizes", {}).get("parameters"),
        **{figure: last[figure] for figure in FIGURES if figure in last},
        "hours": hours,
        "started": record.get("started"),
        "corpus": record.get("corpus", {}).get("corpus"),
        "seed": record.get("seed"),
        "git": f"{git['revision']}{'+' if git['changed'] else ''}" if git else None,
        "settings": recipe,
    }
    return described


def table_of_runs(described: Sequence[dict[str, Any]], width: int | None = None) -> list[str]:
    """The lines of a table: a row for each run, a column for what at least one of them has.

    Args:
        described: see `describe_runs`.
        width: of the terminal. Where the table is wider, runs are columns if that is narrower.
    """
    settings = list(dict.fromkeys(name for one in described for name in one["settings"]))
    figures = [name for name in FIGURES if any(name in one for one in described)]
    heads = ["run", "state", "epochs", *figures, "hours", *settings]
    rows = [heads]
    for one in described:
        epochs = f"{one['epochs']}/{one['of_epochs']}" if "epochs" in one else ""
        rows.append(
            [
                one["run"],
                one["state"],
                epochs,
                *(f"{one[name]:.5g}" if name in one else "" for name in figures),
                f"{one['hours']:.2f}" if "hours" in one else "",
                *(str(one["settings"].get(name, "")) for name in settings),
            ]
        )
    lines = _aligned(rows)
    if width is not None and max(map(len, lines)) > width:
        lines = min(lines, _aligned(list(zip(*rows, strict=True))), key=lambda one: len(one[0]))
    return lines


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
