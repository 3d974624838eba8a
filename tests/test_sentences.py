"""Lists of sentences in, lists of answers out, in batches."""

import pytest
import tensorflow as tf

from keras_s2s.errors import InputError
from keras_s2s.sentences import ScoredPair, SentenceTranslator, as_list, in_batches


class Echo(SentenceTranslator):
    """Answers with what it is asked; the score is the length, in tenths."""

    def __init__(self):
        self.batch_sizes = []

    def _answer(self, text):
        self.batch_sizes.append(len(text))
        return {"translation": text, "score": tf.cast(tf.strings.length(text), "float32") / 10}

    def _score(self, text, reference):
        self.batch_sizes.append(len(text))
        return {
            "score": -tf.cast(tf.strings.length(reference), "float32"),
            "num_tokens": tf.strings.length(text),
        }


def test_batches_do_not_show_in_the_answer():
    sentences = [f"sentence {index} à {'x' * index}" for index in range(7)]
    for batch_size, batch_sizes in ((1, [1] * 7), (3, [3, 3, 1]), (7, [7]), (64, [7])):
        echo = Echo()
        answers, scores = echo.translate(sentences, batch_size, return_scores=True)
        assert answers == sentences
        assert scores == pytest.approx([len(text.encode()) / 10 for text in sentences])
        assert echo.batch_sizes == batch_sizes
    assert Echo().translate(sentences) == sentences


def test_any_iterable_will_do():
    assert Echo().translate(sentence for sentence in ("a", b"b")) == ["a", "b"]
    assert Echo().translate(("a",)) == ["a"]
    assert Echo().translate([]) == []
    assert Echo().translate([], return_scores=True) == ([], [])
    assert Echo().score_pairs([], []) == []


def test_one_sentence_is_no_list():
    for sentence in ("Go.", b"Go."):
        with pytest.raises(InputError, match="put it in brackets"):
            Echo().translate(sentence)
    with pytest.raises(InputError, match="put it in brackets"):
        Echo().score_pairs(["Go."], "Va !")


def test_pairs():
    echo = Echo()
    pairs = echo.score_pairs(["a", "bb", "ccc"], ["dddd", "eeeee", ""], batch_size=2)
    assert pairs == [ScoredPair(-4, 1), ScoredPair(-5, 2), ScoredPair(0, 3)]
    assert echo.batch_sizes == [2, 1]
    assert isinstance(pairs[0].score, float)
    assert isinstance(pairs[0].num_tokens, int)
    with pytest.raises(InputError, match="2 sentences and 1 references; give one for each"):
        echo.score_pairs(["a", "b"], ["c"])


def test_text_that_was_read_from_bytes_becomes_those_bytes():
    assert as_list(["à", "\udcff", b"\xff"]) == [b"\xc3\xa0", b"\xff", b"\xff"]


def test_tensors():
    batches = list(in_batches([b"a", b"b", b"c"], 2))
    assert [batch.numpy().tolist() for batch in batches] == [[b"a", b"b"], [b"c"]]
    assert all(batch.dtype == tf.string for batch in batches)
