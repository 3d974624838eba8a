"""Scores of texts, against their definitions, sacreBLEU and figures that a hand can compute."""

import itertools
import math

import numpy as np
import pytest
import sacrebleu

import keras_s2s as s2s
from keras_s2s.evaluation.metrics import (
    SENTENCES_AT_A_TIME,
    by_length,
    make_metrics,
    paired_bootstrap,
    score,
    sentence_statistics,
)

WORDS = [f"mot{number}" for number in range(12)]


def columns(references):
    """References as sacreBLEU takes them."""
    return list(itertools.zip_longest(*references))


@pytest.fixture(scope="module")
def texts():
    """250 sentences with one to three references, and translations by a good and a poor system."""
    random = np.random.default_rng(0)
    references = [
        [" ".join(random.choice(WORDS, 3 + index % 9)) + "." for _ in range(1 + index % 3)]
        for index in range(250)
    ]

    def worse(sentence, share):
        return " ".join(word if random.random() > share else "FAUX" for word in sentence.split(" "))

    good, poor = (
        [worse(of_sentence[-1], share) for of_sentence in references] for share in (0.2, 0.4)
    )
    return references, good, poor


class TestBleuOfTheChapter:
    def test_precisions_of_the_chapter(self):
        """Its example: p1 = 4/5, p2 = 3/4, p3 = 1/3, p4 = 0, and 5 words for 6."""
        score, expected = [s2s.bleu("A B B C D", "A B C D E F", k) for k in range(1, 5)], []
        so_far = math.exp(1 - 6 / 5)
        for n, precision in enumerate((4 / 5, 3 / 4, 1 / 3, 0), 1):
            so_far *= precision ** (1 / 2**n)
            expected.append(so_far)
        assert score == pytest.approx(expected)
        assert score[3] == 0

    def test_penalty_of_the_chapter(self):
        assert s2s.bleu("A B", "A B C D E F", k=2) == pytest.approx(math.exp(1 - 6 / 2))

    def test_what_is_longer_is_not_penalised_twice(self):
        assert s2s.bleu("A B C D", "A B", k=1) == (2 / 4) ** 0.5

    @pytest.mark.parametrize("sentence", ["va !", "j'ai perdu .", "non"])
    @pytest.mark.parametrize("k", [1, 2, 4, 100])
    def test_the_same_has_one(self, sentence, k):
        assert s2s.bleu(sentence, sentence, k) == 1

    def test_a_prediction_shorter_than_k(self):
        assert s2s.bleu("A B", "A B C", k=3) == s2s.bleu("A B", "A B C", k=2) > 0

    def test_nothing_predicted(self):
        for label in ("A B", ""):
            assert s2s.bleu("", label, k=2) == s2s.bleu("  ", label, k=2) == 0
        assert s2s.bleu("A", "", k=2) == 0

    def test_words_count_no_more_often_than_they_stand_there(self):
        assert s2s.bleu("A A A A", "A A B B", k=1) == (2 / 4) ** 0.5

    def test_words_do_not_run_together(self):
        """In the chapter's first code "ab c" matched "a bc"."""
        assert s2s.bleu("ab c x", "a bc x", k=2) == 0

    def test_spaces_and_nothing_else_divide_words(self):
        assert s2s.bleu(" A  B ", "A B", k=2) == 1
        assert s2s.bleu("va\N{NO-BREAK SPACE}!", "va !", k=1) == 0

    @pytest.mark.parametrize("k", [0, -1])
    def test_k_makes_sense(self, k):
        with pytest.raises(s2s.InputError, match=f"k is {k}; give 1 or more"):
            s2s.bleu("A", "A", k)


class TestMetrics:
    def test_names_of_tokenizations(self):
        assert str(make_metrics("intl")["bleu"].tokenizer.signature()) == "intl"
        with pytest.raises(
            s2s.InputError, match=r"no tokenization 'nnoe'; sacreBLEU has .*; did you mean none\?"
        ):
            make_metrics("nnoe")

    def test_a_tokenization_that_is_not_installed(self, monkeypatch):
        monkeypatch.setattr("sacrebleu.tokenizers.tokenizer_ja_mecab.MeCab", None)
        with pytest.raises(s2s.InputError, match=r"'ja-mecab' cannot be used \(Japanese") as error:
            make_metrics("ja-mecab")
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize("tokenize", ["13a", "none"])
    def test_scores_and_signatures_are_those_of_sacrebleu(self, tokenize, texts):
        """Whether it gets the references all at once or in parts."""
        references, good, _ = texts
        assert len(references) > 2 * SENTENCES_AT_A_TIME
        theirs = {
            "bleu": sacrebleu.BLEU(lowercase=True, force=True, tokenize=tokenize),
            "chrf": sacrebleu.CHRF(lowercase=True),
        }
        for name, ours in make_metrics(tokenize).items():
            counts = sentence_statistics(ours, good, references)
            expected = theirs[name].corpus_score(good, columns(references)).score
            assert score(ours, counts) == expected
            assert 20 < expected < 90
            assert str(ours.get_signature()) == str(theirs[name].get_signature())
            assert str(ours.get_signature()).startswith("nrefs:var|case:lc")

    @pytest.mark.parametrize("number", [1, 2])
    def test_signature_where_all_have_as_many_references(self, number):
        metric = make_metrics()["bleu"]
        # The last part, of one sentence, must not speak for all.
        sentence_statistics(metric, ["a"] * 101, [["a"] * number] * 101)
        assert str(metric.get_signature()).startswith(f"nrefs:{number}|")
        sentence_statistics(metric, ["a"] * 101, [["a"] * 3] * 100 + [["a"]])
        assert str(metric.get_signature()).startswith("nrefs:var|")


def test_by_length(texts):
    references, good, _ = texts
    sources = ["word " * (index % 20) for index in range(len(good))]
    metric = make_metrics()["bleu"]
    rows = by_length(metric, sentence_statistics(metric, good, references), sources)
    assert list(rows) == ["1-5", "6-10", "11-15", ">15"]
    for (name, row), lengths in zip(
        rows.items(), (range(6), range(6, 11), range(11, 16), range(16, 20)), strict=True
    ):
        chosen = [index for index in range(len(good)) if index % 20 in lengths]
        expected = sacrebleu.BLEU(lowercase=True, force=True).corpus_score(
            [good[index] for index in chosen], columns([references[index] for index in chosen])
        )
        assert row == {"score": expected.score, "num_sentences": len(chosen)}, name
    assert len({row["score"] for row in rows.values()}) == 4


def test_lengths_that_do_not_occur_have_no_score():
    metric = make_metrics()["bleu"]
    counts = sentence_statistics(metric, WORDS, [[word] for word in WORDS])
    rows = by_length(metric, counts, ["six words are not that few"] * len(WORDS))
    assert list(rows) == ["6-10"]
    assert rows["6-10"]["num_sentences"] == 12


class TestPairedBootstrap:
    def test_equals(self, texts):
        references, good, _ = texts
        for metric in make_metrics().values():
            counts = sentence_statistics(metric, good, references)
            assert paired_bootstrap(metric, counts, counts.copy()) == (0, (0, 0), 1)

    def test_by_hand(self):
        """Two sentences of four words: the baseline has both right, the other only the first.

        Of n-grams the other has half, and BLEU 50. Of four samples, one has the first sentence
        twice, where there is no difference, and one the second twice, where it is 100. Half of
        the samples are thus as far from 50 as 0 is.
        """
        references = [["un deux trois quatre"], ["cinq six sept huit"]]
        right = [reference for [reference] in references]
        metric = make_metrics()["bleu"]
        baseline = sentence_statistics(metric, right, references)
        other = sentence_statistics(metric, [right[0], "a b c d"], references)
        found = paired_bootstrap(metric, baseline, other, 4000)
        assert found.difference == pytest.approx(-50)
        assert found.interval == pytest.approx((-100, 0))
        assert found.p_value == pytest.approx(0.5, abs=0.03)
        drawn = np.random.default_rng(12345).choice(2, (4000, 2))
        as_far = int((drawn[:, 0] == drawn[:, 1]).sum())
        assert found.p_value == (as_far + 1) / 4001

    @pytest.mark.parametrize("name", ["bleu", "chrf"])
    def test_samples_are_scored_as_corpora_are(self, name, texts):
        """With sacreBLEU's public functions and the samples that its own test draws."""
        references, good, poor = (texts[:30] for texts in texts)
        metric = make_metrics()[name]
        counts = [sentence_statistics(metric, system, references) for system in (poor, good)]
        found = paired_bootstrap(metric, *counts, num_samples=40, seed=7)

        def difference(indices):
            chosen = columns([references[index] for index in indices])
            scores = [
                metric.corpus_score([system[index] for index in indices], chosen).score
                for system in (poor, good)
            ]
            return scores[1] - scores[0]

        drawn = np.random.default_rng(7).choice(30, (40, 30))
        samples = np.array([difference(indices) for indices in drawn])
        assert found.difference == pytest.approx(difference(range(30)))
        assert found.interval == pytest.approx(tuple(np.quantile(samples, [0.025, 0.975])))
        far = np.abs(samples - found.difference) >= abs(found.difference)
        assert found.p_value == (far.sum() + 1) / 41

    def test_clearly_better(self, texts):
        references, good, poor = texts
        for metric in make_metrics().values():
            counts = [sentence_statistics(metric, system, references) for system in (poor, good)]
            found = paired_bootstrap(metric, *counts)
            assert found.difference > 5
            assert 0 < found.interval[0] < found.difference < found.interval[1]
            assert found.p_value < 0.05
            # The other way round everything is the other way round.
            back = paired_bootstrap(metric, *counts[::-1])
            assert back.difference == -found.difference
            assert back.interval == pytest.approx((-found.interval[1], -found.interval[0]))
            assert back.p_value == found.p_value

    def test_seed(self, texts):
        references, good, poor = texts
        metric = make_metrics()["bleu"]
        mixed = [*good[:10], *poor[10:20], *good[20:]]
        counts = [sentence_statistics(metric, system, references) for system in (mixed, good)]
        first, again, other = (paired_bootstrap(metric, *counts, 200, seed) for seed in (1, 1, 2))
        assert first == again
        assert first != other
        assert first.difference == other.difference

    def test_equals_by_chance_are_seldom_told_apart(self):
        """Of pairs of systems that are as good, about one in twenty has p < 0.05."""
        metric = make_metrics()["bleu"]
        right, wrong = sentence_statistics(
            metric, ["un deux trois quatre", "a b c d"], [["un deux trois quatre"]] * 2
        )
        random = np.random.default_rng(0)
        p_values = []
        for _ in range(200):
            systems = [np.where(random.random((100, 1)) < 0.5, right, wrong) for _ in range(2)]
            p_values.append(paired_bootstrap(metric, *systems, num_samples=200).p_value)
        assert 0.02 < np.mean(np.array(p_values) < 0.05) < 0.09
        assert np.mean(p_values) == pytest.approx(0.5, abs=0.1)
