"""Batches: what is in them, how long an epoch is, and in which order it comes."""

import numpy as np
import pytest
import tensorflow as tf

import keras_s2s as s2s
from keras_s2s import pipeline


def rows(data):
    """All pairs of an epoch, each as nested lists."""
    return [
        (source.tolist(), int(source_length), target.tolist(), int(target_length))
        for (sources, source_lengths), (targets, target_lengths) in data.as_numpy_iterator()
        for source, source_length, target, target_length in zip(
            sources, source_lengths, targets, target_lengths, strict=True
        )
    ]


@pytest.fixture
def shuffled(pairs, tokenizers):
    return lambda seed: s2s.make_dataset(
        pairs, *tokenizers, batch_size=4, num_steps=8, shuffle=True, seed=seed
    )


def test_elements_are_int32_of_known_length(batches):
    ids, length = tf.TensorSpec([None, 8], tf.int32), tf.TensorSpec([None], tf.int32)
    assert batches.element_spec == ((ids, length), (ids, length))
    # Keras shows the length of an epoch from the start when it knows it.
    assert int(batches.cardinality()) == 4


def test_rows_are_what_the_tokenizers_give(pairs, tokenizers, batches):
    source, target = tokenizers
    source_rows = source.encode_source(tf.constant(pairs.source), 8)
    target_rows = target.encode_target(tf.constant(pairs.target), 8)
    found = [np.concatenate(part) for part in zip(*map(tf.nest.flatten, batches), strict=True)]
    for part, expected in zip(found, [*source_rows, *target_rows], strict=True):
        np.testing.assert_array_equal(part, expected)


def test_the_last_batch_holds_what_is_left(batches):
    assert [len(length) for (_, length), _ in batches] == [4, 4, 4, 1]


def test_an_epoch_of_the_chapter_has_4437_target_tokens(chapter_pairs):
    source, target = (
        s2s.WordTokenizer.fit(texts, min_freq=3)
        for texts in (chapter_pairs.source, chapter_pairs.target)
    )
    data = s2s.make_dataset(chapter_pairs, source, target, batch_size=64, num_steps=10)
    # Labels are all tokens but <bos>.
    assert sum(int(tf.reduce_sum(length - 1)) for _, (_, length) in data) == 4437
    assert int(data.cardinality()) == 16


def test_shuffling_mixes_all_pairs_anew_in_each_epoch(shuffled, batches):
    data = shuffled(seed=1)
    first, second, in_order = rows(data), rows(data), rows(batches)
    assert sorted(first) == sorted(second) == sorted(in_order)
    assert first != in_order
    assert first != second
    assert [len(length) for (_, length), _ in data] == [4, 4, 4, 1]


def test_a_seed_gives_the_same_orders_again(shuffled):
    one, again, other = shuffled(seed=1), shuffled(seed=1), shuffled(seed=2)
    orders = [[rows(data) for _ in range(3)] for data in (one, again, other)]
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]


def test_drop_long_leaves_out_just_what_would_be_cut(pairs, tokenizers):
    source, target = tokenizers
    data = s2s.make_dataset(pairs, source, target, num_steps=6, drop_long=True)
    fitting = [
        len(source_ids) <= 6 and len(target_ids) + 2 <= 6
        for source_ids, target_ids in zip(
            source.tokenize(tf.constant(pairs.source)).to_list(),
            target.tokenize(tf.constant(pairs.target)).to_list(),
            strict=True,
        )
    ]
    everything = rows(s2s.make_dataset(pairs, source, target, num_steps=6))
    expected = [row for row, fits in zip(everything, fitting, strict=True) if fits]
    assert rows(data) == expected
    assert any(row[1] == 6 or row[3] == 6 for row in expected), "some fit just so"
    assert 0 < len(expected) < len(everything)


def test_a_corpus_tokenized_in_parts_gives_the_same(pairs, tokenizers, batches, monkeypatch):
    monkeypatch.setattr(pipeline, "TEXTS_AT_A_TIME", 5)
    data = s2s.make_dataset(pairs, *tokenizers, batch_size=4, num_steps=8)
    assert rows(data) == rows(batches)


def test_sizes_that_make_no_sense_are_refused(pairs, tokenizers):
    with pytest.raises(s2s.InputError, match="batch_size is 0; give 1 or more"):
        s2s.make_dataset(pairs, *tokenizers, batch_size=0)
    with pytest.raises(s2s.InputError, match="num_steps is 2; give 3 or more"):
        s2s.make_dataset(pairs, *tokenizers, num_steps=2)
    assert int(s2s.make_dataset(pairs, *tokenizers, num_steps=3).cardinality()) == 1


def test_no_pair_left_is_an_error_that_names_the_corpus(tokenizers):
    long = s2s.ParallelCorpus(["go go go go go"], ["va"], name="long pairs")
    with pytest.raises(
        s2s.InputError, match="long pairs: no pair has at most 4 source tokens and 2 target tokens"
    ):
        s2s.make_dataset(long, *tokenizers, num_steps=4, drop_long=True)
    with pytest.raises(s2s.InputError, match="nothing: no pair"):
        s2s.make_dataset(s2s.ParallelCorpus([], [], name="nothing"), *tokenizers)
