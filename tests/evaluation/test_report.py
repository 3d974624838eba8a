"""The report of a run: its content, and that it is self-contained."""

import html.parser
import importlib
import json
import re
import shutil

import pytest

from keras_s2s.evaluation.attention_map import AttentionMap
from keras_s2s.evaluation.error_analysis import Confusions, TokenError
from keras_s2s.evaluation.report import (
    FrequentError,
    ReportData,
    ReportFigure,
    merge_epochs,
    subsample,
    write_report,
)
from keras_s2s.run_directory import RunDirectory
from keras_s2s.utils.errors import InputError


class Page(html.parser.HTMLParser):
    """Tags and texts of an HTML page, with a check that the elements are balanced."""

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
    """A mutable copy of a finished run with validation pairs."""
    return RunDirectory(shutil.copytree(trained_run, tmp_path / "run"))


def page_of(run, **options):
    text = write_report(run, **options).read_text(encoding="utf-8")
    return text, Page(text)


def test_training_writes_the_report(run):
    text = run.report.read_text(encoding="utf-8")
    page = Page(text)
    record = json.loads(run.record.read_text(encoding="utf-8"))
    for title in ("Training", "Translations by epoch", "Configuration"):
        assert title in page.texts
    # Curves of loss, accuracy, scores and throughput, with a point for each of two epochs.
    titles = [
        *("loss (nats per token)", "next-token accuracy", "validation scores"),
        "throughput (target tokens/s)",
    ]
    svgs = [attributes["aria-label"] for tag, attributes in page.tags if tag == "svg"]
    assert svgs == titles
    assert {*titles} <= {*page.texts}
    points = [text for text in page.texts if re.match(r"[\w]+, epoch [12]: ", text)]
    assert len(points) == 2 * 7
    assert {*record["recipe"], *(f"sizes: {name}" for name in record["sizes"])} <= {*page.texts}
    for shown in ("word", "no", "–", f"{record['sizes']['parameters']:,}"):
        assert shown in page.texts
    assert record["corpus"]["sha256"] in page.texts
    first_source = run.logs.joinpath("samples.tsv").read_text(encoding="utf-8").split("\t")[1]
    assert first_source in page.texts
    assert any(text.startswith("finished, 2 of 2 epochs") for text in page.texts)


def test_report_is_self_contained(run):
    data = ReportData(attention_maps=[AttentionMap(["a"], ["b"], [[1.0]])])
    text, page = page_of(run, data=data)
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "iframe", "object", "base"})
    for _, attributes in page.tags:
        assert not {"src", "srcset", "onload", "onclick"} & set(attributes)
        # References inside the page.
        assert attributes.get("href", "#").startswith("#")
    assert set(re.findall(r"url\((.)", text)) <= {"#"}
    assert "@import" not in text
    assert "http" not in text


def test_texts_are_escaped(run):
    nasty = '<script>alert("é")</script> & l\'été </table> {{ title }}'
    (run.logs / "samples.tsv").write_text(
        f'1\t"{nasty.replace(chr(34), chr(34) * 2)}"\tje <b>\tà & b\n', encoding="utf-8"
    )
    data = ReportData(
        "5 <sentences>",
        {"BLEU": "<1>"},
        [(nasty, "<i>", "&amp;")],
        [AttentionMap(["<unk>", nasty], ["<eos>", "é"], [[0.25, 0.75], [1.0, 0.0]])],
        [ReportFigure('"><b>', "<svg></svg>")],
    )
    record = run.read_record()
    record["corpus"]["corpus"] = "<img src=x>.tsv"
    run.write_record(record)
    text, page = page_of(run, data=data)
    tags = {tag for tag, _ in page.tags}
    assert tags.isdisjoint({"script", "b", "i"})
    assert len([tag for tag, _ in page.tags if tag == "figure"]) == 1
    assert page.texts.count(nasty) == 3
    for shown in (
        '"><b>',
        "je <b>",
        "à & b",
        "5 <sentences>",
        "<1>",
        "<i>",
        "&amp;",
        "<unk>",
        "<eos>",
    ):
        assert shown in page.texts
    assert '<td class="shade-15" title="0.75"></td>' in text
    assert {"source", "target"} <= {*page.texts}


def test_translations_by_epoch(run):
    rows = [
        "1\tGo.\tje\tVa !",
        "1\tHi.\tje\tSalut !",
        *(f"{epoch}\tGo.\tva{epoch // 3}\tVa !" for epoch in range(2, 60)),
        # A resumed run repeats an epoch.
        "59\tGo.\tva !\tVa !",
    ]
    text = "".join(f"{row}\n" for row in rows)
    (run.logs / "samples.tsv").write_text(text, encoding="utf-8")
    _, page = page_of(run)
    assert "epochs 3–5" not in page.texts, "not subsampled"
    start, end = page.texts.index("Go."), page.texts.index("Hi.")
    shown = page.texts[start + 1 : end - 1]
    assert shown[:2] == ["epoch 1", "je"]
    assert shown[-4:] == ["epoch 59", "va !", "reference", "Va !"]
    assert len(shown) == 2 * 8 + 2


def test_merge_epochs_and_subsample():
    assert merge_epochs({3: "b", 1: "a", 2: "a", 4: "a"}) == [(1, 2, "a"), (3, 3, "b"), (4, 4, "a")]
    assert merge_epochs({}) == []
    assert subsample([1, 2, 3], 3) == [1, 2, 3]
    assert subsample(range(100), 3) in ([0, 49, 99], [0, 50, 99])


def test_last_and_best_epochs(run):
    run.history.write_text(
        "epoch,loss,val_loss,val_bleu\n1,3,3,1\n2,2,2.5,9\n1000,1,2.75,7\n", encoding="utf-8"
    )
    _, page = page_of(run)
    headers = ["epoch 1000", "last", "epoch 2", "lowest validation loss, highest validation BLEU"]
    start = page.texts.index("last") - 1
    assert page.texts[start : start + 4] == headers
    assert page.texts[start + 4 : start + 7] == ["training loss (nats per token)", "1", "2"]
    assert {"loss", "val_loss", "val_bleu"}.isdisjoint(page.texts), "names of columns"


def test_a_last_epoch_that_is_the_best(run):
    run.history.write_text("epoch,loss,val_loss\n1,3,3\n2,2,2.5\n", encoding="utf-8")
    _, page = page_of(run)
    start = page.texts.index("last, lowest validation loss")
    assert page.texts[start + 1 : start + 5] == [
        *("training loss (nats per token)", "2", "validation loss (nats per token)", "2.5")
    ]


def test_the_best_epoch_of_words(run):
    """The first score of the history chooses it: exact match, the higher the better."""
    run.history.write_text(
        "epoch,loss,val_loss,val_exact,val_wer,val_ter\n1,3,2,80,20,5\n2,2,2.5,90,10,4\n"
        "3,1,2.6,85,15,3\n",
        encoding="utf-8",
    )
    _, page = page_of(run)
    start = page.texts.index("epoch 3")
    assert page.texts[start : start + 6] == [
        *("epoch 3", "last", "epoch 1", "lowest validation loss"),
        *("epoch 2", "highest validation exact match"),
    ]
    start = page.texts.index("validation token error rate")
    assert page.texts[start + 1 : start + 4] == ["3", "5", "4"]


def test_errors_are_shown(run):
    table = Confusions(["e", "∅"], ["ɛ", "<t>"], [[30, 0], [0, 15]])
    data = ReportData(
        "3 distinct words",
        worst=[("bec", "b e k", "b ɛ k")],
        frequent=[FrequentError(TokenError("e", "ɛ", 1234), 0.0625)],
        confusions=table,
    )
    text, page = page_of(run, data=data)
    for shown in ("1,234", "6.2%", "∅", "<t>", "b e k", "Worst answers", "Errors"):
        assert shown in page.texts
    assert re.search(r'class="count shade-20">30</td>\s*<td class="count shade-0"></td>', text)
    assert '<td class="count shade-10">15</td>' in text
    # Sentences have no table of symbols.
    assert "Errors" not in page_of(run, data=data._replace(frequent=(), confusions=None))[1].texts


def test_lower_case_is_explained(run):
    note = "The model writes lower-case text"
    data = ReportData(translations=[("Go.", "va !", "Va !")])
    assert note in page_of(run, data=data)[0]
    record = run.read_record()
    for cased in (
        {"tokenizer": "sentencepiece", "lowercase": False},
        {"tokenizer": "word", "target_tokenizer": "character", "lowercase": True},
    ):
        run.write_record({**record, "recipe": {**record["recipe"], **cased}})
        assert note not in page_of(run, data=data)[0]


def test_unnamed_columns_of_the_history_are_shown(run):
    run.history.write_text("epoch,loss,new_metric\n1,3,0.5\n", encoding="utf-8")
    assert "new_metric" in page_of(run)[1].texts


def test_settings_that_differ_from_the_preset(run):
    text = run.report.read_text(encoding="utf-8")
    assert '<tr class="changed"><th>num_hiddens</th><td>8</td></tr>' in text
    assert "<tr><th>cell</th><td>lstm</td></tr>" in text


def test_empty_record(tmp_path):
    run = RunDirectory(tmp_path)
    run.write_record({})
    _, page = page_of(run)
    assert "not finished, 0 of 0 epochs" in page.texts
    with pytest.raises(InputError, match=r"run\.json"):
        write_report(RunDirectory(tmp_path / "missing"))


def test_training_succeeds_without_the_report(pairs_file, tiny, command, tmp_path, monkeypatch):
    def fail(*arguments, **options):
        raise OSError("no space left")

    training = importlib.import_module("keras_s2s.training.train")
    monkeypatch.setattr(training, "write_report", fail)
    outcome = command("train", pairs_file, "--run-dir", tmp_path / "run", "--epochs", 1, *tiny)
    assert outcome.status == 0
    assert re.search(r"report\.html: .*\(no space left\).*keras-s2s plot", outcome.err)
    assert "finished" in json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))


def test_clear_removes_report_and_plots(run):
    run.plots.mkdir()
    (run.plots / "history.png").write_bytes(b"")
    run.clear()
    assert not run.report.exists()
    assert not run.plots.exists()
