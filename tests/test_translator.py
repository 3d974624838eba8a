"""Text to text: what a translator answers, and what becomes of it on disk."""

import json
import random
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_s2s as s2s

ODD = ["", " ", "\t", b"\xff\xfe", "\x00", "a" * 100_000, "word " * 10_000, "<eos>", "🙂", "go\ngo"]


def test_odd_texts_get_valid_answers(translator):
    answers, scores = translator.translate(ODD, return_scores=True)
    assert len(answers) == len(ODD)
    assert answers[:3] == ["", "", ""]
    assert scores[:3] == [0.0, 0.0, 0.0]
    assert np.isfinite(scores).all()
    assert all("\n" not in answer for answer in answers)


def test_what_looks_like_a_special_token_is_an_unknown_word(translator):
    eos, unknown = translator.translate(["<eos> go", "qwzx go"])
    assert eos == unknown


def test_no_sentence_at_all(translator):
    assert translator.translate([]) == []
    assert translator.translate([], return_scores=True) == ([], [])


def test_a_bare_sentence_is_refused(translator):
    with pytest.raises(s2s.InputError, match="brackets"):
        translator.translate("Go.")


def test_the_same_alone_and_in_100_random_batches(translator, phrasebook):
    sentences = phrasebook.source[:300:3]
    alone = {text: translator.translate([text])[0] for text in sentences}
    assert len(set(alone.values())) > 20, "a model that always says the same proves nothing"
    choice = random.Random(0)
    for _ in range(100):
        batch = choice.sample(sentences, choice.randint(1, 33))
        assert translator.translate(batch) == [alone[text] for text in batch]


def test_scores_are_those_of_the_answers(translator, phrasebook):
    sentences = phrasebook.source[:50]
    answers, scores = translator.translate(sentences, return_scores=True)
    for answer, score, pair in zip(
        answers, scores, translator.score_pairs(sentences, answers), strict=True
    ):
        # An answer with an unknown word in it scores the same, since "<unk>" is one.
        if len(answer.split()) < translator.num_steps:
            assert pair.score == pytest.approx(score, abs=1e-4)
            assert pair.num_tokens == len(answer.split()) + 1


def test_file_round_trip_in_a_fresh_process(translator, phrasebook, tmp_path):
    file = tmp_path / "model.keras"
    translator.save(file)
    sentences = phrasebook.source[:40]
    code = (
        "import json, sys, keras_s2s, keras\n"
        "loaded = keras.saving.load_model(sys.argv[1])\n"
        "assert type(loaded) is keras_s2s.Translator\n"
        "print(json.dumps(loaded.translate(json.loads(sys.argv[2]))))\n"
    )
    command = [sys.executable, "-c", code, str(file), json.dumps(sentences)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(result.stdout.splitlines()[-1]) == translator.translate(sentences)


def test_a_loaded_translator_can_be_trained_further(translator, phrasebook, tmp_path):
    file = tmp_path / "model.keras"
    translator.save(file)
    loaded = s2s.Translator.load(file)
    for ours, theirs in zip(loaded.model.weights, translator.model.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    data = s2s.make_dataset(phrasebook, loaded.source_tokenizer, loaded.target_tokenizer)
    before = loaded.model.evaluate(data, verbose=0, return_dict=True)["loss"]
    loaded.model.fit(data, epochs=1, verbose=0)
    assert loaded.model.evaluate(data, verbose=0, return_dict=True)["loss"] < before


def test_save_wants_a_keras_file(translator, tmp_path):
    with pytest.raises(s2s.InputError, match=r"\.keras"):
        translator.save(tmp_path / "model.h5")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_save_leaves_the_old_file(translator, tmp_path, monkeypatch):
    file = tmp_path / "model.keras"
    translator.save(file)
    before = file.read_bytes()

    def half(self, filepath, **kwargs):
        filepath.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keras.Model, "save", half)
    with pytest.raises(OSError, match="No space"):
        translator.save(file)
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["model.keras"]


def test_load_says_what_is_wrong(tmp_path):
    with pytest.raises(s2s.InputError, match="no such file"):
        s2s.Translator.load(tmp_path / "none.keras")
    (tmp_path / "text.keras").write_text("hello")
    with pytest.raises(s2s.InputError, match="not a translator"):
        s2s.Translator.load(tmp_path / "text.keras")
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(tmp_path / "other.keras")
    with pytest.raises(s2s.InputError, match="Sequential"):
        s2s.Translator.load(tmp_path / "other.keras")


def test_parts_that_do_not_belong_together(translator):
    other = s2s.WordTokenizer.fit(["one two"])
    with pytest.raises(ValueError, match="do not belong together"):
        s2s.Translator(translator.model, other, translator.target_tokenizer)


def test_call_is_translate(translator):
    np.testing.assert_array_equal(
        translator(tf.constant(["Go.", "I won!"])).numpy(),
        [text.encode() for text in translator.translate(["Go.", "I won!"])],
    )
