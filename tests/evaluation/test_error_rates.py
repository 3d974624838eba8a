"""Exact match and error rates, by hand and against a textbook edit distance."""

import types

import numpy as np
import pytest

import keras_s2s as s2s
from keras_s2s.evaluation.metrics import answer_level, make_metrics
from keras_s2s.evaluation.metrics.level import source_texts
from keras_s2s.evaluation.metrics.text_splitter import TextSplitter
from keras_s2s.tokenizers.columns_tokenizer import ColumnsTokenizer


def edit_distance(first, second):
    """The algorithm of Wagner and Fischer, 1974."""
    row = list(range(len(second) + 1))
    for i, a in enumerate(first, 1):
        previous, row[0] = row[0], i
        for j, b in enumerate(second, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (a != b))
    return row[-1]


PHONES = ["b ɔ ̃ ʒ u ʁ", "ʃ a", "w i", "p a t"]


class TestByHand:
    def test_exact_match(self):
        answers = ["b ɔ ̃ ʒ u ʁ", "ʃ  a ", "w", "p a t"]
        assert s2s.exact_match(answers, PHONES) == 75
        assert s2s.exact_match(["", ""], ["", "a"]) == 50

    def test_word_error_rate_of_words_and_of_sentences(self):
        answers = ["b ɔ ̃ ʒ u ʁ", "ʃ a", "w", "p a d"]
        assert s2s.word_error_rate(answers, PHONES, level="word") == 50
        # Two edits of 13 symbols.
        assert s2s.word_error_rate(answers, PHONES) == pytest.approx(100 * 2 / 13)
        assert s2s.word_error_rate(["a b c d"], ["a x c"]) == pytest.approx(100 * 2 / 3)

    def test_token_error_rate(self):
        # A substitution, a deletion and two insertions, of 2 + 3 + 1 tokens.
        assert s2s.token_error_rate(["a x", "a b", "a b c"], ["a b", "a b c", "a"]) == (
            pytest.approx(100 * 4 / 6)
        )
        assert s2s.token_error_rate(["walkd"], ["walked"], list) == pytest.approx(100 / 6)
        assert s2s.token_error_rate(["a b c"], ["x"]) == 300

    def test_the_nearest_reference_counts(self):
        references = [["a b c d", "a b x", "q"]]
        assert s2s.token_error_rate(["a b"], references) == pytest.approx(100 / 3)
        # Of two equally near ones the longer one.
        assert s2s.token_error_rate(["a b c"], [["a b", "a b c d"]]) == 25
        assert s2s.exact_match(["q"], references) == 100
        assert s2s.word_error_rate(["z"], references, level="word") == 100

    def test_empty_texts(self):
        assert s2s.token_error_rate([""], ["a b"]) == 100
        assert s2s.token_error_rate([""], [""]) == 0
        assert s2s.token_error_rate(["a b"], [""]) == 200

    def test_case(self):
        assert s2s.exact_match(["S", "s"], ["s", "s"]) == 50
        assert s2s.exact_match(["S", "s"], ["s", "s"], lowercase=True) == 100
        assert s2s.token_error_rate(["S a"], ["s a"]) == 50
        assert s2s.token_error_rate(["S a"], ["s a"], lowercase=True) == 0

    def test_composed_and_decomposed_letters_are_equal(self):
        assert s2s.exact_match(["cafe\u0301"], ["caf\u00e9"]) == 100
        assert s2s.token_error_rate(["cafe\u0301"], ["caf\u00e9"], list) == 0

    @pytest.mark.parametrize(
        ("predictions", "references"),
        [([], []), (["a"], []), (["a"], ["a", "b"]), (["a"], [[]]), ("a", ["a"]), (["a"], [[3]])],
    )
    def test_refusals(self, predictions, references):
        for function in (s2s.exact_match, s2s.word_error_rate, s2s.token_error_rate):
            with pytest.raises(s2s.InputError):
                function(predictions, references)
        with pytest.raises(s2s.InputError, match="'letter'"):
            s2s.word_error_rate(["a"], ["a"], level="letter")


def test_equal_to_a_textbook_edit_distance():
    random = np.random.default_rng(0)

    def text():
        return " ".join(random.choice([*"abc"], random.integers(0, 9)))

    answers, references = [text() for _ in range(80)], [[text(), text()] for _ in range(80)]
    edits = length = wrong = 0
    for answer, texts in zip(answers, references, strict=True):
        options = [(edit_distance(answer.split(), t.split()), -len(t.split())) for t in texts]
        distance, size = min(options)
        edits, length, wrong = edits + distance, length - size, wrong + (answer not in texts)
    assert s2s.token_error_rate(answers, references) == 100 * edits / length
    assert s2s.word_error_rate(answers, references) == 100 * edits / length
    assert s2s.word_error_rate(answers, references, level="word") == 100 * wrong / 80
    assert s2s.exact_match(answers, references) == 100 - 100 * wrong / 80


class TestTokenizers:
    def test_words_are_compared_as_the_tokenizer_sees_them(self):
        tokenizer = s2s.WordTokenizer.fit(["Va.", "Cours !"])
        assert s2s.exact_match(["va ."], ["Va."]) == 0
        assert s2s.exact_match(["va ."], ["Va."], tokenizer) == 100
        # An unknown word is compared as text, and <unk> equals none.
        answers, references = ["zut .", "<unk> ."], ["Zut.", "Zut."]
        assert s2s.exact_match(answers, references, tokenizer) == 50
        assert s2s.token_error_rate(answers, references, tokenizer) == 25
        assert s2s.word_error_rate(answers, references, tokenizer) == 25

    def test_subwords(self):
        texts = ["Go on.", "I go.", "I will go on.", "You go."]
        tokenizer = s2s.SentencePieceTokenizer.fit(texts, vocab_size=30, lowercase=False)
        assert s2s.word_error_rate(["I go on."], ["I go."], tokenizer) == pytest.approx(100)
        assert s2s.exact_match(["i go."], ["I go."], tokenizer) == 0
        # The unknown character of the reference equals none: an error in one of two words.
        assert s2s.word_error_rate(["I g⁇."], ["I gж."], tokenizer) == 50
        tokens = len(tokenizer.tokenize(["I gж."]).values)
        assert s2s.token_error_rate(["I gц."], ["I gж."], tokenizer) == pytest.approx(100 / tokens)

    def test_phones(self):
        """A task on words, whatever the references have in them; an unknown phone is no match."""
        tokenizer = s2s.WhitespaceTokenizer.fit(PHONES)
        answers = ["b ɔ ̃ ʒ u ʁ", "ʃ  a", "w", "p a d"]
        assert s2s.exact_match(answers, PHONES, tokenizer) == 50
        assert s2s.word_error_rate(answers, PHONES, tokenizer) == 50
        assert s2s.token_error_rate(answers, PHONES, tokenizer) == pytest.approx(100 * 2 / 13)
        assert s2s.exact_match(["<unk> a"], ["q a"], tokenizer) == 0
        assert s2s.exact_match(["S a"], ["s a"], tokenizer) == 0

    def test_characters(self):
        tokenizer = s2s.CharacterTokenizer.fit(["Ice cream", "été", "{x}"], symbols=["{x}"])
        assert s2s.token_error_rate(["ete"], ["été"], tokenizer) == pytest.approx(100 * 2 / 3)
        assert s2s.token_error_rate(["e\u0301t"], ["été"], tokenizer) == pytest.approx(100 / 3)
        # A symbol is one token, and a space another.
        assert s2s.token_error_rate(["{x}a b"], ["{x} b"], tokenizer) == pytest.approx(100 / 3)
        assert s2s.word_error_rate(["Ice cream"], ["ice cream"], tokenizer) == 50
        assert s2s.word_error_rate(["c ream"], ["cream"], tokenizer) == 100
        jamo = s2s.CharacterTokenizer.fit(["한국"], normalization="nfd")
        # One of six jamo, which make two syllables.
        assert s2s.token_error_rate(["한굳"], ["한국"], jamo) == pytest.approx(100 / 6)

    def test_case_in_the_signature(self):
        texts = ["Go on.", "I go.", "I will go on.", "You go."]
        cased = s2s.SentencePieceTokenizer.fit(texts, vocab_size=30, lowercase=False)
        folded = s2s.SentencePieceTokenizer.fit(texts, vocab_size=30)
        words = s2s.WordTokenizer.fit(texts)
        characters = s2s.CharacterTokenizer.fit(texts)
        cases = {cased: "mixed", folded: "lc", words: "lc", characters: "mixed", None: "mixed"}
        for tokenizer, case in cases.items():
            assert TextSplitter(tokenizer).keeps_case(texts) == (case == "mixed")
            metric = make_metrics(names=["ter"], tokenizer=tokenizer)["ter"]
            metric.statistics(texts, [[text] for text in texts])
            assert f"nrefs:1|case:{case}|unit:token|tok:" in metric.signature

    def test_many_texts(self):
        """More than a call of the tokenizer takes."""
        texts = [f"go {index}" for index in range(2500)]
        tokenizer = s2s.WordTokenizer.fit(texts)
        assert TextSplitter(tokenizer).tokens(texts) == [text.split() for text in texts]


def test_sources_without_their_features():
    """Of columns in any order: the length and the words of a source are those of its text."""
    words = s2s.CharacterTokenizer.fit(["walk"])
    sources = ["V;PST 3\twalk", "V\tbe"]
    tokenizer = ColumnsTokenizer.fit(words, sources, ["features", "source"])
    translator = types.SimpleNamespace(source_tokenizer=tokenizer)
    assert source_texts(translator, sources) == ["walk", "be"]
    assert source_texts(types.SimpleNamespace(source_tokenizer=words), sources) == sources
    assert source_texts(object(), ["a b"]) == ["a b"]


class TestLevel:
    WORDS = ("walk", "go", "be")

    def test_words(self):
        assert answer_level(None, self.WORDS, self.WORDS) == "word"
        assert answer_level(None, ["walk\tV;PST", "go\tV;PST"], ["walked", "went"]) == "word"
        # A dictionary has a few entries of several words.
        assert answer_level(None, [*self.WORDS * 5, "ice cream"], self.WORDS) == "word"

    def test_sentences(self):
        assert answer_level(None, ["I go.", "I won."], self.WORDS) == "sentence"
        assert answer_level(None, self.WORDS, ["je vais", "j'ai gagné"]) == "sentence"
        assert answer_level(None, ["我们试试看。"], ["やってみよう。"]) == "sentence"
        phones = s2s.WhitespaceTokenizer.fit(["b ɔ", "w i"])
        assert answer_level(phones, ["bon", "oui"], ["b ɔ", "w i"]) == "word"
        assert answer_level(phones, ["c'est bon", "oui oui"], ["b ɔ", "w i"]) == "sentence"
        words = s2s.WordTokenizer.fit(self.WORDS)
        assert answer_level(words, self.WORDS, self.WORDS) == "sentence"

    def test_default_of_the_function(self):
        """An answer of two words is one wrong word."""
        assert s2s.word_error_rate(["wal ked"], ["walked"]) == 100
        assert s2s.word_error_rate(["wal ked"], ["walked"], level="sentence") == 200


def test_statistics_of_subsets(texts):
    """The score of a subset is computed from its rows."""
    references, good, _ = texts
    for name, metric in make_metrics(names=["exact", "wer", "ter"]).items():
        statistics = metric.statistics(good, references)
        assert statistics.shape == (250, 2)
        function = {
            "exact": s2s.exact_match,
            "wer": s2s.word_error_rate,
            "ter": s2s.token_error_rate,
        }
        assert metric.score(statistics[:50]) == function[name](good[:50], references[:50])
