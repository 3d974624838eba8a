"""History and progress of a training run."""

import contextlib
import csv
import io
import json
import logging
import re
import sys
import types

import pytest
import sacrebleu

import keras_s2s as s2s
from keras_s2s.cli.main import main
from keras_s2s.run_directory import RunDirectory
from keras_s2s.training.callbacks import HistoryFile, TrainingProgress, ValidationScores
from keras_s2s.translation.base import SentenceTranslator

LOGS = {"loss": 2.3456789, "accuracy": 0.5, "perplexity": 10.5, "tokens_per_second": 12345.678}


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_history(tmp_path):
    path = tmp_path / "history.csv"
    history = HistoryFile(path, [])
    history.on_train_begin()
    assert path.read_bytes() == b""
    for epoch in range(2):
        history.on_epoch_begin(epoch)
        history.on_epoch_end(epoch, LOGS | {"val_loss": 3.0, "val_accuracy": 0.25})
        # Each row is written at the end of its epoch.
        assert len(rows_of(path)) == epoch + 1
    first, second = rows_of(path)
    assert list(first) == [
        *("epoch", "loss", "accuracy", "perplexity", "tokens_per_second"),
        *("val_loss", "val_accuracy", "seconds"),
    ]
    assert (first["epoch"], second["epoch"]) == ("1", "2")
    assert first["loss"] == "2.34568"
    assert first["tokens_per_second"] == "12345.7"
    assert 0 <= float(second["seconds"]) < 1
    assert b"\r" not in path.read_bytes()


def test_history_is_resumed(tmp_path):
    path = tmp_path / "history.csv"
    path.write_text("epoch,loss,seconds\n1,2.5,1\n2,2.25,1\n3,2,1\n", encoding="utf-8")
    history = HistoryFile(path, rows_of(path)[:2])
    history.on_train_begin()
    # Killed here, the run still has the rows of its completed epochs.
    assert [row["epoch"] for row in rows_of(path)] == ["1", "2"]
    history.on_epoch_begin(2)
    history.on_epoch_end(2, LOGS)
    assert [row["loss"] for row in rows_of(path)] == ["2.5", "2.25", "2.34568"]
    assert list(rows_of(path)[0]) == ["epoch", "loss", "seconds"]


def use_terminal(monkeypatch):
    """Replace stderr by a terminal of 100 columns; in the test, as pytest sets it before."""
    terminal = io.StringIO()
    terminal.isatty = types.MethodType(lambda self: True, terminal)
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    return terminal


def run_epochs(progress, epochs):
    progress.on_train_begin()
    for epoch in range(epochs):
        progress.on_epoch_end(epoch, LOGS)
    progress.on_train_end()


def test_progress_without_a_terminal_logs_some_epochs(tmp_path, capsys):
    run_epochs(TrainingProgress(45, tmp_path / "train.log"), 45)
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 12
    last = "epoch 45/45  loss 2.346  accuracy 0.500  12,346 tokens/s"
    assert err.splitlines()[-1] == last
    log = (tmp_path / "train.log").read_text(encoding="utf-8").splitlines()
    assert len(log) == 45
    assert log[-1] == last


def test_progress_of_a_short_training_logs_each_epoch(tmp_path, capsys):
    run_epochs(TrainingProgress(3, tmp_path / "train.log"), 3)
    assert len(capsys.readouterr().err.splitlines()) == 3


def test_progress_on_a_terminal_is_a_bar(tmp_path, monkeypatch):
    terminal = use_terminal(monkeypatch)
    run_epochs(TrainingProgress(3, tmp_path / "train.log"), 3)
    assert "epoch 3/3" in terminal.getvalue()
    assert "loss 2.346  accuracy 0.500" in terminal.getvalue()
    assert terminal.getvalue().endswith("\x1b[?25h"), "the cursor is back"


def test_the_bar_advances_with_the_batches(tmp_path, monkeypatch):
    use_terminal(monkeypatch)
    monkeypatch.setattr(TrainingProgress, "SECONDS", 0.0)
    progress = TrainingProgress(2, tmp_path / "train.log")
    progress.set_params({"steps": 4})
    updates = []
    monkeypatch.setattr(progress._bar, "update", lambda task, **fields: updates.append(fields))
    for epoch in range(2):
        progress.on_epoch_begin(epoch)
        for batch in (1, 3):
            progress.on_train_batch_end(batch, LOGS)
        progress.on_epoch_end(epoch, LOGS)
    assert [fields["completed"] for fields in updates] == [0.5, 0.99, 1, 1.5, 1.99, 2]
    assert [fields["epoch"] for fields in updates] == [1, 1, 1, 2, 2, 2]
    assert updates[0]["description"] == "loss 2.346  accuracy 0.500  12,346 tokens/s"


def test_remaining_time_of_long_epochs(tmp_path, monkeypatch):
    use_terminal(monkeypatch)
    progress = TrainingProgress(10, tmp_path / "train.log")
    progress.set_params({"steps": 10})
    clock = [0.0]
    progress._bar.get_time = lambda: clock[0]
    monkeypatch.setattr(TrainingProgress, "SECONDS", -1.0)
    progress.on_epoch_begin(0)
    # Further apart than rich's default estimate period.
    for batch in range(3):
        clock[0] += 100.0
        progress.on_train_batch_end(batch, {"loss": 1.0})
    [task] = progress._bar.tasks
    assert task.time_remaining == 100 * 97


@pytest.mark.parametrize(("columns", "has_throughput"), [(80, False), (120, True)])
def test_remaining_time_is_not_truncated(columns, has_throughput, tmp_path, monkeypatch):
    terminal = use_terminal(monkeypatch)
    monkeypatch.setenv("COLUMNS", str(columns))
    progress = TrainingProgress(300, tmp_path / "train.log")
    progress.on_train_begin()
    progress.on_epoch_end(298, LOGS | {"val_loss": 3.21})
    progress.close()
    last = re.sub(r"\x1b\[[\d;?]*\w", "", terminal.getvalue()).rstrip().splitlines()[-1]
    assert "val_loss 3.210" in last
    assert ("tokens/s" in last) == has_throughput
    assert re.search(r" -?[\d:-]+$", last)
    assert "…" not in last
    assert "tokens/s" in (tmp_path / "train.log").read_text(encoding="utf-8")


def test_validation_loss_is_shown(tmp_path, capsys):
    progress = TrainingProgress(1, tmp_path / "train.log")
    progress.on_epoch_end(0, LOGS | {"val_loss": 3.21})
    assert "val_loss 3.210" in capsys.readouterr().err


CHINESE = ["我们试试看。", "你好吗?", "汤姆是学生。"]


class Fixed(SentenceTranslator):
    """A translator with fixed answers."""

    def __init__(self, answers):
        self.answers = answers

    def translate(self, sentences, batch_size=64, beam=1):
        return self.answers


def scores_of(answers, references, epochs, model, **options):
    callback = ValidationScores(
        Fixed(answers), ["a"] * len(answers), [[text] for text in references], **options
    )
    callback.set_model(model)
    rows = [{} for _ in range(epochs)]
    for epoch, logs in enumerate(rows):
        callback.on_epoch_end(epoch, logs)
    callback.on_train_end()
    return rows


@pytest.fixture
def compiled(make_model):
    model = make_model()
    model.compile()
    return model


def test_chinese_is_scored_by_characters(compiled, caplog):
    answers = ["我们试试吧。", "你好吗?", "他是学生。"]
    [row] = scores_of(answers, CHINESE, 1, compiled)
    expected = {
        "val_bleu": sacrebleu.corpus_bleu(answers, [CHINESE], tokenize="zh").score,
        "val_chrf": sacrebleu.corpus_chrf(answers, [CHINESE]).score,
    }
    assert row == pytest.approx(expected)
    assert row["val_bleu"] > 40
    assert not caplog.records


@pytest.mark.parametrize("epochs", [2, 3, 6])
def test_scores_that_stay_zero_are_warned_about_once(epochs, compiled, caplog):
    answers = [text[:2] for text in CHINESE]
    rows = scores_of(answers, CHINESE, epochs, compiled, tokenize="13a")
    assert {row["val_bleu"] for row in rows} == {0}
    assert rows[0]["val_chrf"] > 0
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    message = record.getMessage()
    assert message.startswith(f"val_bleu 0 after each of {min(epochs, 3)} epochs")
    assert "--sacrebleu-tokenize zh" in message


def test_scores_that_are_zero_at_times_are_not_warned_about_again(compiled, caplog):
    zero, good = ["x"] * 3, CHINESE
    translator = Fixed(zero)
    callback = ValidationScores(translator, ["a"] * 3, [[text] for text in CHINESE])
    callback.set_model(compiled)
    for epoch, answers in enumerate([zero, good, *[zero] * 4, good, *[zero] * 4]):
        translator.answers = answers
        callback.on_epoch_end(epoch, {})
    callback.on_train_end()
    assert not caplog.records


def test_case_of_validation_scores(compiled):
    texts = ["Guten Tag Frau Meier"]
    lower = [text.lower() for text in texts]
    assert scores_of(lower, texts, 1, compiled)[0]["val_bleu"] == pytest.approx(100)
    [row] = scores_of(lower, texts, 1, compiled, lowercase=False)
    assert row["val_bleu"] == 0


def test_scores_of_words(compiled, caplog):
    """No BLEU, and no warning of error rates of zero or of no exact match in the first epochs."""
    words, answers = ["walked", "went", "sang"], ["walked", "goed", "sung"]
    rows = scores_of(answers, words, 3, compiled)
    wer = pytest.approx(200 / 3)
    # Without a tokenizer, tokens are what spaces part.
    assert rows[0] == {"val_exact": pytest.approx(100 / 3), "val_wer": wer, "val_ter": wer}
    scores_of(words, words, 3, compiled)
    scores_of(["x"] * 3, words, 3, compiled)
    assert not caplog.records
    [row] = scores_of(answers, words, 1, compiled, also=["bleu", "exact"])
    assert list(row) == ["val_exact", "val_wer", "val_ter", "val_bleu"]
    [row] = scores_of(CHINESE, CHINESE, 1, compiled, also=["wer"])
    assert list(row) == ["val_bleu", "val_chrf", "val_wer"]
    assert row["val_wer"] == 0


def test_word_error_rate_is_shown(tmp_path, capsys):
    progress = TrainingProgress(1, tmp_path / "train.log")
    progress.on_epoch_end(0, LOGS | {"val_loss": 3.21, "val_exact": 93.57, "val_wer": 6.432})
    assert "val_loss 3.210  val_wer 6.43  " in capsys.readouterr().err


@pytest.mark.parametrize(("criterion", "mode"), [("wer", "min"), ("exact", "max")])
def test_early_stopping_by_error_rates(criterion, mode, pairs_file, tmp_path):
    """The column is in the history beside those of sentences; lower error rates are better."""
    config = s2s.TrainingConfig(
        **{"embed_size": 4, "num_hiddens": 4, "num_layers": 1, "min_freq": 1, "epochs": 3},
        valid_fraction=0.5,
        early_stopping=criterion,
        learning_rate=0.05,
    )
    s2s.train(str(pairs_file), tmp_path / "run", config)
    run = RunDirectory(tmp_path / "run")
    rows = run.read_history()
    assert {"val_bleu", "val_chrf", f"val_{criterion}"} < rows[0].keys()
    [state] = sorted(run.checkpoints.glob("*/state.json"))[-1:]
    saved = json.loads(state.read_text(encoding="utf-8"))["callbacks"]["EarlyStopping"]
    best = {"min": min, "max": max}[mode](float(row[f"val_{criterion}"]) for row in rows)
    assert saved["best"] == pytest.approx(best, rel=1e-5)


def test_early_stopping_by_chrf_and_the_options_of_the_run(pairs_file, tmp_path):
    """The file's French in Chinese characters, whose BLEU with 13a is zero."""
    chinese = {letter: chr(0x4E00 + i) for i, letter in enumerate("abcdefghijklmnopqrstuvwxyz")}
    lines = pairs_file.read_text(encoding="utf-8").lower().splitlines() * 2
    rows = [line.split("\t") for line in lines]
    corpus = tmp_path / "pairs.tsv"
    text = "".join(
        f"{source} {i}\t{target.translate(str.maketrans(chinese))}\n"
        for i, (source, target) in enumerate(rows)
    )
    corpus.write_text(text, encoding="utf-8")
    sizes = {"embed_size": 4, "num_hiddens": 4, "num_layers": 1, "min_freq": 1, "epochs": 1}
    config = s2s.TrainingConfig(
        valid_fraction=0.4, early_stopping="chrf", sacrebleu_lowercase=False, **sizes
    )
    s2s.train(str(corpus), tmp_path / "run", config)
    recipe = RunDirectory(tmp_path / "run").read_config()
    assert (recipe.sacrebleu_tokenize, recipe.sacrebleu_lowercase) == ("zh", False)
    checkpoint = RunDirectory(tmp_path / "run").checkpoints
    [state] = checkpoint.glob("*/state.json")
    saved = json.loads(state.read_text(encoding="utf-8"))["callbacks"]["EarlyStopping"]
    [row] = RunDirectory(tmp_path / "run").read_history()
    assert saved["best"] == pytest.approx(float(row["val_chrf"]), rel=1e-5)

    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main(["evaluate", str(tmp_path / "run"), str(corpus), "--json"]) == 0
    assert "case:mixed|eff:no|tok:zh|" in json.loads(out.getvalue())["bleu_signature"]
    with contextlib.redirect_stdout(out):
        arguments = ["--json", "--sacrebleu-tokenize=13a", "--sacrebleu-lowercase"]
        assert main(["evaluate", str(tmp_path / "run"), str(corpus), *arguments]) == 0
    last = json.loads(out.getvalue().splitlines()[-1])
    assert "case:lc|eff:no|tok:13a|" in last["bleu_signature"]


def test_runs_of_earlier_versions_keep_their_tokenization(trained_run, tmp_path):
    record = RunDirectory(trained_run).read_record()
    del record["recipe"]["sacrebleu_tokenize"], record["recipe"]["sacrebleu_lowercase"]
    run = RunDirectory(tmp_path)
    run.write_record(record)
    assert run.read_config().sacrebleu_tokenize == "13a"
    assert run.read_config().sacrebleu_lowercase
