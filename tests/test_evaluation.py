"""Scores, against their definitions."""

import logging
import math

import numpy as np
import pytest
import sacrebleu
import tensorflow as tf

import keras_s2s as s2s
from keras_s2s.sentences import ScoredPair, SentenceTranslator


class Phrases(SentenceTranslator):
    """A translator that knows what to say, and how sure it is."""

    def __init__(self, phrases, pairs=()):
        self.phrases = phrases
        self.pairs = dict(pairs)
        self.asked = []

    def translate(self, sentences, batch_size=64, return_scores=False):
        self.asked += sentences
        return [self.phrases[sentence] for sentence in sentences]

    def score_pairs(self, sentences, references, batch_size=64):
        pairs = zip(sentences, references, strict=True)
        return [self.pairs.get(pair, ScoredPair(-1.0, 2)) for pair in pairs]


CORPUS = s2s.ParallelCorpus(
    ["Go.", "Run!", "Go.", "I won!"],
    ["Va !", "Cours !", "Marche donc un peu.", "J'ai gagné !"],
    "four pairs",
)
TRANSLATIONS = {"Go.": "marche donc un peu .", "Run!": "cours !", "I won!": "j'ai gagné !"}


def test_nats_are_summed_over_tokens():
    pairs = {
        ("Go.", "Va !"): ScoredPair(-1.5, 3),
        ("Run!", "Cours !"): ScoredPair(-0.25, 3),
        ("Go.", "Marche donc un peu."): ScoredPair(-10.0, 6),
        ("I won!", "J'ai gagné !"): ScoredPair(-2.0, 4),
    }
    result = s2s.evaluate(Phrases(TRANSLATIONS, pairs), CORPUS)
    assert result["nats_per_token"] == 13.75 / 16
    assert result["perplexity"] == math.exp(13.75 / 16)
    assert (result["num_pairs"], result["num_sentences"], result["num_tokens"]) == (4, 3, 16)


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_bleu_and_chrf_are_those_of_sacrebleu(batch_size):
    result = s2s.evaluate(Phrases(TRANSLATIONS), CORPUS, batch_size)
    translations = ["marche donc un peu .", "cours !", "j'ai gagné !"]
    # "Go." has two references, the others have one.
    references = [
        ["Va !", "Cours !", "J'ai gagné !"],
        ["Marche donc un peu.", None, None],
    ]
    bleu = sacrebleu.corpus_bleu(translations, references, lowercase=True)
    assert result["bleu"] == bleu.score
    chrf = sacrebleu.CHRF(lowercase=True).corpus_score(translations, references)
    assert result["chrf"] == chrf.score
    one_reference = sacrebleu.corpus_bleu(translations, references[:1], lowercase=True)
    assert result["bleu"] > one_reference.score


def test_perfect_and_useless_translations():
    corpus = s2s.ParallelCorpus(["a", "b"], ["un deux trois quatre.", "Cinq six sept huit !"])
    phrases = {"a": "un deux trois quatre .", "b": "cinq six sept huit !"}
    result = s2s.evaluate(Phrases(phrases), corpus)
    assert result["bleu"] == pytest.approx(100)
    assert result["chrf"] == pytest.approx(100)
    result = s2s.evaluate(Phrases({"a": "", "b": ""}), corpus)
    assert (result["bleu"], result["chrf"]) == (0, 0)


def test_signatures_say_how_it_was_scored():
    result = s2s.evaluate(Phrases(TRANSLATIONS), CORPUS)
    version = sacrebleu.__version__
    assert result["bleu_signature"] == (
        f"nrefs:var|case:lc|eff:no|tok:13a|smooth:exp|version:{version}"
    )
    assert result["chrf_signature"] == (
        f"nrefs:var|case:lc|eff:yes|nc:6|nw:0|space:no|version:{version}"
    )
    one = s2s.ParallelCorpus(["Run!"], ["Cours !"])
    assert s2s.evaluate(Phrases(TRANSLATIONS), one)["bleu_signature"].startswith("nrefs:1|")


def test_each_sentence_is_translated_once():
    translator = Phrases(TRANSLATIONS)
    result = s2s.evaluate(translator, CORPUS)
    # The first one once more, before the time is taken.
    assert translator.asked == ["Go.", "Go.", "Run!", "I won!"]
    assert result["sentences_per_second"] > 0


def test_full_stops_are_no_reason_for_a_remark(caplog, capsys):
    """SacreBLEU takes 100 lines that end in " ." for a mistake, which they are not here."""
    sentences = [f"number {index}." for index in range(150)]
    references = [f"c'est le numéro {index}." for index in range(150)]
    phrases = {sentence: f"c'est le numéro {index} ." for index, sentence in enumerate(sentences)}
    with caplog.at_level(logging.DEBUG):
        result = s2s.evaluate(
            Phrases(phrases), s2s.ParallelCorpus(sentences, references, "numbers")
        )
    assert result["bleu"] == pytest.approx(100)
    assert caplog.records == []
    assert capsys.readouterr() == ("", "")


def test_nats_of_a_model(translator, phrasebook):
    """The sum of what the model gives each token, computed by hand."""
    corpus = s2s.ParallelCorpus(phrasebook.source[:40], phrasebook.target[:40], "forty pairs")
    result = s2s.evaluate(translator, corpus, batch_size=7)
    nats, tokens = 0.0, 0
    for source, target in zip(corpus.source, corpus.target, strict=True):
        source_ids = translator.source_tokenizer.encode_source(tf.constant([source]), 10)
        target_ids, length = translator.target_tokenizer.encode_target(tf.constant([target]), 12)
        logits = translator.model((source_ids, (target_ids, length)))[0].numpy().astype("float64")
        log_probabilities = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        labels = target_ids[0, 1 : int(length[0])].numpy()
        nats -= log_probabilities[np.arange(len(labels)), labels].sum()
        tokens += len(labels)
    assert result["num_tokens"] == tokens
    assert result["nats_per_token"] == pytest.approx(nats / tokens, rel=1e-5)
    assert result["perplexity"] == pytest.approx(math.exp(nats / tokens), rel=1e-4)


def test_an_empty_corpus_cannot_be_scored():
    with pytest.raises(s2s.InputError, match="nothing: no pair to evaluate on"):
        s2s.evaluate(Phrases({}), s2s.ParallelCorpus([], [], "nothing"))


def test_endless_perplexity_is_a_number():
    pairs = {("Run!", "Cours !"): ScoredPair(-1e6, 3)}
    result = s2s.evaluate(Phrases(TRANSLATIONS, pairs), s2s.ParallelCorpus(["Run!"], ["Cours !"]))
    assert math.isfinite(result["perplexity"])
