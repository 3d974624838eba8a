"""Training: loss and gradient step, in every execution mode of Keras."""

import functools
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_s2s as s2s
from keras_s2s.layers import xla
from keras_s2s.losses import label_smoothed_loss
from keras_s2s.optimizers import FusedAdam
from keras_s2s.training.checkpoints import CheckpointFolder, TrainingState

# Options of the encoder, of the decoder, and of both, covering each option.
OPTIONS = {
    "plain": ({}, {}, {}),
    "luong": ({"bidirectional": True}, {"attention": "luong", "tie_embeddings": True}, {}),
    "fed": ({}, {"attention": "bahdanau", "input_feeding": True}, {"residual": True}),
    "gru": (
        {"bidirectional": True, "num_hiddens": 6, "num_layers": 1},
        {
            "attention": "luong",
            "input_feeding": True,
            "encoder_num_hiddens": 6,
            "encoder_num_layers": 1,
        },
        {"cell": "gru"},
    ),
}
DROPOUT = {"dropout": 0.2, "embed_dropout": 0.2, "recurrent_dropout": 0.2}

# Reads the pairs in a fresh process from the file of `arrays`.
READ_BATCHES = """
import json, sys
import numpy as np, tensorflow as tf, keras
import keras_s2s as s2s

def read_batches():
    a, b, c, d = np.load(sys.argv[1]).values()
    return tf.data.Dataset.from_tensor_slices(((a, b), (c, d))).batch(4)
"""


@pytest.fixture
def arrays(batches, tmp_path):
    """Return a file with the pairs of all batches."""
    columns = zip(*(tf.nest.flatten(element) for element in batches), strict=True)
    np.savez(tmp_path / "arrays.npz", *(np.concatenate(column) for column in columns))
    return tmp_path / "arrays.npz"


@pytest.fixture
def make_variant(tokenizers):
    """Return a function that makes a small model of one of `OPTIONS`, with the same weights."""

    def make(variant, seed=0, output_dropout=0.0, **options):
        keras.utils.set_random_seed(seed)
        encoder_options, decoder_options, shared_options = OPTIONS[variant]
        both = {"embed_size": 6, "num_hiddens": 8, "num_layers": 2, **shared_options, **options}
        source, target = tokenizers
        return s2s.Seq2Seq(
            s2s.Seq2SeqEncoder(len(source), **{**both, **encoder_options}),
            s2s.Seq2SeqDecoder(
                len(target), **both, **decoder_options, output_dropout=output_dropout
            ),
        )

    return make


@pytest.fixture
def code_path(request, monkeypatch):
    """Select the code path for XLA, or the usual one, without waiting for the compiler."""
    monkeypatch.setattr(xla, "is_compiling", lambda: request.param == "xla")


BOTH_CODE_PATHS = pytest.mark.parametrize("code_path", ["usual", "xla"], indirect=True)


@pytest.fixture
def policy(request):
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy("float32")


def clipping_sgd(clip=0.5):
    # Unlike Adam it does not amplify rounding differences.
    return keras.optimizers.SGD(0.5, momentum=0.9, global_clipnorm=clip)


def fit(model, data, **options):
    return model.fit(data, verbose=0, **options).history


def norm(arrays):
    return float(np.sqrt(sum(np.square(array, dtype="float64").sum() for array in arrays)))


def step_of(model, element):
    """Return the decrease of each weight in one training step."""
    before = model.get_weights()
    model.train_step(element)
    return [old - new for old, new in zip(before, model.get_weights(), strict=True)]


def plain_loss_and_gradients(model, element):
    """Compute loss and gradients with the model's call and the chapter's loss."""
    _, (target_ids, target_valid_length) = element
    with tf.GradientTape() as tape:
        logits = model(element, training=True)
        valid_length = tf.maximum(target_valid_length - 1, 0)
        loss = s2s.MaskedSoftmaxCELoss()(target_ids[:, 1:], logits, valid_length=valid_length)
    gradients = tape.gradient(loss, model.trainable_weights)
    return float(loss), [tf.convert_to_tensor(gradient).numpy() for gradient in gradients]


# The model


def test_an_incompatible_decoder_raises():
    encoder = s2s.Seq2SeqEncoder(10, 8, num_hiddens=16, num_layers=2)
    with pytest.raises(ValueError, match=r"num_layers is 2 .* expects 1"):
        s2s.Seq2Seq(encoder, s2s.Seq2SeqDecoder(10, 8, num_hiddens=16, num_layers=1))
    with pytest.raises(ValueError, match=r"is 16 in .* expects 8; .*encoder_num_hiddens=16"):
        s2s.Seq2Seq(encoder, s2s.Seq2SeqDecoder(10, 8, num_hiddens=8, num_layers=2))
    s2s.Seq2Seq(encoder, s2s.Seq2SeqDecoder(99, 4, num_hiddens=16, num_layers=2))


def test_initial_weights_are_the_chapters():
    model = s2s.Seq2Seq(s2s.Seq2SeqEncoder(30, 20, 16, 2), s2s.Seq2SeqDecoder(40, 20, 16, 2))
    # Two embeddings, three weights per LSTM layer, and the dense layer's two.
    assert len(model.weights) == 2 + 2 * 2 * 3 + 2
    for weight in model.weights:
        value = weight.numpy()
        if value.ndim == 1:
            assert (value == 0).all(), f"{weight.path}: the forget gate's bias too"
        else:
            limit = np.sqrt(6 / sum(value.shape))
            assert np.abs(value).max() <= limit, weight.path
            assert np.std(value) == pytest.approx(limit / np.sqrt(3), rel=0.1), weight.path


def test_predict_returns_logits_of_each_next_token(make_model, batches, pairs):
    model = make_model()
    model.compile()
    logits = model.predict(batches, verbose=0)
    assert logits.shape == (len(pairs), 7, model.decoder.vocab_size)
    assert logits.dtype == "float32"
    called = np.concatenate([model(element) for element in batches])
    np.testing.assert_allclose(logits, called, atol=1e-6)


def test_the_default_optimizer_is_the_chapters(make_model):
    model = make_model()
    model.compile()
    assert isinstance(model.optimizer, keras.optimizers.Adam)
    assert float(model.optimizer.learning_rate) == pytest.approx(0.005)
    assert model.optimizer.global_clipnorm == 1


def test_auto_compiles_nothing_where_there_is_a_gpu(make_model, tokenizers, monkeypatch):
    gpu = tf.config.PhysicalDevice("/physical_device:GPU:0", "GPU")
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda *_: [gpu])
    model = make_model()
    assert not model.jit_compile, "not compiled"
    assert not s2s.Translator(model, *tokenizers).jit_compile
    for jit_compile in ("auto", True):
        model.compile(jit_compile=jit_compile)
        assert model.jit_compile == (jit_compile is True)


@pytest.mark.parametrize("variant", OPTIONS)
def test_encode_and_decoder_equal_a_call(make_variant, batches, variant):
    model = make_variant(variant)
    element = next(iter(batches))
    source, (target_ids, _) = element
    state, memory = model.encode(source)
    logits, _ = model.decoder(target_ids[:, :-1], state, memory)
    np.testing.assert_array_equal(logits, model(element))
    assert (memory is None) == (variant == "plain")


def test_adam_is_fused_in_place(make_model):
    model = make_model()
    assert model.skipped_steps is None, "not compiled"
    optimizer = keras.optimizers.Adam(0.01, amsgrad=False)
    model.compile(optimizer)
    assert model.optimizer is optimizer, "the caller can still set its learning rate"
    assert type(optimizer) is FusedAdam
    model.compile("adam")
    assert type(model.optimizer) is FusedAdam
    assert int(model.skipped_steps.count) == 0
    model.compile(keras.optimizers.Adam(amsgrad=True))
    assert type(model.optimizer) is keras.optimizers.Adam
    assert model.skipped_steps is None


# One step


# Of the other variants, a test below compares the training under XLA with the usual one.
@pytest.mark.parametrize(
    ("variant", "code_path"),
    [*((variant, "usual") for variant in OPTIONS), ("plain", "xla")],
    indirect=["code_path"],
)
@pytest.mark.usefixtures("code_path")
def test_the_step_of_every_variant_is_the_gradient(make_variant, batches, variant):
    model = make_variant(variant)
    model.compile(keras.optimizers.SGD(1.0))
    element = next(iter(batches))
    loss, gradients = plain_loss_and_gradients(model, element)
    step = step_of(model, element)
    assert float(model.loss_metric.result()) == pytest.approx(loss, rel=1e-6)
    for result, gradient in zip(step, gradients, strict=True):
        np.testing.assert_allclose(result, gradient, atol=1e-6)
        assert np.abs(gradient).max() > 0, "every weight learns"


@BOTH_CODE_PATHS
@pytest.mark.usefixtures("code_path")
def test_label_smoothing_affects_the_gradient_and_not_the_logged_loss(make_model, batches):
    model = make_model()
    model.compile(keras.optimizers.SGD(1.0), label_smoothing=0.2)
    # Smoothing changes nothing for an untrained model, whose predictions are uniform.
    bias = model.decoder.dense.bias
    bias.assign(np.arange(bias.shape[0]) / 10)
    element = next(iter(batches))
    loss, _ = plain_loss_and_gradients(model, element)
    _, (target_ids, target_length) = element
    with tf.GradientTape() as tape:
        logits = model(element, training=True)
        valid = tf.sequence_mask(target_length - 1, 7)
        losses, _ = label_smoothed_loss(target_ids[:, 1:][valid], logits[valid], 0.2)
        smoothed = tf.reduce_mean(losses)
    gradients = map(tf.convert_to_tensor, tape.gradient(smoothed, model.trainable_weights))
    assert abs(float(smoothed) - loss) > 0.01
    for result, gradient in zip(step_of(model, element), gradients, strict=True):
        np.testing.assert_allclose(result, gradient, atol=1e-6)
    assert float(model.loss_metric.result()) == pytest.approx(loss, rel=1e-6)
    with pytest.raises(ValueError, match="label_smoothing is 1; give less than 1"):
        model.compile(label_smoothing=1)


@BOTH_CODE_PATHS
@pytest.mark.usefixtures("code_path")
def test_a_step_is_the_gradient_of_the_token_mean_clipped_as_a_whole(make_model, batches):
    model = make_model()
    weights = model.get_weights()
    # The last has a single row.
    for element in [*batches.take(1), *batches.skip(3)]:
        model.set_weights(weights)
        loss, gradients = plain_loss_and_gradients(model, element)
        assert 0.1 < norm(gradients) < 100, "one limit clips and the other does not"
        for clip in (None, 0.1, 100.0):
            model.set_weights(weights)
            model.compile(keras.optimizers.SGD(1.0, global_clipnorm=clip))
            model.reset_metrics()
            step = step_of(model, element)
            assert float(model.loss_metric.result()) == pytest.approx(loss, rel=1e-6)
            scale = min(1, (clip or np.inf) / norm(gradients))
            for result, gradient in zip(step, gradients, strict=True):
                np.testing.assert_allclose(result, scale * gradient, atol=1e-6)


def test_adam_gets_one_gradient_per_token(make_model, batches):
    model = make_model()
    model.compile(keras.optimizers.Adam(0.01))
    element = next(iter(batches))
    _, gradients = plain_loss_and_gradients(model, element)
    step_of(model, element)
    velocities = model.optimizer._velocities
    for velocity, gradient in zip(velocities, gradients, strict=True):
        np.testing.assert_allclose(velocity, 0.001 * gradient**2, rtol=1e-3, atol=1e-12)


@pytest.mark.parametrize("variant", OPTIONS)
def test_empty_rows_change_nothing(make_variant, batches, variant):
    (source_ids, source_length), (target_ids, target_length) = next(iter(batches))
    zeros = tf.zeros((3, 8), tf.int32), tf.zeros((3,), tf.int32)
    padded = (
        (tf.concat([source_ids, zeros[0]], 0), tf.concat([source_length, zeros[1]], 0)),
        (tf.concat([target_ids, zeros[0]], 0), tf.concat([target_length, zeros[1]], 0)),
    )
    steps = []
    for element in (((source_ids, source_length), (target_ids, target_length)), padded):
        model = make_variant(variant)
        model.compile(keras.optimizers.SGD(1.0))
        steps.append(step_of(model, element))
    for result, expected in zip(*steps, strict=True):
        np.testing.assert_allclose(result, expected, atol=2e-7)
    assert norm(step_of(model, (zeros, zeros))) == 0, "no division by zero without tokens"


# Half-batches


def test_small_models_split_batches(make_variant):
    def splits(variant, **options):
        model = make_variant(variant)
        model.compile(**options)
        return model._splits_batches

    assert [splits(variant) for variant in OPTIONS] == [True, True, False, False]
    large = s2s.Seq2Seq(s2s.Seq2SeqEncoder(9, 4, 128, 1), s2s.Seq2SeqDecoder(9, 4, 128, 1))
    large.compile()
    assert not large._splits_batches


@pytest.mark.parametrize("variant", ["plain", "luong"])
def test_half_batches_equal_the_whole_batch(make_variant, batches, variant):
    # One of them has a single row, so that one half is empty.
    for element in batches:
        results = []
        for splits in (True, False):
            model = make_variant(variant)
            model.compile(keras.optimizers.SGD(1.0), label_smoothing=0.1)
            model._splits_batches = splits
            step = step_of(model, element)
            results.append([*step, *model.get_metrics_result().values()])
        for result, expected in zip(*results, strict=True):
            np.testing.assert_allclose(result, expected, rtol=1e-6, atol=2e-7)


def test_epochs_of_half_batches_have_the_same_losses(chapter_pairs):
    source, target = (
        s2s.WordTokenizer.fit(texts, min_freq=3)
        for texts in (chapter_pairs.source, chapter_pairs.target)
    )
    data = s2s.make_dataset(chapter_pairs, source, target, batch_size=64, num_steps=10)
    losses = []
    for splits in (True, False):
        keras.utils.set_random_seed(0)
        model = s2s.Seq2Seq(
            s2s.Seq2SeqEncoder(len(source), 32, 32, 2), s2s.Seq2SeqDecoder(len(target), 32, 32, 2)
        )
        model.compile(steps_per_execution=16)
        model._splits_batches = splits
        losses.append(fit(model, data, epochs=2)["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


# Execution modes


@pytest.fixture(scope="module")
def trained():
    """Return the losses and weights of the default mode, to compare the others with."""
    return {}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"run_eagerly": True},
        {"steps_per_execution": 3},
        {"jit_compile": True},
    ],
    ids=str,
)
def test_all_execution_modes_train_the_same(make_model, batches, trained, options):
    model = make_model()
    model.compile(clipping_sgd(), **options)
    history = fit(model, batches, epochs=3)
    del history["tokens_per_second"]
    result = history, model.get_weights()
    losses, weights = trained.setdefault("default", result)
    assert history["loss"][-1] < history["loss"][0] - 0.1
    for name, values in history.items():
        np.testing.assert_allclose(values, losses[name], rtol=1e-5)
    for weight, expected in zip(result[1], weights, strict=True):
        np.testing.assert_allclose(weight, expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("variant", [variant for variant in OPTIONS if variant != "plain"])
def test_every_variant_trains_the_same_under_xla(make_variant, batches, variant):
    results = []
    for options in ({}, {"jit_compile": True}):
        model = make_variant(variant)
        model.compile(clipping_sgd(), **options)
        results.append([fit(model, batches, epochs=2)["loss"], *model.get_weights()])
    for result, expected in zip(*results, strict=True):
        np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("variant", ["plain", "gru"])
def test_bucketed_batches_train_every_variant(make_variant, pairs, tokenizers, variant):
    data = s2s.make_dataset(
        pairs,
        *tokenizers,
        num_steps=8,
        shuffle=True,
        bucket_by_length=True,
        batch_tokens=16,
        seed=0,
    )
    model = make_variant(variant)
    model.compile(keras.optimizers.Adam(0.02, global_clipnorm=1.0), label_smoothing=0.1)
    losses = fit(model, data, epochs=15)["loss"]
    assert losses[-1] < 0.7 * losses[0]


def test_the_same_seed_trains_the_same_weights_to_the_bit(make_model, pairs, tokenizers):
    def train(seed):
        model = make_model(dropout=0.3, seed=seed)
        data = s2s.make_dataset(
            pairs, *tokenizers, batch_size=4, num_steps=8, shuffle=True, seed=seed
        )
        model.compile()
        fit(model, data, epochs=3)
        return np.concatenate([weight.ravel() for weight in model.get_weights()])

    one = train(1)
    np.testing.assert_array_equal(train(1), one)
    assert np.abs(train(2) - one).max() > 0.1


def assert_learns_in_mixed_precision(model, batches, epochs, fall):
    losses = fit(model, batches, epochs=epochs)["loss"]
    assert np.isfinite(losses).all()
    assert losses[-1] < fall * losses[0]
    assert {weight.dtype for weight in model.weights} == {"float32"}
    assert model(next(iter(batches))).dtype == "float32"


@pytest.mark.parametrize("policy", ["mixed_float16"], indirect=True)
@pytest.mark.usefixtures("policy")
def test_mixed_precision_learns_with_scaled_losses(make_model, batches):
    model = make_model()
    model.compile(keras.optimizers.Adam(0.02, global_clipnorm=1.0))
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert_learns_in_mixed_precision(model, batches, epochs=15, fall=0.7)


@pytest.mark.parametrize("variant", ["luong", "gru"])
def test_mixed_precision_learns_with_all_options(make_variant, batches, variant):
    model = make_variant(variant, dtype="mixed_bfloat16", output_dropout=0.1, **DROPOUT)
    model.compile(keras.optimizers.Adam(0.02, global_clipnorm=1.0), label_smoothing=0.1)
    assert not isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert_learns_in_mixed_precision(model, batches, epochs=12, fall=0.8)


@pytest.mark.parametrize("policy", ["mixed_float16"], indirect=True)
def test_clipping_applies_to_the_unscaled_gradient(make_model, batches, policy):
    model = make_model()
    model.compile(keras.optimizers.SGD(1.0, global_clipnorm=0.1))
    assert norm(step_of(model, next(iter(batches)))) == pytest.approx(0.1, rel=1e-3)


# Random generators


@pytest.mark.parametrize(
    ("variant", "fused"), [("luong", True), ("luong", False), ("fed", True), ("gru", True)]
)
def test_a_checkpoint_holds_every_random_generator(make_variant, batches, tmp_path, variant, fused):
    def make(seed):
        model = make_variant(variant, seed, output_dropout=0.2, **DROPOUT)
        # The code path for XLA, without waiting for the compiler.
        model.compile(clipping_sgd(), run_eagerly=True, jit_compile=False)
        for layer in (model.encoder, model.decoder):
            layer.rnn.fused = fused
        return model

    [element] = batches.take(1)
    model, other = make(seed=1), make(seed=2)
    generators = {
        id(generator.state)
        for layer in model._flatten_layers()
        for generator in getattr(layer, "_seed_generators", [])
    }
    assert len(generators) >= 6
    assert generators <= {id(state) for state in model.variables}

    model.train_step(element)
    CheckpointFolder(tmp_path).save(model, TrainingState())
    CheckpointFolder(tmp_path).restore(other)
    for each in (model, other):
        each.train_step(element)
    for result, expected in zip(other.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(result, expected)


# Several devices


MIRRORED = """
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

def load(path):
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        model = keras.saving.load_model(path)
        model.compile(keras.optimizers.SGD(0.5, momentum=0.9, global_clipnorm=0.05))
    return model

data = read_batches()
model, half = map(load, sys.argv[2:])
history = model.fit(data, epochs=4, verbose=0, validation_data=data.take(2)).history
with model.distribute_strategy.scope():
    # Keras's metrics would be wrong: 9/17 in place of 5/10.
    metric = keras.metrics.SparseCategoricalAccuracy()
    try:
        model.compile(metrics=[metric])
    except s2s.InputError as error:
        refused = str(error)
print(json.dumps({
    "refused": refused,
    "replicas": model.distribute_strategy.num_replicas_in_sync,
    "tokens_per_second": history.pop("tokens_per_second"),
    "history": history,
    "evaluated": model.evaluate(data, verbose=0, return_dict=True),
    "predicted": model.predict(data, verbose=0).tolist(),
    "weights": [weight.numpy().tolist() for weight in model.weights],
    "scaled": isinstance(half.optimizer, keras.optimizers.LossScaleOptimizer),
    "losses in half precision": half.fit(data, epochs=4, verbose=0).history["loss"],
}))
"""


def test_two_devices_train_as_one(make_model, batches, arrays, tmp_path, fresh_python):
    # The last batch has one row, so that one device gets none.
    make_model = functools.partial(make_model, num_layers=1)
    files = [tmp_path / "full.keras", tmp_path / "half.keras"]
    make_model().save(files[0])
    make_model(dtype="mixed_float16").save(files[1])
    two = json.loads(fresh_python(READ_BATCHES + MIRRORED, arrays, *files))
    assert two["replicas"] == 2
    assert "several devices" in two["refused"]
    assert min(two["tokens_per_second"]) > 0

    model = make_model()
    model.compile(clipping_sgd(0.05))
    history = fit(model, batches, epochs=4, validation_data=batches.take(2))
    del history["tokens_per_second"]
    for name, values in history.items():
        np.testing.assert_allclose(two["history"][name], values, rtol=1e-5, err_msg=name)
    weights = model.get_weights()
    for result, expected in zip(two["weights"], weights, strict=True):
        np.testing.assert_allclose(result, expected, atol=1e-5)
    evaluated = model.evaluate(batches, verbose=0, return_dict=True)
    assert two["evaluated"] == pytest.approx(evaluated, rel=1e-5)
    np.testing.assert_allclose(two["predicted"], model.predict(batches, verbose=0), atol=1e-5)

    unclipped = make_model()
    unclipped.compile(clipping_sgd(None))
    fit(unclipped, batches, epochs=4)
    difference = [a - b for a, b in zip(unclipped.get_weights(), weights, strict=True)]
    assert norm(difference) > 1, "the comparison needs clipping to be active"

    # With loss scaling, half precision agrees within its own precision.
    assert two["scaled"]
    losses = two["losses in half precision"]
    np.testing.assert_allclose(losses, history["loss"], rtol=1e-2)
    fall = history["loss"][0] - history["loss"][-1]
    assert losses[0] - losses[-1] == pytest.approx(fall, rel=0.05)


# Files

LOAD = """
model = keras.saving.load_model(sys.argv[2])
np.save(sys.argv[3], model.predict(read_batches(), verbose=0))
iterations = int(model.optimizer.iterations)
losses = model.fit(read_batches(), epochs=1, verbose=0).history["loss"]
print(json.dumps([iterations, losses]))
"""


def test_a_saved_model_resumes_in_a_fresh_process(
    make_model, batches, arrays, tmp_path, fresh_python
):
    model = make_model()
    model.compile()
    fit(model, batches, epochs=3)
    model.save(tmp_path / "model.keras")
    logits = model.predict(batches, verbose=0)
    printed = fresh_python(
        READ_BATCHES + LOAD, arrays, tmp_path / "model.keras", tmp_path / "logits.npy"
    )
    iterations, losses = json.loads(printed)
    np.testing.assert_array_equal(np.load(tmp_path / "logits.npy"), logits)
    assert iterations == 12
    weights = model.get_weights()
    expected = fit(model, batches)["loss"]
    assert losses == pytest.approx(expected, rel=1e-6)
    model.set_weights(weights)
    model.compile(run_eagerly=True)
    assert fit(model, batches)["loss"] != pytest.approx(expected, rel=1e-4), (
        "a reset optimizer would differ"
    )


def test_a_saved_model_keeps_its_compile_config(make_model, tmp_path):
    model = make_model(dropout=0.2)
    model.compile(
        clipping_sgd(0.25),
        steps_per_execution=3,
        jit_compile=True,
        label_smoothing=0.1,
        clip_num_steps=7,
    )
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(loaded.optimizer, keras.optimizers.SGD)
    assert loaded.optimizer.global_clipnorm == 0.25
    assert (loaded.steps_per_execution, loaded.jit_compile) == (3, True)
    assert loaded.label_smoothing == 0.1
    assert (loaded.clip_num_steps, loaded.weigh_accumulated) == (7, True)
    assert loaded.get_config() == model.get_config()


def test_a_saved_model_keeps_its_precision(make_model, batches, tmp_path):
    model = make_model(dtype="mixed_bfloat16")
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    element = next(iter(batches))
    np.testing.assert_array_equal(loaded(element), model(element))
    assert np.abs(loaded(element) - make_model()(element)).max() > 0


@pytest.mark.parametrize("variant", ["luong", "gru"])
def test_every_variant_resumes_from_its_file(make_variant, batches, tmp_path, variant):
    model = make_variant(variant)
    model.compile(label_smoothing=0.1)
    element = next(iter(batches))
    model.train_step(element)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.get_config() == model.get_config()
    np.testing.assert_array_equal(loaded(element), model(element))
    for each in (loaded, model):
        each.train_step(element)
    for result, expected in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(result, expected, atol=1e-7)


def test_swapped_encoder_and_decoder_raise():
    sizes = {"vocab_size": 10, "embed_size": 8, "num_hiddens": 8, "num_layers": 1}
    encoder, decoder = s2s.Seq2SeqEncoder(**sizes), s2s.Seq2SeqDecoder(**sizes)
    with pytest.raises(s2s.InputError, match="encoder is a Seq2SeqDecoder"):
        s2s.Seq2Seq(decoder, encoder)


def test_data_of_a_larger_vocabulary_raises():
    sizes = {"vocab_size": 5, "embed_size": 8, "num_hiddens": 8, "num_layers": 1}
    model = s2s.Seq2Seq(s2s.Seq2SeqEncoder(**sizes), s2s.Seq2SeqDecoder(**sizes))
    model.compile()
    corpus = s2s.ParallelCorpus(["a b c d", "e"], ["f g h", "i j"])
    source, target = s2s.WordTokenizer.fit(corpus.source), s2s.WordTokenizer.fit(corpus.target)
    data = s2s.make_dataset(corpus, source, target)
    for run in (model.fit, model.evaluate):
        with pytest.raises(s2s.InputError, match="5 source and 5 target tokens"):
            run(data, verbose=0)
