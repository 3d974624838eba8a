"""Scores of translations against references, and what a difference of scores is worth."""

import collections
import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import sacrebleu
from sacrebleu.metrics.base import Metric

from keras_s2s.utils.checks import check_int
from keras_s2s.utils.errors import InputError, did_you_mean, one_line

# Sentences that sacreBLEU is given at a time. It holds the n-grams of all references that it is
# given: for 117,000 sentences at once that is 2.4 GB, and a third more time.
SENTENCES_AT_A_TIME = 100

# Fewest and most words of the sources that are scored together. One without a word is short too.
LENGTHS = {"1-5": (0, 5), "6-10": (6, 10), "11-15": (11, 15), ">15": (16, math.inf)}


def bleu(pred_seq: str, label_seq: str, k: int) -> float:
    r"""BLEU of one sentence against one reference, as the chapter defines it.

    $$\exp(\min(0, 1 - \mathrm{len}_{label} / \mathrm{len}_{pred})) \prod_{n=1}^k p_n^{1/2^n}$$

    where $p_n$ is the share of the prediction's n-grams that the label has too, each counted no
    more often than it stands there. It is from 0 to 1, and no figure to compare with others: for
    that there is `evaluate`, whose BLEU is sacreBLEU's.

    A prediction of fewer than k words has no k-grams, and the chapter's first code divided by
    zero then; here, as in its later one, n goes no further than the prediction is long. An empty
    prediction, which that code takes for one empty word, has a score of 0.

    Args:
        pred_seq: the prediction, its words divided by spaces.
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
    >>> round(bleu("A B", "A B C D E F", k=2), 2)  # nothing is wrong but the length
    0.14
    >>> bleu("A B B C D", "A B C D E F", k=4)  # of its 4-grams none is right
    0.0
    """
    check_int("k", k)
    prediction, label = _words(pred_seq), _words(label_seq)
    if not prediction:
        return 0.0
    score = math.exp(min(0.0, 1 - len(label) / len(prediction)))
    for n in range(1, min(k, len(prediction)) + 1):
        predicted, wanted = _n_grams(prediction, n), _n_grams(label, n)
        score *= ((predicted & wanted).total() / predicted.total()) ** 0.5**n
    return score


def _words(sequence: str) -> list[str]:
    return [word for word in sequence.split(" ") if word]


def _n_grams(words: list[str], n: int) -> "collections.Counter[tuple[str, ...]]":
    return collections.Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def make_metrics(tokenize: str = "13a") -> dict[str, Metric]:
    """SacreBLEU's BLEU and chrF, without regard to case.

    Args:
        tokenize: how sacreBLEU takes a text apart for BLEU, by its own names: `13a` as at WMT,
            `none` at spaces only, for text whose tokens have spaces between them already.

    Returns:
        The metrics by the names of their results, `bleu` and `chrf`.

    Raises:
        InputError: sacreBLEU has no such tokenization, or it needs what is not installed.
    """
    names = list(sacrebleu.BLEU.TOKENIZERS)
    if tokenize not in names:
        raise InputError(
            f"no tokenization {tokenize!r}; sacreBLEU has {', '.join(names)}"
            f"{did_you_mean(tokenize, names)}"
        )
    try:
        # Our text has a space before each full stop, which sacreBLEU takes for a mistake in the
        # evaluation and remarks on; to its tokenizer it makes no difference. `force` is for that.
        metric = sacrebleu.BLEU(lowercase=True, force=True, tokenize=tokenize)
    # Some need a package, or a vocabulary that sacreBLEU downloads.
    except (ImportError, RuntimeError, OSError) as error:
        raise InputError(
            f"tokenization {tokenize!r} cannot be used ({one_line(error)}); install what it "
            "needs, or give 13a"
        ) from error
    return {"bleu": metric, "chrf": sacrebleu.CHRF(lowercase=True)}


def sentence_statistics(
    metric: Metric, translations: Sequence[str], references: Sequence[Sequence[str]]
) -> np.ndarray:
    """What a metric counts in each sentence.

    A corpus score is a function of the sums of these over the corpus, so any part of the corpus,
    and any sample of it, can be scored without counting again.

    Args:
        metric: one of `make_metrics`; knows its signature afterwards.
        translations: one of each sentence.
        references: of each sentence one or more, and not of each as many.

    Returns:
        int64, (sentences, counts of the metric).
    """
    counts: list[list[int]] = []
    for start in range(0, len(translations), SENTENCES_AT_A_TIME):
        part = slice(start, start + SENTENCES_AT_A_TIME)
        # sacreBLEU takes a list for each position, with None where a sentence has fewer references.
        columns: Any = list(itertools.zip_longest(*references[part]))
        # Its own tests of significance go this way; what is public gives no counts for chrF.
        counts += metric._extract_corpus_statistics(translations[part], columns)
    numbers = {len(of_sentence) for of_sentence in references}
    # As sacreBLEU does for a corpus that it gets whole: -1 is "var" in the signature.
    metric.num_refs = numbers.pop() if len(numbers) == 1 else -1
    return np.array(counts, dtype="int64")


def score(metric: Metric, counts: np.ndarray) -> float:
    """The score, 0 to 100, of the sentences with these counts from `sentence_statistics`."""
    return _score_of_sums(metric, counts.sum(axis=0))


def _score_of_sums(metric: Metric, sums: np.ndarray) -> float:
    return float(metric._compute_score_from_stats(sums.tolist()).score)


def by_length(
    metric: Metric, counts: np.ndarray, sources: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Scores of short and of long sentences.

    Args:
        metric: one of `make_metrics`.
        counts: those of `sentence_statistics`.
        sources: the source of each sentence, whose words are what white space divides.

    Returns:
        For each of `LENGTHS` that occurs the `score` and `num_sentences` that it is of.
    """
    lengths = np.array([len(source.split()) for source in sources])
    rows: dict[str, dict[str, float]] = {}
    for name, (fewest, most) in LENGTHS.items():
        chosen = (fewest <= lengths) & (lengths <= most)
        if chosen.any():
            num_sentences = int(chosen.sum())
            rows[name] = {"score": score(metric, counts[chosen]), "num_sentences": num_sentences}
    return rows


class Difference(NamedTuple):
    """How much higher a system scores than a baseline, from `paired_bootstrap`.

    Attributes:
        difference: the system's score less the baseline's.
        interval: where it lies in 95% of the samples, from and to.
        p_value: how probable a difference this large, either way, is between equals.
    """

    difference: float
    interval: tuple[float, float]
    p_value: float


def paired_bootstrap(
    metric: Metric,
    baseline: np.ndarray,
    system: np.ndarray,
    num_samples: int = 1000,
    seed: int = 12345,
) -> Difference:
    """Tests whether two systems differ by more than the choice of sentences explains.

    Both are scored on the same samples of the sentences, each as many as there are, drawn with
    replacement. The differences of the scores, less the one that was found, are those to be
    expected between equals; the p-value is the share of them at least as large as the one found,
    either way, the found one counting as a sample too.

    sacreBLEU's own `PairedTest` draws the same samples, but gives no interval of the difference,
    holds all samples in memory at once, and says p = 0.001 of two systems that are the same.

    Args:
        metric: one of `make_metrics`.
        baseline: counts of `sentence_statistics`.
        system: the same of the other system, on the same sentences.
        num_samples: how many samples.
        seed: of the samples; the default is sacreBLEU's.

    Returns:
        A `Difference`.

    Source: Koehn, "Statistical Significance Tests for Machine Translation Evaluation", EMNLP 2004;
    the two-sided p-value: Riezler and Maxwell, "On Some Pitfalls in Automatic Evaluation and
    Significance Testing for MT", 2005.

    Example:

    >>> bleu_metric = make_metrics()["bleu"]
    >>> references = [["un deux trois quatre"], ["cinq six sept huit"]] * 20
    >>> right = [reference for [reference] in references]
    >>> half = [right[0], "dix"] * 20
    >>> counts = [sentence_statistics(bleu_metric, texts, references) for texts in (half, right)]
    >>> found = paired_bootstrap(bleu_metric, *counts)
    >>> found.difference > 0, found.interval[0] > 0, found.p_value < 0.05
    (True, True, True)
    """
    found = score(metric, system) - score(metric, baseline)
    generator = np.random.default_rng(seed)
    # So laid out, products are fast; and whole numbers stay out of BLAS, whose threads take ten
    # times as long where something else is running.
    counts = [np.ascontiguousarray(every.T) for every in (baseline, system)]
    differences = np.empty(num_samples)
    for sample in range(num_samples):
        drawn = generator.choice(len(system), len(system))
        times = np.bincount(drawn, minlength=len(system))
        of_baseline, of_system = (_score_of_sums(metric, every @ times) for every in counts)
        differences[sample] = of_system - of_baseline
    # What is as large but for the rounding of the last digits is as large.
    as_large = np.abs(differences - found) >= abs(found) - 1e-9
    lowest, highest = np.quantile(differences, [0.025, 0.975]).tolist()
    return Difference(found, (lowest, highest), (int(as_large.sum()) + 1) / (num_samples + 1))
