"""The loop over the steps that all searches share."""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from keras_s2s.layers.seq2seq_decoder import Seq2SeqDecoder
from keras_s2s.layers.stacked_rnn import State
from keras_s2s.models.seq2seq import Seq2Seq
from keras_s2s.utils.errors import InputError

Records = dict[str, tf.TensorArray]


class ActiveBatch(NamedTuple):
    """The sentences of a batch that a search still works on.

    Attributes:
        batch: how many there were, an int32.
        places: int32, (sentences,): where each stands in the batch.
        state: the decoder's, with a row for each branch of each sentence; before the first step,
            with one for each sentence.
        memory: what the decoder attends to, or () when it does not.
    """

    batch: tf.Tensor
    places: tf.Tensor
    state: State
    memory: Any


# What a search knows of each sentence: a named tuple of tensors (sentences, ...), one of them
# `tokens`, int32, (sentences, branches), the last one of each branch.
Hypotheses = Any


class DecoderOutput(NamedTuple):
    """What the decoder made of the last token of each branch.

    Attributes:
        logits: float32, (sentences * branches, vocab_size).
        state: the decoder's new one.
        attention: float32, (sentences, branches, source steps), or None.
    """

    logits: tf.Tensor
    state: State
    attention: tf.Tensor | None


StepFn = Callable[
    [tf.Tensor, ActiveBatch, DecoderOutput, Hypotheses, Records], tuple[State, Hypotheses, Records]
]


def encode_source(
    model: Seq2Seq, source_ids: tf.Tensor, source_valid_length: tf.Tensor
) -> ActiveBatch:
    """Encodes the sources.

    Raises:
        InputError: outside of a graph, the sources are none that the model can read.
    """
    if tf.executing_eagerly():
        _check_source(source_ids, source_valid_length, model.encoder.vocab_size)
    outputs = model.encoder(source_ids, source_valid_length, training=False)
    memory = model.decoder.remember(outputs, source_valid_length)
    batch = tf.shape(source_ids)[0]
    return ActiveBatch(
        batch,
        tf.range(batch),
        model.decoder.init_state(outputs),
        () if memory is None else memory,
    )


def _check_source(ids: tf.Tensor, valid_length: tf.Tensor, vocab_size: int) -> None:
    if not (ids.dtype.is_integer and valid_length.dtype.is_integer):
        raise InputError(
            f"source_ids are {ids.dtype.name} and source_valid_length {valid_length.dtype.name}; "
            "give whole numbers, as encode_source of a tokenizer does"
        )
    if ids.shape.rank != 2 or valid_length.shape != ids.shape[:1]:
        raise InputError(
            f"source_ids have the shape {tuple(ids.shape)} and source_valid_length "
            f"{tuple(valid_length.shape)}; give (batch, steps) and (batch,)"
        )
    for name, values, limit in (
        ("source_ids", ids, vocab_size - 1),
        ("source_valid_length", valid_length, ids.shape[1]),
    ):
        wrong = tf.boolean_mask(values, (values < 0) | (values > limit))
        if tf.size(wrong):
            raise InputError(f"{name} has {int(wrong[0])} in it; give 0 to {limit}")


def search(
    decoder: Seq2SeqDecoder,
    sentences: ActiveBatch,
    branches: Hypotheses,
    max_steps: int,
    advance: StepFn,
    goes_on: Callable[[Hypotheses], tf.Tensor],
    records: Records,
) -> tuple[tf.Tensor, Hypotheses, Records]:
    """Takes steps until every sentence has its answer, and leaves out those that have theirs.

    Most of a step's time goes by the number of rows, and a sentence that waits for longer ones
    would cost as much as they do. So when a quarter of the sentences have got their answers, the
    others go on without them. (Not sooner, since what they attend to has to be copied for it.)

    All branches of a sentence begin with the same state and the same token, so that their first
    step is taken once for all of them.

    Args:
        decoder: takes the steps.
        sentences: all of the batch, as `encode_source` gives them.
        branches: what is known of each at the start; see `Hypotheses`.
        max_steps: steps at most.
        advance: what is done in a step, given its number, the sentences, what the decoder made of
            their branches, these branches and the records; returns the state, the branches and
            the records after it.
        goes_on: given branches, tells of each sentence whether it needs another step.
        records: what steps leave to be read afterwards; see `new_history` and `write_history`.

    Returns:
        The number of steps that were taken, and the branches of all sentences and the records
        after them.
    """
    branches_each = branches.tokens.shape[1]

    def decode(sentences: ActiveBatch, tokens: tf.Tensor) -> DecoderOutput:
        logits, state, attention = decoder.step(
            tf.reshape(tokens, [-1]), sentences.state, sentences.memory or None
        )
        if attention is not None:
            shape = tf.concat([tf.shape(tokens), tf.shape(attention)[1:]], axis=0)
            attention = tf.reshape(attention, shape)
        return DecoderOutput(logits, state, attention)

    def decode_once_for_all(sentences: ActiveBatch, tokens: tf.Tensor) -> DecoderOutput:
        logits, state, attention = decode(sentences, tokens[:, :1])
        return DecoderOutput(
            tf.repeat(logits, branches_each, axis=0),
            [tf.repeat(part, branches_each, axis=1) for part in state],
            None if attention is None else tf.repeat(attention, branches_each, axis=1),
        )

    def leave_out(
        sentences: ActiveBatch, own: Hypotheses, going_on: tf.Tensor, rows_each: int = branches_each
    ) -> tuple[ActiveBatch, Hypotheses]:
        kept = tf.reshape(tf.cast(tf.where(going_on), tf.int32), [-1])
        rows = tf.reshape(kept[:, None] * rows_each + tf.range(rows_each), [-1])
        remaining = ActiveBatch(
            sentences.batch,
            tf.gather(sentences.places, kept),
            gather_rows(sentences.state, rows),
            tf.nest.map_structure(lambda part: tf.gather(part, kept), sentences.memory),
        )
        return remaining, tf.nest.map_structure(lambda part: tf.gather(part, kept), own)

    def walk_while_most_go_on(
        step: tf.Tensor,
        sentences: ActiveBatch,
        own: Hypotheses,
        everyones: Hypotheses,
        records: Records,
    ) -> tuple[tf.Tensor, ActiveBatch, Hypotheses, Hypotheses, Records]:
        def most_go_on(
            step: tf.Tensor, state: State, own: Hypotheses, records: Records
        ) -> tf.Tensor:
            going_on = tf.math.count_nonzero(goes_on(own), dtype=tf.int32)
            return (going_on * 4 > tf.size(sentences.places) * 3) & (step < max_steps)

        def take_a_step(
            step: tf.Tensor, state: State, own: Hypotheses, records: Records
        ) -> tuple[tf.Tensor, State, Hypotheses, Records]:
            now = sentences._replace(state=state)
            return step + 1, *advance(step, now, decode(now, own.tokens), own, records)

        step, state, own, records = tf.while_loop(
            most_go_on, take_a_step, (step, sentences.state, own, records)
        )
        everyones = tf.nest.map_structure(
            lambda whole, part: tf.tensor_scatter_nd_update(whole, sentences.places[:, None], part),
            everyones,
            own,
        )
        going_on = goes_on(own) & (step < max_steps)
        remaining, own = leave_out(sentences._replace(state=state), own, going_on)
        return step, remaining, own, everyones, records

    def some_go_on(step: tf.Tensor, sentences: ActiveBatch, *_: Any) -> tf.Tensor:
        return tf.size(sentences.places) > 0

    # Where the sources are constants, TensorFlow works out how many sentences there are to begin
    # with, and takes that for their number in all steps; so what it is has to come as a surprise.
    begin_now = tf.compat.v1.placeholder_with_default(goes_on(branches), [None])
    sentences, own = leave_out(sentences, branches, begin_now, rows_each=1)
    step = tf.constant(0)
    if branches_each > 1:
        decoded = decode_once_for_all(sentences, own.tokens)
        state, own, records = advance(step, sentences, decoded, own, records)
        step, sentences = step + 1, sentences._replace(state=state)
    step, _, _, branches, records = tf.while_loop(
        some_go_on, walk_while_most_go_on, (step, sentences, own, branches, records)
    )
    return step, branches, records


def new_history(max_steps: int, like: tf.Tensor) -> tf.TensorArray:
    """Room for what each step leaves, a tensor like the given one, (batch, ...)."""
    array = tf.TensorArray(like.dtype, max_steps, element_shape=like.shape, clear_after_read=False)
    # What has nothing in it cannot be read when its shape is not known beforehand.
    return array.write(0, tf.zeros_like(like))


def write_history(
    array: tf.TensorArray, step: tf.Tensor, sentences: ActiveBatch, values: tf.Tensor
) -> tf.TensorArray:
    """Writes down what a step leaves of some sentences; there is zero for all others."""
    shape = tf.concat([[sentences.batch], tf.shape(values)[1:]], axis=0)
    return array.write(step, tf.scatter_nd(sentences.places[:, None], values, shape))


def stack_history(array: tf.TensorArray, steps: tf.Tensor) -> tf.Tensor:
    """What the steps that were taken left, (steps, batch, ...); one of zeros if there was none."""
    return array.gather(tf.range(tf.maximum(steps, 1)))


def to_batch_major(values: tf.Tensor, max_steps: int) -> tf.Tensor:
    """(steps, batch, answers, ...) to (batch, answers, max_steps, ...), with zeros at the end."""
    rank = values.shape.rank
    padding = [[0, max_steps - tf.shape(values)[0]]] + [[0, 0]] * (rank - 1)
    padded = tf.transpose(tf.pad(values, padding), (1, 2, 0, *range(3, rank)))
    return tf.ensure_shape(padded, (None, values.shape[2], max_steps, *values.shape[3:]))


def gather_rows(state: State, rows: tf.Tensor) -> State:
    """Some rows of a decoder's state."""
    return [tf.gather(part, rows, axis=1) for part in state]
