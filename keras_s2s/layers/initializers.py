"""Initializers of the recurrent models."""

import keras


def initializer(init_scale: float | None) -> keras.initializers.Initializer:
    """Return Glorot uniform, as the chapter uses, or uniform on [-init_scale, init_scale]."""
    if init_scale is None:
        return keras.initializers.GlorotUniform()
    return keras.initializers.RandomUniform(-init_scale, init_scale)
