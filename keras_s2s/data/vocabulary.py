"""Vocabularies from a configuration and a corpus."""

from typing import Any

from keras_s2s.data.config import PreparationConfig
from keras_s2s.data.parallel_corpus import ParallelCorpus
from keras_s2s.tokenizers.sentence_piece_tokenizer import SentencePieceTokenizer
from keras_s2s.tokenizers.tokenizer import Tokenizer
from keras_s2s.tokenizers.word_tokenizer import WordTokenizer

DEFAULT_SUBWORD_VOCAB_SIZE = 8000


def make_tokenizers(
    config: PreparationConfig, corpus: ParallelCorpus
) -> tuple[Tokenizer, Tokenizer]:
    """Fit the source and target tokenizers; a joint vocabulary gives the same object twice."""
    sides = corpus.source, corpus.target
    if config.tokenizer == "word":
        source, target = (
            WordTokenizer.fit(side, config.min_freq, config.vocab_size) for side in sides
        )
        return source, target
    options: dict[str, Any] = {
        "vocab_size": config.vocab_size or DEFAULT_SUBWORD_VOCAB_SIZE,
        "lowercase": config.lowercase,
    }
    if config.joint_vocabulary:
        joint = SentencePieceTokenizer.fit([*corpus.source, *corpus.target], **options)
        return joint, joint
    source, target = (SentencePieceTokenizer.fit(side, **options) for side in sides)
    return source, target
