"""Learning rates: what they are at each step, and that an optimizer takes them."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_s2s.schedules import WarmUp


def rates(schedule, steps):
    return [float(schedule(step)) for step in range(steps)]


def test_it_rises_in_a_straight_line_and_stays():
    found = rates(WarmUp(0.5, warmup_steps=5), 9)
    np.testing.assert_allclose(found, [0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.5, 0.5, 0.5], rtol=1e-6)


def test_or_falls_with_the_root_of_the_steps():
    schedule = WarmUp(0.5, warmup_steps=4, decay=True)
    expected = [0.125, 0.25, 0.375, 0.5] + [0.5 * (4 / step) ** 0.5 for step in range(4, 40)]
    np.testing.assert_allclose(rates(schedule, 40), expected, rtol=1e-6)
    assert float(schedule(400)) == pytest.approx(0.05)


@pytest.mark.parametrize("decay", [False, True])
def test_without_a_warm_up_it_begins_with_the_highest(decay):
    found = rates(WarmUp(0.5, warmup_steps=0, decay=decay), 10)
    assert found[:2] == [0.5, 0.5]
    assert np.isfinite(found).all()
    assert (found[-1] < found[0]) == decay


def test_steps_of_any_kind_in_a_graph_too():
    schedule = WarmUp(0.5, warmup_steps=5, decay=True)
    variable = keras.Variable(2, dtype="int32")
    expected = pytest.approx(0.3)
    for step in (2, np.int64(2), tf.constant(2, tf.int64), variable):
        assert float(schedule(step)) == expected
    assert float(tf.function(schedule)(tf.constant(2))) == expected


def test_an_optimizer_follows_it():
    variable = keras.Variable([0.0])
    optimizer = keras.optimizers.SGD(WarmUp(0.5, 5))
    optimizer.build([variable])
    places = []
    for _ in range(6):
        optimizer.apply([tf.constant([-1.0])])
        places.append(float(variable.numpy()[0]))
    assert places == pytest.approx([0.1, 0.3, 0.6, 1.0, 1.5, 2.0])


def test_saved_and_restored():
    schedule = WarmUp(0.5, warmup_steps=5, decay=True)
    restored = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
    assert type(restored) is WarmUp
    assert rates(restored, 20) == rates(schedule, 20)
