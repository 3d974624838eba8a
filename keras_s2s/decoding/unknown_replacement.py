"""Words of the source in place of unknown ones."""

import tensorflow as tf

from keras_s2s.tokenizers.tokenizer import SPECIAL_TOKENS, UNK


def replace_unknown(
    target_tokens: tf.Tensor,
    source_tokens: tf.Tensor,
    attention: tf.Tensor,
    source_valid_length: tf.Tensor,
) -> tf.Tensor:
    """Puts the most attended word of the source in place of each `<unk>`.

    Names and numbers are the words that are missing most often from a vocabulary, and the same in
    many languages.

    Args:
        target_tokens: string, (batch, target steps), or (batch, answers, target steps).
        source_tokens: string, (batch, source steps): the words as they were written.
        attention: float32, the shape of `target_tokens` and (source steps,) after it.
        source_valid_length: int32, (batch,); source tokens from this position on are never taken.

    Returns:
        String tensor, like `target_tokens`. An `<unk>` that looks at no token of the source stays.

    Reference: Luong et al., 2015, "Addressing the Rare Word Problem in Neural Machine
    Translation", where an aligner finds the word; Jean et al., 2015, "On Using Very Large Target
    Vocabulary for Neural Machine Translation", section 4.1, where attention does.

    Example:

    >>> attention = tf.constant([[[0.9, 0.1], [0.2, 0.8]]])
    >>> words = replace_unknown([["<unk>", "!"]], [["Wow", "!"]], attention, tf.constant([2]))
    >>> words.numpy().tolist()
    [[b'Wow', b'!']]
    """
    unknown = SPECIAL_TOKENS[UNK]
    target_tokens, source_tokens, attention = map(
        tf.convert_to_tensor, (target_tokens, source_tokens, attention)
    )
    valid = tf.sequence_mask(source_valid_length, tf.shape(source_tokens)[1])
    for _ in range(attention.shape.rank - 2):
        valid = valid[:, None]
    # In front stands what is taken where nothing has more weight than none.
    front = [[0, 0]] * (attention.shape.rank - 1) + [[1, 0]]
    weights = tf.pad(tf.where(valid, attention, 0.0), front)
    words = tf.pad(source_tokens, [[0, 0], [1, 0]], constant_values=unknown)
    most_attended = tf.argmax(weights, axis=-1, output_type=tf.int32)
    replacements = tf.gather(words, most_attended, batch_dims=1)
    return tf.where(target_tokens == unknown, replacements, target_tokens)
