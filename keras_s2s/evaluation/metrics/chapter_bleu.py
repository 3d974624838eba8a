"""The BLEU of a sentence, as the book chapter defines it."""

import collections
import math

from keras_s2s.utils.checks import check_int


def bleu(pred_seq: str, label_seq: str, k: int) -> float:
    r"""Compute the BLEU of one sentence against one reference, as the chapter defines it.

    $$\exp(\min(0, 1 - \mathrm{len}_{label} / \mathrm{len}_{pred})) \prod_{n=1}^k p_n^{1/2^n}$$

    where $p_n$ is the clipped n-gram precision. The result is from 0 to 1 and cannot be compared
    with published scores; use `evaluate`, whose BLEU is sacreBLEU's.

    A prediction of fewer than k words has no k-grams, for which the chapter's first code divided
    by zero. Here, as in its later code, n stops at the length of the prediction. An empty
    prediction scores 0.

    Args:
        pred_seq: the prediction, words separated by spaces.
        label_seq: the reference, likewise.
        k: length of the longest n-grams, in words; the chapter prints scores for 2.

    Returns:
        A float from 0 to 1.

    Raises:
        InputError: `k` is less than 1.

    Source: Dive into Deep Learning, "Sequence to Sequence Learning", "Evaluation of Predicted
    Sequences".

    Example:

    >>> bleu("va !", "va !", k=2)
    1.0
    >>> round(bleu("A B", "A B C D E F", k=2), 2)  # the brevity penalty alone
    0.14
    >>> bleu("A B B C D", "A B C D E F", k=4)  # no matching 4-gram
    0.0
    """
    check_int("k", k)
    prediction, label = _words(pred_seq), _words(label_seq)
    if not prediction:
        return 0.0
    score = math.exp(min(0.0, 1 - len(label) / len(prediction)))
    for n in range(1, min(k, len(prediction)) + 1):
        predicted, expected = _n_grams(prediction, n), _n_grams(label, n)
        score *= ((predicted & expected).total() / predicted.total()) ** 0.5**n
    return score


def _words(sequence: str) -> list[str]:
    return [word for word in sequence.split(" ") if word]


def _n_grams(words: list[str], n: int) -> "collections.Counter[tuple[str, ...]]":
    return collections.Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))
