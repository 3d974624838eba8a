"""Write the protocol of TensorFlow Serving for grpcurl, since the server has no reflection.

python protoset.py serving.protoset
"""

import sys
from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from tensorflow_serving.apis import model_service_pb2, prediction_service_pb2


def add(file: Any, to: FileDescriptorSet) -> None:
    """Add a file after its dependencies."""
    if any(added.name == file.name for added in to.file):
        return
    for dependency in file.dependencies:
        add(dependency, to)
    file.CopyToProto(to.file.add())


if __name__ == "__main__":
    protoset = FileDescriptorSet()
    for module in (prediction_service_pb2, model_service_pb2):
        add(module.DESCRIPTOR, protoset)
    Path(sys.argv[1]).write_bytes(protoset.SerializeToString())
