"""gRPC transport for TensorFlow Serving."""

import math
from typing import Any

from keras_s2s.client.answers import output_spec
from keras_s2s.client.transport import (
    MAX_MESSAGE_BYTES,
    Credentials,
    ModelSpec,
    Transport,
    VersionStatus,
    format_metadata,
    host_and_port,
    shown_address,
)
from keras_s2s.serving.serving_protos import fill_model_spec, load_serving_api, predict_request
from keras_s2s.serving.session_worker import describe_tensors
from keras_s2s.serving.signatures import OPTIONAL_OUTPUTS, SIGNATURES
from keras_s2s.utils.errors import InputError

PORT = 8500

# tensorflow.DataType and the TensorProto field of each type that translators return.
FIELDS = {"float32": (1, "float_val"), "int32": (3, "int_val"), "string": (7, "string_val")}

# Bytes of a response for each text of a request, and of any response. Attention weights are the
# largest outputs: 40 kB for 100 tokens on both sides.
BYTES_PER_TEXT, MAX_BYTES = 128 << 10, 12 << 20


class GrpcTransport(Transport):
    """gRPC through the stubs of `tensorflow-serving-api`.

    Args:
        address: `HOST:PORT`, or a gRPC target such as `dns:///HOST:PORT`, whose addresses are
            used round-robin.
        credentials: certificates and token.
        batch_size: maximum number of texts in a request.

    Raises:
        InputError: packages are missing, or the address is invalid.
    """

    protocol = "gRPC"

    def __init__(self, address: str, credentials: Credentials, batch_size: int) -> None:
        try:
            import grpc
            from google.protobuf.message import DecodeError

            self._api = load_serving_api()
        except ImportError as error:
            raise InputError(
                f"gRPC needs packages that are not installed ({error}); "
                "pip install grpcio tensorflow-serving-api, or use REST"
            ) from error
        self._grpc, self._decode_error = grpc, DecodeError
        self.credentials = credentials
        self.address = self._target(address)
        self._max_bytes = min(MAX_MESSAGE_BYTES + batch_size * BYTES_PER_TEXT, MAX_BYTES)
        options = [
            ("grpc.max_receive_message_length", self._max_bytes),
            ("grpc.max_send_message_length", -1),
            # `TranslationClient` retries; reconnect as often as it does.
            ("grpc.enable_retries", 0),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 2000),
            ("grpc.lb_policy_name", "round_robin"),
            # A model server is on the internal network, not behind the proxy.
            ("grpc.enable_http_proxy", 0),
        ]
        if credentials.tls:
            self._channel = grpc.secure_channel(
                self.address, credentials.grpc_credentials(grpc), options
            )
        else:
            self._channel = grpc.insecure_channel(self.address, options)
        self._predictions = self._api.prediction_service_pb2_grpc.PredictionServiceStub(
            self._channel
        )
        self._models = self._api.model_service_pb2_grpc.ModelServiceStub(self._channel)

    @staticmethod
    def _target(address: str) -> str:
        if address.startswith(("http://", "https://")):
            raise InputError(
                f"{shown_address(address)}: is an address for REST; for gRPC give HOST:PORT"
            )
        if address.startswith(("dns:", "unix:", "ipv4:", "ipv6:")):
            return address
        host, port = host_and_port(address, address, PORT)
        return f"{host}:{port}"

    def predict(
        self, model: ModelSpec, signature: str, inputs: dict[str, list[bytes]], timeout: float
    ) -> dict[str, list[Any]]:
        request = predict_request(
            self._api, model.name, signature, inputs, model.version, model.version_label
        )
        response = self._call(self._predictions.Predict, request, timeout)
        num_texts = len(next(iter(inputs.values())))
        return {
            name: self._values(name, response.outputs[name], num_texts, *output_spec(spec))
            for name, spec in (SIGNATURES[signature][1] | OPTIONAL_OUTPUTS[signature]).items()
            if name in response.outputs
        }

    def status(self, model: ModelSpec, timeout: float) -> list[VersionStatus]:
        messages = self._api.get_model_status_pb2
        request = messages.GetModelStatusRequest()
        request.model_spec.name = model.name
        response = self._call(self._models.GetModelStatus, request, timeout)
        name = messages.ModelVersionStatus.State.Name
        with self.expected_format("status"):
            return sorted(
                (
                    VersionStatus(entry.version, name(entry.state), entry.status.error_message)
                    for entry in response.model_version_status
                ),
                reverse=True,
            )

    def metadata(self, model: ModelSpec, timeout: float) -> dict[str, Any]:
        messages = self._api.get_model_metadata_pb2
        request = messages.GetModelMetadataRequest(metadata_field=["signature_def"])
        fill_model_spec(request.model_spec, *model)
        response = self._call(self._predictions.GetModelMetadata, request, timeout)
        signatures = messages.SignatureDefMap()
        with self.expected_format("metadata"):
            try:
                is_map = response.metadata["signature_def"].Unpack(signatures)
            except self._decode_error as error:
                raise ValueError from error
            if not is_map:
                raise ValueError
            return format_metadata(
                response.model_spec.version.value,
                {
                    name: {
                        side: describe_tensors(getattr(signature, side))
                        for side in ("inputs", "outputs")
                    }
                    for name, signature in signatures.signature_def.items()
                },
            )

    def close(self) -> None:
        self._channel.close()

    def _call(self, method: Any, request: Any, timeout: float) -> Any:
        metadata = list(self.credentials.authorization().items())
        try:
            return method(request, timeout=timeout, metadata=metadata)
        except self._grpc.RpcError as error:
            code, message = error.code().name, error.details() or "no message"
            if "CERTIFICATE_VERIFY_FAILED" in message:
                code = "UNAUTHENTICATED"  # gRPC reports UNAVAILABLE, which would be retried
            if "message larger than max" in message:
                code = "OUT_OF_RANGE"  # gRPC reports RESOURCE_EXHAUSTED, which would be retried
            raise self.error(code, message) from error

    def _values(
        self, name: str, tensor: Any, num_texts: int, dtype: str, axes: list[str]
    ) -> list[Any]:
        """Convert a tensor to nested lists, if they can be what was asked for."""
        number, field = FIELDS[dtype]
        shape = [dimension.size for dimension in tensor.tensor_shape.dim]
        if tensor.dtype != number or len(shape) != len(axes) or tensor.tensor_content:
            raise self.error("INTERNAL", f"output {name!r} has an unsupported type or shape")
        if shape[0] != num_texts:
            raise self.error(
                "INTERNAL", f"returned {shape[0]} of output {name!r} for {num_texts} texts"
            )
        values, size = getattr(tensor, field), math.prod(shape)
        if min(shape) < 0 or len(values) > size or (size and not values):
            raise self.error("INTERNAL", f"output {name!r} has {len(values)} values for {shape}")
        # In bytes of the smallest type. An axis of size 0 hides how many lists the others make.
        if 4 * math.prod(max(length, 1) for length in shape) > self._max_bytes:
            raise self.error("OUT_OF_RANGE", f"output {name!r} has shape {shape}")
        values = list(values)
        # A TensorProto may omit repetitions of its last element.
        values += values[-1:] * (size - len(values))
        if field == "string_val":
            try:
                values = [value.decode("utf-8") for value in values]
            except UnicodeDecodeError as error:
                raise self.error("INTERNAL", f"output {name!r} is not UTF-8") from error
        for axis in range(len(shape) - 1, 0, -1):
            length, count = shape[axis], math.prod(shape[:axis])
            values = [values[row * length : (row + 1) * length] for row in range(count)]
        return values
