"""Training on several devices of one machine: the same losses as on one."""

import json

import numpy as np
import pytest
from run_files import figures_of, weights_of

import keras_s2s as s2s
from keras_s2s.training.cluster import DistributionConfig
from keras_s2s.training.distribution import start_workers
from keras_s2s.training.train import CorpusSpec
from keras_s2s.utils.errors import InputError

# float32's rounding, which differs with the order in which numbers are added.
TOLERANCE = 1e-5
# Batches of different lengths, the last of them with one pair less than there are replicas.
FIELDS = {
    "embed_size": 8,
    "num_hiddens": 8,
    "num_layers": 1,
    "min_freq": 1,
    "batch_size": 7,
    "bucket_by_length": True,
    "valid_fraction": 0.2,
    "epochs": 3,
}
RUN = """
import json, sys
from keras_s2s.console import load_tensorflow
load_tensorflow()
import keras_s2s as s2s
from keras_s2s.devices import Devices
from keras_s2s.training import CorpusSpec
choice, fields = CorpusSpec(sys.argv[1]), json.loads(sys.argv[3])
s2s.train(choice, sys.argv[2], s2s.Recipe(**fields), seed=2, devices=Devices("mirrored", 2))
"""


@pytest.fixture(scope="module")
def corpus_file(tmp_path_factory):
    """45 pairs; 36 are left to train on, which makes a last batch of one."""
    lines = [
        f"{n} dogs{' and cats' * (n % 4)}\t{n} chiens{' et chats' * (n % 5)}\n" for n in range(45)
    ]
    file = tmp_path_factory.mktemp("pairs") / "pairs.tsv"
    file.write_text("".join(lines), encoding="utf-8")
    return file


def assert_same_figures(run_dir, other):
    for mine, theirs in zip(figures_of(run_dir), figures_of(other), strict=True):
        assert mine == pytest.approx(theirs, rel=TOLERANCE)
    for mine, theirs in zip(weights_of(run_dir), weights_of(other), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-4)


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({}, id="plain"),
        pytest.param(
            {"gradient_accumulation_steps": 3, "ema_momentum": 0.9},
            id="sums",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"attention": "luong", "lr_schedule": "cosine", "early_stopping": "loss"},
            id="attention",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_two_devices_and_one_make_the_same_run(corpus_file, tmp_path, fresh_python, more):
    fields = {**FIELDS, **more}
    s2s.train(CorpusSpec(str(corpus_file)), tmp_path / "one", s2s.Recipe(**fields), seed=2)
    fresh_python(RUN, corpus_file, tmp_path / "two", json.dumps(fields))
    assert_same_figures(tmp_path / "two", tmp_path / "one")
    record = json.loads((tmp_path / "two" / "run.json").read_text(encoding="utf-8"))
    assert record["devices"] == {
        "strategy": "mirrored",
        "devices": 2,
        "wait": 600.0,
        "replicas": 2,
    }
    if not more:
        # It goes on wherever one likes: here, on one device again.
        fields["epochs"] = 5
        s2s.resume(tmp_path / "two", epochs=5, devices=DistributionConfig())
        s2s.train(CorpusSpec(str(corpus_file)), tmp_path / "five", s2s.Recipe(**fields), seed=2)
        assert_same_figures(tmp_path / "two", tmp_path / "five")


@pytest.mark.parametrize(
    ("devices", "message"),
    [
        (
            DistributionConfig("mirored"),
            "strategy is 'mirored'; give one of none, mirrored, multiworker",
        ),
        (
            DistributionConfig("none", 2),
            "devices needs strategy mirrored; give that too, or leave it out",
        ),
        (DistributionConfig("mirrored", 0), "devices is 0; give 1 or more"),
        (DistributionConfig("multiworker", wait=0), "wait is 0; give a number of seconds above 0"),
    ],
)
def test_what_makes_no_sense(devices, message):
    with pytest.raises(InputError) as error, start_workers(devices):
        pass
    assert str(error.value) == message


def test_more_devices_than_a_processor_counts_as():
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        pytest.skip("has a GPU, which is taken then")
    wanted = DistributionConfig("mirrored", 65)
    message = "devices is 65, and the processor counts as 64 at most; give fewer"
    with pytest.raises(InputError, match=message), start_workers(wanted):
        pass


def test_a_process_that_is_at_work_counts_its_processor_no_more():
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        pytest.skip("there are GPUs to take")
    tf.constant(1)
    with (
        pytest.raises(InputError, match=r"^TensorFlow is at work already and .* in a new process$"),
        start_workers(DistributionConfig("mirrored", 2)),
    ):
        pass
    with (
        pytest.raises(InputError, match="found no GPU; give devices 2"),
        start_workers(DistributionConfig("mirrored")),
    ):
        pass


REPLICAS = """
import keras, tensorflow as tf, keras_s2s as s2s
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
sizes = {"embed_size": 4, "num_hiddens": 4, "num_layers": 2}
with strategy.scope():
    model = s2s.Seq2Seq(
        s2s.Seq2SeqEncoder(9, dropout=0.5, **sizes), s2s.Seq2SeqDecoder(9, **sizes)
    )
    model.compile(keras.optimizers.Adam(float("inf")))
layer = model.encoder.rnn.dropout_layer

@tf.function
def dropped():
    return strategy.run(lambda: layer(tf.ones(40), training=True))

def parts():
    return [part.numpy().tolist() for part in strategy.experimental_local_results(dropped())]

first, second = parts(), parts()
states = strategy.experimental_local_results(layer.seed_generator.state.value)
kept = {str(state.numpy().tolist()) for state in states}
print(len({str(part) for part in first + second}), len(kept))

# A step whose gradient is no number is left out on both.
before = model.get_weights()
ids = tf.ones((3, 4), tf.int32), tf.constant([4, 4, 4])
model.encoder.embedding.embeddings.assign(tf.fill((9, 4), float("nan")))
model.fit(tf.data.Dataset.from_tensors((ids, ids)), verbose=0)
import numpy as np
same = [np.array_equal(a, b) for a, b in zip(before, model.get_weights())]
print(int(tf.convert_to_tensor(model.skipped_steps.count)), same.count(False))
"""


def test_replicas_drop_different_values_and_leave_out_what_is_no_number(fresh_python):
    assert fresh_python(REPLICAS).split() == ["4", "1", "1", "1"]


SHARES = """
import tensorflow as tf
from keras_s2s.replicas import shares
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 3)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1", "CPU:2"])
data = tf.data.Dataset.range(9).batch(7)
divided = shares(data, strategy)
for element in divided:
    print([part.numpy().tolist() for part in strategy.experimental_local_results(element)])
print(divided.cardinality, shares(5, strategy))
"""


def test_a_batch_is_divided_row_by_row(fresh_python):
    assert fresh_python(SHARES).splitlines() == [
        "[[0, 3, 6], [1, 4], [2, 5]]",
        "[[7], [8], []]",
        "2 5",
    ]
