"""The page of a run: what it shows, and that it needs nothing else."""

import html.parser
import json
import re
import shutil

import pytest

from keras_s2s.evaluation.attention_map import AttentionMap
from keras_s2s.evaluation.history import Panel, panels
from keras_s2s.evaluation.report import Picture, ReportData, spans_of, subsample, write_report
from keras_s2s.evaluation.svg_charts import line_chart, ticks
from keras_s2s.run_directory import RunDirectory
from keras_s2s.training import train as training
from keras_s2s.utils.errors import InputError


class Page(html.parser.HTMLParser):
    """The tags and texts of a page, whose elements have to be closed as they were opened."""

    EMPTY = ("meta", "br", "img")

    def __init__(self, page):
        super().__init__()
        self.tags, self.texts, self.open = [], [], []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip():
            self.texts.append(data.strip())


@pytest.fixture
def run(trained_run, tmp_path):
    """A finished run with a validation part, that may be changed."""
    return RunDirectory(shutil.copytree(trained_run, tmp_path / "run"))


def page_of(run, **options):
    text = write_report(run, **options).read_text(encoding="utf-8")
    return text, Page(text)


def test_a_training_leaves_it(run):
    text = run.report.read_text(encoding="utf-8")
    page = Page(text)
    record = json.loads(run.record.read_text(encoding="utf-8"))
    for title in ("Training", "Translations over the epochs", "Configuration"):
        assert title in page.texts
    # Curves of loss, accuracy, scores and speed, with a point for each of two epochs.
    assert [attributes["aria-label"] for tag, attributes in page.tags if tag == "svg"] == [
        "loss (nats a token)",
        "accuracy of the next token",
        "scores of the validation pairs",
        "target tokens a second",
    ]
    assert {*record["recipe"], *(f"sizes: {name}" for name in record["sizes"])} <= {*page.texts}
    for shown in ("word", "no", "–", f"{record['sizes']['parameters']:,}"):
        assert shown in page.texts
    assert record["corpus"]["sha256"] in page.texts
    first_source = run.logs.joinpath("samples.tsv").read_text(encoding="utf-8").split("\t")[1]
    assert first_source in page.texts
    assert any(text.startswith("finished, 2 of 2 epochs") for text in page.texts)


def test_it_loads_nothing(run):
    picture = Picture("a picture", b'<svg xmlns="http://www.w3.org/2000/svg"></svg>')
    findings = ReportData(explained=[AttentionMap(["a"], ["b"], [[1.0]])])
    text, page = page_of(run, findings=findings, pictures=[picture])
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "iframe", "object", "base"})
    for _, attributes in page.tags:
        assert not {"href", "xlink:href", "srcset", "onload", "onclick"} & set(attributes)
        assert attributes.get("src", "data:").startswith("data:")
    assert "url(" not in text
    assert "@import" not in text
    assert "http" not in re.sub(r"base64,[^\"]*", "", text)


def test_sentences_are_text_and_no_html(run):
    nasty = '<script>alert("é")</script> & l\'été </table> $body'
    (run.logs / "samples.tsv").write_text(
        f'1\t"{nasty.replace(chr(34), chr(34) * 2)}"\tje <b>\tà & b\n', encoding="utf-8"
    )
    findings = ReportData(
        "5 <sentences>",
        {"BLEU": "<1>"},
        [(nasty, "<i>", "&amp;")],
        [AttentionMap(["<unk>", nasty], ["<eos>", "é"], [[0.25, 0.75], [1.0, 0.0]])],
    )
    record = run.read_record()
    record["corpus"]["corpus"] = "<img src=x>.tsv"
    run.write_record(record)
    text, page = page_of(run, findings=findings, pictures=[Picture('"><b>', b"<svg/>")])
    tags = {tag for tag, _ in page.tags}
    assert tags.isdisjoint({"script", "b", "i"})
    assert len([tag for tag, _ in page.tags if tag == "img"]) == 1
    assert page.texts.count(nasty) == 3
    for shown in ("je <b>", "à & b", "5 <sentences>", "<1>", "<i>", "&amp;", "<unk>", "<eos>"):
        assert shown in page.texts
    assert 'style="--w:0.75"' in text


def test_how_translations_changed(run):
    rows = [
        "1\tGo.\tje\tVa !",
        "1\tHi.\tje\tSalut !",
        *(f"{epoch}\tGo.\tva{epoch // 3}\tVa !" for epoch in range(2, 60)),
        # A resumed run goes through an epoch once more.
        "59\tGo.\tva !\tVa !",
    ]
    text = "".join(f"{row}\n" for row in rows)
    (run.logs / "samples.tsv").write_text(text, encoding="utf-8")
    _, page = page_of(run)
    assert "epochs 3–5" not in page.texts, "thinned"
    begins, ends = page.texts.index("Go."), page.texts.index("Hi.")
    shown = page.texts[begins + 1 : ends - 1]
    assert shown[:2] == ["epoch 1", "je"]
    assert shown[-4:] == ["epoch 59", "va !", "reference", "Va !"]
    assert len(shown) == 2 * 8 + 2


def test_spans_and_thinning():
    assert spans_of({3: "b", 1: "a", 2: "a", 4: "a"}) == [(1, 2, "a"), (3, 3, "b"), (4, 4, "a")]
    assert spans_of({}) == []
    assert subsample([1, 2, 3], 3) == [1, 2, 3]
    assert subsample(range(100), 3) in ([0, 49, 99], [0, 50, 99])


def test_best_epochs_stand_beside_the_last(run):
    run.history.write_text(
        "epoch,loss,val_loss,val_bleu\n1,3,3,1\n2,2,2.5,9\n3,1,2.75,7\n", encoding="utf-8"
    )
    _, page = page_of(run)
    heads = [
        *("epoch 3", "last", "epoch 2", "lowest validation loss"),
        *("epoch 2", "highest validation BLEU"),
    ]
    start = page.texts.index("last") - 1
    assert page.texts[start : start + 6] == heads
    assert page.texts[start + 6 : start + 10] == ["loss", "1", "2", "2"]


def test_settings_that_are_not_the_chapter_s_stand_out(run):
    text = run.report.read_text(encoding="utf-8")
    assert "<tr class=changed><th>num_hiddens</th><td>8</td></tr>" in text
    assert "<tr><th>cell</th><td>lstm</td></tr>" in text


def test_a_record_that_tells_little(tmp_path):
    run = RunDirectory(tmp_path)
    run.write_record({})
    _, page = page_of(run)
    assert "not finished, 0 of 0 epochs" in page.texts
    with pytest.raises(InputError, match="holds no run"):
        write_report(RunDirectory(tmp_path / "missing"))


def test_a_page_that_fails_spoils_no_run(pairs_file, tiny, command, tmp_path, monkeypatch):
    def fail(*arguments, **options):
        raise OSError("no space left")

    monkeypatch.setattr(training, "write_report", fail)
    outcome = command("train", pairs_file, "--run-dir", tmp_path / "run", "--epochs", 1, *tiny)
    assert outcome.status == 0
    assert "report.html: left out (no space left); keras-s2s plot" in outcome.err
    assert "finished" in json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))


def test_a_new_run_takes_the_place_of_page_and_pictures(run):
    run.plots.mkdir()
    (run.plots / "history.png").write_bytes(b"")
    run.clear()
    assert not run.report.exists()
    assert not run.plots.exists()


def test_curves():
    [panel] = panels([{"epoch": "1", "loss": "2.5"}, {"epoch": 3, "loss": 2.0}, {"epoch": "4"}])
    page = Page(line_chart(panel))
    assert {"training, epoch 1: 2.5", "training, epoch 3: 2"} <= set(page.texts)
    [line] = [attributes["points"] for tag, attributes in page.tags if tag == "polyline"]
    (x1, y1), (x2, y2) = (map(float, point.split(",")) for point in line.split())
    assert x1 < x2
    assert y1 < y2, "what is less stands lower"


@pytest.mark.parametrize("points", [[(1, 0.0)], [(5, 3.0), (6, 3.0)], [(1, -2.5), (2, 1e6)]])
def test_curves_of_next_to_nothing(points):
    chart = line_chart(Panel("<loss>", {"a": points, "b": points}))
    page = Page(chart)
    assert "nan" not in chart
    assert "<loss>" in page.texts
    for tag, attributes in page.tags:
        if tag == "circle" and "r" in attributes and attributes["r"] == "3":
            assert 0 <= float(attributes["cx"]) <= 440
            assert 0 <= float(attributes["cy"]) <= 240


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ((0, 10), [0, 2, 4, 6, 8, 10]),
        ((2.2, 6.4), [2, 3, 4, 5, 6, 7]),
        ((0, 0), [0, 0.2]),
        ((3, 3), [3, 4]),
        ((-0.2, 0.1), [-0.2, -0.1, 0, 0.1]),
    ],
)
def test_ticks(ends, expected):
    assert ticks(*ends) == pytest.approx(expected)
