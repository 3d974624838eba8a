"""The results of a run, for comparisons."""

import csv

import numpy as np
import pytest

import keras_s2s as s2s


def history_of(run_dir):
    """Return the rows of the history without throughput and duration."""
    with open(run_dir / "history.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        del row["seconds"], row["tokens_per_second"]
    return [{name: float(value) for name, value in row.items()} for row in rows]


def weights_of(run_dir):
    return s2s.Translator.load(run_dir / "model.keras").model.get_weights()


def assert_equal_runs(run_dir, expected, rtol=0.0, atol=0.0):
    """Check histories to a relative tolerance and weights to an absolute one; 0 is bitwise."""
    if rtol:
        for row, expected_row in zip(history_of(run_dir), history_of(expected), strict=True):
            assert row == pytest.approx(expected_row, rel=rtol)
    else:
        assert history_of(run_dir) == history_of(expected)
    for weight, expected_weight in zip(weights_of(run_dir), weights_of(expected), strict=True):
        np.testing.assert_allclose(weight, expected_weight, rtol=1e-7 if atol else 0.0, atol=atol)
