"""Greedy search, and the token-by-token decoding that random sampling shares with it."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from keras_s2s.decoding.constraints import Constraints, TokenCandidates, top_k_tokens
from keras_s2s.decoding.decode_loop import (
    ActiveBatch,
    DecoderOutput,
    Histories,
    decode_loop,
    encode_source,
    new_history,
    stack_history,
    to_batch_major,
    write_history,
)
from keras_s2s.layers.stacked_rnn import State
from keras_s2s.losses import token_cross_entropy
from keras_s2s.models.seq2seq import Seq2Seq
from keras_s2s.tokenizers.tokenizer import BOS, EOS, PAD

# Given the candidates of each row, the step, and the batch indices of the active sentences: the
# selected tokens and their logits.
SelectFn = Callable[[TokenCandidates, tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


class SearchResult(NamedTuple):
    """Hypotheses of a search, one per row.

    Attributes:
        ids: int32, (batch, max_steps): the tokens with `<eos>`, if the hypothesis is finished, then
            `<pad>`; without `<bos>`.
        lengths: int32, (batch,): number of tokens, `<eos>` included.
        log_probabilities: float32, (batch,): of the whole hypothesis, in nats.
        attention: float32, (batch, max_steps, source steps): attention weights of each token over
            the source, zero past the length; None without attention.
    """

    ids: tf.Tensor
    lengths: tf.Tensor
    log_probabilities: tf.Tensor
    attention: tf.Tensor | None = None


class _SampleState(NamedTuple):
    """Independent hypotheses of each sentence, (sentences, samples); ids: (…, max_steps)."""

    tokens: tf.Tensor
    finished: tf.Tensor
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
    """Select the most probable token at each step until `<eos>`.

    One graph loop for the whole batch, which stops when every row is finished. `<pad>` and `<bos>`
    are never generated, and an empty source gives an empty hypothesis. A row does not depend on
    the other rows. A row without an allowed token, or with non-finite logits, ends.

    Args:
        model: the trained model.
        source_ids: int32 tensor, shape (batch, steps).
        source_valid_length: int32 tensor, shape (batch,).
        max_steps: maximum number of tokens, `<eos>` included; longer hypotheses are truncated.
        min_length: minimum number of tokens before `<eos>`.
        no_repeat_ngram_size: no n-gram of this size occurs twice; 0 disables the constraint.
        forbid_unknown: never generate `<unk>`.

    Returns:
        A `SearchResult`.

    Raises:
        InputError: an option is out of range.

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
    return first_sample(decode(model, source, max_steps, constraints, select_most_probable))


def select_most_probable(
    candidates: TokenCandidates, step: tf.Tensor, batch_indices: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Select the most probable token of each row; see `SelectFn`."""
    best = top_k_tokens(candidates.logits, 1, candidates.min_token_id)
    logits, tokens = (values[:, 0] for values in best)
    # False where no token is allowed and for NaN, so that such a row ends.
    continues = logits > candidates.eos_logits
    return tf.where(continues, tokens, EOS), tf.where(continues, logits, candidates.eos_logits)


def decode(
    model: Seq2Seq,
    source: tuple[tf.Tensor, tf.Tensor],
    max_steps: int,
    constraints: Constraints,
    select_fn: SelectFn,
    num_samples: int = 1,
) -> SearchResult:
    """Append the token that `select_fn` selects to each hypothesis until `<eos>`.

    Args:
        model: the trained model.
        source: ids, (batch, steps), and valid lengths, (batch,).
        max_steps: maximum number of tokens, `<eos>` included.
        constraints: on the hypotheses.
        select_fn: see `SelectFn`.
        num_samples: hypotheses per sentence.

    Returns:
        A `SearchResult` with a sample dimension after the batch dimension.
    """
    constraints.validate(model.decoder.vocab_size, max_steps)
    source_ids, source_valid_length = map(tf.convert_to_tensor, source)
    batch = encode_source(model, source_ids, source_valid_length)
    batch_size = tf.shape(source_ids)[0]
    histories = {}
    if batch.memory:
        zeros = tf.zeros([batch_size, num_samples, tf.shape(source_ids)[1]])
        histories = {"attention": new_history(max_steps, zeros)}

    def is_active(hypotheses: _SampleState) -> tf.Tensor:
        return ~tf.reduce_all(hypotheses.finished, axis=1)

    def step_fn(
        step: tf.Tensor,
        batch: ActiveBatch,
        output: DecoderOutput,
        hypotheses: _SampleState,
        histories: Histories,
    ) -> tuple[State, _SampleState, Histories]:
        finished = hypotheses.finished
        shape = tf.shape(finished)
        rows = tf.reshape(hypotheses.ids, (-1, max_steps))
        candidates = constraints.candidates(output.logits, step, rows)
        selected, logits = select_fn(candidates, step, batch.batch_indices)
        tokens = tf.where(finished, PAD, tf.reshape(selected, shape))
        log_probabilities = tf.reshape(candidates.log_probabilities(logits), shape)
        if output.attention is not None:
            attention = tf.where(finished[:, :, None], 0.0, output.attention)
            history = write_history(histories["attention"], step, batch, attention)
            histories = {"attention": history}
        hypotheses = _SampleState(
            tokens=tokens,
            finished=finished | (tokens == EOS),
            ids=tf.where(tf.range(max_steps) == step, tokens[:, :, None], hypotheses.ids),
            lengths=hypotheses.lengths + tf.cast(~finished, tf.int32),
            log_probabilities=hypotheses.log_probabilities
            + tf.where(finished, 0.0, log_probabilities),
        )
        return output.state, hypotheses, histories

    initial = _SampleState(
        tokens=tf.fill([batch_size, num_samples], BOS),
        finished=tf.repeat(source_valid_length[:, None] == 0, num_samples, axis=1),
        ids=tf.fill([batch_size, num_samples, max_steps], PAD),
        lengths=tf.zeros([batch_size, num_samples], tf.int32),
        log_probabilities=tf.zeros([batch_size, num_samples]),
    )
    num_steps, final, histories = decode_loop(
        model.decoder, batch, initial, max_steps, step_fn, is_active, histories
    )
    attention = None
    if histories:
        attention = to_batch_major(stack_history(histories["attention"], num_steps), max_steps)
    return SearchResult(final.ids, final.lengths, final.log_probabilities, attention)


def first_sample(result: SearchResult) -> SearchResult:
    """Return the first sample of each sentence, without the sample dimension."""
    return SearchResult(*(None if tensor is None else tensor[:, 0] for tensor in result))


def score_tokens(
    model: Seq2Seq,
    source: tuple[tf.Tensor, tf.Tensor],
    target: tuple[tf.Tensor, tf.Tensor],
) -> tuple[tf.Tensor, tf.Tensor]:
    """Compute the log-probability of each token of given targets.

    Args:
        model: the trained model.
        source: ids, (batch, steps), and valid lengths, (batch,).
        target: the same for the targets, with `<bos>` and `<eos>`.

    Returns:
        The log-probability of each token in nats, (batch, target steps - 1), zero past the end,
        and the number of tokens, `<eos>` included, int32 of shape (batch,).
    """
    ids, valid_length = target
    logits = model((source, target), training=False)
    num_tokens = tf.maximum(valid_length - 1, 0)
    return -token_cross_entropy(ids[:, 1:], logits, num_tokens), num_tokens


def score_targets(
    model: Seq2Seq,
    source: tuple[tf.Tensor, tf.Tensor],
    target: tuple[tf.Tensor, tf.Tensor],
) -> tuple[tf.Tensor, tf.Tensor]:
    """Compute the log-probability of given targets, as in `SearchResult`.

    Takes the arguments of `score_tokens`. Returns the log-probability of each target in nats,
    float32 of shape (batch,), and the number of its tokens as `score_tokens` does.
    """
    log_probabilities, num_tokens = score_tokens(model, source, target)
    return tf.cast(tf.reduce_sum(log_probabilities, axis=1), tf.float32), num_tokens
