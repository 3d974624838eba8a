"""The report in Markdown."""

import pytest
from small_benchmarks import machine_record, make_document, make_record, three_rounds

from benchmarks.plan import OURS
from benchmarks.report import format_report, format_rounds
from benchmarks.roofline import Sizes, training_flops
from benchmarks.targets import evaluate_targets


@pytest.fixture
def document():
    return three_rounds()


def test_report_has_medians_ratios_and_roofline(document):
    report = format_report(document)
    row = next(line for line in report.splitlines() if line.startswith("| PyTorch, packed | 2,000"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1:3] == ["2,000 (1,000–2,000)", "1.50"]
    sizes = Sizes(256, 512, 2, 8004)
    percent = 100 * 2000 * training_flops(sizes, 80, 100) / 100 / 2e11
    assert cells[3].startswith(f"{percent:.0f} (")
    assert cells[4] == "2.00"
    assert "a chip, 2 cores, 8 GB" in report
    assert "thing 1.0" in report


def test_report_has_the_number_of_rounds(document):
    assert "Medians of 3 rounds, " in format_report(document)
    records = [{"part": "chapter", "round": 1}, {"part": "train", "round": 2}]
    assert format_rounds(records) == "1 round (`chapter`), 2 rounds (`train`)"


def test_report_has_failures_with_reasons(document):
    report = format_report(document)
    assert "- train: OpenNMT-py none float32: ERROR: No matching distribution\n" in report
    assert "| OpenNMT-py | failed |" in report


def test_report_of_a_short_run_has_no_targets(document):
    document["meta"]["command"] = "bench-short"
    assert "Targets" not in format_report(document)


def translation_record(contender, milliseconds, through="python", part="translate"):
    """Return a record of translation with a latency."""
    label = "luong float32" if part == "translate" else ""
    record = make_record(contender, 100, part=part, label=label)
    modes = {
        mode: {
            "sentences": count,
            "source_tokens": 8 * count,
            "tokens": 9 * count,
            "seconds": milliseconds * count / factor / 1000,
        }
        for mode, count, factor in (("file", 1000, 4), ("batches", 1000, 2), ("single", 200, 1))
    }
    record["result"] |= modes | {"bleu": {"none": 20.0, "13a": 17.0}}
    record["result"]["single"]["median_milliseconds"] = milliseconds
    record["job"], record["settings"] = "translate", {"through": through}
    record["key"] += through
    return record


def test_report_of_translation():
    records = [
        machine_record("translate"),
        translation_record(OURS, 10.0),
        translation_record(OURS, 12.0, "session"),
        translation_record("OpenNMT-tf", 20.0),
        translation_record(OURS, 1.0, "session", part="chapter"),
        translation_record(OURS, 5.0, "loop", part="chapter"),
    ]
    document = make_document(records)
    report = format_report(document)
    assert "| **this package**, export | luong float32 | – | 20.0 / 17.0 | 333 |" in report
    targets = {target.metric: target for target in evaluate_targets(document)}
    export = targets["Latency of one sentence through the export vs. OpenNMT-tf's SavedModel"]
    assert (export.result, export.is_met) == ("0.60×", True)
    loop = next(target for metric, target in targets.items() if "its Python loop" in metric)
    assert (loop.result, loop.is_met) == ("5.00×", False)
