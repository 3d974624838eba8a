"""Metrics of an epoch: weighted by tokens, and throughput."""

import types

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_s2s as s2s
from keras_s2s.layers import xla
from keras_s2s.models import throughput
from keras_s2s.tokenizers.tokenizer import PAD, UNK


def figures_in_numpy(model, data):
    """Return the number of target tokens, the sum of losses and of correct tokens per batch."""
    figures = []
    for element in data:
        _, (target_ids, target_valid_length) = element
        logits = model(element).numpy().astype("float64")
        labels = target_ids.numpy()[:, 1:]
        valid = np.arange(labels.shape[1]) < target_valid_length.numpy()[:, None] - 1
        chosen = np.take_along_axis(logits, labels[..., None], axis=-1)[..., 0]
        losses = np.log(np.exp(logits).sum(axis=-1)) - chosen
        right = (logits.argmax(axis=-1) == labels) & valid
        figures.append((valid.sum(), losses[valid].sum(), right.sum()))
    return np.array(figures).T


def fit(model, data, **options):
    return model.fit(data, verbose=0, **options).history


@pytest.fixture
def still(make_model):
    """A model with a learning rate of zero, so that its weights are constant."""

    def make(**options):
        model = make_model(num_layers=1)
        # Zero biases and small weights would predict all words equally.
        rng = np.random.default_rng(0)
        model.set_weights([rng.normal(0, 0.7, weight.shape) for weight in model.get_weights()])
        model.compile(keras.optimizers.SGD(0.0), **options)
        return model

    return make


@pytest.fixture
def clock(monkeypatch):
    """Make the clock advance one second per call."""
    seconds = iter(range(1000))
    fake = types.SimpleNamespace(perf_counter=lambda: float(next(seconds)))
    monkeypatch.setattr(throughput, "time", fake)


def test_token_mean_weights_by_token():
    metric = s2s.TokenMean()
    assert float(metric.result()) == 0
    metric.update_state(3.0, 2)
    metric.update_state(1.0, 6)
    assert float(metric.result()) == 0.5
    metric.reset_state()
    metric.update_state(5.0, 2)
    assert float(metric.result()) == 2.5


def test_perplexity_is_the_exponential_of_the_mean_loss():
    metric = s2s.Perplexity()
    metric.update_state(np.log(2.0) * 3, 3)
    metric.update_state(np.log(8.0) * 1, 1)
    assert float(metric.result()) == pytest.approx(2 ** (6 / 4))


def test_metrics_of_an_epoch_are_weighted_by_tokens(still, batches):
    model = still()
    num_tokens, losses, right = figures_in_numpy(model, batches)
    loss = losses.sum() / num_tokens.sum()
    # Keras's averages over batches or sentences.
    assert abs(loss - (losses / num_tokens).mean()) > 1e-3
    assert abs(loss - np.average(losses / num_tokens, weights=[4, 4, 4, 1])) > 1e-3
    assert 0 < right.sum() < num_tokens.sum()
    expected = {
        "loss": loss,
        "accuracy": right.sum() / num_tokens.sum(),
        "perplexity": np.exp(loss),
    }
    evaluated = model.evaluate(batches, verbose=0, return_dict=True)
    trained = {name: values[0] for name, values in fit(model, batches).items()}
    assert evaluated == pytest.approx(expected, rel=1e-5)
    assert evaluated == pytest.approx({name: trained[name] for name in expected}, rel=1e-6)


@pytest.mark.parametrize("for_xla", [False, True])
def test_padding_predicted_at_padding_does_not_count(still, batches, for_xla, monkeypatch):
    monkeypatch.setattr(xla, "is_compiling", lambda: for_xla)
    model = still()
    model.decoder.dense.bias.assign(np.eye(model.decoder.vocab_size)[PAD] * 100)
    for element in batches:
        model.test_step(element)
    assert float(model.accuracy_metric.result()) == 0


def test_a_predicted_unknown_word_is_not_right(still, batches):
    """Of targets that are unknown words, a model that answers `<unk>` to all has learned none."""
    model = still()
    model.decoder.dense.bias.assign(np.eye(model.decoder.vocab_size)[UNK] * 100)
    source, (target_ids, valid_length) = next(iter(batches))
    unknown = tf.where(target_ids > UNK, UNK, target_ids)
    data = tf.data.Dataset.from_tensors((source, (unknown, valid_length)))
    num_tokens, _, num_correct = figures_in_numpy(model, data)
    assert num_correct == num_tokens - 4  # all but <eos>
    assert model.evaluate(data, verbose=0, return_dict=True)["accuracy"] == 0


def test_validation_metrics(still, batches):
    model = still()
    history = fit(model, batches, validation_data=batches.take(1))
    expected = model.evaluate(batches.take(1), verbose=0, return_dict=True)
    result = {name: history[f"val_{name}"][0] for name in expected}
    assert result == pytest.approx(expected, rel=1e-6)
    assert history["loss"][0] != pytest.approx(history["val_loss"][0], rel=1e-3)


@pytest.mark.parametrize(("steps_per_execution", "seconds"), [(1, 4), (4, 1)])
@pytest.mark.usefixtures("clock")
def test_throughput_excludes_validation(still, batches, steps_per_execution, seconds):
    # The clock is read at the beginning of an epoch and after each execution.
    model = still(steps_per_execution=steps_per_execution)
    num_tokens, _, _ = figures_in_numpy(model, batches)
    for validation in ({}, {"validation_data": batches.take(1)}):
        history = fit(model, batches, epochs=2, **validation)
        assert history["tokens_per_second"] == [num_tokens.sum() / seconds] * 2
        assert "val_tokens_per_second" not in history


def test_all_callbacks_see_the_throughput(still, batches, clock):
    seen = []
    callback = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: seen.append(logs["tokens_per_second"])
    )
    model = still()
    history = fit(model, batches, callbacks=callback)
    history_again = fit(model, batches, callbacks=[callback])
    assert seen == history["tokens_per_second"] + history_again["tokens_per_second"]


def test_keras_progress_bar_has_throughput_and_remaining_time(still, batches, capsys):
    seen = []
    callback = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: seen.append(logs["tokens_per_second"])
    )
    still().fit(batches, callbacks=[callback])
    assert len(seen) == 4
    assert min(seen) > 0
    shown = capsys.readouterr().out
    first, last = shown.split("1/4")[1].split("2/4")[0], shown.rpartition("4/4")[2]
    assert "/step" in first, "time per batch, after the remaining time"
    for name in ("loss", "accuracy", "tokens_per_second"):
        assert f"{name}: " in first
        assert f"{name}: " in last
