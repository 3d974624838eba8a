"""The protocol of TensorFlow Serving: its protocol buffers and gRPC stubs, and how they are filled.

They come from the package `tensorflow-serving-api` (`pip install 'keras-s2s[serving]'`), whose
classes build on those of TensorFlow.
"""

import threading
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from keras_s2s.serving.session_worker import Failure, protocol_buffers

DT_STRING = 7  # of TensorFlow's `DataType`

_lock = threading.Lock()


class ServingApi(NamedTuple):
    """The modules of `tensorflow_serving.apis` that are used here, by their names."""

    get_model_metadata_pb2: Any
    get_model_status_pb2: Any
    model_service_pb2_grpc: Any
    predict_pb2: Any
    prediction_log_pb2: Any
    prediction_service_pb2_grpc: Any


def load_serving_api() -> ServingApi:
    """Imports the protocol, and not the TensorFlow that it would bring with it.

    Returns:
        Its modules.

    Raises:
        ImportError: `tensorflow-serving-api`, or the `tensorflow` package that it takes protocol
            buffers from, is not installed.
    """
    try:
        with _lock, protocol_buffers():
            from tensorflow_serving.apis import (
                get_model_metadata_pb2,
                get_model_status_pb2,
                model_service_pb2_grpc,
                predict_pb2,
                prediction_log_pb2,
                prediction_service_pb2_grpc,
            )
    except Failure as error:
        raise ModuleNotFoundError(str(error), name="tensorflow") from error
    return ServingApi(
        get_model_metadata_pb2,
        get_model_status_pb2,
        model_service_pb2_grpc,
        predict_pb2,
        prediction_log_pb2,
        prediction_service_pb2_grpc,
    )


def predict_request(
    api: ServingApi,
    model_name: str,
    signature: str,
    inputs: Mapping[str, Sequence[bytes]],
    version: int | None = None,
    version_label: str | None = None,
) -> Any:
    """Builds a request.

    Args:
        api: what `load_serving_api` returns.
        model_name: the model's name on the server.
        signature: name of the signature.
        inputs: for each input of the signature its strings, a tensor of shape (batch,).
        version: of the model; the server's choice when neither this nor a label is given.
        version_label: instead of a version.

    Returns:
        A `PredictRequest`.
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
    """Says in a `ModelSpec` which model is meant."""
    spec.name = name
    if version is not None:
        spec.version.value = version
    if version_label is not None:
        spec.version_label = version_label
