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
from keras_s2s.evaluation.history import Panel, panels
from keras_s2s.evaluation.palette import PALETTE
from keras_s2s.evaluation.rendering import (
    COLORS,
    GRID_COLOR,
    PANEL_WIDTH,
    add_legend,
    make_figure,
    style_axes,
)
from keras_s2s.evaluation.rendering import save as save
from keras_s2s.evaluation.score_plots import plot_bleu_by_length as plot_bleu_by_length
from keras_s2s.evaluation.score_plots import plot_confusions as plot_confusions
from keras_s2s.evaluation.score_plots import plot_scores_by_length as plot_scores_by_length
from keras_s2s.utils.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_BINS = 60
MAX_MARKERS = 60
LINE_STYLES = ("-", "--")


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
    from matplotlib.gridspec import GridSpec

    rows_of_panels = [
        row for minor in (False, True) if (row := [p for p in shown if p.minor == minor])
    ]
    num_columns = max(map(len, rows_of_panels))
    heights = [_panel_height(row[0]) for row in rows_of_panels]
    figure = _figure_of_panels(PANEL_WIDTH * num_columns, sum(heights))
    grid = GridSpec(len(heights), num_columns, figure, height_ratios=heights)
    for index, row in enumerate(rows_of_panels):
        for column, panel in enumerate(row):
            _draw_panel(figure.add_subplot(grid[index, column]), panel)
    return figure


def plot_panel(panel: Panel) -> Figure:
    """Plot one quantity by epoch, for a report whose columns follow the width of the page."""
    figure = _figure_of_panels(PANEL_WIDTH, _panel_height(panel))
    _draw_panel(figure.add_subplot(), panel)
    return figure


def _panel_height(panel: Panel) -> float:
    return 1.7 if panel.minor else 2.7


def _figure_of_panels(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    # Fixed margins, in inches: the constrained layout takes as long as all of the drawing, which
    # the end of every training would wait for.
    figure.subplots_adjust(
        left=0.65 / width,
        right=1 - 0.15 / width,
        bottom=0.5 / height,
        top=1 - 0.35 / height,
        wspace=0.24,
        hspace=0.6,
    )
    return figure


def _draw_panel(axes: Axes, panel: Panel) -> None:
    from matplotlib.ticker import MaxNLocator

    # A second curve is dashed: not everybody sees its color.
    for (label, points), color, style in zip(
        panel.curves.items(), COLORS, LINE_STYLES, strict=False
    ):
        marker = "o" if len(points) <= MAX_MARKERS else None
        x, y = zip(*points, strict=True)
        axes.plot(x, y, marker=marker, ms=3, color=color, linestyle=style, label=label)
    axes.set_title(panel.title, fontsize=11)
    axes.set_xlabel("epoch")
    # The time to draw is mostly that of the ticks.
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4))
    if axes.get_ylim()[1] >= 1000:
        axes.yaxis.set_major_formatter("{x:,.0f}")
    style_axes(axes)
    if len(panel.curves) > 1:
        axes.legend(frameon=False)


def plot_attention(attention: Mapping[str, Any] | AttentionMap, row: int = 0) -> Figure:
    """Plot the attention weights of one sentence as a heat map.

    Args:
        attention: result of `Translator.explain`, or an `AttentionMap`.
        row: index of the sentence in the batch.

    Returns:
        A figure with a row for each target token and a column for each source token, and the scale
        of the weights; stronger color is more weight.

    Reference: figure 3 of Bahdanau, Cho and Bengio, 2015.

    Example:

    >>> outputs = {
    ...     "source_tokens": [["go", "!", ""]],
    ...     "target_tokens": [["va", "!", "<eos>"]],
    ...     "attention": [[[0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.1, 0.9, 0.0]]],
    ... }
    >>> axes, scale = plot_attention(outputs).axes
    >>> [label.get_text() for label in axes.get_yticklabels()]
    ['va', '!', '<eos>']
    """
    if not isinstance(attention, AttentionMap):
        attention = AttentionMap.from_outputs(attention, row)
    source, target, weights = attention[:3]
    longest = [max(map(len, tokens), default=0) for tokens in (source, target)]
    figure = make_figure(
        1.5 + 0.09 * longest[1] + 0.32 * max(len(source), 2),
        0.8 + 0.09 * longest[0] + 0.32 * max(len(target), 3),
    )
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap

    colors = [PALETTE["paper"].light, PALETTE["first"].light]
    scale = ScalarMappable(cmap=LinearSegmentedColormap.from_list("weights", colors))
    scale.set_clim(0, 1)
    axes = figure.add_subplot()
    if source and target:
        axes.imshow(weights, cmap=scale.cmap, vmin=0, vmax=1, aspect="auto")
    bar = figure.colorbar(scale, ax=axes, ticks=[0, 0.5, 1], fraction=0.04, pad=0.02)
    bar.set_label("weight")
    bar.outline.set_edgecolor(GRID_COLOR)
    # A dollar sign in a token does not start a formula.
    axes.set_xticks(range(len(source)), source, rotation=90, parse_math=False)
    axes.set_yticks(range(len(target)), target, parse_math=False)
    # Cell borders: a row of weights near 0 is as white as the page.
    axes.set_xticks([column - 0.5 for column in range(len(source) + 1)], minor=True)
    axes.set_yticks([row - 0.5 for row in range(len(target) + 1)], minor=True)
    axes.grid(which="minor", color=GRID_COLOR, linewidth=0.5)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.set_xlabel("source")
    axes.set_ylabel("target")
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_color(GRID_COLOR)
    return figure


def plot_lengths(source: Sequence[int], target: Sequence[int], limit: int | None = None) -> Figure:
    """Plot histograms of the lengths of the texts of a corpus.

    Args:
        source: token count of the source of each pair.
        target: token count of the target of each pair.
        limit: maximum token count of the model, on either side.

    Raises:
        InputError: there are no texts.

    Example:

    >>> [axes] = plot_lengths([2, 3, 3], [4, 4, 5]).axes
    >>> axes.get_xlabel()
    'tokens'
    """
    if not len(source) or not len(target):
        raise InputError("no lengths to plot; give at least one text")
    figure = make_figure(PANEL_WIDTH, 3.2)
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
    axes.set_xlabel("tokens")
    axes.set_ylabel("texts")
    add_legend(axes)
    style_axes(axes)
    return figure


def plot_scores(scores: Mapping[str, Sequence[float]]) -> Figure:
    """Plot histograms of the log-probabilities that a model gives texts.

    Args:
        scores: for one or two names, such as `translations` and `references`, the log-probability
            per token of each text, in nats.

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
    figure = make_figure(PANEL_WIDTH, 3.2)
    axes = figure.add_subplot()
    low, high = min(finite), max(*finite, 0.0)
    width = (high - low or 1.0) / 40
    edges = [low + width * index for index in range(41)]
    for (name, group), color in zip(scores.items(), COLORS, strict=False):
        median = statistics.median(group)
        _histogram(axes, group, edges, f"{name}, median {median:.2f}".replace("-", "−"), color)
        axes.axvline(median, color=color, linestyle="--", linewidth=1)
    axes.set_xlabel("log-probability per token (nats), mean of a text")
    axes.set_ylabel("texts")
    add_legend(axes)
    style_axes(axes)
    return figure


def _histogram(
    axes: Axes, values: Sequence[float], edges: list[float], label: str, color: str
) -> None:
    axes.hist(values, edges, histtype="stepfilled", alpha=0.35, color=color, label=label)
    axes.hist(values, edges, histtype="step", color=color)
    axes.yaxis.set_major_formatter("{x:,.0f}")
