"""BLEU and chrF, by sacreBLEU."""

import itertools
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import sacrebleu
from sacrebleu.metrics.base import Metric

from keras_s2s.evaluation.metrics.corpus_metric import CorpusMetric
from keras_s2s.utils.errors import InputError, did_you_mean, one_line

# Sentences per call of sacreBLEU. It holds the n-grams of all references of a call: 117,000
# sentences in one call take 2.4 GB, and a third more time.
CHUNK_SIZE = 100
# Texts whose script `default_tokenization` looks at.
MAX_TEXTS_FOR_SCRIPT = 10_000

# Scripts without spaces between words: kana; Thai, Lao, Tibetan, Burmese, Khmer; Han.
_KANA = re.compile(r"[\u3041-\u30ff\u31f0-\u31ff\uff66-\uff9f]")
_SOUTHEAST_ASIAN = re.compile(r"[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff]")
_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_LETTER = re.compile(r"[^\W\d_]")


class SacreBleuMetric(CorpusMetric):
    """A metric of sacreBLEU.

    Args:
        metric: `sacrebleu.BLEU` or another that has statistics of sentences.
    """

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    @property
    def signature(self) -> str:
        return str(self._metric.get_signature())

    def statistics(
        self, translations: Sequence[str], references: Sequence[Sequence[str]]
    ) -> np.ndarray:
        statistics: list[list[int]] = []
        for start in range(0, len(translations), CHUNK_SIZE):
            chunk = slice(start, start + CHUNK_SIZE)
            # One list for each reference position, with None where a sentence has fewer references.
            streams: Any = list(itertools.zip_longest(*references[chunk]))
            # Private, but sacreBLEU's own significance tests use it; the public API has no
            # statistics of chrF.
            statistics += self._metric._extract_corpus_statistics(translations[chunk], streams)
        counts = {len(texts) for texts in references}
        # As sacreBLEU does for a whole corpus: -1 is "var" in the signature.
        self._metric.num_refs = counts.pop() if len(counts) == 1 else -1
        return np.array(statistics, dtype="int64")

    def score_of_sums(self, sums: np.ndarray) -> float:
        return float(self._metric._compute_score_from_stats(sums.tolist()).score)


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


def make_bleu(tokenize: str = "13a", lowercase: bool = True) -> SacreBleuMetric:
    """Return sacreBLEU's BLEU.

    Args:
        tokenize: sacreBLEU's tokenizer: `13a` as at WMT, `none` for text that is tokenized already
            (split at spaces only), or another of its names.
        lowercase: whether case is ignored.

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
    return SacreBleuMetric(metric)


def make_chrf(lowercase: bool = True) -> SacreBleuMetric:
    """Return sacreBLEU's chrF, which ignores case or not."""
    return SacreBleuMetric(sacrebleu.CHRF(lowercase=lowercase))
