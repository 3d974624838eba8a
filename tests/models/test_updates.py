"""An update is that of one large batch: over replicas, over accumulated batches, and clipped."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_s2s as s2s
from keras_s2s.models.updates import TokenUpdates

OPTIMIZERS = {
    "adam": lambda **options: keras.optimizers.Adam(0.1, **options),
    "adamw": lambda **options: keras.optimizers.AdamW(0.1, **options),
    "sgd": lambda **options: keras.optimizers.SGD(0.5, momentum=0.9, **options),
}
CLIPPING = ({"global_clipnorm": 0.5}, {"clipnorm": 0.5}, {"clipvalue": 0.1}, {})


def norm(arrays):
    return float(np.sqrt(sum(np.square(array, dtype="float64").sum() for array in arrays)))


def joined(elements):
    """Return the pairs of several elements as one batch."""
    columns = zip(*map(tf.nest.flatten, elements), strict=True)
    return tf.nest.pack_sequence_as(elements[0], [tf.concat(column, 0) for column in columns])


def steps(model, elements):
    """Return the decrease of each weight after training steps on elements."""
    before = model.get_weights()
    for element in elements:
        model.train_step(element)
    return [old - new for old, new in zip(before, model.get_weights(), strict=True)]


def averages(model):
    return [average.numpy() for average in model.optimizer._model_variables_moving_average]


def assert_all_close(result, expected, tolerance=1e-5):
    for value, expected_value in zip(result, expected, strict=True):
        np.testing.assert_allclose(value, expected_value, rtol=tolerance, atol=tolerance)


# Accumulated batches


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_accumulated_batches_are_one_large_batch(make_model, batches, name):
    options = {"use_ema": True, "ema_momentum": 0.9, "global_clipnorm": 0.05}
    elements = list(batches)
    counts = [int(tf.reduce_sum(tf.maximum(element[1][1] - 1, 0))) for element in elements]
    assert counts[0] != counts[1]
    assert counts[2] != counts[3]
    several, one = make_model(), make_model()
    several.compile(OPTIMIZERS[name](gradient_accumulation_steps=2, **options), run_eagerly=True)
    one.compile(OPTIMIZERS[name](**options), run_eagerly=True)
    initial = several.get_weights()
    assert_all_close(steps(several, elements[:1]), [0 * weight for weight in initial])
    assert_all_close(averages(several), several.trainable_weights, 0)
    expected = steps(one, [joined(elements[:2])])
    steps(several, elements[1:2])
    assert_all_close(several.get_weights(), one.get_weights())
    assert norm(expected) > 0.01
    for model, rest in ((several, elements[2:]), (one, [joined(elements[2:])])):
        steps(model, rest)
    assert_all_close(several.get_weights(), one.get_weights())
    # The average has moved twice, not four times.
    assert_all_close(averages(several), averages(one))


def test_accumulation_as_keras_does(make_model, batches):
    elements = list(batches.take(2))
    model, single = make_model(), make_model()
    model.compile(keras.optimizers.SGD(1.0, gradient_accumulation_steps=2), weigh_accumulated=False)
    single.compile(keras.optimizers.SGD(1.0))
    gradients = []
    for element in elements:
        gradients.append(steps(single, [element]))
        single.set_weights(model.get_weights())
    mean = [(one + other) / 2 for one, other in zip(*gradients, strict=True)]
    assert_all_close(steps(model, elements), mean)


def test_the_tokens_of_an_incomplete_update_are_in_a_checkpoint(make_model, batches):
    element = next(iter(batches))
    model = make_model()
    model.compile(keras.optimizers.SGD(1.0, gradient_accumulation_steps=2))
    [num_tokens] = model.update_variables
    model.train_step(element)
    assert float(num_tokens) == int(tf.reduce_sum(tf.maximum(element[1][1] - 1, 0)))
    model.train_step(element)
    assert float(num_tokens) == 0
    model.compile(keras.optimizers.SGD(1.0))
    assert model.update_variables == []


# What is clipped


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_the_chapters_clipping(make_model, batches, name):
    """The gradient of the sum over sentences of their mean over 7 steps has at most the norm 1."""
    element = joined(list(batches))
    num_tokens = int(tf.reduce_sum(tf.maximum(element[1][1] - 1, 0)))
    plain, clipped = make_model(), make_model()
    plain.compile(keras.optimizers.SGD(1.0))
    gradient = steps(plain, [element])
    sentences_norm = norm(gradient) * num_tokens / 7
    assert norm(gradient) < 1 < sentences_norm, "the mean over tokens would not be clipped"
    # Adam does not see the size of a gradient, but for its epsilon.
    optimizer = (
        keras.optimizers.SGD(1.0, global_clipnorm=1.0)
        if name == "sgd"
        else keras.optimizers.Adam(1e3, beta_1=0.0, beta_2=0.0, epsilon=1e3, global_clipnorm=1.0)
    )
    clipped.compile(optimizer, clip_num_steps=7)
    expected = [array / sentences_norm for array in gradient]
    assert_all_close(steps(clipped, [element]), expected, 1e-3 if name == "adam" else 1e-6)
    # And after another `compile` again that of the mean over tokens.
    clipped.set_weights(make_model().get_weights())
    clipped.compile(keras.optimizers.SGD(1.0, global_clipnorm=1.0))
    assert_all_close(steps(clipped, [element]), gradient)


def test_an_optimizer_that_needs_no_help_is_left_alone(make_model):
    optimizer = keras.optimizers.SGD(global_clipnorm=1.0)
    TokenUpdates(optimizer, num_replicas=2, clip_num_steps=3)
    assert "_clip_gradients" in vars(optimizer)
    TokenUpdates(optimizer)
    assert "_clip_gradients" not in vars(optimizer)
    with pytest.raises(s2s.utils.errors.InputError, match="clip_num_steps"):
        make_model().compile(clip_num_steps=0)


def test_files_of_earlier_versions_accumulate_as_they_did(make_model):
    model = make_model()
    model.compile(keras.optimizers.SGD(gradient_accumulation_steps=2))
    config = model.get_compile_config()
    assert config["weigh_accumulated"]
    model.compile_from_config(config)
    assert model.weigh_accumulated
    del config["weigh_accumulated"], config["clip_num_steps"]
    model.compile_from_config(config)
    assert not model.weigh_accumulated
    assert model.update_variables == []


# Several replicas

MIRRORED = """
import json, sys
import keras, numpy as np, tensorflow as tf
sys.path.insert(0, sys.argv[1])
from keras_s2s.models.updates import TokenUpdates
from test_updates import CLIPPING, OPTIMIZERS, gradients_of
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
results = []
for name in OPTIMIZERS:
    for clipping in CLIPPING:
        with strategy.scope():
            variable = keras.Variable(np.ones((3, 2)), dtype="float32")
            optimizer = OPTIMIZERS[name](**clipping)
            optimizer.build([variable])
            updates = TokenUpdates(optimizer, num_replicas=2)

        @tf.function
        def step(gradients):
            strategy.run(
                lambda gradient: updates.apply([gradient], [variable], tf.constant(1.0)),
                (gradients,),
            )

        for batch in range(3):
            step(strategy.experimental_distribute_values_from_function(
                lambda context: tf.constant(
                    gradients_of(batch)[context.replica_id_in_sync_group], tf.float32
                )
            ))
        results.append(variable.numpy().tolist())
print(json.dumps(results))
"""


def gradients_of(batch):
    """Return the gradients of two replicas, of which the first has most of the tokens."""
    rng = np.random.default_rng(batch)
    return rng.normal(size=(3, 2)), 0.1 * rng.normal(size=(3, 2))


def test_two_replicas_clip_as_one_with_any_optimizer(fresh_python, request):
    results = iter(json.loads(fresh_python(MIRRORED, request.path.parent)))
    for make in OPTIMIZERS.values():
        for clipping in CLIPPING:
            variable = keras.Variable(np.ones((3, 2)), dtype="float32")
            optimizer = make(**clipping)
            optimizer.build([variable])
            for batch in range(3):
                optimizer.apply([tf.constant(sum(gradients_of(batch)), tf.float32)])
            np.testing.assert_allclose(next(results), variable, rtol=1e-4, atol=1e-5)
