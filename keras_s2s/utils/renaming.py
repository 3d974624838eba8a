"""Old keyword arguments and attributes that keep working after a rename."""

import functools
import inspect
import operator
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

Target = TypeVar("Target", bound=Callable[..., Any])


def accept_old_names(**renamed: str) -> Callable[[Target], Target]:
    """Make a function or class accept old keyword arguments, and a class old attributes.

    Decorate a dataclass above `@dataclass`. Its old names are inherited by subclasses that are
    decorated too, and work in `dataclasses.replace`.

    Args:
        **renamed: the new name for each old one.

    Raises:
        TypeError: at a call that gives an argument under both names. `dataclasses.replace` passes
            all fields, so there the old name takes precedence.

    Example:

    >>> @accept_old_names(count="size")
    ... def zeros(size):
    ...     return [0] * size
    >>> zeros(count=2)
    [0, 0]
    """

    def decorate(target: Target) -> Target:
        if not isinstance(target, type):
            return _wrap(target, renamed, frozenset())
        cls: Any = target
        inherited = (vars(base).get("_renamed", {}) for base in reversed(cls.__mro__))
        cls._renamed = {k: v for names in (*inherited, renamed) for k, v in names.items()}
        parameters = frozenset(inspect.signature(cls).parameters)
        cls.__init__ = _wrap(cls.__init__, cls._renamed, parameters)
        for old, new in renamed.items():
            setattr(cls, old, property(operator.attrgetter(new)))
        return target

    return decorate


def old_names(cls: Any) -> Mapping[str, str]:
    """Return the new name for each old one that a class accepts."""
    return dict(getattr(cls, "_renamed", {}))


def with_new_names(cls: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values by the current names of a decorated class, such as those of an old file.

    Example:

    >>> @accept_old_names(count="size")
    ... class Array:
    ...     def __init__(self, size):
    ...         self.size = size
    >>> with_new_names(Array, {"count": 2})
    {'size': 2}
    """
    return {cls._renamed.get(name, name): value for name, value in values.items()}


def _wrap(function: Any, renamed: Mapping[str, str], all_parameters: frozenset[str]) -> Any:
    """Return `function` with old keywords renamed; calls with all parameters may give both."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        is_replace = bool(all_parameters) and all_parameters <= kwargs.keys()
        for old in renamed.keys() & kwargs.keys():
            new = renamed[old]
            if new in kwargs and not is_replace:
                raise TypeError(f"{function.__qualname__}: {old} is now {new}; give only {new}")
            kwargs[new] = kwargs.pop(old)
        return function(*args, **kwargs)

    return wrapper
