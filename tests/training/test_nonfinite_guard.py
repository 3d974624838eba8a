"""Steps whose gradient is no number."""

import csv
import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import keras_s2s as s2s
from keras_s2s.training.checkpoints import CheckpointFolder
from keras_s2s.training.job import TrainingJob
from keras_s2s.training.train import CorpusSpec

RECIPE = s2s.Recipe(
    embed_size=8,
    num_hiddens=8,
    num_layers=1,
    min_freq=1,
    batch_size=4,
    epochs=2,
    checkpoint_steps=1,
)


@pytest.fixture
def choice(pairs_file):
    return CorpusSpec(str(pairs_file))


@pytest.fixture
def poison(monkeypatch):
    """Makes the gradient of some steps no number."""

    def poison(wrong, value=float("nan")):
        step = s2s.Seq2Seq._compute_sums

        def losses_of_tokens(self, data, training):
            loss, count = step(self, data, training)
            if training:
                is_wrong = tf.reduce_any(self.optimizer.iterations == tf.constant(wrong))
                loss *= tf.where(is_wrong, value, 1.0)
            return loss, count

        monkeypatch.setattr(s2s.Seq2Seq, "_compute_sums", losses_of_tokens)

    return poison


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return [tuple(row) for row in csv.reader(file, delimiter="\t")]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_step_that_is_no_number_ends_the_training(choice, tmp_path, poison, value):
    poison([9], value)
    run_dir = tmp_path / "run"
    with pytest.raises(
        s2s.InputError, match=r"epoch 2, step 4: the norm of the gradient is nan, of"
    ):
        s2s.train(choice, run_dir, RECIPE)
    # The weights that were saved are still good.
    job = TrainingJob(choice.load(None), RECIPE, 0)
    assert job.num_batches == 6
    CheckpointFolder(run_dir / "checkpoints").restore(job.model)
    assert all(np.isfinite(weight).all() for weight in job.model.get_weights())
    pairs = rows_of(run_dir / "logs" / "nonfinite-2-4.tsv")
    assert len(pairs) == 4
    assert set(pairs) <= {
        (source.decode(), target.decode())
        for source, target in zip(
            *(
                tokenizer.detokenize(*tokenizer.encode_target(tf.constant(texts), 10)).numpy()
                for tokenizer, texts in (
                    (job.source, choice.load(None).source),
                    (job.target, choice.load(None).target),
                )
            ),
            strict=True,
        )
    }


def test_or_it_is_left_out(choice, tmp_path, poison, capsys):
    poison([3, 9])
    run_dir = tmp_path / "run"
    with pytest.raises(s2s.InputError, match="epoch 1, step 4"):
        s2s.train(choice, run_dir, RECIPE)
    s2s.resume(run_dir, nonfinite="skip")
    message = capsys.readouterr().err
    assert "epoch 2, step 4: the norm of the gradient is nan, of the pairs in" in message
    model = s2s.Translator.load(run_dir / "model.keras").model
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


def test_many_in_a_row_are_no_accident(choice, tmp_path, poison):
    poison(list(range(3, 10_000)))
    recipe = dataclasses.replace(RECIPE, epochs=100, nonfinite="skip", checkpoint_steps=1000)
    with pytest.raises(s2s.InputError, match=r"none for 1\d\d steps, so begin anew with a lower"):
        s2s.train(choice, tmp_path / "run", recipe)


def test_a_step_left_out_changes_nothing(make_model, batches):
    model = make_model()
    model.compile()
    model.fit(batches, epochs=1, verbose=0)
    before = [np.array(variable) for variable in (*model.variables, *model.optimizer.variables[2:])]
    infinite = [tf.fill(weight.shape, float("inf")) for weight in model.trainable_variables]
    model.optimizer.apply(infinite)
    after = [np.array(variable) for variable in (*model.variables, *model.optimizer.variables[2:])]
    for mine, theirs in zip(after, before, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert int(model.skipped_steps.count) == 1
    assert np.isinf(model.skipped_steps.norm.numpy())
