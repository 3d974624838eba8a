"""Attention generalizes from 3,000 pairs to unseen dates, which the chapter's model does not."""

import keras
import numpy as np
import pytest
from dates import date_corpus

import keras_s2s as s2s

NUM_STEPS = 40


@pytest.fixture(scope="module")
def pairs():
    """3,000 pairs for training and 500 held-out ones."""
    corpus = date_corpus(3500, seed=0)
    train_slice, held_out_slice = slice(0, 3000), slice(3000, 3500)
    return [
        s2s.ParallelCorpus(corpus.source[rows], corpus.target[rows], name="dates")
        for rows in (train_slice, held_out_slice)
    ]


def train(pairs, epochs, encoder_options, decoder_options):
    corpus, _ = pairs
    keras.utils.set_random_seed(0)
    source, target = (s2s.WordTokenizer.fit(side) for side in (corpus.source, corpus.target))
    data = s2s.make_dataset(
        corpus, source, target, num_steps=NUM_STEPS, shuffle=True, seed=0, bucket_by_length=True
    )
    model = s2s.Seq2Seq(
        s2s.Seq2SeqEncoder(len(source), 32, 64, 1, **encoder_options),
        s2s.Seq2SeqDecoder(len(target), 32, 64, 1, **decoder_options),
    )
    schedule = keras.optimizers.schedules.CosineDecay(0.01, epochs * int(data.cardinality()))
    model.compile(keras.optimizers.Adam(schedule, global_clipnorm=1.0), steps_per_execution=16)
    model.fit(data, epochs=epochs, verbose=0)
    return s2s.Translator(model, source, target, num_steps=NUM_STEPS)


def exact_match(translator, corpus):
    """Compute the fraction of exact translations."""
    translations = translator.translate(corpus.source, batch_size=250)
    return np.mean(np.array(translations) == np.array(corpus.target))


def test_attention_translates_unseen_dates(pairs):
    translator = train(pairs, 12, {"bidirectional": True}, {"attention": "luong"})
    assert exact_match(translator, pairs[1]) >= 0.99

    # All dates end with the year, which the first two target digits attend to, but not those of the
    # month.
    texts = pairs[1].source[:100]
    attention = translator.explain(texts)["attention"].numpy()
    lengths = [len(text.split()) for text in texts]
    to_year = np.mean(
        [
            rows[:, length - 5 : length].sum(axis=1)[:7]
            for rows, length in zip(attention, lengths, strict=True)
        ],
        axis=0,
    )
    assert to_year[:2].min() > 0.8
    assert to_year[5:].max() < 0.4


@pytest.mark.slow
def test_the_model_of_the_chapter_does_not_generalize(pairs):
    assert exact_match(train(pairs, 12, {}, {}), pairs[1]) < 0.5
