"""Models: encoder and decoder as one `keras.Model` with its own training step.

`Seq2Seq` computes loss and metrics per target token; `updates` clips, accumulates and averages;
`replicas` adapts it to `tf.distribute`, `mixed_precision` makes copies in full precision.
"""

from keras_s2s.models.seq2seq import Seq2Seq

__all__ = ["Seq2Seq"]
