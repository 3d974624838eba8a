"""Output of the subcommands: translations, scores, exports."""

import io
import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import keras_s2s as s2s
from keras_s2s.utils.text import MAX_LINES_PER_READ, available_lines

KERAS_S2S = Path(sys.executable).with_name("keras-s2s")

LINES = [
    b"Go.",
    b"",
    b"I won!",
    b"   ",
    b"no-break\xc2\xa0space \xe2\x80\xa8 and line separator",
    b"invalid \xff\xfe UTF-8 \xc3",
    b"a NUL \0, a bell \a, an escape \x1b[2J and a delete \x7f",
    b"two\rsentences",
    b"word " * 10_000,
    b"long" * 10_000,
    b"<eos> <pad>",
    b"-5 degrees",
    b"\xef\xbb\xbfGo.",
    b"Wow!",
]


@pytest.fixture(scope="module")
def models(translator, exports, tmp_path_factory):
    """The same model as a run directory, as a file and as an export."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "run").mkdir()
    (folder / "run" / "run.json").write_text("{}", encoding="utf-8")
    for path in (folder / "run" / "model.keras", folder / "model.keras"):
        translator.save(path)
    return [folder / "run", folder / "model.keras", exports / "1"]


@pytest.fixture(scope="module")
def answers(translator):
    texts, scores = translator.translate(LINES, return_scores=True)
    return list(zip(texts, scores, strict=True))


@pytest.fixture
def stdin(monkeypatch):
    def put(content):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

    return put


@pytest.mark.parametrize("index", range(3), ids=["run directory", "file", "export"])
def test_all_model_formats_give_the_same(index, command, stdin, models, answers):
    stdin(b"\n".join(LINES) + b"\n")
    outcome = command("translate", models[index], "--with-scores")
    assert outcome.status == 0
    assert outcome.err.count("\n") == 1
    assert "not UTF-8" in outcome.err
    lines = outcome.out.removesuffix("\n").split("\n")
    for line, (text, score) in zip(lines, answers, strict=True):
        printed, _, printed_score = line.partition("\t")
        assert printed == text
        assert float(printed_score) == pytest.approx(score, abs=1e-4)
        assert len(printed_score.partition(".")[2]) == 6
    assert lines[1] == lines[3] == "\t0.000000"
    assert len({text for text, _ in answers}) > 3, "a constant translation would prove nothing"


def test_an_answer_as_json(command, stdin, models, answers, tmp_path):
    stdin(b"\n".join(LINES) + b"\n")
    outcome = command("translate", models[0], "--json")
    objects = [json.loads(line) for line in outcome.out.splitlines()]
    for line, item, (text, score) in zip(LINES, objects, answers, strict=True):
        assert item["text"] == line.decode("utf-8", errors="replace")
        assert (item["translation"], item["score"]) == (text, pytest.approx(score, abs=1e-4))
        assert item["confidence"] == pytest.approx(math.exp(score), abs=1e-4)
        assert item["num_unknown"] >= 0
    source, target = tmp_path / "in.txt", tmp_path / "out.jsonl"
    source.write_bytes(b"\n".join(LINES) + b"\n")
    command("translate", models[0], "--json", "--input", source, "--output", target)
    assert [json.loads(line) for line in target.read_text("utf-8").splitlines()] == [
        {**item, **{name: pytest.approx(item[name], abs=1e-5) for name in ("score", "confidence")}}
        for item in objects
    ]
    assert command("translate", models[0], "--json", "--n-best", 1, "Go.").status == 2


@pytest.mark.parametrize("end", [b"\n", b"", b"\r\n"], ids=["LF", "no end", "CRLF"])
def test_one_output_line_per_input_line(end, command, stdin, models, answers):
    line_end = end or b"\n"
    stdin(line_end.join(LINES) + end)
    outcome = command("translate", models[1])
    assert outcome.out.split("\n") == [*(text for text, _ in answers), ""]


@pytest.mark.parametrize(("content", "lines"), [(b"", 0), (b"\n", 1), (b"\r", 1), (b"\n\n\n", 3)])
def test_empty_input(content, lines, command, stdin, models):
    stdin(content)
    assert command("translate", models[1]) == (0, "\n" * lines, "")


def test_text_in_other_encodings(command, stdin, models, answers, translator, tmp_path):
    file = tmp_path / "lines"
    content = b"\xef\xbb\xbfGo.\nGo\xe9.\n"
    stdin(content)
    file.write_bytes(content)
    piped = command("translate", models[1])
    written = command("translate", models[1], "--input", file, "--output", tmp_path / "out")
    expected = "".join(f"{text}\n" for text in translator.translate(["Go.", b"Go\xe9."]))
    assert piped.out == (tmp_path / "out").read_text(encoding="utf-8") == expected
    for name, outcome in (("standard input", piped), (str(file), written)):
        assert outcome.status == 0
        assert f"{name}: 1 line is not UTF-8, first line 2" in outcome.err
    assert command("translate", models[1], "\ufeffGo.").out == expected.split("\n")[0] + "\n"
    stdin("Go.\n".encode("utf-16"))
    file.write_bytes("Go.\n".encode("utf-16"))
    for arguments in ([], ["--input", file, "--output", tmp_path / "out2"]):
        outcome = command("translate", models[1], *arguments)
        assert (outcome.status, outcome.out) == (2, "")
        assert "looks like UTF-16; convert it to UTF-8" in outcome.err


def test_sentences_as_arguments(command, models, translator):
    sentences = ["Go.", "", "-5 degrees", "i won !", "go\ngo", os.fsdecode(b"\xff go")]
    outcome = command("translate", models[1], "--", *sentences)
    assert outcome.out == "".join(f"{text}\n" for text in translator.translate(sentences))
    outcome = command("translate", models[1], "Go.", "--with-scores")
    [text], [score] = translator.translate(["Go."], return_scores=True)
    assert outcome.out == f"{text}\t{score:.6f}\n"


def test_prompt_on_a_terminal(command, stdin, models, monkeypatch):
    stdin(b"")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    assert command("translate", models[1]) == (0, "", "one sentence per line; Ctrl-D ends\n")


class Odd:
    """A model whose translations have control characters."""

    def translate(self, sentences, **options):
        return [["va\x1b[2J\t!\nnon\u00a0\u202f?"]] * len(sentences), [[-1.0]] * len(sentences)


@pytest.mark.parametrize(
    ("terminal", "text"),
    [
        (True, "va\\x1b[2J\\t!\\nnon\u00a0\u202f?"),
        (False, "va\x1b[2J\t! non\u00a0\u202f?"),
    ],
)
def test_control_characters_do_not_reach_a_terminal(terminal, text, command, monkeypatch):
    monkeypatch.setattr("keras_s2s.cli.translation.load_model", lambda *_, **__: Odd())
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    assert command("translate", "model.keras", "Go.", "--with-scores").out == f"{text}\t-1.000000\n"


def test_closed_standard_input(command, models, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    outcome = command("translate", models[1])
    assert outcome.status == 2
    assert "standard input is closed; give sentences as arguments" in outcome.err


def test_lines_are_read_as_they_arrive():
    class Slow(io.RawIOBase):
        """Return one part per read, like a pipe."""

        def __init__(self, *parts):
            self.parts = list(parts)

        def readable(self):
            return True

        def readinto(self, buffer):
            part = self.parts.pop(0) if self.parts else b""
            buffer[: len(part)] = part
            return len(part)

    def batches(*parts):
        return list(available_lines(io.BufferedReader(Slow(*parts))))

    assert batches(b"a\n", b"b\nc\n", b"d") == [[b"a"], [b"b", b"c"], [b"d"]]
    assert batches(b"a", b"b", b"c\r", b"\nd\r\n\n") == [[b"abc", b"d", b""]]
    assert batches() == []
    many = b"line\n" * 1000
    assert sum(len(batch) for batch in batches(many)) == 1000
    assert max(len(batch) for batch in batches(many)) <= MAX_LINES_PER_READ


@pytest.fixture
def process(models):
    """`keras-s2s translate` with pipes."""
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    command = [KERAS_S2S, "translate", models[1]]
    with subprocess.Popen(command, bufsize=0, **pipes) as process:
        yield process
        process.kill()


def test_each_line_is_translated_before_the_next_is_sent(process, translator):
    for sentence in ("Go.", "", "I won!"):
        process.stdin.write(f"{sentence}\n".encode())
        assert process.stdout.readline().decode() == f"{translator.translate([sentence])[0]}\n"
    out, err = process.communicate(b"Wow!")
    assert out.decode() == f"{translator.translate(['Wow!'])[0]}\n"
    assert (process.returncode, err) == (0, b"")


def test_closed_standard_output(process):
    process.stdin.write(b"Go.\n")
    assert process.stdout.readline().endswith(b"\n")
    process.stdout.close()
    # Standard input stays open.
    process.stdin.write(b"Go.\n")
    assert process.wait(timeout=60) == 0
    assert process.stderr.read() == b""


def approximately(scores):
    """Return scores to compare with, without the throughput, which varies."""
    return {
        name: pytest.approx(value, abs=1e-4) if isinstance(value, float) else value
        for name, value in scores.items()
        if name != "sentences_per_second"
    }


def test_metrics_of_evaluate(command, models, pairs_file, translator):
    """In the order asked for, and no others."""
    expected = s2s.evaluate(translator, s2s.load_corpus(pairs_file), metrics=["ter", "exact"])
    assert expected["exact_match"] + 5 < 100 - expected["token_error_rate"]
    arguments = "evaluate", models[0], pairs_file, "--metrics"
    first, second, intervals, *_ = command(*arguments, "ter,exact").out.splitlines()
    assert first == (
        f"TER   {expected['token_error_rate']:6.2f}  {expected['token_error_rate_signature']}"
    )
    assert "nrefs:var|case:lc|unit:token|tok:WordTokenizer" in first
    assert second.startswith(f"exact {expected['exact_match']:6.2f}  nrefs:var|case:lc|unit:answer")
    assert re.match(r"95% intervals: TER [\d.]+ to [\d.]+, exact [\d.]+ to [\d.]+$", intervals)
    result = json.loads(command(*arguments, "wer", "--json").out)
    assert {"bleu", "chrf", "exact_match", "token_error_rate"}.isdisjoint(result)
    assert 0 < result["word_error_rate"] < 100


def test_evaluate(command, models, pairs_file, translator):
    corpus = s2s.load_corpus(pairs_file)
    expected = s2s.evaluate(translator, corpus)
    for model in models:
        outcome = command("evaluate", model, pairs_file, "--json")
        assert (outcome.status, outcome.err) == (0, "")
        assert outcome.out.count("\n") == 1
        result = json.loads(outcome.out)
        assert result.pop("sentences_per_second") > 0
        assert (result.pop("model"), result.pop("corpus")) == (str(model), str(pairs_file))
        assert (result.pop("split"), result.pop("beam")) == ("all", 1)
        assert result == approximately(expected)
    lines = command("evaluate", models[0], pairs_file).out.splitlines()
    bleu, chrf, intervals, loss, unknown, speed = lines
    assert bleu == f"BLEU  {expected['bleu']:6.2f}  {expected['bleu_signature']}"
    assert chrf == f"chrF  {expected['chrf']:6.2f}  {expected['chrf_signature']}"
    (low, high), (lowest, highest) = expected["bleu_interval"], expected["chrf_interval"]
    assert low < expected["bleu"] < high
    assert intervals == (
        f"95% intervals: BLEU {low:.2f} to {high:.2f}, chrF {lowest:.2f} to {highest:.2f}"
    )
    assert loss == (
        f"{expected['nats_per_token']:.4f} nats per token, perplexity "
        f"{expected['perplexity']:.3f} (24 pairs, {expected['num_tokens']} tokens)"
    )
    assert unknown == (
        f"unknown tokens: {expected['unknown_source']:.1%} of the sources, "
        f"{expected['unknown_target']:.1%} of the references"
    )
    assert speed.endswith("sentences/s (22 distinct sentences)")


def test_evaluate_with_another_tokenization(command, models, pairs_file, translator):
    outcome = command("evaluate", models[1], pairs_file, "--json", "--sacrebleu-tokenize", "none")
    expected = s2s.evaluate(translator, s2s.load_corpus(pairs_file), tokenize="none")
    assert json.loads(outcome.out)["bleu"] == expected["bleu"]
    assert json.loads(outcome.out)["bleu_signature"] == expected["bleu_signature"]
    assert "|tok:none|" in expected["bleu_signature"]


def test_evaluate_saves_translations(command, models, pairs_file, translator, tmp_path):
    table = tmp_path / "table.tsv"
    outcome = command("evaluate", models[1], pairs_file, "--save-translations", table)
    assert outcome.status == 0
    sources, references = s2s.load_corpus(pairs_file).references()
    rows = zip(sources, translator.translate(sources), references, strict=True)
    expected = "".join(
        "\t".join([source, translation, *targets]) + "\n" for source, translation, targets in rows
    )
    assert table.read_bytes().decode() == expected


def test_evaluate_several(command, models, trained_run, pairs_file, translator):
    """Compare a trained model with an untrained one and with itself."""
    paths = [models[1], trained_run, models[2]]
    corpus = s2s.load_corpus("phrasebook", max_pairs=60)
    runs = translator, s2s.Translator.load(trained_run / "model.keras"), translator
    expected = s2s.compare(runs, corpus)
    options = "phrasebook", "--max-pairs", 60
    outcome = command("evaluate", *paths, *options, "--json")
    assert (outcome.status, outcome.err, outcome.out.count("\n")) == (0, "", 1)
    result = json.loads(outcome.out)
    assert result.keys() == {
        *("corpus", "split", "beam", "models", "differences", "num_samples", "seed")
    }
    for row, path, scores in zip(result["models"], paths, expected["models"], strict=True):
        assert row.pop("model") == str(path)
        assert row.pop("sentences_per_second") > 0
        assert row == approximately(scores)
    for row, path, difference in zip(
        result["differences"], paths[1:], expected["differences"], strict=True
    ):
        assert (row.pop("model"), row.pop("against")) == (str(path), str(paths[0]))
        # JSON has no tuples.
        assert row == json.loads(json.dumps(difference))
    worse, same = result["differences"]
    for name in ("bleu", "chrf", "exact_match", "word_error_rate", "token_error_rate"):
        low, high = worse[name]["interval"]
        assert high < 0 if result["models"][0][name] > result["models"][1][name] else low > 0
        assert worse[name]["p_value"] < 0.05
        assert same[name] == {"difference": 0, "interval": [0, 0], "p_value": 1}

    lines = command("evaluate", *paths, *options).out.splitlines()
    assert [line for line in lines if line in map(str, paths)] == list(map(str, paths))
    assert lines[1].startswith(f"BLEU  {result['models'][0]['bleu']:6.2f}  nrefs:")
    at = lines.index(f"{paths[1]} against {paths[0]}")
    bleu = worse["bleu"]
    assert lines[at + 1] == (
        f"BLEU {bleu['difference']:+7.2f}  95% interval {bleu['interval'][0]:+.2f} to "
        f"{bleu['interval'][1]:+.2f}  p {bleu['p_value']:.3f}"
    )
    assert lines[at + 2].startswith("chrF  -")
    assert lines[at + 3 : at + 6] == [
        f"{paths[2]} against {paths[0]}",
        "BLEU   +0.00  95% interval +0.00 to +0.00  p 1.000",
        "chrF   +0.00  95% interval +0.00 to +0.00  p 1.000",
    ]
    num_sentences = result["models"][0]["num_sentences"]
    assert lines[at + 6 :] == [
        f"(paired bootstrap, 1000 samples of {num_sentences} sentences, seed 12345)"
    ]


@pytest.fixture
def another_run(trained_run, tmp_path):
    """Copy `trained_run` with another split."""

    def make(**changes):
        run = tmp_path / "another"
        shutil.copytree(trained_run, run, dirs_exist_ok=True)
        record = json.loads((run / "run.json").read_text(encoding="utf-8"))
        record["recipe"].update(changes)
        (run / "run.json").write_text(json.dumps(record), encoding="utf-8")
        return run

    return make


def test_evaluate_several_on_a_split(command, trained_run, another_run, pairs_file):
    options = pairs_file, "--split", "test"
    # The test split does not depend on the validation split.
    for changes in ({}, {"valid_fraction": 0.3}, {"num_steps": 5}):
        outcome = command("evaluate", trained_run, another_run(**changes), *options, "--json")
        assert outcome.status == 0, outcome.err
        part = s2s.load_corpus(pairs_file).split(0.2, 0.2, seed=0).test
        assert [row["num_pairs"] for row in json.loads(outcome.out)["models"]] == [len(part)] * 2
    for changes, expected in (
        ({"test_fraction": 0.4}, "(test_fraction 0.4 instead of 0.2)"),
        ({"split_seed": 1}, "(split_seed 1 instead of 0)"),
        (
            {"max_pairs": 20, "split_seed": 1},
            "(max_pairs 20 instead of None, split_seed 1 instead of 0)",
        ),
    ):
        run = another_run(**changes)
        outcome = command("evaluate", trained_run, run, *options)
        assert (outcome.status, outcome.out) == (2, "")
        assert f"{run}: its test split differs from that of {trained_run} " in (outcome.err)
        assert expected in outcome.err


def test_the_corpus_of_several_runs_is_read_once(command, trained_run, pairs_file, tmp_path):
    lines = pairs_file.read_text(encoding="utf-8").splitlines()
    file = tmp_path / "pairs.tsv"
    file.write_text("".join(f"{line}\tCC-BY\n" for line in lines), encoding="utf-8")
    outcome = command("evaluate", *[trained_run] * 3, file, "--split", "test")
    assert outcome.status == 0
    assert outcome.err.count(f"{file}: ") == 1


def test_evaluate_a_split(command, trained_run, pairs_file):
    parts = s2s.load_corpus(pairs_file).split(0.2, 0.2, seed=0)._asdict()
    parts["all"] = s2s.load_corpus(pairs_file)
    for name, part in parts.items():
        outcome = command("evaluate", trained_run, pairs_file, "--json", "--split", name)
        assert json.loads(outcome.out)["num_pairs"] == len(part)
    outcome = command("evaluate", trained_run, pairs_file, "--json", "--max-pairs", 7)
    assert json.loads(outcome.out)["num_pairs"] == 7
    outcome = command("evaluate", trained_run, pairs_file, "--json", "--reverse")
    assert outcome.status == 0, "a whole corpus can be scored in either direction"


def test_evaluate_agrees_with_training(command, trained_run, pairs_file):
    """The loss on the validation split is that of the training history."""
    outcome = command("evaluate", trained_run, pairs_file, "--json", "--split", "valid")
    last_row = (trained_run / "history.csv").read_text(encoding="utf-8").splitlines()[-1]
    val_loss = float(last_row.split(",")[6])
    assert json.loads(outcome.out)["nats_per_token"] == pytest.approx(val_loss, abs=1e-4)


def test_export(command, trained_run, exported_run, tmp_path):
    assert exported_run.name == "1", "without --version"
    options = ["--model-name", "en-fr.v2_x", "--output", tmp_path / "models", "--version", 7]
    outcome = command("export", trained_run, *options)
    assert outcome.out == f"{tmp_path}/models/en-fr.v2_x/7\n"
    *steps, verified = outcome.err.splitlines()
    assert verified.startswith("verified: loaded as a server loads it, ")
    assert [step.partition(" ")[0] for step in steps] == [
        *("writing", "translating", "loading"),
        *["comparing"] * 4,
        "checking",
    ]
    done, total = re.findall(r"[\d,]+", steps[-2])
    assert done == total
    assert os.listdir(tmp_path / "models" / "en-fr.v2_x") == ["7"]
