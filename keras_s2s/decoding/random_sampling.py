"""Random sampling of hypotheses as TensorFlow graph code."""

import tensorflow as tf

from keras_s2s.decoding.constraints import Constraints, TokenCandidates, top_k_tokens
from keras_s2s.decoding.greedy_search import SearchResult, decode, first_sample
from keras_s2s.models.seq2seq import Seq2Seq
from keras_s2s.tokenizers.tokenizer import EOS
from keras_s2s.utils.checks import check_int, check_number

# Uniform random numbers are multiples of 1 / NUM_VALUES below 1. In float64 the sum of the weights
# times the largest of them is still less than the sum.
NUM_VALUES = 2**52
# Of the hash that generates them. Any key would do, but changing it changes all samples.
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
    """Sample each token from the distribution of the model until `<eos>`.

    A token with logit z is drawn with a probability proportional to exp(z / temperature), from all
    allowed tokens, from the `top_k` most probable of these, or from the smallest set of most
    probable ones with a total probability of at least `top_p` (nucleus sampling). If both are
    given, `top_p` refers to the probability of the `top_k`.

    The same seed gives the same samples in every call and process. A sample depends on the seed,
    the source tokens, and the indices of sample and step only: a sentence gets the same samples in
    every batch, and equal samples if a batch contains it twice. For different ones use
    `num_samples`.

    Args:
        model: the trained model.
        source_ids: int32 tensor, shape (batch, steps).
        source_valid_length: int32 tensor, shape (batch,).
        max_steps: maximum number of tokens, `<eos>` included; longer hypotheses are truncated.
        seed: any integer, or a scalar integer tensor.
        num_samples: samples per sentence, drawn independently, with replacement.
        temperature: below 1 favors probable tokens, above 1 flattens the distribution. Close to 0
            this is `greedy_search`.
        top_k: sample from this number of most probable tokens; 0 for all.
        top_p: sample from the most probable tokens with this total probability; 1 for all.
        min_length: minimum number of tokens before `<eos>`.
        no_repeat_ngram_size: no n-gram of this size occurs twice; 0 disables the constraint.
        forbid_unknown: never generate `<unk>`.

    Returns:
        A `SearchResult`. With `num_samples` its tensors have a sample dimension after the batch
        dimension. The log-probabilities are those of the model, not of the sampling distribution.

    Raises:
        InputError: an option is out of range.

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
    if num_samples is not None:
        check_int("num_samples", num_samples)
    check_number("temperature", temperature, float, gt=0)
    check_int("top_k", top_k, ge=0)
    check_number("top_p", top_p, float, gt=0, le=1)
    constraints = Constraints(min_length, no_repeat_ngram_size, forbid_unknown)
    source = tf.convert_to_tensor(source_ids), tf.convert_to_tensor(source_valid_length)
    keys = _random_keys(*source, seed, num_samples or 1)

    def select(
        candidates: TokenCandidates, step: tf.Tensor, batch_indices: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        logits = tf.concat([candidates.eos_logits[:, None], candidates.token_logits], axis=1)
        indices, weights = _sampling_weights(logits, temperature, top_k, top_p)
        uniform = _uniform(tf.reshape(tf.gather(keys, batch_indices), [-1]), step)
        sampled = _inverse_cdf(weights, uniform)
        if indices is not None:
            sampled = tf.gather(indices, sampled, batch_dims=1)
        tokens = tf.where(sampled == 0, EOS, candidates.min_token_id + sampled - 1)
        return tokens, tf.gather(logits, sampled, batch_dims=1)

    result = decode(model, source, max_steps, constraints, select, num_samples or 1)
    return first_sample(result) if num_samples is None else result


def _sampling_weights(
    logits: tf.Tensor, temperature: float, top_k: int, top_p: float
) -> tuple[tf.Tensor | None, tf.Tensor]:
    """Compute indices of the logits to sample from (None for all), and weights, (rows, n)."""
    indices = None
    if top_k or top_p < 1:
        width = logits.shape[1] or tf.shape(logits)[1]
        logits, indices = top_k_tokens(logits, top_k or width)
    max_logits = tf.reduce_max(logits, axis=1, keepdims=True)
    weights = tf.cast(tf.exp((logits - max_logits) / temperature), tf.float64)
    if top_p < 1:
        preceding = tf.cumsum(weights, axis=1, exclusive=True)
        threshold = top_p * tf.reduce_sum(weights, axis=1, keepdims=True)
        weights = tf.where(preceding >= threshold, tf.zeros_like(weights), weights)
    return indices, weights


def _inverse_cdf(weights: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
    """Map a uniform number of each row to an index into its weights; int32, (rows,)."""
    sums = tf.cumsum(weights, axis=1)
    # Counting, instead of searching, gives index 0 for NaN weights.
    return tf.math.count_nonzero(sums <= uniform[:, None] * sums[:, -1:], axis=1, dtype=tf.int32)


def _random_keys(
    source_ids: tf.Tensor, source_valid_length: tf.Tensor, seed: int | tf.Tensor, num_samples: int
) -> tf.Tensor:
    """Build a distinct string for each independent sample, (batch, samples)."""
    valid = tf.sequence_mask(source_valid_length, tf.shape(source_ids)[1])
    source = tf.strings.reduce_join(tf.where(valid, tf.as_string(source_ids) + " ", ""), axis=1)
    seed = tf.as_string(seed) if tf.is_tensor(seed) else tf.constant(str(seed))
    return source[:, None] + "/" + tf.as_string(tf.range(num_samples)) + "/" + seed


def _uniform(keys: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
    """Generate a number in [0, 1) for each key at a step; float64, (rows,).

    A keyed hash instead of TensorFlow's random ops, which take one seed for all rows: a sample
    would depend on the position of its row in the batch.
    """
    keys = tf.strings.join([keys, tf.as_string(step)], separator="/")
    value = tf.strings.to_hash_bucket_strong(keys, NUM_VALUES, HASH_KEY)
    return tf.cast(value, tf.float64) / NUM_VALUES
