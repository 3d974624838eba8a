"""The arguments of Keras's calls as a batch: dtypes, missing valid lengths, sample weights."""

from typing import Any

import keras
import tensorflow as tf

from keras_s2s.data.batching import Batch, Sequences
from keras_s2s.tokenizers.tokenizer import PAD
from keras_s2s.utils.errors import InputError

INTERIOR_PADDING = "have <pad> before a token; pad at the end, or give valid lengths"


def unpack_batch(data: Any) -> tuple[Batch, tf.Tensor | None]:
    """Convert what Keras hands to a step to a batch and the weights of its labels.

    Args:
        data: a source and a target as `(x, y)`, `(x, y, sample_weight)`, or `(x,)` with `x =
            (source, target)`. Each is ids, integers of shape (batch, steps), or `(ids,
            valid_length)`.

    Returns:
        The batch, int32, and None or the weights of the target tokens from the second on, float,
        (batch, target steps - 1).
    """
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    batch = as_batch(x if y is None else (x, y))
    if sample_weight is None:
        return batch, None
    if _is_pair(y) and _is_pair(sample_weight):
        # Keras's `fit` and `evaluate` repeat an array for each part of `(ids, valid_length)`.
        sample_weight = sample_weight[0]
    return batch, _label_weights(sample_weight, batch[1][0])


def as_batch(inputs: Any) -> Batch:
    """Convert `(source, target)` to int32 ids and valid lengths.

    A source or target is ids or `(ids, valid_length)`. Where there are no valid lengths, a row
    ends at its last token that is not `<pad>`.

    Raises:
        InputError: no target; a wrong dtype or shape; `<pad>` before a token without valid
            lengths.
    """
    if not _is_pair(inputs) or getattr(inputs[1], "shape", (0, 0))[1:] == ():
        raise InputError(
            "there are no targets, and the decoder reads them; give (source, target), each ids or "
            "(ids, valid_length). To translate, use Translator.translate or greedy_search"
        )
    source, target = inputs
    return _as_sequences(source, "source"), _as_sequences(target, "target")


def _is_pair(value: Any) -> bool:
    return isinstance(value, (tuple, list)) and len(value) == 2


def _as_sequences(side: Any, name: str) -> Sequences:
    ids, valid_length = side if _is_pair(side) else (side, None)
    if isinstance(ids, tf.RaggedTensor):
        if valid_length is None:
            valid_length = ids.row_lengths()
        ids = ids.to_tensor(PAD)
    ids = _as_int32(ids, f"{name} ids")
    if valid_length is None:
        valid_length = _derive_valid_length(ids, name)
    else:
        valid_length = _as_int32(valid_length, f"{name} valid lengths")
    ranks = ids.shape.rank, valid_length.shape.rank
    if None not in ranks and ranks != (2, 1):
        raise InputError(
            f"{name} ids have the shape {ids.shape} and valid lengths {valid_length.shape}; give "
            "(batch, steps) and (batch,)"
        )
    return ids, valid_length


def _as_int32(values: Any, name: str) -> tf.Tensor:
    try:
        values = tf.convert_to_tensor(values)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} are a {type(values).__name__}; give an array") from error
    if not values.dtype.is_integer:
        raise InputError(f"{name} are {values.dtype.name}; give integers, as from a tokenizer")
    # An id beyond int32 stays out of range.
    return tf.saturate_cast(values, tf.int32)


def _derive_valid_length(ids: tf.Tensor, name: str) -> tf.Tensor:
    if ids.shape.rank not in (None, 2):
        raise InputError(f"{name} ids have the shape {ids.shape}; give (batch, steps)")
    is_token = ids != PAD
    count = tf.math.count_nonzero(is_token, axis=1, dtype=tf.int32)
    positions = tf.where(is_token, tf.range(1, tf.shape(ids)[1] + 1), 0)
    last = tf.maximum(tf.reduce_max(positions, axis=1), 0)  # INT32_MIN without steps
    message = f"{name} ids {INTERIOR_PADDING}"
    try:
        tf.debugging.assert_equal(count, last, message=message)
    except tf.errors.InvalidArgumentError as error:
        raise InputError(message) from error
    return last


def _label_weights(sample_weight: Any, target_ids: tf.Tensor) -> tf.Tensor:
    """Return weights of shape (batch, target steps - 1) from those of rows or of tokens."""
    if isinstance(sample_weight, (tuple, list, dict)):
        raise InputError("sample_weight is nested; give one array, (batch,) or (batch, steps)")
    weights = tf.convert_to_tensor(sample_weight)
    if not weights.dtype.is_floating:
        weights = tf.cast(weights, tf.float32)
    if weights.shape.rank == 1:
        weights = weights[:, None]
    width, steps = weights.shape[-1], target_ids.shape[1]
    fits = width in (1, None) or steps is None or width in (steps, steps - 1)
    if weights.shape.rank != 2 or not fits:
        raise InputError(
            f"sample_weight has the shape {weights.shape} and the targets {target_ids.shape}; "
            "give (batch,), or a weight for each target token"
        )
    rows, steps = tf.unstack(tf.shape(target_ids))
    if width == 1:
        return tf.broadcast_to(weights, (rows, steps - 1))
    # Nothing predicts the first token.
    return weights[:, tf.shape(weights)[1] - (steps - 1) :]
