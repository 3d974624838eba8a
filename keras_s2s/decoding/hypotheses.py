"""Hypotheses of a beam search: scores, ranking, and backtracing to tokens."""

from typing import NamedTuple

import tensorflow as tf

from keras_s2s.decoding.constraints import NEG_INF
from keras_s2s.decoding.decode_loop import Histories, new_history, stack_history, to_batch_major
from keras_s2s.tokenizers.tokenizer import EOS, PAD

# Lower bound of the coverage of a source token, whose logarithm is taken.
MIN_COVERAGE = 1e-30


class BeamResult(NamedTuple):
    """Hypotheses of a beam search, best first.

    If a sentence has fewer than `n_best`, the others are empty: length 0, log-probability and score
    minus infinity.

    Attributes:
        ids: int32, (batch, n_best, max_steps): the tokens with `<eos>`, if the hypothesis is
            finished, then `<pad>`; without `<bos>`.
        lengths: int32, (batch, n_best): number of tokens, `<eos>` included.
        log_probabilities: float32, (batch, n_best): of the whole hypothesis, in nats.
        scores: float32, (batch, n_best): what hypotheses are ranked by.
        attention: float32, (batch, n_best, max_steps, source steps): attention weights of each
            token over the source, zero past the length; None without attention.
    """

    ids: tf.Tensor
    lengths: tf.Tensor
    log_probabilities: tf.Tensor
    scores: tf.Tensor
    attention: tf.Tensor | None


class Penalties(NamedTuple):
    """The score of a hypothesis with the penalties alpha and beta of Wu et al., 2016."""

    alpha: float
    beta: float

    def length_penalty(self, length: tf.Tensor | int) -> tf.Tensor:
        """Compute lp(Y), which divides the log-probability."""
        return ((5.0 + tf.cast(length, tf.float32)) / 6.0) ** self.alpha

    def score(
        self, log_probabilities: tf.Tensor, length: tf.Tensor | int, coverage: tf.Tensor
    ) -> tf.Tensor:
        """Compute scores, given the coverage, (..., source steps), 1 at padding."""
        scores = log_probabilities / self.length_penalty(length)
        if self.beta:
            log_coverage = tf.math.log(tf.clip_by_value(coverage, MIN_COVERAGE, 1.0))
            scores += self.beta * tf.reduce_sum(log_coverage, axis=-1)
        return scores


class FinishedHypotheses(NamedTuple):
    """The best finished hypotheses of each sentence, best first, (sentences, beam_size).

    Attributes:
        scores: minus infinity if there is no such hypothesis.
        log_probabilities: likewise.
        lengths: `<eos>` included.
        beams: the beam in which each ended.
    """

    scores: tf.Tensor
    log_probabilities: tf.Tensor
    lengths: tf.Tensor
    beams: tf.Tensor


def update_finished(
    finished: FinishedHypotheses,
    penalties: Penalties,
    length: tf.Tensor,
    log_probabilities: tf.Tensor,
    coverage: tf.Tensor,
) -> FinishedHypotheses:
    """Merge the hypotheses that end in a step, one per beam, into the finished ones.

    Args:
        finished: the finished hypotheses before the step.
        penalties: of the score.
        length: of the new hypotheses, `<eos>` included.
        log_probabilities: (sentences, beam_size); minus infinity for beams that do not end.
        coverage: (sentences, beam_size, source steps).
    """
    beam_size = finished.scores.shape[1]
    zeros = tf.zeros_like(finished.lengths)
    new = FinishedHypotheses(
        penalties.score(log_probabilities, length, coverage),
        log_probabilities,
        lengths=zeros + length,
        beams=zeros + tf.range(beam_size),
    )
    merged = [tf.concat(pair, axis=1) for pair in zip(finished, new, strict=True)]
    scores, order = tf.math.top_k(merged[0], beam_size)
    return FinishedHypotheses(
        scores, *(tf.gather(field, order, batch_dims=1) for field in merged[1:])
    )


def select_hypotheses(
    finished: FinishedHypotheses,
    log_probabilities: tf.Tensor,
    scores: tf.Tensor,
    max_steps: int,
    n_best: int,
) -> tuple[FinishedHypotheses, tf.Tensor]:
    """Select the best hypotheses of each sentence: finished ones first, then truncated ones.

    Args:
        finished: the finished hypotheses.
        log_probabilities: of the live beams after `max_steps`, (batch, beam_size); minus infinity
            if there is no such beam.
        scores: of these beams.
        max_steps: see `beam_search`.
        n_best: see `beam_search`.

    Returns:
        The hypotheses, (batch, n_best), the `beams` of truncated ones being the live beams; and a
        mask of those that are finished.
    """
    beam_size = scores.shape[1]
    scores, beams = tf.math.top_k(scores, n_best)
    truncated = FinishedHypotheses(
        scores,
        tf.gather(log_probabilities, beams, batch_dims=1),
        tf.where(scores > NEG_INF, max_steps, 0),
        beams,
    )
    num_finished = tf.math.count_nonzero(finished.scores > NEG_INF, axis=1, dtype=tf.int32)[:, None]
    rank = tf.range(n_best)
    is_finished = rank < num_finished
    order = tf.where(is_finished, rank, beam_size + rank - num_finished)
    pairs = zip(finished, truncated, strict=True)
    best = (tf.gather(tf.concat(pair, axis=1), order, batch_dims=1) for pair in pairs)
    return FinishedHypotheses(*best), is_finished


def backtrace(
    best: FinishedHypotheses,
    is_finished: tf.Tensor,
    num_steps: tf.Tensor,
    histories: Histories,
    max_steps: int,
) -> BeamResult:
    """Reconstruct the tokens of hypotheses by following their parent beams backwards.

    Args:
        best: the hypotheses.
        is_finished: which of them are finished.
        num_steps: number of steps of the search.
        histories: of each step and beam the `tokens`, the `parents` (beams of the previous step),
            and, with attention, the `attention` of the parent beams.
        max_steps: see `beam_search`.
    """
    # <eos> belongs to no beam.
    live_lengths = best.lengths - tf.cast(is_finished, tf.int32)

    def go_back(
        step: tf.Tensor, beams: tf.Tensor, path: tf.TensorArray
    ) -> tuple[tf.Tensor, tf.Tensor, tf.TensorArray]:
        parents = tf.gather(histories["parents"].read(step), beams, batch_dims=1)
        beams = tf.where(step < live_lengths, parents, beams)
        return step - 1, beams, path.write(step, beams)

    _, _, path = tf.while_loop(
        lambda step, *_: step >= 0,
        go_back,
        (num_steps - 1, best.beams, new_history(max_steps, best.beams)),
    )
    # The beam of each hypothesis before and after each step.
    before = stack_history(path, num_steps)
    after = tf.concat([before[1:], best.beams[None]], axis=0)
    step = tf.range(tf.shape(before)[0])[:, None, None]
    tokens = tf.gather(stack_history(histories["tokens"], num_steps), after, batch_dims=2)
    tokens = tf.where(step < live_lengths, tokens, tf.where(step < best.lengths, EOS, PAD))
    attention = None
    if "attention" in histories:
        attention = stack_history(histories["attention"], num_steps)
        attention = tf.gather(attention, before, batch_dims=2)
        attention = tf.where((step < best.lengths)[..., None], attention, 0.0)
        attention = to_batch_major(attention, max_steps)
    return BeamResult(
        to_batch_major(tokens, max_steps),
        best.lengths,
        best.log_probabilities,
        best.scores,
        attention,
    )
