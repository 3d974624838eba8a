"""The messages on the page on troubleshooting are those that users get."""

import ast
import gzip
import io
import re
import shlex
import shutil
import tarfile
from pathlib import Path

import pytest
from pages import ROOT, tokens

import keras_s2s as s2s
from keras_s2s.client import __main__ as client

PAGE = ROOT / "docs" / "troubleshooting.md"


def table_rows():
    """The first column of all tables."""
    found, column = [], 0
    for token in tokens(PAGE.read_text(encoding="utf-8")):
        if token.type == "tr_open":
            column = 0
        elif token.type == "td_open":
            column += 1
        elif token.type == "inline" and column == 1:
            [code] = [child.content for child in token.children if child.type == "code_inline"]
            found.append(code)
            column = 2
    return found


ROWS = table_rows()


def rows_for(message):
    """The rows that a user finds for a message."""
    patterns = {row: ".*".join(map(re.escape, row.split("…"))) for row in ROWS}
    return [row for row, pattern in patterns.items() if re.search(pattern, message)]


def nodes():
    """All of the package's sources, as Python reads them."""
    for path in sorted(Path(s2s.__file__).parent.rglob("*.py")):
        yield from ast.walk(ast.parse(path.read_text(encoding="utf-8")))


def text_of(node):
    """A text in the sources, with `…` for what is put in."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        text = "".join(str(getattr(value, "value", "…")) for value in map(plain, node.values))
        return re.sub("…+", "…", text)
    return "…"


def plain(value):
    return value if isinstance(value, ast.Constant) else None


def errors():
    """What all errors say that a user is meant to read."""
    return {
        text_of(node.args[0])
        for node in nodes()
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("InputError", "ExportError")
    }


PYTHON = "for those who call: it names the argument, and what to give"
PARTS = "its words come from elsewhere; the commands above and other tests provoke it"

# What has no row of its own, and why.
WITHOUT_A_ROW = {
    "…": PARTS,
    "…; …": PARTS,
    "…: … of … lines … no … (…); …": PARTS,
    "…; gradients were non-finite for … consecutive steps; start over with a lower --learning-rate "
    "or --global-clipnorm": "begins with the gradient norm, of which there is a row",
    "…; check them and start over with a lower --learning-rate, or skip such steps with --resume "
    "--nonfinite skip": "likewise",
    "…; the download was deleted; try again, or …": "begins with what is wrong with an archive",
    "…; then resume with --resume": "begins with what is damaged of a prepared corpus",
    "…; give model.keras of a run, or another file that ends in .keras": (
        "begins with 'not a translator', of which there is a row"
    ),
    "…; it holds a …; give model.keras of a run": "likewise",
    "…, or damaged (…); give model.keras of a run": "likewise",
    "…: its first pieces are not the special tokens …; train one with SentencePieceTokenizer.fit": (
        PYTHON
    ),
    "TensorFlow is initialized already and cannot divide the CPU into … logical devices any more; "
    "train in a new process": PYTHON,
    "a corpus cannot be prepared with …; remove that option": PYTHON,
    "the history is empty; train for at least one epoch": PYTHON,
    "a version and a label exclude each other; give one of them": PYTHON,
    "batch_tokens is …; give bucket_by_length too, and num_steps (…) or more": (PYTHON),
    "beam search is not to be had here; leave beam out": PYTHON,
    "cannot hold out valid=… and test=… of a corpus; give fractions of at least 0 that add up to "
    "less than 1": PYTHON,
    "no corpus to prepare; give one or more": PYTHON,
    "no scores to plot; give at least one": PYTHON,
    "no BLEU scores to plot; give those of at least one sentence": PYTHON,
    "no sentence lengths to plot; give at least one sentence": PYTHON,
    "… translators to compare; give a list of two or more": PYTHON,
    "source_ids are … and source_valid_length …; give whole numbers, as encode_source of a "
    "tokenizer does": PYTHON,
    "the client is closed; make a new one": PYTHON,
    "the decoder knows … tokens, none of which may be taken; give it a vocabulary with words": (
        PYTHON
    ),
    "… weights for … corpora; give one for each": "an option's own words, which say all",
}


def all_text():
    """All text of the package's sources, with `…` for what is put in."""
    parts = []
    for path in sorted(Path(s2s.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                parts.append(node.value)
            elif isinstance(node, ast.JoinedStr):
                values = (getattr(value, "value", None) for value in node.values)
                parts.append("".join(v if isinstance(v, str) else "…" for v in values))
    return "\n".join(parts)


GOOD = b"Go.\tVa !\nHi.\tSalut !\n"


def tar_of(content):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        member = tarfile.TarInfo("pairs.tsv")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


FILES = {
    "good.tsv": GOOD,
    "few.tsv": b"1\tGo.\tVa !\n2\tHi.\tSalut !\n",
    "no_tabs.tsv": b"Go.\tVa !\nHi.\nRun!\n",
    "latin.tsv": "Oh?\tÇa alors !\n".encode("latin-1"),
    "utf_16.tsv": GOOD.decode().encode("utf-16"),
    "binary.tsv": b"\x7fELF\0\1\2",
    "empty.tsv": b"",
    "cut.gz": gzip.compress(GOOD)[:-5],
    "tar.tar.gz": tar_of(GOOD),
    "a.en": b"Go.\nHi.\n",
    "a.fr": b"Va !\n",
    "full/note.txt": b"mine",
    "text.keras": b"no model",
    "cut/saved_model.pb": b"no protocol buffer",
    "unfinished/run.json": b"{}",
    "torn/run.json": b"{",
}

# What is typed, and the beginning of the row that tells of it. RUN is a finished run, EXPORT an
# export of it, PAIRS its corpus.
COMMANDS = [
    ("train phrasebok --run-dir new", "…: no such file, and not in the catalog"),
    ("train no_tabs.tsv --run-dir new", "…: … of … lines have no"),
    ("train latin.tsv --run-dir new", "…: line … is not UTF-8"),
    ("train utf_16.tsv --run-dir new", "…: looks like UTF-16"),
    ("train binary.tsv --run-dir new", "…: is binary"),
    ("train empty.tsv --run-dir new", "…: is empty"),
    ("train cut.gz --run-dir new", "…: is cut off"),
    ("train tar.tar.gz --run-dir new", "…: holds a tar"),
    ("train a.en,a.fr --run-dir new", "… has … lines but"),
    ("train good.tsv --run-dir new --valid-fraction 0.999999", "…: none of its … pairs"),
    ("train PAIRS --run-dir new --num-steps 3 --drop-long", "…: no pair has at most"),
    ("train good.tsv --run-dir new --num-hidden 9", "unknown argument"),
    ("train good.tsv --rundir new", "unknown argument"),
    ("train good.tsv", "the following arguments"),
    ("train good.tsv --run-dir new --attention luon", "argument …: … is not known"),
    ("train good.tsv --run-dir new --epochs x", "argument …: … is not a"),
    ("train full --run-dir new", "…: is a folder, and no prepared"),
    ("train a.en,no.fr --run-dir new", "…: no such file; check"),
    ("train a.en, --run-dir new", "…: not the names"),
    ("train good.tsv --run-dir good.tsv", "…: is a file; give a folder"),
    ("train good.tsv --run-dir good.tsv/new", "…: cannot be created"),
    ("train good.tsv --run-dir new --preset chaptr", "no preset"),
    ("train good.tsv --run-dir new --input-feeding", "… needs …"),
    ("train good.tsv --run-dir new --epochs 0", "… is …; give"),
    ("train good.tsv --run-dir new --valid-fraction 0.5 --test-fraction 0.5", "valid_fraction …"),
    ("train good.tsv --run-dir new --seed -1", "… is …; give"),
    ("train PAIRS --run-dir RUN", "…: holds a run already"),
    ("train good.tsv --run-dir full", "…: is not empty"),
    ("train good.tsv --run-dir new --resume", "…: holds no run (no"),
    ("train PAIRS --run-dir RUN --resume --num-hiddens 9", "…: the run has … …, not"),
    ("train PAIRS --run-dir RUN --resume --epochs 1", "…: has completed …"),
    ("train good.tsv --run-dir RUN --resume", "…: the corpus … is not"),
    ("train PAIRS --run-dir COPY --resume", "…: has no checkpoint"),
    ("train PAIRS --run-dir DAMAGED --resume --epochs 3", "…: no checkpoint is intact"),
    ("train PAIRS --run-dir torn --resume", "…: cannot be read, or is damaged"),
    ("translate nowhere Go.", "…: no such file or folder"),
    ("translate unfinished Go.", "…: the run has no … yet"),
    ("translate full Go.", "…: holds neither"),
    ("translate text.keras Go.", "…: not a translator"),
    ("translate RUN Go. --n-best 2", "--n-best is …, and"),
    ("translate RUN --input a.en", "--input and --output"),
    ("translate EXPORT Go. --beam 3", "…: was exported with beams"),
    ("translate RUN --input a.en --output a.fr", "…: exists already"),
    ("evaluate RUN/model.keras PAIRS --split test", "…: only a run directory"),
    ("evaluate RUN PAIRS --tokenize noen", "no tokenization"),
    ("evaluate PAIRS RUN", "…: is a run, and the corpus"),
    ("inspect RUN", "…: is a run, not an export"),
    ("train a.en a.fr --run-dir new", "… is one argument too many"),
    ("train few.tsv --run-dir new", "…: no word of the …"),
    ("export RUN --model-name a/b", "--model-name is"),
    ("export RUN --model-name tiny --output MODELS --version 1", "…: this version exists"),
    ("inspect full", "…: no saved_model.pb"),
    ("inspect cut", "…: is damaged or no SavedModel"),
]


CLIENT = [
    ("localhost:1 en-fr Go. --retries 0", "… (UNAVAILABLE)"),
    ("http://localhost:8501 en-fr Go.", "…: is an address for REST"),
    ("localhost:port en-fr Go.", "… is no address"),
]


@pytest.fixture
def places(tmp_path, monkeypatch, trained_run, exported_run, pairs_file):
    """A folder with bad files, the current one; and what the words in capitals stand for."""
    monkeypatch.chdir(tmp_path)
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    for name in ("copy", "damaged"):
        shutil.copytree(trained_run, tmp_path / name)
    shutil.rmtree(tmp_path / "copy" / "checkpoints")
    for variables in (tmp_path / "damaged" / "checkpoints").glob("*/variables.npz"):
        variables.write_bytes(b"")
    return {
        "RUN": trained_run,
        "EXPORT": exported_run,
        "MODELS": exported_run.parents[1],
        "PAIRS": pairs_file,
        "COPY": tmp_path / "copy",
        "DAMAGED": tmp_path / "damaged",
    }


def test_what_the_commands_say_is_on_the_page(places, command):
    told, missing = set(), []
    for typed, expected in COMMANDS:
        words = [re.sub(r"^[A-Z]{3,}", lambda m: str(places[m[0]]), w) for w in shlex.split(typed)]
        outcome = command(*words)
        assert outcome.status == 2, (typed, outcome)
        message = outcome.err.splitlines()[-1].removeprefix("keras-s2s: error: ")
        matching = [row for row in rows_for(message) if row.startswith(expected)]
        told.update(matching)
        if not matching:
            missing.append((typed, message))
    assert not missing
    assert len(told) >= 43


def test_what_the_client_says_is_on_the_page(capsys):
    for typed, expected in CLIENT:
        assert client.main(typed.split()) == 2
        message = capsys.readouterr().err
        assert [row for row in rows_for(message) if row.startswith(expected)], message


def test_every_row_is_of_a_message():
    texts = {text_of(node) for node in nodes() if isinstance(node, (ast.Constant, ast.JoinedStr))}
    provoked = tuple(expected for _, expected in [*COMMANDS, *CLIENT])
    others = [row for row in ROWS if not row.startswith(provoked)]
    # Codes of a server are put in; of each there is a text of its own.
    rows = {row: re.sub(r"^… \([A-Z_]+\); ", "", row) for row in others}
    patterns = {row: ".*".join(map(re.escape, text.split("…"))) for row, text in rows.items()}
    missing = [row for row, pattern in patterns.items() if not any_matches(pattern, texts)]
    assert not missing


def any_matches(pattern, texts):
    return any(re.search(pattern, text) for text in texts)


def test_every_error_has_a_row():
    without = {text for text in errors() if not rows_for(text)}
    assert without == set(WITHOUT_A_ROW)


def test_every_error_says_what_to_do():
    # After a semicolon: what is wrong, and where; what to do.
    silent = {text for text in errors() if "; " not in text} - {"…"}
    # What is put in ends with it; or it is a defect, to be reported.
    assert silent == {
        "…: no such file, and not in the catalog (…)…",
        "…: is not the … of the catalog: the text inside has sha256 …, not …",
        "… of signature … of the export differs from the model's for …",
        "signature … of the export scores … with … and the model with …",
        "the export breaks the contract: … - …",
        "the export fails as a server would run it: …",
        "the export translates … to … and the model to … (row … of a batch of …)",
    }
