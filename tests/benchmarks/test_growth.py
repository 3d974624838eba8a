"""Time as work grows: the fit, its part of the page, and its picture."""

import pytest
from small_benchmarks import document, record, speed_record

from benchmarks.growth import fitted, growth_points
from benchmarks.plan import OURS
from benchmarks.report import markdown


def test_fit_finds_the_fixed_part():
    start, slope = fitted([(x, 3 + 2 * x) for x in (1, 2, 4, 8)])
    assert (start, slope) == (pytest.approx(3), pytest.approx(2))
    assert fitted([(x, 2 * x**2) for x in (1.0, 2.0, 4.0)])[0] == 0


@pytest.fixture
def grown():
    records = [speed_record("growth")]
    for size in (8, 16, 32):
        # 10 ms a step, and 1 ms a sentence.
        one = record(OURS, 100, part="growth", label=f"batch_size {size}")
        one["result"] |= {"steps": 10, "tokens": 90 * size, "seconds": 10 * (0.010 + 0.001 * size)}
        records.append(one)
    return document(records)


def test_growth_tells_what_is_fixed(grown):
    points = growth_points(grown)["batch_size"]
    assert [point.size for point in points] == [8, 16, 32]
    assert points[0].seconds.median == pytest.approx(0.018)
    assert points[1].operations == pytest.approx(2 * points[0].operations)
    page = markdown(grown)
    assert "10.0 ms a step are fixed, 56% of the first row" in page
    assert "| 16 | 26.0 | 1.44 / 2.00 |" in page


def test_growth_is_drawn(grown, tmp_path):
    from benchmarks.picture import draw

    draw(grown, tmp_path / "growth.png")
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")
