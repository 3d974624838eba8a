"""Plots of scores by length, and of confused tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from keras_s2s.evaluation.palette import NUM_SHADES, PALETTE, readable_on, shade
from keras_s2s.evaluation.rendering import (
    COLORS,
    GRID_COLOR,
    PANEL_WIDTH,
    add_legend,
    make_figure,
    style_axes,
)
from keras_s2s.utils.console import pluralize
from keras_s2s.utils.errors import InputError
from keras_s2s.utils.scores import SENTENCE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from keras_s2s.evaluation.error_analysis import Confusions
    from keras_s2s.evaluation.metrics.refusal import RefusalPoint

# Rows of the scores of each length, as `evaluate` returns them.
Rows = Mapping[str, Mapping[str, Any]]


def plot_bleu_by_length(by_length: Rows, bleu: float | None = None) -> Figure:
    """Plot BLEU by source length as bars.

    Args:
        by_length: `bleu_by_length` of the result of `evaluate`; an `interval` beside a `score` is
            drawn as an error bar.
        bleu: BLEU of all sentences.

    Raises:
        InputError: `by_length` is empty.

    Example:

    >>> rows = {"1-5": {"score": 40.0, "num_sentences": 7}}
    >>> [axes] = plot_bleu_by_length(rows, bleu=38.0).axes
    >>> axes.get_xticklabels()[0].get_text().splitlines()
    ['1-5', '7 sentences']
    """
    return plot_scores_by_length({"BLEU": by_length}, {} if bleu is None else {"BLEU": bleu})


def plot_scores_by_length(
    scores: Mapping[str, Rows],
    totals: Mapping[str, float] | None = None,
    noun: str = SENTENCE,
    unit: str = "words",
) -> Figure:
    """Plot one or two scores by source length as bars.

    Args:
        scores: by the label of a score its rows, such as `word_error_rate_by_length` of the result
            of `evaluate`; an `interval` beside a `score` is drawn as an error bar.
        totals: by label the score of all examples.
        noun: what an example is, `sentence` or `word`.
        unit: of the length of a source.

    Raises:
        InputError: there is no score.

    Example:

    >>> rows = {"1-5": {"score": 6.5, "num_sentences": 1}}
    >>> [axes] = plot_scores_by_length({"WER": rows}, noun="word", unit="characters").axes
    >>> axes.get_xlabel(), axes.get_ylabel(), axes.get_xticklabels()[0].get_text()
    ('characters in the source', 'WER', '1-5\\n1 word')
    """
    if not any(scores.values()):
        raise InputError("no scores to plot; give those of at least one example")
    figure = make_figure(PANEL_WIDTH, 3.2)
    axes = figure.add_subplot()
    width = 0.6 if len(scores) == 1 else 0.8 / len(scores)
    top = 0.0
    for index, ((label, rows), color) in enumerate(zip(scores.items(), COLORS, strict=False)):
        total = (totals or {}).get(label)
        shown = "" if total is None else f"all {noun}s: {total:.1f}"
        offset = width * (index - (len(scores) - 1) / 2)
        # With one score a line shows the total; with two the legend has it.
        name = ", ".join(filter(None, (label, shown))) if len(scores) > 1 else None
        top = max(top, _bars(axes, rows, offset, width, color, name), total or 0.0)
        if len(scores) == 1 and total is not None:
            axes.axhline(total, color=COLORS[1], linestyle="--", linewidth=1, label=shown)
    first = next(iter(scores.values()))
    labels = [
        f"{name}\n{pluralize(row['num_sentences'], noun, ',.0f')}" for name, row in first.items()
    ]
    axes.set_xticks(range(len(first)), labels, fontsize=9)
    if axes.get_legend_handles_labels()[0]:
        add_legend(axes)
    axes.set_xlabel(f"{unit} in the source")
    axes.set_ylabel(", ".join(scores))
    axes.set_ylim(0, max(1.0, 1.15 * top))
    style_axes(axes)
    axes.grid(visible=False, axis="x")
    return figure


def _bars(
    axes: Axes, rows: Rows, offset: float, width: float, color: str, label: str | None
) -> float:
    """Draw the bars of a score; return the highest value."""
    heights = [row["score"] for row in rows.values()]
    intervals = [row.get("interval", (row["score"], row["score"])) for row in rows.values()]
    errors = [
        [abs(end - height) for end, height in zip(ends, heights, strict=True)]
        for ends in zip(*intervals, strict=True)
    ]
    has_intervals = any(low < high for low, high in intervals)
    # Named once where there are several scores.
    named = axes.get_legend_handles_labels()[1]
    interval_label = "95% confidence interval"
    bars = axes.bar(
        [position + offset for position in range(len(rows))],
        heights,
        color=color,
        alpha=0.6,
        width=width,
        label=label,
        yerr=errors if has_intervals else None,
        error_kw={
            "label": None if interval_label in named else interval_label,
            "capsize": 4,
            "elinewidth": 1,
        },
    )
    box = {"facecolor": "white", "edgecolor": "none", "pad": 1}
    axes.bar_label(bars, [f"{height:.1f}" for height in heights], padding=3, bbox=box)
    return max([*heights, *(high for _, high in intervals)])


def plot_refusals(curve: Sequence[RefusalPoint], chosen: RefusalPoint | None = None) -> Figure:
    """Plot errors against refusals (the risk-coverage curve).

    Args:
        curve: of `refusal_curve`.
        chosen: a point to mark.

    Raises:
        InputError: the curve is empty.

    Example:

    >>> from keras_s2s.evaluation.metrics.refusal import RefusalPoint
    >>> [axes] = plot_refusals([RefusalPoint(0.8, 3, 0), RefusalPoint(0.0, 4, 1)]).axes
    >>> axes.lines[0].get_xdata().tolist(), axes.lines[0].get_ydata().tolist()
    ([25.0, 0.0], [0.0, 25.0])
    """
    if not curve:
        raise InputError("no answers to plot; give at least one")
    figure = make_figure(PANEL_WIDTH, 3.2)
    axes, total = figure.add_subplot(), curve[-1].num_answered

    def position(point: RefusalPoint) -> tuple[float, float]:
        return 100 - 100 * point.num_answered / total, 100 * point.error

    refused, errors = zip(*map(position, curve), strict=True)
    axes.plot(refused, errors, color=COLORS[0], drawstyle="steps-pre")
    if chosen is not None:
        label = f"confidence of {chosen.min_confidence:.3f} or more"
        axes.plot(*position(chosen), "o", color=COLORS[1], label=label)
        add_legend(axes)
    axes.set_xlabel("answers refused (%)")
    axes.set_ylabel("answers given that are wrong (%)")
    axes.set_ylim(bottom=0)
    style_axes(axes)
    return figure


def plot_confusions(table: Confusions) -> Figure:
    """Plot a table of confused tokens; stronger color is more errors.

    Args:
        table: result of `confusions`.

    Returns:
        A figure with a row for each token of the references, a column for each of the answers, and
        the count in each cell.

    Raises:
        InputError: the table is empty.

    Example:

    >>> from keras_s2s.evaluation.error_analysis import Confusions
    >>> [axes] = plot_confusions(Confusions(["e"], ["i", "ə"], [[3, 1]])).axes
    >>> [label.get_text() for label in axes.get_xticklabels()], axes.get_ylabel()
    (['i', 'ə'], 'reference')
    """
    if not table.counts:
        raise InputError("no errors to plot; give at least one")
    longest = [max(map(len, tokens)) for tokens in (table.references, table.answers)]
    num_rows, num_columns = len(table.references), len(table.answers)
    figure = make_figure(
        1.2 + 0.09 * longest[0] + 0.34 * max(num_columns, 3),
        0.9 + 0.09 * longest[1] + 0.3 * max(num_rows, 3),
    )
    from matplotlib.colors import LinearSegmentedColormap

    axes = figure.add_subplot()
    colors = [PALETTE["paper"].light, PALETTE["first"].light]
    colormap = LinearSegmentedColormap.from_list("counts", colors, NUM_SHADES + 1)
    most = max(max(row) for row in table.counts)
    axes.imshow(table.counts, cmap=colormap, vmin=0, vmax=most, aspect="auto")
    for row, counts in enumerate(table.counts):
        for column, count in enumerate(counts):
            if count:
                color = readable_on(shade(count / most))
                axes.text(
                    column, row, f"{count:,}", ha="center", va="center", color=color, fontsize=8
                )
    # A dollar sign in a token does not start a formula.
    rotation = 90 if longest[1] > 2 else 0
    axes.set_xticks(range(num_columns), table.answers, rotation=rotation, parse_math=False)
    axes.set_yticks(range(num_rows), table.references, parse_math=False)
    axes.set_xticks([column - 0.5 for column in range(num_columns + 1)], minor=True)
    axes.set_yticks([row - 0.5 for row in range(num_rows + 1)], minor=True)
    axes.grid(which="minor", color=GRID_COLOR, linewidth=0.5)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.set_xlabel("answer")
    axes.set_ylabel("reference")
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_color(GRID_COLOR)
    return figure
