"""Protocol buffers and gRPC stubs of TF Serving, and builders for its requests.

They come from the package `tensorflow-serving-api`, whose classes build on TensorFlow's.
"""

import importlib
import threading
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from keras_s2s.serving.session_worker import StatusError, skip_tensorflow_init

DT_STRING = 7  # tensorflow.DataType

_lock = threading.Lock()


class ServingApi(NamedTuple):
    """Modules of `tensorflow_serving.apis`, by name."""

    get_model_metadata_pb2: Any
    get_model_status_pb2: Any
    model_service_pb2_grpc: Any
    predict_pb2: Any
    prediction_log_pb2: Any
    prediction_service_pb2_grpc: Any


def load_serving_api() -> ServingApi:
    """Import the protocol buffers without executing TensorFlow's `__init__`.

    Raises:
        ImportError: `tensorflow-serving-api`, or the `tensorflow` package whose protocol buffers
            it uses, is not installed.
    """
    try:
        with _lock, skip_tensorflow_init():
            modules = (f"tensorflow_serving.apis.{name}" for name in ServingApi._fields)
            return ServingApi(*map(importlib.import_module, modules))
    except StatusError as error:
        raise ModuleNotFoundError(str(error), name="tensorflow") from error


def predict_request(
    api: ServingApi,
    model_name: str,
    signature: str,
    inputs: Mapping[str, Sequence[bytes]],
    version: int | None = None,
    version_label: str | None = None,
) -> Any:
    """Build a `PredictRequest`.

    Args:
        api: the result of `load_serving_api`.
        model_name: the model's name on the server.
        signature: name of the signature.
        inputs: the strings of each input, a tensor of shape (batch,).
        version: model version; the server's choice when neither this nor a label is given.
        version_label: a label instead of a version.
    """
    request = api.predict_pb2.PredictRequest()
    fill_model_spec(request.model_spec, model_name, version, version_label)
    request.model_spec.signature_name = signature
    for name, texts in inputs.items():
        tensor = request.inputs[name]
        tensor.dtype = DT_STRING
        tensor.tensor_shape.dim.add(size=len(texts))
        tensor.string_val.extend(texts)
    return request


def fill_model_spec(spec: Any, name: str, version: int | None, version_label: str | None) -> None:
    """Fill a `ModelSpec` message."""
    spec.name = name
    if version is not None:
        spec.version.value = version
    if version_label is not None:
        spec.version_label = version_label
