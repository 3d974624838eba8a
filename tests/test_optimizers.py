"""Adam in one operation is Keras's Adam, in all that goes with it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_s2s.optimizers import update_in_one_operation
from keras_s2s.schedules import WarmUp

SHAPES = [(4, 3), (5,), ()]


def variables():
    rng = np.random.default_rng(0)
    return [keras.Variable(rng.normal(size=shape), dtype="float32") for shape in SHAPES]


def gradients(step):
    rng = np.random.default_rng(step + 1)
    return [tf.constant(rng.normal(size=shape), tf.float32) for shape in SHAPES]


def make(patched, **options):
    """An optimizer and the variables it is for."""
    scaled = options.pop("scaled", False)
    optimizer = keras.optimizers.Adam(**{"learning_rate": 0.05, **options})
    if scaled:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=4.0)
    places = variables()
    optimizer.build(places)
    if patched:
        update_in_one_operation(optimizer)
    return optimizer, places


def take_steps(optimizer, steps, in_graph=False):
    def step(given):
        scale = optimizer.initial_scale if hasattr(optimizer, "inner_optimizer") else 1.0
        optimizer.apply([gradient * scale for gradient in given])

    step = tf.function(step) if in_graph else step
    for number in steps:
        step(gradients(number))


def operations(optimizer, places):
    """What the graph of a step consists of, that of functions in it too."""
    step = tf.function(lambda: optimizer.apply(gradients(0))).get_concrete_function()
    definition = step.graph.as_graph_def()
    nodes = [*definition.node, *(n for f in definition.library.function for n in f.node_def)]
    return [node.op for node in nodes]


def values(optimizer, places):
    return [variable.numpy() for variable in (*places, *optimizer.variables)]


@pytest.mark.parametrize("in_graph", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-3},
        {"global_clipnorm": 0.5},
        {"clipnorm": 0.5},
        {"clipvalue": 0.1},
        {"weight_decay": 0.1},
        {"use_ema": True, "ema_momentum": 0.9},
        {"use_ema": True, "ema_momentum": 0.9, "ema_overwrite_frequency": 3},
        {"gradient_accumulation_steps": 2},
        {"learning_rate": WarmUp(0.1, 3)},
        {"scaled": True, "global_clipnorm": 0.5},
    ],
    ids=lambda options: " ".join(options) or "plain",
)
def test_several_steps_are_those_of_keras(options, in_graph):
    ours, our_places = make(True, **options)
    theirs, their_places = make(False, **options)
    for optimizer in (ours, theirs):
        take_steps(optimizer, range(7), in_graph)
    found, expected = values(ours, our_places), values(theirs, their_places)
    # Weights, the count of steps, the learning rate, and two slots for each at least.
    assert (
        len(found) == len(expected) >= 3 + 2 + 6 - isinstance(options.get("learning_rate"), WarmUp)
    )
    for part, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(part, wanted, rtol=1e-5, atol=1e-5)
    if "use_ema" in options:
        for optimizer, places in ((ours, our_places), (theirs, their_places)):
            optimizer.finalize_variable_values(places)
        for part, wanted in zip(our_places, their_places, strict=True):
            np.testing.assert_allclose(part, wanted, rtol=1e-5, atol=1e-5)
    assert "ResourceApplyAdam" in operations(ours, our_places)
    assert "ResourceApplyAdam" not in operations(theirs, their_places)


def test_powers_are_raised_once_for_all_variables():
    count = operations(*make(True)).count
    assert (count("Pow"), count("ResourceApplyAdam")) == (2, len(SHAPES))


class Child(keras.optimizers.Adam):
    """Something of its own, that Keras's step is a part of."""


@pytest.mark.parametrize(
    "make_other",
    [
        lambda: keras.optimizers.Adam(amsgrad=True),
        lambda: keras.optimizers.AdamW(),
        lambda: keras.optimizers.SGD(momentum=0.9),
        Child,
        lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.AdamW()),
    ],
)
def test_other_optimizers_are_left_as_they_are(make_other):
    optimizer = make_other()
    optimizer.build(variables())
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    before = inner.update_step
    update_in_one_operation(optimizer)
    assert inner.update_step == before
    assert "update_step" not in vars(inner)


def test_nor_are_other_adams():
    patched, _ = make(True)
    other, places = make(False)
    assert "ResourceApplyAdam" not in operations(other, places)
    assert type(patched) is keras.optimizers.Adam


def test_a_model_of_several_replicas_has_it_too_unless_losses_are_scaled(fresh_python):
    code = """
import keras, tensorflow as tf, keras_s2s as s2s
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

def make(optimizer=None):
    sizes = {"embed_size": 2, "num_hiddens": 2, "num_layers": 1}
    model = s2s.Seq2Seq(s2s.Seq2SeqEncoder(5, **sizes), s2s.Seq2SeqDecoder(5, **sizes))
    model.compile(optimizer)
    return model.guard is not None

with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    several = make()
    scaled = make(keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam()))
print(several, scaled, make())
"""
    assert fresh_python(code).split() == ["True", "False", "True"]


def test_a_saved_optimizer_goes_on_the_same(tmp_path):
    options = {"global_clipnorm": 1.0, "learning_rate": WarmUp(0.1, 6)}
    optimizer, places = make(True, **options)
    take_steps(optimizer, range(4))
    config = keras.saving.serialize_keras_object(optimizer)
    assert config["class_name"] == "Adam"
    loaded = keras.saving.deserialize_keras_object(config)
    copies = variables()
    loaded.build(copies)
    loaded.set_weights([variable.numpy() for variable in optimizer.variables])
    for place, copy in zip(places, copies, strict=True):
        copy.assign(place.numpy())
    update_in_one_operation(loaded)
    for each in (optimizer, loaded):
        take_steps(each, range(4, 8))
    for part, wanted in zip(values(loaded, copies), values(optimizer, places), strict=True):
        np.testing.assert_array_equal(part, wanted)


def test_slices_are_a_gradient_too():
    ours, theirs = make(True), make(False)
    for optimizer, places in (ours, theirs):
        slices = tf.IndexedSlices(tf.ones((2, 3)), tf.constant([3, 1]), tf.constant([4, 3]))
        optimizer.apply([slices, *gradients(0)[1:]], places)
    for part, wanted in zip(ours[1], theirs[1], strict=True):
        np.testing.assert_allclose(part, wanted, rtol=1e-5, atol=1e-5)
