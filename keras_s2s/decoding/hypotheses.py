"""Answers that a beam search comes upon: how they are ranked, and of which tokens they are."""

from typing import NamedTuple

import tensorflow as tf

from keras_s2s.decoding.constraints import NEG_INF
from keras_s2s.decoding.decode_loop import Records, new_history, stack_history, to_batch_major
from keras_s2s.tokenizers.tokenizer import EOS, PAD

# In place of no attention at all, which has no logarithm.
LEAST_COVERAGE = 1e-30


class BeamResult(NamedTuple):
    """What a beam search found, the best answer first.

    Where there are fewer answers than were asked for, the others are empty, with a length of 0 and
    minus infinity as log-probability and score.

    Attributes:
        ids: int32, (batch, n_best, max_steps): the tokens, with `<eos>` where the answer ended and
            `<pad>` after it, without `<bos>`.
        lengths: int32, (batch, n_best): how many of them count, `<eos>` among them.
        log_probabilities: float32, (batch, n_best): of each whole answer, in nats.
        scores: float32, (batch, n_best): what they are ranked by.
        attention: float32, (batch, n_best, max_steps, source steps): how much each of these tokens
            looks at each token of the source, zero past the length; None when the model does not
            attend.
    """

    ids: tf.Tensor
    lengths: tf.Tensor
    log_probabilities: tf.Tensor
    scores: tf.Tensor
    attention: tf.Tensor | None


class Penalties(NamedTuple):
    """How an answer's score comes from its log-probability; see `beam_search`."""

    length: float
    coverage: float

    def divisor(self, length: tf.Tensor | int) -> tf.Tensor:
        return ((5.0 + tf.cast(length, tf.float32)) / 6.0) ** self.length

    def score(
        self, log_probabilities: tf.Tensor, length: tf.Tensor | int, coverage: tf.Tensor
    ) -> tf.Tensor:
        """Scores; the coverage is that of each source token, (..., source steps), 1 at padding."""
        scores = log_probabilities / self.divisor(length)
        if self.coverage:
            covered = tf.math.log(tf.clip_by_value(coverage, LEAST_COVERAGE, 1.0))
            scores += self.coverage * tf.reduce_sum(covered, axis=-1)
        return scores


class Finished(NamedTuple):
    """The best answers of each sentence that have ended, best first, (sentences, beam_size).

    Attributes:
        scores: minus infinity where there is none.
        log_probabilities: likewise.
        lengths: `<eos>` included.
        beams: the beam each ended in.
    """

    scores: tf.Tensor
    log_probabilities: tf.Tensor
    lengths: tf.Tensor
    beams: tf.Tensor


def update_finished(
    finished: Finished,
    penalties: Penalties,
    length: tf.Tensor,
    log_probabilities: tf.Tensor,
    coverage: tf.Tensor,
) -> Finished:
    """Puts what has ended in a step, from each beam, among what had ended before.

    Args:
        finished: what had.
        penalties: how answers are ranked.
        length: of what has ended now, `<eos>` included.
        log_probabilities: (sentences, beam_size); minus infinity where nothing has.
        coverage: (sentences, beam_size, source steps).
    """
    beam_size = finished.scores.shape[1]
    zeros = tf.zeros_like(finished.lengths)
    ended = Finished(
        penalties.score(log_probabilities, length, coverage),
        log_probabilities,
        lengths=zeros + length,
        beams=zeros + tf.range(beam_size),
    )
    both = [tf.concat(parts, axis=1) for parts in zip(finished, ended, strict=True)]
    scores, order = tf.math.top_k(both[0], beam_size)
    return Finished(scores, *(tf.gather(part, order, batch_dims=1) for part in both[1:]))


def select_hypotheses(
    finished: Finished, log_probabilities: tf.Tensor, scores: tf.Tensor, max_steps: int, n_best: int
) -> tuple[Finished, tf.Tensor]:
    """The best answers of each sentence: of those that have ended, then of those that were cut.

    Args:
        finished: what has ended.
        log_probabilities: of the beams that are left, (batch, beam_size), minus infinity where
            there is none. They have `max_steps` tokens.
        scores: of these beams.
        max_steps: see `beam_search`.
        n_best: see `beam_search`.

    Returns:
        The answers, (batch, n_best), and which of them have ended. Those that are cut have the
        beam they are in.
    """
    beam_size = scores.shape[1]
    scores, beams = tf.math.top_k(scores, n_best)
    cut = Finished(
        scores,
        tf.gather(log_probabilities, beams, batch_dims=1),
        tf.where(scores > NEG_INF, max_steps, 0),
        beams,
    )
    num_ended = tf.math.count_nonzero(finished.scores > NEG_INF, axis=1, dtype=tf.int32)[:, None]
    rank = tf.range(n_best)
    ended = rank < num_ended
    order = tf.where(ended, rank, beam_size + rank - num_ended)
    pairs = zip(finished, cut, strict=True)
    best = (tf.gather(tf.concat(parts, axis=1), order, batch_dims=1) for parts in pairs)
    return Finished(*best), ended


def backtrace(
    best: Finished, ended: tf.Tensor, steps: tf.Tensor, records: Records, max_steps: int
) -> BeamResult:
    """Reads what an answer is from the beams it has been in, from the last one to the first.

    Args:
        best: the answers.
        ended: which of them have ended.
        steps: how many steps were taken.
        records: of each step and beam, the `tokens` it took, the `parents`, which are the beams it
            was in before, and, of a model that attends, the `attention` of the beams before.
        max_steps: see `beam_search`.
    """
    # The end itself is in no beam.
    in_beams = best.lengths - tf.cast(ended, tf.int32)

    def go_back(
        step: tf.Tensor, beams: tf.Tensor, entered: tf.TensorArray
    ) -> tuple[tf.Tensor, tf.Tensor, tf.TensorArray]:
        parents = tf.gather(records["parents"].read(step), beams, batch_dims=1)
        beams = tf.where(step < in_beams, parents, beams)
        return step - 1, beams, entered.write(step, beams)

    _, _, entered = tf.while_loop(
        lambda step, *_: step >= 0,
        go_back,
        (steps - 1, best.beams, new_history(max_steps, best.beams)),
    )
    # The beam that each answer was in before each step, and the one that it was in after it.
    before = stack_history(entered, steps)
    after = tf.concat([before[1:], best.beams[None]], axis=0)
    step = tf.range(tf.shape(before)[0])[:, None, None]
    tokens = tf.gather(stack_history(records["tokens"], steps), after, batch_dims=2)
    tokens = tf.where(step < in_beams, tokens, tf.where(step < best.lengths, EOS, PAD))
    attention = None
    if "attention" in records:
        attention = tf.gather(stack_history(records["attention"], steps), before, batch_dims=2)
        attention = tf.where((step < best.lengths)[..., None], attention, 0.0)
        attention = to_batch_major(attention, max_steps)
    return BeamResult(
        to_batch_major(tokens, max_steps),
        best.lengths,
        best.log_probabilities,
        best.scores,
        attention,
    )
