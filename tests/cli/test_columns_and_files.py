"""Columns, and files of validation and test pairs, through all commands."""

import json
import shutil

import pytest

import keras_s2s as s2s
from keras_s2s.cli.main import main
from keras_s2s.data.corpus_spec import CorpusSpec

VERBS = ["walk", "talk", "look", "help", "call", "turn", "jump", "work", "wash", "play"]
COLUMNS = "source,target,features"


def lines(verbs):
    forms = {"V;PST": "{}ed", "V;PRS;3;SG": "{}s", "V;NFIN": "{}"}
    return [f"{v}\t{form.format(v)}\t{tags}\n" for v in verbs for tags, form in forms.items()]


def write(path, content):
    path.write_text("".join(content), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A corpus, validation pairs of which one source stands in the corpus, and test pairs."""
    folder = tmp_path_factory.mktemp("verbs")
    return (
        write(folder / "verbs.tsv", lines(VERBS)),
        write(folder / "dev.tsv", [*lines(["climb", "smell", "fill"]), *lines(["walk"])[:1]]),
        write(folder / "test.tsv", lines(["kill", "roll"])),
    )


OPTIONS = (
    *("--columns", COLUMNS, "--tokenizer", "character", "--num-steps", "14", "--epochs", "2"),
    *("--embed-size=8", "--num-hiddens=8", "--num-layers=1", "--attention=luong"),
)


@pytest.fixture(scope="module")
def run(files, tmp_path_factory):
    """A run with columns, and early stopping by the validation file. Read-only."""
    corpus, valid, test = map(str, files)
    run = tmp_path_factory.mktemp("run") / "run"
    held_out = "--valid", valid, "--test", test, "--early-stopping", "loss"
    assert main(["train", corpus, "--run-dir", str(run), *OPTIONS, *held_out]) == 0
    return run


def test_record(run, files):
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    corpus, sizes = record["corpus"], record["sizes"]
    assert [corpus[name] for name in ("corpus", "valid", "test")] == [str(file) for file in files]
    assert corpus["columns"] == COLUMNS
    held_out = s2s.load_corpus(files[1], columns=COLUMNS)
    assert corpus["valid_sha256"] == held_out.fingerprint()
    assert (sizes["train_pairs"], sizes["valid_pairs"], sizes["test_pairs"]) == (30, 10, 6)
    assert CorpusSpec.from_record(corpus).columns == COLUMNS
    assert s2s.Translator.load(run / "model.keras").source_tokenizer.columns == (
        "source",
        "features",
    )
    assert (run / "samples.txt").read_text(encoding="utf-8").count("\t") == 30


def test_resumed_with_the_same_result(run, files, command, tmp_path):
    corpus, valid, test = files
    half = tmp_path / "half"
    options = *OPTIONS, "--epochs", 1, "--valid", valid, "--test", test
    outcome = command("train", corpus, "--run-dir", half, *options)
    assert outcome.status == 0
    assert "dev.tsv: 1 of 10 sources also stands in the training pairs" in outcome.err
    assert "'walk\\tV;PST'" in outcome.err
    moved = shutil.copy(valid, tmp_path / "moved.tsv")
    resume = "train", corpus, "--run-dir", half, "--resume"
    outcome = command(*resume, "--valid", corpus, "--epochs", 2)
    assert (outcome.status, outcome.out) == (2, "")
    assert "of its valid pairs is not the one this run began with" in outcome.err
    outcome = command(*resume, "--columns", "1,2")
    assert "columns source,target,features, not 1,2" in outcome.err
    assert command(*resume, "--valid", moved, "--columns", COLUMNS, "--epochs", 2).status == 0
    histories = [
        [row["val_loss"] for row in s2s.run_directory.RunDirectory(path).read_history()]
        for path in (half, run)
    ]
    assert histories[0] == histories[1]
    assert json.loads((half / "run.json").read_text())["corpus"]["valid"] == str(moved)


def test_evaluate_finds_the_files(run, files, command, tmp_path):
    _, valid, test = files
    translator = s2s.Translator.load(run / "model.keras")
    expected = {
        split: s2s.evaluate(translator, s2s.load_corpus(file, columns=COLUMNS), tokenize="13a")
        for split, file in (("valid", valid), ("test", test))
    }
    moved = shutil.copy(test, tmp_path / "moved.tsv")
    for split, arguments in (
        ("valid", [run]),
        ("test", [run, moved]),
        ("test", [run, run]),
    ):
        outcome = command("evaluate", *arguments, "--split", split, "--json")
        assert outcome.status == 0, outcome.err
        result = json.loads(outcome.out)
        result = result["models"][0] if "models" in result else result
        for name in ("chrf", "nats_per_token", "num_pairs", "unknown_source"):
            assert result[name] == pytest.approx(expected[split][name]), name
    # The columns of the run hold for another corpus too.
    result = json.loads(command("evaluate", run, test, "--json").out)
    assert result["num_sentences"] == 6
    assert result["unknown_source"] == expected["test"]["unknown_source"]


def test_evaluate_on_training_pairs_and_limits(run, command):
    outcome = command("evaluate", run, "--split", "train", "--json", "--max-pairs", 4)
    assert json.loads(outcome.out)["num_pairs"] == 4
    outcome = command("evaluate", run, "--split", "test", "--json", "--max-pairs", 4)
    assert json.loads(outcome.out)["num_pairs"] == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["RUN"], "the corpus comes last"),
        (["RUN", "CORPUS", "--split", "test", "--columns", "1,2"], "omit --columns"),
        (["RUN", "OTHER", "--split", "test"], "omit CORPUS, give that file where it is now"),
    ],
)
def test_evaluate_refuses(run, files, refused, tmp_path, arguments, message):
    other = write(tmp_path / "other.tsv", lines(["grow"]))
    names = {"RUN": run, "RUN/model.keras": run / "model.keras", "CORPUS": files[0]}
    line = refused("evaluate", *(names.get(a, other if a == "OTHER" else a) for a in arguments))
    assert message in line


def test_evaluate_needs_the_columns_of_a_file_of_a_model(run, files, command):
    outcome = command("evaluate", run / "model.keras", files[0])
    assert (outcome.status, outcome.out) == (2, "")
    assert "give --columns source,features,target, or in the order" in outcome.err


def test_a_changed_test_file_is_noticed(run, files, command, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    record = json.loads((copy / "run.json").read_text())
    changed = write(tmp_path / "test.tsv", lines(["kill", "rule"]))
    record["corpus"]["test"] = str(changed)
    (copy / "run.json").write_text(json.dumps(record))
    outcome = command("evaluate", copy, "--split", "test", "--json")
    assert (outcome.status, json.loads(outcome.out)["num_pairs"]) == (0, 6)
    assert f"{changed}: has changed since the run" in outcome.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--valid", "VALID", "--valid-fraction", "0.1"], "valid_fraction 0.1; give one of them"),
        (["--test", "VALID", "--test-fraction", "0.1"], "test_fraction 0.1; give one of them"),
        (["--test", "VALID", "--early-stopping", "loss"], "needs validation pairs"),
        (["--valid", "missing.tsv", "--columns", COLUMNS], "missing.tsv"),
        (["--valid", "TWO", "--columns", COLUMNS], "TWO: 1 of 1 lines has no text in the columns"),
        (["--columns", "source,form"], "'form' is none of"),
        (["--columns", "1,2", "--reverse"], "omit --reverse"),
        (
            ["--columns", COLUMNS, "--attention", "luong", "--replace-unknown"],
            "replace_unknown would write features",
        ),
    ],
)
def test_train_refuses(files, refused, tmp_path, options, message):
    two = write(tmp_path / "two.tsv", ["go\twent\n"])
    names = {"VALID": files[1], "TWO": two}
    options = [names.get(option, option) for option in options]
    line = refused("train", files[0], "--run-dir", tmp_path / "new", *options)
    assert message.replace("TWO", str(two)) in line


def test_a_file_replaces_the_fraction_of_a_preset(files, command, tmp_path):
    # Refused only later, for too few pairs.
    outcome = command(
        *("train", files[0], "--run-dir", tmp_path / "new", "--preset", "small"),
        *("--valid", write(tmp_path / "dev.tsv", ["a\tb\n"]), "--early-stopping", "loss"),
        *("--tokenizer", "word", "--min-freq", "1", "--num-steps", "40"),
    )
    assert outcome.status == 2
    assert "too few validation pairs for early_stopping loss: 1;" in outcome.err


def test_translate_columns(run, command):
    translator = s2s.Translator.load(run / "model.keras")
    sources = ["walk\tV;PST", "walk"]
    assert command("translate", run, *sources).out.splitlines() == translator.translate(sources)


def test_plot_with_columns(run, command, tmp_path):
    outcome = command("plot", run, "--output", tmp_path / "plots")
    assert outcome.status == 0
    assert "only the history" not in outcome.err
