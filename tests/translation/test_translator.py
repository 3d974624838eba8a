"""Translators: translations, and files on disk."""

import json
import logging
import random
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_s2s as s2s
from keras_s2s.translation.exported_translator import ExportedTranslator

EDGE_CASES = [
    "",
    " ",
    "\t",
    b"\xff\xfe",
    "\x00",
    "a" * 100_000,
    "word " * 10_000,
    "<eos>",
    "🙂",
    "go\ngo",
]


def test_edge_cases_get_valid_translations(translator):
    answers, scores = translator.translate(EDGE_CASES, return_scores=True)
    assert len(answers) == len(EDGE_CASES)
    assert answers[:3] == ["", "", ""]
    assert scores[:3] == [0.0, 0.0, 0.0]
    assert np.isfinite(scores).all()
    assert all("\n" not in answer for answer in answers)


def test_special_tokens_in_the_text_are_unknown_words(translator):
    eos, unknown = translator.translate(["<eos> go", "qwzx go"])
    assert eos == unknown


def test_an_empty_list(translator):
    assert translator.translate([]) == []
    assert translator.translate([], return_scores=True) == ([], [])


def test_a_bare_sentence_is_refused(translator):
    with pytest.raises(s2s.InputError, match="brackets"):
        translator.translate("Go.")


def test_translations_do_not_depend_on_the_batch(translator, phrasebook):
    sentences = phrasebook.source[:300:3]
    alone = {text: translator.translate([text])[0] for text in sentences}
    assert len(set(alone.values())) > 20, "the translations must differ"
    choice = random.Random(0)
    for _ in range(100):
        batch = choice.sample(sentences, choice.randint(1, 33))
        assert translator.translate(batch) == [alone[text] for text in batch]


def test_scores_are_those_of_the_translations(translator, phrasebook):
    sentences = phrasebook.source[:50]
    answers, scores = translator.translate(sentences, return_scores=True)
    for answer, score, pair in zip(
        answers, scores, translator.score_pairs(sentences, answers), strict=True
    ):
        # "<unk>" in a translation is an unknown word, and so scores the same.
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


def test_save_requires_the_keras_suffix(translator, tmp_path):
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


def test_errors_of_load(tmp_path):
    with pytest.raises(s2s.InputError, match="no such file"):
        s2s.Translator.load(tmp_path / "none.keras")
    (tmp_path / "text.keras").write_text("hello")
    with pytest.raises(s2s.InputError, match="not a translator"):
        s2s.Translator.load(tmp_path / "text.keras")
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(tmp_path / "other.keras")
    with pytest.raises(s2s.InputError, match="Sequential"):
        s2s.Translator.load(tmp_path / "other.keras")


def test_a_tokenizer_of_another_size_is_refused(translator):
    other = s2s.WordTokenizer.fit(["one two"])
    with pytest.raises(ValueError, match=r"tokenizer has .* tokens and the model"):
        s2s.Translator(translator.model, other, translator.target_tokenizer)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"coverage_penalty": 0.1}, "coverage_penalty needs a decoder with attention"),
        ({"replace_unknown": True}, "replace_unknown needs a decoder with attention"),
    ],
)
def test_options_that_need_attention(translator, options, message):
    parts = translator.model, translator.source_tokenizer, translator.target_tokenizer
    with pytest.raises(ValueError, match=message):
        s2s.Translator(*parts, **options)


def test_replace_unknown_needs_word_tokenizers():
    subwords = s2s.SentencePieceTokenizer.fit(["go on go", "on and on"], vocab_size=20)
    words = s2s.WordTokenizer.fit(["one two"])
    sizes = {"embed_size": 4, "num_hiddens": 4, "num_layers": 1}
    for source, target in ((subwords, words), (words, subwords)):
        model = s2s.Seq2Seq(
            s2s.Seq2SeqEncoder(len(source), **sizes),
            s2s.Seq2SeqDecoder(len(target), **sizes, attention="luong"),
        )
        with pytest.raises(ValueError, match="replace_unknown needs words, or characters, on both"):
            s2s.Translator(model, source, target, replace_unknown=True)


# Beams


def test_beam_search_finds_more_probable_translations(translator, phrasebook):
    sentences = phrasebook.source[:120:2]
    _, greedy = translator.translate(sentences, return_scores=True)
    for size in (2, 5):
        answers, scores = translator.translate(
            sentences, beam=size, n_best=size, return_scores=True
        )
        assert [len(row) for row in answers] == [size] * len(sentences)
        assert all(len(set(row)) == size for row in answers), "hypotheses are distinct"
        assert all(row == sorted(row, reverse=True) for row in scores)
        best = [row[0] for row in answers]
        assert best == translator.translate(sentences, beam=size)
        pairs = translator.score_pairs(sentences, best)
        # With a length penalty a longer and less probable one can rank first.
        better = [
            pair.score > greedy_score - 1e-4
            for pair, greedy_score in zip(pairs, greedy, strict=True)
        ]
        assert np.mean(better) > 0.8


def test_beams_do_not_depend_on_the_batch(translator, phrasebook):
    sentences = ["", *phrasebook.source[:40:2]]
    together = translator.translate(sentences, beam=3, n_best=3)
    assert translator.translate(sentences, 1, beam=3, n_best=3) == together
    assert together[0] == [""]
    assert translator.translate([], beam=3) == []


def test_edge_cases_get_valid_translations_from_beam_search(translator):
    answers, scores = translator.translate(EDGE_CASES, beam=3, n_best=3, return_scores=True)
    assert answers[:3] == [[""]] * 3
    assert np.isfinite([score for row in scores for score in row]).all()


def test_without_a_length_penalty_the_scores_are_log_probabilities(translator, phrasebook):
    parts = translator.model, translator.source_tokenizer, translator.target_tokenizer
    plain = s2s.Translator(*parts, num_steps=10, length_penalty=0.0)
    sentences = phrasebook.source[:30]
    answers, scores = plain.translate(sentences, beam=4, return_scores=True)
    pairs = plain.score_pairs(sentences, answers)
    for answer, score, pair in zip(answers, scores, pairs, strict=True):
        if len(answer.split()) < plain.num_steps:
            assert pair.score == pytest.approx(score, abs=1e-3)


def test_search_options_are_saved(translator, tmp_path):
    parts = translator.model, translator.source_tokenizer, translator.target_tokenizer
    options = {"num_steps": 7, "beam_size": 3, "length_penalty": 1.5}
    s2s.Translator(*parts, **options).save(tmp_path / "model.keras")
    loaded = s2s.Translator.load(tmp_path / "model.keras")
    assert {name: getattr(loaded, name) for name in options} == options
    assert loaded.beam(tf.constant(["Go."]))["translations"].shape == (1, 3)


def test_search_options_can_be_set(translator):
    parts = translator.model, translator.source_tokenizer, translator.target_tokenizer
    other = s2s.Translator(*parts)
    other.beam_size, other.length_penalty = 2, 1.5
    assert other.beam(tf.constant(["Go."]))["translations"].shape == (1, 2)
    assert (other.get_config()["beam_size"], other.get_config()["length_penalty"]) == (2, 1.5)
    with pytest.raises(s2s.InputError, match="beam_size is 0"):
        other.beam_size = 0


def test_a_joint_vocabulary_is_saved(phrasebook, tmp_path):
    joint = s2s.SentencePieceTokenizer.fit(phrasebook.source + phrasebook.target, vocab_size=150)
    sizes = {"embed_size": 4, "num_hiddens": 4, "num_layers": 1}
    model = s2s.Seq2Seq(
        s2s.Seq2SeqEncoder(len(joint), **sizes), s2s.Seq2SeqDecoder(len(joint), **sizes)
    )
    translator = s2s.Translator(model, joint, joint, num_steps=5)
    translator.save(tmp_path / "model.keras")
    loaded = s2s.Translator.load(tmp_path / "model.keras")
    for tokenizer in (loaded.source_tokenizer, loaded.target_tokenizer):
        assert tokenizer.vocabulary == joint.vocabulary
    sentences = phrasebook.source[:5]
    assert loaded.translate(sentences) == translator.translate(sentences)


def test_explain_needs_attention(translator):
    with pytest.raises(ValueError, match="explain needs a model with attention"):
        translator.explain(tf.constant(["Go."]))


def test_call_is_translate(translator):
    np.testing.assert_array_equal(
        translator(tf.constant(["Go.", "I won!"])).numpy(),
        [text.encode() for text in translator.translate(["Go.", "I won!"])],
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_steps": -1}, "num_steps is -1"),
        ({"beam_size": 0}, "beam_size is 0"),
        ({"target_tokenizer": None}, "target_tokenizer is .*Tokenizer"),
        ({"model": None}, "model is .*Seq2Seq"),
    ],
)
def test_invalid_arguments(translator, options, message):
    names = ("model", "source_tokenizer", "target_tokenizer")
    given = {name: getattr(translator, name) for name in names}
    with pytest.raises(s2s.InputError, match=message):
        s2s.Translator(**{**given, **options})


def test_no_sentence_to_verify_an_export_with(translator, tmp_path):
    with pytest.raises(s2s.InputError, match="none to verify the export with"):
        translator.export(tmp_path / "models", sentences=[])
    assert not (tmp_path / "models").exists()


def test_several_translators_cause_no_retracing_warnings(translator):
    warnings = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: warnings.append(record.getMessage())
    tf.get_logger().addHandler(handler)
    try:
        for _ in range(6):
            one = s2s.Translator(
                translator.model, translator.source_tokenizer, translator.target_tokenizer
            )
            one.translate(["Go."])
    finally:
        tf.get_logger().removeHandler(handler)
    assert warnings == []


def test_half_precision_is_exported_in_full_precision(attending, tmp_path):
    sizes = {"embed_size": 6, "num_hiddens": 8, "num_layers": 1, "dtype": "mixed_bfloat16"}
    source, target = attending.source_tokenizer, attending.target_tokenizer
    model = s2s.Seq2Seq(
        s2s.Seq2SeqEncoder(len(source), **sizes),
        s2s.Seq2SeqDecoder(len(target), **sizes, attention="luong"),
    )
    model.set_weights(attending.model.get_weights())
    half = s2s.Translator(model, source, target, num_steps=8, beam_size=4)
    sentences, answers = ["Go.", "I see you."], ["va !", "je te vois ."]
    exported = ExportedTranslator(half.export(tmp_path / "half", sentences=sentences))

    def scores(one):
        return np.array([pair.score for pair in one.score_pairs(sentences, answers)])

    assert np.abs(scores(exported) - scores(attending)).max() < 1e-4
    assert np.abs(scores(half) - scores(attending)).max() > 1e-3
    assert exported.beam_size == 4
