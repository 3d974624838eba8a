"""What an answer is worth: its confidence, and the unknown tokens of its source."""

import math

import numpy as np
import pytest
import tensorflow as tf

from keras_s2s.serving.signatures import Answer, answers_of, read_verification_record
from keras_s2s.serving.verification import verify_export
from keras_s2s.translation.exported_translator import ExportedTranslator
from keras_s2s.utils.errors import ExportError, InputError

TEXTS = ["Go.", "", "zzxxqq go zzxxqq", "I won !", "zzxxqq"]


def test_an_answer_has_its_probability_and_the_unknown_source_tokens(translator):
    answers = translator.answers(TEXTS)
    translations, scores = translator.translate(TEXTS, return_scores=True)
    assert [answer.translation for answer in answers] == translations
    assert [answer.score for answer in answers] == scores
    assert [answer.confidence for answer in answers] == pytest.approx(np.exp(scores))
    assert [answer.num_unknown for answer in answers] == [0, 0, 2, 0, 1]


def test_an_answer_of_beam_search_has_the_probability_without_the_length_penalty(translator):
    answers = translator.answers(TEXTS, beam=3, batch_size=2)
    best = translator.translate(TEXTS, beam=3)
    assert [answer.translation for answer in answers] == best
    pairs = translator.score_pairs(TEXTS, best)
    expected = [math.exp(pair.score) for pair in pairs]
    # An empty source has one possible answer.
    assert [answer.confidence for answer in answers] == pytest.approx(
        [expected[0], 1.0, *expected[2:]], rel=1e-4
    )
    assert [answer.num_unknown for answer in answers] == [0, 0, 2, 0, 1]


def test_options_are_checked(translator):
    with pytest.raises(InputError, match="beam"):
        translator.answers(TEXTS, beam=0)
    with pytest.raises(InputError, match="batch_size"):
        translator.answers(TEXTS, batch_size=0)
    assert translator.answers([]) == []


def test_exports_of_earlier_versions_do_not_tell_the_unknown_tokens():
    outputs = {"translation": ["va !", ""], "score": [math.log(0.25), 0.0], "num_tokens": [3, 0]}
    first, second = answers_of(outputs)
    assert first == Answer("va !", math.log(0.25), pytest.approx(0.25), None)
    assert second.confidence == 1


def test_the_export_answers_like_the_model(translator, exports):
    exported = ExportedTranslator(exports / "1")
    expected, actual = translator.answers(TEXTS), exported.answers(TEXTS)
    for one, other in zip(expected, actual, strict=True):
        assert one.translation == other.translation
        assert one.num_unknown == other.num_unknown
        assert one.confidence == pytest.approx(other.confidence, abs=1e-5)


def test_explain_has_the_probability_of_each_token(attending):
    outputs = attending.explain(tf.constant(TEXTS))
    probabilities, target = outputs["probabilities"].numpy(), outputs["target_tokens"].numpy()
    assert ((probabilities > 0) == (target != b"")).all()
    logs = np.log(probabilities, where=probabilities > 0, out=np.zeros_like(probabilities))
    scores = [answer.score for answer in attending.answers(TEXTS)]
    assert logs.sum(axis=1) == pytest.approx(scores, abs=1e-4)
    unknown, source = outputs["unknown_source"].numpy(), outputs["source_tokens"].numpy()
    assert unknown.sum(axis=1).tolist() == [0, 0, 2, 0, 1]
    assert set(source[unknown == 1]) == {b"zzxxqq"} or set(source[unknown == 1]) == {b"<unk>"}


def test_an_export_refuses_answers_of_low_confidence(translator, tmp_path, phrasebook):
    texts = phrasebook.source[:40]
    confidences = [answer.confidence for answer in translator.answers(texts)]
    threshold = float(np.median(confidences)) + 1e-3
    folder = translator.export(tmp_path / "guarded", sentences=texts, min_confidence=threshold)
    assert read_verification_record(folder)["min_confidence"] == threshold
    answers = ExportedTranslator(folder).answers(texts)
    assert [answer.guarded for answer in answers] == [
        answer.translation if answer.confidence >= threshold else "" for answer in answers
    ]
    assert 10 < sum(answer.guarded == "" for answer in answers) < 30
    with pytest.raises(ExportError, match=r"guarded of the export is .* confidence of"):
        verify_export(folder, translator, texts, min_confidence=min(confidences) / 2)


def test_a_confidence_is_a_probability(translator, tmp_path):
    with pytest.raises(InputError, match="min_confidence"):
        translator.export(tmp_path / "guarded", min_confidence=1.5)
