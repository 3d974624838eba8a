"""What `Translator.explain` found, as Python's own texts and numbers."""

from typing import Any, NamedTuple


class AttentionMap(NamedTuple):
    """Where a model looked in the source while it wrote each token of an answer.

    Attributes:
        source: the tokens that it read.
        target: those that it wrote, `<eos>` too.
        attention: a row for each of the target, a number for each of the source.
    """

    source: list[str]
    target: list[str]
    attention: list[list[float]]

    @classmethod
    def of_row(cls, explained: Any, row: int) -> "AttentionMap":
        """One sentence of what `Translator.explain` returns, without padding.

        Example:

        >>> explained = {
        ...     "source_tokens": [[b"go", b""]],
        ...     "target_tokens": [["va", "<eos>", ""]],
        ...     "attention": [[[1.0, 0.0], [1.0, 0.0], [0.0, 0.0]]],
        ... }
        >>> Explained.of_row(explained, 0)
        Explained(source=['go'], target=['va', '<eos>'], attention=[[1.0], [1.0]])
        """
        source = _words(explained["source_tokens"][row])
        target = _words(explained["target_tokens"][row])
        weights = explained["attention"][row][: len(target)]
        return cls(source, target, [[float(w) for w in line[: len(source)]] for line in weights])


def _words(tokens: Any) -> list[str]:
    """Tokens as text, without padding."""
    texts = [
        token.decode("utf-8") if isinstance(token, bytes) else str(token)
        for token in (tokens.numpy() if hasattr(tokens, "numpy") else tokens)
    ]
    return [text for text in texts if text]
