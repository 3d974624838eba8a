"""Models with random weights for tests of decoding, and reference searches in plain Python."""

import functools
from typing import NamedTuple

import numpy as np
import tensorflow as tf

import keras_s2s as s2s
from keras_s2s.decoding.greedy_search import score_targets
from keras_s2s.tokenizers.tokenizer import BOS, EOS, PAD, UNK

SIZES = {"embed_size": 6, "num_hiddens": 8, "num_layers": 2}
VARIANTS = {
    "plain": {},
    "attends": {"attention": "luong"},
    "feeds": {"attention": "bahdanau", "input_feeding": True, "cell": "gru"},
}


def make_model(variant="plain", seed=0, vocab_size=7, end_bias=0.0, **options):
    """Make a model whose hypotheses differ between sources.

    With small initial weights every source would have the same hypothesis.
    """
    decoder_options = dict(VARIANTS[variant])
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
    """Generate ids and valid lengths of random sources, some of them empty."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(shortest, steps + 1, rows).astype("int32")
    ids = rng.integers(UNK, vocab_size, (rows, steps)).astype("int32")
    ids[np.arange(steps) >= lengths[:, None]] = PAD
    return ids, lengths


class Hypothesis(NamedTuple):
    """A hypothesis, or a prefix of one."""

    tokens: tuple = ()
    log_probability: float = 0.0
    attention: tuple = ()
    score: float = 0.0

    @property
    def finished(self):
        return self.tokens[-1:] == (EOS,)


class Rules(NamedTuple):
    """The options of a search, with their meaning for a single hypothesis."""

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

    def with_score(self, hypothesis):
        score = (
            hypothesis.log_probability / ((5 + len(hypothesis.tokens)) / 6) ** self.length_penalty
        )
        if self.coverage_penalty:
            coverage = np.minimum(np.sum(hypothesis.attention, axis=0), 1.0)
            score += self.coverage_penalty * float(np.sum(np.log(coverage)))
        return hypothesis._replace(score=score)


@functools.cache
def compiled_step(decoder):
    return tf.function(decoder.step, autograph=False, reduce_retracing=True)


class Continuations:
    """Continuations of prefixes by a model, for one source."""

    def __init__(self, model, ids, length):
        self.decoder = model.decoder
        source = tf.constant(ids[None, :length]), tf.constant([length])
        self.initial_state, self.memory = model.encode(source, training=False)
        # The state after the prefixes of the last call, and the row of each.
        self.state, self.rows = None, {}

    def after(self, prefixes):
        """Return log-probabilities of each next token, and the attention, for each prefix."""
        inputs = np.array([(BOS, *prefix.tokens) for prefix in prefixes], "int32").T
        parents = [prefix.tokens[:-1] for prefix in prefixes]
        if len(inputs) > 1 and all(parent in self.rows for parent in parents):
            rows = [self.rows[parent] for parent in parents]
            state, inputs = [tf.gather(part, rows, axis=1) for part in self.state], inputs[-1:]
        else:
            state = [tf.repeat(part, len(prefixes), axis=1) for part in self.initial_state]
        for column in inputs:
            step = compiled_step(self.decoder)
            logits, state, attention = step(tf.constant(column), state, self.memory)
        self.state = state
        self.rows = {prefix.tokens: row for row, prefix in enumerate(prefixes)}
        log_probabilities = tf.nn.log_softmax(logits).numpy().astype("float64")
        return log_probabilities, (None if attention is None else attention.numpy())

    def extend(self, prefixes, rules):
        """Return all allowed continuations of the prefixes by one token."""
        extended = []
        log_probabilities, attention = self.after(prefixes)
        for row, prefix in enumerate(prefixes):
            for token in range(log_probabilities.shape[1]):
                if rules.allow((*prefix.tokens, token)):
                    extended.append(
                        Hypothesis(
                            (*prefix.tokens, token),
                            prefix.log_probability + log_probabilities[row, token],
                            prefix.attention + (() if attention is None else (attention[row],)),
                        )
                    )
        return extended


def all_hypotheses(model, ids, length, max_steps):
    """Return every finished hypothesis, and every prefix of `max_steps` tokens."""
    continuations = Continuations(model, ids, length)
    prefixes, complete = [Hypothesis()], []
    for _ in range(max_steps):
        extended = continuations.extend(prefixes, Rules())
        complete += [hypothesis for hypothesis in extended if hypothesis.finished]
        prefixes = [hypothesis for hypothesis in extended if not hypothesis.finished]
    return complete + prefixes


def best_first(hypotheses, rules):
    """Return the allowed hypotheses, ranked, finished ones first."""
    allowed = [hypothesis for hypothesis in hypotheses if rules.allow(hypothesis.tokens)]
    finished = [hypothesis for hypothesis in allowed if hypothesis.finished]
    truncated = [hypothesis for hypothesis in allowed if not hypothesis.finished]
    return ranked(finished, rules) + ranked(truncated, rules)


def ranked(hypotheses, rules):
    return sorted(map(rules.with_score, hypotheses), key=lambda hypothesis: -hypothesis.score)


def plain_beam_search(model, ids, length, max_steps, beam_size, rules):
    """Run beam search on lists, without early stopping."""
    continuations = Continuations(model, ids, length)
    beams, complete = [Hypothesis()], []
    for _ in range(max_steps):
        extended = continuations.extend(beams, rules) if beams else []
        extended.sort(key=lambda hypothesis: -hypothesis.log_probability)
        complete += [hypothesis for hypothesis in extended[:beam_size] if hypothesis.finished]
        beams = [hypothesis for hypothesis in extended if not hypothesis.finished][:beam_size]
    # Finished hypotheses take no place in the beam.
    return ranked(complete, rules)[:beam_size] + ranked(beams, rules)


def greedy_in_python(model, ids, length, max_steps, rules):
    """Run greedy search for one sentence, as `predict_s2s_ch8` of the chapter, with the score."""
    continuations = Continuations(model, ids, length)
    hypothesis = Hypothesis()
    while len(hypothesis.tokens) < max_steps and not hypothesis.finished:
        candidates = continuations.extend([hypothesis], rules)
        hypothesis = max(candidates, key=lambda candidate: candidate.log_probability)
    return hypothesis


def assert_scores_are_reproduced(model, ids, lengths, result):
    """Check that scoring finished hypotheses as targets gives their log-probabilities."""
    finished = np.flatnonzero((result.ids.numpy() == EOS).any(axis=1))
    assert len(finished)
    target = np.pad(result.ids.numpy(), [(0, 0), (1, 0)], constant_values=BOS)
    scores, num_tokens = score_targets(model, (ids, lengths), (target, result.lengths + 1))
    for row in finished:
        np.testing.assert_allclose(scores[row], result.log_probabilities[row], atol=1e-4)
        assert int(num_tokens[row]) == int(result.lengths[row])
