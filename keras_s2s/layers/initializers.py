"""Initializers of the recurrent models."""

from typing import Any

import keras


def initializer(init_scale: float | None) -> keras.initializers.Initializer:
    """Return Glorot uniform, as the chapter uses, or uniform on [-init_scale, init_scale]."""
    if init_scale is None:
        return keras.initializers.GlorotUniform()
    return keras.initializers.RandomUniform(-init_scale, init_scale)


def make_dense(
    name: str, units: int, init_scale: float | None, dtype: Any, **options: Any
) -> keras.layers.Dense:
    """Return a dense layer with these initial weights; options of `keras.layers.Dense`."""
    return keras.layers.Dense(
        units, kernel_initializer=initializer(init_scale), dtype=dtype, name=name, **options
    )
