"""`.keras` files that are damaged, or made to do harm."""

import json
import shutil
import tempfile
import zipfile

import h5py
import numpy as np
import pytest
import tensorflow as tf

import keras_s2s as s2s
from keras_s2s.cli.main import main

WEIGHTS = "model.weights.h5"


@pytest.fixture(scope="module")
def saved(attending, tmp_path_factory):
    """A small translator. Not to be changed."""
    file = tmp_path_factory.mktemp("saved") / "model.keras"
    attending.save(file)
    return file


def edit(saved, destination, **members):
    """Copy a .keras file, with members replaced by what functions make of their content."""
    with zipfile.ZipFile(saved) as archive, zipfile.ZipFile(destination, "w") as copy:
        for name in archive.namelist():
            content = archive.read(name)
            for stem, change in members.items():
                if stem in name:
                    content = change(content)
            copy.writestr(name, content)
    return destination


def change_weights(saved, folder, change):
    """Copy a .keras file with an edited HDF5 file; return the copy."""
    file = folder / "weights.h5"
    with zipfile.ZipFile(saved) as archive:
        file.write_bytes(archive.read(WEIGHTS))
    with h5py.File(file, "r+") as weights:
        names = []
        weights.visititems(
            lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None
        )
        change(weights, names[0])
    return edit(saved, folder / "model.keras", weights=lambda _: file.read_bytes())


def link(kind):
    def change(weights, name):
        del weights[name]
        weights[name] = kind(weights)

    return change


def store_outside(weights, name):
    shape, dtype = weights[name].shape, weights[name].dtype
    size = int(np.prod(shape)) * dtype.itemsize
    del weights[name]
    weights.create_dataset(name, shape, dtype, external=[("/etc/services", 0, size)])


def make_virtual(weights, name):
    shape, dtype = weights[name].shape, weights[name].dtype
    layout = h5py.VirtualLayout(shape, dtype)
    layout[...] = h5py.VirtualSource("elsewhere.h5", "data", shape)
    del weights[name]
    weights.create_virtual_dataset(name, layout)


@pytest.mark.parametrize(
    "change",
    [
        link(lambda weights: h5py.ExternalLink("elsewhere.h5", "/data")),
        link(lambda weights: h5py.SoftLink("/anywhere")),
        store_outside,
        make_virtual,
    ],
    ids=["external link", "soft link", "external data", "virtual data"],
)
def test_weights_in_another_file_are_refused(change, saved, tmp_path):
    with pytest.raises(s2s.InputError, match="weights are in another file"):
        s2s.Translator.load(change_weights(saved, tmp_path, change))


def declare(weights, name):
    """Declare 4 GB without data."""
    del weights[name]
    weights.create_dataset(name, (10**9,), "f4", chunks=(2**20,))


def test_bombs_are_refused(saved, tmp_path):
    with pytest.raises(s2s.InputError, match="100 times its size"):
        s2s.Translator.load(change_weights(saved, tmp_path, declare))
    shutil.copy(saved, tmp_path / "zeros.keras")
    with zipfile.ZipFile(tmp_path / "zeros.keras", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("assets/zeros", bytes(70 * 2**20))
    with pytest.raises(s2s.InputError, match="100 times its size"):
        s2s.Translator.load(tmp_path / "zeros.keras")


def test_a_group_in_itself_ends(saved, tmp_path):
    def change(weights, name):
        weights["itself"] = weights["/"]

    s2s.Translator.load(change_weights(saved, tmp_path, change))


def test_a_vocabulary_that_does_not_fit(saved, tmp_path):
    file = edit(
        saved, tmp_path / "model.keras", assets=lambda text: b"\n".join(text.split(b"\n")[:-3])
    )
    with pytest.raises(s2s.InputError, match=r"source vocabulary has \d+ tokens"):
        s2s.Translator.load(file)


def test_too_many_steps(saved, tmp_path):
    def change(content):
        config = json.loads(content)
        config["config"]["num_steps"] = 10**12
        return json.dumps(config).encode()

    with pytest.raises(s2s.InputError, match="num_steps is 1000000000000"):
        s2s.Translator.load(edit(saved, tmp_path / "model.keras", config=change))


def test_a_full_folder_for_temporary_files_is_no_damage(saved, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(s2s.InputError, match=r"cannot be unpacked in .*missing"):
        s2s.Translator.load(saved)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 9 TiB"),
        tf.errors.ResourceExhaustedError(None, None, "OOM when allocating 9 TiB"),
    ],
)
def test_too_little_memory_is_named(error, saved, monkeypatch, capsys):
    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr("keras.saving.load_model", fail)
    assert main(["translate", str(saved), "Go."]) == 2
    message = capsys.readouterr().err
    assert "not enough memory" in message
    assert "9 TiB" in message
    assert message.count("\n") == 1
