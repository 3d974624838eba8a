"""Ids of the extended vocabularies of a copying decoder, and their tokens, as graph code.

A tokenizer gives all unknown tokens one id, `<unk>`. For copying, they must differ: see
`keras_s2s.layers.copying.Copying` for the ids beyond a vocabulary.
"""

from typing import Any

import tensorflow as tf

from keras_s2s.tokenizers.tokenizer import SPECIAL_TOKENS, UNK, Tokenizer


def copy_map(source_tokenizer: Tokenizer, target_tokenizer: Tokenizer) -> list[int]:
    """Return for each source id the target id of the same token, or -1: `copy` of a decoder.

    Example:

    >>> from keras_s2s import WordTokenizer
    >>> source, target = WordTokenizer.fit(["Tom sees Ann"]), WordTokenizer.fit(["ann voit tom"])
    >>> source.vocabulary[4:], target.vocabulary[4:], copy_map(source, target)
    (['ann', 'sees', 'tom'], ['ann', 'tom', 'voit'], [-1, -1, -1, -1, 4, -1, 5])
    """
    special = len(SPECIAL_TOKENS)
    ids = {token: i for i, token in enumerate(target_tokenizer.vocabulary) if i >= special}
    return [-1] * special + [ids.get(token, -1) for token in source_tokenizer.vocabulary[special:]]


def check_copy_map(copying: Any, source_tokenizer: Tokenizer, target_tokenizer: Tokenizer) -> None:
    """Raise a `ValueError` if a copying layer is for other tokenizers.

    Args:
        copying: a `keras_s2s.layers.copying.Copying`, or None.
        source_tokenizer: not checked while it has no vocabulary, as when Keras loads a file.
        target_tokenizer: likewise.
    """
    if copying is None or not (len(source_tokenizer) and len(target_tokenizer)):
        return
    special = len(SPECIAL_TOKENS)
    ids = copy_map(source_tokenizer, target_tokenizer)
    if list(copying.source_to_target[special:]) != ids[special:]:
        raise ValueError(
            "the decoder copies between other vocabularies than those of the tokenizers; give it "
            "copy=copy_map(source_tokenizer, target_tokenizer)"
        )


def copying_ids(
    source_tokenizer: Tokenizer,
    target_tokenizer: Tokenizer,
    source: tf.Tensor,
    target: tf.Tensor | None,
    num_steps: int,
) -> tuple[tf.RaggedTensor, Any]:
    """Tokenize pairs with ids of the extended vocabularies.

    Args:
        source_tokenizer: tokenizer of the sources.
        target_tokenizer: tokenizer of the targets.
        source: string tensor, (batch,); any bytes.
        target: likewise, or None.
        num_steps: the number of source tokens that the encoder reads; tokens after them cannot be
            copied.

    Returns:
        Ids of the source, without more than `num_steps` tokens, and of the target, None without
        one; ragged int32, (batch, (tokens)). Known tokens have the ids of `tokenize`.

    Example:

    >>> from keras_s2s import WordTokenizer
    >>> tokenizer = WordTokenizer.fit(["I am"])
    >>> ids = copying_ids(tokenizer, tokenizer, tf.constant(["i am bo bo"]), tf.constant(["bo"]), 9)
    >>> [part.to_list() for part in ids]
    [[[5, 4, 14, 14]], [[8]]]
    """
    tokens = source_tokenizer.split_text(source)[:, :num_steps]
    target_tokens = None if target is None else target_tokenizer.split_text(target)
    first, target_first = _first_positions(tokens, target_tokens)
    ids = source_tokenizer.ids_of(tokens.values)
    target_ids = target_tokenizer.ids_of(tokens.values)
    source_size, target_size = len(source_tokenizer), len(target_tokenizer)
    extended = tf.where(target_ids == UNK, target_size + first, target_ids)
    source_ids = tokens.with_values(tf.where(ids == UNK, source_size + extended, ids))
    if target_tokens is None:
        return source_ids, None
    ids = target_tokenizer.ids_of(target_tokens.values)
    is_copied = (ids == UNK) & (target_first >= 0)
    return source_ids, target_tokens.with_values(
        tf.where(is_copied, target_size + target_first, ids)
    )


def _first_positions(
    source: tf.RaggedTensor, target: tf.RaggedTensor | None
) -> tuple[tf.Tensor, Any]:
    """Return for each token the position in the source where it occurs first, -1 if nowhere.

    Returns:
        Int32, for all tokens of the sources and of the targets.
    """
    sides = [source] if target is None else [source, target]
    rows = tf.concat([side.value_rowids() for side in sides], axis=0)
    tokens = tf.concat([side.values for side in sides], axis=0)
    # One string for each token of a row: a token has no line end.
    unique, indices = tf.unique(tf.strings.join([tf.as_string(rows), tokens], "\n"))
    size = tf.size(source.values)
    # Occurrences in the targets come after all those in the sources.
    first = tf.math.unsorted_segment_min(tf.range(tf.size(tokens)), indices, tf.size(unique))
    first = tf.gather(first, indices)
    starts = tf.cast(tf.gather(source.row_starts(), rows), tf.int32)
    positions = tf.where(first < size, first - starts, -1)
    return positions[:size], None if target is None else positions[size:]


def tokens_of_extended(tokenizer: Tokenizer, ids: tf.Tensor, source_tokens: tf.Tensor) -> tf.Tensor:
    """Return the tokens of ids of the extended target vocabulary.

    Args:
        tokenizer: of the target.
        ids: int32, (batch, steps).
        source_tokens: string, (batch, source steps): the sources' own tokens.

    Returns:
        String tensor, (batch, steps); valid UTF-8.
    """
    limit, steps = len(tokenizer), tf.shape(source_tokens)[1]
    positions = tf.clip_by_value(ids - limit, 0, tf.maximum(steps - 1, 0))
    padded = tf.pad(source_tokens, [[0, 0], [0, 1]])
    copied = tf.gather(padded, positions, batch_dims=1)
    return tf.where(ids < limit, tokenizer.tokens_of(ids), copied)
