"""Pictures as Matplotlib's figures; needs matplotlib (`pip install 'keras-s2s[plots]'`)."""

from __future__ import annotations

import importlib.util
import math
import os
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from keras_s2s.evaluation.attention_map import AttentionMap
from keras_s2s.evaluation.history import panels
from keras_s2s.utils.console import pluralize
from keras_s2s.utils.errors import InputError
from keras_s2s.utils.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's blue and vermilion, which nobody takes for each other.
COLORS = ("#0072B2", "#D55E00")
# For signs that DejaVu Sans, which Matplotlib brings along, does not have: where one of these is
# installed that has them, they are taken from it.
FONTS = (
    *(f"Noto Sans CJK {region}" for region in ("SC", "JP", "KR", "TC")),
    *(f"Noto Sans {script}" for script in ("Devanagari", "Bengali", "Tamil", "Thai", "Ethiopic")),
    *("Hiragino Sans", "Microsoft YaHei", "Malgun Gothic", "WenQuanYi Zen Hei", "Unifont"),
)
MOST_BINS = 60


def plot_history(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draws loss, accuracy, scores and speed of each epoch, as far as there are any.

    Args:
        rows: those of a run's `history.csv`, from `csv.DictReader`.

    Raises:
        InputError: there is no epoch to draw, or matplotlib is not installed.

    Example:

    >>> figure = plot_history([{"epoch": 1, "loss": 2.5}, {"epoch": 2, "loss": 2.0}])
    >>> [axes.get_title() for axes in figure.axes]
    ['loss (nats a token)']
    """
    drawn = panels(rows)
    if not drawn:
        raise InputError("a history without an epoch; train for one at least")
    columns = min(2, len(drawn))
    lines = math.ceil(len(drawn) / columns)
    figure = _figure(4.6 * columns, 3.0 * lines)
    from matplotlib.ticker import MaxNLocator

    for number, panel in enumerate(drawn, 1):
        axes = figure.add_subplot(lines, columns, number)
        for (label, points), color in zip(panel.curves.items(), COLORS, strict=False):
            marker = "o" if len(points) < 30 else None
            axes.plot(*zip(*points, strict=True), marker=marker, ms=3, color=color, label=label)
        axes.set_title(panel.title)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if axes.get_ylim()[1] >= 1000:
            axes.yaxis.set_major_formatter("{x:,.0f}")
        _make_quiet(axes)
        if len(panel.curves) > 1:
            axes.legend(frameon=False)
    return figure


def plot_attention(explained: Any, row: int = 0) -> Figure:
    """Draws where a model looked in the source while it wrote each token.

    Args:
        explained: what `Translator.explain` returns, or one sentence of it as `AttentionMap`.
        row: which sentence of the batch.

    Returns:
        A figure with a row for each target token and a column for each source token, the darker
        the more attention.

    Raises:
        InputError: matplotlib is not installed.

    Reference: the pictures of Bahdanau, Cho and Bengio, 2015.

    Example:

    >>> explained = {
    ...     "source_tokens": [["go", "!", ""]],
    ...     "target_tokens": [["va", "!", "<eos>"]],
    ...     "attention": [[[0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.1, 0.9, 0.0]]],
    ... }
    >>> [axes] = plot_attention(explained).axes
    >>> [label.get_text() for label in axes.get_yticklabels()]
    ['va', '!', '<eos>']
    """
    if not isinstance(explained, AttentionMap):
        explained = AttentionMap.of_row(explained, row)
    source, target, weights = explained
    longest = [max(map(len, tokens), default=0) for tokens in (source, target)]
    figure = _figure(
        0.6 + 0.09 * longest[1] + 0.32 * max(len(source), 2),
        0.6 + 0.09 * longest[0] + 0.32 * max(len(target), 2),
    )
    axes = figure.add_subplot()
    if source and target:
        axes.imshow(weights, cmap="Greys", vmin=0, vmax=1, aspect="auto")
    # A dollar is a dollar here, and not the beginning of a formula.
    axes.set_xticks(range(len(source)), source, rotation=90, parse_math=False)
    axes.set_yticks(range(len(target)), target, parse_math=False)
    # Lines between the cells, since weights near none leave a row as white as the paper.
    axes.set_xticks([place - 0.5 for place in range(len(source) + 1)], minor=True)
    axes.set_yticks([place - 0.5 for place in range(len(target) + 1)], minor=True)
    axes.grid(which="minor", color="#dddddd", linewidth=0.5)
    axes.xaxis.tick_top()
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_color("#dddddd")
    return figure


def plot_lengths(source: Sequence[int], target: Sequence[int], limit: int | None = None) -> Figure:
    """Draws how many sentences of a corpus have how many tokens.

    Args:
        source: the number of tokens of the source of each pair.
        target: of the target of each.
        limit: the most tokens that a model takes on either side.

    Raises:
        InputError: there are no sentences, or matplotlib is not installed.

    Example:

    >>> [axes] = plot_lengths([2, 3, 3], [4, 4, 5]).axes
    >>> axes.get_xlabel()
    'tokens in a sentence'
    """
    if not len(source) or not len(target):
        raise InputError("no sentences to draw the lengths of; give one at least")
    figure = _figure(6.4, 3.6)
    axes = figure.add_subplot()
    longest = max(*source, *target)
    width = max(1, math.ceil(longest / MOST_BINS))
    edges = [edge - 0.5 for edge in range(0, longest + width + 1, width)]
    for lengths, label, color in ((source, "source", COLORS[0]), (target, "target", COLORS[1])):
        mean = sum(lengths) / len(lengths)
        _histogram(axes, lengths, edges, f"{label}, {mean:.1f} on average", color)
    if limit is not None:
        over = sum(max(pair) > limit for pair in zip(source, target, strict=False))
        share = f"{over / len(source):.1%}" if over / len(source) >= 0.001 else "less than 0.1%"
        label = f"limit of {limit}: {share if over else 'none'} of the pairs have more"
        axes.axvline(limit + 0.5, color="black", linestyle="--", linewidth=1, label=label)
    axes.set_xlim(left=0)
    axes.set_xlabel("tokens in a sentence")
    axes.set_ylabel("sentences")
    _put_legend_above(axes)
    _make_quiet(axes)
    return figure


def plot_scores(scores: Mapping[str, Sequence[float]]) -> Figure:
    """Draws how sure a model is of sentences.

    Args:
        scores: for one or two names, such as `translations` and `references`, the log-probability
            in nats of each sentence, divided by its number of tokens.

    Raises:
        InputError: there are none, or matplotlib is not installed.

    Example:

    >>> [axes] = plot_scores({"translations": [-0.5, -0.25]}).axes
    >>> axes.get_legend().get_texts()[0].get_text()
    'translations, median −0.38'
    """
    every = [score for group in scores.values() for score in group if math.isfinite(score)]
    if not every:
        raise InputError("no scores to draw; give one at least")
    figure = _figure(6.4, 3.6)
    axes = figure.add_subplot()
    lowest, highest = min(every), max(max(every), 0.0)
    width = (highest - lowest or 1.0) / 40
    edges = [lowest + width * place for place in range(41)]
    for (name, group), color in zip(scores.items(), COLORS, strict=False):
        middle = sorted(group)[(len(group) - 1) // 2 : len(group) // 2 + 1]
        median = sum(middle) / len(middle)
        _histogram(axes, group, edges, f"{name}, median {median:.2f}".replace("-", "−"), color)
        axes.axvline(median, color=color, linestyle="--", linewidth=1)
    axes.set_xlabel("log-probability of a token (nats), mean of the sentence")
    axes.set_ylabel("sentences")
    _put_legend_above(axes)
    _make_quiet(axes)
    return figure


def plot_bleu_by_length(
    by_length: Mapping[str, Mapping[str, float]], bleu: float | None = None
) -> Figure:
    """Draws the BLEU of short and of long sentences.

    Args:
        by_length: `bleu_by_length` of what `evaluate` returns.
        bleu: that of all sentences.

    Raises:
        InputError: there is no sentence, or matplotlib is not installed.

    Example:

    >>> rows = {"1-5": {"score": 40.0, "num_sentences": 7}}
    >>> [axes] = plot_bleu_by_length(rows, bleu=38.0).axes
    >>> axes.get_xticklabels()[0].get_text().splitlines()
    ['1-5', '7 sentences']
    """
    if not by_length:
        raise InputError("no scores to draw; give those of one sentence at least")
    figure = _figure(5.4, 3.6)
    axes = figure.add_subplot()
    places, heights = range(len(by_length)), [row["score"] for row in by_length.values()]
    bars = axes.bar(places, heights, color=COLORS[0], width=0.6)
    on_white = {"facecolor": "white", "edgecolor": "none", "pad": 1}
    axes.bar_label(bars, fmt="%.1f", padding=3, bbox=on_white)
    axes.set_xticks(
        places,
        [
            f"{name}\n{pluralize(row['num_sentences'], 'sentence', ',.0f')}"
            for name, row in by_length.items()
        ],
    )
    if bleu is not None:
        label = f"all sentences: {bleu:.1f}"
        axes.axhline(bleu, color=COLORS[1], linestyle="--", linewidth=1, label=label)
        _put_legend_above(axes)
    axes.set_xlabel("words in the source")
    axes.set_ylabel("BLEU")
    axes.set_ylim(0, max(1.0, 1.15 * max(*heights, bleu or 0.0)))
    _make_quiet(axes)
    axes.grid(visible=False, axis="x")
    return figure


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Writes a figure; the ending of `path` says as what.

    The same figure gives the same bytes each time. SVG keeps texts as text, which can be searched
    and which a viewer writes in a font that it has.

    Raises:
        InputError: the file cannot be written.
    """
    import matplotlib
    from matplotlib import font_manager

    installed = font_manager.fontManager.get_font_names()
    settings: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": "keras_s2s",
        "font.family": ["DejaVu Sans", *(font for font in FONTS if font in installed)],
    }
    with atomic_write(path) as aside, matplotlib.rc_context(settings):
        metadata = {"Date": None} if aside.suffix == ".svg" else None
        with warnings.catch_warnings():
            # A sign that no font has is an empty box, which says it well enough.
            warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
            figure.savefig(aside, dpi=150, metadata=metadata)


def require_matplotlib() -> None:
    """Makes sure that pictures can be drawn.

    Raises:
        InputError: matplotlib is not installed.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise InputError(
            "pictures need matplotlib, which is not installed; pip install 'keras-s2s[plots]'"
        )


def _figure(width: float, height: float) -> Figure:
    """A figure that belongs to nobody but the caller, unlike those of pyplot."""
    require_matplotlib()
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _histogram(
    axes: Axes, values: Sequence[float], edges: list[float], label: str, color: str
) -> None:
    axes.hist(values, edges, histtype="stepfilled", alpha=0.35, color=color, label=label)
    axes.hist(values, edges, histtype="step", color=color)
    axes.yaxis.set_major_formatter("{x:,.0f}")


def _put_legend_above(axes: Axes) -> None:
    """Where it covers nothing."""
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2)


def _make_quiet(axes: Axes) -> None:
    axes.grid(color="#dddddd", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
