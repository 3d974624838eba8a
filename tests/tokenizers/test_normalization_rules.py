"""Normalization inside SentencePiece models: Unicode's form C, and nothing else."""

import unicodedata

import pytest
import sentencepiece
import tensorflow as tf

import keras_s2s as s2s
from keras_s2s.tokenizers.unicode.normalization_rules import normalization_rules

# A Persian non-joiner, full-width and CJK punctuation, an ellipsis, typographic spaces and quotes.
WRITTEN = ["می\u200cخواهم بروم", "你好，世界？是的！", "On y va… «\u202fDéjà\u202f»", "ﬁn ½ ² ㎏"]


@pytest.fixture(scope="module")
def nfc():
    return s2s.SentencePieceTokenizer.fit(WRITTEN, 120, lowercase=False, normalization="nfc")


@pytest.mark.parametrize("lowercase", [False, True])
@pytest.mark.parametrize("normalization", ["nfc", "none"])
def test_what_is_written_stays(normalization, lowercase):
    tokenizer = s2s.SentencePieceTokenizer.fit(
        WRITTEN, 120, lowercase=lowercase, normalization=normalization
    )
    ids = tokenizer.tokenize(tf.constant(WRITTEN))
    result = tokenizer.detokenize(ids.to_tensor(), ids.row_lengths()).numpy()
    expected = [text.lower() for text in WRITTEN] if lowercase else WRITTEN
    assert [text.decode() for text in result] == expected


def test_letters_and_accents_are_composed_as_in_form_c(nfc, tmp_path):
    nfc.save(tmp_path / "nfc.model")
    processor = sentencepiece.SentencePieceProcessor(str(tmp_path / "nfc.model"))
    characters = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    canonical = [c for c in characters if unicodedata.normalize("NFD", c) != c]
    assert len(canonical) > 13_000  # 11,172 of them are Hangul syllables
    for form in ("NFD", "NFC"):
        texts = [f"x{unicodedata.normalize(form, c)}x" for c in canonical]
        normalized = processor.normalize(texts)
        expected = ["▁" + unicodedata.normalize("NFC", text) for text in texts]
        assert normalized == expected


def test_marks_in_any_order_and_composed_in_part(nfc):
    for text in ("a\u0302\u0323", "a\u0323\u0302", "ậ", "â\u0323", "ạ\u0302"):
        assert nfc.tokenize(tf.constant([text])).to_list() == (
            nfc.tokenize(tf.constant(["ậ"])).to_list()
        )
    assert normalization_rules(True, False)["ạ\u0302"] == "ậ"


def test_lower_case_keeps_final_sigma_and_letters_that_would_become_two():
    rules = normalization_rules(False, True)
    assert rules["Σ"] == "σ"
    assert not {"ς", "ß", "İ", "e\u0301"} & set(rules)


def test_equal_bytes_without_a_path(nfc):
    again = s2s.SentencePieceTokenizer.fit(WRITTEN, 120, lowercase=False, normalization="nfc")
    assert again._model == nfc._model
    assert b"rules.tsv" not in nfc._model
