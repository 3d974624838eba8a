"""Steps with non-finite gradients."""

import csv
import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import keras_s2s as s2s
from keras_s2s.training.checkpoints import CheckpointFolder
from keras_s2s.training.data_source import CorpusSpec
from keras_s2s.training.job import TrainingJob

CONFIG = s2s.TrainingConfig(
    embed_size=8,
    num_hiddens=8,
    num_layers=1,
    min_freq=1,
    batch_size=4,
    epochs=2,
    checkpoint_steps=1,
)


@pytest.fixture
def corpus(pairs_file):
    return CorpusSpec(str(pairs_file))


@pytest.fixture
def poison(monkeypatch):
    """Make the gradients of some steps non-finite."""

    def poison(steps, value=float("nan")):
        original = s2s.Seq2Seq._compute_sums

        def losses_of_tokens(self, data, training):
            loss, count = original(self, data, training)
            if training:
                is_poisoned = tf.reduce_any(self.optimizer.iterations == tf.constant(steps))
                loss *= tf.where(is_poisoned, value, 1.0)
            return loss, count

        monkeypatch.setattr(s2s.Seq2Seq, "_compute_sums", losses_of_tokens)

    return poison


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return [tuple(row) for row in csv.reader(file, delimiter="\t")]


def check_saved(corpus, run_dir, epoch, step):
    """Check that the checkpoint is finite, and that the pairs of the batch were saved."""
    job = TrainingJob(corpus.load(None), CONFIG, 0)
    assert job.num_batches == 6
    CheckpointFolder(run_dir / "checkpoints").restore(job.model)
    assert all(np.isfinite(weight).all() for weight in job.model.get_weights())
    pairs = rows_of(run_dir / "logs" / f"nonfinite-{epoch}-{step}.tsv")
    assert len(pairs) == 4
    sides = (
        (job.source, corpus.load(None).source),
        (job.target, corpus.load(None).target),
    )
    expected = [
        tokenizer.detokenize(*tokenizer.encode_target(tf.constant(texts), 10)).numpy()
        for tokenizer, texts in sides
    ]
    assert set(pairs) <= {
        (source.decode(), target.decode()) for source, target in zip(*expected, strict=True)
    }


def test_stop(corpus, tmp_path, poison):
    poison([9], float("inf"))
    with pytest.raises(s2s.InputError, match=r"epoch 2, step 4: the gradient norm is nan"):
        s2s.train(corpus, tmp_path / "run", CONFIG)
    check_saved(corpus, tmp_path / "run", 2, 4)


def test_skip_after_a_stop(corpus, tmp_path, poison, capsys):
    poison([3, 9])
    run_dir = tmp_path / "run"
    with pytest.raises(s2s.InputError, match="epoch 1, step 4: the gradient norm is nan"):
        s2s.train(corpus, run_dir, CONFIG)
    check_saved(corpus, run_dir, 1, 4)
    s2s.resume(run_dir, nonfinite="skip")
    assert "epoch 2, step 4: the gradient norm is nan" in capsys.readouterr().err
    check_saved(corpus, run_dir, 2, 4)
    model = s2s.Translator.load(run_dir / "model.keras").model
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


def test_many_consecutive_steps(corpus, tmp_path, poison):
    poison(list(range(3, 10_000)))
    config = dataclasses.replace(CONFIG, epochs=100, nonfinite="skip", checkpoint_steps=1000)
    with pytest.raises(s2s.InputError, match=r"non-finite for 1\d\d consecutive steps"):
        s2s.train(corpus, tmp_path / "run", config)


def test_a_skipped_step_changes_nothing(make_model, batches):
    model = make_model()
    model.compile()
    model.fit(batches, epochs=1, verbose=0)
    before = [np.array(variable) for variable in (*model.variables, *model.optimizer.variables[2:])]
    infinite = [tf.fill(weight.shape, float("inf")) for weight in model.trainable_variables]
    model.optimizer.apply(infinite)
    after = [np.array(variable) for variable in (*model.variables, *model.optimizer.variables[2:])]
    for variable, expected in zip(after, before, strict=True):
        np.testing.assert_array_equal(variable, expected)
    assert int(model.skipped_steps.count) == 1
    assert np.isinf(model.skipped_steps.norm.numpy())
