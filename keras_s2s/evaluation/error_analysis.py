"""What answers get wrong: confused tokens, the most frequent errors, and the worst answers."""

import collections
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rapidfuzz.distance import Levenshtein

from keras_s2s.evaluation.metrics.error_rates import nearest
from keras_s2s.evaluation.metrics.text_splitter import UNKNOWN, TextSplitter
from keras_s2s.tokenizers.tokenizer import SPECIAL_TOKENS, UNK

# Stands for a token that an answer lacks, or has too many.
NOTHING = "∅"


class TokenError(NamedTuple):
    """An error that answers have in common.

    Attributes:
        reference: token of the reference; `NOTHING` for an insertion.
        answer: token of the answer; `NOTHING` for a deletion.
        occurrences: how often it occurs.
    """

    reference: str
    answer: str
    occurrences: int


class ErrorAnalysis(NamedTuple):
    """Errors of some answers, each compared with its nearest reference.

    Attributes:
        frequent: errors, the most frequent first; ties in the order of their tokens.
        num_tokens: tokens of the references.
        token_counts: how often each token is in the references.
        worst: indices of the wrong answers, the worst first: by edits per token of the longer of
            answer and reference; ties by edits, then in their order.
        edits: edits of each answer.
    """

    frequent: list[TokenError]
    num_tokens: int
    token_counts: dict[str, int]
    worst: list[int]
    edits: list[int]

    def share(self, error: TokenError) -> float:
        """Return the share of a reference token that is this error; of all tokens, if inserted."""
        return error.occurrences / self.token_counts.get(error.reference, self.num_tokens or 1)


def analyze_errors(
    answers: Sequence[str], references: Sequence[Sequence[str]], splitter: TextSplitter
) -> ErrorAnalysis:
    """Align answers with their references, by the fewest edits of tokens, and count the errors.

    Args:
        answers: one text for each example.
        references: one or more for each; the nearest counts, as for `token_error_rate`.
        splitter: how texts are split into tokens.

    Example:

    >>> errors = analyze_errors(["b o n", "b o", "w i"], [["b ɔ n"], ["b ɔ ʁ"], ["w i"]],
    ...                         TextSplitter())
    >>> [tuple(error) for error in errors.frequent], errors.worst
    ([('ɔ', 'o', 2), ('ʁ', '∅', 1)], [1, 0])
    """
    flat = iter(
        splitter.tokens([text for texts in references for text in texts], is_reference=True)
    )
    counts: collections.Counter[tuple[str, str]] = collections.Counter()
    token_counts: collections.Counter[str] = collections.Counter()
    edits: list[int] = []
    rates: list[float] = []
    for answer, texts in zip(splitter.tokens(answers), references, strict=True):
        _, reference = nearest(answer, [next(flat) for _ in texts])
        errors = list(_errors(reference, answer))
        counts.update(errors)
        token_counts.update(map(_shown, reference))
        edits.append(len(errors))
        rates.append(len(errors) / max(len(reference), len(answer), 1))
    return ErrorAnalysis(
        [
            TokenError(*tokens, count)
            for tokens, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        ],
        token_counts.total(),
        dict(token_counts),
        sorted(
            (index for index, count in enumerate(edits) if count),
            key=lambda index: (-rates[index], -edits[index], index),
        ),
        edits,
    )


class Confusions(NamedTuple):
    """Counts of errors as a table, tokens of references (rows) by tokens of answers (columns).

    Attributes:
        references: tokens of the rows, those with most errors first; `NOTHING` for insertions.
        answers: tokens of the columns, likewise; `NOTHING` for deletions.
        counts: a row for each reference, a column for each answer.
    """

    references: list[str]
    answers: list[str]
    counts: list[list[int]]


def confusions(errors: Sequence[TokenError], max_tokens: int = 15) -> Confusions:
    """Return a table of the errors among the tokens that are wrong most often.

    Args:
        errors: counted errors.
        max_tokens: maximum number of rows, and of columns.

    Returns:
        A table without empty rows and columns.

    Example:

    >>> confusions([TokenError("e", "i", 3), TokenError("o", "u", 2), TokenError("e", "ə", 1)])
    Confusions(references=['e', 'o'], answers=['i', 'u', 'ə'], counts=[[3, 0, 1], [0, 2, 0]])
    """
    rows: collections.Counter[str] = collections.Counter()
    for error in errors:
        rows[error.reference] += error.occurrences
    references = [token for token, _ in rows.most_common(max_tokens)]
    columns: collections.Counter[str] = collections.Counter()
    for error in errors:
        if error.reference in references:
            columns[error.answer] += error.occurrences
    answers = [token for token, _ in columns.most_common(max_tokens)]
    counts = {(error.reference, error.answer): error.occurrences for error in errors}
    # A row whose answers are all too rare for a column would be empty.
    references = [row for row in references if any((row, column) in counts for column in answers)]
    table = [[counts.get((row, column), 0) for column in answers] for row in references]
    return Confusions(references, answers, table)


def _errors(reference: Sequence[str], answer: Sequence[str]) -> Iterator[tuple[str, str]]:
    for edit in Levenshtein.editops(reference, answer):
        yield (
            NOTHING if edit.tag == "insert" else _shown(reference[edit.src_pos]),
            NOTHING if edit.tag == "delete" else _shown(answer[edit.dest_pos]),
        )


def _shown(token: str) -> str:
    """Return a token as text that is visible."""
    return SPECIAL_TOKENS[UNK] if token == UNKNOWN else "␣" if token.isspace() else token
