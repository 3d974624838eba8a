"""`FusedAdam` matches Keras's Adam in all its options; the warm-up schedule."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_s2s.optimizers import FusedAdam, WarmUp, set_fused

SHAPES = [(4, 3), (5,), ()]


def make_variables():
    rng = np.random.default_rng(0)
    return [keras.Variable(rng.normal(size=shape), dtype="float32") for shape in SHAPES]


def gradients(step):
    rng = np.random.default_rng(step + 1)
    return [tf.constant(rng.normal(size=shape), tf.float32) for shape in SHAPES]


def make(fused, **options):
    """Return an optimizer and the variables it is built for."""
    scaled = options.pop("scaled", False)
    optimizer = keras.optimizers.Adam(**{"learning_rate": 0.05, **options})
    if scaled:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=4.0)
    variables = make_variables()
    optimizer.build(variables)
    set_fused(optimizer, fused)
    return optimizer, variables


def take_steps(optimizer, steps, in_graph=False):
    def apply(gradients):
        scale = optimizer.initial_scale if hasattr(optimizer, "inner_optimizer") else 1.0
        optimizer.apply([gradient * scale for gradient in gradients])

    apply = tf.function(apply) if in_graph else apply
    for step in steps:
        apply(gradients(step))


def operations(optimizer):
    """Return the operations in the graph of a step, including its functions."""
    step = tf.function(lambda: optimizer.apply(gradients(0))).get_concrete_function()
    definition = step.graph.as_graph_def()
    nodes = [*definition.node, *(n for f in definition.library.function for n in f.node_def)]
    return [node.op for node in nodes]


def values(optimizer, variables):
    return [variable.numpy() for variable in (*variables, *optimizer.variables)]


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
def test_steps_equal_those_of_keras(options):
    plain, plain_variables = make(False, **options)
    take_steps(plain, range(7))
    expected = values(plain, plain_variables)
    if "use_ema" in options:
        plain.finalize_variable_values(plain_variables)
    for in_graph in (False, True):
        fused, fused_variables = make(True, **options)
        take_steps(fused, range(7), in_graph)
        result = values(fused, fused_variables)
        # At least the weights, the iterations, the learning rate, and two slots for each weight.
        has_schedule = isinstance(options.get("learning_rate"), WarmUp)
        assert len(result) == len(expected) >= 3 + 2 + 6 - has_schedule
        for value, expected_value in zip(result, expected, strict=True):
            np.testing.assert_allclose(value, expected_value, rtol=1e-5, atol=1e-5)
        if "use_ema" in options:
            fused.finalize_variable_values(fused_variables)
            for value, expected_value in zip(fused_variables, plain_variables, strict=True):
                np.testing.assert_allclose(value, expected_value, rtol=1e-5, atol=1e-5)
    assert "ResourceApplyAdam" in operations(fused)
    assert "ResourceApplyAdam" not in operations(plain)


def test_powers_are_computed_once_for_all_variables():
    count = operations(make(True)[0]).count
    assert (count("Pow"), count("ResourceApplyAdam")) == (2, len(SHAPES))


def test_update_step_of_a_single_variable():
    (fused, fused_variables), (plain, plain_variables) = make(True), make(False)
    for optimizer, variables in ((fused, fused_variables), (plain, plain_variables)):
        optimizer.update_step(gradients(0)[0], variables[0], 0.05)
    np.testing.assert_allclose(fused_variables[0], plain_variables[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(fused_variables[1], make_variables()[1])


class CustomAdam(keras.optimizers.Adam):
    """A subclass, whose update may differ from Keras's."""


@pytest.mark.parametrize(
    "make_other",
    [
        lambda: keras.optimizers.Adam(amsgrad=True),
        lambda: keras.optimizers.AdamW(),
        lambda: keras.optimizers.SGD(momentum=0.9),
        CustomAdam,
        lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.AdamW()),
    ],
)
def test_other_optimizers_are_left_as_they_are(make_other):
    optimizer = make_other()
    optimizer.build(make_variables())
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    before = type(inner)
    set_fused(optimizer, True)
    assert type(inner) is before
    assert not isinstance(inner, FusedAdam)


def test_an_adam_can_be_fused_and_restored():
    optimizer, _ = make(True, scaled=True)
    assert type(optimizer.inner_optimizer) is FusedAdam
    names = [variable.path for variable in optimizer.variables]
    set_fused(optimizer, False)
    assert type(optimizer.inner_optimizer) is keras.optimizers.Adam
    assert "ResourceApplyAdam" not in operations(optimizer)
    assert [variable.path for variable in optimizer.variables] == names
    assert "ResourceApplyAdam" not in operations(make(False)[0]), "and no other is changed"


def test_amsgrad_is_refused():
    with pytest.raises(ValueError, match="amsgrad"):
        FusedAdam(amsgrad=True)


def test_replicas_use_it_unless_losses_are_scaled(fresh_python):
    code = """
import keras, tensorflow as tf, keras_s2s as s2s
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

def make(optimizer=None):
    sizes = {"embed_size": 2, "num_hiddens": 2, "num_layers": 1}
    model = s2s.Seq2Seq(s2s.Seq2SeqEncoder(5, **sizes), s2s.Seq2SeqDecoder(5, **sizes))
    model.compile(optimizer)
    return model.skipped_steps is not None

with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    several = make()
    scaled = make(keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam()))
print(several, scaled, make())
"""
    assert fresh_python(code).split() == ["True", "False", "True"]


@pytest.mark.parametrize("saved_as", [FusedAdam, keras.optimizers.Adam])
def test_a_saved_optimizer_continues_the_same(saved_as):
    """Both classes are loaded: files of before 0.2 hold Keras's."""
    options = {"global_clipnorm": 1.0, "learning_rate": WarmUp(0.1, 6)}
    optimizer, variables = make(True, **options)
    take_steps(optimizer, range(4))
    set_fused(optimizer, saved_as is FusedAdam)
    config = keras.saving.serialize_keras_object(optimizer)
    set_fused(optimizer, True)
    assert config["class_name"] == saved_as.__name__
    loaded = keras.saving.deserialize_keras_object(config)
    assert type(loaded) is saved_as
    copies = make_variables()
    loaded.build(copies)
    loaded.set_weights([variable.numpy() for variable in optimizer.variables])
    assert loaded.name == optimizer.name
    for variable, copy in zip(variables, copies, strict=True):
        copy.assign(variable.numpy())
    set_fused(loaded, True)
    for each in (optimizer, loaded):
        take_steps(each, range(4, 8))
    for value, expected in zip(values(loaded, copies), values(optimizer, variables), strict=True):
        np.testing.assert_array_equal(value, expected)


def test_a_skipped_step_of_accumulated_gradients_names_its_batch():
    optimizer, _ = make(True, gradient_accumulation_steps=2)
    for step, scale in enumerate((1, 1, np.nan, 1)):
        optimizer.apply([gradient * scale for gradient in gradients(step)])
    assert int(optimizer.skipped_steps.count) == 1
    assert int(optimizer.skipped_steps.iteration) == 3


def test_sparse_gradients():
    (fused, fused_variables), (plain, plain_variables) = make(True), make(False)
    for optimizer, variables in ((fused, fused_variables), (plain, plain_variables)):
        slices = tf.IndexedSlices(tf.ones((2, 3)), tf.constant([3, 1]), tf.constant([4, 3]))
        optimizer.apply([slices, *gradients(0)[1:]], variables)
    for value, expected in zip(fused_variables, plain_variables, strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-5)


# Warm-up


def rates(schedule, steps):
    return [float(schedule(step)) for step in range(steps)]


def test_linear_warm_up_to_a_constant_rate():
    result = rates(WarmUp(0.5, warmup_steps=5), 9)
    np.testing.assert_allclose(result, [0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.5, 0.5, 0.5], rtol=1e-6)


def test_inverse_square_root_decay():
    schedule = WarmUp(0.5, warmup_steps=4, decay=True)
    expected = [0.125, 0.25, 0.375, 0.5] + [0.5 * (4 / step) ** 0.5 for step in range(4, 40)]
    np.testing.assert_allclose(rates(schedule, 40), expected, rtol=1e-6)
    assert float(schedule(400)) == pytest.approx(0.05)


def test_the_peak_is_held_before_the_decay():
    result = rates(WarmUp(0.5, warmup_steps=0, decay=True, hold_steps=4), 17)
    np.testing.assert_allclose(result[:5], 0.5)
    assert result[16] == pytest.approx(0.25)


@pytest.mark.parametrize("decay", [False, True])
def test_without_warm_up_it_starts_at_the_peak(decay):
    result = rates(WarmUp(0.5, warmup_steps=0, decay=decay), 10)
    assert result[:2] == [0.5, 0.5]
    assert np.isfinite(result).all()
    assert (result[-1] < result[0]) == decay


def test_steps_of_any_integer_type_also_in_a_graph():
    schedule = WarmUp(0.5, warmup_steps=5, decay=True)
    variable = keras.Variable(2, dtype="int32")
    expected = pytest.approx(0.3)
    for step in (2, np.int64(2), tf.constant(2, tf.int64), variable):
        assert float(schedule(step)) == expected
    assert float(tf.function(schedule)(tf.constant(2))) == expected


def test_an_optimizer_follows_the_schedule():
    variable = keras.Variable([0.0])
    optimizer = keras.optimizers.SGD(WarmUp(0.5, 5))
    optimizer.build([variable])
    trajectory = []
    for _ in range(6):
        optimizer.apply([tf.constant([-1.0])])
        trajectory.append(float(variable.numpy()[0]))
    assert trajectory == pytest.approx([0.1, 0.3, 0.6, 1.0, 1.5, 2.0])


def test_a_schedule_is_saved_and_restored():
    schedule = WarmUp(0.5, warmup_steps=5, decay=True, hold_steps=7)
    config = keras.saving.serialize_keras_object(schedule)
    # Files written before 0.2 name this module, which is gone.
    for module in (config["module"], "keras_s2s.schedules"):
        restored = keras.saving.deserialize_keras_object({**config, "module": module})
        assert type(restored) is WarmUp
        assert rates(restored, 20) == rates(schedule, 20)
    del config["config"]["hold_steps"]  # of an earlier version
    restored = keras.saving.deserialize_keras_object(config)
    assert rates(restored, 20) == rates(WarmUp(0.5, warmup_steps=5, decay=True), 20)
