"""Files that earlier versions wrote: they are read, and mean what they meant.

`make_files.py` says how the files were made, and by which commit.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from run_files import history_of, weights_of

import keras_s2s as s2s
from keras_s2s.data.prepared.corpus import PreparedCorpus
from keras_s2s.run_directory import RunDirectory
from keras_s2s.serving.contract import inspect_export

FILES = Path(__file__).with_name("files_3f58841")
EXPECTED = json.loads((FILES / "expected.json").read_text(encoding="utf-8"))


def check_answers(translator):
    sentences = EXPECTED["sentences"]
    texts, scores = EXPECTED["greedy"]
    translations, log_probabilities = translator.translate(sentences, return_scores=True)
    assert translations == texts
    np.testing.assert_allclose(log_probabilities, scores, atol=1e-5)


def test_a_keras_file():
    translator = s2s.Translator.load(FILES / "finished" / "model.keras")
    check_answers(translator)
    texts, scores = translator.translate(
        EXPECTED["sentences"], beam=4, n_best=2, return_scores=True
    )
    assert texts == EXPECTED["beam"][0]
    for row, expected in zip(scores, EXPECTED["beam"][1], strict=True):
        np.testing.assert_allclose(row, expected, atol=1e-5)


def test_an_unfinished_run_is_resumed(tmp_path):
    """Resuming ends as the run that was never interrupted.

    To the bit where this processor computes the bits of the one that made the files, which a run
    from the beginning shows.
    """
    shutil.copytree(FILES / "unfinished", tmp_path / "run")
    corpus = str(FILES / "pairs.tsv")
    s2s.resume(tmp_path / "run", corpus=corpus)
    record = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    assert "finished" in record

    config = RunDirectory(FILES / "unfinished").read_config()
    assert (config.training_revision, config.clip_reduction) == (1, "token_mean")
    s2s.train(s2s.CorpusChoice(corpus), tmp_path / "again", config, seed=4)

    earlier = FILES / "finished"
    same_bits = all(map(np.array_equal, weights_of(tmp_path / "again"), weights_of(earlier)))
    tolerance = 0.0 if same_bits else 1e-4
    assert len(history_of(tmp_path / "run")) == 12
    for run in (tmp_path / "run", tmp_path / "again"):
        for weight, expected in zip(weights_of(run), weights_of(earlier), strict=True):
            np.testing.assert_allclose(weight, expected, rtol=0, atol=tolerance)
        for row, expected_row in zip(history_of(run), history_of(earlier), strict=True):
            assert row == pytest.approx(expected_row, rel=10 * tolerance, abs=tolerance)


def test_a_prepared_corpus(tmp_path):
    corpus = PreparedCorpus(FILES / "prepared")
    corpus.verify()
    assert corpus.index.fields["target_normalization"] == "nfkc"
    source, target = corpus.tokenizers()
    pairs = s2s.load_corpus(str(FILES / "pairs.tsv"))
    assert (len(source), len(target)) == (53, 53)
    data = corpus.batches(4, seed=0)
    (source_ids, _), _ = next(iter(data))
    assert set(source.detokenize(source_ids, [12] * 4).numpy()) <= {
        text.encode() for text in pairs.source
    }
    config = s2s.Recipe(min_freq=1, max_tokens=60, valid_fraction=0.1, epochs=1)
    s2s.train(s2s.CorpusChoice(str(FILES / "prepared")), tmp_path / "run", config)
    assert len(history_of(tmp_path / "run")) == 1


def test_an_export():
    version = FILES / "export" / "en-fr" / "1"
    inspection = inspect_export(version)
    assert inspection.passed, inspection.report()
    check_answers(s2s.ExportedTranslator(version))
