"""Plots of histories, corpora and models, as Matplotlib figures.

The figures do not use pyplot: they need no display and are freed with their last reference.
Matplotlib is imported when the first figure is made.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from keras_s2s.evaluation.attention_map import AttentionMap
from keras_s2s.evaluation.history import panels
from keras_s2s.evaluation.rendering import COLORS, GRID_COLOR
from keras_s2s.evaluation.rendering import save as save
from keras_s2s.utils.console import pluralize
from keras_s2s.utils.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_BINS = 60
MAX_MARKERS = 60


def plot_history(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Plot loss, accuracy, validation scores and throughput by epoch, as far as available.

    Args:
        rows: those of a run's `history.csv`, from `csv.DictReader`.

    Raises:
        InputError: there is no epoch with a finite value.

    Example:

    >>> figure = plot_history([{"epoch": 1, "loss": 2.5}, {"epoch": 2, "loss": 2.0}])
    >>> [axes.get_title() for axes in figure.axes]
    ['loss (nats per token)']
    """
    shown = panels(rows)
    if not shown:
        raise InputError("the history is empty; train for at least one epoch")
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    num_columns = min(2, len(shown))
    num_rows = math.ceil(len(shown) / num_columns)
    width, height = 4.6 * num_columns, 2.7 * num_rows
    # Fixed margins, in inches: the constrained layout takes as long as all of the drawing, which
    # the end of every training would wait for.
    figure = Figure(figsize=(width, height))
    figure.subplots_adjust(
        left=0.65 / width,
        right=1 - 0.15 / width,
        bottom=0.5 / height,
        top=1 - 0.35 / height,
        wspace=0.24,
        hspace=0.4,
    )
    for index, panel in enumerate(shown, 1):
        axes = figure.add_subplot(num_rows, num_columns, index)
        for (label, points), color in zip(panel.curves.items(), COLORS, strict=False):
            marker = "o" if len(points) <= MAX_MARKERS else None
            axes.plot(*zip(*points, strict=True), marker=marker, ms=3, color=color, label=label)
        axes.set_title(panel.title, fontsize=11)
        axes.set_xlabel("epoch")
        # The time to draw is mostly that of the ticks.
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=4))
        if axes.get_ylim()[1] >= 1000:
            axes.yaxis.set_major_formatter("{x:,.0f}")
        _style_axes(axes)
        if len(panel.curves) > 1:
            axes.legend(frameon=False)
    return figure


def plot_attention(attention: Mapping[str, Any] | AttentionMap, row: int = 0) -> Figure:
    """Plot the attention weights of one sentence as a heat map.

    Args:
        attention: result of `Translator.explain`, or an `AttentionMap`.
        row: index of the sentence in the batch.

    Returns:
        A figure with a row for each target token and a column for each source token; darker cells
        have more weight.

    Reference: figure 3 of Bahdanau, Cho and Bengio, 2015.

    Example:

    >>> outputs = {
    ...     "source_tokens": [["go", "!", ""]],
    ...     "target_tokens": [["va", "!", "<eos>"]],
    ...     "attention": [[[0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.1, 0.9, 0.0]]],
    ... }
    >>> [axes] = plot_attention(outputs).axes
    >>> [label.get_text() for label in axes.get_yticklabels()]
    ['va', '!', '<eos>']
    """
    if not isinstance(attention, AttentionMap):
        attention = AttentionMap.from_outputs(attention, row)
    source, target, weights = attention
    longest = [max(map(len, tokens), default=0) for tokens in (source, target)]
    figure = _figure(
        0.6 + 0.09 * longest[1] + 0.32 * max(len(source), 2),
        0.6 + 0.09 * longest[0] + 0.32 * max(len(target), 2),
    )
    axes = figure.add_subplot()
    if source and target:
        axes.imshow(weights, cmap="Greys", vmin=0, vmax=1, aspect="auto")
    # A dollar sign in a token does not start a formula.
    axes.set_xticks(range(len(source)), source, rotation=90, parse_math=False)
    axes.set_yticks(range(len(target)), target, parse_math=False)
    # Cell borders: a row of weights near 0 is as white as the page.
    axes.set_xticks([column - 0.5 for column in range(len(source) + 1)], minor=True)
    axes.set_yticks([row - 0.5 for row in range(len(target) + 1)], minor=True)
    axes.grid(which="minor", color=GRID_COLOR, linewidth=0.5)
    axes.xaxis.tick_top()
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_color(GRID_COLOR)
    return figure


def plot_lengths(source: Sequence[int], target: Sequence[int], limit: int | None = None) -> Figure:
    """Plot histograms of the sentence lengths of a corpus.

    Args:
        source: token count of the source of each pair.
        target: token count of the target of each pair.
        limit: maximum token count of the model, on either side.

    Raises:
        InputError: there are no sentences.

    Example:

    >>> [axes] = plot_lengths([2, 3, 3], [4, 4, 5]).axes
    >>> axes.get_xlabel()
    'tokens per sentence'
    """
    if not len(source) or not len(target):
        raise InputError("no sentence lengths to plot; give at least one sentence")
    figure = _figure(5.4, 3.6)
    axes = figure.add_subplot()
    longest = max(*source, *target)
    width = max(1, math.ceil(longest / MAX_BINS))
    edges = [edge - 0.5 for edge in range(0, longest + width + 1, width)]
    for lengths, label, color in ((source, "source", COLORS[0]), (target, "target", COLORS[1])):
        mean = sum(lengths) / len(lengths)
        _histogram(axes, lengths, edges, f"{label}, mean {mean:.1f}", color)
    if limit is not None:
        share = sum(max(pair) > limit for pair in zip(source, target, strict=False)) / len(source)
        shown = f"{share:.1%}" if share >= 0.001 else "less than 0.1%" if share else "none"
        label = f"limit of {limit}: exceeded by {shown} of the pairs"
        axes.axvline(limit + 0.5, color="black", linestyle="--", linewidth=1, label=label)
    axes.set_xlim(left=0)
    axes.set_xlabel("tokens per sentence")
    axes.set_ylabel("sentences")
    _add_legend(axes)
    _style_axes(axes)
    return figure


def plot_scores(scores: Mapping[str, Sequence[float]]) -> Figure:
    """Plot histograms of the log-probabilities that a model gives sentences.

    Args:
        scores: for one or two names, such as `translations` and `references`, the log-probability
            per token of each sentence, in nats.

    Raises:
        InputError: there is no finite score.

    Example:

    >>> [axes] = plot_scores({"translations": [-0.5, -0.25]}).axes
    >>> axes.get_legend().get_texts()[0].get_text()
    'translations, median −0.38'
    """
    finite = [score for group in scores.values() for score in group if math.isfinite(score)]
    if not finite:
        raise InputError("no scores to plot; give at least one")
    figure = _figure(5.4, 3.6)
    axes = figure.add_subplot()
    low, high = min(finite), max(*finite, 0.0)
    width = (high - low or 1.0) / 40
    edges = [low + width * index for index in range(41)]
    for (name, group), color in zip(scores.items(), COLORS, strict=False):
        median = statistics.median(group)
        _histogram(axes, group, edges, f"{name}, median {median:.2f}".replace("-", "−"), color)
        axes.axvline(median, color=color, linestyle="--", linewidth=1)
    axes.set_xlabel("log-probability per token (nats), mean of the sentence")
    axes.set_ylabel("sentences")
    _add_legend(axes)
    _style_axes(axes)
    return figure


def plot_bleu_by_length(
    by_length: Mapping[str, Mapping[str, float]], bleu: float | None = None
) -> Figure:
    """Plot BLEU by source length as bars.

    Args:
        by_length: `bleu_by_length` of the result of `evaluate`.
        bleu: BLEU of all sentences.

    Raises:
        InputError: `by_length` is empty.

    Example:

    >>> rows = {"1-5": {"score": 40.0, "num_sentences": 7}}
    >>> [axes] = plot_bleu_by_length(rows, bleu=38.0).axes
    >>> axes.get_xticklabels()[0].get_text().splitlines()
    ['1-5', '7 sentences']
    """
    if not by_length:
        raise InputError("no BLEU scores to plot; give those of at least one sentence")
    figure = _figure(5.4, 3.6)
    axes = figure.add_subplot()
    positions, heights = range(len(by_length)), [row["score"] for row in by_length.values()]
    bars = axes.bar(positions, heights, color=COLORS[0], width=0.6)
    box = {"facecolor": "white", "edgecolor": "none", "pad": 1}
    axes.bar_label(bars, fmt="%.1f", padding=3, bbox=box)
    labels = [
        f"{name}\n{pluralize(row['num_sentences'], 'sentence', ',.0f')}"
        for name, row in by_length.items()
    ]
    axes.set_xticks(positions, labels)
    if bleu is not None:
        label = f"all sentences: {bleu:.1f}"
        axes.axhline(bleu, color=COLORS[1], linestyle="--", linewidth=1, label=label)
        _add_legend(axes)
    axes.set_xlabel("words in the source")
    axes.set_ylabel("BLEU")
    axes.set_ylim(0, max(1.0, 1.15 * max(*heights, bleu or 0.0)))
    _style_axes(axes)
    axes.grid(visible=False, axis="x")
    return figure


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _histogram(
    axes: Axes, values: Sequence[float], edges: list[float], label: str, color: str
) -> None:
    axes.hist(values, edges, histtype="stepfilled", alpha=0.35, color=color, label=label)
    axes.hist(values, edges, histtype="step", color=color)
    axes.yaxis.set_major_formatter("{x:,.0f}")


def _add_legend(axes: Axes) -> None:
    """Add a legend above the axes, where it covers nothing."""
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2)


def _style_axes(axes: Axes) -> None:
    axes.grid(color=GRID_COLOR, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
