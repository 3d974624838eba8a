"""Pictures; needs matplotlib (`pip install 'keras-s2s[notebook]'`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from keras_s2s.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_attention(explained: Any, row: int = 0, axes: Axes | None = None) -> Axes:
    """Draws where a model looked in the source while it wrote each token.

    Args:
        explained: what `Translator.explain` returns.
        row: which sentence of the batch.
        axes: where to draw; a figure of its own when left out.

    Returns:
        The axes: a row for each target token, a column for each source token, the darker the more
        attention.

    Raises:
        InputError: matplotlib is not installed.

    Reference: the pictures of Bahdanau, Cho and Bengio, 2015.

    Example:

    >>> import matplotlib
    >>> matplotlib.use("agg")
    >>> explained = {
    ...     "source_tokens": [["go", "!", ""]],
    ...     "target_tokens": [["va", "!", "<eos>"]],
    ...     "attention": [[[0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.1, 0.9, 0.0]]],
    ... }
    >>> axes = plot_attention(explained)
    >>> [label.get_text() for label in axes.get_yticklabels()]
    ['va', '!', '<eos>']
    """
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise InputError(
            "pictures need matplotlib, which is not installed; pip install 'keras-s2s[notebook]'"
        ) from error
    source = _words(explained["source_tokens"][row])
    target = _words(explained["target_tokens"][row])
    if axes is None:
        size = 1.5 + 0.35 * len(source), 1.0 + 0.35 * len(target)
        _, axes = pyplot.subplots(figsize=size, layout="constrained")
    weights = [list(map(float, line))[: len(source)] for line in explained["attention"][row]]
    axes.imshow(weights[: len(target)], cmap="Greys", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(source)), source, rotation=90)
    axes.set_yticks(range(len(target)), target)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    return axes


def _words(tokens: Any) -> Sequence[str]:
    """Tokens as text, without padding."""
    texts = [
        token.decode("utf-8") if isinstance(token, bytes) else str(token)
        for token in (tokens.numpy() if hasattr(tokens, "numpy") else tokens)
    ]
    return [text for text in texts if text]
