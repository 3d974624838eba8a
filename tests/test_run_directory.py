"""The run directory."""

import json

import pytest

from keras_s2s.config import TrainingConfig
from keras_s2s.run_directory import RunDirectory
from keras_s2s.utils.errors import InputError


@pytest.fixture
def run(tmp_path):
    """A run with all its files, and a file of the user."""
    run = RunDirectory(tmp_path / "run")
    run.write_record({"recipe": {"epochs": 5}, "note": "à suivre"})
    for folder in (run.checkpoints, run.logs):
        folder.mkdir()
        (folder / "file").write_bytes(b"")
    run.model.write_bytes(b"")
    run.history.write_text("epoch,loss\n1,2.5\n2,2.25\n", encoding="utf-8")
    (run.path / "notes.txt").write_bytes(b"")
    return run


def test_reading_back(run):
    assert run.exists()
    assert run.read_record()["note"] == "à suivre"
    assert "à suivre" in run.record.read_text(encoding="utf-8")
    # A record that lacks a field is of a version that knew one value.
    expected = TrainingConfig(
        epochs=5,
        vocabulary_pairs="all",
        sacrebleu_tokenize="13a",
        target_normalization="nfkc",
        clip_reduction="token_mean",
        training_revision=1,
    )
    assert run.read_config() == expected
    assert run.read_history() == [{"epoch": "1", "loss": "2.5"}, {"epoch": "2", "loss": "2.25"}]


def test_clear_removes_the_files_of_the_run(run):
    run.clear()
    assert [path.name for path in run.path.iterdir()] == ["notes.txt"]
    assert not run.exists()
    assert run.read_history() == []
    run.clear()


def test_clear_removes_the_record_last(run, monkeypatch):
    # Checkpoints that could not be removed would count as those of the new run.
    def refuse(folder):
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr("shutil.rmtree", refuse)
    with pytest.raises(PermissionError):
        run.clear()
    assert run.exists()


def test_check_free(run, tmp_path):
    RunDirectory(tmp_path / "new" / "run").check_free(overwrite=False)
    (tmp_path / "empty").mkdir()
    RunDirectory(tmp_path / "empty").check_free(overwrite=False)
    run.check_free(overwrite=True)
    with pytest.raises(InputError, match="holds a run already"):
        run.check_free(overwrite=False)
    with pytest.raises(InputError, match="is not empty and holds no run"):
        RunDirectory(tmp_path).check_free(overwrite=True)
    with pytest.raises(InputError, match="is a file"):
        RunDirectory(run.record).check_free(overwrite=True)
    assert not (tmp_path / "new").exists()


def test_damaged_records(run, tmp_path):
    with pytest.raises(InputError, match="holds no run"):
        RunDirectory(tmp_path).read_record()
    with pytest.raises(InputError, match="holds no run"):
        RunDirectory(run.record).read_record()
    for text in ("", "{", "[]", "null", "\0", "[" * 100_000):
        run.record.write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match=r"run\.json: cannot be read, or is damaged"):
            run.read_record()
    for record in ({}, {"recipe": 1}, {"recipe": {"speed": 1}}, {"recipe": {"epochs": -1}}):
        run.write_record(record)
        with pytest.raises(InputError, match=r"run\.json: cannot be read, or is damaged"):
            run.read_config()
    for name in ("corpus", "recipe", "sizes", "git"):
        run.write_record({name: "text"})
        with pytest.raises(InputError, match=rf"damaged \(its {name} is not an object\)"):
            run.read_record()
    run.record.unlink()
    run.record.mkdir()
    with pytest.raises(InputError, match=r"run\.json: cannot be read"):
        run.read_record()


def test_damaged_history(run):
    run.history.write_bytes(b"\x89HDF\xff\0")
    with pytest.raises(InputError, match=r"history\.csv: cannot be read, or is damaged"):
        run.read_history()
    for text, reason in {
        "epoch,loss\n1,2.5\n2\n": "line 3 ",
        "epoch,loss\n1,2.5,9\n": "line 2 ",
        "a,b\n1,2\n": "line 2 ",
        "epoch,loss\n1,many\n": "could not convert",
    }.items():
        run.history.write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match=rf"history\.csv: .* damaged \({reason}"):
            run.read_history()
    run.history.write_text("epoch,loss,val_loss\n1,2.5,\n", encoding="utf-8")
    assert run.read_history() == [{"epoch": "1", "loss": "2.5", "val_loss": ""}]


def test_records_are_written_atomically(run):
    with pytest.raises(TypeError):
        run.write_record({"recipe": object()})
    assert run.read_config().epochs == 5
    assert json.loads(run.record.read_text(encoding="utf-8"))["note"] == "à suivre"


def test_samples(run, tmp_path):
    assert run.read_samples() == []
    run.write_samples(["Go.", "l\u2028ine", "Été !"])
    assert run.read_samples() == [b"Go.", "l\u2028ine".encode(), "Été !".encode()]


def test_record_with_earlier_names_of_fields(tmp_path):
    run = RunDirectory(tmp_path)
    run.write_record({"recipe": {"max_tokens": 50, "epochs": 5}})
    assert run.read_record()["recipe"] == {"vocab_size": 50, "epochs": 5}
    assert run.read_config().vocab_size == 50
