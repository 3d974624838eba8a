"""Toy tasks that every kind of model learns perfectly, also when exported."""

import dataclasses
import random
from collections.abc import Callable

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_s2s as s2s
from keras_s2s.serving.runtime_check import required_op_libraries
from keras_s2s.serving.saved_model import SavedModel
from keras_s2s.serving.session import SavedModelSession

SYMBOLS = ["ant", "bee", "cat", "dog", "elk", "fox", "gnu", "hen"]
BEAM_SIZE = 3
TASKS = {"copy": list, "reverse": lambda words: words[::-1], "sort": sorted}


def toy_corpus(task, size=200, lengths=(3, 6), rare=False, seed=0):
    """Make a corpus of distinct random sequences of words.

    Args:
        task: one of `TASKS`.
        size: number of pairs.
        lengths: minimum and maximum number of words.
        rare: whether each pair has a word that occurs in no other pair.
        seed: random seed.
    """
    rng, sources = random.Random(seed), {}
    while len(sources) < size:
        words = rng.choices(SYMBOLS, k=rng.randint(*lengths))
        if rare:
            words[rng.randrange(len(words))] = f"name{len(sources)}"
        sources[" ".join(words)] = " ".join(TASKS[task](words))
    return s2s.ParallelCorpus(list(sources), list(sources.values()), name=task)


def learned(translator, corpus):
    """Return whether all translations are right, by both search strategies.

    The beam search is the one of an export, with all hypotheses, so that it is traced once.
    """
    if translator.translate(corpus.source) != corpus.target:
        return False
    beams = translator.translate(corpus.source, beam=BEAM_SIZE, n_best=BEAM_SIZE)
    return [hypotheses[0] for hypotheses in beams] == corpus.target


class StopWhenLearned(keras.callbacks.Callback):
    """Stops the training when all translations are right, by both search strategies."""

    def __init__(self, translator, corpus):
        super().__init__()
        self._translator, self._corpus = translator, corpus

    def on_epoch_end(self, epoch, logs=None):
        # Translate only once the loss is low.
        if logs["loss"] < 0.01:
            self.model.stop_training = learned(self._translator, self._corpus)


def words(corpus):
    """Make word tokenizers without the words that occur once."""
    return [s2s.WordTokenizer.fit(side, min_freq=2) for side in (corpus.source, corpus.target)]


def subwords(corpus):
    """Make subword tokenizers, with a few subwords per word."""
    return [
        s2s.SentencePieceTokenizer.fit(side, vocab_size=40)
        for side in (corpus.source, corpus.target)
    ]


@dataclasses.dataclass
class Row:
    """A task, and the model to train on it.

    Attributes:
        task: one of `TASKS`.
        tokenizers: makes the tokenizers from a corpus.
        encoder: options of the encoder.
        decoder: options of the decoder.
        both: options of encoder and decoder.
        replace_unknown: whether each sentence has an unknown word.
        size: number of pairs.
        lengths: minimum and maximum number of words.
    """

    task: str
    tokenizers: Callable = words
    encoder: dict = dataclasses.field(default_factory=dict)
    decoder: dict = dataclasses.field(default_factory=dict)
    both: dict = dataclasses.field(default_factory=dict)
    replace_unknown: bool = False
    size: int = 200
    lengths: tuple = (3, 6)

    @property
    def num_steps(self):
        """Maximum length, with <bos>, <eos> and the subwords of each word."""
        return self.lengths[1] * (1 if self.tokenizers is words else 4) + 2

    def corpus(self):
        return toy_corpus(self.task, self.size, self.lengths, rare=self.replace_unknown)


def learn(row, corpus):
    """Train a translator through the public interface."""
    keras.utils.set_random_seed(0)
    both = {"embed_size": 16, "num_hiddens": 32, "num_layers": 1, **row.both}
    source, target = row.tokenizers(corpus)
    model = s2s.Seq2Seq(
        s2s.Seq2SeqEncoder(len(source), **{**both, **row.encoder}),
        s2s.Seq2SeqDecoder(len(target), **both, **row.decoder),
    )
    data = s2s.make_dataset(
        corpus,
        source,
        target,
        batch_size=20,
        num_steps=row.num_steps,
        shuffle=True,
        seed=0,
        bucket_by_length=True,
    )
    model.compile(
        keras.optimizers.Adam(0.01, global_clipnorm=1.0),
        steps_per_execution=int(data.cardinality()),
    )
    translator = s2s.Translator(
        model,
        source,
        target,
        row.num_steps,
        beam_size=BEAM_SIZE,
        replace_unknown=row.replace_unknown,
    )
    model.fit(data, epochs=200, verbose=0, callbacks=StopWhenLearned(translator, corpus))
    return translator


LUONG, BAHDANAU = {"attention": "luong"}, {"attention": "bahdanau"}
SMALL_ENCODER = {"num_hiddens": 24, "num_layers": 2}
SMALL_ENCODER_SIZES = {"encoder_num_hiddens": 24, "encoder_num_layers": 2}

# Most options occur here, each of them below.
COMBINED = {
    "luong, bidirectional, tied, with replace_unknown": Row(
        "copy",
        encoder={"bidirectional": True},
        decoder={**LUONG, "tie_embeddings": True},
        replace_unknown=True,
        lengths=(3, 5),
    ),
    "bahdanau, input feeding, gru, bridge, subwords": Row(
        "copy",
        subwords,
        encoder=SMALL_ENCODER,
        decoder={**BAHDANAU, **SMALL_ENCODER_SIZES, "input_feeding": True},
        both={"cell": "gru"},
        size=150,
        lengths=(3, 4),
    ),
}
SINGLE = {
    "chapter": Row("copy"),
    "luong": Row("copy", decoder=LUONG),
    "luong-dot": Row("reverse", decoder={"attention": "luong-dot"}),
    "bahdanau": Row("sort", decoder=BAHDANAU),
    "input feeding": Row("reverse", decoder={**LUONG, "input_feeding": True}),
    "bidirectional": Row("sort", encoder={"bidirectional": True}, decoder=LUONG),
    "residual": Row("copy", both={"residual": True, "num_layers": 3}, decoder=LUONG),
    "tied": Row("reverse", decoder={"tie_embeddings": True}),
    "gru": Row("sort", both={"cell": "gru"}, decoder=LUONG),
    "bridge": Row("copy", encoder=SMALL_ENCODER, decoder=SMALL_ENCODER_SIZES),
    "variational dropout": Row("sort", both={"recurrent_dropout": 0.03}, decoder=LUONG),
    "subwords": Row("copy", subwords, decoder=LUONG),
    "replace_unknown": Row("copy", decoder=LUONG, replace_unknown=True, lengths=(3, 5)),
}


@pytest.mark.parametrize(
    "row",
    [
        *(pytest.param(row, id=name) for name, row in COMBINED.items()),
        *(
            pytest.param(row, id=f"only {name}", marks=pytest.mark.slow)
            for name, row in SINGLE.items()
        ),
    ],
)
def test_a_task_is_learned_saved_and_served_without_errors(row, tmp_path):
    corpus = row.corpus()
    translator = learn(row, corpus)
    expected = corpus.target
    assert learned(translator, corpus)

    translator.save(tmp_path / "toy.keras")
    loaded = s2s.Translator.load(tmp_path / "toy.keras")
    assert loaded.translate(corpus.source) == expected
    sample = corpus.source[:30]
    beams, scores = translator.translate(
        sample, beam=BEAM_SIZE, n_best=BEAM_SIZE, return_scores=True
    )
    loaded_beams, loaded_scores = loaded.translate(
        sample, beam=BEAM_SIZE, n_best=BEAM_SIZE, return_scores=True
    )
    assert loaded_beams == beams
    np.testing.assert_allclose(loaded_scores, scores, atol=1e-5)

    explained = None
    if row.decoder.get("attention"):
        explained = {
            name: value.numpy() for name, value in loaded.explain(tf.constant(sample)).items()
        }
        check_explanation(explained, loaded, sample, expected[:30], row)
    folder = translator.export(tmp_path / "models" / "toy", sentences=corpus.source)
    libraries = required_op_libraries(SavedModel(folder))
    with SavedModelSession(folder, op_libraries=libraries) as session:
        check_export(session, corpus, sample, beams, explained)


def check_explanation(explained, translator, sentences, translations, row):
    """Check the tokens of an explanation against the texts, and the sums of its attention."""
    shape = (len(sentences), row.num_steps)
    assert explained["source_tokens"].shape == explained["target_tokens"].shape == shape
    assert explained["attention"].shape == (*shape, row.num_steps)
    for row_index, (sentence, translation) in enumerate(zip(sentences, translations, strict=True)):
        read, written = (
            [token.decode() for token in explained[name][row_index] if token]
            for name in ("source_tokens", "target_tokens")
        )
        assert written.pop() == "<eos>"
        if row.tokenizers is words:
            assert read == sentence.split()
            vocabulary = translator.target_tokenizer.vocabulary
            assert written == [
                word if word in vocabulary else "<unk>" for word in translation.split()
            ]
        else:
            assert "".join(read).replace("▁", " ").strip() == sentence
            assert "".join(written).replace("▁", " ").strip() == translation
        weights = explained["attention"][row_index]
        np.testing.assert_allclose(weights[: len(written) + 1].sum(axis=1), 1, atol=1e-5)
        assert not weights[len(written) + 1 :].any()
        assert not weights[:, len(read) :].any()


def check_export(session, corpus, sample, beams, explained):
    """Compare the outputs of a server with those in Python."""
    served = session.run("serving_default", text=[text.encode() for text in corpus.source])
    assert [text.decode() for text in served["translation"]] == corpus.target
    inputs = [text.encode() for text in sample]
    outputs = session.run("beam", text=inputs)["translations"]
    assert [[text.decode() for text in row] for row in outputs] == beams
    if explained is not None:
        outputs = session.run("explain", text=inputs)
        for name in ("source_tokens", "target_tokens"):
            assert outputs[name].tolist() == explained[name].tolist()
        np.testing.assert_allclose(outputs["attention"], explained["attention"], atol=1e-5)
