"""Scores that can be compared."""

import itertools
import math
import time
from collections.abc import Iterator
from typing import Any

import sacrebleu

from keras_s2s.console import progress_bar
from keras_s2s.corpus import ParallelCorpus
from keras_s2s.errors import InputError
from keras_s2s.sentences import ScoredPair, SentenceTranslator


def evaluate(
    translator: SentenceTranslator, corpus: ParallelCorpus, batch_size: int = 64
) -> dict[str, Any]:
    """Scores a translator on a corpus.

    BLEU and chrF are sacreBLEU's, on the raw references and without regard to case, since the
    chapter's tokenizer lower-cases. Every distinct source is translated once and compared with
    all of its translations in the corpus.

    Args:
        translator: a `Translator`, or an export.
        corpus: the pairs.
        batch_size: sentences at a time.

    Returns:
        `bleu` and `chrf` (0 to 100) with `bleu_signature` and `chrf_signature`;
        `nats_per_token` and `perplexity` of the references, each cut to the tokens that an answer
        can have, the end of the sentence counting as a token; `sentences_per_second` of
        translating; `num_pairs`, `num_sentences` and `num_tokens`.

    Raises:
        InputError: the corpus is empty.
    """
    if not len(corpus):
        raise InputError(f"{corpus.name}: no pair to evaluate on")
    sources, references = corpus.references()
    # The graph is made in the first call; that is not the speed of translating.
    translator.translate(sources[:1])
    began = time.perf_counter()
    translations: list[str] = []
    for batch in _batches(len(sources), batch_size, "translating"):
        translations += translator.translate(sources[batch], batch_size)
    seconds = time.perf_counter() - began
    pairs: list[ScoredPair] = []
    for batch in _batches(len(corpus), batch_size, "scoring"):
        pairs += translator.score_pairs(corpus.source[batch], corpus.target[batch], batch_size)
    num_tokens = sum(pair.num_tokens for pair in pairs)
    nats_per_token = -math.fsum(pair.score for pair in pairs) / num_tokens
    # sacreBLEU takes a list for each position, with None where a sentence has fewer references.
    columns: Any = list(itertools.zip_longest(*references))
    # Our text has a space before each full stop, which sacreBLEU takes for a mistake in the
    # evaluation and remarks on; to its tokenizer it makes no difference. `force` is for that.
    bleu = sacrebleu.BLEU(lowercase=True, force=True)
    chrf = sacrebleu.CHRF(lowercase=True)
    return {
        "bleu": bleu.corpus_score(translations, columns).score,
        "bleu_signature": str(bleu.get_signature()),
        "chrf": chrf.corpus_score(translations, columns).score,
        "chrf_signature": str(chrf.get_signature()),
        "nats_per_token": nats_per_token,
        "perplexity": math.exp(min(nats_per_token, 700.0)),
        "num_pairs": len(corpus),
        "num_sentences": len(sources),
        "num_tokens": num_tokens,
        "sentences_per_second": len(sources) / seconds,
    }


def _batches(size: int, batch_size: int, description: str) -> Iterator[slice]:
    """Slices that cover `size` items, with a progress bar on a terminal."""
    with progress_bar() as bar:
        for start in bar.track(range(0, size, batch_size), description=description):
            yield slice(start, start + batch_size)
