"""What can come next in an answer."""

from dataclasses import dataclass
from typing import NamedTuple

import tensorflow as tf

from keras_s2s.tokenizers.tokenizer import EOS, PAD, UNK
from keras_s2s.utils.checks import check_int
from keras_s2s.utils.errors import InputError

NEG_INF = float("-inf")
# Of a vocabulary of many tokens the highest logits are looked for block by block.
MANY_TOKENS = 1000
BLOCK = 64


class TokenCandidates(NamedTuple):
    """What each row of a search can take next.

    Attributes:
        end: float32, (rows,): the logit of `<eos>`, minus infinity where it is not allowed.
        logits: float32, (rows, vocab_size): likewise those of words, from `first_word` on.
        first_word: the lowest id of a word.
        normaliser: float32, (rows,): what to subtract from a logit to get a log-probability.
    """

    end: tf.Tensor
    logits: tf.Tensor
    first_word: int
    normaliser: tf.Tensor

    @property
    def words(self) -> tf.Tensor:
        """The logits of words, (rows, words)."""
        return self.logits[:, self.first_word :]

    def log_probabilities(self, logits: tf.Tensor) -> tf.Tensor:
        """Of some tokens of each row, given their logits, (rows, ...); never above 0."""
        return logits - tf.reshape(self.normaliser, [-1] + [1] * (logits.shape.rank - 1))


@dataclass(frozen=True)
class Constraints:
    """What an answer has to keep to. `<pad>` and `<bos>` are never part of one.

    Args:
        min_length: so many tokens come before `<eos>` at least.
        no_repeat_ngram_size: no sequence of so many tokens comes twice; 0 for no such rule.
        forbid_unknown: whether `<unk>` is never taken either.
    """

    min_length: int = 0
    no_repeat_ngram_size: int = 0
    forbid_unknown: bool = False

    @property
    def first_word(self) -> int:
        """The lowest id that may be taken, except for `<eos>`."""
        return UNK + 1 if self.forbid_unknown else UNK

    def check(self, vocab_size: int, max_steps: int) -> None:
        """Raises an `InputError` when no answer can keep to them."""
        check_int("max_steps", max_steps)
        if not 0 <= self.min_length < max_steps:
            raise InputError(
                f"min_length is {self.min_length}; give 0 or more, and less than max_steps, "
                f"{max_steps}, so that an answer has room for its end"
            )
        if self.no_repeat_ngram_size < 0:
            raise InputError(f"no_repeat_ngram_size is {self.no_repeat_ngram_size}; give 0 or more")
        if vocab_size <= self.first_word:
            raise InputError(
                f"the decoder knows {vocab_size} tokens, none of which may be taken; "
                "give it a vocabulary with words"
            )

    def choices(self, logits: tf.Tensor, step: tf.Tensor, ids: tf.Tensor) -> TokenCandidates:
        """What can be taken at a step.

        Args:
            logits: float32, (rows, vocab_size): the decoder's.
            step: how many tokens the rows have.
            ids: int32, (rows, max_steps): these tokens, and `<pad>` after them. Looked at only for
                `no_repeat_ngram_size`.
        """
        # Of all ways to the logarithm of the sum of all exponentials the one by way of the most
        # probable token takes the fewest passes over the logits. So computed, the normaliser is no
        # less than any logit even when rounded, as the bound by which beam search stops needs it.
        highest = tf.reduce_max(tf.nn.softmax(logits), axis=1)
        normaliser = tf.reduce_max(logits, axis=1) - tf.math.log(tf.minimum(highest, 1.0))
        if self.no_repeat_ngram_size:
            logits = _without(logits, _repeating(ids, step, self.no_repeat_ngram_size))
        end = logits[:, EOS]
        if self.min_length:
            end = tf.where(step < self.min_length, NEG_INF, end)
        return TokenCandidates(end, logits, self.first_word, normaliser)


def _repeating(ids: tf.Tensor, step: tf.Tensor, size: int) -> tf.Tensor:
    """The tokens that would complete a sequence of `size` which the row has already.

    Returns:
        Int32, (rows, max_steps), with `<pad>` at all places that forbid nothing.
    """
    # A place forbids its token when the `size - 1` tokens before it are the row's last ones. Past
    # the row's end that is <pad>, which is never taken anyway.
    forbids = tf.broadcast_to(tf.range(tf.shape(ids)[1]) >= size - 1, tf.shape(ids))
    for back in range(1, size):
        last = ids[:, tf.maximum(step - back, 0)]
        forbids &= tf.roll(ids, back, axis=1) == last[:, None]
    return tf.where(forbids, ids, PAD)


def _without(logits: tf.Tensor, tokens: tf.Tensor) -> tf.Tensor:
    """Logits with minus infinity at some tokens of each row; tokens is (rows, any number)."""
    rows = tf.zeros_like(tokens) + tf.range(tf.shape(tokens)[0])[:, None]
    places = tf.stack([rows, tokens], axis=-1)
    return tf.tensor_scatter_nd_update(logits, places, tf.fill(tf.shape(tokens), NEG_INF))


def top_k_tokens(
    logits: tf.Tensor, number: int, first_word: int = 0
) -> tuple[tf.Tensor, tf.Tensor]:
    """The highest logits of each row, highest first.

    Args:
        logits: float32, (rows, vocab_size), the second size known.
        number: how many; all of them when there are no more.
        first_word: the lowest id that counts.

    Returns:
        These logits and their ids, both (rows, number).
    """
    size = logits.shape[1] - first_word
    number = min(number, size)
    blocks = size // BLOCK
    if size < MANY_TOKENS or blocks < 2 * number:
        words = logits[:, first_word:]
        # To sort what cannot be compared is not defined.
        values, places = tf.math.top_k(tf.where(tf.math.is_nan(words), NEG_INF, words), number)
        return values, places + first_word
    # They lie in the blocks with the highest maxima, or in what is left over. The maxima are found
    # at several times the speed, so that this way takes half the time.
    end = first_word + blocks * BLOCK
    left_over = logits[:, end:]
    in_blocks = tf.reshape(logits[:, first_word:end], (-1, blocks, BLOCK))
    _, chosen = tf.math.top_k(tf.reduce_max(in_blocks, axis=2), number)
    candidates = tf.reshape(tf.gather(in_blocks, chosen, batch_dims=1), (-1, number * BLOCK))
    values, best = tf.math.top_k(tf.concat([candidates, left_over], axis=1), number)
    # The first of each chosen block; all that is left over is as if it followed a last one.
    number_of_block, place = best // BLOCK, best % BLOCK
    blocks_of_best = tf.gather(chosen, tf.minimum(number_of_block, number - 1), batch_dims=1)
    return values, first_word + tf.where(
        number_of_block < number,
        blocks_of_best * BLOCK + place,
        blocks * BLOCK + best - number * BLOCK,
    )
