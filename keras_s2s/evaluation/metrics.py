"""Corpus scores of translations, by sacreBLEU, and the sentence BLEU of the book chapter."""

import collections
import itertools
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import sacrebleu
from sacrebleu.metrics.base import Metric

from keras_s2s.utils.checks import check_int
from keras_s2s.utils.errors import InputError, did_you_mean, one_line

# Sentences per call of sacreBLEU. It holds the n-grams of all references of a call: 117,000
# sentences in one call take 2.4 GB, and a third more time.
CHUNK_SIZE = 100
# Texts whose script `default_tokenization` looks at.
MAX_TEXTS_FOR_SCRIPT = 10_000

# Ranges of the number of words in a source. An empty source is in the first.
LENGTH_BUCKETS = {"1-5": (0, 5), "6-10": (6, 10), "11-15": (11, 15), ">15": (16, math.inf)}

# Scripts without spaces between words: kana; Thai, Lao, Tibetan, Burmese, Khmer; Han.
_KANA = re.compile(r"[\u3041-\u30ff\u31f0-\u31ff\uff66-\uff9f]")
_SOUTHEAST_ASIAN = re.compile(r"[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff]")
_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_LETTER = re.compile(r"[^\W\d_]")


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


def default_tokenization(references: Iterable[str]) -> str:
    """Return sacreBLEU's tokenizer for BLEU that suits the script of some references.

    `13a` splits at spaces and punctuation, so that a Chinese sentence would be one word, and a
    score of anything but whole sentences zero. The choice for Chinese is that of sacreBLEU's
    command for a target language `zh`; its `ja-mecab` needs a package.

    Args:
        references: raw texts.

    Returns:
        `zh` if most letters are Chinese characters; `char` if they are of another script without
        spaces (Japanese, Thai, Lao, Burmese, Khmer); else `13a`.

    Example:

    >>> [default_tokenization([text]) for text in ("Va !", "我们试试看。", "やってみよう。")]
    ['13a', 'zh', 'char']
    """
    text = "\n".join(itertools.islice(references, MAX_TEXTS_FOR_SCRIPT))
    han, kana, other = (len(p.findall(text)) for p in (_HAN, _KANA, _SOUTHEAST_ASIAN))
    if 2 * (han + kana + other) <= len(_LETTER.findall(text)):
        return "13a"
    return "zh" if han > 10 * (kana + other) else "char"


def make_metrics(tokenize: str = "13a", lowercase: bool = True) -> dict[str, Metric]:
    """Return sacreBLEU's BLEU and chrF.

    Args:
        tokenize: sacreBLEU's tokenizer for BLEU: `13a` as at WMT, `none` for text that is
            tokenized already (split at spaces only), or another of its names.
        lowercase: whether case is ignored.

    Returns:
        The metrics, by the keys `bleu` and `chrf`.

    Raises:
        InputError: sacreBLEU has no such tokenizer, or a package or file that it needs is missing.
    """
    names = list(sacrebleu.BLEU.TOKENIZERS)
    if tokenize not in names:
        raise InputError(
            f"no tokenization {tokenize!r}; sacreBLEU has {', '.join(names)}"
            f"{did_you_mean(tokenize, names)}"
        )
    try:
        # `force` silences the warning about tokenized input: the translations have a space before
        # each full stop, which does not change the result of sacreBLEU's tokenizer.
        metric = sacrebleu.BLEU(lowercase=lowercase, force=True, tokenize=tokenize)
    # Some need a package, or a vocabulary that sacreBLEU downloads.
    except (ImportError, RuntimeError, OSError) as error:
        raise InputError(
            f"tokenization {tokenize!r} cannot be used ({one_line(error)}); install it, or use 13a"
        ) from error
    return {"bleu": metric, "chrf": sacrebleu.CHRF(lowercase=lowercase)}


def sentence_statistics(
    metric: Metric, translations: Sequence[str], references: Sequence[Sequence[str]]
) -> np.ndarray:
    """Compute the sufficient statistics of a metric for each sentence.

    A corpus score is a function of the sums of these, so every subset or resample of the corpus
    can be scored without counting n-grams again.

    Args:
        metric: one of `make_metrics`; its signature is valid afterwards.
        translations: one for each sentence.
        references: one or more for each sentence; the count may differ between sentences.

    Returns:
        int64, (sentences, statistics of the metric).
    """
    statistics: list[list[int]] = []
    for start in range(0, len(translations), CHUNK_SIZE):
        chunk = slice(start, start + CHUNK_SIZE)
        # One list for each reference position, with None where a sentence has fewer references.
        streams: Any = list(itertools.zip_longest(*references[chunk]))
        # Private, but sacreBLEU's own significance tests use it; the public API has no statistics
        # of chrF.
        statistics += metric._extract_corpus_statistics(translations[chunk], streams)
    counts = {len(texts) for texts in references}
    # As sacreBLEU does for a whole corpus: -1 is "var" in the signature.
    metric.num_refs = counts.pop() if len(counts) == 1 else -1
    return np.array(statistics, dtype="int64")


def score(metric: Metric, statistics: np.ndarray) -> float:
    """Return the corpus score, 0 to 100, of sentences with these `sentence_statistics`."""
    return score_of_sums(metric, statistics.sum(axis=0))


def score_of_sums(metric: Metric, sums: np.ndarray) -> float:
    """Return the corpus score, 0 to 100, of summed `sentence_statistics`."""
    return float(metric._compute_score_from_stats(sums.tolist()).score)


def score_by_length(
    metric: Metric, statistics: np.ndarray, sources: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Score short and long sentences separately.

    Args:
        metric: one of `make_metrics`.
        statistics: the `sentence_statistics`.
        sources: the source of each sentence; its words are separated by white space.

    Returns:
        `score` and `num_sentences` for each non-empty bucket of `LENGTH_BUCKETS`.
    """
    return {
        name: {"score": score(metric, statistics[selected]), "num_sentences": int(selected.sum())}
        for name, selected in length_buckets(sources).items()
    }


def length_buckets(sources: Sequence[str]) -> dict[str, np.ndarray]:
    """Return which sources, as bool, are in each non-empty bucket of `LENGTH_BUCKETS`."""
    lengths = np.array([len(source.split()) for source in sources])
    buckets = {
        name: (shortest <= lengths) & (lengths <= longest)
        for name, (shortest, longest) in LENGTH_BUCKETS.items()
    }
    return {name: selected for name, selected in buckets.items() if selected.any()}
