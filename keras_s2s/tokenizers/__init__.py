"""Tokenizers: raw text to ids and back, as graph code.

One tokenizer object serves training, evaluation and serving, so the three cannot disagree.
Ids 0 to 3 are `<pad>`, `<bos>`, `<eos>` and `<unk>` in all of them.
"""

from keras_s2s.tokenizers.character_tokenizer import CharacterTokenizer, WhitespaceTokenizer
from keras_s2s.tokenizers.sentence_piece_tokenizer import SentencePieceTokenizer
from keras_s2s.tokenizers.tokenizer import Tokenizer
from keras_s2s.tokenizers.word_tokenizer import WordTokenizer

__all__ = [
    "CharacterTokenizer",
    "SentencePieceTokenizer",
    "Tokenizer",
    "WhitespaceTokenizer",
    "WordTokenizer",
]
