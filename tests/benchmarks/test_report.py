"""The page that a run writes."""

import pytest
from small_benchmarks import document, record, speed_record, three_rounds

from benchmarks.claims import claims
from benchmarks.plan import OURS
from benchmarks.report import markdown, rounds_of
from benchmarks.roofline import Sizes, training_operations


@pytest.fixture
def measured():
    return three_rounds()


def test_page_shows_medians_ratios_and_shares(measured):
    page = markdown(measured)
    row = next(line for line in page.splitlines() if line.startswith("| PyTorch, packed | 2,000"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1:3] == ["2,000 (1,000–2,000)", "1.50"]
    sizes = Sizes(256, 512, 2, 8004)
    share = 100 * 2000 * training_operations(sizes, 80, 100) / 100 / 2e11
    assert cells[3].startswith(f"{share:.0f} (")
    assert cells[4] == "2.00"
    assert "a chip, 2 cores, 8 GB" in page
    assert "thing 1.0" in page


def test_page_tells_how_many_rounds_there_were(measured):
    assert "Medians of 3 rounds, in which" in markdown(measured)
    records = [{"part": "chapter", "round": 1}, {"part": "train", "round": 2}]
    assert rounds_of(records) == "1 round (`chapter`), 2 rounds (`train`)"


def test_page_names_who_is_left_out_and_why(measured):
    page = markdown(measured)
    assert "- train: OpenNMT-py none float32: ERROR: No matching distribution\n" in page
    assert "| OpenNMT-py | left out |" in page


def test_page_of_a_short_run_claims_nothing(measured):
    measured["meta"]["command"] = "bench-short"
    assert "What they should show" not in markdown(measured)


def translation(contender, milliseconds, through="python", part="translate"):
    label = "luong float32" if part == "translate" else ""
    found = record(contender, 100, part=part, label=label)
    ways = {
        way: {
            "sentences": count,
            "source_tokens": 8 * count,
            "tokens": 9 * count,
            "seconds": milliseconds * count / factor / 1000,
        }
        for way, count, factor in (("file", 1000, 4), ("batches", 1000, 2), ("single", 200, 1))
    }
    found["result"] |= ways | {"bleu": {"none": 20.0, "13a": 17.0}}
    found["result"]["single"]["median_milliseconds"] = milliseconds
    found["job"], found["settings"] = "translate", {"through": through}
    found["key"] += through
    return found


def test_translation_on_the_page():
    records = [
        speed_record("translate"),
        translation(OURS, 10.0),
        translation(OURS, 12.0, "session"),
        translation("OpenNMT-tf", 20.0),
        translation(OURS, 1.0, "session", part="chapter"),
        translation(OURS, 5.0, "loop", part="chapter"),
    ]
    results = document(records)
    page = markdown(results)
    assert "| **this package**, export | luong float32 | – | 20.0 / 17.0 | 333 |" in page
    found = {claim.what: claim for claim in claims(results)}
    of = found["One sentence through the export, by OpenNMT-tf's SavedModel"]
    assert (of.measured, of.met) == ("0.60×", True)
    small = [claim for what, claim in found.items() if "its loop in Python" in what]
    assert (small[0].measured, small[0].met) == ("5.00×", False)
