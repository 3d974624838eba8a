"""Answers drawn at random, in the graph."""

import tensorflow as tf

from keras_s2s.decoding.constraints import Constraints, TokenCandidates, top_k_tokens
from keras_s2s.decoding.greedy_search import SearchResult, decode, without_samples
from keras_s2s.models.seq2seq import Seq2Seq
from keras_s2s.tokenizers.tokenizer import EOS
from keras_s2s.utils.errors import InputError

# A random number is one of so many, spread evenly from 0 to 1. A sum in float64 times the last of
# them is still less than the sum.
NUMBERS = 2**52
# Of the hash that makes them; any two would do, but they must never change.
HASH_KEY = [1917, 1952]


def sample_search(
    model: Seq2Seq,
    source_ids: tf.Tensor,
    source_valid_length: tf.Tensor,
    max_steps: int,
    seed: int | tf.Tensor,
    *,
    num_samples: int | None = None,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    min_length: int = 0,
    no_repeat_ngram_size: int = 0,
    forbid_unknown: bool = False,
) -> SearchResult:
    """Draws each token by its probability until `<eos>`.

    A token with the logit z is drawn with a probability proportional to exp(z / temperature), among
    all tokens that are allowed, among the `top_k` most probable of these, or among the fewest
    that together have the probability `top_p` at least. When both are given, `top_p` is a share of
    the probability of the `top_k`.

    The same seed gives the same answers in every call and process. What is drawn depends on the
    seed, the tokens of the source, the number of the sample and that of the step, and on nothing
    else: a sentence has the same samples in every batch, and twice the same when it is in a batch
    twice. For several different ones there is `num_samples`.

    Args:
        model: the trained model.
        source_ids: int32 tensor, shape (batch, steps).
        source_valid_length: int32 tensor, shape (batch,).
        max_steps: tokens at most, `<eos>` included. An answer that has not ended by then is cut.
        seed: any integer, or a tensor with one.
        num_samples: answers for each sentence, drawn one by one; some can be the same.
        temperature: below 1 probable tokens are drawn more often than the model says, above 1
            less often. Close to 0 this is `greedy_search`.
        top_k: only so many of the most probable tokens are drawn; 0 for all.
        top_p: only the most probable tokens are drawn that it takes to reach this probability; 1
            for all.
        min_length: so many tokens come before `<eos>` at least.
        no_repeat_ngram_size: no sequence of so many tokens comes twice in an answer; 0 for no
            such rule.
        forbid_unknown: whether `<unk>` is never taken either.

    Returns:
        A `SearchResult`. With `num_samples` all of its parts have a dimension for the samples after
        that of the batch. The log-probabilities are those that the model gives the answers, not
        those of drawing them.

    Raises:
        InputError: an option is out of its range.

    Reference: Fan, Lewis and Dauphin, 2018, "Hierarchical Neural Story Generation", section 5.3
    (`top_k`); Holtzman et al., 2020, "The Curious Case of Neural Text Degeneration", section 3
    (`top_p`).

    Example:

    >>> import keras_s2s as s2s
    >>> encoder = s2s.Seq2SeqEncoder(10, embed_size=8, num_hiddens=8, num_layers=1)
    >>> decoder = s2s.Seq2SeqDecoder(10, embed_size=8, num_hiddens=8, num_layers=1)
    >>> model = s2s.Seq2Seq(encoder, decoder)
    >>> source = tf.constant([[4, 5, 0]]), tf.constant([2])
    >>> result = sample_search(model, *source, max_steps=6, seed=0, num_samples=3, top_p=0.9)
    >>> result.ids.shape, result.log_probabilities.shape
    (TensorShape([1, 3, 6]), TensorShape([1, 3]))
    """
    _check(num_samples, temperature, top_k, top_p)
    constraints = Constraints(min_length, no_repeat_ngram_size, forbid_unknown)
    source = tf.convert_to_tensor(source_ids), tf.convert_to_tensor(source_valid_length)
    names = _names(*source, seed, num_samples or 1)

    def draw(
        choices: TokenCandidates, step: tf.Tensor, places: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        logits = tf.concat([choices.end[:, None], choices.words], axis=1)
        candidates, weights = _candidates(logits, temperature, top_k, top_p)
        random = _random_numbers(tf.reshape(tf.gather(names, places), [-1]), step)
        drawn = _draw(weights, random)
        if candidates is not None:
            drawn = tf.gather(candidates, drawn, batch_dims=1)
        tokens = tf.where(drawn == 0, EOS, choices.first_word + drawn - 1)
        return tokens, tf.gather(logits, drawn, batch_dims=1)

    result = decode(model, source, max_steps, constraints, draw, num_samples or 1)
    return without_samples(result) if num_samples is None else result


def _check(num_samples: int | None, temperature: float, top_k: int, top_p: float) -> None:
    if num_samples is not None and num_samples < 1:
        raise InputError(f"num_samples is {num_samples}; give 1 or more, or None for one")
    if not 0 < temperature < float("inf"):
        raise InputError(f"temperature is {temperature}; give more than 0, such as 0.7")
    if top_k < 0:
        raise InputError(f"top_k is {top_k}; give 1 or more, or 0 for all tokens")
    if not 0 < top_p <= 1:
        raise InputError(f"top_p is {top_p}; give more than 0, and 1 or less")


def _candidates(
    logits: tf.Tensor, temperature: float, top_k: int, top_p: float
) -> tuple[tf.Tensor | None, tf.Tensor]:
    """What is drawn from, by place (None for all in order), and weights, (rows, candidates)."""
    places = None
    if top_k or top_p < 1:
        logits, places = top_k_tokens(logits, top_k or logits.shape[1])
    peak = tf.reduce_max(logits, axis=1, keepdims=True)
    weights = tf.cast(tf.exp((logits - peak) / temperature), tf.float64)
    if top_p < 1:
        before = tf.cumsum(weights, axis=1, exclusive=True)
        enough = top_p * tf.reduce_sum(weights, axis=1, keepdims=True)
        weights = tf.where(before >= enough, tf.zeros_like(weights), weights)
    return places, weights


def _draw(weights: tf.Tensor, random: tf.Tensor) -> tf.Tensor:
    """The place, in each row of weights, that a number from 0 to 1 falls on; int32, (rows,)."""
    sums = tf.cumsum(weights, axis=1)
    # So counted, weights that are no numbers give the first place.
    return tf.math.count_nonzero(sums <= random[:, None] * sums[:, -1:], axis=1, dtype=tf.int32)


def _names(
    source_ids: tf.Tensor, source_valid_length: tf.Tensor, seed: int | tf.Tensor, samples: int
) -> tf.Tensor:
    """What is unlike for answers that are to be drawn independently, strings (batch, samples)."""
    valid = tf.sequence_mask(source_valid_length, tf.shape(source_ids)[1])
    source = tf.strings.reduce_join(tf.where(valid, tf.as_string(source_ids) + " ", ""), axis=1)
    seed = tf.as_string(seed) if tf.is_tensor(seed) else tf.constant(str(seed))
    return source[:, None] + "/" + tf.as_string(tf.range(samples)) + "/" + seed


def _random_numbers(names: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
    """A number from 0 to 1, without 1, for each name at a step; float64, (rows,).

    TensorFlow's own random operations take one seed for all rows, so that what a row gets would
    depend on where in the batch it stands. A keyed hash is as good a source as they are.
    """
    names = tf.strings.join([names, tf.as_string(step)], separator="/")
    number = tf.strings.to_hash_bucket_strong(names, NUMBERS, HASH_KEY)
    return tf.cast(number, tf.float64) / NUMBERS
