"""All searches in an export, on a server's path: a session, without XLA, in a fresh process."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_models import make_model, sources

import keras_s2s as s2s
from keras_s2s.serving.session import SavedModelSession

VOCAB_SIZE, MAX_STEPS = 90, 6
SOURCE = [
    tf.TensorSpec([None, None], tf.int32, name="ids"),
    tf.TensorSpec([None], tf.int32, name="lengths"),
]


def searches(model, kind):
    rules = {"min_length": 1, "no_repeat_ngram_size": 2, "forbid_unknown": True}
    coverage = 0.0 if kind == "plain" else 0.3

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
    """The same with its outputs by name, as a signature wants them."""

    def run(ids, lengths):
        result = search(ids, lengths)
        return {name: part for name, part in result._asdict().items() if part is not None}

    return run


@pytest.mark.parametrize("kind", ["plain", "feeds"])
def test_an_export_answers_on_a_servers_path_as_python_does(kind, tmp_path):
    model = make_model(kind, vocab_size=VOCAB_SIZE, end_bias=3.0)
    functions = searches(model, kind)
    archive = keras.export.ExportArchive()
    archive.track(model)
    for name, search in functions.items():
        archive.add_endpoint(name, search, input_signature=SOURCE)
    archive.write_out(str(tmp_path / "1"), verbose=False)
    ids, lengths = sources(23, vocab_size=VOCAB_SIZE)
    with SavedModelSession(tmp_path / "1") as session:
        for name, search in functions.items():
            expected = search(ids, lengths)
            for rows in (len(ids), 1, 0):
                answer = session.run(name, ids=ids[:rows], lengths=lengths[:rows])
                assert answer.keys() == expected.keys()
                for key, part in expected.items():
                    np.testing.assert_allclose(
                        answer[key], part[:rows], rtol=1e-4, atol=1e-4, err_msg=f"{name} {key}"
                    )


@pytest.mark.parametrize(
    ("ids", "lengths", "message"),
    [
        # Of a length past the steps TensorFlow's own operation ends the process.
        ([[1, 2]], [3], "source_valid_length has 3 in it; give 0 to 2"),
        ([[1, 2]], [-1], "source_valid_length has -1 in it; give 0 to 2"),
        ([[1, 90]], [2], "source_ids has 90 in it; give 0 to 89"),
        ([1, 2], [2], r"shape \(2,\) and source_valid_length \(1,\); give \(batch, steps\)"),
        ([[1, 2]], [2, 2], r"shape \(1, 2\) and source_valid_length \(2,\); give"),
        ([["a"]], [1], "source_ids are string and source_valid_length int32; give whole numbers"),
        ([[1.0]], [1], "source_ids are float32"),
    ],
)
def test_sources_that_cannot_be_read(ids, lengths, message):
    model = make_model(vocab_size=VOCAB_SIZE)
    for search in (s2s.greedy_search, s2s.beam_search):
        with pytest.raises(s2s.InputError, match=message):
            search(model, ids, lengths, MAX_STEPS)
