"""Subword regularization: probabilities, and agreement with SentencePiece."""

import collections
import io
import itertools
import math

import pytest
import sentencepiece

from keras_s2s.tokenizers.subword_regularization import (
    MAX_WORD_LENGTH,
    BpeSampler,
    PieceTable,
    UnigramSampler,
    sample_subwords,
)


def learn(texts, vocab_size, **options):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        vocab_size=vocab_size,
        hard_vocab_limit=False,
        minloglevel=2,
        **options,
    )
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


@pytest.fixture(scope="module")
def texts(phrasebook):
    return [text.encode() for text in phrasebook.source + phrasebook.target]


@pytest.fixture(scope="module", params=["unigram", "bpe"])
def processor(request, texts):
    return learn(texts, 400, model_type=request.param)


@pytest.fixture(scope="module")
def unigram(texts):
    return learn(texts, 400, model_type="unigram")


@pytest.fixture(scope="module")
def bpe(texts):
    return learn(texts, 400, model_type="bpe")


def all_segmentations(word, pieces):
    """Yield all segmentations of a word."""
    for cuts in itertools.product([False, True], repeat=len(word) - 1):
        boundaries = [0, *(i for i, cut in enumerate(cuts, start=1) if cut), len(word)]
        segmentation = [word[start:end] for start, end in itertools.pairwise(boundaries)]
        if all(piece in pieces.ids for piece in segmentation):
            yield segmentation


@pytest.mark.parametrize("alpha", [0, 0.2, 0.5, 1])
def test_unigram_probabilities(unigram, alpha):
    pieces = PieceTable(unigram)
    weights = {
        tuple(pieces.ids[piece] for piece in segmentation): math.exp(
            alpha * sum(pieces.scores[piece] for piece in segmentation)
        )
        for segmentation in all_segmentations("▁vous", pieces)
    }
    assert len(weights) >= 5
    sampler = UnigramSampler(pieces, seed=0, alpha=alpha)
    draws = 20_000
    drawn = collections.Counter(tuple(sampler.sample("▁vous")) for _ in range(draws))
    assert drawn.keys() <= weights.keys()
    for segmentation, weight in weights.items():
        probability = weight / sum(weights.values())
        # Five standard deviations.
        allowed = 5 * math.sqrt(probability * (1 - probability) / draws)
        assert drawn[segmentation] / draws == pytest.approx(probability, abs=max(allowed, 1e-9))


def test_bpe_dropout_probabilities():
    processor = learn(["aab"] * 20, 9, model_type="bpe", add_dummy_prefix=False)
    pieces = PieceTable(processor)
    assert {"aa", "ab", "aab"} <= pieces.ids.keys()
    ways = sorted([("aa", "b"), ("a", "ab")], key=lambda way: -pieces.scores[max(way, key=len)])
    sampler = BpeSampler(pieces, seed=0, alpha=0.3)
    draws = 20_000
    drawn = collections.Counter(tuple(sampler.sample("aab")) for _ in range(draws))
    for segmentation, probability in {
        ways[0]: 0.7 * 0.3,
        ways[1]: 0.3 * 0.7 * 0.3,
        ("a", "a", "b"): 0.3 * 0.3,
        ("aab",): 0.7 * 0.7 + 0.3 * 0.7 * 0.7,
    }.items():
        ids = tuple(pieces.ids[piece] for piece in segmentation)
        assert drawn[ids] / draws == pytest.approx(probability, abs=0.015)


@pytest.mark.parametrize("alpha", [0.1, 0.3, 0.7])
def test_agrees_with_sentencepiece(processor, texts, alpha):
    """On average, since its samples cannot be reproduced."""
    ours = sample_subwords(processor, texts, seed=0, alpha=alpha)
    theirs = processor.encode(texts, enable_sampling=True, alpha=alpha, nbest_size=-1)
    assert sum(map(len, ours)) == pytest.approx(sum(map(len, theirs)), rel=0.05)
    best = processor.encode(texts)
    same = [sum(map(list.__eq__, rows, best)) / len(texts) for rows in (ours, theirs)]
    assert same[0] == pytest.approx(same[1], abs=0.1)
    assert processor.decode(ours) == processor.decode(best)


def test_without_dropout(bpe, texts):
    assert sample_subwords(bpe, texts, seed=0, alpha=0) == bpe.encode(texts)


@pytest.mark.parametrize("byte_fallback", [False, True])
@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_unknown_characters(texts, model_type, byte_fallback):
    processor = learn(texts, 700, model_type=model_type, byte_fallback=byte_fallback)
    odd = ["漢字 a漢b 🙂🙃", "", "漢" * 50, "▁ ▁a"]
    odd = [text.encode() for text in odd]
    # A text of unknown characters has one segmentation.
    assert sample_subwords(processor, odd[1:3], 0, 0.5) == processor.encode(odd[1:3])
    for seed in range(20):
        drawn = sample_subwords(processor, odd, seed, 0.5)
        assert processor.decode(drawn) == processor.decode(processor.encode(odd))


def test_sentences_with_long_words_are_not_sampled(processor, texts):
    endless = [b"go " + b"on" * MAX_WORD_LENGTH, b"x" * 100_000]
    assert sample_subwords(processor, endless, 0, 0.5) == processor.encode(endless)
    long_enough = [b"on" * (MAX_WORD_LENGTH // 2 - 1)]
    assert sample_subwords(processor, long_enough, 0, 0.2) != processor.encode(long_enough)


def test_pieces_that_cross_words(texts):
    processor = learn(texts, 400, split_by_whitespace=False, max_sentencepiece_length=30)
    pieces = PieceTable(processor)
    assert [piece for piece in pieces.ids if "▁" in piece[1:]], "or this proves nothing"
    assert list(pieces.words("▁go▁on")) == ["▁go▁on"]
    drawn = sample_subwords(processor, texts, 0, 0.5)
    assert processor.decode(drawn) == processor.decode(processor.encode(texts))
    assert any("▁" in processor.id_to_piece(number)[1:] for row in drawn for number in row)


def test_words(unigram):
    pieces = PieceTable(unigram)
    for normalized, words in {
        "": [],
        "▁go▁on.": ["▁go", "▁on."],
        "go▁on": ["go", "▁on"],
        "▁▁go": ["▁", "▁go"],
    }.items():
        assert list(pieces.words(normalized)) == words
