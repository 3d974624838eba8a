"""What fails for many at a time, down to the one that it fails for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from keras_s2s.utils.errors import InputError

# It is not the lines then.
FAILURES_IN_A_ROW = 100

Given = TypeVar("Given")
Found = TypeVar("Found")


class OneByOne(Generic[Given, Found]):
    """Calls a function with many values, and where it raises with fewer and fewer of them.

    Args:
        function: returns as many results as it gets values.

    Example:

    >>> def halves(numbers):
    ...     if 3 in numbers:
    ...         raise ValueError("3 is odd")
    ...     return [number // 2 for number in numbers]
    >>> OneByOne(halves)([2, 3, 4, 6])
    [1, ValueError('3 is odd'), 2, 3]
    """

    def __init__(self, function: Callable[[Sequence[Given]], list[Found]]) -> None:
        self._function = function
        self._in_a_row = 0

    def __call__(self, values: Sequence[Given]) -> list[Found | Exception]:
        """Returns for each value its result, or what was raised for it alone.

        Raises:
            InputError: it was raised by the function; it is about more than one value.
            Exception: what was raised for the last of `FAILURES_IN_A_ROW` values that all failed.
        """
        results: list[Found | Exception] = []
        try:
            results += self._function(values)
            if len(results) != len(values):
                raise RuntimeError(f"{len(results)} results for {len(values)} values")
        except InputError:
            raise
        except Exception as error:
            if len(values) == 1:
                self._in_a_row += 1
                if self._in_a_row == FAILURES_IN_A_ROW:
                    raise
                return [error]
            middle = len(values) // 2
            return self(values[:middle]) + self(values[middle:])
        if results:
            self._in_a_row = 0
        return results
