"""Initializers of the recurrent models."""

import keras


def initializer(init_scale: float | None) -> keras.initializers.Initializer:
    """Where weights begin: Glorot's way, as the chapter's, or evenly within a scale."""
    if init_scale is None:
        return keras.initializers.GlorotUniform()
    return keras.initializers.RandomUniform(-init_scale, init_scale)
