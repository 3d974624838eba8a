"""Warm-up requests: records of the official protocol, which the export can run."""

import importlib.util
import shutil

import pytest
import tensorflow as tf
from imitation_server import Models, StatusError, warmup_requests

from keras_s2s.serving.serving_protos import load_serving_api
from keras_s2s.serving.session import SavedModelSession
from keras_s2s.serving.signatures import WARMUP_FILE
from keras_s2s.serving.warmup import BATCH_SIZES, write_warmup_requests

SENTENCES = [b"Go.", b"I won!", "Ça va ? 🙂".encode(), b"", b"invalid \xff UTF-8"]


@pytest.fixture
def requests(tmp_path):
    """The warm-up requests, parsed with the official protocol buffers."""
    write_warmup_requests(tmp_path, "en-fr", SENTENCES)
    assert WARMUP_FILE.as_posix() == "assets.extra/tf_serving_warmup_requests"
    return warmup_requests(tmp_path)


def test_a_request_for_each_signature_and_batch_size(requests):
    sizes = [
        (request.model_spec.signature_name, tensor.tensor_shape.dim[0].size)
        for request in requests
        for tensor in request.inputs.values()
    ]
    assert sorted(set(sizes)) == sorted(
        (signature, size) for signature in ("serving_default", "score") for size in BATCH_SIZES
    )
    assert len(requests) == 2 * len(BATCH_SIZES)
    assert {request.model_spec.name for request in requests} == {"en-fr"}
    # A version would be wrong once the folder is copied.
    assert not any(request.model_spec.HasField("version") for request in requests)


def test_texts_are_string_tensors_of_rank_one(requests):
    for request in requests:
        for tensor in request.inputs.values():
            assert tensor.dtype == tf.string.as_datatype_enum
            assert tf.make_ndarray(tensor).shape == (len(tensor.string_val),)
            assert set(tensor.string_val) <= set(SENTENCES)


def test_an_export_warms_up_each_of_its_signatures(exports, attending_export):
    for folder, others in ((exports / "1", ["beam"]), (attending_export, ["beam", "explain"])):
        models = Models(folder.parent.name, {}, {})
        with SavedModelSession(folder) as session:
            models.load(1, session)
            assert {signature for signature, _ in models.requests} == session.signatures.keys()
        assert models.requests[2 * len(BATCH_SIZES) :] == [(name, 1) for name in others]


def test_a_version_whose_warm_up_fails_is_not_loaded(exports, tmp_path):
    shutil.copytree(exports / "1", tmp_path / "1")
    write_warmup_requests(tmp_path / "1", "en-fr", SENTENCES, signatures=["explain"])
    models = Models("en-fr", {}, {})
    with SavedModelSession(tmp_path / "1") as session, pytest.raises(StatusError):
        models.load(1, session)
    assert models.versions == {}


def test_the_export_runs_each_request(requests, exports):
    with SavedModelSession(exports / "1") as session:
        for request in requests:
            inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
            answer = session.run(request.model_spec.signature_name, **inputs)
            size = len(inputs["text"])
            assert {len(values) for values in answer.values()} == {size}


def test_references(tmp_path):
    references = [text[::-1] for text in SENTENCES]
    write_warmup_requests(tmp_path, "en-fr", SENTENCES, references, batch_sizes=[5])
    (_, score) = tf.data.TFRecordDataset(str(tmp_path / WARMUP_FILE)).as_numpy_iterator()
    log = load_serving_api().prediction_log_pb2.PredictionLog.FromString(score)
    inputs = log.predict_log.request.inputs
    assert list(inputs["text"].string_val) == SENTENCES
    assert list(inputs["reference"].string_val) == references


def test_the_file_is_deterministic(tmp_path):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        write_warmup_requests(tmp_path / name, "en-fr", SENTENCES)
    first, second = ((tmp_path / name / WARMUP_FILE).read_bytes() for name in ("first", "second"))
    assert first == second


def test_invalid_arguments(tmp_path):
    with pytest.raises(ValueError, match="0 sentences"):
        write_warmup_requests(tmp_path, "en-fr", [])
    with pytest.raises(ValueError, match="5 sentences and 1 references"):
        write_warmup_requests(tmp_path, "en-fr", SENTENCES, [b"Va !"])


def test_the_protocol_is_imported_without_tensorflow(fresh_python):
    code = """
        import sys
        sys.modules["keras_s2s"] = type(sys)("keras_s2s")
        sys.modules["keras_s2s"].__path__ = sys.argv[1:]
        from keras_s2s.serving.serving_protos import load_serving_api
        api = load_serving_api()
        assert "tensorflow" not in sys.modules and "tensorflow.python" not in sys.modules
        import tensorflow as tf  # the stub is gone
        request = api.predict_pb2.PredictRequest()
        request.inputs["text"].CopyFrom(tf.make_tensor_proto(["Go."]))
        print(tf.make_ndarray(request.inputs["text"]))
    """
    [folder] = importlib.util.find_spec("keras_s2s").submodule_search_locations
    code = "\n".join(line.strip() for line in code.strip().splitlines())
    assert fresh_python(code, folder) == "[b'Go.']\n"
