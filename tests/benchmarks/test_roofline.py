"""Operations and weights of a model, compared with a naive count."""

import pytest

from benchmarks.roofline import Sizes, forward_flops, training_flops, weight_bytes_read
from benchmarks.runner import count_tokens


class NaiveCount:
    """Counts the operations of the products, step by step."""

    def __init__(self):
        self.operations = 0

    def product(self, outputs, inputs):
        for _ in range(outputs):
            for _ in range(inputs):
                self.operations += 2  # a multiplication and an addition

    def layers(self, sizes):
        width = sizes.embed_size
        for _ in range(sizes.num_layers):
            self.product(4 * sizes.num_hiddens, width)
            self.product(4 * sizes.num_hiddens, sizes.num_hiddens)
            width = sizes.num_hiddens

    def pair(self, sizes, source_tokens, target_tokens):
        h = sizes.num_hiddens
        for _ in range(source_tokens):
            self.layers(sizes)
            if sizes.attention == "luong":
                self.product(h, h)  # W m
        for _ in range(target_tokens):
            self.layers(sizes)
            if sizes.attention == "luong":
                for _ in range(source_tokens):
                    self.product(1, h)  # q · W m
                self.product(h, source_tokens)  # the context
                self.product(h, 2 * h)  # the attentional layer
            self.product(sizes.target_vocab_size, h)


@pytest.mark.parametrize("attention", ["none", "luong"])
@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_operations_equal_the_naive_count(attention, num_layers):
    sizes = Sizes(2, 3, num_layers, 7, attention)
    count = NaiveCount()
    count.pair(sizes, 4, 5)
    assert forward_flops(sizes, 4, 5) == count.operations
    assert training_flops(sizes, 4, 5) == 3 * count.operations


def test_operations_of_many_pairs_are_the_sum():
    sizes = Sizes(2, 3, 2, 7, "luong")
    lengths = [(4, 5), (1, 2), (6, 3)]
    counts = count_tokens(lengths)
    assert counts == {"pairs": 3, "source_tokens": 11, "target_tokens": 10, "products": 40}
    total = training_flops(sizes, 11, 10, counts["products"])
    assert total == sum(training_flops(sizes, *pair) for pair in lengths)


def test_weight_bytes_read():
    # Embedding 2, one layer of 3: 24 weights for inputs, 36 for the state; dense 3 × 5.
    sizes = Sizes(2, 3, 1, 5)
    assert weight_bytes_read(sizes, 1, 4, 2) == 4 * (24 + 4 * 36 + 2 * (24 + 36 + 15))
    luong = Sizes(2, 3, 1, 5, "luong")  # 9 weights for the keys, 18 for the attentional layer
    assert weight_bytes_read(luong, 1, 4, 2) == weight_bytes_read(sizes, 1, 4, 2) + 4 * (9 + 2 * 18)
