"""The documentation: what its pages say runs, and what they point to exists."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from pages import ROOT, blocks, run_page, tokens

import keras_s2s as s2s
from keras_s2s.cli import main

PAGES = sorted((ROOT / "docs").rglob("*.md"))
WITH_CODE = [
    path
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "export/README.md", *PAGES]
    if blocks(path)
]


def name_of(path):
    return path.relative_to(ROOT).as_posix()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """What the commands of all pages find in the folder they are given in."""
    folder = tmp_path_factory.mktemp("pages")
    corpus = s2s.load_corpus("phrasebook", max_pairs=400)
    pairs = list(zip(corpus.source, corpus.target, strict=True))
    lines = {
        "pairs.tsv": [f"{source}\t{target}" for source, target in pairs],
        "train.en": corpus.source,
        "train.fr": corpus.target,
        "sentences.txt": corpus.source[:20],
    }
    for name, texts in lines.items():
        (folder / name).write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    options = [
        "--attention=luong",
        "--min-freq=1",
        "--num-layers=1",
        "--epochs=1",
        "--test-fraction=0.1",
    ]
    run_dir = folder / "runs" / "mine"
    assert main(["train", str(folder / "pairs.tsv"), "--run-dir", str(run_dir), *options]) == 0
    return folder


@pytest.mark.parametrize("path", WITH_CODE, ids=name_of)
def test_the_code_of_a_page_runs(path, files, tmp_path, monkeypatch):
    shutil.copytree(files, tmp_path, dirs_exist_ok=True)
    if any(
        "runs/mine" in block.code and "--run-dir runs/mine" in block.code for block in blocks(path)
    ):
        shutil.rmtree(tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    run_page(path, tmp_path)
