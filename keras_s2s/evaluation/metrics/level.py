"""What the answers of a task are: sentences, or single words."""

import re
from collections.abc import Iterable, Sequence

from keras_s2s.tokenizers.source_columns import has_features, text_columns
from keras_s2s.tokenizers.tokenizer import Tokenizer
from keras_s2s.tokenizers.word_tokenizer import WordTokenizer
from keras_s2s.utils.scores import SENTENCE, WORD

# Share of the texts that are one word where all are taken for words. Dictionaries have some
# entries of several words.
WORD_SHARE = 0.9
# Mean length of symbols such as phones, at most; words are longer.
MAX_SYMBOL_LENGTH = 2.5
# What one word does not contain. A tab parts the columns of a source.
_BETWEEN_WORDS = re.compile(r"[^\S\t]|[。！？、，…]")


def answer_level(
    tokenizer: Tokenizer | None, sources: Iterable[str], references: Iterable[str]
) -> str:
    """Return what the answers of a task are.

    Args:
        tokenizer: the target tokenizer; None where it is not known, as for an export.
        sources: the sources; without one, the references decide.
        references: the references.

    Returns:
        `word` for a task on single words, such as pronunciation, transliteration or inflection:
        the sources are words, and so are the references, or they are symbols that a
        `WhitespaceTokenizer` parts. Else `sentence`, and always with a `WordTokenizer`.

    Example:

    >>> answer_level(None, ["walk", "go"], ["walked", "went"])
    'word'
    >>> answer_level(None, ["Go on.", "I won!"], ["Continue.", "Gagné !"])
    'sentence'
    """
    if isinstance(tokenizer, WordTokenizer) or not are_words(sources):
        return SENTENCE
    if tokenizer is not None and tokenizer.space is None:
        return WORD
    return WORD if are_words(references) else SENTENCE


def source_texts(translator: object, sources: Sequence[str]) -> list[str]:
    """Return sources without their features, if a translator's source tokenizer reads some."""
    columns = getattr(getattr(translator, "source_tokenizer", None), "columns", None)
    if columns is None or not has_features(columns):
        return list(sources)
    return text_columns(sources, columns)


def are_words(texts: Iterable[str]) -> bool:
    """Return whether nearly all texts are single words."""
    flags = [_BETWEEN_WORDS.search(text.strip()) is None for text in texts]
    return sum(flags) >= WORD_SHARE * len(flags)


def suggest_characters(sources: Sequence[str], targets: Sequence[str]) -> str | None:
    """Return options of `keras-s2s train` for a corpus of words, or None for sentences.

    Args:
        sources: the sources, without features.
        targets: the targets: words, or symbols with spaces between, such as phones.

    Example:

    >>> suggest_characters(["walk", "go"], ["walked", "went"])
    '--preset character'
    >>> suggest_characters(["bon", "oui"], ["b ɔ̃", "w i"])
    '--preset character --target-tokenizer whitespace'
    >>> suggest_characters(["Go on.", "I won!"], ["Continue.", "Gagné !"])
    """
    if not are_words(sources):
        return None
    if are_words(targets):
        return "--preset character"
    symbols = [symbol for text in targets for symbol in text.split()]
    if sum(map(len, symbols)) <= MAX_SYMBOL_LENGTH * len(symbols):
        return "--preset character --target-tokenizer whitespace"
    return None
