"""What the machine could do at most: the work that real tokens need, and its speed.

Training is held against the floating-point operations of its matrix products: those that the
tokens of the sentences need, padding left out, at the speed of one large product measured in the
same run. Decoding one sentence is held against memory: every weight that a step multiplies with
has to be read once for it.

    python roofline.py TASK speed

measures the machine, as a contender measures itself.
"""

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Sizes:
    """Sizes of an encoder–decoder model of LSTM layers, both of the same shape.

    Attributes:
        embed_size: width of the embeddings.
        num_hiddens: width of a layer.
        num_layers: layers of the encoder, and of the decoder.
        target_vocab_size: words the decoder chooses from.
        attention: "none", or "luong" for scores q · W m and an attentional layer.
    """

    embed_size: int
    num_hiddens: int
    num_layers: int
    target_vocab_size: int
    attention: str = "none"

    @property
    def input_weights(self) -> int:
        """Weights of the recurrent layers for what comes from below."""
        h = self.num_hiddens
        return 4 * h * (self.embed_size + (self.num_layers - 1) * h)

    @property
    def recurrent_weights(self) -> int:
        """Weights of the recurrent layers for their own state."""
        return self.num_layers * 4 * self.num_hiddens**2

    @property
    def attention_weights(self) -> int:
        """Weights for each of the decoder's steps: W of [c; h]."""
        return 0 if self.attention == "none" else 2 * self.num_hiddens**2

    @property
    def dense_weights(self) -> int:
        """Weights of the dense layer over the vocabulary."""
        return self.num_hiddens * self.target_vocab_size

    @property
    def key_weights(self) -> int:
        """Weights for each of the encoder's steps: the keys."""
        return 0 if self.attention == "none" else self.num_hiddens**2


def forward_operations(
    sizes: Sizes, source_tokens: float, target_tokens: float, products: float | None = None
) -> float:
    """Floating-point operations of the matrix products of a pair, or of many, forwards.

    A product with a weight is two operations, one multiplication and one addition, for each token
    it is used with. Attention adds two products of each target step with each source step. What is
    done element by element (activations, softmax, the optimizer) and the looking up of embeddings
    is not counted.

    Args:
        sizes: the model's.
        source_tokens: tokens that the encoder reads.
        target_tokens: tokens that are predicted, `</s>` included.
        products: of many pairs, whose tokens are summed up, the sum of the products of source
            tokens and target tokens; of one pair, None.
    """
    recurrent = sizes.input_weights + sizes.recurrent_weights
    encoder = source_tokens * (recurrent + sizes.key_weights)
    decoder = target_tokens * (recurrent + sizes.attention_weights + sizes.dense_weights)
    attended = 0
    if sizes.attention != "none":
        met = source_tokens * target_tokens if products is None else products
        attended = 2 * met * sizes.num_hiddens
    return 2 * (encoder + decoder + attended)


def training_operations(
    sizes: Sizes, source_tokens: float, target_tokens: float, products: float | None = None
) -> float:
    """The same of a training step: three times as much.

    Of each product c = a b the gradient needs two more of the same size, one for a and one for b.
    """
    return 3 * forward_operations(sizes, source_tokens, target_tokens, products)


def decoded_bytes(
    sizes: Sizes, sentences: int, source_tokens: int, target_tokens: int, bytes_each: int = 4
) -> int:
    """Bytes of weights that decoding sentences one by one has to read.

    The encoder's weights for its inputs are read once a sentence, since all words are known; its
    recurrent ones once a word; all of the decoder's once for each word of the answer.

    Args:
        sizes: the model's.
        sentences: how many.
        source_tokens: of all of them.
        target_tokens: of all answers, `</s>` included.
        bytes_each: of a weight.
    """
    once = sentences * (sizes.input_weights + sizes.key_weights)
    encoder = source_tokens * sizes.recurrent_weights
    decoder = target_tokens * (
        sizes.input_weights
        + sizes.recurrent_weights
        + sizes.attention_weights
        + sizes.dense_weights
    )
    return bytes_each * (once + encoder + decoder)


def measure(sizes: Sizes, seconds: float = 2.0) -> dict[str, Any]:
    """Measures the machine with TensorFlow.

    Args:
        sizes: of the model whose weights memory is read for: a matrix as large as those of the
            decoder, so that what of them stays in the processor's caches counts as it does there.
        seconds: for how long each is repeated; the fastest is taken, since others only slow it
            down.

    Returns:
        `operations_per_second` by data type; `bytes_read`, and `bytes_per_second` at which a
        product of that matrix with a vector reads it; `bytes_per_second_summed`, the same of a
        mere sum, for comparison.
    """
    import numpy as np
    import tensorflow as tf

    def fastest(function, *arguments) -> float:
        best, began = float("inf"), time.perf_counter()
        while time.perf_counter() - began < seconds:
            start = time.perf_counter()
            function(*arguments)
            best = min(best, time.perf_counter() - start)
        return best

    n = 2048
    speeds = {}
    for name in ("float32", "bfloat16"):
        a, b = (tf.cast(tf.random.normal((n, n)), name) for _ in range(2))
        # The result is waited for.
        speeds[name] = 2 * n**3 / fastest(lambda a, b: tf.matmul(a, b)[0, 0].numpy(), a, b)
    columns = sizes.num_hiddens
    rows = decoded_bytes(sizes, 0, 0, 1) // 4 // columns
    matrix, vector = tf.random.normal((rows, columns)), tf.random.normal((columns, 1))
    array, one = matrix.numpy(), vector.numpy()
    # Which of them is faster differs between machines.
    product = min(
        fastest(lambda: tf.matmul(matrix, vector)[0, 0].numpy()),
        fastest(lambda: np.dot(array, one)),
    )
    reading = fastest(lambda: tf.reduce_sum(matrix).numpy())
    size = rows * columns * 4
    return {
        "operations_per_second": speeds,
        "bytes_read": size,
        "bytes_per_second": size / product,
        "bytes_per_second_summed": size / reading,
    }


def _speed(request: Any) -> dict[str, Any]:
    from pairs import read_lines

    settings = request.settings
    if settings.threads != os.cpu_count():
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(settings.threads)
    words = len(read_lines(request.task / "vocab.fr")) + 4
    return measure(
        Sizes(
            settings.embed_size,
            settings.num_hiddens,
            settings.num_layers,
            words,
            settings.attention,
        ),
        request.seconds or 2.0,
    )


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).with_name("contenders")))
    from measuring import run

    run({"speed": _speed}, "tensorflow", "numpy")
