import pytest

from keras_s2s.translation.fault_isolation import FAILURES_IN_A_ROW, OneByOne
from keras_s2s.utils.errors import InputError


def doubled_but(bad, calls):
    def double(values):
        calls.append(len(values))
        if bad & set(values):
            raise ValueError(f"no {min(bad & set(values))}")
        return [2 * value for value in values]

    return double


@pytest.mark.parametrize("bad", [set(), {0}, {999}, {3, 4, 500}])
def test_only_what_is_bad_fails(bad):
    calls = []
    found = OneByOne(doubled_but(bad, calls))(range(1000))
    for value, result in enumerate(found):
        if value in bad:
            assert isinstance(result, ValueError)
            assert str(result) == f"no {value}"
        else:
            assert result == 2 * value
    assert len(calls) <= 1 + 2 * 10 * len(bad)


def test_a_function_that_always_fails_is_not_called_for_ever():
    calls = []
    with pytest.raises(ValueError, match=f"no {FAILURES_IN_A_ROW - 1}"):
        OneByOne(doubled_but(set(range(10**4)), calls))(range(10**4))
    assert len(calls) < 300
    # Failures with something good in between are none in a row.
    isolated = OneByOne(doubled_but(set(range(0, 1000, 2)), []))
    assert sum(isinstance(result, ValueError) for result in isolated(range(1000))) == 500


def test_errors_that_are_about_all():
    def refuse(values):
        raise InputError("not with this beam")

    with pytest.raises(InputError, match="not with this beam"):
        OneByOne(refuse)([1, 2])
    [lost] = OneByOne(lambda values: [])([1])
    assert str(lost) == "0 results for 1 values"
    assert OneByOne(lambda values: [])([]) == []
