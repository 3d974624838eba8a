"""The chapter's job on the chapter's data, from the command to a server's path."""

import json

import pytest

import keras_s2s as s2s
from keras_s2s.cli.main import main
from keras_s2s.serving.session import SavedModelSession

# What 98 builds of the chapter printed.
SAMPLES = {
    "Go .": {"va !"},
    "Wow !": {"<unk> !"},
    "I'm OK .": {"je vais bien .", "ça va ."},
    "I won !": {"je l'ai emporté !", "j'ai gagné !"},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory, fra_eng):
    """The run directory of `keras-s2s train fra-eng --preset chapter`."""
    folder = tmp_path_factory.mktemp("runs") / "chapter"
    assert main(["train", "fra-eng", "--preset", "chapter", "--run-dir", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def translator(run):
    return s2s.Translator.load(run / "model.keras")


def test_the_numbers_of_the_chapter(run):
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    sizes = record["sizes"]
    assert sizes["train_pairs"] == 1001
    assert sizes["source_vocabulary"] == 180
    assert sizes["target_vocabulary"] == 162
    assert sizes["target_tokens_an_epoch"] == 4437
    assert (sizes["valid_pairs"], sizes["test_pairs"]) == (0, 0)
    rows = (run / "history.csv").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 1 + 300
    # The chapter's own code gives 0.240.
    assert record["result"]["loss"] <= 0.26


def test_the_samples_of_the_chapter(translator):
    for sentence, translation in zip(SAMPLES, translator.translate(list(SAMPLES)), strict=True):
        assert translation in SAMPLES[sentence], sentence


def test_every_source_of_the_chapter_in_a_server(run, translator, tmp_path):
    version = translator.export(tmp_path / "en-fr")
    sentences = list(dict.fromkeys(s2s.load_corpus("fra-eng", max_pairs=1001).source))
    assert len(sentences) >= 500
    with SavedModelSession(version) as session:
        served = session.run(text=sentences)["translation"]
    assert [text.decode() for text in served] == translator.translate(sentences)
