"""`index.json` of a prepared corpus with odd content."""

import json
import math
import shutil
from pathlib import Path

import pytest

import keras_s2s as s2s
from keras_s2s.data.prepared.corpus import PreparedCorpus
from keras_s2s.data.prepared.shards import read_block
from keras_s2s.utils.files import sha256_of

PREPARED = Path(__file__).parents[1] / "compatibility" / "files_3f58841" / "prepared"


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(PREPARED, tmp_path / "prepared")


def set_at(*path):
    """Return a function that replaces the value at a path."""
    *parents, last, value = path

    def change(content):
        for name in parents:
            content = content[name]
        content[last] = value

    return change


CHANGES = [
    set_at("shards", 0, "file", "../elsewhere.tfrecord"),
    set_at("shards", 0, "file", 7),
    set_at("shards", 0, "block_bytes", [10**18]),
    set_at("shards", 0, "block_pairs", [-1]),
    set_at("shards", 0, "block_pairs", [1.5]),
    set_at("shards", 0, "block_pairs", "44"),
    set_at("shards", 0, "block_crc32", []),
    set_at("shards", 0, "corpus", 3),
    set_at("shards", 0, 5),
    set_at("shards", {"a": 1}),
    set_at("files", "/etc/hostname", "0"),
    set_at("files", 3),
    set_at("corpora", 0, "weight", math.inf),
    set_at("corpora", 0, "weight", "1"),
    set_at("corpora", 0, "train_pairs", 10**12),
    set_at("corpora", 3),
    set_at("vocabularies", [53]),
    set_at("vocabularies", [53, "53"]),
    set_at("id_type", "float64"),
    set_at("id_type", []),
    set_at("target_lengths", [[1], 2]),
    set_at("target_lengths", [2**70] * 11),
    set_at("configuration", "fields", 3),
    set_at("configuration", []),
]


@pytest.mark.parametrize("change", CHANGES)
def test_odd_content_is_one_line(change, folder):
    index = folder / "index.json"
    content = json.loads(index.read_text())
    change(content)
    index.write_text(json.dumps(content))
    with pytest.raises(s2s.InputError, match=r"index\.json: is damaged"):
        PreparedCorpus(folder)


@pytest.mark.parametrize("text", ["[" * 100_000, "3", "[]", '{"format": 1}', "\x00"])
def test_other_json_is_one_line(text, folder):
    (folder / "index.json").write_text(text)
    with pytest.raises(s2s.InputError, match=r"index\.json: is damaged"):
        PreparedCorpus(folder)


def test_a_block_larger_than_its_file_is_not_allocated(folder):
    with pytest.raises(s2s.InputError, match="is damaged in the block"):
        read_block(folder / "shard-00000.tfrecord", 12, 10**14, 0, "uint16")


def test_held_out_pairs_that_match_a_forged_checksum(folder):
    (folder / "valid.tsv").write_bytes(b"\xff\xfe no tab\n")
    content = json.loads((folder / "index.json").read_text())
    content["files"]["valid.tsv"] = sha256_of(folder / "valid.tsv")
    (folder / "index.json").write_text(json.dumps(content))
    corpus = PreparedCorpus(folder)
    corpus.verify()
    with pytest.raises(s2s.InputError, match=r"valid\.tsv: is damaged"):
        corpus.index.held_out("valid")
