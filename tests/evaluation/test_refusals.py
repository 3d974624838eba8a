"""Refusing answers of low confidence."""

import numpy as np
import pytest

from keras_s2s.evaluation.metrics.refusal import choose_threshold, refusal_curve
from keras_s2s.utils.errors import InputError


def test_the_curve_equals_counting_at_each_threshold():
    rng = np.random.default_rng(0)
    confidences = rng.integers(0, 40, 300) / 40
    is_right = rng.random(300) < confidences
    curve = refusal_curve(confidences, is_right)
    assert len(curve) == len(set(confidences))
    assert curve[-1][:2] == (0.0, 300)
    for point in curve:
        kept = confidences >= point.min_confidence
        assert point.num_answered == kept.sum()
        assert point.num_wrong == (~is_right[kept]).sum()


@pytest.mark.parametrize("max_error", [0.0, 0.02, 0.1, 0.5, 1.0])
def test_the_threshold_answers_most_within_the_error(max_error):
    rng = np.random.default_rng(1)
    confidences = rng.random(200)
    is_right = rng.random(200) < confidences**0.25
    is_right[np.argmax(confidences)] = True
    chosen = choose_threshold(refusal_curve(confidences, is_right), max_error)
    assert chosen.error <= max_error
    for threshold in confidences[confidences < chosen.min_confidence]:
        kept = confidences >= threshold
        assert (~is_right[kept]).mean() > max_error


def test_no_threshold():
    with pytest.raises(InputError, match=r"at most 10\.0% .* the best one has 50\.0%"):
        choose_threshold(refusal_curve([0.5, 0.5], [True, False]), 0.1)
    with pytest.raises(InputError, match="no pair"):
        choose_threshold(refusal_curve([], []), 0.1)
