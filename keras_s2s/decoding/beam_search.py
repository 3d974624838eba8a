"""Beam search, in the graph."""

from typing import NamedTuple

import tensorflow as tf

from keras_s2s.decoding.constraints import NEG_INF, Constraints, TokenCandidates, top_k_tokens
from keras_s2s.decoding.decode_loop import (
    ActiveBatch,
    DecoderOutput,
    Records,
    encode_source,
    gather_rows,
    new_history,
    search,
    write_history,
)
from keras_s2s.decoding.greedy_search import decode, most_probable_token
from keras_s2s.decoding.hypotheses import (
    BeamResult,
    Finished,
    Penalties,
    backtrace,
    select_hypotheses,
    update_finished,
)
from keras_s2s.layers.stacked_rnn import State
from keras_s2s.models.seq2seq import Seq2Seq
from keras_s2s.tokenizers.tokenizer import BOS, PAD
from keras_s2s.utils.errors import InputError

NO_ATTENTION = (
    "coverage_penalty counts what the decoder looks at, and this one does not attend; give 0, or a "
    "decoder with attention"
)


class _Branches(NamedTuple):
    """The beams of each sentence, best first, (sentences, beam_size, ...).

    Attributes:
        tokens: the last of each.
        log_probabilities: minus infinity where there is no such beam.
        coverage: the attention to each source token so far, 1 at padding; kept up to date only
            where it counts.
        ids: all tokens; likewise.
        finished: what has ended.
    """

    tokens: tf.Tensor
    log_probabilities: tf.Tensor
    coverage: tf.Tensor
    ids: tf.Tensor
    finished: Finished


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
    """Follows the `beam_size` most probable beginnings of an answer at once.

    At each step all continuations of a sentence's beams compete. The `beam_size` most probable that
    do not end are its next beams. Those that end and are among the `beam_size` most probable of all
    are answers, of which the best ones are kept apart; they take no beam's place. Answers are
    ranked by

        score(Y) = log P(Y | X) / lp(Y) + coverage_penalty * sum_i log(min(sum_j p_ij, 1))
        lp(Y) = ((5 + |Y|) / 6) ** length_penalty

    where |Y| counts tokens, `<eos>` included, and p_ij is how much target token j looks at source
    token i. Without `length_penalty` short answers are favoured, since each token makes an answer
    less probable; `coverage_penalty` is against leaving words of the source out.

    A sentence is finished when none of its beams can still come to a score that changes what is
    returned. An answer without an end after `max_steps` is cut; such ones are returned only where
    there are fewer than `n_best` that ended, after those. (`greedy_search` has one answer and
    returns it, cut or not.) With `beam_size` 1 this is greedy search, whatever the penalties.
    A source without any token gets an empty answer. What a sentence gets does not depend on the
    rest of the batch. Where logits are no numbers a beam is given up.

    Args:
        model: the trained model.
        source_ids: int32 tensor, shape (batch, steps).
        source_valid_length: int32 tensor, shape (batch,).
        max_steps: tokens at most, `<eos>` included.
        beam_size: beams of each sentence. Time grows with it.
        n_best: how many answers to return for each sentence. With more the search goes on a little
            longer, until it is sure of all of them.
        length_penalty: alpha of Wu et al.; 0 to rank by probability alone.
        coverage_penalty: beta of Wu et al.; needs a model with attention.
        min_length: so many tokens come before `<eos>` at least.
        no_repeat_ngram_size: no sequence of so many tokens comes twice in an answer; 0 for no
            such rule.
        forbid_unknown: whether `<unk>` is never taken either.

    Returns:
        A `BeamResult`.

    Raises:
        InputError: an option is out of its range, or the model does not attend and there is a
            `coverage_penalty`.

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
    plan = _BeamSearch(
        beam_size,
        n_best,
        max_steps,
        Penalties(length_penalty, coverage_penalty),
        Constraints(min_length, no_repeat_ngram_size, forbid_unknown),
    )
    plan.check(model.decoder.vocab_size)
    source = tf.convert_to_tensor(source_ids), tf.convert_to_tensor(source_valid_length)
    if beam_size == 1:
        return _greedy(model, source, plan)
    sentences = encode_source(model, *source)
    attends = bool(sentences.memory)
    if coverage_penalty and not attends:
        raise InputError(NO_ATTENTION)
    steps, branches, records = search(
        model.decoder,
        sentences,
        plan.start(*source),
        max_steps,
        plan.advance,
        plan.goes_on,
        plan.records(source[0], attends),
    )
    left = branches.log_probabilities
    scores = plan.penalties.score(left, max_steps, branches.coverage)
    best, ended = select_hypotheses(branches.finished, left, scores, max_steps, n_best)
    return backtrace(best, ended, steps, records, max_steps)


class _BeamSearch(NamedTuple):
    """What a beam search does, by its options."""

    beam_size: int
    n_best: int
    max_steps: int
    penalties: Penalties
    constraints: Constraints

    def check(self, vocab_size: int) -> None:
        """Raises an `InputError` when an option is out of its range."""
        if self.beam_size < 1:
            raise InputError(f"beam_size is {self.beam_size}; give 1 or more")
        if not 1 <= self.n_best <= self.beam_size:
            raise InputError(
                f"n_best is {self.n_best}; give 1 or more, and no more than beam_size, which is "
                f"{self.beam_size}"
            )
        for name, value in self.penalties._asdict().items():
            if not 0 <= value < float("inf"):
                raise InputError(f"{name}_penalty is {value}; give 0 or more")
        self.constraints.check(vocab_size, self.max_steps)

    def start(self, source_ids: tf.Tensor, source_valid_length: tf.Tensor) -> _Branches:
        """What is known of each sentence before the first step."""
        batch, num_steps = tf.shape(source_ids)[0], tf.shape(source_ids)[1]
        empty = source_valid_length[:, None] == 0
        # All beams are alike at first, so that only one counts; and none for a source without a
        # token, which has its answer.
        first = tf.range(self.beam_size) == 0
        answered = tf.where(empty & first, 0.0, NEG_INF)
        padding = 1.0 - tf.sequence_mask(source_valid_length, num_steps, tf.float32)
        zeros = tf.zeros([batch, self.beam_size], tf.int32)
        return _Branches(
            tokens=zeros + BOS,
            log_probabilities=tf.where(~empty & first, 0.0, NEG_INF),
            coverage=tf.repeat(padding[:, None], self.beam_size, axis=1),
            ids=tf.fill([batch, self.beam_size, self.max_steps], PAD),
            finished=Finished(answered, answered, lengths=zeros, beams=zeros),
        )

    def records(self, source_ids: tf.Tensor, attends: bool) -> Records:
        """What `backtrace` reads."""
        batch, num_steps = tf.shape(source_ids)[0], tf.shape(source_ids)[1]
        nothing = tf.zeros([batch, self.beam_size], tf.int32)
        records = {name: new_history(self.max_steps, nothing) for name in ("tokens", "parents")}
        if attends:
            nowhere = tf.zeros([batch, self.beam_size, num_steps])
            records["attention"] = new_history(self.max_steps, nowhere)
        return records

    def goes_on(self, branches: _Branches) -> tf.Tensor:
        """Whether a beam can still come to a better answer than the worst of the `n_best`.

        At best it loses no more probability, has the length that the penalty favours, the full
        one, and covers the source.
        """
        at_best = branches.log_probabilities[:, 0] / self.penalties.divisor(self.max_steps)
        return at_best > branches.finished.scores[:, self.n_best - 1]

    def advance(
        self,
        step: tf.Tensor,
        sentences: ActiveBatch,
        decoded: DecoderOutput,
        branches: _Branches,
        records: Records,
    ) -> tuple[State, _Branches, Records]:
        """Takes a step; see `beam_search`."""
        num_sentences = tf.size(sentences.places)
        rows = tf.reshape(branches.ids, [num_sentences * self.beam_size, self.max_steps])
        choices = self.constraints.choices(decoded.logits, step, rows)
        before = branches.log_probabilities
        ends = before + tf.reshape(_or_never(choices, choices.end), tf.shape(before))
        logits, words = top_k_tokens(choices.logits, self.beam_size, choices.first_word)
        each = words.shape[1]
        shape = [num_sentences, self.beam_size * each]
        gained = tf.reshape(_or_never(choices, logits), [num_sentences, self.beam_size, each])
        reached = tf.reshape(before[:, :, None] + gained, shape)
        best, successors = tf.math.top_k(reached, self.beam_size)
        parents = successors // each
        tokens = tf.gather(tf.reshape(words, shape), successors, batch_dims=1)

        coverage = branches.coverage
        if self.penalties.coverage:
            coverage += decoded.attention
        # What ends has to be among the most probable too; first, with a tie, as in greedy search.
        competitors = tf.concat([ends, best], axis=1)
        last = tf.math.top_k(competitors, self.beam_size).values[:, -1:]
        ends = tf.where(ends >= last, ends, NEG_INF)
        finished = update_finished(branches.finished, self.penalties, step + 1, ends, coverage)

        left = {"tokens": tokens, "parents": parents, "attention": decoded.attention}
        records = {
            name: write_history(array, step, sentences, left[name])
            for name, array in records.items()
        }
        ids = branches.ids
        if self.constraints.no_repeat_ngram_size:
            ids = tf.gather(ids, parents, batch_dims=1)
            ids = tf.where(tf.range(self.max_steps) == step, tokens[:, :, None], ids)
        if self.penalties.coverage:
            coverage = tf.gather(coverage, parents, batch_dims=1)
        rows = tf.range(num_sentences)[:, None] * self.beam_size + parents
        state = gather_rows(decoded.state, tf.reshape(rows, [-1]))
        return state, _Branches(tokens, best, coverage, ids, finished), records


def _or_never(choices: TokenCandidates, logits: tf.Tensor) -> tf.Tensor:
    """Log-probabilities, with minus infinity where there is no number."""
    log_probabilities = choices.log_probabilities(logits)
    return tf.where(tf.math.is_nan(log_probabilities), NEG_INF, log_probabilities)


def _greedy(model: Seq2Seq, source: tuple[tf.Tensor, tf.Tensor], plan: _BeamSearch) -> BeamResult:
    """A beam of one: an answer ends where its end is the most probable continuation."""
    result = decode(model, source, plan.max_steps, plan.constraints, most_probable_token)
    coverage = tf.zeros(())
    if plan.penalties.coverage:
        if result.attention is None:
            raise InputError(NO_ATTENTION)
        padding = 1.0 - tf.sequence_mask(source[1], tf.shape(source[0])[1], tf.float32)
        coverage = padding[:, None] + tf.reduce_sum(result.attention, axis=2)
    scores = plan.penalties.score(result.log_probabilities, result.lengths, coverage)
    return BeamResult(
        result.ids, result.lengths, result.log_probabilities, scores, result.attention
    )
