"""Roofline model: the work that valid tokens require, and the speed of the machine.

Training is bound by the floating-point operations of its matrix products, without padding, at the
speed of one large product measured in the same run. Decoding single sentences is bound by memory
bandwidth: each step reads all weights that it multiplies with.

    python roofline.py TASK speed

measures the machine, with the command line of a contender.
"""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Sizes:
    """Sizes of an LSTM encoder–decoder model.

    Attributes:
        embed_size: size of the embeddings.
        num_hiddens: units per layer.
        num_layers: layers of the encoder, and of the decoder.
        target_vocab_size: size of the target vocabulary.
        attention: "none", or "luong" for scores q · W m and an attentional layer.
    """

    embed_size: int
    num_hiddens: int
    num_layers: int
    target_vocab_size: int
    attention: str = "none"

    @property
    def input_weights(self) -> int:
        """Input weights of the recurrent layers."""
        h = self.num_hiddens
        return 4 * h * (self.embed_size + (self.num_layers - 1) * h)

    @property
    def recurrent_weights(self) -> int:
        """Recurrent weights of the recurrent layers."""
        return self.num_layers * 4 * self.num_hiddens**2

    @property
    def attention_weights(self) -> int:
        """Weights of the attentional layer, W of [c; h], per decoder step."""
        return 0 if self.attention == "none" else 2 * self.num_hiddens**2

    @property
    def dense_weights(self) -> int:
        """Weights of the output layer."""
        return self.num_hiddens * self.target_vocab_size

    @property
    def key_weights(self) -> int:
        """Weights of the attention keys, per encoder step."""
        return 0 if self.attention == "none" else self.num_hiddens**2


def forward_flops(
    sizes: Sizes, source_tokens: float, target_tokens: float, products: float | None = None
) -> float:
    """Return the floating-point operations of the matrix products of a forward pass.

    Each weight takes one multiplication and one addition per token. Attention adds two products of
    each target step with each source step. Element-wise operations (activations, softmax, the
    optimizer) and embedding lookups are not counted.

    Args:
        sizes: of the model.
        source_tokens: number of source tokens, of one pair or summed over pairs.
        target_tokens: number of predicted tokens including `</s>`, likewise.
        products: the sum over pairs of source tokens times target tokens; None for one pair.
    """
    recurrent = sizes.input_weights + sizes.recurrent_weights
    encoder = source_tokens * (recurrent + sizes.key_weights)
    decoder = target_tokens * (recurrent + sizes.attention_weights + sizes.dense_weights)
    attention = 0.0
    if sizes.attention != "none":
        if products is None:
            products = source_tokens * target_tokens
        attention = 2 * products * sizes.num_hiddens
    return 2 * (encoder + decoder + attention)


def training_flops(
    sizes: Sizes, source_tokens: float, target_tokens: float, products: float | None = None
) -> float:
    """Return the operations of a training step: three times those of the forward pass.

    The gradient of each product c = a b takes two more of the same size, for a and for b.
    """
    return 3 * forward_flops(sizes, source_tokens, target_tokens, products)


def weight_bytes_read(
    sizes: Sizes, sentences: int, source_tokens: int, target_tokens: int, bytes_per_weight: int = 4
) -> int:
    """Return the bytes of weights that decoding single sentences has to read.

    Input weights of the encoder are read once per sentence, its recurrent weights once per source
    token, and all weights of the decoder once per target token.

    Args:
        sizes: of the model.
        sentences: number of sentences.
        source_tokens: number of their tokens.
        target_tokens: number of tokens of all translations, including `</s>`.
        bytes_per_weight: of the data type.
    """
    per_sentence = sentences * (sizes.input_weights + sizes.key_weights)
    encoder = source_tokens * sizes.recurrent_weights
    decoder = target_tokens * (
        sizes.input_weights
        + sizes.recurrent_weights
        + sizes.attention_weights
        + sizes.dense_weights
    )
    return bytes_per_weight * (per_sentence + encoder + decoder)


def measure_machine(sizes: Sizes, seconds: float = 2.0) -> dict[str, Any]:
    """Measure the speed of the machine with TensorFlow.

    Args:
        sizes: of the model. Bandwidth is measured with a matrix of the size of its decoder's
            weights, so that caches have the same effect as in decoding.
        seconds: duration of each measurement; the fastest run counts.

    Returns:
        `operations_per_second` by data type; `bytes_read`, the size of the matrix;
        `bytes_per_second` of its product with a vector; `bytes_per_second_summed` of its sum, for
        comparison.
    """
    import numpy as np
    import tensorflow as tf

    def fastest(function, *arguments) -> float:
        best, first = float("inf"), time.perf_counter()
        while time.perf_counter() - first < seconds:
            start = time.perf_counter()
            function(*arguments)
            best = min(best, time.perf_counter() - start)
        return best

    n = 2048
    speeds = {}
    for name in ("float32", "bfloat16"):
        a, b = (tf.cast(tf.random.normal((n, n)), name) for _ in range(2))
        # `numpy()` waits for the result.
        speeds[name] = 2 * n**3 / fastest(lambda a, b: tf.matmul(a, b)[0, 0].numpy(), a, b)
    columns = sizes.num_hiddens
    rows = weight_bytes_read(sizes, 0, 0, 1) // 4 // columns
    matrix, vector = tf.random.normal((rows, columns)), tf.random.normal((columns, 1))
    array, column = matrix.numpy(), vector.numpy()
    # Which one is faster depends on the machine.
    product = min(
        fastest(lambda: tf.matmul(matrix, vector)[0, 0].numpy()),
        fastest(lambda: np.dot(array, column)),
    )
    reading = fastest(lambda: tf.reduce_sum(matrix).numpy())
    size = rows * columns * 4
    return {
        "operations_per_second": speeds,
        "bytes_read": size,
        "bytes_per_second": size / product,
        "bytes_per_second_summed": size / reading,
    }


def _measure_speed(request: Any) -> dict[str, Any]:
    from measuring import limit_tensorflow_threads
    from pairs import read_lines

    settings = request.settings
    limit_tensorflow_threads(settings)
    vocab_size = len(read_lines(request.task / "vocab.fr")) + 4
    return measure_machine(
        Sizes(
            settings.embed_size,
            settings.num_hiddens,
            settings.num_layers,
            vocab_size,
            settings.attention,
        ),
        request.seconds or 2.0,
    )


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).with_name("contenders")))
    from measuring import run

    run({"speed": _measure_speed}, "tensorflow", "numpy")
