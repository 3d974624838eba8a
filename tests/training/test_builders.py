"""Tokenizers, model and optimizer of a configuration."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_s2s as s2s
from keras_s2s.config import PRESETS, TrainingConfig
from keras_s2s.data.vocabulary import make_tokenizers
from keras_s2s.optimizers import WarmUp
from keras_s2s.tokenizers.sentence_piece_tokenizer import SentencePieceTokenizer
from keras_s2s.training.builders import make_model, make_optimizer
from keras_s2s.training.data_source import make_training_data

SMALL = {"embed_size": 4, "num_hiddens": 6, "num_layers": 2}


# Tokenizers


def test_words_by_frequency_and_vocabulary_size(phrasebook):
    source, target = make_tokenizers(TrainingConfig(min_freq=2, vocab_size=50), phrasebook)
    expected = s2s.WordTokenizer.fit(phrasebook.source, min_freq=2, max_tokens=50)
    assert source.vocabulary == expected.vocabulary
    assert len(target) == 50
    assert "le" in target.vocabulary
    assert "le" not in source.vocabulary


def test_separate_and_joint_subwords(phrasebook):
    config = TrainingConfig(tokenizer="sentencepiece", vocab_size=120)
    source, target = make_tokenizers(config, phrasebook)
    for tokenizer, texts, normalization in (
        (source, phrasebook.source, "nfkc"),
        (target, phrasebook.target, "nfc"),
    ):
        assert isinstance(tokenizer, SentencePieceTokenizer)
        expected = SentencePieceTokenizer.fit(texts, vocab_size=120, normalization=normalization)
        assert tokenizer.vocabulary == expected.vocabulary
    joint, same = make_tokenizers(dataclasses.replace(config, joint_vocabulary=True), phrasebook)
    assert joint is same
    assert joint.vocabulary not in (source.vocabulary, target.vocabulary)


@pytest.mark.parametrize("joint", [False, True])
def test_targets_are_written_as_they_are(joint, caplog, capsys):
    corpus = s2s.ParallelCorpus(["Hello, world…", "Yes!"] * 9, ["你好，世界…", "是的！"] * 9)
    config = TrainingConfig(tokenizer="sentencepiece", vocab_size=60, joint_vocabulary=joint)
    source, target = make_tokenizers(config, corpus)
    assert {"，", "！", "…"} <= set("".join(target.vocabulary))
    assert ("…" in "".join(source.vocabulary)) == joint
    assert "100.0% of the sentences can be written" in capsys.readouterr().err
    assert not caplog.records
    config = dataclasses.replace(config, target_normalization="nfkc")
    make_tokenizers(config, corpus)
    (record,) = caplog.records
    assert "0.0% of the sentences can be written" in record.getMessage()
    assert "give --target-normalization nfc" in record.getMessage()


def test_other_rules_for_words_are_recommended_where_they_know_more(phrasebook, capsys):
    make_tokenizers(TrainingConfig(), phrasebook)
    assert capsys.readouterr().err == "", "the chapter's text fits the chapter's rules"
    targets = [f"«\u2009{word}\u2009»{mark}" for word in ("va", "cours") for mark in "？；！"]
    corpus = s2s.ParallelCorpus(["Go."] * 12, targets * 2)
    make_tokenizers(TrainingConfig(), corpus)
    line = capsys.readouterr().err
    assert line.startswith("target: the chapter's rules for words make 100.0% of the words")
    assert line.endswith("<unk>, Unicode's 0.0%; give --word-rules unicode\n")
    _, target = make_tokenizers(TrainingConfig(word_rules="unicode"), corpus)
    assert set(target.vocabulary[4:]) == {*"«»？；！", "va", "cours"}
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("targets", "columns", "advice"),
    [
        (["walked", "went"], None, "--preset character"),
        (["w ɔː k", "ɡ əʊ"], None, "--preset character --target-tokenizer whitespace"),
        (["walked", "went"], ("source", "features"), "--preset character"),
        (["to go on foot", "to leave or to move"], None, None),
    ],
)
def test_characters_are_suggested_for_words(targets, columns, advice, capsys):
    sources = [f"{word}\tV;PST" if columns else word for word in ("walk", "go")]
    corpus = s2s.ParallelCorpus(sources, targets, name="words", columns=columns)
    config = TrainingConfig(min_freq=1)
    make_training_data(corpus, config, seed=0)
    line = capsys.readouterr().err
    expected = "" if advice is None else f"words: its sources are single words, which {advice} "
    assert line.startswith(expected)
    assert bool(line) == bool(expected)
    make_training_data(corpus, dataclasses.replace(config, tokenizer="character"), seed=0)
    assert capsys.readouterr().err == ""


def test_case(phrasebook):
    for lowercase in (True, False):
        config = TrainingConfig(tokenizer="sentencepiece", vocab_size=150, lowercase=lowercase)
        source, _ = make_tokenizers(config, phrasebook)
        assert any(token != token.lower() for token in source.vocabulary) == (not lowercase)


# Models


def test_the_chapters_model():
    model = make_model(TrainingConfig(), 30, 40, "float32")
    sizes = {"embed_size": 32, "num_hiddens": 32, "num_layers": 2}
    plain = s2s.Seq2Seq(s2s.Seq2SeqEncoder(30, **sizes), s2s.Seq2SeqDecoder(40, **sizes))
    shapes = [[weight.shape for weight in each.weights] for each in (model, plain)]
    assert shapes[0] == shapes[1]


def test_options_reach_encoder_and_decoder():
    config = TrainingConfig(
        **SMALL,
        cell="gru",
        encoder_num_hiddens=8,
        encoder_num_layers=3,
        bidirectional=True,
        attention="bahdanau",
        input_feeding=True,
        residual=True,
        tie_embeddings=True,
        dropout=0.1,
        embed_dropout=0.2,
        recurrent_dropout=0.3,
        output_dropout=0.4,
    )
    model = make_model(config, 30, 40, "mixed_bfloat16")
    encoder, decoder = model.encoder.get_config(), model.decoder.get_config()
    shared = {
        "embed_size": 4,
        "cell": "gru",
        "residual": True,
        "dropout": 0.1,
        "embed_dropout": 0.2,
        "recurrent_dropout": 0.3,
    }
    encoder_only = {"vocab_size": 30, "num_hiddens": 8, "num_layers": 3, "bidirectional": True}
    decoder_only = {
        "vocab_size": 40,
        "num_hiddens": 6,
        "num_layers": 2,
        "encoder_num_hiddens": 8,
        "encoder_num_layers": 3,
        "attention": "bahdanau",
        "input_feeding": True,
        "tie_embeddings": True,
        "output_dropout": 0.4,
    }
    assert {**encoder, **shared, **encoder_only} == encoder
    assert {**decoder, **shared, **decoder_only} == decoder
    for layer in (model, model.encoder, model.decoder, model.decoder.attention_layer):
        assert layer.dtype_policy.name == "mixed_bfloat16"
    # The weights are float32, as those of a model in full precision.
    full = make_model(config, 30, 40, "float32")
    full.set_weights(model.get_weights())
    assert {weight.dtype for weight in model.weights} == {"float32"}
    assert full.dtype_policy.name == "float32"


@pytest.mark.parametrize("name", PRESETS)
def test_presets_can_be_built(name):
    config = dataclasses.replace(PRESETS[name], embed_size=4, num_hiddens=4)
    model = make_model(config, 10, 12, "float32")
    ids = np.ones((2, 3), "int32"), np.array([3, 1])
    assert model((ids, ids)).shape == (2, 2, 12)


# Optimizers


def rate_after(config, batches, num_batches=10):
    """Return the learning rate after some batches."""
    optimizer = make_optimizer(config, num_batches)
    variable = keras.Variable([0.0])
    optimizer.build([variable])
    optimizer._iterations.assign(batches)
    return float(optimizer.learning_rate)


def test_the_chapters_optimizer():
    optimizer = make_optimizer(TrainingConfig(), 16)
    assert type(optimizer) is keras.optimizers.Adam
    assert float(optimizer.learning_rate) == pytest.approx(0.005)
    assert optimizer.global_clipnorm == 1.0
    assert not optimizer.use_ema
    assert optimizer.gradient_accumulation_steps is None
    # Without a schedule the rate is assignable, as `ReduceLROnPlateau` needs.
    for schedule in ("constant", "plateau"):
        optimizer = make_optimizer(TrainingConfig(lr_schedule=schedule, valid_fraction=0.1), 16)
        optimizer.learning_rate = 0.5


def test_averaging_clipping_and_accumulation():
    config = TrainingConfig(ema_momentum=0.99, global_clipnorm=0.5, gradient_accumulation_steps=4)
    optimizer = make_optimizer(config, 16)
    assert (optimizer.use_ema, optimizer.ema_momentum) == (True, 0.99)
    assert optimizer.global_clipnorm == 0.5
    assert optimizer.gradient_accumulation_steps == 4


@pytest.mark.parametrize("accumulate", [1, 4])
def test_cosine(accumulate):
    config = TrainingConfig(
        lr_schedule="cosine", epochs=4, learning_rate=0.8, gradient_accumulation_steps=accumulate
    )
    # 40 batches in total, with and without accumulation.
    rates = [rate_after(config, batches) for batches in (0, 10, 20, 40)]
    expected = [0.4 * (1 + np.cos(np.pi * share)) for share in (0, 0.25, 0.5, 1)]
    np.testing.assert_allclose(rates, expected, atol=1e-6)
    config = dataclasses.replace(config, warmup_steps=10, epochs=12)
    warm = 10 * accumulate
    halfway = warm + (120 - warm) // 2
    rates = [rate_after(config, batches) for batches in (0, warm // 5 * 2 - 1, warm - 1, 120)]
    np.testing.assert_allclose(rates, [0.8 / warm, 0.32, 0.8, 0], atol=1e-6)
    # Runs that do not record a revision begin at zero.
    config = dataclasses.replace(config, training_revision=1)
    rates = [rate_after(config, batches) for batches in (0, warm // 5 * 2, warm, halfway, 120)]
    np.testing.assert_allclose(rates, [0, 0.32, 0.8, 0.4, 0], atol=1e-6)


def test_inverse_square_root_without_warm_up_holds_the_peak_for_an_epoch():
    config = TrainingConfig(lr_schedule="inverse-sqrt", learning_rate=0.8)
    rates = [rate_after(config, batches, num_batches=25) for batches in (0, 1, 24, 25, 100, 400)]
    np.testing.assert_allclose(rates, [0.8, 0.8, 0.8, 0.8, 0.4, 0.2], rtol=1e-6)
    config = dataclasses.replace(config, training_revision=1)
    assert rate_after(config, 100, num_batches=25) == pytest.approx(0.08)


def test_cosine_with_one_step_of_warm_up_begins_at_the_peak():
    config = TrainingConfig(lr_schedule="cosine", warmup_steps=1, epochs=4, learning_rate=0.8)
    np.testing.assert_allclose(
        [rate_after(config, b) for b in (0, 20, 40)], [0.8, 0.4, 0], atol=1e-6
    )


@pytest.mark.parametrize("accumulate", [1, 4])
@pytest.mark.parametrize("schedule", ["constant", "inverse-sqrt"])
def test_warmup(schedule, accumulate):
    config = TrainingConfig(
        lr_schedule=schedule,
        warmup_steps=5,
        learning_rate=0.8,
        gradient_accumulation_steps=accumulate,
    )
    assert isinstance(make_optimizer(config, 10)._learning_rate, WarmUp)
    rates = [rate_after(config, steps * accumulate - 1) for steps in (1, 3, 5)]
    np.testing.assert_allclose(rates, [0.16, 0.48, 0.8], rtol=1e-6)
    later = 0.8 if schedule == "constant" else 0.4
    assert rate_after(config, 20 * accumulate) == pytest.approx(later)


def test_accumulated_gradients_are_their_mean():
    config = TrainingConfig(gradient_accumulation_steps=3, global_clipnorm=100.0)
    several, one = (
        make_optimizer(config, 10),
        make_optimizer(TrainingConfig(global_clipnorm=100.0), 10),
    )
    gradients = [tf.constant([[value, 1.0]]) for value in (1.0, -4.0, 9.0)]
    results = []
    for optimizer, steps in ((several, gradients), (one, [sum(gradients) / 3])):
        variable = keras.Variable([[5.0, 5.0]])
        optimizer.build([variable])
        for gradient in steps:
            optimizer.apply([gradient])
        results.append(variable.numpy())
    np.testing.assert_allclose(*results, rtol=1e-6)
    assert np.abs(results[0] - 5).max() > 1e-3
