"""Attention weights of one sentence, with its tokens."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class AttentionMap(NamedTuple):
    """Attention weights from each target token to each source token of one sentence.

    Attributes:
        source_tokens: tokens that the encoder read.
        target_tokens: tokens that greedy search emitted, with `<eos>`.
        weights: a row for each target token, a weight from 0 to 1 for each source token.
        probabilities: of each target token; empty if they are not known.
        is_unknown: whether the model does not know each source token; empty if that is not known.
    """

    source_tokens: list[str]
    target_tokens: list[str]
    weights: list[list[float]]
    probabilities: Sequence[float] = ()
    is_unknown: Sequence[bool] = ()

    @classmethod
    def from_outputs(cls, outputs: Mapping[str, Any], row: int = 0) -> "AttentionMap":
        """Return one sentence of the outputs of the signature `explain`, without padding.

        Args:
            outputs: result of `Translator.explain`, `Translator.explained` or
                `TranslationClient.explain`: tensors, or lists.
            row: index of the sentence in the batch.

        Example:

        >>> outputs = {
        ...     "source_tokens": [[b"go", b""]],
        ...     "target_tokens": [["va", "<eos>", ""]],
        ...     "attention": [[[1.0, 0.0], [1.0, 0.0], [0.0, 0.0]]],
        ... }
        >>> AttentionMap.from_outputs(outputs).target_tokens
        ['va', '<eos>']
        >>> AttentionMap.from_outputs(outputs).weights
        [[1.0], [1.0]]
        """
        source = _texts(outputs["source_tokens"][row])
        target = _texts(outputs["target_tokens"][row])
        weights = outputs["attention"][row][: len(target)]
        probabilities, unknown = (
            outputs[name][row][: len(tokens)] if name in outputs else []
            for name, tokens in (("probabilities", target), ("unknown_source", source))
        )
        return cls(
            source,
            target,
            [[float(weight) for weight in line[: len(source)]] for line in weights],
            [float(probability) for probability in probabilities],
            [bool(flag) for flag in unknown],
        )


def _texts(tokens: Any) -> list[str]:
    """Return the tokens as str, with a visible space, without the empty ones of the padding."""
    texts = [
        token.decode("utf-8") if isinstance(token, bytes) else str(token)
        for token in (tokens.numpy() if hasattr(tokens, "numpy") else tokens)
    ]
    return ["␣" if text == " " else text for text in texts if text]
