"""Keras's calls, one test for each row of `docs/keras-calls.md`, and the values of the results."""

import re
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_s2s as s2s
from keras_s2s.layers.attention import Attention
from keras_s2s.layers.stacked_rnn import StackedRNN

TABLES = Path(__file__).parents[2] / "docs" / "keras-calls.md"
CALLS = ("fit", "evaluate", "predict", "train_on_batch", "test_on_batch", "predict_on_batch")
VOCAB_SIZE = 9
SOURCE = np.array([[4, 5, 6, 0], [7, 0, 0, 0], [5, 4, 0, 0], [8, 7, 6, 5]])
TARGET = np.array([[1, 4, 2, 0, 0], [1, 5, 6, 7, 2], [1, 2, 0, 0, 0], [1, 8, 4, 2, 0]])
ROW_WEIGHTS = np.array([1.0, 0.5, 0.0, 3.0], "float32")
TOKEN_WEIGHTS = np.random.default_rng(0).random((4, 5)).astype("float32")


def read_tables():
    """Return the rows of the tables: data calls by row and column, and configurations by row."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in TABLES.read_text(encoding="utf-8").splitlines()
        if line.startswith("|") and not line.startswith("|--")
    ]
    header = next(row for row in rows if len(row) > 2)
    data = {row[0]: dict(zip(header[1:], row[1:], strict=True)) for row in rows if len(row) > 2}
    del data[header[0]]
    return header[1:], data, {row[0]: row[1] for row in rows if len(row) == 2 and row[0] != "call"}


COLUMNS, DATA_ROWS, CONFIGURATION_ROWS = read_tables()


def make(seed=0, **options):
    keras.utils.set_random_seed(seed)
    sizes = {"embed_size": 6, "num_hiddens": 6, "num_layers": 1, **options}
    return s2s.Seq2Seq(
        s2s.Seq2SeqEncoder(VOCAB_SIZE, **sizes), s2s.Seq2SeqDecoder(VOCAB_SIZE, **sizes), **options
    )


@pytest.fixture(scope="module")
def model():
    """A model whose weights stay as they are in training."""
    model = make()
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    return model


def lengths(ids):
    return np.count_nonzero(ids, axis=1)


def expected_loss(model, weights=None):
    """Compute the loss of the four pairs in NumPy, from the model's call."""
    logits = model(((SOURCE, lengths(SOURCE)), (TARGET, lengths(TARGET)))).numpy()
    logits = logits.astype("float64")
    labels = TARGET[:, 1:]
    losses = np.log(np.exp(logits).sum(axis=-1))
    losses -= np.take_along_axis(logits, labels[..., None], axis=-1)[..., 0]
    return np.average(losses, weights=(labels != 0) * (1.0 if weights is None else weights))


class Pairs(keras.utils.PyDataset):
    """The four pairs as two batches."""

    def __len__(self):
        return 2

    def __getitem__(self, index):
        rows = slice(2 * index, 2 * index + 2)
        return SOURCE[rows], TARGET[rows]


def endless_pairs():
    while True:
        yield from (Pairs()[index] for index in range(2))


def dataset_of_make_dataset():
    arrays = ((SOURCE, lengths(SOURCE)), (TARGET, lengths(TARGET)))
    arrays = tf.nest.map_structure(lambda array: array.astype("int32"), arrays)
    return tf.data.Dataset.from_tensor_slices(arrays).batch(2)


def weighted_dataset():
    return tf.data.Dataset.from_tensor_slices((SOURCE, TARGET, ROW_WEIGHTS)).batch(2)


def with_lengths():
    return (SOURCE, lengths(SOURCE)), (TARGET, lengths(TARGET))


# For each row: the positional arguments, the keyword arguments, the weights of the labels.
DATA = {
    "a dataset of `make_dataset`": lambda: ((dataset_of_make_dataset(),), {}, None),
    "a `tf.data.Dataset` of `(x, y, sample_weight)`": lambda: (
        (weighted_dataset(),),
        {},
        ROW_WEIGHTS[:, None],
    ),
    "a generator": lambda: ((endless_pairs(),), {"steps": 2}, None),
    "a `keras.utils.PyDataset`": lambda: ((Pairs(),), {}, None),
    "arrays, x and y as `(ids, valid_length)`": lambda: (with_lengths(), {}, None),
    "arrays, x and y as ids": lambda: ((SOURCE, TARGET), {}, None),
    "arrays, x as `(source, target)`": lambda: (((SOURCE, TARGET),), {}, None),
    "ids of type int64": lambda: (((SOURCE.astype("int64"), TARGET.astype("int64")),), {}, None),
    "ids of type uint8": lambda: (((SOURCE.astype("uint8"), TARGET.astype("uint8")),), {}, None),
    "`sample_weight` of rows": lambda: (
        (SOURCE, TARGET),
        {"sample_weight": ROW_WEIGHTS},
        ROW_WEIGHTS[:, None],
    ),
    "`sample_weight` of rows, x and y as `(ids, valid_length)`": lambda: (
        with_lengths(),
        {"sample_weight": ROW_WEIGHTS},
        ROW_WEIGHTS[:, None],
    ),
    "`sample_weight` of tokens": lambda: (
        (SOURCE, TARGET),
        {"sample_weight": TOKEN_WEIGHTS},
        TOKEN_WEIGHTS[:, 1:],
    ),
    "`class_weight`": lambda: ((SOURCE, TARGET), {"class_weight": {4: 2.0}}, None),
    "a source without a target": lambda: ((SOURCE,), {}, None),
    "`<pad>` before tokens, without valid lengths": lambda: (
        ((SOURCE[:, ::-1], TARGET),),
        {},
        None,
    ),
    "ids of a floating-point type": lambda: (((SOURCE + 0.0, TARGET + 0.0),), {}, None),
}


def test_the_tables_and_the_tests_have_the_same_cells():
    assert tuple(COLUMNS) == CALLS
    assert list(DATA_ROWS) == list(DATA)
    assert list(CONFIGURATION_ROWS) == list(CONFIGURATIONS)
    cells = [cell for row in DATA_ROWS.values() for cell in row.values()]
    assert set(cells) == {"yes", "error", "—"}
    assert set(CONFIGURATION_ROWS.values()) == {"yes", "error"}


@pytest.mark.parametrize("row", DATA)
def test_data(model, row):
    for name, cell in DATA_ROWS[row].items():
        if cell == "—":
            continue
        arguments, options, weights = DATA[row]()
        if not name.endswith("on_batch"):
            options["verbose"] = 0
        if name == "fit" and "steps" in options:
            options["steps_per_epoch"] = options.pop("steps")
        if cell == "error":
            with pytest.raises(s2s.InputError) as caught:
                getattr(model, name)(*arguments, **options)
            assert "\n" not in str(caught.value)
            continue
        result = getattr(model, name)(*arguments, **options)
        if name.startswith("predict"):
            logits = model(with_lengths())
            np.testing.assert_allclose(result, logits, atol=1e-6)
            continue
        loss = result.history["loss"][0] if name == "fit" else result[0]
        np.testing.assert_allclose(loss, expected_loss(model, weights), rtol=1e-5)


def test_weights_reach_the_gradient():
    """A row of weight 0 changes nothing; uniform weights are no weights."""
    updates = []
    for rows, weights in (
        ([0, 1, 3], None),
        ([0, 1, 2, 3], np.array([1.0, 1.0, 0.0, 1.0])),
        ([0, 1, 3], np.full(3, 0.125)),
    ):
        model = make()
        model.compile(keras.optimizers.SGD(1.0), run_eagerly=True)
        before = model.get_weights()
        model.train_on_batch(SOURCE[rows], TARGET[rows], sample_weight=weights)
        updates.append([old - new for old, new in zip(before, model.get_weights(), strict=True)])
    assert max(np.abs(update).max() for update in updates[0]) > 0.01
    for others in updates[1:]:
        for update, other in zip(updates[0], others, strict=True):
            np.testing.assert_allclose(other, update, atol=1e-6)


def test_errors_of_a_graph_are_one_line():
    model = make()
    model.compile()
    with pytest.raises(s2s.InputError, match="<pad> before a token"):
        model.evaluate((SOURCE[:, ::-1], TARGET), verbose=0)


# Configurations


def half_squares(labels, logits):
    """A loss for each token, of one's own."""
    chosen = tf.gather(logits, tf.cast(labels, tf.int32), axis=-1, batch_dims=2)
    return tf.square(1.0 - chosen) / 2


def default():
    model = make()
    model.compile()
    # 0.005 and a global norm of 1 are the chapter's.
    assert model.optimizer.global_clipnorm == 1.0
    assert float(model.optimizer.learning_rate) == pytest.approx(0.005)
    expected = expected_loss(model)
    assert model.evaluate(dataset_of_make_dataset(), verbose=0)[0] == pytest.approx(expected)


def compiled(**options):
    """Compile and evaluate the four pairs; return model, logs, logits and the mask of labels."""
    model = make()
    model.compile(keras.optimizers.SGD(0.1), run_eagerly=True, **options)
    logs = model.test_on_batch(SOURCE, TARGET, sample_weight=ROW_WEIGHTS, return_dict=True)
    return model, logs, model((SOURCE, TARGET)).numpy(), TARGET[:, 1:] != 0


def own_loss():
    model, logs, logits, mask = compiled(loss=half_squares)
    losses = half_squares(TARGET[:, 1:], logits).numpy()
    assert logs["loss"] == pytest.approx(np.average(losses, weights=mask * ROW_WEIGHTS[:, None]))
    assert logs["perplexity"] == pytest.approx(np.exp(expected_loss(model)), rel=1e-5)
    before = [model.train_on_batch(SOURCE, TARGET)[0] for _ in range(3)]
    assert before[2] < before[0]


def own_metrics():
    metric = keras.metrics.SparseTopKCategoricalAccuracy(3, name="top3")
    weighted = keras.metrics.SparseTopKCategoricalAccuracy(3, name="weighted")
    _, logs, logits, mask = compiled(metrics=[metric], weighted_metrics=[weighted])
    ranks = (logits > np.take_along_axis(logits, TARGET[:, 1:, None], -1)).sum(axis=-1)
    assert logs["top3"] == pytest.approx((ranks < 3)[mask].mean())
    weights = mask * ROW_WEIGHTS[:, None]
    assert logs["weighted"] == pytest.approx(np.average(ranks < 3, weights=weights))


def masked_loss():
    model, logs, _, _ = compiled(loss=s2s.MaskedSoftmaxCELoss())
    assert logs["loss"] == pytest.approx(expected_loss(model, ROW_WEIGHTS[:, None]), rel=1e-5)


def accuracy_by_name():
    _, logs, logits, mask = compiled(metrics=["accuracy"])
    right = logits.argmax(axis=-1) == TARGET[:, 1:]
    assert logs["accuracy"] == pytest.approx(right[mask].mean())
    assert set(logs) == {"loss", "accuracy", "perplexity"}


def optimizer(name, **options):
    def run():
        model = make()
        model.compile(getattr(keras.optimizers, name)(0.05, **options), run_eagerly=True)
        losses = [model.train_on_batch(SOURCE, TARGET)[0] for _ in range(3)]
        assert losses[-1] < losses[0]

    return run


def policy(name):
    def run():
        model = make(dtype=name)
        model.compile(keras.optimizers.Adam(0.1), run_eagerly=True)
        losses = [model.train_on_batch(SOURCE, TARGET)[0] for _ in range(3)]
        assert losses[-1] < losses[0]

    return run


def strategy(make_strategy):
    def run():
        with make_strategy().scope():
            model = make()
            model.compile(keras.optimizers.SGD(0.0), metrics=[half_squares])
        history = model.fit(dataset_of_make_dataset(), verbose=0).history
        assert history["loss"][0] == pytest.approx(expected_loss(model), rel=1e-5)

    return run


def mode(**options):
    def run():
        model = make()
        model.compile(keras.optimizers.SGD(0.0), metrics=[half_squares], **options)
        # The training step is the gradient in all modes; see `test_seq2seq.py`.
        loss = model.evaluate(dataset_of_make_dataset(), verbose=0)[0]
        assert loss == pytest.approx(expected_loss(model), rel=1e-5)

    return run


def compile_only(**options):
    return lambda: make().compile(**options)


def save_and_load(tmp_path):
    model = make()
    top3 = keras.metrics.SparseTopKCategoricalAccuracy(3, name="top3")
    model.compile(loss=s2s.MaskedSoftmaxCELoss(), metrics=[top3], run_eagerly=True)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    expected = model.test_on_batch(SOURCE, TARGET, return_dict=True)
    assert loaded.test_on_batch(SOURCE, TARGET, return_dict=True) == expected
    assert "top3" in expected


def save_hdf5(tmp_path):
    kept = tmp_path / "kept.hdf5"
    kept.write_text("before")
    model = make()
    with pytest.raises(s2s.InputError, match=r"\.keras"):
        model.save(kept)
    assert kept.read_text() == "before"
    keras.saving.save_model(model, tmp_path / "model.h5")


def save_and_load_weights(tmp_path):
    model, other = make(), make(seed=1)
    model.save_weights(tmp_path / "model.weights.h5")
    other.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(other((SOURCE, TARGET)), model((SOURCE, TARGET)))


def export(tmp_path):
    model = make()
    model.export(tmp_path / "exported", verbose=False)
    loaded = tf.saved_model.load(str(tmp_path / "exported"))
    batch = tf.nest.map_structure(lambda array: tf.constant(array, tf.int32), with_lengths())
    np.testing.assert_allclose(loaded.serve(batch), model(batch), atol=1e-6)


def summary():
    lines = []
    make().summary(print_fn=lambda text, line_break=True: lines.append(text))
    text = "\n".join(lines)
    assert "(None, None, 6)" in text
    assert f"(None, None, {VOCAB_SIZE})" in text
    assert "?" not in text


CONFIGURATIONS = {
    "`compile()`: cross-entropy, Adam as in the chapter": default,
    "`compile(loss=…)`, a loss for each token": own_loss,
    "`compile(loss=…)` of a mean or a sum": compile_only(
        loss=lambda labels, logits: tf.reduce_mean(logits)
    ),
    "`compile(loss=…)` of probabilities": compile_only(loss="sparse_categorical_crossentropy"),
    "`compile(loss=MaskedSoftmaxCELoss())`": masked_loss,
    "`compile(loss_weights=…)`": compile_only(loss_weights=[2.0]),
    "`compile(metrics=…)`": own_metrics,
    '`compile(metrics=["accuracy"])`': accuracy_by_name,
    "`compile(weighted_metrics=…)`": own_metrics,
    "`compile(metrics=…)` of probabilities": compile_only(
        metrics=[keras.metrics.SparseCategoricalCrossentropy()]
    ),
    "`compile(metrics=…)` with the name of a built-in one": compile_only(
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="loss")]
    ),
    "`compile(run_eagerly=True)`": mode(run_eagerly=True),
    "`compile(steps_per_execution=2)`": mode(steps_per_execution=2),
    "`compile(jit_compile=True)`": mode(jit_compile=True),
    "optimizer Adam": optimizer("Adam"),
    "optimizer AdamW": optimizer("AdamW"),
    "optimizer SGD": optimizer("SGD"),
    "optimizer RMSprop": optimizer("RMSprop"),
    "optimizer Adafactor": optimizer("Adafactor"),
    "optimizer Lion": optimizer("Lion"),
    "`gradient_accumulation_steps`, `use_ema`": optimizer(
        "Adam", gradient_accumulation_steps=2, use_ema=True
    ),
    "policy float32": policy("float32"),
    "policy float64": policy("float64"),
    "policy mixed_bfloat16": policy("mixed_bfloat16"),
    "policy mixed_float16": policy("mixed_float16"),
    "policy bfloat16": policy("bfloat16"),
    "policy float16": policy("float16"),
    "`tf.distribute.OneDeviceStrategy`": strategy(lambda: tf.distribute.OneDeviceStrategy("cpu")),
    "`tf.distribute.MirroredStrategy`": strategy(lambda: tf.distribute.MirroredStrategy(["cpu"])),
    "`save`, `keras.saving.load_model` of `.keras`": save_and_load,
    "`save` to `.h5`": save_hdf5,
    "`save_weights`, `load_weights`": save_and_load_weights,
    "`export`": export,
    "`quantize`": lambda: make().quantize("int8"),
    "`summary`": summary,
}


@pytest.mark.parametrize("row", CONFIGURATIONS)
def test_configuration(row, tmp_path):
    run = CONFIGURATIONS[row]
    arguments = (tmp_path,) if "tmp_path" in getattr(run, "__code__", run).co_varnames else ()
    if CONFIGURATION_ROWS[row] == "error":
        with pytest.raises(s2s.InputError) as caught:
            run(*arguments)
        assert "\n" not in str(caught.value)
    else:
        run(*arguments)


def test_metrics_without_a_sample_weight_are_refused():
    class Count(keras.metrics.Metric):
        def update_state(self, labels, logits):
            pass

        def result(self):
            return 0.0

    with pytest.raises(s2s.InputError, match="sample_weight"):
        make().compile(metrics=[Count()])


@pytest.mark.parametrize(
    "layer",
    [
        StackedRNN(6, 2, dropout=0.1, bidirectional=True, init_scale=0.1),
        Attention("bahdanau", 6, 4, init_scale=0.1),
    ],
    ids=["StackedRNN", "Attention"],
)
def test_layers_of_their_own_are_registered(layer):
    serialized = keras.saving.serialize_keras_object(layer)
    restored = keras.saving.deserialize_keras_object(serialized)
    assert restored.get_config() == layer.get_config()
    assert re.fullmatch("keras_s2s>(StackedRNN|Attention)", serialized["registered_name"])
