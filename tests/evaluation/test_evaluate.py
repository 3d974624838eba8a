"""Scores, against their definitions."""

import logging
import math

import numpy as np
import pytest
import sacrebleu
import tensorflow as tf

import keras_s2s as s2s
from keras_s2s.serving.signatures import ScoredPair
from keras_s2s.translation.base import SentenceTranslator


class Phrases(SentenceTranslator):
    """A translator that knows what to say, and how sure it is."""

    def __init__(self, phrases, pairs=()):
        self.phrases = phrases
        self.pairs = dict(pairs)
        self.asked = []
        self.beams = []

    def translate(self, sentences, batch_size=64, beam=1, return_scores=False):
        self.asked += sentences
        self.beams.append(beam)
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


def test_a_translator_gets_many_sentences_at_a_time():
    """So that it can put those of similar lengths together; and no more, to show how far it is."""
    sentences = [f"number {index}" for index in range(100)]
    translator = Phrases(dict(zip(sentences, sentences, strict=True)))
    sizes = []
    translator.translate = lambda texts, batch_size, beam: (
        sizes.append((len(texts), batch_size)) or texts
    )
    s2s.evaluate(translator, s2s.ParallelCorpus(sentences, sentences), batch_size=3)
    assert sizes == [(1, 3), (48, 3), (48, 3), (4, 3)]


def test_pairs_of_similar_lengths_are_scored_together():
    sentences = [("word " * (1 + index * 37 % 100)).strip() for index in range(100)]
    translator = Phrases(dict(zip(sentences, sentences, strict=True)))
    batches = []

    def score_pairs(sources, targets, batch_size):
        batches.append(sorted(len(target) for target in targets))
        return [ScoredPair(-1.0 * len(target), 1) for target in targets]

    translator.score_pairs = score_pairs
    corpus = s2s.ParallelCorpus(sentences, sentences)
    result = s2s.evaluate(translator, corpus, batch_size=10)
    assert result["nats_per_token"] == sum(map(len, sentences)) / 100
    assert [len(batch) for batch in batches] == [10] * 10
    assert [length for batch in batches for length in batch] == sorted(map(len, sentences))


@pytest.mark.parametrize("beam", [1, 5])
def test_the_width_of_the_beam_reaches_the_search(beam):
    translator = Phrases(TRANSLATIONS)
    s2s.evaluate(translator, CORPUS, beam=beam)
    assert translator.beams == [beam] * 2


def test_scores_by_length():
    corpus = s2s.ParallelCorpus(
        ["a", "b c d e f", "six words are not that few", "word " * 16],
        ["un deux trois quatre", "un deux trois quatre", "x y z t", "un deux trois quatre"],
    )
    phrases = dict.fromkeys(corpus.source, "un deux trois quatre")
    assert s2s.evaluate(Phrases(phrases), corpus)["bleu_by_length"] == {
        "1-5": {"score": pytest.approx(100), "num_sentences": 2},
        "6-10": {"score": 0, "num_sentences": 1},
        ">15": {"score": pytest.approx(100), "num_sentences": 1},
    }


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    """Tokenized text with one to three references, and two systems, one worse than the other."""
    random = np.random.default_rng(0)
    words = [",", "j'", ".", *(f"mot{number}" for number in range(10))]
    sources, references, good, poor = [], [], {}, {}
    for index in range(300):
        source = f"sentence {index} {'and more ' * (index % 6)}."
        of_sentence = [" ".join(random.choice(words, 3 + index % 9)) for _ in range(1 + index % 3)]
        sources += [source] * len(of_sentence)
        references += of_sentence
        right = of_sentence[-1].split(" ")
        for phrases, share in ((good, 0.2), (poor, 0.3)):
            wrong = random.random(len(right)) < share
            phrases[source] = " ".join(np.where(wrong, "faux", right))
    return s2s.ParallelCorpus(sources, references, "task"), good, poor


@pytest.mark.parametrize("tokenize", ["13a", "none"])
def test_tokenized_text_has_the_scores_of_files_for_sacrebleu(tokenize, task):
    """As such a task is scored: a file of references for each position, an empty line for none."""
    corpus, good, _ = task
    sources, references = corpus.references()
    files = [
        [of_sentence[position] if position < len(of_sentence) else "" for of_sentence in references]
        for position in range(3)
    ]
    columns = [[line or None for line in file] for file in files]
    translations = [good[source] for source in sources]
    result = s2s.evaluate(Phrases(good), corpus, tokenize=tokenize)
    bleu = sacrebleu.BLEU(tokenize=tokenize, force=True).corpus_score(translations, columns)
    assert result["bleu"] == bleu.score
    assert result["chrf"] == sacrebleu.CHRF().corpus_score(translations, columns).score
    assert f"|tok:{tokenize}|" in result["bleu_signature"]


def test_unknown_tokenization_is_refused_before_translating():
    translator = Phrases(TRANSLATIONS)
    with pytest.raises(s2s.InputError, match=r"no tokenization '13b'.* did you mean 13a"):
        s2s.evaluate(translator, CORPUS, tokenize="13b")
    assert translator.asked == []


def test_translations_are_saved(tmp_path):
    path = tmp_path / "new" / "translations.tsv"
    s2s.evaluate(Phrases(TRANSLATIONS), CORPUS, 2, save_translations=path)
    expected = (
        "Go.\tmarche donc un peu .\tVa !\tMarche donc un peu.\n"
        "Run!\tcours !\tCours !\n"
        "I won!\tj'ai gagné !\tJ'ai gagné !\n"
    )
    assert path.read_bytes().decode() == expected
    others = Phrases({source: f"{source} ?" for source in TRANSLATIONS})
    s2s.compare([Phrases(TRANSLATIONS), others], CORPUS, save_translations=path)
    assert path.read_bytes().decode().split("\n")[1] == "Run!\tcours !\tRun! ?\tCours !"
    assert list(path.parent.iterdir()) == [path]


def test_what_would_end_a_cell_is_a_space(tmp_path):
    odd = "a\tb\nc\rd\u2028e\udcff"
    s2s.evaluate(
        Phrases({odd: odd}), s2s.ParallelCorpus([odd], [odd]), save_translations=tmp_path / "table"
    )
    cell = b"a b c d\xe2\x80\xa8e\xff"
    assert (tmp_path / "table").read_bytes() == b"\t".join([cell] * 3) + b"\n"


def test_what_cannot_be_saved_is_told_before_translating(tmp_path):
    translator = Phrases(TRANSLATIONS)
    (tmp_path / "file").write_text("", encoding="utf-8")
    for path, expected in {
        tmp_path: "is a folder; give the name of a file",
        tmp_path / "file" / "table.tsv": "file is a file",
    }.items():
        with pytest.raises(s2s.InputError, match=expected):
            s2s.evaluate(translator, CORPUS, save_translations=path)
    assert translator.asked == []


def test_what_was_saved_before_survives_a_failure(tmp_path):
    path = tmp_path / "table.tsv"
    path.write_text("before", encoding="utf-8")
    with pytest.raises(KeyError):
        s2s.evaluate(Phrases({"Go.": "va !"}), CORPUS, save_translations=path)
    assert path.read_text(encoding="utf-8") == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_better_translator(task):
    corpus, good, poor = task
    result = s2s.compare([Phrases(poor), Phrases(good), Phrases(poor)], corpus)
    for scores, phrases in zip(result["models"], (poor, good, poor), strict=True):
        alone = s2s.evaluate(Phrases(phrases), corpus)
        assert scores.keys() == alone.keys()
        for name in scores.keys() - {"sentences_per_second"}:
            assert scores[name] == alone[name]
    better, same = result["differences"]
    for name in ("bleu", "chrf"):
        difference = result["models"][1][name] - result["models"][0][name]
        assert better[name]["difference"] == difference
        lowest, highest = better[name]["interval"]
        assert 0 < lowest < difference < highest
        assert better[name]["p_value"] < 0.05
        assert same[name] == {"difference": 0, "interval": (0, 0), "p_value": 1}
    assert (result["num_samples"], result["seed"]) == (1000, 12345)


def test_the_same_seed_gives_the_same_figures(task):
    corpus, good, poor = task
    part = s2s.ParallelCorpus(corpus.source[:30], corpus.target[:30])

    def differences(**options):
        translators = [Phrases(poor), Phrases(good)]
        return s2s.compare(translators, part, num_samples=100, **options)["differences"]

    assert differences(seed=1) == differences(seed=1)
    assert differences(seed=1) != differences(seed=2)


def test_what_cannot_be_compared():
    one = Phrases(TRANSLATIONS)
    for translators, options, expected in (
        ([], {}, "0 translators to compare; give two or more"),
        ([one], {}, "1 translators to compare"),
        (one, {}, "1 translators to compare; give two or more, in a list"),
        ([one, one], {"num_samples": 0}, "num_samples is 0; give 1 or more"),
        ([one, one], {"seed": -1}, "seed is -1; give 0 or more"),
        ([one, one], {"tokenize": ""}, "no tokenization ''"),
    ):
        with pytest.raises(s2s.InputError, match=expected):
            s2s.compare(translators, CORPUS, **options)
    assert one.asked == []


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
