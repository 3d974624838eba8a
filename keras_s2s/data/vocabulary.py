"""Vocabularies from a configuration and a corpus."""

from typing import Any

from keras_s2s.data.config import DataConfig
from keras_s2s.data.parallel_corpus import ParallelCorpus
from keras_s2s.tokenizers.sentence_piece_tokenizer import SentencePieceTokenizer
from keras_s2s.tokenizers.tokenizer import Tokenizer
from keras_s2s.tokenizers.word_tokenizer import WordTokenizer

SUBWORDS = 8000


def make_tokenizers(recipe: DataConfig, corpus: ParallelCorpus) -> tuple[Tokenizer, Tokenizer]:
    """Learns the source's and the target's vocabulary; the same object when it is one for both."""
    sides = corpus.source, corpus.target
    if recipe.tokenizer == "word":
        source, target = (
            WordTokenizer.fit(side, recipe.min_freq, recipe.max_tokens) for side in sides
        )
        return source, target
    options: dict[str, Any] = {
        "vocab_size": recipe.max_tokens or SUBWORDS,
        "lowercase": recipe.lowercase,
    }
    if recipe.joint_vocabulary:
        joint = SentencePieceTokenizer.fit([*corpus.source, *corpus.target], **options)
        return joint, joint
    source, target = (SentencePieceTokenizer.fit(side, **options) for side in sides)
    return source, target
