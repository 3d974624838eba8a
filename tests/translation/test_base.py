"""Translation of lists of sentences in batches."""

import threading

import pytest
import tensorflow as tf

from keras_s2s.serving.signatures import MIN_SCORE, ScoredPair
from keras_s2s.translation.base import MAX_HYPOTHESES, SentenceTranslator
from keras_s2s.utils.errors import InputError
from keras_s2s.utils.text import encode_texts, string_tensor


class Echo(SentenceTranslator):
    """A translator that returns the sentence, with a tenth of its length as the score.

    The n-th hypothesis of a beam search is the sentence n times, for n up to its length.
    """

    def __init__(self):
        self.batch_sizes = []
        self.batches = []
        self.beams = []

    def _greedy_fn(self, text):
        self.batch_sizes.append(len(text))
        self.batches.append(text.numpy().tolist())
        return {"translation": text, "score": tf.cast(tf.strings.length(text), "float32") / 10}

    def _beam_fn(self, beam_size, n_best):
        def search(text):
            self.batch_sizes.append(len(text))
            self.beams.append(beam_size)
            counts = range(1, beam_size + 1)
            exists = tf.strings.length(text)[:, None] >= list(counts)
            hypotheses = tf.stack([tf.strings.join([text] * count) for count in counts], axis=1)
            scores = [-float(count) for count in counts]
            return {
                "translations": tf.where(exists, hypotheses, ""),
                "scores": tf.where(exists, scores, MIN_SCORE),
            }

        return search

    def _score_fn(self, text, reference):
        self.batch_sizes.append(len(text))
        return {
            "score": -tf.cast(tf.strings.length(reference), "float32"),
            "num_tokens": tf.strings.length(text),
        }


def test_translations_do_not_depend_on_the_batch_size():
    sentences = [f"sentence {index} à {'x' * index}" for index in range(7)]
    for batch_size, batch_sizes in ((1, [1] * 7), (3, [3, 3, 1]), (7, [7]), (64, [7])):
        echo = Echo()
        answers, scores = echo.translate(sentences, batch_size, return_scores=True)
        assert answers == sentences
        assert scores == pytest.approx([len(text.encode()) / 10 for text in sentences])
        assert sorted(echo.batch_sizes, reverse=True) == batch_sizes
    assert Echo().translate(sentences) == sentences


def test_the_default_batch_size_depends_on_the_beam():
    sentences = ["a"] * (MAX_HYPOTHESES + 1)
    for beam, batch_size in (
        (1, MAX_HYPOTHESES),
        (5, MAX_HYPOTHESES // 5),
        (MAX_HYPOTHESES + 1, 1),
    ):
        echo = Echo()
        echo.translate(sentences[: 2 * batch_size + 1], beam=beam)
        assert max(echo.batch_sizes) == batch_size


def test_sentences_of_similar_lengths_form_a_batch():
    sentences = ["aaaa", "b", "ccccc", "dd", "", "ééé"]
    echo = Echo()
    assert echo.translate(sentences, batch_size=2) == sentences
    in_bytes = [text.encode() for text in sentences]
    assert [len(set(batch)) for batch in echo.batches] == [2, 2, 2]
    batches = sorted(echo.batches, key=lambda batch: len(batch[0]))
    assert [text for batch in batches for text in batch] == sorted(in_bytes, key=len)
    # The order is stable, so that batches are deterministic.
    echo = Echo()
    echo.translate(["b", "a", "c", "d"], batch_size=2)
    assert sorted(echo.batches) == [[b"b", b"a"], [b"c", b"d"]]


def test_beams():
    sentences = ["aaa", "b", "", "cc"]
    echo = Echo()
    assert echo.translate(sentences, beam=4) == ["aaa", "b", "", "cc"]
    assert echo.beams == [4]
    assert echo.translate(sentences, beam=4, return_scores=True)[1] == [-1, -1, MIN_SCORE, -1]
    assert Echo().translate(sentences, 2, 4, 3) == [
        ["aaa", "aaaaaa", "aaaaaaaaa"],
        ["b"],
        [""],
        ["cc", "cccc"],
    ]
    texts, scores = echo.translate(sentences, 1, beam=4, n_best=2, return_scores=True)
    assert texts == [["aaa", "aaaaaa"], ["b"], [""], ["cc", "cccc"]]
    assert scores == [[-1, -2], [-1], [MIN_SCORE], [-1, -2]]
    assert echo.translate([], beam=4, n_best=2, return_scores=True) == ([], [])


def test_a_beam_of_one_is_greedy_search():
    echo = Echo()
    assert echo.translate(["a", "bb"], n_best=1, return_scores=True) == (
        [["a"], ["bb"]],
        [[pytest.approx(0.1)], [pytest.approx(0.2)]],
    )
    assert not echo.beams
    assert echo.batch_sizes == [2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beam": 0}, "beam is 0"),
        ({"n_best": 0}, "n_best is 0"),
        ({"beam": 3, "n_best": 4}, "n_best is 4 and beam 3"),
        ({"beam": "2"}, "beam is '2'; give an integer"),
        ({"n_best": 1.0}, "n_best is 1.0; give an integer"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"batch_size": -1}, "batch_size is -1"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(InputError, match=message):
        Echo().translate(["a"], **options)


def test_inputs_that_are_not_texts():
    with pytest.raises(InputError, match="sentences: number 1 is None; give each as str or bytes"):
        Echo().translate([None])
    with pytest.raises(InputError, match="sentences: expected a list of sentences, got None"):
        Echo().translate(None)
    with pytest.raises(InputError, match="references: number 1 is 3"):
        Echo().score_pairs(["a"], [3])
    with pytest.raises(InputError, match="batch_size is -1"):
        Echo().score_pairs(["a"], ["b"], batch_size=-1)


def test_a_translator_without_beam_search():
    class Greedy(SentenceTranslator):
        pass

    with pytest.raises(InputError, match="leave beam out"):
        Greedy().translate(["a"], beam=2)


def test_the_minimum_score_is_the_lowest_float32():
    assert tf.float32.min == MIN_SCORE


def test_any_iterable_is_accepted():
    assert Echo().translate(sentence for sentence in ("a", b"b")) == ["a", "b"]
    assert Echo().translate(("a",)) == ["a"]
    assert Echo().translate([]) == []
    assert Echo().translate([], return_scores=True) == ([], [])
    assert Echo().score_pairs([], []) == []


def test_a_single_sentence_is_refused():
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
    with pytest.raises(InputError, match="2 sentences and 1 references"):
        echo.score_pairs(["a", "b"], ["c"])


def test_surrogate_escapes_are_encoded_as_the_original_bytes():
    assert encode_texts(["à", "\udcff", b"\xff"]) == [b"\xc3\xa0", b"\xff", b"\xff"]


def test_tensors():
    tensor = string_tensor([b"a", b"\xff"])
    assert (tensor.dtype, tensor.numpy().tolist()) == (tf.string, [b"a", b"\xff"])
    nothing = string_tensor([])
    assert (nothing.dtype, nothing.shape) == (tf.string, (0,))


def test_two_batches_run_concurrently():
    """Each of the first two batches waits until the other has started."""

    class Waiting(Echo):
        barrier = threading.Barrier(2)

        def _greedy_fn(self, text):
            self.barrier.wait(timeout=10)
            return super()._greedy_fn(text)

    sentences = list("dcba")
    assert Waiting().translate(sentences, batch_size=1) == sentences


def test_an_error_in_a_batch_propagates():
    class Failing(Echo):
        def _greedy_fn(self, text):
            if b"bb" in text.numpy():
                raise InputError("not this one")
            return super()._greedy_fn(text)

    for sentences in (["bb"], ["a", "bb", "ccc"]):
        with pytest.raises(InputError, match="not this one"):
            Failing().translate(sentences, batch_size=1)
