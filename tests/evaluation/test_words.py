"""A run on words, from training to the report: its scores are those of words."""

import dataclasses
import json

import keras
import pytest

import keras_s2s as s2s
from keras_s2s.cli.main import main
from keras_s2s.run_directory import RunDirectory
from keras_s2s.training.callbacks import ValidationScores
from keras_s2s.training.job import TrainingJob


@pytest.fixture(scope="module")
def pronunciations(tmp_path_factory):
    """36 words, and two phones for each of their letters."""
    letters = [*"abcdef"]
    lines = [
        f"{a}{b}{a}\t{' '.join(x + ' ' + x.upper() for x in a + b + a)}"
        for a in letters
        for b in letters
    ]
    path = tmp_path_factory.mktemp("words") / "words.tsv"
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def run(pronunciations, tmp_path_factory):
    """A finished run of two epochs."""
    run_dir = tmp_path_factory.mktemp("runs") / "words"
    arguments = ["--source-tokenizer=character", "--target-tokenizer=whitespace", "--epochs=2"]
    sizes = ["--embed-size=8", "--num-hiddens=8", "--num-layers=1", "--batch-size=8"]
    chosen = ["--valid-fraction=0.4", "--early-stopping=wer", "--preset=chapter"]
    options = [*arguments, *sizes, *chosen, "--run-dir", str(run_dir)]
    assert main(["train", str(pronunciations), *options]) == 0
    return RunDirectory(run_dir)


def test_history(run):
    for row in run.read_history():
        scores = {name for name in row if name.startswith("val_")}
        assert scores >= {"val_exact", "val_wer", "val_ter"}
        assert scores.isdisjoint({"val_bleu", "val_chrf"})
        assert float(row["val_wer"]) == pytest.approx(100 - float(row["val_exact"]), abs=1e-3)
    assert run.read_record()["result"]["val_wer"] == float(row["val_wer"])


def test_evaluate(run, command, pronunciations):
    """Exact match first, no BLEU, and no sentences."""
    arguments = "evaluate", run.path, pronunciations, "--split", "valid"
    outcome = command(*arguments)
    assert outcome.status == 0, outcome.err
    first, second, third, *_ = outcome.out.splitlines()
    assert [line.split()[0] for line in (first, second, third)] == ["exact", "WER", "TER"]
    assert "case:mixed|unit:token|tok:WhitespaceTokenizer" in third
    assert "sentence" not in outcome.out
    assert "BLEU" not in outcome.out
    result = json.loads(command(*arguments, "--json").out)
    # The weights that early stopping kept: those of the first epoch with the lowest rate.
    best = min(run.read_history(), key=lambda row: float(row["val_wer"]))
    names = {
        "exact_match": "val_exact",
        "word_error_rate": "val_wer",
        "token_error_rate": "val_ter",
    }
    for name, column in names.items():
        assert result[name] == pytest.approx(float(best[column]), rel=1e-5)
    assert {"bleu", "chrf", "nats_per_token", "unknown_target"} < result.keys()
    assert result["level"] == "word"


def test_runs(run, command):
    header, row = command("runs", run.path).out.splitlines()
    assert header.split()[3:8] == ["loss", "val_loss", "val_exact", "val_wer", "val_ter"]
    assert len(row.split()) == len(header.split())


def test_plots_and_report(run, command, tmp_path):
    outcome = command("plot", run.path, "--output", tmp_path / "out")
    assert outcome.status == 0, outcome.err
    names = {path.stem for path in (tmp_path / "out").glob("*.png")}
    assert names == {"history", "lengths", "scores", "errors_by_length", "confusions"}
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    for text in ("distinct words of the validation pairs", "Worst answers", "word error rate", "∅"):
        assert text in page
    assert "BLEU" not in page.split("Configuration")[0]


def test_a_resumed_run_keeps_its_columns(run, pronunciations, tmp_path):
    """Also those that do not fit its answers, as a run of an earlier version has."""
    corpus = s2s.load_corpus(pronunciations)
    config = dataclasses.replace(run.read_config(), early_stopping="exact")
    earlier = RunDirectory(tmp_path)
    earlier.history.write_text("epoch,loss,val_bleu,seconds\n1,3,2,1\n", encoding="utf-8")
    scores, stopping = [
        callback
        for callback in TrainingJob(corpus, config, 0).callbacks(earlier)
        if isinstance(callback, (ValidationScores, keras.callbacks.EarlyStopping))
    ]
    assert list(scores._metrics) == ["exact", "wer", "ter", "bleu"]
    assert (stopping.monitor, stopping.mode) == ("val_exact", "max")
