"""Search for a translation, in the graph."""

from typing import NamedTuple

import tensorflow as tf

from keras_s2s.losses import token_cross_entropy
from keras_s2s.recurrent import State
from keras_s2s.seq2seq import Seq2Seq
from keras_s2s.tokenizers import BOS, EOS, PAD


class SearchResult(NamedTuple):
    """What a search found.

    Attributes:
        ids: int32, (batch, max_steps): the tokens, with `<eos>` where the row ended and `<pad>`
            after it, without `<bos>`.
        lengths: int32, (batch,): how many of them count, `<eos>` among them.
        log_probabilities: float32, (batch,): of the whole answer, in nats; the sum over its tokens.
    """

    ids: tf.Tensor
    lengths: tf.Tensor
    log_probabilities: tf.Tensor


class _Rows(NamedTuple):
    """What the loop of a search carries from step to step."""

    tokens: tf.Tensor
    state: State
    ended: tf.Tensor
    ids: tf.Tensor
    lengths: tf.Tensor
    log_probabilities: tf.Tensor


def greedy_search(
    model: Seq2Seq, source_ids: tf.Tensor, source_valid_length: tf.Tensor, max_steps: int
) -> SearchResult:
    """Takes the most probable token at each step until `<eos>`.

    One graph loop for the whole batch, which stops when every row has ended. `<pad>` and `<bos>`
    are never taken. A source without any token gets an empty answer. What a row gets does not
    depend on the other rows.

    Args:
        model: the trained model.
        source_ids: int32 tensor, shape (batch, steps).
        source_valid_length: int32 tensor, shape (batch,).
        max_steps: tokens at most, `<eos>` included.

    Returns:
        A `SearchResult`.

    Reference: Dive into Deep Learning, "Sequence to Sequence" (`predict_s2s_ch8`).

    Example:

    >>> import keras_s2s as s2s
    >>> encoder = s2s.Seq2SeqEncoder(10, embed_size=8, num_hiddens=8, num_layers=1)
    >>> decoder = s2s.Seq2SeqDecoder(10, embed_size=8, num_hiddens=8, num_layers=1)
    >>> model = s2s.Seq2Seq(encoder, decoder)
    >>> result = greedy_search(model, tf.constant([[4, 5, 0]]), tf.constant([2]), max_steps=6)
    >>> result.ids.shape, result.log_probabilities.shape
    (TensorShape([1, 6]), TensorShape([1]))
    """
    encoder_outputs = model.encoder(source_ids, source_valid_length, training=False)
    state = model.decoder.init_state(encoder_outputs)
    batch = tf.shape(source_ids)[0]
    never_taken = tf.reduce_sum(
        tf.one_hot([PAD, BOS], model.decoder.vocab_size, on_value=float("-inf"), off_value=0.0), 0
    )

    def some_go_on(_: tf.Tensor, rows: _Rows) -> tf.Tensor:
        return ~tf.reduce_all(rows.ended)

    def take_a_step(step: tf.Tensor, rows: _Rows) -> tuple[tf.Tensor, _Rows]:
        logits, state = model.decoder.step(rows.tokens, rows.state)
        best = tf.argmax(logits + never_taken, axis=-1, output_type=tf.int32)
        tokens = tf.where(rows.ended, PAD, best)
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(best, logits)
        return step + 1, _Rows(
            tokens=tokens,
            state=state,
            ended=rows.ended | (tokens == EOS),
            ids=tf.where(tf.range(max_steps) == step, tokens[:, None], rows.ids),
            lengths=rows.lengths + tf.cast(~rows.ended, tf.int32),
            log_probabilities=rows.log_probabilities - tf.where(rows.ended, 0.0, loss),
        )

    rows = _Rows(
        tokens=tf.fill([batch], BOS),
        state=list(state),
        ended=source_valid_length == 0,
        ids=tf.fill([batch, max_steps], PAD),
        lengths=tf.zeros([batch], tf.int32),
        log_probabilities=tf.zeros([batch]),
    )
    _, rows = tf.while_loop(some_go_on, take_a_step, (0, rows), maximum_iterations=max_steps)
    return SearchResult(rows.ids, rows.lengths, rows.log_probabilities)


def score_targets(
    model: Seq2Seq,
    source: tuple[tf.Tensor, tf.Tensor],
    target: tuple[tf.Tensor, tf.Tensor],
) -> tuple[tf.Tensor, tf.Tensor]:
    """Log-probability of given targets, in the sense of `SearchResult`.

    Args:
        model: the trained model.
        source: ids, (batch, steps), and valid lengths, (batch,).
        target: the same of the targets, with `<bos>` and `<eos>`.

    Returns:
        The log-probability of each target in nats, float32 of shape (batch,), and the number of
        tokens it is the sum of, `<eos>` included, int32 of shape (batch,).
    """
    ids, valid_length = target
    logits = model((source, target), training=False)
    num_tokens = tf.maximum(valid_length - 1, 0)
    losses = token_cross_entropy(ids[:, 1:], logits, num_tokens)
    return -tf.reduce_sum(losses, axis=1), num_tokens
