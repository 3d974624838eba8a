"""Exact match and error rates by edit distance: the scores of words, phones and characters."""

import importlib.metadata
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from rapidfuzz.distance import Levenshtein

from keras_s2s.evaluation.metrics.corpus_metric import CorpusMetric
from keras_s2s.evaluation.metrics.level import answer_level
from keras_s2s.evaluation.metrics.text_splitter import Splits, TextSplitter
from keras_s2s.tokenizers.tokenizer import Tokenizer
from keras_s2s.utils.checks import check_texts
from keras_s2s.utils.errors import InputError
from keras_s2s.utils.scores import SENTENCE, WORD

Tokens = list[str]
# The units of an answer, and those of its references: errors (or matches), and what they are of.
Count = Callable[[Tokens, Sequence[Tokens]], tuple[int, int]]


def count_exact(answer: Tokens, references: Sequence[Tokens]) -> tuple[int, int]:
    """Return whether an answer equals a reference, 0 or 1, of 1."""
    return int(answer in references), 1


def count_wrong(answer: Tokens, references: Sequence[Tokens]) -> tuple[int, int]:
    """Return whether an answer differs from all references, 0 or 1, of 1."""
    return int(answer not in references), 1


def count_edits(answer: Tokens, references: Sequence[Tokens]) -> tuple[int, int]:
    """Return the edit distance to the nearest reference, and its length.

    Example:

    >>> count_edits(["b", "o"], [["b", "o", "n"], ["b", "u"]])
    (1, 3)
    """
    distance, reference = nearest(answer, references)
    return distance, len(reference)


def nearest(answer: Tokens, references: Sequence[Tokens]) -> tuple[int, Tokens]:
    """Return the least edit distance, and the reference that has it.

    Of equally near references it is the longest, with which the rate is lowest.
    """
    distances = [Levenshtein.distance(answer, reference) for reference in references]
    return min(zip(distances, references, strict=True), key=lambda pair: (pair[0], -len(pair[1])))


class ErrorRate(CorpusMetric):
    """A share in percent: counts of the examples, divided by what they are of.

    Args:
        splitter: how texts are split.
        count: what to count.
        unit: `answer`, `word` or `token`; what the counts are of.
    """

    def __init__(self, splitter: TextSplitter, count: Count, unit: str) -> None:
        self._splitter, self._count, self._unit = splitter, count, unit
        self._signature = ""

    @property
    def signature(self) -> str:
        return self._signature

    def statistics(
        self, translations: Sequence[str], references: Sequence[Sequence[str]]
    ) -> np.ndarray:
        split = self._splitter.words if self._unit == "word" else self._splitter.tokens
        flat = [text for texts in references for text in texts]
        answers, targets = split(translations), iter(split(flat, is_reference=True))
        if not self._signature:
            self._signature = self._make_signature(flat, references)
        counts = [
            self._count(answer, [next(targets) for _ in texts])
            for answer, texts in zip(answers, references, strict=True)
        ]
        return np.array(counts, dtype="int64").reshape(-1, 2)

    def score_of_sums(self, sums: np.ndarray) -> float:
        # Without a token in all references, each token of an answer is an error of 100%.
        return 100.0 * int(sums[0]) / max(int(sums[1]), 1)

    def _make_signature(self, flat: Sequence[str], references: Sequence[Sequence[str]]) -> str:
        counts = {len(texts) for texts in references}
        return "|".join(
            (
                f"nrefs:{counts.pop() if len(counts) == 1 else 'var'}",
                f"case:{'mixed' if self._splitter.keeps_case(flat) else 'lc'}",
                f"unit:{self._unit}",
                f"tok:{self._splitter.name}",
                f"rapidfuzz:{importlib.metadata.version('rapidfuzz')}",
            )
        )


def make_error_rate(name: str, splitter: TextSplitter, level: str) -> ErrorRate:
    """Return a metric.

    Args:
        name: `exact`, `wer` or `ter`.
        splitter: how texts are split.
        level: what the answers are: `word`, of which each counts as one word for `wer`, or
            `sentence`.
    """
    counts: dict[tuple[str, str], tuple[Count, str]] = {
        ("wer", WORD): (count_wrong, "answer"),
        ("wer", SENTENCE): (count_edits, "word"),
    }
    defaults: dict[str, tuple[Count, str]] = {
        "exact": (count_exact, "answer"),
        "ter": (count_edits, "token"),
    }
    return ErrorRate(splitter, *(counts.get((name, level)) or defaults[name]))


def exact_match(
    predictions: Iterable[str],
    references: Iterable[str | Sequence[str]],
    tokenizer: Splits = None,
    *,
    lowercase: bool = False,
) -> float:
    """Return the share of predictions that equal a reference, in percent: accuracy.

    Texts are composed (Unicode's form C), and the amount of space between words does not count.

    Args:
        predictions: one text for each example.
        references: a text for each example, or a list of several, of which one has to be equal.
        tokenizer: the target tokenizer. With it texts are compared as it sees them: what it
            normalizes away does not count, and `<unk>` equals no token of a reference.
        lowercase: whether to ignore case.

    Returns:
        A float from 0 to 100; higher is better.

    Raises:
        InputError: there is no example, or predictions and references differ in number.

    Example:

    >>> exact_match(["walked", "goed"], ["walked", "went"])
    50.0
    >>> exact_match(["b o n", "u i"], [["b ɔ n", "b o n"], ["w i"]])
    50.0
    """
    return _score("exact", predictions, references, tokenizer, None, lowercase)


def word_error_rate(
    predictions: Iterable[str],
    references: Iterable[str | Sequence[str]],
    tokenizer: Splits = None,
    *,
    level: str | None = None,
    lowercase: bool = False,
) -> float:
    """Return the word error rate, in percent.

    Of sentences it is the edit distance over words (insertions, deletions and substitutions),
    divided by the words of the references. Where each answer is a word, such as a pronunciation
    or an inflected form, a word is wrong if its answer differs: `100 - exact_match`.

    Args:
        predictions: one text for each example.
        references: a text for each example, or a list of several, of which the nearest counts.
        tokenizer: the target tokenizer; see `exact_match`. Its words are those that spaces part.
        level: `word` or `sentence`: what the answers are. By default words if the tokenizer is a
            `WhitespaceTokenizer`, or if the references have no spaces; else sentences, and always
            with a `WordTokenizer`.
        lowercase: whether to ignore case.

    Returns:
        A float from 0, lower is better; more than 100 where answers are too long.

    Raises:
        InputError: as for `exact_match`, or there is no such level.

    Example:

    >>> word_error_rate(["il est la"], ["il est là"])
    33.333333333333336
    >>> word_error_rate(["b o n", "u i"], ["b ɔ n", "u i"], level="word")
    50.0
    """
    return _score("wer", predictions, references, tokenizer, level, lowercase)


def token_error_rate(
    predictions: Iterable[str],
    references: Iterable[str | Sequence[str]],
    tokenizer: Splits = None,
    *,
    lowercase: bool = False,
) -> float:
    """Return the token error rate, in percent: of phones or of characters, PER or CER.

    It is the edit distance over tokens (insertions, deletions and substitutions; Levenshtein,
    1966), divided by the tokens of the references.

    Args:
        predictions: one text for each example.
        references: a text for each example, or a list of several, of which the nearest counts.
        tokenizer: the target tokenizer, see `exact_match`; or a function from a text to its
            tokens, such as `list` for characters. By default tokens are what spaces part.
        lowercase: whether to ignore case.

    Returns:
        A float from 0, lower is better; more than 100 where answers are too long.

    Raises:
        InputError: as for `exact_match`.

    Example:

    >>> token_error_rate(["b o n", "w i"], ["b ɔ n", "w i"])
    20.0
    >>> token_error_rate(["walkd"], ["walked"], list)
    16.666666666666668
    """
    return _score("ter", predictions, references, tokenizer, None, lowercase)


def _score(
    name: str,
    predictions: Iterable[str],
    references: Iterable[str | Sequence[str]],
    tokenizer: Splits,
    level: str | None,
    lowercase: bool,
) -> float:
    answers = _as_str(check_texts("predictions", predictions))
    rows = [
        _as_str([texts] if isinstance(texts, (str, bytes)) else check_texts("references", texts))
        for texts in references
    ]
    if not answers or len(answers) != len(rows) or not all(rows):
        raise InputError(
            f"{len(answers)} predictions and {len(rows)} references; give one prediction or more, "
            "and at least one reference for each"
        )
    if level is None:
        known = tokenizer if isinstance(tokenizer, Tokenizer) else None
        level = answer_level(known, (), [text for texts in rows for text in texts])
    if level not in (WORD, SENTENCE):
        raise InputError(f"level is {level!r}; give {WORD} or {SENTENCE}")
    metric = make_error_rate(name, TextSplitter(tokenizer, lowercase), level)
    return metric.score(metric.statistics(answers, rows))


def _as_str(texts: Sequence[str | bytes]) -> list[str]:
    return [text if isinstance(text, str) else text.decode("utf-8", "replace") for text in texts]
