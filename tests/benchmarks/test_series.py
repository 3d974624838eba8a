"""Series of several rounds."""

import pytest
from small_benchmarks import three_rounds

from benchmarks.plan import OURS
from benchmarks.series import group_series, median_ratio, spread, tokens_per_second


@pytest.fixture
def document():
    return three_rounds()


def test_spread():
    result = spread([3.0, 1.0, 2.0])
    assert result == (2.0, 1.0, 3.0)
    assert result.format(1) == "2.0 (1.0–3.0)"
    assert spread([0.25]).format(0, 100) == "25"


def test_ratios_are_taken_within_a_round():
    # The machine was half as fast in the second round; the third failed for one of them.
    assert median_ratio({1: 30.0, 2: 15.0, 3: 90.0}, {1: 10.0, 2: 5.0}) == 3.0
    assert median_ratio({1: 30.0}, {2: 5.0}) is None


def test_group_series(document):
    group = group_series(document["records"], "train", "train")
    names = [series.contender for series in group]
    assert names == [OURS, "PyTorch, packed", "PyTorch, padded", "OpenNMT-py"]
    assert group[0].values(tokens_per_second) == {1: 3000, 2: 1500, 3: 3300}
    assert group[3].error == "ERROR: No matching distribution"
