"""Evaluation of translators, against the definitions of the scores and sacreBLEU."""

import logging
import math

import numpy as np
import pytest
import sacrebleu
import tensorflow as tf

import keras_s2s as s2s
from keras_s2s.serving.signatures import ScoredPair
from keras_s2s.translation.base import SentenceTranslator


class PhraseTable(SentenceTranslator):
    """A translator with fixed translations and scores."""

    def __init__(self, phrases, pairs=()):
        self.phrases = phrases
        self.pairs = dict(pairs)
        self.calls = []
        self.beams = []

    def translate(self, sentences, batch_size=64, beam=1, return_scores=False):
        self.calls += sentences
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


def test_nats_are_averaged_over_tokens():
    pairs = {
        ("Go.", "Va !"): ScoredPair(-1.5, 3),
        ("Run!", "Cours !"): ScoredPair(-0.25, 3),
        ("Go.", "Marche donc un peu."): ScoredPair(-10.0, 6),
        ("I won!", "J'ai gagné !"): ScoredPair(-2.0, 4),
    }
    result = s2s.evaluate(PhraseTable(TRANSLATIONS, pairs), CORPUS)
    assert result["nats_per_token"] == 13.75 / 16
    assert result["perplexity"] == math.exp(13.75 / 16)
    assert (result["num_pairs"], result["num_sentences"], result["num_tokens"]) == (4, 3, 16)


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_bleu_and_chrf_equal_sacrebleu(batch_size):
    result = s2s.evaluate(PhraseTable(TRANSLATIONS), CORPUS, batch_size)
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
    result = s2s.evaluate(PhraseTable(phrases), corpus)
    assert result["bleu"] == pytest.approx(100)
    assert result["chrf"] == pytest.approx(100)
    result = s2s.evaluate(PhraseTable({"a": "", "b": ""}), corpus)
    assert (result["bleu"], result["chrf"]) == (0, 0)


def test_signatures():
    result = s2s.evaluate(PhraseTable(TRANSLATIONS), CORPUS)
    version = sacrebleu.__version__
    assert result["bleu_signature"] == (
        f"nrefs:var|case:lc|eff:no|tok:13a|smooth:exp|version:{version}"
    )
    assert result["chrf_signature"] == (
        f"nrefs:var|case:lc|eff:yes|nc:6|nw:0|space:no|version:{version}"
    )
    one = s2s.ParallelCorpus(["Run!"], ["Cours !"])
    assert s2s.evaluate(PhraseTable(TRANSLATIONS), one)["bleu_signature"].startswith("nrefs:1|")


def test_each_sentence_is_translated_once():
    translator = PhraseTable(TRANSLATIONS)
    result = s2s.evaluate(translator, CORPUS)
    # The first one twice: the first call is a warm-up.
    assert translator.calls == ["Go.", "Go.", "Run!", "I won!"]
    assert result["sentences_per_second"] > 0


def test_sentences_per_call():
    """Several batches, for batching by length; not the whole corpus, for the progress bar."""
    sentences = [f"number {index}" for index in range(100)]
    translator = PhraseTable(dict(zip(sentences, sentences, strict=True)))
    sizes = []
    translator.translate = lambda texts, batch_size, beam: (
        sizes.append((len(texts), batch_size)) or texts
    )
    s2s.evaluate(translator, s2s.ParallelCorpus(sentences, sentences), batch_size=3)
    assert sizes == [(1, 3), (48, 3), (48, 3), (4, 3)]


def test_pairs_are_scored_in_order_of_length():
    sentences = [("word " * (1 + index * 37 % 100)).strip() for index in range(100)]
    translator = PhraseTable(dict(zip(sentences, sentences, strict=True)))
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
def test_beam_size_is_passed_on(beam):
    translator = PhraseTable(TRANSLATIONS)
    s2s.evaluate(translator, CORPUS, beam=beam)
    assert translator.beams == [beam] * 2


def test_bleu_by_length():
    corpus = s2s.ParallelCorpus(
        ["a", "b c d e f", "six words are not that few", "word " * 16],
        ["un deux trois quatre", "un deux trois quatre", "x y z t", "un deux trois quatre"],
    )
    phrases = dict.fromkeys(corpus.source, "un deux trois quatre")
    assert s2s.evaluate(PhraseTable(phrases), corpus)["bleu_by_length"] == {
        "1-5": {"score": pytest.approx(100), "num_sentences": 2},
        "6-10": {"score": 0, "num_sentences": 1},
        ">15": {"score": pytest.approx(100), "num_sentences": 1},
    }


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    """Tokenized text with one to three references, and a good and a poor system."""
    random = np.random.default_rng(0)
    words = [",", "j'", ".", *(f"mot{index}" for index in range(10))]
    sources, references, good, poor = [], [], {}, {}
    for index in range(300):
        source = f"sentence {index} {'and more ' * (index % 6)}."
        options = [" ".join(random.choice(words, 3 + index % 9)) for _ in range(1 + index % 3)]
        sources += [source] * len(options)
        references += options
        right = options[-1].split(" ")
        for phrases, share in ((good, 0.2), (poor, 0.3)):
            wrong = random.random(len(right)) < share
            phrases[source] = " ".join(np.where(wrong, "faux", right))
    return s2s.ParallelCorpus(sources, references, "task"), good, poor


@pytest.mark.parametrize("tokenize", ["13a", "none"])
def test_tokenized_text_scores_like_reference_files(tokenize, task):
    """A file for each reference position, with an empty line for a missing reference."""
    corpus, good, _ = task
    sources, references = corpus.references()
    files = [
        [options[position] if position < len(options) else "" for options in references]
        for position in range(3)
    ]
    columns = [[line or None for line in file] for file in files]
    translations = [good[source] for source in sources]
    result = s2s.evaluate(PhraseTable(good), corpus, tokenize=tokenize)
    bleu = sacrebleu.BLEU(tokenize=tokenize, force=True).corpus_score(translations, columns)
    assert result["bleu"] == bleu.score
    assert result["chrf"] == sacrebleu.CHRF().corpus_score(translations, columns).score
    assert f"|tok:{tokenize}|" in result["bleu_signature"]


def test_unknown_tokenizer_fails_before_translation():
    translator = PhraseTable(TRANSLATIONS)
    with pytest.raises(s2s.InputError, match=r"'13b'.* did you mean 13a"):
        s2s.evaluate(translator, CORPUS, tokenize="13b")
    assert translator.calls == []


def test_translations_are_saved(tmp_path):
    path = tmp_path / "new" / "translations.tsv"
    s2s.evaluate(PhraseTable(TRANSLATIONS), CORPUS, 2, save_translations=path)
    expected = (
        "Go.\tmarche donc un peu .\tVa !\tMarche donc un peu.\n"
        "Run!\tcours !\tCours !\n"
        "I won!\tj'ai gagné !\tJ'ai gagné !\n"
    )
    assert path.read_bytes().decode() == expected
    others = PhraseTable({source: f"{source} ?" for source in TRANSLATIONS})
    s2s.compare([PhraseTable(TRANSLATIONS), others], CORPUS, save_translations=path)
    assert path.read_bytes().decode().split("\n")[1] == "Run!\tcours !\tRun! ?\tCours !"
    assert list(path.parent.iterdir()) == [path]


def test_separators_in_texts_become_spaces(tmp_path):
    odd = "a\tb\nc\rd\u2028e\udcff"
    s2s.evaluate(
        PhraseTable({odd: odd}),
        s2s.ParallelCorpus([odd], [odd]),
        save_translations=tmp_path / "table",
    )
    cell = b"a b c d\xe2\x80\xa8e\xff"
    assert (tmp_path / "table").read_bytes() == b"\t".join([cell] * 3) + b"\n"


def test_unwritable_file_fails_before_translation(tmp_path):
    translator = PhraseTable(TRANSLATIONS)
    (tmp_path / "file").write_text("", encoding="utf-8")
    for path, expected in {
        tmp_path: "is a folder",
        tmp_path / "file" / "table.tsv": "file is a file",
    }.items():
        with pytest.raises(s2s.InputError, match=expected):
            s2s.evaluate(translator, CORPUS, save_translations=path)
    assert translator.calls == []


def test_old_file_survives_a_failure(tmp_path):
    path = tmp_path / "table.tsv"
    path.write_text("before", encoding="utf-8")
    with pytest.raises(KeyError):
        s2s.evaluate(PhraseTable({"Go.": "va !"}), CORPUS, save_translations=path)
    assert path.read_text(encoding="utf-8") == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_compare(task):
    corpus, good, poor = task
    result = s2s.compare([PhraseTable(poor), PhraseTable(good), PhraseTable(poor)], corpus)
    for scores, phrases in zip(result["models"], (poor, good, poor), strict=True):
        alone = s2s.evaluate(PhraseTable(phrases), corpus)
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


def test_seed_determines_the_differences(task):
    corpus, good, poor = task
    subset = s2s.ParallelCorpus(corpus.source[:30], corpus.target[:30])

    def differences(**options):
        translators = [PhraseTable(poor), PhraseTable(good)]
        return s2s.compare(translators, subset, num_samples=100, **options)["differences"]

    assert differences(seed=1) == differences(seed=1)
    assert differences(seed=1) != differences(seed=2)


def test_invalid_arguments_of_compare():
    one = PhraseTable(TRANSLATIONS)
    for translators, options, expected in (
        ([], {}, "0 translators"),
        ([one], {}, "1 translators"),
        (one, {}, "1 translators .* list"),
        ([one, one], {"num_samples": 0}, "num_samples is 0"),
        ([one, one], {"seed": -1}, "seed is -1"),
        ([one, one], {"tokenize": ""}, "tokenization ''"),
    ):
        with pytest.raises(s2s.InputError, match=expected):
            s2s.compare(translators, CORPUS, **options)
    assert one.calls == []


def test_no_warning_about_tokenized_text(caplog, capsys):
    """SacreBLEU warns of 100 lines that end in " .", which are intended here."""
    sentences = [f"number {index}." for index in range(150)]
    references = [f"c'est le numéro {index}." for index in range(150)]
    phrases = {sentence: f"c'est le numéro {index} ." for index, sentence in enumerate(sentences)}
    with caplog.at_level(logging.DEBUG):
        result = s2s.evaluate(
            PhraseTable(phrases), s2s.ParallelCorpus(sentences, references, "numbers")
        )
    assert result["bleu"] == pytest.approx(100)
    assert caplog.records == []
    assert capsys.readouterr() == ("", "")


def test_nats_of_a_trained_model(translator, phrasebook):
    """Equal to the sum of the token log-probabilities from the logits."""
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


def test_empty_corpus():
    with pytest.raises(s2s.InputError, match="nothing: no pair"):
        s2s.evaluate(PhraseTable({}), s2s.ParallelCorpus([], [], "nothing"))


def test_perplexity_is_finite():
    pairs = {("Run!", "Cours !"): ScoredPair(-1e6, 3)}
    result = s2s.evaluate(
        PhraseTable(TRANSLATIONS, pairs), s2s.ParallelCorpus(["Run!"], ["Cours !"])
    )
    assert math.isfinite(result["perplexity"])


WORDS = s2s.ParallelCorpus(
    ["walk", "go", "go", "sing", "Rom"], ["walked", "went", "goed", "sang", "Roman"], "words"
)
WORD_ANSWERS = {"walk": "walked", "go": "goed", "sing": "singed", "Rom": "Roman"}


def test_words():
    result = s2s.evaluate(PhraseTable(WORD_ANSWERS), WORDS)
    assert result["level"] == "word"
    assert (result["exact_match"], result["word_error_rate"]) == (75, 25)
    assert list(result)[:2] == ["exact_match", "exact_match_signature"]
    assert result["bleu"] >= 0
    assert result["word_error_rate_by_length"] == {"1-5": {"score": 25, "num_sentences": 4}}
    # Bootstrap of four examples: each share of wrong ones occurs in more than 5% of the resamples.
    assert result["word_error_rate_interval"] == [0, 75]
    assert result["exact_match_interval"] == [25, 100]


def test_token_error_rate_of_a_tokenizer():
    translator = PhraseTable(TRANSLATIONS)
    translator.target_tokenizer = s2s.WordTokenizer.fit(CORPUS.target)
    result = s2s.evaluate(translator, CORPUS)
    assert result["level"] == "sentence"
    # As the tokenizer sees them, all answers are right.
    assert (result["exact_match"], result["token_error_rate"]) == (100, 0)
    translator.phrases = TRANSLATIONS | {"Run!": "cours donc ."}
    result = s2s.evaluate(translator, CORPUS)
    assert result["exact_match"] == pytest.approx(200 / 3)
    # Two edits; the references have 5, 2 and 3 words.
    assert result["token_error_rate"] == result["word_error_rate"] == pytest.approx(100 * 2 / 10)
    assert "case:lc|unit:word|tok:WordTokenizer" in result["word_error_rate_signature"]


def test_chosen_metrics():
    translator = PhraseTable(TRANSLATIONS)
    result = s2s.evaluate(translator, CORPUS, metrics=["wer", "bleu"])
    assert "word_error_rate" in result
    assert result["bleu"] == s2s.evaluate(translator, CORPUS)["bleu"]
    assert {"chrf", "exact_match", "token_error_rate"}.isdisjoint(result)
    with pytest.raises(s2s.InputError, match=r"'blue'.* did you mean bleu"):
        s2s.evaluate(translator, CORPUS, metrics=["blue"])
    with pytest.raises(s2s.InputError, match="no metric; give"):
        s2s.evaluate(translator, CORPUS, metrics=[])


def test_token_error_rate_needs_a_tokenizer():
    translator = PhraseTable(TRANSLATIONS)
    assert s2s.evaluate(translator, CORPUS)["token_error_rate"] is None
    with pytest.raises(s2s.InputError, match="ter needs the target tokenizer"):
        s2s.evaluate(translator, CORPUS, metrics=["ter"])
    assert "token_error_rate" not in s2s.compare([translator] * 2, CORPUS)["differences"][0]


@pytest.mark.parametrize(("folds", "expected"), [(True, 100), (False, 0)])
def test_case_of_a_model_without_a_tokenizer(folds, expected):
    """Case counts if log-probabilities depend on it."""
    corpus = s2s.ParallelCorpus(["a b", "c d"], ["Un deux", "Trois quatre"], "two pairs")
    translator = PhraseTable({"a b": "un deux", "c d": "trois quatre"})
    if not folds:
        translator.pairs = {("a b", "Un deux"): ScoredPair(-3.0, 2)}
    result = s2s.evaluate(translator, corpus, metrics=["exact"])
    assert result["exact_match"] == expected
    assert f"case:{'lc' if folds else 'mixed'}|" in result["exact_match_signature"]


def test_differences_of_error_rates(task):
    """Lower error rates are negative differences."""
    corpus, good, poor = task
    translators = [PhraseTable(poor), PhraseTable(good)]
    result = s2s.compare(translators, corpus, metrics=["wer", "exact"])
    [difference] = result["differences"]
    assert list(difference) == ["word_error_rate", "exact_match"]
    first, second = result["models"]
    wer = difference["word_error_rate"]
    assert wer["difference"] == second["word_error_rate"] - first["word_error_rate"]
    assert wer["interval"][1] < 0
    assert wer["p_value"] < 0.05
