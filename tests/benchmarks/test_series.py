"""Figures of several rounds."""

import pytest
from small_benchmarks import three_rounds

from benchmarks.plan import OURS
from benchmarks.series import ratio, series, spread, tokens_per_second


@pytest.fixture
def measured():
    return three_rounds()


def test_median_and_ends():
    found = spread([3.0, 1.0, 2.0])
    assert found == (2.0, 1.0, 3.0)
    assert found.shown(1) == "2.0 (1.0–3.0)"
    assert spread([0.25]).shown(0, 100) == "25"


def test_ratios_are_taken_within_a_round():
    # The machine was half as fast in the second round; the third failed for one of them.
    assert ratio({1: 30.0, 2: 15.0, 3: 90.0}, {1: 10.0, 2: 5.0}) == 3.0
    assert ratio({1: 30.0}, {2: 5.0}) is None


def test_series_have_their_rounds(measured):
    found = series(measured["records"], "train", "train")
    names = [one.contender for one in found]
    assert names == [OURS, "PyTorch, packed", "PyTorch, padded", "OpenNMT-py"]
    assert found[0].values(tokens_per_second) == {1: 3000, 2: 1500, 3: 3300}
    assert found[3].error == "ERROR: No matching distribution"
