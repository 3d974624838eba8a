"""The `tf.while_loop` over decoding steps that all search strategies share."""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from keras_s2s.layers.seq2seq_decoder import Seq2SeqDecoder
from keras_s2s.layers.stacked_rnn import State
from keras_s2s.models.seq2seq import Seq2Seq
from keras_s2s.utils.errors import InputError

# Per-step tensors by name, read back after the search.
Histories = dict[str, tf.TensorArray]


class ActiveBatch(NamedTuple):
    """The sentences of a batch that are still being decoded.

    Attributes:
        batch_size: int32: number of sentences at the start.
        batch_indices: int32, (sentences,): position of each in the batch.
        state: of the decoder, a row for each hypothesis of each sentence; before the first step
            one for each sentence.
        memory: what the decoder attends to, or () without attention.
    """

    batch_size: tf.Tensor
    batch_indices: tf.Tensor
    state: State
    memory: Any


# The state of a search: a named tuple of tensors (sentences, ...), one of them `tokens`, int32,
# (sentences, hypotheses), the last token of each hypothesis.
Hypotheses = Any


class DecoderOutput(NamedTuple):
    """Outputs of a decoder step.

    Attributes:
        logits: float32, (sentences * hypotheses, vocab_size).
        state: the new state.
        attention: float32, (sentences, hypotheses, source steps), or None.
    """

    logits: tf.Tensor
    state: State
    attention: tf.Tensor | None


# Given the step, the active sentences, the decoder's outputs, the hypotheses and the histories:
# the decoder state, the hypotheses and the histories after the step.
StepFn = Callable[
    [tf.Tensor, ActiveBatch, DecoderOutput, Hypotheses, Histories],
    tuple[State, Hypotheses, Histories],
]


def encode_source(
    model: Seq2Seq, source_ids: tf.Tensor, source_valid_length: tf.Tensor
) -> ActiveBatch:
    """Run the encoder.

    Raises:
        InputError: the sources are invalid (checked in eager execution only).
    """
    if tf.executing_eagerly():
        num_ids, copying = model.encoder.vocab_size, model.decoder.copying
        if copying is not None:
            num_ids += copying.vocab_size + (source_ids.shape[-1] or 0)
        _check_source(source_ids, source_valid_length, num_ids)
    state, memory = model.encode((source_ids, source_valid_length), training=False)
    batch_size = tf.shape(source_ids)[0]
    return ActiveBatch(batch_size, tf.range(batch_size), state, () if memory is None else memory)


def _check_source(ids: tf.Tensor, valid_length: tf.Tensor, num_ids: int) -> None:
    if not (ids.dtype.is_integer and valid_length.dtype.is_integer):
        raise InputError(
            f"source_ids are {ids.dtype.name} and source_valid_length {valid_length.dtype.name}; "
            "give integers, as from the tokenizer's encode_source"
        )
    if ids.shape.rank != 2 or valid_length.shape != ids.shape[:1]:
        raise InputError(
            f"source_ids have the shape {tuple(ids.shape)} and source_valid_length "
            f"{tuple(valid_length.shape)}; give (batch, steps) and (batch,)"
        )
    for name, values, limit in (
        ("source_ids", ids, num_ids - 1),
        ("source_valid_length", valid_length, ids.shape[1]),
    ):
        invalid = tf.boolean_mask(values, (values < 0) | (values > limit))
        if tf.size(invalid):
            raise InputError(f"{name} contains {int(invalid[0])}; give values from 0 to {limit}")


def decode_loop(
    decoder: Seq2SeqDecoder,
    batch: ActiveBatch,
    hypotheses: Hypotheses,
    max_steps: int,
    step_fn: StepFn,
    is_active: Callable[[Hypotheses], tf.Tensor],
    histories: Histories,
) -> tuple[tf.Tensor, Hypotheses, Histories]:
    """Run decoding steps until every sentence is finished.

    The time of a step grows with its rows, so finished sentences are dropped from the batch: as
    soon as a quarter of the active ones are finished, since dropping copies the memory.

    All hypotheses of a sentence start with the same state and token, so that the decoder runs the
    first step once for each sentence.

    Args:
        decoder: the decoder.
        batch: the whole batch, from `encode_source`.
        hypotheses: the initial state of the search; see `Hypotheses`.
        max_steps: maximum number of steps.
        step_fn: updates the search after a decoder step; see `StepFn`.
        is_active: maps hypotheses to bool, (sentences,): whether a sentence needs more steps.
        histories: written by `step_fn`; see `new_history` and `write_history`.

    Returns:
        The number of steps, and the final hypotheses of the whole batch and histories.
    """
    num_hypotheses = hypotheses.tokens.shape[1]

    def decode_step(batch: ActiveBatch, tokens: tf.Tensor) -> DecoderOutput:
        logits, state, attention = decoder.step(
            tf.reshape(tokens, [-1]), batch.state, batch.memory or None
        )
        # Scores are float32, whatever the layers compute in.
        logits = tf.cast(logits, tf.float32)
        if attention is not None:
            attention = tf.cast(attention, tf.float32)
            shape = tf.concat([tf.shape(tokens), tf.shape(attention)[1:]], axis=0)
            attention = tf.reshape(attention, shape)
        return DecoderOutput(logits, state, attention)

    def decode_first_step(batch: ActiveBatch, tokens: tf.Tensor) -> DecoderOutput:
        logits, state, attention = decode_step(batch, tokens[:, :1])
        return DecoderOutput(
            tf.repeat(logits, num_hypotheses, axis=0),
            [tf.repeat(tensor, num_hypotheses, axis=1) for tensor in state],
            None if attention is None else tf.repeat(attention, num_hypotheses, axis=1),
        )

    def drop_finished(
        batch: ActiveBatch,
        hypotheses: Hypotheses,
        active_mask: tf.Tensor,
        rows_per_sentence: int = num_hypotheses,
    ) -> tuple[ActiveBatch, Hypotheses]:
        indices = tf.reshape(tf.cast(tf.where(active_mask), tf.int32), [-1])
        rows = tf.reshape(indices[:, None] * rows_per_sentence + tf.range(rows_per_sentence), [-1])
        batch_indices, memory, hypotheses = tf.nest.map_structure(
            lambda tensor: tf.gather(tensor, indices),
            (batch.batch_indices, batch.memory, hypotheses),
        )
        state = gather_rows(batch.state, rows)
        return ActiveBatch(batch.batch_size, batch_indices, state, memory), hypotheses

    def run_while_most_are_active(
        step: tf.Tensor,
        batch: ActiveBatch,
        active: Hypotheses,
        all_hypotheses: Hypotheses,
        histories: Histories,
    ) -> tuple[tf.Tensor, ActiveBatch, Hypotheses, Hypotheses, Histories]:
        def most_are_active(
            step: tf.Tensor, state: State, active: Hypotheses, histories: Histories
        ) -> tf.Tensor:
            num_active = tf.math.count_nonzero(is_active(active), dtype=tf.int32)
            return (num_active * 4 > tf.size(batch.batch_indices) * 3) & (step < max_steps)

        def run_step(
            step: tf.Tensor, state: State, active: Hypotheses, histories: Histories
        ) -> tuple[tf.Tensor, State, Hypotheses, Histories]:
            current = batch._replace(state=state)
            output = decode_step(current, active.tokens)
            return step + 1, *step_fn(step, current, output, active, histories)

        step, state, active, histories = tf.while_loop(
            most_are_active, run_step, (step, batch.state, active, histories)
        )
        all_hypotheses = tf.nest.map_structure(
            lambda whole, update: tf.tensor_scatter_nd_update(
                whole, batch.batch_indices[:, None], update
            ),
            all_hypotheses,
            active,
        )
        active_mask = is_active(active) & (step < max_steps)
        remaining, active = drop_finished(batch._replace(state=state), active, active_mask)
        return step, remaining, active, all_hypotheses, histories

    def any_are_active(step: tf.Tensor, batch: ActiveBatch, *_: Any) -> tf.Tensor:
        return tf.size(batch.batch_indices) > 0

    # Hide the mask from constant folding: with constant sources TensorFlow would infer the number
    # of active sentences, and fix the shapes of the loop variables to it.
    active_mask = tf.compat.v1.placeholder_with_default(is_active(hypotheses), [None])
    batch, active = drop_finished(batch, hypotheses, active_mask, rows_per_sentence=1)
    step = tf.constant(0)
    if num_hypotheses > 1:
        output = decode_first_step(batch, active.tokens)
        state, active, histories = step_fn(step, batch, output, active, histories)
        step, batch = step + 1, batch._replace(state=state)
    step, _, _, hypotheses, histories = tf.while_loop(
        any_are_active, run_while_most_are_active, (step, batch, active, hypotheses, histories)
    )
    return step, hypotheses, histories


def new_history(max_steps: int, like: tf.Tensor) -> tf.TensorArray:
    """Create an array for a tensor per step, each shaped like the given one, (batch, ...)."""
    array = tf.TensorArray(like.dtype, max_steps, element_shape=like.shape, clear_after_read=False)
    # An array without elements cannot be stacked unless its element shape is fully known.
    return array.write(0, tf.zeros_like(like))


def write_history(
    array: tf.TensorArray, step: tf.Tensor, batch: ActiveBatch, values: tf.Tensor
) -> tf.TensorArray:
    """Write the values of the active sentences, and zeros for all others."""
    shape = tf.concat([[batch.batch_size], tf.shape(values)[1:]], axis=0)
    return array.write(step, tf.scatter_nd(batch.batch_indices[:, None], values, shape))


def stack_history(array: tf.TensorArray, num_steps: tf.Tensor) -> tf.Tensor:
    """Stack the first `num_steps` elements, (steps, batch, ...); at least one, of zeros."""
    return array.gather(tf.range(tf.maximum(num_steps, 1)))


def to_batch_major(values: tf.Tensor, max_steps: int) -> tf.Tensor:
    """Transpose (steps, batch, n, ...) to (batch, n, max_steps, ...), zero-padded."""
    rank = values.shape.rank
    padding = [[0, max_steps - tf.shape(values)[0]]] + [[0, 0]] * (rank - 1)
    padded = tf.transpose(tf.pad(values, padding), (1, 2, 0, *range(3, rank)))
    return tf.ensure_shape(padded, (None, values.shape[2], max_steps, *values.shape[3:]))


def gather_rows(state: State, rows: tf.Tensor) -> State:
    """Gather rows of a decoder state."""
    return [tf.gather(tensor, rows, axis=1) for tensor in state]
