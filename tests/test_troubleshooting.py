"""The messages on the troubleshooting page, and other errors; see also cli/test_errors.py."""

import ast
import contextlib
import io
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import pytest
import tensorflow as tf
from pages import ROOT, tokens
from small_saved_models import answer, save

import keras_s2s as s2s
from keras_s2s.cli.main import main
from keras_s2s.client import __main__ as client
from keras_s2s.serving import verification
from keras_s2s.tokenizers.sentence_piece_model import sentencepiece_ops

PAGE = ROOT / "docs" / "troubleshooting.md"


def table_rows():
    """Return the first column of all tables."""
    rows, column = [], 0
    for token in tokens(PAGE.read_text(encoding="utf-8")):
        if token.type == "tr_open":
            column = 0
        elif token.type == "td_open":
            column += 1
        elif token.type == "inline" and column == 1:
            [code] = [child.content for child in token.children if child.type == "code_inline"]
            rows.append(code)
            column = 2
    return rows


GOOD = b"Go.\tVa !\nHi.\tSalut !\n"


def tar_of(content):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        member = tarfile.TarInfo("pairs.tsv")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def zip_of(content):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("fra.txt", content)
    return buffer.getvalue()


def write_file(text, file):
    """A signature that writes a file."""
    with tf.control_dependencies([tf.io.write_file(file, "written")]):
        return {name: tf.identity(output) for name, output in answer(text).items()}


FILES = {
    "good.tsv": GOOD,
    "few.tsv": b"1\tGo.\tVa !\n2\tHi.\tSalut !\n",
    "no_tabs.tsv": b"Go.\tVa !\nHi.\nRun!\n",
    "latin.tsv": "Oh?\tÇa alors !\n".encode("latin-1"),
    "utf_16.tsv": GOOD.decode().encode("utf-16"),
    "nul.tsv": GOOD + b"No\0.\tNon.\n",
    "tar.tar.gz": tar_of(GOOD),
    "a.en": b"Go.\nHi.\n",
    "a.fr": b"Va !\n",
    "full/note.txt": b"mine",
    "text.keras": b"no model",
    "cut/saved_model.pb": b"no protocol buffer",
    "data/fra-eng.zip": zip_of(GOOD),
}

# Commands, and a pattern of the error. RUN is a finished run, EXPORT an export of it, PAIRS its
# corpus, TINY the options of a small model.
COMMANDS = [
    ("train no_tabs.tsv --run-dir new", "lines have no"),
    ("train latin.tsv --run-dir new", "is not UTF-8"),
    ("train utf_16.tsv --run-dir new", "looks like UTF-16"),
    ("train nul.tsv --run-dir new", "has a NUL byte"),
    ("translate RUN --input utf_16.tsv --output new.txt", "looks like UTF-16"),
    ("train tar.tar.gz --run-dir new", "a tar"),
    ("train a.en,a.fr --run-dir new", "has 2 lines but"),
    ("train PAIRS --run-dir new --num-steps 3 --drop-long", "no pair has at most"),
    (
        "train PAIRS --run-dir new TINY --valid-fraction 0.2 --early-stopping loss",
        "too few validation pairs for",
    ),
    ("train good.tsv --run-dir new --attention luon", "is not known"),
    ("train full --run-dir new", "is a folder"),
    ("train a.en, --run-dir new", "two files"),
    ("train good.tsv --run-dir good.tsv/new", "cannot be created"),
    ("train good.tsv --run-dir new --input-feeding", "needs"),
    ("train good.tsv --run-dir full", "is not empty"),
    ("train good.tsv --run-dir RUN --resume", "the corpus .* is not"),
    ("train PAIRS --run-dir COPY --resume", "has no checkpoint"),
    ("train PAIRS --run-dir DAMAGED --resume --epochs 3", "no checkpoint is"),
    ("translate full Go.", "holds neither"),
    ("translate text.keras Go.", "not a translator"),
    ("translate RUN Go. --n-best 2", "--n-best is 2, and"),
    ("translate RUN --input a.en", "--input and --output"),
    ("translate EXPORT Go. --beam 3", "was exported with beam"),
    ("translate RUN --input a.en --output a.fr", "exists already"),
    ("evaluate RUN/model.keras PAIRS --split test", "only a run directory"),
    ("evaluate PAIRS RUN", "is a run, and the corpus"),
    ("inspect RUN", "is a run, not an export"),
    ("train few.tsv --run-dir new", "no word of the"),
    ("inspect full", "no saved_model.pb"),
    ("inspect cut", "is damaged or no"),
    ("translate cut Go.", "is damaged or no"),
    ("translate INCOMPLETE Go.", "no SavedModel that can be loaded"),
    ("translate WRITER Go.", "not run, since a SavedModel is a program .*WriteFile"),
    ("train fra-eng --run-dir new", "is not the .* of the catalog"),
]
CLIENT = [
    ("localhost:1 en-fr Go. --retries 0", r"\(UNAVAILABLE\)"),
    ("http://localhost:8501 en-fr Go.", "is an address for REST"),
    ("localhost:port en-fr Go.", "is not an address"),
]


@pytest.fixture(scope="module")
def run_main(trained_run, exported_run, pairs_file, tiny, tmp_path_factory):
    """Run a command in a folder with invalid files; return its exit status and its stderr."""
    folder = tmp_path_factory.mktemp("errors")
    for name, content in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    for name in ("copy", "damaged"):
        shutil.copytree(trained_run, folder / name)
    shutil.rmtree(folder / "copy" / "checkpoints")
    for variables in (folder / "damaged" / "checkpoints").glob("*/variables.npz"):
        variables.write_bytes(b"")
    shutil.copytree(exported_run, folder / "incomplete")
    for variables in (folder / "incomplete" / "variables").iterdir():
        variables.unlink()
    save(folder / "writer", lambda text: write_file(text, str(folder / "written")))
    paths = {
        "RUN": trained_run,
        "EXPORT": exported_run,
        "PAIRS": pairs_file,
        "COPY": folder / "copy",
        "DAMAGED": folder / "damaged",
        "INCOMPLETE": folder / "incomplete",
        "WRITER": folder / "writer",
        "TINY": shlex.join(tiny),
    }

    def run(typed, command=main):
        words = re.sub(r"\b[A-Z]{3,}\b", lambda m: str(paths.get(m[0], m[0])), typed)
        with contextlib.redirect_stderr(io.StringIO()) as stderr:
            try:
                status = command(shlex.split(words))
            except SystemExit as error:
                status = error.code
        return status, stderr.getvalue()

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(folder)
        monkeypatch.setenv("KERAS_S2S_DATA", str(folder / "data"))
        monkeypatch.setenv("KERAS_HOME", str(folder / "keras"))
        yield run


MESSAGES = []


def check_error(outcome, pattern):
    status, stderr = outcome
    assert status == 2, stderr
    message = stderr.splitlines()[-1].removeprefix("keras-s2s: error: ")
    assert re.search(pattern, message)
    MESSAGES.append(message)


@pytest.mark.parametrize(("typed", "pattern"), COMMANDS)
def test_errors_of_commands(run_main, typed, pattern):
    check_error(run_main(typed), pattern)


@pytest.mark.parametrize(("typed", "pattern"), CLIENT)
def test_errors_of_the_client(run_main, typed, pattern):
    check_error(run_main(typed, client.main), pattern)


def test_a_download_that_fails(run_main, monkeypatch):
    monkeypatch.delenv("KERAS_S2S_DATA")
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    check_error(run_main("train fra-eng --run-dir new"), "cannot be downloaded")


def test_a_full_folder_for_temporary_files(run_main, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    check_error(run_main("translate RUN Go."), "cannot be unpacked in")


def test_a_gradient_that_is_not_finite(run_main, monkeypatch):
    compute_sums = s2s.Seq2Seq._compute_sums

    def compute_nan(*args, **kwargs):
        loss, count = compute_sums(*args, **kwargs)
        return loss * float("nan"), count

    monkeypatch.setattr(s2s.Seq2Seq, "_compute_sums", compute_nan)
    check_error(run_main("train PAIRS --run-dir nan TINY --epochs 1"), "gradient norm is nan")


def test_an_export_that_fails(run_main, monkeypatch):
    def fail(*args, **kwargs):
        raise verification.SessionError("not enough memory")

    monkeypatch.setattr(verification, "SavedModelSession", fail)
    outcome = run_main("export RUN --model-name tiny --output exports")
    check_error(outcome, "the export fails as a server would run it: not enough memory")
    assert not list(Path("exports").rglob("saved_model.pb"))


def test_tokenizers_of_another_model(plain):
    tokenizer = s2s.WordTokenizer.fit(["a b c d"])
    with pytest.raises(ValueError, match="tokenizer that the model was trained") as error:
        s2s.Translator(plain.model, tokenizer, tokenizer)
    MESSAGES.append(str(error.value))


def test_another_backend():
    done = subprocess.run(
        [
            *(sys.executable, "-c"),
            "import keras; keras.config.backend = lambda: 'jax'; import keras_s2s",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    message = done.stderr.splitlines()[-1]
    assert "set KERAS_BACKEND=tensorflow" in message
    MESSAGES.append(message)


def test_no_tensorflow_text(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(s2s.InputError, match="pip install tensorflow-text") as error:
        sentencepiece_ops.__wrapped__()
    MESSAGES.append(str(error.value))


def test_every_row_is_of_a_message(request):
    """The messages come from the tests above."""
    if len(MESSAGES) < len(COMMANDS):
        pytest.skip("needs the whole module")
    patterns = {row: ".*".join(map(re.escape, row.split("…"))) for row in table_rows()}
    missing = [row for row, p in patterns.items() if not any(re.search(p, m) for m in MESSAGES)]
    assert not missing
    assert len(patterns) >= 20


def nodes():
    """Return the syntax nodes of all modules of the package."""
    for path in sorted(Path(s2s.__file__).parent.rglob("*.py")):
        yield from ast.walk(ast.parse(path.read_text(encoding="utf-8")))


def text_of(node):
    """Return a string of the sources with `…` for the values in it."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(
            str(value.value) if isinstance(value, ast.Constant) else "…" for value in node.values
        )
    return "…"


def test_every_error_states_what_to_do():
    messages = {
        text_of(node.args[0])
        for node in nodes()
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("InputError", "ExportError")
    }
    assert len(messages) > 100
    # After a semicolon: what is wrong; what to do. The exceptions end with a value that states it,
    # or report a failed verification, which is a bug of the package.
    silent = {text for text in messages if "; " not in text and text.strip("…")}
    stems = (
        "no such file, and not in the catalog",
        "is not the … of the catalog",
        "of signature … of the export differs",
        "of the export is … for …, and",
        "guarded of the export is",
        "--metrics …: …",
        "the export breaks the contract",
        "the export fails as a server would run it",
        "the export translates … to",
        "the loss or a metric fails on labels",
        "the data: ids",
    )
    assert len(silent) == len(stems)
    assert all(sum(stem in text for text in silent) == 1 for stem in stems)
