"""Replacement of `<unk>` by source words."""

import tensorflow as tf

from keras_s2s.tokenizers.tokenizer import SPECIAL_TOKENS, UNK


def replace_unknown(
    target_tokens: tf.Tensor,
    source_tokens: tf.Tensor,
    attention: tf.Tensor,
    source_valid_length: tf.Tensor,
) -> tf.Tensor:
    """Replace each `<unk>` by the most attended source word.

    Out-of-vocabulary words are often names and numbers, which many languages copy.

    Args:
        target_tokens: string, (batch, target steps), or (batch, hypotheses, target steps).
        source_tokens: string, (batch, source steps): the words before normalization.
        attention: float32, the shape of `target_tokens` plus (source steps,).
        source_valid_length: int32, (batch,); tokens past it are ignored.

    Returns:
        String tensor, like `target_tokens`. An `<unk>` that attends to no source token stays.

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
    # Index 0 is <unk> with weight 0: argmax selects it if no source token has a positive weight.
    padding = [[0, 0]] * (attention.shape.rank - 1) + [[1, 0]]
    weights = tf.pad(tf.where(valid, attention, 0.0), padding)
    words = tf.pad(source_tokens, [[0, 0], [1, 0]], constant_values=unknown)
    most_attended = tf.argmax(weights, axis=-1, output_type=tf.int32)
    replacements = tf.gather(words, most_attended, batch_dims=1)
    return tf.where(target_tokens == unknown, replacements, target_tokens)
