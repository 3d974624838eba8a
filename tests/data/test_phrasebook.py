"""The bundled corpus: size, duplicates, typography."""

import collections
import re
import string
import unicodedata

import pytest

ENGLISH = set(string.ascii_letters + " .,!?'-")
FRENCH = set(string.ascii_letters + " .,!?'-\u202f" + "àâæçèéêëîïôœùûüÿÀÂÇÈÉÊËÎÏÔŒÙÛÜ")


def test_size(phrasebook):
    assert len(phrasebook) >= 1200
    translations = collections.Counter(phrasebook.source)
    assert sum(count > 1 for count in translations.values()) >= 100


def test_no_duplicates(phrasebook):
    pairs = collections.Counter(
        (source.lower(), target.lower())
        for source, target in zip(phrasebook.source, phrasebook.target, strict=True)
    )
    assert [pair for pair, count in pairs.items() if count > 1] == []


@pytest.mark.parametrize(("side", "alphabet"), [("source", ENGLISH), ("target", FRENCH)])
def test_sentences_are_clean(phrasebook, side, alphabet):
    for sentence in getattr(phrasebook, side):
        assert unicodedata.is_normalized("NFC", sentence), sentence
        assert set(sentence) <= alphabet, sentence
        assert sentence == sentence.strip(), sentence
        assert "  " not in sentence, sentence
        assert sentence[0].isupper(), sentence
        assert sentence[-1] in ".!?", sentence
        assert 1 <= len(re.findall(r"[\w'-]+", sentence)) <= 8, sentence


def test_french_typography(phrasebook):
    for sentence in phrasebook.target:
        assert not re.search("(?<!\u202f)[!?]", sentence), sentence
        assert not re.search("\\s[.,]", sentence), sentence


def test_accents_occur(phrasebook):
    letters = collections.Counter("".join(phrasebook.target))
    for letter in "éèêàçùîôû":
        assert letters[letter] >= 5, letter


@pytest.mark.parametrize(
    ("english", "french"),
    [
        ("Go.", "Va !"),
        ("Wow!", "Ça alors !"),
        ("I'm OK.", "Je vais bien."),
        ("I won!", "J'ai gagné !"),
    ],
)
def test_the_sentences_of_the_chapter(phrasebook, english, french):
    pairs = zip(phrasebook.source, phrasebook.target, strict=True)
    assert (english, french) in [(s, t.replace("\u202f", " ")) for s, t in pairs]
