"""Training, search and metrics in each dtype that Keras can be set to."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_s2s as s2s

SIZES = {"embed_size": 6, "num_hiddens": 8, "num_layers": 1}


def make(tokenizers, attention=None, **options):
    keras.utils.set_random_seed(0)
    source, target = tokenizers
    return s2s.Seq2Seq(
        s2s.Seq2SeqEncoder(len(source), **{**SIZES, **options}),
        s2s.Seq2SeqDecoder(len(target), **{**SIZES, **options}, attention=attention),
    )


@pytest.fixture
def policy(request):
    """A dtype policy, or as Keras's `floatx` one that also metrics and optimizers follow."""
    name = request.param.removesuffix(" as floatx")
    before = keras.config.floatx()
    if request.param != name:
        keras.config.set_floatx(name)
    keras.config.set_dtype_policy(name)
    yield name
    keras.config.set_floatx(before)
    keras.config.set_dtype_policy(before)


@pytest.mark.parametrize(
    ("policy", "optimizer"),
    [
        ("float16", "sgd"),
        ("float64 as floatx", "adam"),
        ("bfloat16 as floatx", "sgd"),
    ],
    indirect=["policy"],
)
def test_every_policy_learns(tokenizers, batches, policy, optimizer):
    model = make(tokenizers)
    options = {"learning_rate": {"adam": 0.1, "sgd": 2.0}[optimizer], "global_clipnorm": 1.0}
    model.compile(
        {"adam": keras.optimizers.Adam, "sgd": keras.optimizers.SGD}[optimizer](**options)
    )
    batch = next(iter(batches))
    losses = []
    for _ in range(4):
        model.reset_metrics()
        losses.append(float(model.train_step(batch)["loss"]))
    assert {weight.dtype for weight in model.weights} == {policy}
    assert np.isfinite(losses).all()
    assert losses[-1] < 0.95 * losses[0]


@pytest.mark.parametrize(
    ("attention", "options"),
    [
        ("bahdanau", {"cell": "gru"}),
        ("luong", {"num_hiddens": 130, "recurrent_dropout": 0.1}),  # more than `BlockLSTM` has
    ],
)
@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_every_layer_and_search_has_the_dtype(tokenizers, batches, attention, options, dtype):
    model = make(tokenizers, attention, **options, dtype=dtype)
    model.compile()
    batch = next(iter(batches))
    loss = float(model.train_step(batch)["loss"])
    assert loss == pytest.approx(np.log(model.decoder.vocab_size), rel=0.1)
    assert model(batch).dtype == ("float64" if dtype == "float64" else "float32")
    source = batch[0]
    greedy = s2s.greedy_search(model, *source, max_steps=4)
    beam = s2s.beam_search(model, *source, max_steps=4, beam_size=2)
    assert greedy.log_probabilities.dtype == beam.log_probabilities.dtype == tf.float32


def test_losses_agree_between_dtypes(tokenizers, batches):
    batch = next(iter(batches))
    models = [make(tokenizers, dtype=dtype) for dtype in ("float32", "float64")]
    models[1].set_weights(models[0].get_weights())
    for model in models:
        model.compile()
    losses = [float(model.test_step(batch)["loss"]) for model in models]
    np.testing.assert_allclose(*losses, rtol=1e-6)


def test_token_counts_are_exact_where_floatx_is_half_precision():
    before = keras.config.floatx()
    keras.config.set_floatx("bfloat16")
    try:
        metric = s2s.TokenMean()
    finally:
        keras.config.set_floatx(before)
    for _ in range(3):
        metric.update_state(total=1001.0, num_tokens=1001)
    assert float(metric.num_tokens) == 3003
    assert s2s.TokenMean(dtype="float64").dtype == "float64"


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_adam_in_half_precision_moves_as_in_float32(dtype):
    """Keras's Adam never moves a bfloat16 variable: 0.999 is 1 there."""
    moved = []
    for kind in ("float32", dtype):
        variable = keras.Variable(np.full(4, 0.5), dtype=kind)
        optimizer = s2s.FusedAdam(0.05)
        optimizer.build([variable])
        for step in range(5):
            gradient = tf.cast([1e-4, 1e-3, 0.1, -2.0 - step], kind)
            optimizer.apply_gradients([(gradient, variable)])
        moved.append(np.array(variable, "float64") - 0.5)
    np.testing.assert_allclose(moved[1], moved[0], atol=0.01)
    assert np.abs(moved[0]).min() > 0.2
