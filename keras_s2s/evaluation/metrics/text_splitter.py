"""Texts as tokens and words, to be compared with references."""

import unicodedata
from collections.abc import Callable, Sequence

from keras_s2s.tokenizers.tokenizer import SPECIAL_TOKENS, UNK, Tokenizer
from keras_s2s.utils.text import encode_texts, string_tensor

# A tokenizer; a function from a text to its tokens, such as `list`; or None, for what spaces part.
Splits = Tokenizer | Callable[[str], Sequence[str]] | None

# Texts per call of a tokenizer.
BATCH_SIZE = 1024
# Lists of texts that are kept as tokens: the references and the answers.
CACHE_SIZE = 2
# Stands for an unknown token of a reference, which no answer equals.
UNKNOWN = "\0"


class TextSplitter:
    """Splits texts into tokens and words.

    With a `Tokenizer` the texts are compared as it sees them: what it normalizes away, such as
    case, does not count. Its words are those that spaces part in that text.

    Args:
        tokenizer: the target tokenizer; or a function from a text to its tokens; or None, where
            tokens are what spaces part.
        lowercase: whether case is ignored, also where the tokenizer keeps it.
    """

    def __init__(self, tokenizer: Splits = None, lowercase: bool = False) -> None:
        self.tokenizer = tokenizer
        self.lowercase = lowercase
        # The metrics that share a splitter split the same texts.
        self._cache: dict[tuple[str, ...], list[list[str]]] = {}

    @property
    def name(self) -> str:
        """The name of the tokenizer, for signatures."""
        if self.tokenizer is None:
            return "space"
        if isinstance(self.tokenizer, Tokenizer):
            return type(self.tokenizer).__name__
        return getattr(self.tokenizer, "__name__", type(self.tokenizer).__name__)

    def tokens(self, texts: Sequence[str], is_reference: bool = False) -> list[list[str]]:
        """Return the tokens of each text.

        Args:
            texts: raw text.
            is_reference: whether `<unk>` becomes a token that no answer has.
        """
        if self.lowercase:
            texts = [text.lower() for text in texts]
        if not isinstance(self.tokenizer, Tokenizer):
            split = self.tokenizer or str.split
            return [list(split(unicodedata.normalize("NFC", text))) for text in texts]
        key = tuple(texts)
        if key not in self._cache:
            if len(self._cache) == CACHE_SIZE:
                del self._cache[next(iter(self._cache))]
            self._cache[key] = [
                row
                for start in range(0, len(texts), BATCH_SIZE)
                for row in _token_texts(self.tokenizer, texts[start : start + BATCH_SIZE])
            ]
        rows = self._cache[key]
        if is_reference:
            unknown = SPECIAL_TOKENS[UNK]
            return [[UNKNOWN if token == unknown else token for token in row] for row in rows]
        return rows

    def words(self, texts: Sequence[str], is_reference: bool = False) -> list[list[str]]:
        """Return the words of each text, as `tokens` returns tokens."""
        if not isinstance(self.tokenizer, Tokenizer):
            return TextSplitter(None, self.lowercase).tokens(texts)
        rows = self.tokens(texts, is_reference)
        space = self.tokenizer.space
        if space is None:
            return rows
        return ["".join(row).replace(space, " ").split() for row in rows]

    def keeps_case(self, texts: Sequence[str]) -> bool:
        """Return whether case counts in these texts; true if they have none."""
        if self.lowercase:
            return False
        cased = [text for text in texts if text != text.lower()][:BATCH_SIZE]
        return not cased or self.tokens(cased) != TextSplitter(self.tokenizer, True).tokens(cased)


def _token_texts(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[str]]:
    tensor = string_tensor(encode_texts(texts))
    lengths = tokenizer.tokenize(tensor).row_lengths().numpy().tolist()
    tokens = tokenizer.source_tokens(tensor, max(*lengths, 1)).numpy().tolist()
    return [
        [token.decode("utf-8", "replace") for token in row[:length]]
        for row, length in zip(tokens, lengths, strict=True)
    ]
