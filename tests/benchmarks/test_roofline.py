"""What a model computes and reads, against a count by hand."""

import pytest

from benchmarks.roofline import Sizes, decoded_bytes, forward_operations, training_operations
from benchmarks.runner import token_counts


class Count:
    """Goes through a model's steps as its definition says and counts what products do."""

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
def test_operations_are_those_counted_by_hand(attention, num_layers):
    sizes = Sizes(2, 3, num_layers, 7, attention)
    count = Count()
    count.pair(sizes, 4, 5)
    assert forward_operations(sizes, 4, 5) == count.operations
    assert training_operations(sizes, 4, 5) == 3 * count.operations


def test_operations_of_many_pairs_are_the_sum():
    sizes = Sizes(2, 3, 2, 7, "luong")
    lengths = [(4, 5), (1, 2), (6, 3)]
    counts = token_counts(lengths)
    assert counts == {"pairs": 3, "source_tokens": 11, "target_tokens": 10, "products": 40}
    total = training_operations(sizes, 11, 10, counts["products"])
    assert total == sum(training_operations(sizes, *pair) for pair in lengths)


def test_weights_read_in_decoding():
    # Embedding 2, one layer of 3: 24 weights for inputs, 36 for the state; dense 3 × 5.
    sizes = Sizes(2, 3, 1, 5)
    assert decoded_bytes(sizes, 1, 4, 2) == 4 * (24 + 4 * 36 + 2 * (24 + 36 + 15))
    luong = Sizes(2, 3, 1, 5, "luong")  # 9 weights for the keys, 18 for the attentional layer
    assert decoded_bytes(luong, 1, 4, 2) == decoded_bytes(sizes, 1, 4, 2) + 4 * (9 + 2 * 18)
