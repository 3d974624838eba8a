"""Sentence pairs to batches: `tf.data` pipelines of ids and valid lengths."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from keras_s2s.batches import Batch, trimmed
from keras_s2s.corpus import ParallelCorpus
from keras_s2s.errors import InputError
from keras_s2s.tokenizers import TEXTS_AT_A_TIME, Tokenizer

# Batches whose pairs are sorted by length among each other: many enough to leave little padding,
# few enough that chance decides which pairs meet.
BATCHES_SORTED_TOGETHER = 100


class Rows(NamedTuple):
    """Tokenized pairs, int32: ids of shape (pairs, steps) and valid lengths of shape (pairs,)."""

    source_ids: tf.Tensor
    source_valid_length: tf.Tensor
    target_ids: tf.Tensor
    target_valid_length: tf.Tensor

    def at(self, positions: tf.Tensor) -> Batch:
        """The pairs at some positions, as an element of a dataset."""
        columns = [tf.gather(column, positions) for column in self]
        return (columns[0], columns[1]), (columns[2], columns[3])


def make_dataset(
    corpus: ParallelCorpus,
    source_tokenizer: Tokenizer,
    target_tokenizer: Tokenizer,
    batch_size: int = 64,
    num_steps: int = 10,
    shuffle: bool = False,
    seed: int | None = None,
    drop_long: bool = False,
    bucket_by_length: bool = False,
    batch_tokens: int | None = None,
    subword_sampling: float = 0.0,
) -> tf.data.Dataset:
    """Batches for `Seq2Seq.fit` and `Seq2Seq.evaluate`.

    The corpus is tokenized once; an epoch only gathers rows. With `shuffle` each epoch has an
    order of its own, and the same `seed` gives the same orders again.

    Args:
        corpus: sentence pairs.
        source_tokenizer: for the sentences that are read.
        target_tokenizer: for the sentences that are written.
        batch_size: pairs in a batch; the last batch of an epoch may hold fewer.
        num_steps: length of all rows: a source of more tokens is cut; a target, together with
            its `<bos>` and `<eos>`, too, but keeps its `<eos>`.
        shuffle: whether to mix the pairs, anew in each epoch.
        seed: of the mixing, together with TensorFlow's global seed where one is set.
        drop_long: leave out the pairs that would be cut.
        bucket_by_length: put pairs of similar lengths into a batch, and pad each batch only as
            far as its longest pair. Much less is padding then. With `shuffle`, which pairs of
            similar lengths come together and the order of the batches are random.
        batch_tokens: with `bucket_by_length`, instead of a number of pairs the number of target
            tokens that a batch has at most, padding included, so that batches of long pairs hold
            fewer.
        subword_sampling: with `shuffle`, `bucket_by_length` and tokenizers that are
            `SentencePieceTokenizer`s: more than 0 draws the subwords of all pairs anew in each
            epoch ("subword regularization"); it is the `alpha` of their `sample`. With
            `batch_tokens` epochs then differ in their number of batches: give `fit` the dataset's
            `repeat()` and `steps_per_epoch`.

    Returns:
        A dataset with elements `((source_ids, source_valid_length), (target_ids,
        target_valid_length))`, all int32; ids have shape (batch, num_steps), or fewer steps with
        `bucket_by_length`; valid lengths (batch,).

    Raises:
        InputError: a size makes no sense, or no pair is left.

    Example:

    >>> from keras_s2s import ParallelCorpus, WordTokenizer
    >>> corpus = ParallelCorpus(["Go.", "I won!"], ["Va !", "J'ai gagné !"], name="two pairs")
    >>> source, target = WordTokenizer.fit(corpus.source), WordTokenizer.fit(corpus.target)
    >>> data = make_dataset(corpus, source, target, batch_size=2, num_steps=5)
    >>> (source_ids, source_valid_length), _ = next(iter(data))
    >>> source_ids.shape, source_valid_length.numpy().tolist()
    (TensorShape([2, 5]), [2, 3])
    """
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}; give 1 or more")
    if num_steps < 3:
        raise InputError(
            f"num_steps is {num_steps}; give 3 or more: <bos>, one word and <eos> need three"
        )
    if batch_tokens is not None and (not bucket_by_length or batch_tokens < num_steps):
        raise InputError(
            f"batch_tokens is {batch_tokens}; it needs bucket_by_length, and room for a pair of "
            f"num_steps ({num_steps}) tokens"
        )
    if subword_sampling and not (shuffle and bucket_by_length):
        raise InputError("subword_sampling needs shuffle and bucket_by_length; give these too")
    if not 0 <= subword_sampling <= 1:
        raise InputError(f"subword_sampling is {subword_sampling}; give 0 to 1")
    tokenizers = source_tokenizer, target_tokenizer
    if subword_sampling and not all(hasattr(tokenizer, "sample") for tokenizer in tokenizers):
        raise InputError(
            "subword_sampling needs a SentencePieceTokenizer on both sides; give these"
        )
    rows, kept = _tokenize(corpus, tokenizers, num_steps, drop_long)
    if bucket_by_length:
        sample = None
        if subword_sampling:
            sample = _sampler(corpus, kept, tokenizers, num_steps, subword_sampling)
        data = _bucketed(rows, batch_size, batch_tokens, shuffle, seed, sample)
    else:
        size = len(rows.source_valid_length)
        positions = tf.data.Dataset.range(size)
        if shuffle:
            positions = positions.shuffle(size, seed=seed, reshuffle_each_iteration=True)
        data = positions.batch(batch_size).map(rows.at)
    return data.prefetch(tf.data.AUTOTUNE)


def _tokenize(
    corpus: ParallelCorpus, tokenizers: tuple[Tokenizer, Tokenizer], num_steps: int, drop_long: bool
) -> tuple[Rows, np.ndarray]:
    """All pairs as ids, and which pairs of the corpus these are."""
    parts = []
    for start in range(0, len(corpus), TEXTS_AT_A_TIME):
        chunk = slice(start, start + TEXTS_AT_A_TIME)
        source, target = (
            tokenizer.tokenize(tf.constant(texts[chunk]))
            for tokenizer, texts in zip(tokenizers, (corpus.source, corpus.target), strict=True)
        )
        columns = [*_rows(source, target, tokenizers, num_steps), tf.range(len(corpus))[chunk]]
        if drop_long:
            fits = (source.row_lengths() <= num_steps) & (target.row_lengths() <= num_steps - 2)
            columns = [tf.boolean_mask(column, fits) for column in columns]
        parts.append([column.numpy() for column in columns])
    arrays = [np.concatenate(column) for column in zip(*parts, strict=True)]
    if not arrays or not len(arrays[0]):
        raise InputError(
            f"{corpus.name}: no pair has at most {num_steps} source tokens and "
            f"{num_steps - 2} target tokens; raise num_steps"
        )
    *columns, kept = arrays
    return Rows(*map(tf.constant, columns)), kept


def _rows(
    source: tf.RaggedTensor,
    target: tf.RaggedTensor,
    tokenizers: tuple[Tokenizer, Tokenizer],
    num_steps: int,
) -> Rows:
    return Rows(*tokenizers[0].pad(source, num_steps), *tokenizers[1].frame(target, num_steps))


def _sampler(
    corpus: ParallelCorpus,
    kept: np.ndarray,
    tokenizers: tuple[Tokenizer, Tokenizer],
    num_steps: int,
    alpha: float,
) -> Callable[[tf.Tensor], Rows]:
    """Returns a graph function from a seed to all pairs with their subwords drawn anew."""
    sides = [[texts[position] for position in kept] for texts in (corpus.source, corpus.target)]

    def draw(seed: np.ndarray) -> Rows:
        sampled = [
            tokenizer.sample(texts, int(seed) + number, alpha)
            for number, (tokenizer, texts) in enumerate(zip(tokenizers, sides, strict=True))
        ]
        return _rows(sampled[0], sampled[1], tokenizers, num_steps)

    def sample(seed: tf.Tensor) -> Rows:
        rows = Rows(*tf.numpy_function(draw, [seed], [tf.int32] * len(Rows._fields)))
        for column, shape in zip(rows, ([len(kept), num_steps], [len(kept)]) * 2, strict=True):
            column.set_shape(shape)
        return rows

    return sample


def _bucketed(
    rows: Rows,
    batch_size: int,
    batch_tokens: int | None,
    shuffle: bool,
    seed: int | None,
    sample: Callable[[tf.Tensor], Rows] | None,
) -> tf.data.Dataset:
    """Batches of pairs of similar lengths, each no longer than its longest pair."""
    tokenized = rows
    size = len(rows.source_valid_length)
    num_batches: int | None = -(-size // batch_size)
    if batch_tokens is not None:
        # How many there are follows from the lengths, which are others when they are drawn anew.
        lengths = np.sort(rows.target_valid_length)
        num_batches = None if sample else len(_begins_by_tokens(lengths, batch_tokens))

    def batches_of_epoch(seed: tf.Tensor) -> tf.data.Dataset:
        rows = tokenized if sample is None else sample(seed)
        positions = tf.range(size)
        if shuffle:
            positions = tf.random.experimental.stateless_shuffle(positions, [seed, 0])
        source_length, target_length = (
            tf.cast(tf.gather(length, positions), tf.int64)
            for length in (rows.source_valid_length, rows.target_valid_length)
        )
        longest = tf.cast(tf.shape(rows.source_ids)[1] + tf.shape(rows.target_ids)[1], tf.int64)
        if batch_tokens is None:
            begins = tf.range(0, size, batch_size)
            window = batch_size * BATCHES_SORTED_TOGETHER if shuffle else size
            windows = tf.range(size, dtype=tf.int64) // window
            order = tf.argsort(
                (windows * longest + target_length) * longest + source_length, stable=True
            )
        else:
            # By the targets first and all together, so that each epoch has as many batches.
            in_order = tf.sort(target_length)
            (begins,) = tf.numpy_function(
                lambda lengths: [_begins_by_tokens(lengths, batch_tokens)], [in_order], [tf.int32]
            )
            begins = tf.ensure_shape(begins, [num_batches])
            windows = tf.zeros_like(target_length)
            if shuffle:
                # Windows of pairs whose targets have the same length.
                by_target = tf.argsort(target_length, stable=True)
                number = tf.range(size) - tf.searchsorted(in_order, in_order)
                window = batch_tokens // in_order * BATCHES_SORTED_TOGETHER
                windows = tf.scatter_nd(
                    by_target[:, None], tf.cast(number, tf.int64) // window, [size]
                )
            order = tf.argsort(
                (target_length * size + windows) * longest + source_length, stable=True
            )
        positions = tf.gather(positions, order)
        ends = tf.concat([begins[1:], [size]], axis=0)
        if shuffle:
            shuffled = tf.random.experimental.stateless_shuffle(
                tf.range(tf.size(begins)), [seed, 1]
            )
            begins, ends = tf.gather(begins, shuffled), tf.gather(ends, shuffled)

        def batch(begin: tf.Tensor, end: tf.Tensor) -> Batch:
            return trimmed(rows.at(positions[begin:end]))

        return tf.data.Dataset.from_tensor_slices((begins, ends)).map(batch)

    # A number for each epoch, another one in each iteration.
    seeds = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True).take(1)
    data = seeds.flat_map(batches_of_epoch)
    if num_batches is not None:
        data = data.apply(tf.data.experimental.assert_cardinality(num_batches))
    return data


def _begins_by_tokens(lengths: np.ndarray, batch_tokens: int) -> np.ndarray:
    """Where batches begin that have at most so many tokens, padding included.

    Args:
        lengths: (pairs,), rising.
        batch_tokens: not less than the largest length.

    Returns:
        int32, (batches,), rising from 0.
    """
    begins = [0]
    for position, length in enumerate(lengths.tolist()):
        if (position + 1 - begins[-1]) * length > batch_tokens:
            begins.append(position)
    return np.array(begins, np.int32)
