"""Beam search as TensorFlow graph code."""

from typing import NamedTuple

import tensorflow as tf

from keras_s2s.decoding.constraints import NEG_INF, Constraints, TokenCandidates, top_k_tokens
from keras_s2s.decoding.decode_loop import (
    ActiveBatch,
    DecoderOutput,
    Histories,
    decode_loop,
    encode_source,
    gather_rows,
    new_history,
    write_history,
)
from keras_s2s.decoding.greedy_search import decode, select_most_probable
from keras_s2s.decoding.hypotheses import (
    BeamResult,
    FinishedHypotheses,
    Penalties,
    backtrace,
    select_hypotheses,
    update_finished,
)
from keras_s2s.layers.stacked_rnn import State
from keras_s2s.models.seq2seq import Seq2Seq
from keras_s2s.tokenizers.tokenizer import BOS, PAD
from keras_s2s.utils.checks import check_int, check_number
from keras_s2s.utils.errors import InputError


class _BeamState(NamedTuple):
    """Live and finished hypotheses of each sentence, best first, (sentences, beam_size, ...).

    Attributes:
        tokens: the last token of each live hypothesis.
        log_probabilities: minus infinity if there is no such hypothesis.
        coverage: sum of the attention to each source token, 1 at padding; updated only if there is
            a coverage penalty.
        ids: all tokens; updated only if n-grams must not repeat.
        finished: the finished hypotheses.
    """

    tokens: tf.Tensor
    log_probabilities: tf.Tensor
    coverage: tf.Tensor
    ids: tf.Tensor
    finished: FinishedHypotheses


def beam_search(
    model: Seq2Seq,
    source_ids: tf.Tensor,
    source_valid_length: tf.Tensor,
    max_steps: int,
    beam_size: int = 5,
    *,
    n_best: int = 1,
    length_penalty: float = 0.6,
    coverage_penalty: float = 0.0,
    min_length: int = 0,
    no_repeat_ngram_size: int = 0,
    forbid_unknown: bool = False,
) -> BeamResult:
    """Search for the best hypotheses, keeping the `beam_size` most probable ones at each step.

    At each step all continuations of a sentence's live hypotheses compete. The `beam_size` most
    probable ones without `<eos>` stay live. Those with `<eos>` that are among the `beam_size` most
    probable of all are finished, and take no place in the beam. Hypotheses are ranked by

        score(Y) = log P(Y | X) / lp(Y) + coverage_penalty * sum_i log(min(sum_j p_ij, 1))
        lp(Y) = ((5 + |Y|) / 6) ** length_penalty

    where |Y| is the number of tokens, `<eos>` included, and p_ij the attention of target token j to
    source token i. Without `length_penalty` the ranking favors short hypotheses;
    `coverage_penalty` penalizes source words that are not translated.

    A sentence is done when none of its live hypotheses can reach a score that changes the result.
    Hypotheses that have no `<eos>` after `max_steps` are truncated, and rank below all finished
    ones. (`greedy_search` returns its only hypothesis, truncated or not.) With `beam_size` 1 this
    is greedy search, whatever the penalties. An empty source gives an empty hypothesis. The result
    for a sentence does not depend on the rest of the batch. A beam with non-finite logits is
    dropped.

    Args:
        model: the trained model.
        source_ids: int32 tensor, shape (batch, steps).
        source_valid_length: int32 tensor, shape (batch,).
        max_steps: maximum number of tokens, `<eos>` included.
        beam_size: live hypotheses per sentence.
        n_best: hypotheses to return per sentence; the search runs until all of them are certain.
        length_penalty: alpha of Wu et al.; 0 ranks by log-probability alone.
        coverage_penalty: beta of Wu et al.; needs a decoder with attention.
        min_length: minimum number of tokens before `<eos>`.
        no_repeat_ngram_size: no n-gram of this size occurs twice; 0 disables the constraint.
        forbid_unknown: never generate `<unk>`.

    Returns:
        A `BeamResult`.

    Raises:
        InputError: an option is out of range, or there is a `coverage_penalty` without attention.

    Reference: Wu et al., 2016, "Google's Neural Machine Translation System", section 7; the default
    `length_penalty` is that of Vaswani et al., 2017, section 6.1.

    Example:

    >>> import keras_s2s as s2s
    >>> encoder = s2s.Seq2SeqEncoder(10, embed_size=8, num_hiddens=8, num_layers=1)
    >>> decoder = s2s.Seq2SeqDecoder(10, embed_size=8, num_hiddens=8, num_layers=1)
    >>> model = s2s.Seq2Seq(encoder, decoder)
    >>> source = tf.constant([[4, 5, 0]]), tf.constant([2])
    >>> result = beam_search(model, *source, max_steps=6, beam_size=4, n_best=3)
    >>> result.ids.shape, result.scores.shape
    (TensorShape([1, 3, 6]), TensorShape([1, 3]))
    """
    options = _BeamSearch(
        beam_size,
        n_best,
        max_steps,
        Penalties(length_penalty, coverage_penalty),
        Constraints(min_length, no_repeat_ngram_size, forbid_unknown),
    )
    options.validate(model.decoder.vocab_size)
    if coverage_penalty and model.decoder.attention is None:
        raise InputError("coverage_penalty needs a decoder with attention; give 0")
    source = tf.convert_to_tensor(source_ids), tf.convert_to_tensor(source_valid_length)
    if beam_size == 1:
        return _greedy(model, source, options)
    batch = encode_source(model, *source)
    num_steps, beams, histories = decode_loop(
        model.decoder,
        batch,
        options.initial_state(*source),
        max_steps,
        options.step,
        options.is_active,
        options.new_histories(source[0], attends=bool(batch.memory)),
    )
    scores = options.penalties.score(beams.log_probabilities, max_steps, beams.coverage)
    best, is_finished = select_hypotheses(
        beams.finished, beams.log_probabilities, scores, max_steps, n_best
    )
    return backtrace(best, is_finished, num_steps, histories, max_steps)


class _BeamSearch(NamedTuple):
    """The options of a beam search, and its steps."""

    beam_size: int
    n_best: int
    max_steps: int
    penalties: Penalties
    constraints: Constraints

    def validate(self, vocab_size: int) -> None:
        """Raise an `InputError` if an option is out of range."""
        check_int("beam_size", self.beam_size)
        advice = f" (beam_size is {self.beam_size})"
        check_number("n_best", self.n_best, int, advice, ge=1, le=self.beam_size)
        check_number("length_penalty", self.penalties.alpha, float, ge=0)
        check_number("coverage_penalty", self.penalties.beta, float, ge=0)
        self.constraints.validate(vocab_size, self.max_steps)

    def initial_state(self, source_ids: tf.Tensor, source_valid_length: tf.Tensor) -> _BeamState:
        """Create the state before the first step."""
        batch_size, source_steps = tf.shape(source_ids)[0], tf.shape(source_ids)[1]
        is_empty = source_valid_length[:, None] == 0
        # All beams are equal at first, so only one is live; none for an empty source, whose empty
        # hypothesis is finished.
        is_first = tf.range(self.beam_size) == 0
        finished = tf.where(is_empty & is_first, 0.0, NEG_INF)
        padding = 1.0 - tf.sequence_mask(source_valid_length, source_steps, tf.float32)
        zeros = tf.zeros([batch_size, self.beam_size], tf.int32)
        return _BeamState(
            tokens=zeros + BOS,
            log_probabilities=tf.where(~is_empty & is_first, 0.0, NEG_INF),
            coverage=tf.repeat(padding[:, None], self.beam_size, axis=1),
            ids=tf.fill([batch_size, self.beam_size, self.max_steps], PAD),
            finished=FinishedHypotheses(finished, finished, lengths=zeros, beams=zeros),
        )

    def new_histories(self, source_ids: tf.Tensor, attends: bool) -> Histories:
        """Create the arrays that `backtrace` reads."""
        batch_size, source_steps = tf.shape(source_ids)[0], tf.shape(source_ids)[1]
        zeros = tf.zeros([batch_size, self.beam_size], tf.int32)
        histories = {name: new_history(self.max_steps, zeros) for name in ("tokens", "parents")}
        if attends:
            zeros = tf.zeros([batch_size, self.beam_size, source_steps])
            histories["attention"] = new_history(self.max_steps, zeros)
        return histories

    def is_active(self, beams: _BeamState) -> tf.Tensor:
        """Return whether a live hypothesis can still score better than the `n_best` finished ones.

        The upper bound: no further loss of probability, the length that the penalty favors most
        (`max_steps`), and full coverage.
        """
        max_length_penalty = self.penalties.length_penalty(self.max_steps)
        upper_bound = beams.log_probabilities[:, 0] / max_length_penalty
        return upper_bound > beams.finished.scores[:, self.n_best - 1]

    def step(
        self,
        step: tf.Tensor,
        batch: ActiveBatch,
        output: DecoderOutput,
        beams: _BeamState,
        histories: Histories,
    ) -> tuple[State, _BeamState, Histories]:
        """Extend the live hypotheses by a token; see `beam_search`."""
        num_sentences = tf.size(batch.batch_indices)
        rows = tf.reshape(beams.ids, [num_sentences * self.beam_size, self.max_steps])
        candidates = self.constraints.candidates(output.logits, step, rows)
        previous = beams.log_probabilities
        ends = previous + tf.reshape(
            _log_probabilities(candidates, candidates.eos_logits), tf.shape(previous)
        )
        logits, token_ids = top_k_tokens(candidates.logits, self.beam_size, candidates.min_token_id)
        k = token_ids.shape[1]
        shape = [num_sentences, self.beam_size * k]
        increments = tf.reshape(
            _log_probabilities(candidates, logits), [num_sentences, self.beam_size, k]
        )
        continuations = tf.reshape(previous[:, :, None] + increments, shape)
        live, indices = tf.math.top_k(continuations, self.beam_size)
        parents = indices // k
        tokens = tf.gather(tf.reshape(token_ids, shape), indices, batch_dims=1)

        coverage = beams.coverage
        if self.penalties.beta:
            coverage += output.attention
        # A hypothesis that ends must be among the most probable, too; ends come first, so that they
        # win ties as in greedy search.
        competitors = tf.concat([ends, live], axis=1)
        threshold = tf.math.top_k(competitors, self.beam_size).values[:, -1:]
        ends = tf.where(ends >= threshold, ends, NEG_INF)
        finished = update_finished(beams.finished, self.penalties, step + 1, ends, coverage)

        values = {"tokens": tokens, "parents": parents, "attention": output.attention}
        histories = {
            name: write_history(array, step, batch, values[name])
            for name, array in histories.items()
        }
        ids = beams.ids
        if self.constraints.no_repeat_ngram_size:
            ids = tf.gather(ids, parents, batch_dims=1)
            ids = tf.where(tf.range(self.max_steps) == step, tokens[:, :, None], ids)
        if self.penalties.beta:
            coverage = tf.gather(coverage, parents, batch_dims=1)
        rows = tf.range(num_sentences)[:, None] * self.beam_size + parents
        state = gather_rows(output.state, tf.reshape(rows, [-1]))
        return state, _BeamState(tokens, live, coverage, ids, finished), histories


def _log_probabilities(candidates: TokenCandidates, logits: tf.Tensor) -> tf.Tensor:
    """Compute log-probabilities, with NaN replaced by minus infinity."""
    log_probabilities = candidates.log_probabilities(logits)
    return tf.where(tf.math.is_nan(log_probabilities), NEG_INF, log_probabilities)


def _greedy(
    model: Seq2Seq, source: tuple[tf.Tensor, tf.Tensor], options: _BeamSearch
) -> BeamResult:
    """Run a beam search of size 1, in which `<eos>` ends a hypothesis once it is most probable."""
    result = decode(model, source, options.max_steps, options.constraints, select_most_probable)
    coverage = tf.zeros(())
    if options.penalties.beta:
        padding = 1.0 - tf.sequence_mask(source[1], tf.shape(source[0])[1], tf.float32)
        coverage = padding[:, None] + tf.reduce_sum(result.attention, axis=2)
    scores = options.penalties.score(result.log_probabilities, result.lengths, coverage)
    return BeamResult(
        result.ids, result.lengths, result.log_probabilities, scores, result.attention
    )
