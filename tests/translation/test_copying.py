"""A copying decoder from raw text to raw text: names that no training pair had come through."""

import random

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_s2s as s2s
from keras_s2s.cli.main import main
from keras_s2s.serving.allowed_ops import unsafe_parts
from keras_s2s.serving.saved_model import SavedModel
from keras_s2s.serving.session import SavedModelSession
from keras_s2s.serving.writer import write_saved_model

VERBS = {"sees": "voit", "likes": "aime", "meets": "rencontre"}
OTHERS = {"the cat": "le chat", "a dog": "un chien"}


def named_pairs(size, seed):
    """Make pairs with a name each; another seed gives other names."""
    rng = random.Random(seed)
    sides = [], []
    for _ in range(size):
        name = "".join(rng.choice("bdfgklmnprst") + rng.choice("aeiou") for _ in range(3))
        (verb, verb_target), (other, other_target) = (
            rng.choice(list(words.items())) for words in (VERBS, OTHERS)
        )
        for side, words in zip(
            sides, ([name, verb, other], [name, verb_target, other_target]), strict=True
        ):
            side.append(words)
        if rng.random() < 0.5:
            for side in sides:
                side[-1].reverse()
    return s2s.ParallelCorpus(*([" ".join(row) for row in side] for side in sides), name="names")


TRAINING, UNSEEN = named_pairs(120, seed=0), named_pairs(20, seed=1)


def learn(copy, epochs, fit, num_steps):
    keras.utils.set_random_seed(0)
    source, target = fit(TRAINING.source), fit(TRAINING.target)
    sizes = {"embed_size": 16, "num_hiddens": 24, "num_layers": 1}
    decoder = s2s.Seq2SeqDecoder(
        len(target), **sizes, attention="luong", copy=copy and s2s.copy_map(source, target)
    )
    model = s2s.Seq2Seq(s2s.Seq2SeqEncoder(len(source), **sizes), decoder)
    data = s2s.make_dataset(
        TRAINING, source, target, 20, num_steps, shuffle=True, seed=0, copy=copy
    )
    model.compile(keras.optimizers.Adam(0.02, global_clipnorm=1.0), steps_per_execution=len(data))
    model.fit(data, epochs=epochs, verbose=0)
    return s2s.Translator(model, source, target, num_steps=num_steps, beam_size=3)


@pytest.fixture(scope="module")
def copier(build_once):
    """The result of `train --copy`."""

    def build(folder):
        pairs = zip(TRAINING.source, TRAINING.target, strict=True)
        text = "".join(f"{source}\t{target}\n" for source, target in pairs)
        (folder / "names.tsv").write_text(text)
        sizes = {"embed-size": 16, "num-hiddens": 24, "num-layers": 1, "num-steps": 8}
        options = {**sizes, "min-freq": 5, "batch-size": 20, "epochs": 25, "learning-rate": 0.02}
        options = [f"--{name}={value}" for name, value in options.items()]
        run = ["--run-dir", str(folder / "run"), "--copy", "--attention=luong", "--beam-size=3"]
        assert main(["train", str(folder / "names.tsv"), *run, *options]) == 0

    return s2s.Translator.load(build_once("copier", build) / "run" / "model.keras")


def test_unseen_names_come_through(copier):
    assert not set(" ".join(UNSEEN.target).split()) & {
        name for name in " ".join(TRAINING.target).split() if len(name) == 6
    }
    for beam in (1, 3):
        assert copier.translate(UNSEEN.source, beam=beam) == UNSEEN.target
    scores = [pair.score for pair in copier.score_pairs(UNSEEN.source, UNSEEN.target)]
    assert min(scores) > -1.0
    [other] = copier.score_pairs(["the cat likes zorkol"], ["le chat aime zorkel"])
    assert other.score < min(scores), "a name that the source has not is less probable"
    assert np.isfinite(other.score)


def test_explain_names_the_copied_token(copier):
    explained = copier.explain(tf.constant(["the cat likes zorkol"]))
    tokens = [token.decode() for token in explained["target_tokens"][0].numpy()]
    assert tokens[:5] == ["le", "chat", "aime", "zorkol", "<eos>"]
    assert int(tf.argmax(explained["attention"][0, 3])) == 3
    assert explained["unknown_source"][0].numpy().tolist() == [0, 0, 0, 1, 0, 0, 0, 0]
    assert float(explained["probabilities"][0, 3]) > 0.5


def check_served(folder):
    assert not unsafe_parts(SavedModel(folder))
    with SavedModelSession(folder) as session:
        served = session.run("serving_default", text=np.array(UNSEEN.source, object))
    assert [text.decode() for text in served["translation"]] == UNSEEN.target


def test_served_answers(copier, tmp_path):
    tokenizers = [
        tokenizer.as_asset(tmp_path / f"{number}.txt")
        for number, tokenizer in enumerate((copier.source_tokenizer, copier.target_tokenizer))
    ]
    served = s2s.Translator(copier.model, *tokenizers, num_steps=8)
    text = tf.TensorSpec([None], tf.string, name="text")
    signatures = {"serving_default": (served.answer, [text])}
    check_served(write_saved_model(tmp_path / "names", signatures, tracked=tokenizers))


@pytest.mark.slow
def test_export(copier, tmp_path):
    """`export` compares all signatures with Python, in batches of all sizes."""
    texts = [*UNSEEN.source[:4], "zork zork", ""]
    check_served(copier.export(tmp_path / "names", sentences=texts))


def test_other_tokenizers_are_refused(copier):
    other = s2s.WordTokenizer([*copier.target_tokenizer.vocabulary[:4], *"abcdefghijklmnop"])
    other = s2s.WordTokenizer(other.vocabulary[: len(copier.target_tokenizer)])
    assert len(other) == len(copier.target_tokenizer)
    with pytest.raises(ValueError, match="copies between other vocabularies"):
        s2s.Translator(copier.model, copier.source_tokenizer, other)


def test_subwords_with_copying_round_trip(tmp_path):
    """With random weights: what is copied is written as it is in the source."""
    tokenizer = s2s.SentencePieceTokenizer.fit(["go on", "no go"] * 5, vocab_size=16)
    sizes = {"embed_size": 4, "num_hiddens": 6, "num_layers": 1}
    decoder = s2s.Seq2SeqDecoder(len(tokenizer), **sizes, attention="luong", copy=True)
    model = s2s.Seq2Seq(s2s.Seq2SeqEncoder(len(tokenizer), **sizes), decoder)
    model.decoder.copying.gate.bias.assign([-50.0])
    translator = s2s.Translator(model, tokenizer, tokenizer, num_steps=6)
    [text] = translator.translate(["ЖЖЖ"])
    assert set(text.replace(" ", "")) == {"Ж".lower()}
    copied, unknown = translator.score_pairs(["ЖЖЖ", "ЖЖЖ"], ["жжж", "щщщ"])
    assert copied.score > unknown.score + 40


@pytest.mark.slow
def test_impossible_without_copying():
    """Words: the answer is `<unk>`. Subwords: copying takes fewer epochs."""

    def words(texts):
        return s2s.WordTokenizer.fit(texts, min_freq=5)

    def subwords(texts):
        return s2s.SentencePieceTokenizer.fit(texts, vocab_size=60)

    answers = learn(False, 25, words, num_steps=8).translate(UNSEEN.source)
    assert all("<unk>" in answer for answer in answers)
    right = []
    for copy in (True, False):
        answers = learn(copy, 40, subwords, num_steps=24).translate(UNSEEN.source)
        right.append(sum(map(str.__eq__, answers, UNSEEN.target)))
    assert right[0] > 2 * right[1]
