"""Replacement of `<unk>` by the most attended source words."""

import numpy as np
import pytest
import tensorflow as tf

from keras_s2s.decoding.unknown_replacement import replace_unknown

SOURCE = [["Tom", "met", "Ann", "."], ["Hi", "Bob", "never", "seen"]]
TARGET = [["<unk>", "a", "vu", "<unk>"], ["salut", "<unk>", "<unk>", "<pad>"]]
LENGTHS = [4, 2]


def attention_to(*positions, steps=4):
    """Make attention that is highest at one source position for each target position."""
    return 0.1 + 0.6 * np.eye(steps, dtype="float32")[list(positions)]


@pytest.fixture
def attention():
    return np.stack([attention_to(0, 1, 1, 2), attention_to(0, 1, 3, 1)])


def replaced(*arguments):
    tokens = replace_unknown(*arguments)
    return [[word.decode() for word in row] for row in tokens.numpy()]


def test_only_unknown_words_are_replaced(attention):
    assert replaced(TARGET[:1], SOURCE[:1], attention[:1], LENGTHS[:1]) == [
        ["Tom", "a", "vu", "Ann"]
    ]


def test_source_padding_is_ignored(attention):
    result = replaced(TARGET, SOURCE, attention, LENGTHS)
    # The second <unk> attends most to position 3, which is padding; the others have equal weights.
    assert result[1] == ["salut", "Bob", "Hi", "<pad>"]


def test_several_hypotheses_of_a_sentence(attention):
    targets = [[TARGET[0], TARGET[1]], [TARGET[1], TARGET[0]]]
    both = np.stack([attention, attention])
    result = replace_unknown(targets, SOURCE, both, LENGTHS)
    for sentence in range(2):
        for hypothesis in range(2):
            alone = replace_unknown(
                [targets[sentence][hypothesis]],
                SOURCE[sentence : sentence + 1],
                both[sentence, hypothesis][None],
                LENGTHS[sentence : sentence + 1],
            )
            assert result[sentence, hypothesis].numpy().tolist() == alone[0].numpy().tolist()


@pytest.mark.parametrize("weight", [0.0, float("nan")])
def test_unknown_words_without_attention_stay(attention, weight):
    no_attention = np.full_like(attention, weight)
    assert replaced(TARGET, SOURCE, no_attention, LENGTHS) == TARGET
    assert replaced(TARGET, SOURCE, attention, [0, 0]) == TARGET


@pytest.mark.parametrize(("batch", "steps"), [(0, 4), (2, 0), (0, 0)])
def test_empty_batches_and_sources(attention, batch, steps):
    sources = tf.reshape(tf.constant([], tf.string), [batch, 0])
    sources = tf.pad(sources, [[0, 0], [0, steps]], constant_values="word")
    result = replace_unknown(
        tf.constant(TARGET)[:batch],
        sources,
        attention[:batch, :, :steps],
        tf.zeros(batch, tf.int32),
    )
    assert result.numpy().tolist() == tf.constant(TARGET)[:batch].numpy().tolist()
