"""Writes the protocol of TensorFlow Serving for grpcurl, since the server does not describe itself.

python protoset.py serving.protoset    # needs keras-s2s[serving]
"""

import sys
from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from tensorflow_serving.apis import model_service_pb2, prediction_service_pb2


def add(file: Any, to: FileDescriptorSet) -> None:
    """Adds a file after all that it builds on."""
    if any(known.name == file.name for known in to.file):
        return
    for dependency in file.dependencies:
        add(dependency, to)
    file.CopyToProto(to.file.add())


if __name__ == "__main__":
    protoset = FileDescriptorSet()
    for module in (prediction_service_pb2, model_service_pb2):
        add(module.DESCRIPTOR, protoset)
    Path(sys.argv[1]).write_bytes(protoset.SerializeToString())
