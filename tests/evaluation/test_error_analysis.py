"""Frequent errors, confusions and worst answers, by hand."""

from keras_s2s.evaluation.error_analysis import TokenError, analyze_errors, confusions
from keras_s2s.evaluation.metrics.text_splitter import TextSplitter

REFERENCES = [["b ɔ n"], ["p a", "p ɔ t"], ["b ɔ ʁ"], ["w i"]]
ANSWERS = ["b o n", "p o t", "b ɔ", "w i i"]


def test_errors_are_counted_against_the_nearest_reference():
    errors = analyze_errors(ANSWERS, REFERENCES, TextSplitter())
    assert errors.frequent == [("ɔ", "o", 2), ("ʁ", "∅", 1), ("∅", "i", 1)]
    assert errors.edits == [1, 1, 1, 1]
    assert errors.num_tokens == 3 + 3 + 3 + 2
    # Two of three ɔ; an insertion, of all tokens.
    assert errors.share(errors.frequent[0]) == 2 / 3
    assert errors.share(errors.frequent[2]) == 1 / 11


def test_worst_answers():
    answers = ["a b c", "x y", "a", "", "a b c d e f"]
    references = [["a b c"], ["a b"], ["b"], ["a b c d"], ["a b c d e x"]]
    errors = analyze_errors(answers, references, TextSplitter())
    assert errors.edits == [0, 2, 1, 4, 1]
    # All wrong: four edits, two, one; then one of six.
    assert errors.worst == [3, 1, 2, 4]


def test_spaces_and_unknown_tokens_are_visible(tokenizers):
    errors = analyze_errors(["ab"], [["a b"]], TextSplitter(list))
    assert errors.frequent == [("␣", "∅", 1)]
    _, target = tokenizers
    errors = analyze_errors(["va <unk>"], [["va zut"]], TextSplitter(target))
    assert errors.frequent == [("zut", "<unk>", 1)]


def test_confusions():
    errors = [
        *(TokenError("e", "ɛ", 9), TokenError("∅", "t", 5), TokenError("e", "∅", 3)),
        *(TokenError("o", "ɔ", 2), TokenError("u", "y", 1)),
    ]
    table = confusions(errors, max_tokens=3)
    # The third row would be o, whose only answer has no column.
    assert table == (["e", "∅"], ["ɛ", "t", "∅"], [[9, 0, 3], [0, 5, 0]])
    table = confusions(errors, max_tokens=2)
    assert table == (["e", "∅"], ["ɛ", "t"], [[9, 0], [0, 5]])
    assert confusions([]) == ([], [], [])
