"""What the subcommands print: translations, scores, exports."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import keras_s2s as s2s
from keras_s2s.commands import SENTENCES_AT_A_TIME, waiting_lines

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
def models(translator, tmp_path_factory):
    """The same model as a run directory, as a file and as an export."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "run").mkdir()
    (folder / "run" / "run.json").write_text("{}", encoding="utf-8")
    for path in (folder / "run" / "model.keras", folder / "model.keras"):
        translator.save(path)
    translator.export(folder / "en-fr")
    return [folder / "run", folder / "model.keras", folder / "en-fr" / "1"]


@pytest.fixture(scope="module")
def answers(translator):
    texts, scores = translator.translate(LINES, return_scores=True)
    return list(zip(texts, scores, strict=True))


@pytest.fixture
def stdin(monkeypatch):
    def put(content):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

    return put


@pytest.mark.parametrize("kind", range(3), ids=["run directory", "file", "export"])
def test_every_kind_of_model_gives_the_same(kind, command, stdin, models, answers):
    stdin(b"\n".join(LINES) + b"\n")
    outcome = command("translate", models[kind], "--with-scores")
    assert (outcome.status, outcome.err) == (0, "")
    lines = outcome.out.removesuffix("\n").split("\n")
    for line, (text, score) in zip(lines, answers, strict=True):
        printed, _, number = line.partition("\t")
        assert printed == text
        assert float(number) == pytest.approx(score, abs=1e-4)
        assert len(number.partition(".")[2]) == 6
    assert lines[1] == lines[3] == "\t0.000000"
    assert len({text for text, _ in answers}) > 3, (
        "a model that always says the same proves nothing"
    )


@pytest.mark.parametrize("end", [b"\n", b"", b"\r\n"], ids=["LF", "no end", "CRLF"])
def test_as_many_lines_out_as_in(end, command, stdin, models, answers):
    line_end = end or b"\n"
    stdin(line_end.join(LINES) + end)
    outcome = command("translate", models[1])
    assert outcome.out.split("\n") == [*(text for text, _ in answers), ""]


@pytest.mark.parametrize(("content", "lines"), [(b"", 0), (b"\n", 1), (b"\r", 1), (b"\n\n\n", 3)])
def test_next_to_nothing(content, lines, command, stdin, models):
    stdin(content)
    assert command("translate", models[1]) == (0, "\n" * lines, "")


def test_sentences_as_arguments(command, models, translator):
    sentences = ["Go.", "", "-5 degrees", "i won !", "go\ngo", os.fsdecode(b"\xff go")]
    outcome = command("translate", models[1], "--", *sentences)
    assert outcome.out == "".join(f"{text}\n" for text in translator.translate(sentences))
    outcome = command("translate", models[1], "Go.", "--with-scores")
    [text], [score] = translator.translate(["Go."], return_scores=True)
    assert outcome.out == f"{text}\t{score:.6f}\n"


def test_a_terminal_is_told_what_to_do(command, stdin, models, monkeypatch):
    stdin(b"")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    assert command("translate", models[1]) == (0, "", "a sentence a line; Ctrl-D ends\n")


def test_closed_standard_input(command, models, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    outcome = command("translate", models[1])
    assert outcome.status == 2
    assert "standard input is closed; give sentences as arguments" in outcome.err


def test_lines_come_as_soon_as_they_are_there():
    class Slow(io.RawIOBase):
        """Gives a part at each read, as a pipe does."""

        def __init__(self, *parts):
            self.parts = list(parts)

        def readable(self):
            return True

        def readinto(self, buffer):
            part = self.parts.pop(0) if self.parts else b""
            buffer[: len(part)] = part
            return len(part)

    def batches(*parts):
        return list(waiting_lines(io.BufferedReader(Slow(*parts))))

    assert batches(b"a\n", b"b\nc\n", b"d") == [[b"a"], [b"b", b"c"], [b"d"]]
    assert batches(b"a", b"b", b"c\r", b"\nd\r\n\n") == [[b"abc", b"d", b""]]
    assert batches() == []
    many = b"line\n" * 1000
    assert sum(len(batch) for batch in batches(many)) == 1000
    assert max(len(batch) for batch in batches(many)) <= SENTENCES_AT_A_TIME


@pytest.fixture
def process(models):
    """`keras-s2s translate` with pipes."""
    environment = {key: os.environ[key] for key in os.environ if key != "TF_CPP_MIN_LOG_LEVEL"}
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    command = [KERAS_S2S, "translate", models[1]]
    with subprocess.Popen(command, env=environment, bufsize=0, **pipes) as process:
        yield process
        process.kill()


def test_a_line_gets_its_answer_before_the_next_one_is_sent(process, translator):
    for sentence in ("Go.", "", "I won!"):
        process.stdin.write(f"{sentence}\n".encode())
        assert process.stdout.readline().decode() == f"{translator.translate([sentence])[0]}\n"
    out, err = process.communicate(b"Wow!")
    assert out.decode() == f"{translator.translate(['Wow!'])[0]}\n"
    assert (process.returncode, err) == (0, b"")


def test_a_reader_that_has_enough(process):
    process.stdin.write(b"Go.\n")
    assert process.stdout.readline().endswith(b"\n")
    process.stdout.close()
    # Standard input stays open: whoever writes there may have more to say.
    process.stdin.write(b"Go.\n")
    assert process.wait(timeout=60) == 0
    assert process.stderr.read() == b""


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
        assert result.pop("split") == "all"
        assert result == {
            name: pytest.approx(value, abs=1e-4) if isinstance(value, float) else value
            for name, value in expected.items()
            if name != "sentences_per_second"
        }
    bleu, chrf, loss, speed = command("evaluate", models[0], pairs_file).out.splitlines()
    assert bleu == f"BLEU  {expected['bleu']:6.2f}  {expected['bleu_signature']}"
    assert chrf == f"chrF  {expected['chrf']:6.2f}  {expected['chrf_signature']}"
    assert loss == (
        f"{expected['nats_per_token']:.4f} nats a token, perplexity "
        f"{expected['perplexity']:.3f} (24 pairs, {expected['num_tokens']} tokens)"
    )
    assert speed.endswith("sentences/s (22 distinct sentences)")


def test_evaluate_a_part_of_the_corpus(command, trained_run, pairs_file):
    parts = s2s.load_corpus(pairs_file).split(0.2, 0.2, seed=0)._asdict()
    parts["all"] = s2s.load_corpus(pairs_file)
    for name, part in parts.items():
        outcome = command("evaluate", trained_run, pairs_file, "--json", "--split", name)
        assert json.loads(outcome.out)["num_pairs"] == len(part)
    outcome = command("evaluate", trained_run, pairs_file, "--json", "--max-pairs", 7)
    assert json.loads(outcome.out)["num_pairs"] == 7
    outcome = command("evaluate", trained_run, pairs_file, "--json", "--reverse")
    assert outcome.status == 0, "all of a corpus may be scored whatever its direction"


def test_evaluate_does_as_training_did(command, trained_run, pairs_file):
    """The loss of the validation part is the one that training wrote down."""
    outcome = command("evaluate", trained_run, pairs_file, "--json", "--split", "valid")
    last_row = (trained_run / "history.csv").read_text(encoding="utf-8").splitlines()[-1]
    val_loss = float(last_row.split(",")[6])
    assert json.loads(outcome.out)["nats_per_token"] == pytest.approx(val_loss, abs=1e-4)


def test_export(command, trained_run, tmp_path):
    options = ["--model-name", "en-fr.v2_x", "--output", tmp_path / "models"]
    for version, more in (("1", []), ("7", ["--version", 7])):
        outcome = command("export", trained_run, *options, *more)
        assert outcome.out == f"{tmp_path}/models/en-fr.v2_x/{version}\n"
        assert outcome.err.startswith("proven: loaded as a server loads it, ")
        assert outcome.err.count("\n") == 1
    assert sorted(os.listdir(tmp_path / "models" / "en-fr.v2_x")) == ["1", "7"]
