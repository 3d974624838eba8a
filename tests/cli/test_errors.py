"""Errors of the command: invalid arguments, corpora, runs and models."""

import dataclasses
import errno
import gzip
import io
import json
import os
import zipfile

import keras
import pytest

from keras_s2s.cli import data as data_commands
from keras_s2s.cli import training
from keras_s2s.cli.main import main
from keras_s2s.cli.parser import parse
from keras_s2s.config import preset
from keras_s2s.run_directory import RunDirectory
from keras_s2s.utils.errors import InputError


def zipped(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return buffer.getvalue()


PAIRS = b"Go.\tVa !\nHi.\tSalut !\n"
SIXTY_FIVE_MEBIBYTES = PAIRS * (65 * 2**20 // len(PAIRS) + 1)


# The content of each corpus, and its error.
INVALID_CORPORA = {
    "missing": (None, "missing.tsv: no such file"),
    "empty": (b"", "empty.tsv: is empty"),
    "blank": (b"\n\n", "blank.tsv: holds no pairs"),
    "binary": (b"\x7fELF\0\1\2", "binary.tsv: is binary"),
    "latin_1": ("Hi.\tSalut !\nOh?\tÇa alors !\n".encode("latin-1"), "line 2 is not UTF-8"),
    "utf_16": ("Hi.\tSalut !\n".encode("utf-16"), "looks like UTF-16"),
    "no_tabs": (b"Go.\tVa !\nHi.\nRun!\n\n", "2 of 4 lines have no tab-separated pair (line 2"),
    "one_sided": (b"Go.\t\n\tVa !\n", "2 of 2 lines"),
    "cut_zip": (zipped(pairs=PAIRS)[:-30], "cut_zip.zip: is cut off or damaged"),
    "cut_gz": (gzip.compress(PAIRS)[:-5], "cut_gz.gz: is cut off or damaged"),
    "outside_zip": (zipped(**{"../pairs.tsv": PAIRS}), "'../pairs.tsv' points outside"),
    "no_pairs_zip": (zipped(about=b"nothing"), "no_pairs_zip.zip: holds no pairs"),
    "bomb_gz": (gzip.compress(SIXTY_FIVE_MEBIBYTES), "unpacks to more than 64 MiB"),
}


@pytest.mark.parametrize("name", INVALID_CORPORA)
def test_invalid_corpus(name, refused, trained_run, tmp_path):
    content, expected = INVALID_CORPORA[name]
    suffix = name.rpartition("_")[2] if name.endswith(("zip", "gz")) else "tsv"
    corpus = tmp_path / f"{name}.{suffix}"
    if content is not None:
        corpus.write_bytes(content)
    for command in (
        ["train", corpus, "--run-dir", tmp_path / "run"],
        ["train", corpus, "--run-dir", trained_run, "--overwrite"],
        ["evaluate", trained_run, corpus],
    ):
        message = refused(*command)
        assert expected in message
        assert str(corpus) in message


def test_files_that_are_not_aligned(refused, tmp_path):
    (tmp_path / "a.en").write_bytes(b"Go.\nHi.\n")
    (tmp_path / "a.fr").write_bytes(b"Va !\n")
    message = refused("train", f"{tmp_path}/a.en,{tmp_path}/a.fr", "--run-dir", tmp_path / "run")
    assert "a.en has 2 lines but" in message
    assert "a.fr has 1" in message
    assert "no such file" in refused(
        "train", f"{tmp_path}/a.en,{tmp_path}/b.fr", "--run-dir", tmp_path / "run"
    )


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("--preset chaptr", "there is chapter, small, base, character; did you mean chapter?"),
        ("--num-hidden 5", "unknown argument --num-hidden; did you mean --num-hiddens?"),
        ("--valid-fracton=0.1", "unknown argument --valid-fracton; did you mean --valid-fraction?"),
        ("--valid 0.1", "0.1: no such file"),
        ("--lr 0.1", "unknown argument --lr; did you mean --learning-rate?"),
        ("--output new", "unknown argument --output; did you mean --run-dir?"),
        ("--config x.yaml", "unknown argument --config (see"),
        ("--init-from x.keras", "unknown argument --init-from (see"),
        ("--optimizer sgd", "unknown argument --optimizer (see"),
        ("--zzz", "unknown argument --zzz (see"),
        ("another", "unknown argument another (see"),
        ("--epochs many", "argument --epochs: 'many' is not an integer"),
        ("--epochs 2.5", "'2.5' is not an integer"),
        ("--epochs", "argument --epochs: expected one argument"),
        ("--epochs 0", "epochs is 0; give 1 or more"),
        ("--epochs 99999999999", "epochs is 99999999999; give 2147483647 or less"),
        ("--dropout high", "argument --dropout: 'high' is not a number"),
        ("--dropout 1", "dropout is 1.0; give less than 1"),
        ("--dropout -0.1", "dropout is -0.1; give 0 or more"),
        ("--dropout nan", "dropout is nan; give a number"),
        ("--learning-rate inf", "learning_rate is inf; give a number"),
        ("--learning-rate 0", "learning_rate is 0.0; give more than 0"),
        ("--global-clipnorm -1", "global_clipnorm is -1.0; give more than 0"),
        ("--clip-norm -1", "global_clipnorm is -1.0; give more than 0"),
        ("--num-hiddens 99999999", "num_hiddens is 99999999; give 65536 or less"),
        ("--num-steps 2", "num_steps is 2; give 3 or more"),
        ("--vocab-size 4", "vocab_size is 4; give 5 or more"),
        ("--max-pairs 0", "max_pairs is 0; give 1 or more"),
        ("--seed -1", "seed is -1; give 0 or more"),
        ("--seed 4294967296", "seed is 4294967296"),
        ("--valid-fraction 0.5 --test-fraction 0.5", "leave nothing to train on"),
        ("--valid-fraction 0.999999", "none of its 24 pairs is left to train on"),
        ("--num-steps 3 --drop-long", "no pair has at most 3 source tokens"),
        ("--resume --overwrite", "not allowed with argument"),
    ],
)
def test_invalid_option_of_train(options, expected, refused, pairs_file, tmp_path):
    message = refused("train", pairs_file, "--run-dir", tmp_path / "run", *options.split())
    assert expected in message


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("", "the following arguments are required: COMMAND (see keras-s2s --help)"),
        ("trian", "did you mean train?"),
        ("train", "required: CORPUS, --run-dir (see keras-s2s train --help)"),
        ("train phrasebok --run-dir new", "(phrasebook, fra-eng); did you mean phrasebook?"),
        ("translate", "required: MODEL (see"),
        ("evaluate model", "model: there is no CORPUS"),
        ("evaluate", "required: MODEL"),
        ("evaluate model pairs --beam many", "argument --beam: 'many' is not an integer"),
        ("evaluate missing model phrasebook", "missing: no such file or folder"),
        (
            "evaluate model pairs --metrics bleu,were",
            "--metrics bleu,were: no metric 'were'; give one or more of bleu, chrf, exact, wer, "
            "ter; did you mean wer?",
        ),
        ("evaluate model pairs --metrics ,", "--metrics ,: no metric; give one or more of bleu"),
        (
            "evaluate model pairs --split tset",
            "'tset' is not known; give one of train, valid, test, all; did you",
        ),
        ("export model", "required: --model-name"),
        ("train pairs --rundir new", "unknown argument --rundir; did you mean --run-dir? (see"),
        ("translate --beem=2", "unknown argument --beem; did you mean --beam? (see keras-s2s tr"),
        ("--beam", "unknown argument --beam (see keras-s2s --help)"),
        ("evaluate missing phrasebook --split test", "missing: no such file or folder"),
        ("corpora --jsno", "unknown argument --jsno; did you mean --json?"),
    ],
)
def test_invalid_arguments(arguments, expected, refused):
    assert expected in refused(*arguments.split())


def test_unusable_run_dir(refused, pairs_file, trained_run, tmp_path):
    def message(run_dir, *options):
        return refused("train", pairs_file, "--run-dir", run_dir, *options)

    assert "holds a run already; give --resume" in message(trained_run)
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "thesis.tex").write_text("years of work", encoding="utf-8")
    for options in ([], ["--overwrite"]):
        assert "is not empty and holds no run" in message(tmp_path / "foreign", *options)
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert "is a file; give a folder" in message(tmp_path / "file")
    assert f"{tmp_path}/file is a file" in message(tmp_path / "file" / "run")


@pytest.mark.skipif(os.geteuid() == 0, reason="root can write everywhere")
def test_folder_without_write_permission(refused, pairs_file, trained_run, tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    assert "no permission to write" in refused("train", pairs_file, "--run-dir", locked / "run")
    assert "no permission to write" in refused(
        "export", trained_run, "--model-name", "tiny", "--output", locked / "models"
    )


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("--num-hiddens 9", "the run has num_hiddens 8, not 9; --resume keeps"),
        ("--drop-long", "the run has drop_long False, not True"),
        ("--preset chapter", "the run has min_freq 1, not 3"),
        ("--seed 4", "the run has seed 3, not 4"),
        ("--reverse", "the run has reverse False, not True"),
        ("--epochs 1", "has completed 2 epochs"),
        ("--epochs 0", "epochs is 0; give 1 or more"),
    ],
)
def test_changed_options_of_a_resumed_run(options, expected, refused, pairs_file, trained_run):
    message = refused("train", pairs_file, "--run-dir", trained_run, "--resume", *options.split())
    assert expected in message


def test_options_that_a_resumed_run_has_already(tmp_path):
    run = RunDirectory(tmp_path)
    recipe = dataclasses.asdict(preset("small", "pairs.tsv", tokenizer="word", symbols=("<2fr>",)))
    # An earlier version recorded the minimum frequency; all versions record the actual precision.
    run.write_record({"recipe": recipe | {"min_freq": 3, "precision": "float32"}, "seed": 0})
    for given in ("--preset small --symbols <2fr> --tokenizer word", "--symbols <2fr>"):
        options = parse(["train", "pairs.tsv", "--run-dir", "x", "--min-freq", "3", *given.split()])
        changes = {
            name: value for name in recipe if (value := getattr(options, name, None)) is not None
        }
        assert changes["symbols"] == ["<2fr>"]
        training._check_unchanged(run, options, changes)
    with pytest.raises(InputError, match=r"has symbols \('<2fr>',\), not \('<2de>',\)"):
        training._check_unchanged(run, options, {"symbols": ["<2de>"]})


def test_run_without_resume(refused, pairs_file, trained_run, tmp_path):
    def message(run_dir, corpus=pairs_file):
        return refused("train", corpus, "--run-dir", run_dir, "--resume")

    assert "holds no run (no run.json in it)" in message(tmp_path / "nowhere")
    other = tmp_path / "other.tsv"
    other.write_bytes(PAIRS)
    assert "is not the one this run began with" in message(trained_run, other)
    assert "no such file" in message(trained_run, tmp_path / "moved.tsv")

    record = json.loads((trained_run / "run.json").read_text(encoding="utf-8"))
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for text, expected in {
        '{"corpus": {"cor': "run.json: cannot be read, or is damaged",
        "[1, 2]": "not a JSON object",
        "\udcff": "can't decode byte",
        "{}": "no 'recipe'",
        json.dumps(record | {"recipe": {"colour": "red"}}): "colour",
        json.dumps(record | {"recipe": {"epochs": "many"}}): "run.json: cannot be read, or is "
        "damaged (epochs is 'many'",
        json.dumps(record | {"corpus": {}}): "not written by this version",
        json.dumps(record | {"corpus": "text"}): "run.json: cannot be read, or is damaged (its",
        json.dumps(record | {"seed": None}): "run.json: not written by this version (seed is None",
    }.items():
        (damaged / "run.json").write_bytes(text.encode("utf-8", "surrogateescape"))
        assert expected in message(damaged)
    (damaged / "run.json").write_text(json.dumps(record), encoding="utf-8")
    (damaged / "model.keras").write_bytes(b"")
    assert "has no checkpoint to resume from" in message(damaged)


@pytest.fixture
def invalid_models(trained_run, tmp_path):
    """Paths of files that are not translators, and the error of each."""
    translator = (trained_run / "model.keras").read_bytes()
    keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)]).save(tmp_path / "plain.keras")
    files = {
        "text.keras": b"not a model\n",
        "empty.keras": b"",
        "cut.keras": translator[: len(translator) // 2],
        "other.zip": zipped(pairs=PAIRS),
        "folder/notes.txt": b"",
        "run/run.json": b"{}",
        "damaged_run/run.json": b"{}",
        "damaged_run/model.keras": translator[:-1000],
        "export/1/saved_model.pb": b"not a protocol buffer",
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    return {
        "missing": "no such file or folder; give a run directory",
        "text.keras": "not a translator saved by keras_s2s: not a zip archive",
        "empty.keras": "not a zip archive, or truncated",
        "cut.keras": "not a zip archive, or truncated",
        "other.zip": "not a translator saved by keras_s2s",
        "plain.keras": "it holds a Sequential",
        "folder": "holds neither a run (run.json) nor an export",
        "run": "has no model.keras yet; finish it with keras-s2s train --resume",
        "damaged_run": "not a translator saved by keras_s2s",
        "export/1": "is damaged or no SavedModel",
    }


def test_invalid_models(invalid_models, refused, pairs_file, tmp_path):
    for name, expected in invalid_models.items():
        for command in (["translate", tmp_path / name, "Go."], ["evaluate", tmp_path / name]):
            corpus = [pairs_file] if command[0] == "evaluate" else []
            assert expected in refused(*command, *corpus)
        message = refused("export", tmp_path / name, "--model-name", "it", "--output", tmp_path)
        assert name in message


def test_invalid_options_of_evaluate(refused, command, pairs_file, trained_run, tiny, tmp_path):
    def message(model, *options):
        return refused("evaluate", model, pairs_file, *options)

    assert "only a run directory records" in message(trained_run / "model.keras", "--split", "test")
    assert "trained without --reverse" in message(trained_run, "--split", "test", "--reverse")
    assert "max_pairs is 0" in message(trained_run, "--max-pairs", 0)
    assert "no tokenization 'noen'; sacreBLEU has" in message(trained_run, "--tokenize", "noen")
    assert "is a folder" in message(trained_run, "--save-translations", tmp_path)
    assert "only a run directory records" in refused(
        *("evaluate", trained_run, trained_run / "model.keras", pairs_file, "--split", "test")
    )
    unsplit = tmp_path / "unsplit"
    assert command("train", pairs_file, "--run-dir", unsplit, *tiny, "--epochs=1").status == 0
    for part in ("valid", "test"):
        error = message(unsplit, "--split", part)
        assert f"{part} split is empty" in error
        assert error.endswith(f"or train with --{part}-fraction 0.05")
    (unsplit / "run.json").write_text("{", encoding="utf-8")
    assert "run.json: cannot be read" in message(unsplit, "--split", "train")


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "a\\b", "-x", "a b", "a:b", "é"])
def test_invalid_model_name(name, refused, trained_run, tmp_path):
    message = refused("export", trained_run, f"--model-name={name}", "--output", tmp_path)
    assert f"--model-name is {name!r}; give letters" in message


def test_invalid_options_of_export(refused, trained_run, exported_run, tmp_path):
    models = exported_run.parents[1]

    def message(*options, output=models):
        return refused("export", trained_run, "--model-name", "tiny", "--output", output, *options)

    assert "this version exists already" in message("--version", 1)
    assert "--version is 0; give 1 to 9223372036854775807" in message("--version", 0)
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert f"{tmp_path}/file is a file" in message(output=tmp_path / "file" / "models")
    assert "give one of its versions: " in refused("translate", exported_run.parent, "Go.")
    assert "is an export already" in refused("export", exported_run, "--model-name", "again")


def test_os_errors(monkeypatch, capsys):
    def outcome_of(error):
        def fail(options):
            raise error

        monkeypatch.setattr(data_commands, "corpora", fail)
        return main(["corpora"]), capsys.readouterr().err

    full = OSError(errno.ENOSPC, "No space left on device", "model.keras")
    assert outcome_of(full) == (2, "keras-s2s: error: model.keras: No space left on device\n")
    without_file = OSError(errno.EIO, "Input/output error")
    assert outcome_of(without_file)[1].endswith("input or output: Input/output error\n")
    assert outcome_of(KeyboardInterrupt()) == (130, "keras-s2s: interrupted\n")


def test_control_characters_in_names(refused):
    message = refused("translate", "a\nb\x1b[2J\N{RIGHT-TO-LEFT OVERRIDE}")
    assert r"a b\x1b[2J\u202e: no such file" in message


def test_unexpected_errors_have_a_traceback(monkeypatch):
    def corpora(options):
        raise ZeroDivisionError

    monkeypatch.setattr(data_commands, "corpora", corpora)
    with pytest.raises(ZeroDivisionError):
        main(["corpora"])


def test_a_second_file_is_one_argument_too_many(refused, tmp_path):
    file = tmp_path / "a.fr"
    file.write_text("Va !\n", encoding="utf-8")
    message = refused("train", "a.en", file, "--run-dir", tmp_path / "run")
    assert f"{file} is one argument too many; give two aligned files as a.en,a.fr" in message
    assert "a.en,a.fr" not in refused("export", "run", file, "--model-name", "en-fr")


def test_an_unknown_option_among_sentences(capsys):
    with pytest.raises(SystemExit):
        parse(["translate", "MODEL", "--wth-scores", "Go."])
    assert "--with-scores?" in capsys.readouterr().err
