"""Models with random weights for the tests of searches, and plain searches to compare with."""

import functools
from typing import NamedTuple

import numpy as np
import tensorflow as tf

import keras_s2s as s2s
from keras_s2s.tokenizers.tokenizer import BOS, EOS, PAD, UNK

SIZES = {"embed_size": 6, "num_hiddens": 8, "num_layers": 2}
KINDS = {
    "plain": {},
    "attends": {"attention": "luong"},
    "feeds": {"attention": "bahdanau", "input_feeding": True, "cell": "gru"},
}


def make_model(kind="plain", seed=0, vocab_size=7, end_bias=0.0, **options):
    """A model whose answers differ from source to source.

    Small initial weights would give every source the same answer.
    """
    decoder_options = dict(KINDS[kind])
    cell = decoder_options.pop("cell", "lstm")
    model = s2s.Seq2Seq(
        s2s.Seq2SeqEncoder(vocab_size, **SIZES, cell=cell, **options),
        s2s.Seq2SeqDecoder(vocab_size, **SIZES, cell=cell, **decoder_options, **options),
        **options,
    )
    rng = np.random.default_rng(seed)
    model.set_weights([rng.normal(0, 0.9, weight.shape) for weight in model.get_weights()])
    bias = model.decoder.dense.bias
    bias.assign(tf.tensor_scatter_nd_add(bias.value, [[EOS]], [end_bias]))
    return model


def sources(rows, steps=5, vocab_size=7, seed=0, shortest=0):
    """Ids and valid lengths of random sources, some of them without a token."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(shortest, steps + 1, rows).astype("int32")
    ids = rng.integers(UNK, vocab_size, (rows, steps)).astype("int32")
    ids[np.arange(steps) >= lengths[:, None]] = PAD
    return ids, lengths


class Answer(NamedTuple):
    """An answer, or the beginning of one."""

    tokens: tuple = ()
    log_probability: float = 0.0
    attention: tuple = ()
    score: float = 0.0

    @property
    def ended(self):
        return self.tokens[-1:] == (EOS,)


class Rules(NamedTuple):
    """The options of a search, and what they mean, one answer at a time."""

    length_penalty: float = 0.0
    coverage_penalty: float = 0.0
    min_length: int = 0
    no_repeat_ngram_size: int = 0
    forbid_unknown: bool = False

    def allow(self, tokens):
        words = [token for token in tokens if token != EOS]
        size = self.no_repeat_ngram_size
        ngrams = [tuple(words[i : i + size]) for i in range(len(words) - size + 1)] if size else []
        return (
            not {PAD, BOS} & set(tokens)
            and not (EOS in tokens and len(words) < self.min_length)
            and len(set(ngrams)) == len(ngrams)
            and not (self.forbid_unknown and UNK in tokens)
        )

    def with_score(self, answer):
        score = answer.log_probability / ((5 + len(answer.tokens)) / 6) ** self.length_penalty
        if self.coverage_penalty:
            coverage = np.minimum(np.sum(answer.attention, axis=0), 1.0)
            score += self.coverage_penalty * float(np.sum(np.log(coverage)))
        return answer._replace(score=score)


@functools.cache
def compiled_step(decoder):
    return tf.function(decoder.step, autograph=False, reduce_retracing=True)


class Continuations:
    """What a model says of beginnings of an answer to one source, one by one or by the thousand."""

    def __init__(self, model, ids, length):
        self.decoder = model.decoder
        outputs = model.encoder(ids[None, :length], np.array([length]), training=False)
        self.memory = self.decoder.remember(outputs, np.array([length]))
        self.state = self.decoder.init_state(outputs)

    def after(self, beginnings):
        """Log-probabilities of each next token, and the attention it comes with, for each."""
        state = [tf.repeat(part, len(beginnings), axis=1) for part in self.state]
        given = np.array([(BOS, *beginning.tokens) for beginning in beginnings], "int32")
        for column in given.T:
            step = compiled_step(self.decoder)
            logits, state, attention = step(tf.constant(column), state, self.memory)
        log_probabilities = tf.nn.log_softmax(logits).numpy().astype("float64")
        return log_probabilities, (None if attention is None else attention.numpy())

    def extend(self, beginnings, rules):
        """All allowed continuations by a token of all the beginnings."""
        found = []
        log_probabilities, attention = self.after(beginnings)
        for row, beginning in enumerate(beginnings):
            for token in range(log_probabilities.shape[1]):
                if rules.allow((*beginning.tokens, token)):
                    found.append(
                        Answer(
                            (*beginning.tokens, token),
                            beginning.log_probability + log_probabilities[row, token],
                            beginning.attention + (() if attention is None else (attention[row],)),
                        )
                    )
        return found


def all_answers(model, ids, length, max_steps):
    """Every answer there is, and every beginning of one of `max_steps` tokens."""
    continuations = Continuations(model, ids, length)
    beginnings, found = [Answer()], []
    for _ in range(max_steps):
        extended = continuations.extend(beginnings, Rules())
        found += [answer for answer in extended if answer.ended]
        beginnings = [answer for answer in extended if not answer.ended]
    return found + beginnings


def best_first(answers, rules):
    """Those that are allowed; first what has ended."""
    allowed = [answer for answer in answers if rules.allow(answer.tokens)]
    ended = [answer for answer in allowed if answer.ended]
    cut = [answer for answer in allowed if not answer.ended]
    return ranked(ended, rules) + ranked(cut, rules)


def ranked(answers, rules):
    return sorted(map(rules.with_score, answers), key=lambda answer: -answer.score)


def plain_beam_search(model, ids, length, max_steps, beam_size, rules):
    """Beam search with lists, and without stopping before the last step."""
    continuations = Continuations(model, ids, length)
    beams, found = [Answer()], []
    for _ in range(max_steps):
        extended = continuations.extend(beams, rules) if beams else []
        extended.sort(key=lambda answer: -answer.log_probability)
        found += [answer for answer in extended[:beam_size] if answer.ended]
        beams = [answer for answer in extended if not answer.ended][:beam_size]
    # Beams take the place of no answer, and no answer that of a beam.
    return ranked(found, rules)[:beam_size] + ranked(beams, rules)


def greedy_in_python(model, ids, length, max_steps, rules):
    """What the chapter's `predict_s2s_ch8` does for one sentence, with the score besides."""
    continuations = Continuations(model, ids, length)
    answer = Answer()
    while len(answer.tokens) < max_steps and not answer.ended:
        candidates = continuations.extend([answer], rules)
        answer = max(candidates, key=lambda candidate: candidate.log_probability)
    return answer
