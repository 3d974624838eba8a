"""Plots show the values that they are given."""

import csv
import itertools
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from keras_s2s.evaluation import plots
from keras_s2s.evaluation.attention_map import AttentionMap
from keras_s2s.evaluation.error_analysis import Confusions
from keras_s2s.evaluation.history import panels
from keras_s2s.evaluation.palette import NUM_SHADES, PALETTE, contrast, palette_css, shade
from keras_s2s.evaluation.rendering import inline_svg
from keras_s2s.utils.errors import InputError
from keras_s2s.utils.scores import SCORES

ROWS = [
    {"epoch": "1", "loss": "3.5", "accuracy": "0.25", "val_loss": "3.75", "val_bleu": "2"},
    {"epoch": "2", "loss": "2.5", "accuracy": "0.5", "val_loss": "nan", "val_bleu": "12"},
    {"epoch": "3", "loss": "2", "accuracy": "0.625", "val_loss": "3.25", "val_bleu": "9"},
]
SENTENCE = AttentionMap(
    ["he", "didn't", "pay", "$5", "or", "$6", "<unk>"],
    ["il", "n'a", "pas", "payé", "l'œuvre", "où", "ça", "<eos>"],
    [[0.125] * 6 + [0.25]] * 8,
)


def curves(axes):
    return {line.get_label(): line.get_xydata().tolist() for line in axes.get_lines()}


def texts(labels):
    return [label.get_text() for label in labels]


def test_history():
    loss, accuracy, scores = plots.plot_history(ROWS).axes
    assert curves(loss) == {
        "training": [[1, 3.5], [2, 2.5], [3, 2]],
        # Without the non-finite value.
        "validation": [[1, 3.75], [3, 3.25]],
    }
    assert texts(loss.get_legend().get_texts()) == ["training", "validation"]
    assert curves(accuracy) == {"training": [[1, 0.25], [2, 0.5], [3, 0.625]]}
    assert curves(scores) == {"BLEU": [[1, 2], [2, 12], [3, 9]]}
    assert loss.get_xlabel() == "epoch"


def test_history_of_words():
    rows = [{"epoch": 1, "val_exact": 90, "val_wer": 10, "val_ter": 2.5, "val_bleu": 50}]
    bleu, exact, rates = plots.plot_history(rows).axes
    assert curves(bleu) == {"BLEU": [[1, 50]]}
    assert curves(exact) == {"exact": [[1, 90]]}
    assert curves(rates) == {"WER": [[1, 10]], "TER": [[1, 2.5]]}


def test_no_curve_is_left_out():
    """A panel has no more curves than there are colors, and every score has a panel."""
    rows = [{"epoch": 1} | {score.column: 1 for score in SCORES.values()}]
    drawn = [name for axes in plots.plot_history(rows).axes for name in curves(axes)]
    assert sorted(drawn) == sorted(score.label for score in SCORES.values())


def test_throughput_is_smaller_than_quality():
    rows = [row | {"tokens_per_second": "9000"} for row in ROWS]
    *quality, throughput = plots.plot_history(rows).axes
    boxes = [axes.get_position() for axes in quality]
    assert len({round(box.y0, 6) for box in boxes}) == 1, "not in one row"
    assert throughput.get_position().height < 0.7 * boxes[0].height
    assert throughput.get_position().y1 < boxes[0].y0
    panel = panels(rows)[-1]
    assert panel.minor
    assert (
        plots.plot_panel(panel).get_figheight() < plots.plot_panel(panels(rows)[0]).get_figheight()
    )


def test_curves_differ_without_color():
    loss, *_ = plots.plot_history(ROWS).axes
    assert [line.get_linestyle() for line in loss.get_lines()] == ["-", "--"]


def test_history_of_one_epoch(tmp_path):
    figure = plots.plot_history(ROWS[:1])
    plots.save(figure, tmp_path / "history.png")
    assert curves(figure.axes[0])["training"] == [[1, 3.5]]


def test_attention_has_tokens_on_its_axes(tmp_path):
    figure = plots.plot_attention(SENTENCE)
    axes, scale = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("source", "target")
    assert (scale.get_ylabel(), scale.get_ylim()) == ("weight", (0, 1))
    assert texts(axes.get_xticklabels()) == SENTENCE.source_tokens
    assert texts(axes.get_yticklabels()) == SENTENCE.target_tokens
    [image] = axes.get_images()
    assert image.get_array().tolist() == SENTENCE.weights
    plots.save(figure, tmp_path / "attention.svg")
    written = (tmp_path / "attention.svg").read_text(encoding="utf-8")
    # Text stays searchable, and dollar signs do not start formulas.
    for token in ("n'a", "l'œuvre", "où", "ça", "payé", "$5", "$6", "&lt;unk&gt;", "&lt;eos&gt;"):
        assert f">{token}</text>" in written


def test_attention_from_outputs_of_explain():
    outputs = {
        "source_tokens": [["a", "b"], ["c", ""]],
        "target_tokens": [["d", ""], ["e", "<eos>"]],
        "attention": [[[0.5, 0.5], [0, 0]], [[1.0, 0.0], [0.75, 0.0]]],
    }
    axes, _ = plots.plot_attention(outputs, row=1).axes
    assert texts(axes.get_xticklabels()) == ["c"]
    assert texts(axes.get_yticklabels()) == ["e", "<eos>"]
    assert axes.get_images()[0].get_array().tolist() == [[1.0], [0.75]]


@pytest.mark.parametrize("source", [[], ["a"]])
def test_attention_to_almost_nothing(source, tmp_path):
    attention_map = AttentionMap(source, ["<eos>"], [[1.0] * len(source)])
    plots.save(plots.plot_attention(attention_map), tmp_path / "attention.png")


def test_labels_of_long_sentences_do_not_overlap():
    words = ["wörter" * (1 + index % 4) for index in range(40)]
    figure = plots.plot_attention(AttentionMap(words, words, [[0.025] * 40] * 40))
    figure.draw_without_rendering()
    axes, _ = figure.axes
    for labels, low, high in (
        (axes.get_xticklabels(), "x0", "x1"),
        (axes.get_yticklabels()[::-1], "y0", "y1"),
    ):
        boxes = [label.get_window_extent() for label in labels]
        for first, second in itertools.pairwise(boxes):
            assert getattr(first, high) <= getattr(second, low)
    bounds = figure.bbox
    for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        box = label.get_window_extent()
        assert bounds.x0 <= box.x0
        assert bounds.x1 >= box.x1
        assert bounds.y0 <= box.y0
        assert bounds.y1 >= box.y1


def heights(axes):
    """Return the nonzero bars of filled histograms, by label."""
    result = {}
    for patch in axes.patches:
        if (patch.get_label() or "_").startswith("_"):
            continue
        corners = patch.get_xy()
        middles = zip(corners[1::2], corners[2::2], strict=False)
        result[patch.get_label()] = {
            (left[0] + right[0]) / 2: left[1] for left, right in middles if left[1] > 0
        }
    return result


def test_lengths():
    [axes] = plots.plot_lengths([2, 3, 3, 7], [4, 4, 5, 9], limit=6).axes
    assert heights(axes) == {
        "source, mean 3.8": {2: 1, 3: 2, 7: 1},
        "target, mean 5.5": {4: 2, 5: 1, 9: 1},
    }
    assert "limit of 6: exceeded by 25.0% of the pairs" in texts(axes.get_legend().get_texts())
    assert axes.get_xlim()[0] == 0


@pytest.mark.parametrize(("longest", "share"), [(5, "none"), (7, "less than 0.1%")])
def test_few_pairs_over_the_limit(longest, share):
    [axes] = plots.plot_lengths([*[3] * 1999, longest], [4] * 2000, limit=6).axes
    assert f"limit of 6: exceeded by {share} of the pairs" in texts(axes.get_legend().get_texts())
    axes.figure.canvas.draw()
    assert "2,000" in texts(axes.get_yticklabels())


def test_scores():
    [axes] = plots.plot_scores({"translations": [-0.5, -0.25], "references": [-2.0, -1.0, 0]}).axes
    assert texts(axes.get_legend().get_texts()) == [
        "translations, median −0.38",
        "references, median −1.00",
    ]
    by_label = heights(axes)
    assert [sum(bars.values()) for bars in by_label.values()] == [2, 3]


def test_bleu_by_length():
    rows = {
        "1-5": {"score": 40.0, "num_sentences": 1234},
        ">15": {"score": 12.5, "num_sentences": 1},
    }
    [axes] = plots.plot_bleu_by_length(rows, bleu=38.0).axes
    assert [bar.get_height() for bar in axes.patches] == [40.0, 12.5]
    assert texts(axes.get_xticklabels()) == ["1-5\n1,234 sentences", ">15\n1 sentence"]
    assert {"40.0", "12.5"} <= set(texts(axes.texts))
    assert texts(axes.get_legend().get_texts()) == ["all sentences: 38.0"]


def test_intervals_of_bleu_by_length():
    rows = {
        "1-5": {"score": 40.0, "num_sentences": 335, "interval": (35.0, 47.0)},
        ">15": {"score": 12.5, "num_sentences": 5, "interval": (0.0, 60.0)},
    }
    [axes] = plots.plot_bleu_by_length(rows, bleu=38.0).axes
    [intervals] = [lines for lines in axes.collections if hasattr(lines, "get_segments")]
    drawn = [segment[:, 1].tolist() for segment in intervals.get_segments()]
    assert drawn == [[35, 47], [0, 60]]
    assert axes.get_ylim()[1] > 60
    assert "95% confidence interval" in texts(axes.get_legend().get_texts())


def test_two_scores_by_length():
    wer = {
        "1-5": {"score": 10.0, "num_sentences": 900, "interval": (8.0, 12.0)},
        "6-10": {"score": 20.0, "num_sentences": 1, "interval": (0.0, 60.0)},
    }
    ter = {"1-5": {"score": 2.0, "num_sentences": 900}, "6-10": {"score": 3, "num_sentences": 1}}
    [axes] = plots.plot_scores_by_length(
        {"WER": wer, "TER": ter}, {"WER": 11.0, "TER": 2.5}, "word", "characters"
    ).axes
    assert [bar.get_height() for bar in axes.patches] == [10, 20, 2, 3]
    left, right = (bar.get_x() + bar.get_width() for bar in axes.patches[::2])
    assert left == pytest.approx(0)
    assert right == pytest.approx(0.4)
    assert texts(axes.get_xticklabels()) == ["1-5\n900 words", "6-10\n1 word"]
    assert sorted(texts(axes.get_legend().get_texts())) == [
        *("95% confidence interval", "TER, all words: 2.5", "WER, all words: 11.0")
    ]
    assert axes.get_ylim()[1] > 60
    assert axes.get_xlabel() == "characters in the source"


def test_confusions():
    table = Confusions(["e", "$"], ["ɛ", "∅"], [[30, 0], [2, 1500]])
    [axes] = plots.plot_confusions(table).axes
    assert texts(axes.get_yticklabels()) == ["e", "$"]
    assert texts(axes.get_xticklabels()) == ["ɛ", "∅"]
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("reference", "answer")
    drawn = {text.get_position(): text.get_text() for text in axes.texts}
    assert drawn == {(0, 0): "30", (0, 1): "2", (1, 1): "1,500"}
    # The number is legible on its cell.
    colors = {text.get_text(): text.get_color() for text in axes.texts}
    assert (colors["1,500"], colors["2"]) == ("#ffffff", "#000000")


@pytest.mark.parametrize(
    "plot",
    [
        lambda: plots.plot_confusions(Confusions([], [], [])),
        lambda: plots.plot_history([]),
        lambda: plots.plot_history([{"epoch": "1", "loss": "nan"}]),
        lambda: plots.plot_lengths([], []),
        lambda: plots.plot_scores({"translations": []}),
        lambda: plots.plot_bleu_by_length({}),
    ],
)
def test_nothing_to_plot(plot):
    with pytest.raises(InputError, match="at least one"):
        plot()


def test_inline_svg():
    """Markup for HTML in the colors of the page, with a tooltip for each point."""
    markup = inline_svg(plots.plot_history(ROWS), "a <title>")
    svg = ElementTree.fromstring(markup)
    assert svg.get("aria-label") == "a <title>"
    tooltips = [marker.findtext("title") for marker in svg.iter("use") if len(marker)]
    assert tooltips[:5] == [
        *("training, epoch 1: 3.5", "training, epoch 2: 2.5", "training, epoch 3: 2"),
        *("validation, epoch 1: 3.75", "validation, epoch 3: 3.25"),
    ]
    assert {"loss (nats per token)", "validation", "epoch"} <= {*svg.itertext()}
    assert {"var(--first)", "var(--second)", "var(--line)", "currentColor"} <= {
        *re.findall(r"var\(--\w+\)|currentColor", markup)
    }
    assert not re.search(r"#[0-9a-f]{6}\b|http|<style|<metadata", markup)
    ids = [element.get("id") for element in svg.iter() if element.get("id")]
    references = re.findall(r'(?:href="#|url\(#)([^")]+)', markup)
    assert {*references} <= {*ids}
    assert markup == inline_svg(plots.plot_history(ROWS), "a <title>")


@pytest.mark.parametrize("values", [[0.0], [3.0, 3.0], [-2.5, 1e6]])
def test_history_of_constant_and_extreme_values(values):
    rows = [{"epoch": epoch, "loss": value} for epoch, value in enumerate(values, 5)]
    assert "nan" not in inline_svg(plots.plot_history(rows), "loss")


def test_files_are_deterministic(tmp_path):
    for name in ("first.svg", "second.svg"):
        plots.save(plots.plot_history(ROWS), tmp_path / name)
    assert (tmp_path / "first.svg").read_bytes() == (tmp_path / "second.svg").read_bytes()


def test_missing_glyphs_do_not_warn(tmp_path):
    attention_map = AttentionMap(["\U000143fa", "日本"], ["\U000143fb"], [[0.5, 0.5]])
    plots.save(plots.plot_attention(attention_map), tmp_path / "attention.png")


def test_text_is_legible():
    """4.5:1 on the paper, and of the numbers on each shade of attention."""
    for mode in (0, 1):
        paper = PALETTE["paper"][mode]
        for name in ("ink", "pale", "first", "second", "error"):
            assert contrast(PALETTE[name][mode], paper) >= 4.5, (name, mode)
    light, dark = palette_css().split("@media")
    for mode, css in enumerate((light, dark)):
        levels = re.findall(r"\.shade-(\d+) .*; color: (#\w+);", css)
        assert [int(level) for level, _ in levels] == list(range(NUM_SHADES + 1))
        for level, color in levels:
            assert contrast(color, shade(int(level) / NUM_SHADES, mode)) >= 4.5, (level, mode)


def test_the_palette_is_defined_once():
    """No other module, template or style sheet has colors of its own."""
    package = Path(plots.__file__).parents[1]
    for path in package.rglob("*"):
        if path.suffix in (".py", ".css", ".html", ".js") and path.name != "palette.py":
            text = path.read_text(encoding="utf-8")
            allowed = {"#000000"} if path.name == "rendering.py" else set()
            assert set(re.findall(r"#[0-9a-f]{6}\b", text)) <= allowed, path


def test_matplotlib_is_imported_on_first_use(tmp_path):
    code = """
import sys
sys.argv[0] = "keras-s2s"
from keras_s2s import cli
from keras_s2s.evaluation import plots
from keras_s2s.utils.console import import_tensorflow
print("matplotlib" in sys.modules, "tensorflow" in sys.modules)
import_tensorflow()
print("matplotlib" in sys.modules, "tensorflow" in sys.modules)
plots.plot_lengths([1], [1])
print("matplotlib" in sys.modules)
import keras
import numpy as np
keras.visualization.plot_image_gallery(
    np.zeros((1, 2, 2, 3)), rows=1, cols=1, show=False, path=sys.argv[1]
)
print(sys.modules["keras.src.visualization.plot_bounding_box_gallery"].patches.Patch.__name__)
"""
    command = [sys.executable, "-c", code, tmp_path / "gallery.png"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["False False", "False True", "True", "Patch"]
    assert (tmp_path / "gallery.png").exists()


@pytest.fixture(scope="module")
def attending_run(pairs_file, tiny, tmp_path_factory):
    """A finished run with attention, trained on all pairs."""
    from keras_s2s.cli.main import main

    run_dir = tmp_path_factory.mktemp("runs") / "attending"
    options = ["--epochs", "2", *tiny, "--attention", "luong"]
    assert main(["train", str(pairs_file), "--run-dir", str(run_dir), *options]) == 0
    return run_dir


def test_command_writes_all_plots(command, attending_run, tmp_path):
    outcome = command("plot", attending_run, "--output", tmp_path / "out")
    assert outcome.status == 0, outcome.err
    names = ["history", "lengths", "scores", "bleu_by_length"]
    names += [f"attention-{index}" for index in range(1, 5)]
    files = [f"{name}{suffix}" for name in names for suffix in (".png", ".svg")]
    expected = [str(tmp_path / "out" / name) for name in [*files, "report.html"]]
    assert outcome.out.splitlines() == expected
    for name in names:
        assert (tmp_path / "out" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert b"<svg" in (tmp_path / "out" / f"{name}.svg").read_bytes()
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "distinct sentences of the training pairs, since none were held out" in page
    assert page.count("<figure>") == 3
    assert page.count('<table class="attention">') == 4
    assert "BLEU" in page
    assert not (attending_run / "plots").exists()


@pytest.fixture
def run(trained_run, tmp_path):
    """A mutable copy of a finished run without attention, with held-out pairs."""
    return shutil.copytree(trained_run, tmp_path / "run")


def test_default_paths(command, run):
    outcome = command("plot", run)
    assert outcome.status == 0, outcome.err
    assert outcome.err == ""
    drawn = {path.name for path in (run / "plots").iterdir()}
    names = ("history", "lengths", "scores", "bleu_by_length")
    assert drawn == {f"{name}{suffix}" for name in names for suffix in (".png", ".svg")}
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "of the validation pairs" in page


def test_another_corpus(command, run, tmp_path):
    other = tmp_path / "other.tsv"
    other.write_text("Go.\tVa !\nStop.\tArrête !\n", encoding="utf-8")
    outcome = command("plot", run, other)
    assert outcome.status == 0, outcome.err
    page = (run / "report.html").read_text(encoding="utf-8")
    assert f"2 distinct sentences of {other}, which is not the corpus of the run" in page


def test_run_without_a_model_has_its_history(command, run):
    (run / "model.keras").unlink()
    outcome = command("plot", run)
    assert outcome.status == 0
    assert "no model yet" in outcome.err
    names = ["plots/history.png", "plots/history.svg", "report.html"]
    assert outcome.out.splitlines() == [str(run / name) for name in names]
    with open(run / "history.csv", newline="", encoding="utf-8") as file:
        epochs = [row["epoch"] for row in csv.DictReader(file)]
    assert f"{len(epochs)} of 2 epochs" in (run / "report.html").read_text(encoding="utf-8")


def test_missing_corpus(command, run, pairs_file, tmp_path):
    record = (run / "run.json").read_text(encoding="utf-8")
    moved = record.replace(str(pairs_file), str(tmp_path / "gone.tsv"))
    assert moved != record
    (run / "run.json").write_text(moved, encoding="utf-8")
    outcome = command("plot", run)
    assert outcome.status == 0
    assert "gone.tsv: no such file" in outcome.err
    assert len(outcome.out.splitlines()) == 3
    assert command("plot", run, pairs_file).status == 0
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "of the validation pairs" in page


def test_invalid_arguments(refused, trained_run, tmp_path):
    assert "run.json" in refused("plot", tmp_path)
    assert "missing.tsv: " in refused("plot", trained_run, tmp_path / "missing.tsv")
    (tmp_path / "file").write_text("", encoding="utf-8")
    message = refused("plot", trained_run, "--output", tmp_path / "file")
    assert f"{tmp_path / 'file'}: is a file" in message
