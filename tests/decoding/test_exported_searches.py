"""All searches in an export, run as by a server: in a session of a fresh process, without XLA."""

import numpy as np
import pytest
import tensorflow as tf
from small_models import make_model, sources

import keras_s2s as s2s
from keras_s2s.serving.allowed_ops import unsafe_parts
from keras_s2s.serving.saved_model import SavedModel
from keras_s2s.serving.session import SavedModelSession
from keras_s2s.serving.writer import write_saved_model

VOCAB_SIZE, MAX_STEPS = 90, 6
SOURCE = [
    tf.TensorSpec([None, None], tf.int32, name="ids"),
    tf.TensorSpec([None], tf.int32, name="lengths"),
]


def searches(model, variant):
    rules = {"min_length": 1, "no_repeat_ngram_size": 2, "forbid_unknown": True}
    coverage = 0.0 if variant == "plain" else 0.3

    def greedy(ids, lengths):
        return s2s.greedy_search(model, ids, lengths, MAX_STEPS, **rules)

    def beam(ids, lengths):
        return s2s.beam_search(
            model, ids, lengths, MAX_STEPS, 4, n_best=3, coverage_penalty=coverage, **rules
        )

    def sample(ids, lengths):
        options = {"temperature": 0.8, "top_k": 40, "top_p": 0.9}
        return s2s.sample_search(
            model, ids, lengths, MAX_STEPS, seed=1, num_samples=2, **options, **rules
        )

    return {"serving_default": named(greedy), "beam": named(beam), "sample": named(sample)}


def named(search):
    """Wrap a search to return its outputs by name, as a signature."""

    def run(ids, lengths):
        result = search(ids, lengths)
        return {name: tensor for name, tensor in result._asdict().items() if tensor is not None}

    return run


@pytest.mark.parametrize("variant", ["plain", "feeds"])
def test_served_results_equal_python(variant, tmp_path):
    model = make_model(variant, vocab_size=VOCAB_SIZE, end_bias=3.0)
    functions = searches(model, variant)
    signatures = {name: (search, SOURCE) for name, search in functions.items()}
    folder = write_saved_model(tmp_path, signatures, tracked=[])
    assert not unsafe_parts(SavedModel(folder))
    ids, lengths = sources(23, vocab_size=VOCAB_SIZE)
    with SavedModelSession(folder) as session:
        for name, search in functions.items():
            expected = search(ids, lengths)
            for rows in (len(ids), 1, 0):
                served = session.run(name, ids=ids[:rows], lengths=lengths[:rows])
                assert served.keys() == expected.keys()
                for key, tensor in expected.items():
                    np.testing.assert_allclose(
                        served[key], tensor[:rows], rtol=1e-4, atol=1e-4, err_msg=f"{name} {key}"
                    )


@pytest.mark.parametrize(
    ("ids", "lengths", "message"),
    [
        # A length past the steps would make TensorFlow's kernel abort the process.
        ([[1, 2]], [3], "source_valid_length contains 3; .* 0 to 2"),
        ([[1, 2]], [-1], "source_valid_length contains -1; .* 0 to 2"),
        ([[1, 90]], [2], "source_ids contains 90; .* 0 to 89"),
        ([1, 2], [2], r"shape \(2,\) and source_valid_length \(1,\)"),
        ([[1, 2]], [2, 2], r"shape \(1, 2\) and source_valid_length \(2,\)"),
        ([["a"]], [1], "source_ids are string and source_valid_length int32"),
        ([[1.0]], [1], "source_ids are float32"),
    ],
)
def test_invalid_sources(ids, lengths, message):
    model = make_model(vocab_size=VOCAB_SIZE)
    for search in (s2s.greedy_search, s2s.beam_search):
        with pytest.raises(s2s.InputError, match=message):
            search(model, ids, lengths, MAX_STEPS)
