"""Scaling of the training cost: fit, report and chart."""

import pytest
from small_benchmarks import machine_record, make_document, make_record

from benchmarks.growth import fit_linear, growth_points
from benchmarks.plan import OURS
from benchmarks.report import format_report


def test_fit_linear():
    intercept, slope = fit_linear([(x, 3 + 2 * x) for x in (1, 2, 4, 8)])
    assert (intercept, slope) == (pytest.approx(3), pytest.approx(2))
    assert fit_linear([(x, 2 * x**2) for x in (1.0, 2.0, 4.0)])[0] == 0


@pytest.fixture
def document():
    records = [machine_record("growth")]
    for size in (8, 16, 32):
        # 10 ms per step, and 1 ms per sentence.
        record = make_record(OURS, 100, part="growth", label=f"batch_size {size}")
        record["result"] |= {
            "steps": 10,
            "tokens": 90 * size,
            "seconds": 10 * (0.010 + 0.001 * size),
        }
        records.append(record)
    return make_document(records)


def test_report_has_the_fixed_cost(document):
    points = growth_points(document)["batch_size"]
    assert [point.size for point in points] == [8, 16, 32]
    assert points[0].seconds.median == pytest.approx(0.018)
    assert points[1].flops == pytest.approx(2 * points[0].flops)
    report = format_report(document)
    assert "10.0 ms per step, 56% of the first row" in report
    assert "| 16 | 26.0 | 1.44 / 2.00 |" in report


def test_growth_chart(document, tmp_path):
    from benchmarks.growth_chart import plot_growth

    plot_growth(document, tmp_path / "growth.png")
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")
