"""The training loop of a decoder with input feeding, where each step needs the one before."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from keras_s2s.layers.stacked_rnn import LayerMasks, State
from keras_s2s.utils.dtypes import sum_dtype

StepFn = Callable[[tf.Tensor, State, list[LayerMasks]], tuple[tf.Tensor, State, tf.Tensor | None]]


def loop_over_steps(
    step_fn: StepFn,
    embedded: tf.Tensor,
    state: State,
    masks: list[LayerMasks],
    output_size: int,
    returns_attention: bool = False,
) -> tuple[tf.Tensor, State, tf.Tensor | None]:
    """Run a decoder's step over all steps of the targets.

    Args:
        step_fn: maps embeddings, state and dropout masks of a step to outputs, (batch,
            output_size), the next state, and attention weights, (batch, source steps).
        embedded: (steps, batch, embed_size).
        state: the initial state.
        masks: of `StackedRNN.dropout_masks`.
        output_size: width of the outputs.
        returns_attention: whether the attention weights are kept.

    Returns:
        The outputs, (steps, batch, output_size), the final state, and None or the attention
        weights, (batch, steps, source steps).
    """
    steps, dtype = tf.shape(embedded)[0], embedded.dtype
    inputs = tf.TensorArray(dtype, steps).unstack(embedded)
    written = [tf.TensorArray(dtype, steps, element_shape=(None, output_size))]
    if returns_attention:
        written.append(tf.TensorArray(sum_dtype(dtype), steps, element_shape=(None, None)))

    def body(step: tf.Tensor, written: Any, *state: tf.Tensor) -> Any:
        step_masks = [
            (None if input_mask is None else input_mask[step], state_mask)
            for input_mask, state_mask in masks
        ]
        outputs, new_state, weights = step_fn(inputs.read(step), list(state), step_masks)
        new_state = [tf.cast(value, dtype) for value in new_state]
        for value, previous in zip(new_state, state, strict=True):
            value.set_shape(previous.shape)  # not inferred where the batch size is static
        values = (outputs, weights)[: len(written)]
        pairs = zip(written, values, strict=True)
        return step + 1, [array.write(step, value) for array, value in pairs], *new_state

    state = [tf.cast(value, dtype) for value in state]
    _, written, *state = tf.while_loop(
        lambda step, *_: step < steps,
        body,
        (0, written, *state),
        maximum_iterations=steps,  # XLA allocates the gradient's values in advance
    )
    outputs, *attention = (array.stack() for array in written)
    return outputs, list(state), tf.transpose(attention[0], (1, 0, 2)) if attention else None
