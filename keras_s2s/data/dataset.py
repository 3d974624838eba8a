"""Parallel corpora to `tf.data` pipelines of ids and valid lengths."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from keras_s2s.data.batching import DataPosition, TokenizedBatchSource, bucket_batches, prefetch
from keras_s2s.data.parallel_corpus import ParallelCorpus
from keras_s2s.data.text_counts import TextCounts, count_batch, find_long, sum_counts
from keras_s2s.tokenizers.copied_tokens import copying_ids
from keras_s2s.tokenizers.tokenizer import TOKENIZE_BATCH_SIZE, Tokenizer
from keras_s2s.utils.checks import check_int, check_type
from keras_s2s.utils.errors import InputError


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
    copy: bool = False,
) -> tf.data.Dataset:
    """Return batches for `Seq2Seq.fit` and `Seq2Seq.evaluate`.

    The corpus is tokenized once; an epoch only gathers rows.

    Args:
        corpus: sentence pairs.
        source_tokenizer: tokenizer of the sources.
        target_tokenizer: tokenizer of the targets.
        batch_size: pairs per batch; the last batch of an epoch may be smaller.
        num_steps: length of all rows, for targets including `<bos>` and `<eos>`; longer sentences
            are truncated, but targets keep their `<eos>`.
        shuffle: whether to reshuffle the pairs in each epoch.
        seed: random seed of the shuffling, combined with TensorFlow's global seed if that is set.
        drop_long: drop pairs instead of truncating them.
        bucket_by_length: batch pairs of similar lengths and pad each batch to its longest pair.
            With `shuffle`, the composition and the order of the batches are random.
        batch_tokens: with `bucket_by_length`, the maximum number of target tokens per batch,
            padding included, in place of `batch_size`.
        subword_sampling: with `shuffle`, `bucket_by_length` and `SentencePieceTokenizer`s:
            the `alpha` of subword regularization, with new samples in each epoch; 0 disables it.
            With `batch_tokens` the number of batches then differs by epoch: pass the dataset's
            `repeat()` and `steps_per_epoch` to `fit`.
        copy: for a copying decoder: ids of the extended vocabularies, in which unknown tokens
            differ and targets refer to those of their sources; see `layers.copying.Copying`.

    Returns:
        A dataset with elements `((source_ids, source_valid_length), (target_ids,
        target_valid_length))`, all int32; ids have shape (batch, num_steps), or fewer steps with
        `bucket_by_length`; valid lengths (batch,).

    Raises:
        InputError: an argument is invalid, or no pair is left.

    Example:

    >>> from keras_s2s import ParallelCorpus, WordTokenizer
    >>> corpus = ParallelCorpus(["Go.", "I won!"], ["Va !", "J'ai gagné !"], name="two pairs")
    >>> source, target = WordTokenizer.fit(corpus.source), WordTokenizer.fit(corpus.target)
    >>> data = make_dataset(corpus, source, target, batch_size=2, num_steps=5)
    >>> (source_ids, source_valid_length), _ = next(iter(data))
    >>> source_ids.shape, source_valid_length.numpy().tolist()
    (TensorShape([2, 5]), [2, 3])
    """
    pairs = TokenizedPairs(corpus, source_tokenizer, target_tokenizer, num_steps, drop_long, copy)
    return pairs.batches(
        batch_size, shuffle, seed, bucket_by_length, batch_tokens, subword_sampling
    )


class TokenizedPairs:
    """The pairs of a corpus as ids; see `make_dataset` for the arguments.

    Attributes:
        counts: pairs that are too long, and unknown tokens.

    Raises:
        InputError: an argument is invalid, or no pair is left.
    """

    def __init__(
        self,
        corpus: ParallelCorpus,
        source_tokenizer: Tokenizer,
        target_tokenizer: Tokenizer,
        num_steps: int,
        drop_long: bool,
        copy: bool = False,
    ) -> None:
        check_type("corpus", corpus, ParallelCorpus, "what load_corpus returns")
        for side, tokenizer in (("source", source_tokenizer), ("target", target_tokenizer)):
            check_type(f"{side}_tokenizer", tokenizer, Tokenizer, "what WordTokenizer.fit returns")
        check_int("num_steps", num_steps, 3, ": <bos>, a token and <eos>")
        self._corpus = corpus
        self._tokenizers = source_tokenizer, target_tokenizer
        self._num_steps = num_steps
        self._copy = copy
        self.counts = TextCounts()
        self._pairs, self._indices = self._tokenize(drop_long)

    def __len__(self) -> int:
        return len(self._pairs.source_valid_length)

    @property
    def target_tokens(self) -> int:
        """Predicted tokens per epoch: all target tokens but `<bos>` and padding."""
        return int(tf.reduce_sum(self._pairs.target_valid_length - 1))

    def batches(
        self,
        batch_size: int = 64,
        shuffle: bool = False,
        seed: int | None = None,
        bucket_by_length: bool = False,
        batch_tokens: int | None = None,
        subword_sampling: float = 0.0,
        start: DataPosition | None = None,
    ) -> tf.data.Dataset:
        """Return batches; see `make_dataset`.

        Args:
            start: position at which to start an endless dataset, equal to skipping all batches
                before it, which are not computed.
        """
        check_int("batch_size", batch_size)
        if batch_tokens is not None and (not bucket_by_length or batch_tokens < self._num_steps):
            raise InputError(
                f"batch_tokens is {batch_tokens}; give bucket_by_length too, and num_steps "
                f"({self._num_steps}) or more"
            )
        if subword_sampling and not (shuffle and bucket_by_length):
            raise InputError("subword_sampling needs shuffle and bucket_by_length; give these too")
        if subword_sampling and self._copy:
            raise InputError("subword_sampling and copy exclude each other; remove one of them")
        if not 0 <= subword_sampling <= 1:
            raise InputError(f"subword_sampling is {subword_sampling}; give 0 to 1")
        if subword_sampling and not all(hasattr(t, "sample") for t in self._tokenizers):
            raise InputError(
                "subword_sampling needs a SentencePieceTokenizer on both sides; give these"
            )
        if bucket_by_length:
            sample = self._sampler(subword_sampling) if subword_sampling else None
            data = bucket_batches(
                self._pairs, batch_size, batch_tokens, shuffle, seed, sample, start
            )
        else:
            indices = tf.data.Dataset.range(len(self))
            if shuffle:
                indices = indices.shuffle(len(self), seed=seed, reshuffle_each_iteration=True)
            indices = indices.batch(batch_size)
            if start is not None:
                indices = indices.repeat().skip(start.epoch * len(indices) + start.batch)
            data = indices.map(self._pairs.gather)
        return prefetch(data)

    def _tokenize(self, drop_long: bool) -> tuple[TokenizedBatchSource, np.ndarray]:
        """Return the tokenized pairs and their indices in the corpus."""
        corpus, num_steps = self._corpus, self._num_steps
        chunks, counts = [], []
        for start in range(0, len(corpus), TOKENIZE_BATCH_SIZE):
            rows = slice(start, start + TOKENIZE_BATCH_SIZE)
            source, target = (
                tokenizer.tokenize(tf.constant(texts[rows]))
                for tokenizer, texts in zip(
                    self._tokenizers, (corpus.source, corpus.target), strict=True
                )
            )
            indices = tf.range(len(corpus))[rows]
            long = find_long(source, target, num_steps)
            if drop_long and long.either.any():
                source, target, indices = (
                    tf.ragged.boolean_mask(column, ~long.either)
                    for column in (source, target, indices)
                )
            counts.append(count_batch(long, source[:, :num_steps], target[:, : num_steps - 2]))
            if self._copy:
                kept = (tf.gather(corpus.source, indices), tf.gather(corpus.target, indices))
                source, target = copying_ids(*self._tokenizers, *kept, num_steps)
            columns = [*self._pad(source, target), indices]
            chunks.append([column.numpy() for column in columns])
        self.counts = sum_counts(counts)
        arrays = [np.concatenate(column) for column in zip(*chunks, strict=True)]
        if not arrays or not len(arrays[0]):
            raise InputError(
                f"{corpus.name}: no pair has at most {num_steps} source tokens and "
                f"{num_steps - 2} target tokens; raise num_steps"
            )
        *columns, indices = arrays
        return TokenizedBatchSource(*map(tf.constant, columns)), indices

    def _pad(self, source: tf.RaggedTensor, target: tf.RaggedTensor) -> TokenizedBatchSource:
        source_tokenizer, target_tokenizer = self._tokenizers
        return TokenizedBatchSource(
            *source_tokenizer.pad(source, self._num_steps),
            *target_tokenizer.frame(target, self._num_steps),
        )

    def _sampler(self, alpha: float) -> Callable[[tf.Tensor], TokenizedBatchSource]:
        """Return a graph function from a seed to the pairs with sampled subwords."""
        corpus, indices = self._corpus, self._indices
        sides = [[texts[index] for index in indices] for texts in (corpus.source, corpus.target)]
        dtypes = [tf.int32] * len(TokenizedBatchSource._fields)

        def sample_eagerly(seed: np.ndarray) -> TokenizedBatchSource:
            source, target = (
                tokenizer.sample(texts, int(seed) + side, alpha)
                for side, (tokenizer, texts) in enumerate(zip(self._tokenizers, sides, strict=True))
            )
            return self._pad(source, target)

        def sample(seed: tf.Tensor) -> TokenizedBatchSource:
            pairs = TokenizedBatchSource(*tf.numpy_function(sample_eagerly, [seed], dtypes))
            for column, pair_column in zip(pairs, self._pairs, strict=True):
                column.set_shape(pair_column.shape)
            return pairs

        return sample
