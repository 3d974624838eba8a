"""Datasets: content, length and order of epochs."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_s2s as s2s
from keras_s2s.data import batching
from keras_s2s.data import dataset as dataset_module
from keras_s2s.data.batching import DataPosition
from keras_s2s.tokenizers.sentence_piece_tokenizer import SentencePieceTokenizer


def rows(data):
    """Return all pairs of an epoch as nested lists."""
    return [
        (source.tolist(), int(source_length), target.tolist(), int(target_length))
        for (sources, source_lengths), (targets, target_lengths) in data.as_numpy_iterator()
        for source, source_length, target, target_length in zip(
            sources, source_lengths, targets, target_lengths, strict=True
        )
    ]


def sentences(data):
    """Return the pairs of each batch of an epoch without padding."""
    return [
        [
            (tuple(source[:source_length]), tuple(target[:target_length]))
            for source, source_length, target, target_length in zip(
                sources, source_lengths, targets, target_lengths, strict=True
            )
        ]
        for (sources, source_lengths), (targets, target_lengths) in data.as_numpy_iterator()
    ]


def in_any_order(batches):
    return sorted(pair for batch in batches for pair in batch)


def padding_shares(data):
    """Return the fraction of padding in the sources and the targets."""
    sizes = np.sum(
        [[(ids.size, length.sum()) for ids, length in batch] for batch in data.as_numpy_iterator()],
        axis=0,
    )
    return 1 - sizes[:, 1] / sizes[:, 0]


@pytest.fixture(scope="module")
def book(phrasebook):
    """Pairs for two or three windows, and their tokenizers."""
    return phrasebook, *(
        s2s.WordTokenizer.fit(texts) for texts in (phrasebook.source, phrasebook.target)
    )


@pytest.fixture
def bucketed(book, monkeypatch):
    """Bucketed batches, with windows small enough for the corpus to have several."""
    monkeypatch.setattr(batching, "WINDOW_BATCHES", 20)

    def make(**options):
        options = {"batch_size": 16, "num_steps": 20, **options}
        return s2s.make_dataset(*book, bucket_by_length=True, **options)

    return make


@pytest.fixture
def shuffled(pairs, tokenizers):
    return lambda seed: s2s.make_dataset(
        pairs, *tokenizers, batch_size=4, num_steps=8, shuffle=True, seed=seed
    )


def test_element_spec_and_cardinality(batches):
    ids, length = tf.TensorSpec([None, 8], tf.int32), tf.TensorSpec([None], tf.int32)
    assert batches.element_spec == ((ids, length), (ids, length))
    # Keras shows the number of batches if it is known.
    assert int(batches.cardinality()) == 4


def test_rows_equal_the_tokenizers_output(pairs, tokenizers, batches):
    source, target = tokenizers
    source_rows = source.encode_source(tf.constant(pairs.source), 8)
    target_rows = target.encode_target(tf.constant(pairs.target), 8)
    result = [np.concatenate(part) for part in zip(*map(tf.nest.flatten, batches), strict=True)]
    for actual, expected in zip(result, [*source_rows, *target_rows], strict=True):
        np.testing.assert_array_equal(actual, expected)


def test_last_batch_is_smaller(batches):
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


def test_reshuffled_each_epoch(shuffled, batches):
    data = shuffled(seed=1)
    first, second, in_order = rows(data), rows(data), rows(batches)
    assert sorted(first) == sorted(second) == sorted(in_order)
    assert first != in_order
    assert first != second
    assert [len(length) for (_, length), _ in data] == [4, 4, 4, 1]


def test_seed_reproduces_the_orders(shuffled):
    one, again, other = shuffled(seed=1), shuffled(seed=1), shuffled(seed=2)
    orders = [[rows(data) for _ in range(3)] for data in (one, again, other)]
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]


def test_drop_long_drops_what_would_be_truncated(pairs, tokenizers):
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


def test_tokenized_in_batches(pairs, tokenizers, batches, monkeypatch):
    monkeypatch.setattr(dataset_module, "TOKENIZE_BATCH_SIZE", 5)
    data = s2s.make_dataset(pairs, *tokenizers, batch_size=4, num_steps=8)
    assert rows(data) == rows(batches)


def test_invalid_sizes(pairs, tokenizers):
    with pytest.raises(s2s.InputError, match="batch_size is 0; give 1 or more"):
        s2s.make_dataset(pairs, *tokenizers, batch_size=0)
    with pytest.raises(s2s.InputError, match="num_steps is 2; give 3 or more"):
        s2s.make_dataset(pairs, *tokenizers, num_steps=2)
    assert int(s2s.make_dataset(pairs, *tokenizers, num_steps=3).cardinality()) == 1


def test_error_without_pairs_names_the_corpus(tokenizers):
    long = s2s.ParallelCorpus(["go go go go go"], ["va"], name="long pairs")
    with pytest.raises(
        s2s.InputError, match="long pairs: no pair has at most 4 source tokens and 2 target tokens"
    ):
        s2s.make_dataset(long, *tokenizers, num_steps=4, drop_long=True)
    with pytest.raises(s2s.InputError, match="nothing: no pair"):
        s2s.make_dataset(s2s.ParallelCorpus([], [], name="nothing"), *tokenizers)


# Bucketing by length


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("batch_tokens", [None, 200])
def test_bucketed_epoch_has_each_pair_once(book, bucketed, shuffle, batch_tokens):
    expected = in_any_order(sentences(s2s.make_dataset(*book, num_steps=20)))
    data = bucketed(shuffle=shuffle, batch_tokens=batch_tokens, seed=0 if shuffle else None)
    for _ in range(2):
        assert in_any_order(sentences(data)) == expected
    assert len(expected) == len(book[0])


@pytest.mark.parametrize("batch_tokens", [None, 200])
def test_bucketed_batches_and_their_order_change_each_epoch(bucketed, batch_tokens):
    data = bucketed(shuffle=True, seed=1, batch_tokens=batch_tokens)
    first, second = sentences(data), sentences(data)
    assert first != second
    together = [{tuple(sorted(batch)) for batch in epoch} for epoch in (first, second)]
    assert len(together[0] & together[1]) < 0.2 * len(together[0])
    # The batches of an epoch are not sorted by length.
    lengths = [len(batch[0][1]) for batch in first]
    changes = np.sign(np.diff(lengths))
    assert 0.3 < (changes > 0).sum() / (changes != 0).sum() < 0.7


@pytest.mark.parametrize("batch_tokens", [None, 200])
def test_bucketed_seed_reproduces_the_epochs(bucketed, batch_tokens):
    def epochs(seed):
        data = bucketed(shuffle=True, seed=seed, batch_tokens=batch_tokens)
        return [sentences(data) for _ in range(3)]

    one = epochs(1)
    assert epochs(1) == one
    assert epochs(2) != one
    # One iterator over several epochs, as in training, and new ones.
    for skipped in (0, len(one[0]) + 2):
        data = bucketed(shuffle=True, seed=1, batch_tokens=batch_tokens).repeat(3).skip(skipped)
        assert sentences(data) == [batch for epoch in one for batch in epoch][skipped:]


@pytest.mark.parametrize("bucket_by_length", [False, True])
def test_autotuner_is_disabled(book, bucket_by_length):
    options = s2s.make_dataset(*book, bucket_by_length=bucket_by_length).options()
    assert options.autotune.enabled is False


def test_bucketed_batches_have_little_padding(book, bucketed):
    assert min(padding_shares(s2s.make_dataset(*book, batch_size=16, num_steps=20))) > 0.4
    # A batch can span two target lengths: with the sources of both sorted in the same direction,
    # the sources would have a quarter more padding.
    for data, most in (bucketed(), (0.035, 0.03)), (bucketed(shuffle=True, seed=0), (0.13, 0.05)):
        assert (padding_shares(data) < most).all()


def test_bucketed_batch_is_padded_to_its_longest_pair(bucketed):
    data = bucketed(shuffle=True, seed=0)
    ids, length = tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None], tf.int32)
    assert data.element_spec == ((ids, length), (ids, length))
    widths = set()
    for element in data:
        for ids, lengths in element:
            assert ids.shape[1] == max(1, int(tf.reduce_max(lengths)))
            assert not np.any(ids.numpy()[np.arange(ids.shape[1]) >= lengths.numpy()[:, None]])
            widths.add(ids.shape[1])
    assert len(widths) > 5


def test_bucketed_batches_are_full_but_the_last(book, bucketed):
    for data in (bucketed(), bucketed(shuffle=True, seed=0)):
        sizes = sorted((len(batch) for batch in sentences(data)), reverse=True)
        full, rest = divmod(len(book[0]), 16)
        assert sizes == [16] * full + [rest] * (rest > 0)
        assert int(data.cardinality()) == len(sizes)


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("batch_tokens", [20, 77, 500])
def test_batch_tokens_is_an_upper_bound(bucketed, shuffle, batch_tokens):
    data = bucketed(shuffle=shuffle, seed=0, batch_tokens=batch_tokens)
    sizes = [int(tf.size(ids)) for _, (ids, _) in data]
    assert max(sizes) <= batch_tokens
    assert np.mean(sizes) > 0.6 * batch_tokens, "and they are well filled"
    rows = {ids.shape[0] for _, (ids, _) in data}
    assert len(rows) > 1 or batch_tokens == 20


@pytest.mark.parametrize("shuffle", [False, True])
def test_epochs_have_equal_numbers_of_token_batches(bucketed, shuffle):
    # Keras assumes that all epochs are as long as the first.
    data = bucketed(shuffle=shuffle, seed=0, batch_tokens=60)
    for _ in range(3):
        assert len(sentences(data)) == int(data.cardinality())


def test_bucketed_empty_sentences(pairs, tokenizers):
    for options in ({"batch_size": 1}, {"batch_tokens": 8}):
        data = s2s.make_dataset(
            *[pairs, *tokenizers], num_steps=8, bucket_by_length=True, **options
        )
        shapes = [tuple(source.shape) for (source, _), _ in data]
        assert (1, 1) in shapes, "the pair without a source is alone, and has a step of padding"
        assert len(in_any_order(sentences(data))) == len(pairs)


def test_bucketed_long_pairs_are_dropped_or_truncated(pairs, tokenizers):
    for drop_long in (False, True):
        options = {"num_steps": 6, "drop_long": drop_long}
        plain = s2s.make_dataset(pairs, *tokenizers, **options)
        data = s2s.make_dataset(pairs, *tokenizers, **options, bucket_by_length=True)
        assert in_any_order(sentences(data)) == in_any_order(sentences(plain))


# Subword regularization


@pytest.fixture(scope="module")
def subwords(phrasebook):
    third = s2s.ParallelCorpus(phrasebook.source[::3], phrasebook.target[::3])
    return third, *(
        SentencePieceTokenizer.fit(texts, vocab_size=150)
        for texts in (phrasebook.source, phrasebook.target)
    )


def test_segmentations_change_each_epoch_and_texts_do_not(subwords):
    both = subwords[1:]

    def make(seed, **options):
        return s2s.make_dataset(
            *subwords, num_steps=60, shuffle=True, bucket_by_length=True, seed=seed, **options
        )

    def texts(epoch):
        sides = zip(*(pair for batch in epoch for pair in batch), strict=True)
        read = []
        for tokenizer, rows in zip(both, sides, strict=True):
            ids = tf.ragged.constant(list(map(list, rows)), dtype=tf.int32)
            lengths = tf.cast(ids.row_lengths(), tf.int32)
            read.append(tokenizer.detokenize(ids.to_tensor(), lengths).numpy().tolist())
        return sorted(zip(*read, strict=True))

    plain = sentences(make(1))
    data = make(1, subword_sampling=0.2)
    epochs = [sentences(data) for _ in range(3)]
    for epoch in epochs:
        assert texts(epoch) == texts(plain)
    pairs = [set(in_any_order(epoch)) for epoch in (*epochs, plain)]
    for one in range(4):
        for other in range(one):
            assert len(pairs[one] & pairs[other]) < 0.5 * len(pairs[one])
    again = make(1, subword_sampling=0.2)
    assert [sentences(again) for _ in range(3)] == epochs
    assert sentences(make(2, subword_sampling=0.2)) != epochs[0]


def test_sampled_subwords_are_truncated_and_fit_the_batch(subwords):
    data = s2s.make_dataset(
        *subwords,
        num_steps=12,
        shuffle=True,
        bucket_by_length=True,
        batch_tokens=100,
        subword_sampling=0.1,
        drop_long=True,
        seed=0,
    )
    kept = s2s.make_dataset(*subwords, num_steps=12, drop_long=True)
    for _ in range(2):
        epoch = list(data)
        assert sum(len(length) for (_, length), _ in epoch) == sum(
            len(length) for (_, length), _ in kept
        )
        assert max(int(tf.size(ids)) for _, (ids, _) in epoch) <= 100
        for _, (ids, length) in epoch:
            ends = tf.gather(ids, length - 1, batch_dims=1)
            assert set(ends.numpy().tolist()) == {2}, "truncated targets end with <eos>"
            assert set(ids[:, 0].numpy().tolist()) == {1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_tokens": 100}, "batch_tokens is 100; give bucket_by_length too"),
        (
            {"batch_tokens": 9, "bucket_by_length": True},
            r"batch_tokens is 9; .*num_steps \(10\)",
        ),
        ({"subword_sampling": 0.1}, "subword_sampling needs shuffle and bucket_by_length"),
        (
            {"subword_sampling": 0.1, "bucket_by_length": True},
            "subword_sampling needs shuffle and bucket_by_length",
        ),
        (
            {"subword_sampling": 1.5, "bucket_by_length": True, "shuffle": True},
            "subword_sampling is 1.5; give 0 to 1",
        ),
        (
            {"subword_sampling": 0.1, "bucket_by_length": True, "shuffle": True},
            "subword_sampling needs a SentencePieceTokenizer on both sides",
        ),
    ],
)
def test_invalid_options(pairs, tokenizers, options, message):
    with pytest.raises(s2s.InputError, match=message):
        s2s.make_dataset(pairs, *tokenizers, **options)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bucket_by_length": True},
        {"bucket_by_length": True, "batch_tokens": 60},
        {"bucket_by_length": True, "subword_sampling": 0.2},
    ],
    ids=["in pairs", "by length", "in tokens", "drawn anew"],
)
def test_endless_dataset_from_any_position(pairs, options):
    # The orders depend on the global seed too; for some seeds two epochs are equal.
    keras.utils.set_random_seed(0)
    source, target = (
        SentencePieceTokenizer.fit(texts, vocab_size=60) for texts in (pairs.source, pairs.target)
    )
    tokenized = dataset_module.TokenizedPairs(pairs, source, target, num_steps=20, drop_long=False)
    options = {"batch_size": 4, "shuffle": True, "seed": 3, **options}
    size = sum(1 for _ in tokenized.batches(**options))
    if "batch_tokens" not in options:
        assert size == -(-len(pairs) // 4)

    def elements(start, count):
        return sentences(tokenized.batches(**options, start=start).take(count))

    whole = elements(DataPosition(), 3 * size)
    assert in_any_order(whole[:size]) != []
    assert whole[:size] != whole[size : 2 * size]
    if "subword_sampling" not in options:
        assert in_any_order(whole[:size]) == in_any_order(whole[2 * size :])
    for epochs, batches in ((0, 1), (1, 0), (1, size - 1), (1, size), (2, 2)):
        before = epochs * size + batches
        assert elements(DataPosition(epochs, batches), 3 * size - before) == whole[before:]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"corpus": "pairs.tsv"},
            "corpus is 'pairs.tsv', not a ParallelCorpus; give what load_corpus",
        ),
        ({"source_tokenizer": None}, "source_tokenizer is a NoneType, not a Tokenizer; give"),
        ({"batch_size": "64"}, "batch_size is '64'; give an integer"),
        ({"num_steps": 4.5}, "num_steps is 4.5; give an integer"),
    ],
)
def test_invalid_types(change, message):
    corpus = s2s.ParallelCorpus(["Go."], ["Va !"])
    tokenizer = s2s.WordTokenizer.fit(["go va"])
    arguments = {"corpus": corpus, "source_tokenizer": tokenizer, "target_tokenizer": tokenizer}
    with pytest.raises(s2s.InputError, match=message):
        s2s.make_dataset(**{**arguments, **change})
