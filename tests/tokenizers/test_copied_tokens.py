"""Ids of the extended vocabularies, compared with lists in Python, and back to text."""

import pytest
import tensorflow as tf

import keras_s2s as s2s
from keras_s2s.tokenizers.copied_tokens import copying_ids, tokens_of_extended
from keras_s2s.tokenizers.tokenizer import SPECIAL_TOKENS, UNK, text_mask

SOURCES = ["tom sees zork , zork sees tom .", "", "<eos> été <unk> été", "ann ann ann likes bob"]
TARGETS = ["zork voit tom et tom .", "zork", "été <eos> ?", "bob aime ann et eve"]


def words():
    return (
        s2s.WordTokenizer([*SPECIAL_TOKENS, "sees", "ann", "tom", "."]),
        s2s.WordTokenizer([*SPECIAL_TOKENS, "voit", ".", "bob", "tom", "et"]),
    )


def subwords():
    return (
        s2s.SentencePieceTokenizer.fit(["tom sees ann."] * 3, vocab_size=20),
        s2s.SentencePieceTokenizer.fit(["tom voit bob et"] * 3, vocab_size=20),
    )


def characters():
    return (
        s2s.CharacterTokenizer.fit(["tom sees ann."]),
        s2s.CharacterTokenizer.fit(["tom voit", "et<2fr>"], symbols=["<2fr>"]),
    )


def in_python(source, target, source_tokens, target_tokens):
    """Return the extended ids of the tokens of a pair."""
    source_ids = []
    for token in source_tokens:
        known = [
            tokenizer.vocabulary.index(token) if token in tokenizer.vocabulary[4:] else None
            for tokenizer in (source, target)
        ]
        if known[0] is not None:
            source_ids.append(known[0])
        elif known[1] is not None:
            source_ids.append(len(source) + known[1])
        else:
            source_ids.append(len(source) + len(target) + source_tokens.index(token))
    target_ids = []
    for token in target_tokens:
        if token in target.vocabulary[4:]:
            target_ids.append(target.vocabulary.index(token))
        elif token in source_tokens:
            target_ids.append(len(target) + source_tokens.index(token))
        else:
            target_ids.append(UNK)
    return source_ids, target_ids


def strings(tokens):
    return [[token.decode() for token in row] for row in tokens.to_list()]


@pytest.mark.parametrize("make", [words, subwords, characters])
@pytest.mark.parametrize("num_steps", [40, 4])
def test_ids_equal_those_in_python(make, num_steps):
    source, target = make()
    texts = tf.constant(SOURCES), tf.constant(TARGETS)
    source_ids, target_ids = copying_ids(source, target, *texts, num_steps)
    tokens = strings(source.split_text(texts[0])), strings(target.split_text(texts[1]))
    for row, (left, right) in enumerate(zip(*tokens, strict=True)):
        expected = in_python(source, target, left[:num_steps], right)
        assert (source_ids[row].numpy().tolist(), target_ids[row].numpy().tolist()) == expected
    assert (source_ids.flat_values.numpy() >= len(source) + len(target)).any()
    assert (target_ids.flat_values.numpy() >= len(target)).any()
    # Otherwise they are those without copying.
    plain = source.tokenize(texts[0])[:, :num_steps]
    extended = tf.where(source_ids.values >= len(source), UNK, source_ids.values)
    assert extended.numpy().tolist() == plain.values.numpy().tolist()


@pytest.mark.parametrize("make", [words, subwords, characters])
def test_copied_tokens_are_text(make):
    source, target = make()
    texts = tf.constant(SOURCES), tf.constant(TARGETS)
    _, target_ids = copying_ids(source, target, *texts, 40)
    ids, length = target.pad(target_ids, 40)
    tokens = tokens_of_extended(target, ids, source.split_text(texts[0]).to_tensor(""))
    written = [text.decode() for text in target.join(tokens, text_mask(ids, length)).numpy()]
    assert written[0] == "zork voit tom et tom ."
    assert written[2].startswith("été <eos>") or make is not words
    assert written[3].startswith("bob") or make is subwords
    plain = target.detokenize(*target.pad(target.tokenize(texts[1]), 40)).numpy()
    assert b"zork" not in plain[0]


def test_the_map_of_two_vocabularies():
    source, target = words()
    assert s2s.copy_map(source, target) == [-1, -1, -1, -1, -1, -1, 7, 5]
    assert s2s.copy_map(target, target) == [-1, -1, -1, -1, 4, 5, 6, 7, 8]
