"""Sentence pairs to batches: `tf.data` pipelines of ids and valid lengths."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from keras_s2s.data.batching import DataPosition, TokenizedBatchSource, bucket_batches, prefetch
from keras_s2s.data.parallel_corpus import ParallelCorpus
from keras_s2s.tokenizers.tokenizer import TEXTS_AT_A_TIME, Tokenizer
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
    pairs = TokenizedPairs(corpus, source_tokenizer, target_tokenizer, num_steps, drop_long)
    return pairs.batches(
        batch_size, shuffle, seed, bucket_by_length, batch_tokens, subword_sampling
    )


class TokenizedPairs:
    """The pairs of a corpus as ids, to be put into batches.

    Args:
        corpus: sentence pairs.
        source_tokenizer: for the sentences that are read.
        target_tokenizer: for the sentences that are written.
        num_steps: see `make_dataset`.
        drop_long: see `make_dataset`.

    Raises:
        InputError: `num_steps` makes no sense, or no pair is left.
    """

    def __init__(
        self,
        corpus: ParallelCorpus,
        source_tokenizer: Tokenizer,
        target_tokenizer: Tokenizer,
        num_steps: int,
        drop_long: bool,
    ) -> None:
        check_type("corpus", corpus, ParallelCorpus, "what load_corpus returns")
        for side, tokenizer in (("source", source_tokenizer), ("target", target_tokenizer)):
            check_type(f"{side}_tokenizer", tokenizer, Tokenizer, "what WordTokenizer.fit returns")
        check_int("num_steps", num_steps, 3, ": <bos>, one word and <eos> need three")
        self._corpus = corpus
        self._tokenizers = source_tokenizer, target_tokenizer
        self._num_steps = num_steps
        self._rows, self._kept = _tokenize(corpus, self._tokenizers, num_steps, drop_long)

    def __len__(self) -> int:
        return len(self._rows.source_valid_length)

    @property
    def target_tokens(self) -> int:
        """Tokens that an epoch predicts: all but `<bos>` and padding."""
        return int(tf.reduce_sum(self._rows.target_valid_length - 1))

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
        """See `make_dataset`.

        Args:
            start: makes it an endless dataset, one epoch after the other, that begins here and
                then gives what it would give after all that comes before. What comes before is
                not made.
        """
        check_int("batch_size", batch_size)
        if batch_tokens is not None and (not bucket_by_length or batch_tokens < self._num_steps):
            raise InputError(
                f"batch_tokens is {batch_tokens}; it needs bucket_by_length, and room for a pair "
                f"of num_steps ({self._num_steps}) tokens"
            )
        if subword_sampling and not (shuffle and bucket_by_length):
            raise InputError("subword_sampling needs shuffle and bucket_by_length; give these too")
        if not 0 <= subword_sampling <= 1:
            raise InputError(f"subword_sampling is {subword_sampling}; give 0 to 1")
        if subword_sampling and not all(hasattr(one, "sample") for one in self._tokenizers):
            raise InputError(
                "subword_sampling needs a SentencePieceTokenizer on both sides; give these"
            )
        if bucket_by_length:
            sample = None
            if subword_sampling:
                sample = _sampler(
                    self._corpus, self._kept, self._tokenizers, self._num_steps, subword_sampling
                )
            data = bucket_batches(
                self._rows, batch_size, batch_tokens, shuffle, seed, sample, start
            )
        else:
            positions = tf.data.Dataset.range(len(self))
            if shuffle:
                positions = positions.shuffle(len(self), seed=seed, reshuffle_each_iteration=True)
            positions = positions.batch(batch_size)
            if start is not None:
                before = start.epoch * len(positions) + start.batch
                positions = positions.repeat().skip(before)
            data = positions.map(self._rows.gather)
        return prefetch(data)


def _tokenize(
    corpus: ParallelCorpus, tokenizers: tuple[Tokenizer, Tokenizer], num_steps: int, drop_long: bool
) -> tuple[TokenizedBatchSource, np.ndarray]:
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
    return TokenizedBatchSource(*map(tf.constant, columns)), kept


def _rows(
    source: tf.RaggedTensor,
    target: tf.RaggedTensor,
    tokenizers: tuple[Tokenizer, Tokenizer],
    num_steps: int,
) -> TokenizedBatchSource:
    return TokenizedBatchSource(
        *tokenizers[0].pad(source, num_steps), *tokenizers[1].frame(target, num_steps)
    )


def _sampler(
    corpus: ParallelCorpus,
    kept: np.ndarray,
    tokenizers: tuple[Tokenizer, Tokenizer],
    num_steps: int,
    alpha: float,
) -> Callable[[tf.Tensor], TokenizedBatchSource]:
    """Returns a graph function from a seed to all pairs with their subwords drawn anew."""
    sides = [[texts[position] for position in kept] for texts in (corpus.source, corpus.target)]

    def draw(seed: np.ndarray) -> TokenizedBatchSource:
        sampled = [
            tokenizer.sample(texts, int(seed) + number, alpha)
            for number, (tokenizer, texts) in enumerate(zip(tokenizers, sides, strict=True))
        ]
        return _rows(sampled[0], sampled[1], tokenizers, num_steps)

    def sample(seed: tf.Tensor) -> TokenizedBatchSource:
        rows = TokenizedBatchSource(
            *tf.numpy_function(draw, [seed], [tf.int32] * len(TokenizedBatchSource._fields))
        )
        for column, shape in zip(rows, ([len(kept), num_steps], [len(kept)]) * 2, strict=True):
            column.set_shape(shape)
        return rows

    return sample
