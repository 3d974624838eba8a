"""What a run has left, to be compared with another one."""

import csv

import keras_s2s as s2s


def figures_of(run_dir):
    """The rows of its history, without what depends on the clock."""
    with open(run_dir / "history.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        del row["seconds"], row["tokens_per_second"]
    return [{name: float(value) for name, value in row.items()} for row in rows]


def weights_of(run_dir):
    return s2s.Translator.load(run_dir / "model.keras").model.get_weights()
