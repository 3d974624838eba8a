"""Training on several devices of one machine."""

import json

import pytest
from run_files import assert_equal_runs

import keras_s2s as s2s
from keras_s2s.training.cluster import DistributionConfig
from keras_s2s.training.distribution import start_workers
from keras_s2s.utils.errors import InputError

# float32 sums depend on their order.
RELATIVE_TOLERANCE = 1e-5
WEIGHT_TOLERANCE = 1e-4
RUN = """
import json, sys
from keras_s2s.utils.console import import_tensorflow
import_tensorflow()
import keras_s2s as s2s
from keras_s2s.training import DistributionConfig
config = s2s.TrainingConfig(**json.loads(sys.argv[3]))
s2s.train(
    sys.argv[1], sys.argv[2], config, seed=2, distribution=DistributionConfig("mirrored", 2)
)
"""


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="plain"),
        pytest.param(
            {"gradient_accumulation_steps": 3, "ema_momentum": 0.9},
            id="sums",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {
                "attention": "luong",
                "lr_schedule": "cosine",
                "early_stopping": "loss",
                "valid_fraction": 0.4,
            },
            id="attention",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_two_devices_equal_one(
    corpus_file, distributed_fields, one_device_run, tmp_path, fresh_python, changes
):
    fields = {**distributed_fields, **changes}
    expected = one_device_run
    if changes:
        expected = tmp_path / "one"
        s2s.train(str(corpus_file), expected, s2s.TrainingConfig(**fields), seed=2)
    else:
        fields["epochs"] -= 1
    fresh_python(RUN, corpus_file, tmp_path / "two", json.dumps(fields))
    record = json.loads((tmp_path / "two" / "run.json").read_text(encoding="utf-8"))
    assert record["devices"] == {
        "strategy": "mirrored",
        "num_devices": 2,
        "worker_timeout": 600.0,
        "replicas": 2,
    }
    if not changes:
        # The last epoch is resumed on another number of devices: here one.
        epochs = distributed_fields["epochs"]
        s2s.resume(tmp_path / "two", epochs=epochs, distribution=DistributionConfig())
    assert_equal_runs(tmp_path / "two", expected, RELATIVE_TOLERANCE, WEIGHT_TOLERANCE)


@pytest.mark.parametrize(
    ("distribution", "message"),
    [
        (DistributionConfig("mirored"), "strategy is 'mirored'; .*none, mirrored, multiworker"),
        (DistributionConfig("none", 2), "num_devices needs strategy mirrored"),
        (DistributionConfig("mirrored", 0), "num_devices is 0"),
        (DistributionConfig("multiworker", worker_timeout=0), "worker_timeout is 0"),
    ],
)
def test_invalid_values(distribution, message):
    with pytest.raises(InputError, match=f"^{message}"), start_workers(distribution):
        pass


def test_old_names_and_records():
    old = DistributionConfig("mirrored", devices=2, wait=5.0)
    assert old == DistributionConfig("mirrored", 2, 5.0)
    assert (old.devices, old.wait) == (2, 5.0)
    record = {"strategy": "mirrored", "devices": 2, "wait": 5.0, "replicas": 2}
    assert DistributionConfig.from_record({"devices": record}) == old
    record = {"strategy": "mirrored", "num_devices": 2, "worker_timeout": 5.0, "replicas": 2}
    assert DistributionConfig.from_record({"devices": record}) == old
    assert DistributionConfig.from_record({}) == DistributionConfig()


@pytest.fixture
def no_gpu():
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        pytest.skip("has a GPU, which is used then")


@pytest.mark.usefixtures("no_gpu")
def test_maximum_of_logical_devices():
    distribution = DistributionConfig("mirrored", 65)
    with (
        pytest.raises(InputError, match=r"num_devices is 65.* 64"),
        start_workers(distribution),
    ):
        pass


@pytest.mark.usefixtures("no_gpu")
def test_logical_devices_need_a_new_process():
    import tensorflow as tf

    tf.constant(1)
    with (
        pytest.raises(InputError, match=r"^TensorFlow is initialized .* in a new process$"),
        start_workers(DistributionConfig("mirrored", 2)),
    ):
        pass
    with (
        pytest.raises(InputError, match="found no GPU; give num_devices 2"),
        start_workers(DistributionConfig("mirrored")),
    ):
        pass


REPLICAS = """
import keras, numpy as np, tensorflow as tf, keras_s2s as s2s
from keras_s2s.models.replicas import distribute_dataset
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 3)

# Rows of a batch, on three replicas.
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1", "CPU:2"])
distributed = distribute_dataset(tf.data.Dataset.range(9).batch(7), strategy)
for element in distributed:
    print([rows.numpy().tolist() for rows in strategy.experimental_local_results(element)])
print(distributed.cardinality, distribute_dataset(5, strategy))

# Dropout, on two.
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
sizes = {"embed_size": 4, "num_hiddens": 4, "num_layers": 2}
with strategy.scope():
    model = s2s.Seq2Seq(
        s2s.Seq2SeqEncoder(9, dropout=0.5, **sizes), s2s.Seq2SeqDecoder(9, **sizes)
    )
    model.compile(keras.optimizers.Adam(float("inf")))
layer = model.encoder.rnn.dropout_layer

@tf.function
def dropout():
    return strategy.run(lambda: layer(tf.ones(40), training=True))

def per_replica():
    return [str(value.numpy()) for value in strategy.experimental_local_results(dropout())]

outputs = per_replica() + per_replica()
states = strategy.experimental_local_results(layer.seed_generator.state.value)
print(len(set(outputs)), len({str(state.numpy().tolist()) for state in states}))

# A step with non-finite gradients.
before = model.get_weights()
ids = tf.ones((3, 4), tf.int32), tf.constant([4, 4, 4])
model.encoder.embedding.embeddings.assign(tf.fill((9, 4), float("nan")))
model.fit(tf.data.Dataset.from_tensors((ids, ids)), verbose=0)
same = [np.array_equal(a, b) for a, b in zip(before, model.get_weights())]
print(int(tf.convert_to_tensor(model.skipped_steps.count)), same.count(False))
"""


@pytest.fixture(scope="module")
def replica_output(fresh_python):
    return fresh_python(REPLICAS).splitlines()


def test_batches_are_distributed_by_row(replica_output):
    assert replica_output[:3] == [
        "[[0, 3, 6], [1, 4], [2, 5]]",
        "[[7], [8], []]",
        "2 5",
    ]


def test_replicas_drop_different_values(replica_output):
    assert replica_output[3] == "4 1"


def test_replicas_skip_non_finite_gradients(replica_output):
    assert replica_output[4:] == ["1 1"]
