"""Constraints on the next token of a hypothesis, and top-k over the vocabulary."""

from dataclasses import dataclass
from typing import NamedTuple

import tensorflow as tf

from keras_s2s.tokenizers.tokenizer import EOS, PAD, UNK
from keras_s2s.utils.checks import check_int, check_number
from keras_s2s.utils.errors import InputError

NEG_INF = float("-inf")
# From this number of logits on, top-k goes through blocks.
MIN_BLOCKED_SIZE = 1000
BLOCK_SIZE = 64


class TokenCandidates(NamedTuple):
    """Allowed next tokens of each row of a search.

    Attributes:
        eos_logits: float32, (rows,): logits of `<eos>`, minus infinity where it is not allowed.
        logits: float32, (rows, vocab_size): the same for the other tokens, valid from
            `min_token_id` on.
        min_token_id: the lowest allowed id, apart from `<eos>`.
        log_normalizer: float32, (rows,): logsumexp of the unconstrained logits.
    """

    eos_logits: tf.Tensor
    logits: tf.Tensor
    min_token_id: int
    log_normalizer: tf.Tensor

    @property
    def token_logits(self) -> tf.Tensor:
        """Logits of the ids from `min_token_id` on, (rows, tokens)."""
        return self.logits[:, self.min_token_id :]

    def log_probabilities(self, logits: tf.Tensor) -> tf.Tensor:
        """Log-probabilities, at most 0, of tokens with these logits, (rows, ...)."""
        return logits - tf.reshape(self.log_normalizer, [-1] + [1] * (logits.shape.rank - 1))


@dataclass(frozen=True)
class Constraints:
    """Constraints on hypotheses. `<pad>` and `<bos>` are never generated.

    Args:
        min_length: minimum number of tokens before `<eos>`.
        no_repeat_ngram_size: no n-gram of this size occurs twice; 0 disables the constraint.
        forbid_unknown: never generate `<unk>`.
    """

    min_length: int = 0
    no_repeat_ngram_size: int = 0
    forbid_unknown: bool = False

    @property
    def min_token_id(self) -> int:
        """The lowest allowed id, apart from `<eos>`."""
        return UNK + 1 if self.forbid_unknown else UNK

    def validate(self, vocab_size: int, max_steps: int) -> None:
        """Raise an `InputError` if no hypothesis can satisfy the constraints."""
        check_int("max_steps", max_steps)
        advice = f" (max_steps is {max_steps})"
        check_number("min_length", self.min_length, int, advice, ge=0, lt=max_steps)
        check_int("no_repeat_ngram_size", self.no_repeat_ngram_size, ge=0)
        if vocab_size <= self.min_token_id:
            raise InputError(
                f"the decoder has {vocab_size} tokens, none of which is allowed; "
                "give it a larger vocabulary"
            )

    def candidates(self, logits: tf.Tensor, step: tf.Tensor, ids: tf.Tensor) -> TokenCandidates:
        """Apply the constraints to the logits of a step.

        Args:
            logits: float32, (rows, vocab_size), of the decoder.
            step: number of tokens in each row so far.
            ids: int32, (rows, max_steps): these tokens, padded with `<pad>`. Read only for
                `no_repeat_ngram_size`.
        """
        # logsumexp from the probability of the best token: the fewest passes over the logits.
        # Even rounded it is at least the highest logit, which early stopping of beam search needs.
        max_probability = tf.reduce_max(tf.nn.softmax(logits), axis=1)
        log_normalizer = tf.reduce_max(logits, axis=1) - tf.math.log(
            tf.minimum(max_probability, 1.0)
        )
        if self.no_repeat_ngram_size:
            logits = _mask_tokens(logits, _repeated_tokens(ids, step, self.no_repeat_ngram_size))
        eos_logits = logits[:, EOS]
        if self.min_length:
            eos_logits = tf.where(step < self.min_length, NEG_INF, eos_logits)
        return TokenCandidates(eos_logits, logits, self.min_token_id, log_normalizer)


def _repeated_tokens(ids: tf.Tensor, step: tf.Tensor, size: int) -> tf.Tensor:
    """Find the tokens that would complete an n-gram that a row already contains.

    Returns:
        Int32, (rows, max_steps), `<pad>` at positions that forbid nothing.
    """
    # A position forbids its token if the `size - 1` tokens before it equal the last ones of the
    # row. Past the end of the row that token is <pad>, which is never generated anyway.
    forbids = tf.broadcast_to(tf.range(tf.shape(ids)[1]) >= size - 1, tf.shape(ids))
    for offset in range(1, size):
        last = ids[:, tf.maximum(step - offset, 0)]
        forbids &= tf.roll(ids, offset, axis=1) == last[:, None]
    return tf.where(forbids, ids, PAD)


def _mask_tokens(logits: tf.Tensor, tokens: tf.Tensor) -> tf.Tensor:
    """Set the logits of some tokens, (rows, any number), to minus infinity."""
    rows = tf.zeros_like(tokens) + tf.range(tf.shape(tokens)[0])[:, None]
    indices = tf.stack([rows, tokens], axis=-1)
    return tf.tensor_scatter_nd_update(logits, indices, tf.fill(tf.shape(tokens), NEG_INF))


def top_k_tokens(logits: tf.Tensor, k: int, min_token_id: int = 0) -> tuple[tf.Tensor, tf.Tensor]:
    """Find the `k` highest logits of each row, in descending order.

    Args:
        logits: float32, (rows, vocab_size). The width of a copying decoder's is not static; it is
            padded to `k` or more.
        k: number of logits; all of them if there are fewer and the width is static.
        min_token_id: ids below this one are ignored.

    Returns:
        The logits and their ids, both (rows, k).
    """
    if logits.shape[1] is None:
        padded = tf.pad(logits, [[0, 0], [0, k]], constant_values=NEG_INF)[:, min_token_id:]
        values, indices = _top_k(padded, k)
        return values, tf.minimum(indices + min_token_id, tf.shape(logits)[1] - 1)
    size = logits.shape[1] - min_token_id
    k = min(k, size)
    num_blocks = size // BLOCK_SIZE
    if size < MIN_BLOCKED_SIZE or num_blocks < 2 * k:
        values, indices = _top_k(logits[:, min_token_id:], k)
        return values, indices + min_token_id
    # The top k lie in the k blocks with the highest maxima, or in the remainder. A maximum is
    # several times as fast as top_k, so that this takes half the time.
    end = min_token_id + num_blocks * BLOCK_SIZE
    remainder = logits[:, end:]
    blocks = tf.reshape(logits[:, min_token_id:end], (-1, num_blocks, BLOCK_SIZE))
    _, top_blocks = tf.math.top_k(tf.reduce_max(blocks, axis=2), k)
    candidates = tf.reshape(tf.gather(blocks, top_blocks, batch_dims=1), (-1, k * BLOCK_SIZE))
    values, indices = tf.math.top_k(tf.concat([candidates, remainder], axis=1), k)
    # The remainder counts as one more block after the candidates.
    ranks, offsets = indices // BLOCK_SIZE, indices % BLOCK_SIZE
    block_indices = tf.gather(top_blocks, tf.minimum(ranks, k - 1), batch_dims=1)
    return values, min_token_id + tf.where(
        ranks < k,
        block_indices * BLOCK_SIZE + offsets,
        num_blocks * BLOCK_SIZE + indices - k * BLOCK_SIZE,
    )


def _top_k(logits: tf.Tensor, k: int) -> tuple[tf.Tensor, tf.Tensor]:
    # The order of top_k is undefined for NaN.
    return tf.math.top_k(tf.where(tf.math.is_nan(logits), NEG_INF, logits), k)
