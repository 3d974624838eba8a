"""What should be so, against what was measured."""

import pytest
from small_benchmarks import three_rounds

from benchmarks.claims import at_least, at_most, claims


@pytest.fixture
def measured():
    return three_rounds()


def test_claims_say_whether_they_are_met():
    assert at_least("a", 1.2, 1.2).met is True
    assert at_least("a", 1.19, 1.2).met is False
    assert at_most("a", 16.0, 15, " s").met is False
    nothing = at_most("a", None, 15, " s")
    assert (nothing.met, nothing.measured, nothing.wanted) == (None, "not measured", "≤ 15 s")


def test_claims_of_what_was_measured(measured):
    found = {claim.what: claim for claim in claims(measured)}
    peer = found["Training, no attention, float32: tokens/s by the best peer's (PyTorch, packed)"]
    assert (peer.measured, peer.met) == ("1.50×", True)
    padded = found["Training, no attention, float32: tokens/s by the padded PyTorch loop's"]
    assert (padded.measured, padded.met) == ("6.00×", True)
    memory = next(claim for what, claim in found.items() if "peak memory" in what)
    assert (memory.measured, memory.met) == ("0.50×", True)
    others = [claim for what, claim in found.items() if "no attention, float32" not in what]
    assert {claim.measured for claim in others} == {"not measured"}
    assert {claim.met for claim in others} == {None}
