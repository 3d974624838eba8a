"""Search for a translation, in the graph."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from keras_s2s.decoding.constraints import Constraints, TokenCandidates, top_k_tokens
from keras_s2s.decoding.decode_loop import (
    ActiveBatch,
    DecoderOutput,
    Records,
    encode_source,
    new_history,
    search,
    stack_history,
    to_batch_major,
    write_history,
)
from keras_s2s.layers.stacked_rnn import State
from keras_s2s.losses import token_cross_entropy
from keras_s2s.models.seq2seq import Seq2Seq
from keras_s2s.tokenizers.tokenizer import BOS, EOS, PAD

# Given what each row can take, the step, and where the sentences of the rows stand in the batch:
# the tokens taken, and their logits.
Choose = Callable[[TokenCandidates, tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


class SearchResult(NamedTuple):
    """What a search found.

    Attributes:
        ids: int32, (batch, max_steps): the tokens, with `<eos>` where the row ended and `<pad>`
            after it, without `<bos>`.
        lengths: int32, (batch,): how many of them count, `<eos>` among them.
        log_probabilities: float32, (batch,): of the whole answer, in nats; the sum over its tokens.
        attention: float32, (batch, max_steps, source steps): how much each of these tokens looks
            at each token of the source, zero past the length; None when the model does not attend.
    """

    ids: tf.Tensor
    lengths: tf.Tensor
    log_probabilities: tf.Tensor
    attention: tf.Tensor | None = None


class _Branches(NamedTuple):
    """Answers as they grow, each alone; (sentences, samples) and for the ids (…, max_steps)."""

    tokens: tf.Tensor
    ended: tf.Tensor
    ids: tf.Tensor
    lengths: tf.Tensor
    log_probabilities: tf.Tensor


def greedy_search(
    model: Seq2Seq,
    source_ids: tf.Tensor,
    source_valid_length: tf.Tensor,
    max_steps: int,
    *,
    min_length: int = 0,
    no_repeat_ngram_size: int = 0,
    forbid_unknown: bool = False,
) -> SearchResult:
    """Takes the most probable token at each step until `<eos>`.

    One graph loop for the whole batch, which stops when every row has ended. `<pad>` and `<bos>`
    are never taken. A source without any token gets an empty answer. What a row gets does not
    depend on the other rows. A row that may take nothing, or whose logits are no numbers, ends.

    Args:
        model: the trained model.
        source_ids: int32 tensor, shape (batch, steps).
        source_valid_length: int32 tensor, shape (batch,).
        max_steps: tokens at most, `<eos>` included. An answer that has not ended by then is cut.
        min_length: so many tokens come before `<eos>` at least.
        no_repeat_ngram_size: no sequence of so many tokens comes twice in an answer; 0 for no
            such rule.
        forbid_unknown: whether `<unk>` is never taken either.

    Returns:
        A `SearchResult`.

    Raises:
        InputError: an option is out of its range.

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
    constraints = Constraints(min_length, no_repeat_ngram_size, forbid_unknown)
    source = source_ids, source_valid_length
    result = decode(model, source, max_steps, constraints, most_probable_token)
    return without_samples(result)


def most_probable_token(
    choices: TokenCandidates, step: tf.Tensor, places: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """What greedy search takes; see `Choose`."""
    best = top_k_tokens(choices.logits, 1, choices.first_word)
    logits, word = (part[:, 0] for part in best)
    # So asked, a row ends when it may take nothing and when its logits are no numbers.
    goes_on = logits > choices.end
    return tf.where(goes_on, word, EOS), tf.where(goes_on, logits, choices.end)


def decode(
    model: Seq2Seq,
    source: tuple[tf.Tensor, tf.Tensor],
    max_steps: int,
    constraints: Constraints,
    choose: Choose,
    samples: int = 1,
) -> SearchResult:
    """Takes one token at each step, whichever `choose` says, until `<eos>`.

    Args:
        model: the trained model.
        source: ids, (batch, steps), and valid lengths, (batch,).
        max_steps: tokens at most, `<eos>` included.
        constraints: what the answers have to keep to.
        choose: see `Choose`.
        samples: answers for each sentence.

    Returns:
        A `SearchResult` with a dimension for the samples after that of the batch.
    """
    constraints.check(model.decoder.vocab_size, max_steps)
    source_ids, source_valid_length = map(tf.convert_to_tensor, source)
    sentences = encode_source(model, source_ids, source_valid_length)
    batch = tf.shape(source_ids)[0]
    records = {}
    if sentences.memory:
        nothing = tf.zeros([batch, samples, tf.shape(source_ids)[1]])
        records = {"attention": new_history(max_steps, nothing)}

    def goes_on(branches: _Branches) -> tf.Tensor:
        return ~tf.reduce_all(branches.ended, axis=1)

    def advance(
        step: tf.Tensor,
        sentences: ActiveBatch,
        decoded: DecoderOutput,
        branches: _Branches,
        records: Records,
    ) -> tuple[State, _Branches, Records]:
        ended = branches.ended
        shape = tf.shape(ended)
        rows = tf.reshape(branches.ids, (-1, max_steps))
        choices = constraints.choices(decoded.logits, step, rows)
        taken, logits = choose(choices, step, sentences.places)
        tokens = tf.where(ended, PAD, tf.reshape(taken, shape))
        gained = tf.reshape(choices.log_probabilities(logits), shape)
        if decoded.attention is not None:
            attention = tf.where(ended[:, :, None], 0.0, decoded.attention)
            records = {"attention": write_history(records["attention"], step, sentences, attention)}
        branches = _Branches(
            tokens=tokens,
            ended=ended | (tokens == EOS),
            ids=tf.where(tf.range(max_steps) == step, tokens[:, :, None], branches.ids),
            lengths=branches.lengths + tf.cast(~ended, tf.int32),
            log_probabilities=branches.log_probabilities + tf.where(ended, 0.0, gained),
        )
        return decoded.state, branches, records

    start = _Branches(
        tokens=tf.fill([batch, samples], BOS),
        ended=tf.repeat(source_valid_length[:, None] == 0, samples, axis=1),
        ids=tf.fill([batch, samples, max_steps], PAD),
        lengths=tf.zeros([batch, samples], tf.int32),
        log_probabilities=tf.zeros([batch, samples]),
    )
    steps, found, records = search(
        model.decoder, sentences, start, max_steps, advance, goes_on, records
    )
    attention = None
    if records:
        attention = to_batch_major(stack_history(records["attention"], steps), max_steps)
    return SearchResult(found.ids, found.lengths, found.log_probabilities, attention)


def without_samples(result: SearchResult) -> SearchResult:
    """The first sample of each sentence, without a dimension for it."""
    return SearchResult(*(None if part is None else part[:, 0] for part in result))


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
