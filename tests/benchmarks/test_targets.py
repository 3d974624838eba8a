"""Performance targets."""

import pytest
from small_benchmarks import three_rounds

from benchmarks.targets import at_least, at_most, evaluate_targets


@pytest.fixture
def document():
    return three_rounds()


def test_bounds():
    assert at_least("a", 1.2, 1.2).is_met is True
    assert at_least("a", 1.19, 1.2).is_met is False
    assert at_most("a", 16.0, 15, " s").is_met is False
    missing = at_most("a", None, 15, " s")
    assert (missing.is_met, missing.result, missing.bound) == (None, "not measured", "≤ 15 s")


def test_targets_of_a_document(document):
    targets = {target.metric: target for target in evaluate_targets(document)}
    prefix = "Training, no attention, float32: "
    fastest = targets[f"{prefix}tokens/s vs. the fastest peer (PyTorch, packed)"]
    assert (fastest.result, fastest.is_met) == ("1.50×", True)
    padded = targets[f"{prefix}tokens/s vs. the padded PyTorch loop"]
    assert (padded.result, padded.is_met) == ("6.00×", True)
    memory = next(target for metric, target in targets.items() if "peak memory" in metric)
    assert (memory.result, memory.is_met) == ("0.50×", True)
    others = [target for metric, target in targets.items() if not metric.startswith(prefix)]
    assert {target.result for target in others} == {"not measured"}
    assert {target.is_met for target in others} == {None}
