"""Dense layers that convert the state of an encoder to that of a decoder of another shape."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from keras_s2s.layers.stacked_rnn import CELLS, State


def make_bridges(
    cell: str, units: int, dense: Callable[..., keras.layers.Dense]
) -> list[keras.layers.Dense]:
    """Return a bridge for each tensor of the state: h and, with LSTM cells, c."""
    bridges = [("bridge_h", "tanh"), ("bridge_c", None)][: CELLS[cell]]
    return [dense(name, units, activation=activation) for name, activation in bridges]


def build_bridges(bridges: list[keras.layers.Dense], width: int) -> None:
    """Create the weights for states of a width, unless `bridge_state` has."""
    for bridge in bridges:
        if not bridge.built:
            bridge.build((None, width))


def bridge_state(
    bridges: list[keras.layers.Dense], state: State, num_layers: int, num_hiddens: int
) -> State:
    """Convert an encoder's state to tensors of shape (num_layers, batch, num_hiddens)."""
    if not bridges:
        return state
    converted = []
    for bridge, values in zip(bridges, state, strict=True):
        layers, batch = values.shape[0], tf.shape(values)[1]
        rows = tf.reshape(tf.transpose(values, (1, 0, 2)), (batch, layers * values.shape[2]))
        rows = tf.reshape(bridge(rows), (batch, num_layers, num_hiddens))
        converted.append(tf.transpose(rows, (1, 0, 2)))
    return converted


def check_states(encoder: Any, decoder: Any) -> None:
    """Raise a `ValueError` if a decoder cannot work with an encoder, such as with its state."""
    copying = decoder.copying
    if copying is not None and encoder.vocab_size != copying.source_vocab_size:
        raise ValueError(
            f"copy is for {copying.source_vocab_size} source tokens, and the encoder has "
            f"{encoder.vocab_size}; give copy_map(source_tokenizer, target_tokenizer)"
        )
    for field, expected in (
        ("num_layers", decoder.encoder_num_layers),
        ("num_hiddens", decoder.encoder_num_hiddens),
    ):
        if getattr(encoder, field) != expected:
            raise ValueError(
                f"{field} is {getattr(encoder, field)} in the encoder and the decoder expects "
                f"{expected}; make them equal, or give the decoder encoder_{field}="
                f"{getattr(encoder, field)}"
            )
    if encoder.cell != decoder.cell:
        raise ValueError(
            f"cell is {encoder.cell!r} in the encoder and {decoder.cell!r} in the decoder, "
            "whose state it gives; make them equal"
        )
