"""`keras-s2s export --refuse-below`."""

import json
import re
import shutil
import statistics

import pytest

from keras_s2s.cli.evaluation_corpus import run_split
from keras_s2s.evaluation.metrics import exact_match
from keras_s2s.run_directory import RunDirectory
from keras_s2s.serving.signatures import read_verification_record
from keras_s2s.translation.exported_translator import ExportedTranslator


@pytest.fixture
def run(trained_run, translator, phrasebook, tmp_path):
    """A run whose answers of low confidence to its validation file are often wrong."""
    run = RunDirectory(tmp_path / "run")
    shutil.copytree(trained_run, run.path)
    translator.save(run.model)
    valid = tmp_path / "valid.tsv"
    # An answer with `<unk>` is never right.
    pairs = [
        (text, answer)
        for text, answer in zip(
            phrasebook.source, translator.answers(phrasebook.source), strict=True
        )
        if answer.translation and "<unk>" not in answer.translation
    ]
    sources, answers = zip(*dict(pairs).items(), strict=True)
    assert len(sources) > 30
    median = statistics.median(answer.confidence for answer in answers)
    lines = [
        f"{source}\t{answer.translation if answer.confidence >= median or row % 2 else 'Oh'}\n"
        for row, (source, answer) in enumerate(zip(sources, answers, strict=True))
    ]
    valid.write_text("".join(lines), "utf-8")
    record = run.read_record()
    record["corpus"]["valid"] = str(valid)
    run.record.write_text(json.dumps(record), "utf-8")
    return run


def test_answers_of_low_confidence_are_refused(run, command, tmp_path, translator):
    output = tmp_path / "models"
    options = "--model-name", "sure", "--output", output, "--refuse-below", "0.1"
    outcome = command("export", run.path, *options)
    assert outcome.status == 0, outcome.err
    numbers = re.search(
        r"confidence below (\S+) are refused: .* sources (\S+)% are answered, and (\S+)% of these "
        r"answers are wrong \(of all answers, (\S+)%",
        outcome.err,
    )
    threshold, share, error, error_of_all = map(float, numbers.groups())
    assert error <= 10 < error_of_all
    record = read_verification_record(output / "sure" / "1")
    assert record["min_confidence"] == pytest.approx(threshold, abs=1e-4)
    assert (run.plots / "refusals.png").read_bytes().startswith(b"\x89PNG")
    sources, references = run_split(str(run.path), "valid").references()
    answers = ExportedTranslator(output / "sure" / "1").answers(sources)
    given = [
        (answer.guarded, texts)
        for answer, texts in zip(answers, references, strict=True)
        if answer.guarded
    ]
    assert 100 * len(given) / len(sources) == pytest.approx(share, abs=0.06)
    assert 0 < len(given) < len(sources)
    matches = [exact_match([text], [texts], translator.target_tokenizer) for text, texts in given]
    assert 100 - sum(matches) / len(matches) == pytest.approx(error, abs=0.006)


def test_bad_options(trained_run, command, tmp_path):
    def refused(run, value):
        options = "--model-name", "sure", "--output", tmp_path / "models", "--refuse-below", value
        outcome = command("export", run, *options)
        assert outcome.status == 2
        return outcome.err

    assert "give a share" in refused(trained_run, "1.5")
    # A model that has learned nothing.
    assert "no confidence leaves" in refused(trained_run, "0.01")
    # A file does not say what its validation pairs are.
    assert "only a run directory" in refused(trained_run / "model.keras", "0.01")
    assert not (tmp_path / "models").exists()
