"""BLEU of a sentence and corpus scores, against their definitions and sacreBLEU."""

import itertools
import math

import pytest
import sacrebleu

import keras_s2s as s2s
from keras_s2s.evaluation.metrics import CHUNK_SIZE, make_metrics, score_by_length

WORDS = [f"mot{index}" for index in range(12)]


def columns(references):
    """Return the references in the layout of sacreBLEU."""
    return list(itertools.zip_longest(*references))


class TestChapterBleu:
    def test_precisions(self):
        """The chapter's example: p1 = 4/5, p2 = 3/4, p3 = 1/3, p4 = 0, and 5 words for 6."""
        scores, expected = [s2s.bleu("A B B C D", "A B C D E F", k) for k in range(1, 5)], []
        product = math.exp(1 - 6 / 5)
        for n, precision in enumerate((4 / 5, 3 / 4, 1 / 3, 0), 1):
            product *= precision ** (1 / 2**n)
            expected.append(product)
        assert scores == pytest.approx(expected)
        assert scores[3] == 0

    def test_brevity_penalty(self):
        assert s2s.bleu("A B", "A B C D E F", k=2) == pytest.approx(math.exp(1 - 6 / 2))

    def test_no_penalty_for_length(self):
        assert s2s.bleu("A B C D", "A B", k=1) == (2 / 4) ** 0.5

    @pytest.mark.parametrize("sentence", ["va !", "j'ai perdu .", "non"])
    @pytest.mark.parametrize("k", [1, 2, 4, 100])
    def test_identical(self, sentence, k):
        assert s2s.bleu(sentence, sentence, k) == 1

    def test_prediction_shorter_than_k(self):
        assert s2s.bleu("A B", "A B C", k=3) == s2s.bleu("A B", "A B C", k=2) > 0

    def test_empty_prediction(self):
        for label in ("A B", ""):
            assert s2s.bleu("", label, k=2) == s2s.bleu("  ", label, k=2) == 0
        assert s2s.bleu("A", "", k=2) == 0

    def test_counts_are_clipped(self):
        assert s2s.bleu("A A A A", "A A B B", k=1) == (2 / 4) ** 0.5

    def test_word_boundaries(self):
        """The chapter's first code matched "ab c" with "a bc"."""
        assert s2s.bleu("ab c x", "a bc x", k=2) == 0

    def test_words_are_split_at_spaces_only(self):
        assert s2s.bleu(" A  B ", "A B", k=2) == 1
        assert s2s.bleu("va\N{NO-BREAK SPACE}!", "va !", k=1) == 0

    @pytest.mark.parametrize("k", [0, -1])
    def test_k_is_positive(self, k):
        with pytest.raises(s2s.InputError, match=f"k is {k};"):
            s2s.bleu("A", "A", k)


class TestMetrics:
    def test_unknown_tokenizer(self):
        assert make_metrics("intl")["bleu"]._metric.tokenizer.signature() == "intl"
        with pytest.raises(s2s.InputError, match=r"'nnoe'.* did you mean none\?"):
            make_metrics("nnoe")

    def test_tokenizer_that_is_not_installed(self, monkeypatch):
        monkeypatch.setattr("sacrebleu.tokenizers.tokenizer_ja_mecab.MeCab", None)
        with pytest.raises(s2s.InputError, match=r"'ja-mecab'.*\(Japanese") as error:
            make_metrics("ja-mecab")
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize("tokenize", ["13a", "none"])
    def test_scores_and_signatures_equal_sacrebleu(self, tokenize, texts):
        """Counting in chunks changes neither the score nor the signature."""
        references, good, _ = texts
        assert len(references) > 2 * CHUNK_SIZE
        reference_metrics = {
            "bleu": sacrebleu.BLEU(lowercase=True, force=True, tokenize=tokenize),
            "chrf": sacrebleu.CHRF(lowercase=True),
        }
        for name, metric in make_metrics(tokenize).items():
            statistics = metric.statistics(good, references)
            expected = reference_metrics[name].corpus_score(good, columns(references)).score
            assert metric.score(statistics) == expected
            assert 20 < expected < 90
            assert metric.signature == str(reference_metrics[name].get_signature())
            assert metric.signature.startswith("nrefs:var|case:lc")

    @pytest.mark.parametrize("count", [1, 2])
    def test_signature_with_constant_number_of_references(self, count):
        metric = make_metrics()["bleu"]
        # The last chunk, of one sentence, must not determine the signature of all.
        metric.statistics(["a"] * 101, [["a"] * count] * 101)
        assert metric.signature.startswith(f"nrefs:{count}|")
        metric.statistics(["a"] * 101, [["a"] * 3] * 100 + [["a"]])
        assert metric.signature.startswith("nrefs:var|")


def test_score_by_length(texts):
    references, good, _ = texts
    sources = ["word " * (index % 20) for index in range(len(good))]
    metric = make_metrics()["bleu"]
    rows = score_by_length(metric, metric.statistics(good, references), sources)
    assert list(rows) == ["1-5", "6-10", "11-15", ">15"]
    for (name, row), lengths in zip(
        rows.items(), (range(6), range(6, 11), range(11, 16), range(16, 20)), strict=True
    ):
        selected = [index for index in range(len(good)) if index % 20 in lengths]
        expected = sacrebleu.BLEU(lowercase=True, force=True).corpus_score(
            [good[index] for index in selected], columns([references[index] for index in selected])
        )
        assert row == {"score": expected.score, "num_sentences": len(selected)}, name
    assert len({row["score"] for row in rows.values()}) == 4


def test_empty_buckets_are_omitted():
    metric = make_metrics()["bleu"]
    statistics = metric.statistics(WORDS, [[word] for word in WORDS])
    rows = score_by_length(metric, statistics, ["six words are not that few"] * len(WORDS))
    assert list(rows) == ["6-10"]
    assert rows["6-10"]["num_sentences"] == 12
