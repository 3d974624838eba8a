"""Greedy search against a plain loop in Python, and its independence of the batch."""

import numpy as np
import pytest
import tensorflow as tf

import keras_s2s as s2s
from keras_s2s.decoding import score_targets
from keras_s2s.tokenizers import BOS, EOS, PAD

VOCAB_SIZE = 12
MAX_STEPS = 7


@pytest.fixture(scope="module")
def model():
    tf.random.set_seed(1)
    np.random.seed(1)
    sizes = {"embed_size": 16, "num_hiddens": 16, "num_layers": 2}
    model = s2s.Seq2Seq(
        s2s.Seq2SeqEncoder(VOCAB_SIZE, **sizes), s2s.Seq2SeqDecoder(VOCAB_SIZE, **sizes)
    )
    # Small initial weights would give every source the same answer.
    rng = np.random.default_rng(3)
    weights = [rng.normal(0, 0.9, weight.shape) for weight in model.get_weights()]
    model.set_weights(weights)
    # Some answers shall end by themselves, others at the last step.
    bias = model.decoder.dense.bias
    bias.assign(tf.tensor_scatter_nd_add(bias.value, [[EOS]], [1.5]))
    return model


def sources(rows: int, steps: int = 9) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    lengths = rng.integers(0, steps + 1, rows).astype("int32")
    ids = rng.integers(4, VOCAB_SIZE, (rows, steps)).astype("int32")
    ids[np.arange(steps) >= lengths[:, None]] = PAD
    return ids, lengths


def search_in_python(model, ids: np.ndarray, length: int) -> tuple[list[int], float]:
    """What the chapter's `predict_s2s_ch8` does for one sentence, with the score besides."""
    if length == 0:
        return [], 0.0
    state = model.decoder.init_state(model.encoder(ids[None, :length]))
    token, tokens, score = BOS, [], 0.0
    for _ in range(MAX_STEPS):
        logits, state = model.decoder(np.array([[token]]), state)
        log_probabilities = tf.nn.log_softmax(logits[0, 0]).numpy()
        allowed = log_probabilities.copy()
        allowed[[PAD, BOS]] = -np.inf
        token = int(np.argmax(allowed))
        tokens.append(token)
        score += log_probabilities[token]
        if token == EOS:
            break
    return tokens, score


def test_equals_a_plain_loop(model):
    ids, lengths = sources(60)
    result = s2s.greedy_search(model, ids, lengths, MAX_STEPS)
    ends = 0
    for row in range(len(ids)):
        tokens, score = search_in_python(model, ids[row], lengths[row])
        found = result.ids[row].numpy().tolist()
        assert found == tokens + [PAD] * (MAX_STEPS - len(tokens))
        assert int(result.lengths[row]) == len(tokens)
        np.testing.assert_allclose(result.log_probabilities[row], score, atol=1e-4)
        ends += EOS in tokens
    # Both ways to stop must have been tried.
    assert 0 < ends < np.count_nonzero(lengths)


def test_an_answer_does_not_depend_on_the_batch_or_on_padding(model):
    ids, lengths = sources(40)
    together = s2s.greedy_search(model, ids, lengths, MAX_STEPS)
    wider = s2s.greedy_search(model, np.pad(ids, [(0, 0), (0, 20)]), lengths, MAX_STEPS)
    np.testing.assert_array_equal(wider.ids, together.ids)
    for row in range(len(ids)):
        alone = s2s.greedy_search(
            model, ids[row : row + 1, : max(1, lengths[row])], lengths[row : row + 1], MAX_STEPS
        )
        np.testing.assert_array_equal(alone.ids[0], together.ids[row])
        np.testing.assert_allclose(
            alone.log_probabilities[0], together.log_probabilities[row], atol=1e-4
        )


def test_stops_when_every_row_has_ended(model):
    """With a decoder that always ends at once, the loop must make one step, not all of them."""
    steps = []

    class Ending:
        vocab_size = VOCAB_SIZE

        def init_state(self, encoder_outputs):
            return encoder_outputs[1]

        def step(self, tokens, state):
            steps.append(1)
            return tf.one_hot(tf.fill(tf.shape(tokens), EOS), VOCAB_SIZE) * 9.0, state

    class Model:
        encoder, decoder = model.encoder, Ending()

    ids, lengths = sources(5)
    result = s2s.greedy_search(Model(), ids, lengths, 1000)
    assert len(steps) == 1
    np.testing.assert_array_equal(result.lengths, np.minimum(lengths, 1))


def test_empty_batch(model):
    ids = tf.zeros((0, 4), tf.int32)
    result = s2s.greedy_search(model, ids, tf.zeros((0,), tf.int32), MAX_STEPS)
    assert result.ids.shape == (0, MAX_STEPS)
    assert result.log_probabilities.shape == (0,)


def test_scoring_an_answer_gives_the_score_of_the_search(model):
    ids, lengths = sources(30)
    result = s2s.greedy_search(model, ids, lengths, MAX_STEPS)
    ended = [row for row in range(30) if EOS in result.ids[row].numpy()]
    assert ended
    target = np.pad(result.ids.numpy(), [(0, 0), (1, 0)], constant_values=BOS)
    scores, num_tokens = score_targets(model, (ids, lengths), (target, result.lengths + 1))
    for row in ended:
        np.testing.assert_allclose(scores[row], result.log_probabilities[row], atol=1e-4)
        assert int(num_tokens[row]) == int(result.lengths[row])
