"""Sentence pairs to batches: `tf.data` pipelines of ids and valid lengths."""

import numpy as np
import tensorflow as tf

from keras_s2s.corpus import ParallelCorpus
from keras_s2s.errors import InputError
from keras_s2s.tokenizers import TEXTS_AT_A_TIME, Tokenizer


def make_dataset(
    corpus: ParallelCorpus,
    source_tokenizer: Tokenizer,
    target_tokenizer: Tokenizer,
    batch_size: int = 64,
    num_steps: int = 10,
    shuffle: bool = False,
    seed: int | None = None,
    drop_long: bool = False,
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

    Returns:
        A dataset with elements `((source_ids, source_valid_length), (target_ids,
        target_valid_length))`, all int32; ids have shape (batch, num_steps), valid lengths
        (batch,).

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
    parts = []
    for start in range(0, len(corpus), TEXTS_AT_A_TIME):
        chunk = slice(start, start + TEXTS_AT_A_TIME)
        source = source_tokenizer.tokenize(tf.constant(corpus.source[chunk]))
        target = target_tokenizer.tokenize(tf.constant(corpus.target[chunk]))
        rows = (
            *source_tokenizer.pad(source, num_steps),
            *target_tokenizer.frame(target, num_steps),
        )
        if drop_long:
            fits = (source.row_lengths() <= num_steps) & (target.row_lengths() <= num_steps - 2)
            rows = tuple(tf.boolean_mask(row, fits) for row in rows)
        parts.append([row.numpy() for row in rows])
    arrays = [np.concatenate(column) for column in zip(*parts, strict=True)]
    if not arrays or not len(arrays[0]):
        raise InputError(
            f"{corpus.name}: no pair has at most {num_steps} source tokens and "
            f"{num_steps - 2} target tokens; raise num_steps"
        )
    source_ids, source_valid_length, target_ids, target_valid_length = map(tf.constant, arrays)
    size = len(arrays[0])

    def gather(positions: tf.Tensor) -> tuple[tuple[tf.Tensor, ...], tuple[tf.Tensor, ...]]:
        return (
            (tf.gather(source_ids, positions), tf.gather(source_valid_length, positions)),
            (tf.gather(target_ids, positions), tf.gather(target_valid_length, positions)),
        )

    positions = tf.data.Dataset.range(size)
    if shuffle:
        positions = positions.shuffle(size, seed=seed, reshuffle_each_iteration=True)
    return positions.batch(batch_size).map(gather).prefetch(tf.data.AUTOTUNE)
