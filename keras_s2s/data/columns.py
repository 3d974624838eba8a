"""The columns of a corpus: which of them are read, and what each one is."""

import string
from collections.abc import Sequence
from typing import Any, NamedTuple

from keras_s2s.utils.errors import InputError, did_you_mean
from keras_s2s.utils.text import FEATURES, SOURCE

TARGET, SKIPPED = "target", "_"
COLUMNS_HELP = (
    "what the columns are, in their order, such as source,features,target (_ for one that is not "
    "read); or the numbers of those for source, features and target, such as 1,3,2"
)
# White space around a column: ASCII only, since a no-break space may be part of the typography.
_SPACES = string.whitespace


class SelectedColumns(NamedTuple):
    """Columns of a line that are read.

    Attributes:
        spec: as the user wrote them.
        kinds: `source` or `features` for each column of the input, in order.
        indices: the index of each of them in a line.
        target: the index of the target.
        width: columns that a line has to have.
        is_complete: whether the names cover all columns, so that a line with more is suspicious.
    """

    spec: str
    kinds: tuple[str, ...]
    indices: tuple[int, ...]
    target: int
    width: int
    is_complete: bool

    def select(self, line: str) -> tuple[str, str, str]:
        r"""Return the input, the target, and what is missing, or "".

        The input has tabs between its columns. Features may be empty; source and target may not.

        Example:

        >>> parse_columns("source,target,features").select("walk\twalked\tV;PST")
        ('walk\tV;PST', 'walked', '')
        >>> parse_columns("source,target,features").select("walk\twalked")
        ('', '', 'has 2 columns')
        """
        cells = [cell.strip(_SPACES) for cell in line.split("\t")]
        if len(cells) < self.width:
            return "", "", f"has {len(cells)} column{'s' if len(cells) > 1 else ''}"
        inputs = [cells[index] for index in self.indices]
        if not cells[self.target].strip():
            return "", "", "has an empty target"
        if not any(
            cell.strip() for cell, kind in zip(inputs, self.kinds, strict=True) if kind == SOURCE
        ):
            return "", "", "has an empty source"
        return "\t".join(inputs), cells[self.target], ""


def parse_columns(columns: str | Sequence[str | int]) -> SelectedColumns:
    """Parse the columns of a corpus.

    Args:
        columns: names, one a column of the file: `source` and `features` (each once or more),
            `target` (once), and `_` for a column that is not read. Or 1-based numbers: those of the
            source, of the features if there are any, and last of the target. With commas between,
            or as a list.

    Raises:
        InputError: they are not such columns.

    Example:

    >>> parse_columns("source,_,features,target").indices
    (0, 2)
    >>> parse_columns("1,3,2").kinds, parse_columns("1,3,2").target
    (('source', 'features'), 1)
    """
    names = columns.split(",") if isinstance(columns, str) else list(columns)
    names = [str(name).strip() for name in names]
    spec = ",".join(names)
    if all(name.isascii() and name.isdigit() for name in names):
        numbers = [int(name) for name in names]
        if len(numbers) < 2 or min(numbers) < 1 or len(set(numbers)) < len(numbers):
            raise InputError(
                f"columns is {spec!r}; give different numbers of 1 or more: that of the source, "
                "those of features, and last that of the target"
            )
        indices, target = tuple(number - 1 for number in numbers[:-1]), numbers[-1] - 1
        kinds = (SOURCE, *(FEATURES for _ in indices[1:]))
        return SelectedColumns(spec, kinds, indices, target, max(numbers), is_complete=False)
    allowed = (SOURCE, FEATURES, TARGET, SKIPPED)
    for name in names:
        if name not in allowed:
            raise InputError(
                f"columns is {spec!r}, and {name!r} is none of {', '.join(allowed)}"
                f"{did_you_mean(name, allowed)}; give these names, or numbers alone"
            )
    if names.count(TARGET) != 1 or SOURCE not in names:
        raise InputError(
            f"columns is {spec!r}; give one target, and a source, such as source,features,target"
        )
    indices = tuple(index for index, name in enumerate(names) if name in (SOURCE, FEATURES))
    # Columns that are skipped at the end need not be there.
    width = max(*indices, names.index(TARGET)) + 1
    return SelectedColumns(
        spec,
        tuple(names[index] for index in indices),
        indices,
        names.index(TARGET),
        width,
        is_complete=names[-1] != SKIPPED,
    )


def check_columns(tokenizer: Any, columns: Sequence[str] | None, corpus: str) -> None:
    """Check that a corpus is read in columns if a model is.

    Args:
        tokenizer: the source tokenizer of the model.
        columns: of the sources of the corpus; None if they are plain texts.
        corpus: its name.

    Raises:
        InputError: it is not; its features would be missing, or taken for targets.
    """
    expected = getattr(tokenizer, "columns", None)  # of a `ColumnsTokenizer`
    if expected is not None and columns is None:
        kinds = ",".join(expected)
        raise InputError(
            f"{corpus}: the model reads sources of the columns {kinds}; give --columns "
            f"{kinds},target, or in the order that the file has"
        )
