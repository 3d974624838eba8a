"""Worker process of `SavedModelSession`: load a SavedModel as TF Serving does, and run it.

`SavedModelSession` starts this file by its path in a fresh interpreter. It imports neither the
enclosing package nor TensorFlow's Python, which would add what a server lacks: ops registered by
Python packages, variables found through the object graph, XLA. It uses the C API of the
TensorFlow wheel's libraries; `TF_LoadSessionFromSavedModel` calls the same
`tensorflow::LoadSavedModel` as the server.

Each line is a JSON object. The first line written describes the model:

    {"ready": true,
     "signatures": {NAME: {"inputs": {NAME: {"dtype": …, "shape": …}}, "outputs": …}},
     "tensorflow_version": "2.21.0", "python_tensorflow": false, "read_only": false}

Then each request read from stdin gets a response on stdout, until stdin is closed:

    {"signature": "serving_default", "inputs": {"text": {"shape": [1], "data": ["R28gLg=="]}}}
    {"outputs": {"score": {"dtype": "float32", "shape": [1], "data": [-0.5]}}}

`data` is flat, in row-major order; strings are base64, since they may hold any bytes. An error is
`{"error": "…", "code": N}` with TensorFlow's status code; a failed request does not end the
process.

`--list-ops` writes the ops of the libraries and loads no model:

    {"ops": ["Abort", "Abs", …], "tensorflow_version": "2.21.0"}
"""

import argparse
import base64
import contextlib
import ctypes
import importlib.util
import json
import math
import os
import struct
import sys
import types
from collections.abc import Iterator
from typing import Any

INVALID_ARGUMENT, NOT_FOUND = 3, 5  # TF_Code

# TF_DataType: NumPy's name, format in `struct`.
DATA_TYPES = {
    1: ("float32", "f"),
    2: ("float64", "d"),
    3: ("int32", "i"),
    4: ("uint8", "B"),
    5: ("int16", "h"),
    6: ("int8", "b"),
    7: ("string", ""),
    9: ("int64", "q"),
    10: ("bool", "?"),
    17: ("uint16", "H"),
    19: ("float16", "e"),
    22: ("uint32", "I"),
    23: ("uint64", "Q"),
}
STRING = 7
STRING_SIZE = 24  # sizeof(TF_TString), opaque except to the TF_String* functions


class Buffer(ctypes.Structure):
    """TF_Buffer."""

    _fields_ = [
        ("data", ctypes.c_void_p),
        ("length", ctypes.c_size_t),
        ("deallocator", ctypes.c_void_p),
    ]


class Output(ctypes.Structure):
    """TF_Output: a tensor of the graph, as an operation and the index of its output."""

    _fields_ = [("operation", ctypes.c_void_p), ("index", ctypes.c_int)]


# Result and argument types of each function. Handles and arrays are plain pointers.
_pointer, _string, _int, _size = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_size_t
PROTOTYPES: dict[str, tuple[Any, list[Any]]] = {
    "TF_Version": (_string, []),
    "TF_GetAllOpList": (ctypes.POINTER(Buffer), []),
    "TF_NewStatus": (_pointer, []),
    "TF_GetCode": (_int, [_pointer]),
    "TF_Message": (_string, [_pointer]),
    "TF_DeleteStatus": (None, [_pointer]),
    "TF_LoadLibrary": (_pointer, [_string, _pointer]),
    "TF_NewSessionOptions": (_pointer, []),
    "TF_SetConfig": (None, [_pointer, _string, _size, _pointer]),
    "TF_DeleteSessionOptions": (None, [_pointer]),
    "TF_NewGraph": (_pointer, []),
    "TF_DeleteGraph": (None, [_pointer]),
    "TF_GraphOperationByName": (_pointer, [_pointer, _string]),
    "TF_NewBuffer": (ctypes.POINTER(Buffer), []),
    "TF_DeleteBuffer": (None, [_pointer]),
    # options, run options, folder, tags and their count, graph, MetaGraphDef, status
    "TF_LoadSessionFromSavedModel": (
        _pointer,
        [_pointer, _pointer, _string, _pointer, _int, _pointer, _pointer, _pointer],
    ),
    # session, run options, inputs, their values and count, outputs, their values and count,
    # targets and their count, run metadata, status
    "TF_SessionRun": (
        None,
        [_pointer] * 4 + [_int] + [_pointer] * 2 + [_int] + [_pointer, _int, _pointer, _pointer],
    ),
    "TF_CloseSession": (None, [_pointer, _pointer]),
    "TF_DeleteSession": (None, [_pointer, _pointer]),
    "TF_AllocateTensor": (_pointer, [_int, _pointer, _int, _size]),
    "TF_DeleteTensor": (None, [_pointer]),
    "TF_TensorType": (_int, [_pointer]),
    "TF_NumDims": (_int, [_pointer]),
    "TF_Dim": (ctypes.c_int64, [_pointer, _int]),
    "TF_TensorByteSize": (_size, [_pointer]),
    "TF_TensorData": (_pointer, [_pointer]),
    "TF_StringInit": (None, [_pointer]),
    "TF_StringCopy": (None, [_pointer, _string, _size]),
    "TF_StringGetDataPointer": (_pointer, [_pointer]),
    "TF_StringGetSize": (_size, [_pointer]),
    # tensorflow::DisableXlaCompilation(): a server calls it by default.
    "_ZN10tensorflow21DisableXlaCompilationEv": (None, []),
}


# System calls of Linux's Landlock, the same on all architectures; prctl's PR_SET_NO_NEW_PRIVS.
LANDLOCK_CREATE_RULESET, LANDLOCK_RESTRICT_SELF, NO_NEW_PRIVILEGES = 444, 446, 38
# Access rights by the Landlock version that introduced them: writing, removing and making files;
# moving files; truncating them; TCP connections, in the second field.
LANDLOCK_RIGHTS = {1: (0b1_1111_1111_0010, 0), 2: (1 << 13, 0), 3: (1 << 14, 0), 4: (0, 0b11)}


def forbid_writing() -> bool:
    """Forbid this process to change files from now on, and to use TCP where Landlock can.

    Open files stay writable. Call it before there are other threads.

    Returns:
        Whether the system can do this: a Linux with Landlock, since 5.13.
    """
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    version = libc.syscall(LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    if version < 1:
        return False
    files = connections = 0
    for introduced, (file_rights, tcp_rights) in LANDLOCK_RIGHTS.items():
        if introduced <= version:
            files, connections = files | file_rights, connections | tcp_rights
    attributes = (
        struct.pack("=QQ", files, connections) if version >= 4 else struct.pack("=Q", files)
    )
    ruleset = libc.syscall(LANDLOCK_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)
    if ruleset < 0:
        return False
    try:
        if libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0):
            return False
        return libc.syscall(LANDLOCK_RESTRICT_SELF, ctypes.c_int(ruleset), 0) == 0
    finally:
        os.close(ruleset)


class StatusError(Exception):
    """A TensorFlow status other than OK."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def tensorflow_folder() -> str:
    """Return the folder of the installed TensorFlow, without importing it."""
    spec = importlib.util.find_spec("tensorflow")
    if spec is None or not spec.submodule_search_locations:
        raise StatusError(f"no package tensorflow for {sys.executable}", NOT_FOUND)
    return spec.submodule_search_locations[0]


@contextlib.contextmanager
def skip_tensorflow_init() -> Iterator[None]:
    """Allow imports of TensorFlow's protocol buffers without executing `tensorflow/__init__.py`.

    Within the block a stub module stands in for the package, unless TensorFlow is loaded already.
    """
    # WORKAROUND(tensorflow<=2.21): importing any protocol buffer loads the whole package.
    if "tensorflow" in sys.modules:
        yield
        return
    stub = types.ModuleType("tensorflow")
    stub.__path__ = [tensorflow_folder()]
    sys.modules["tensorflow"] = stub
    try:
        yield
    finally:
        del sys.modules["tensorflow"]


def is_signature(name: str) -> bool:
    """Return whether an entry of `signature_def` is a signature, and not an init op."""
    return not name.startswith("__saved_model")


def describe_tensors(infos: Any) -> dict[str, dict[str, Any]]:
    """Return dtype and shape (None for unknown rank) of each `TensorInfo`, sorted by name."""
    return {
        name: {
            "dtype": DATA_TYPES.get(info.dtype, (f"type {info.dtype}", ""))[0],
            "shape": None
            if info.tensor_shape.unknown_rank
            else [dimension.size for dimension in info.tensor_shape.dim],
        }
        for name, info in sorted(infos.items())
    }


def load_tensorflow(folder: str) -> ctypes.CDLL:
    """Load the C++ libraries in `folder`, the package folder of a TensorFlow wheel."""

    def library(stem: str, mode: int) -> ctypes.CDLL:
        for name in (f"lib{stem}.so.2", f"lib{stem}.2.dylib"):
            path = os.path.join(folder, name)
            if os.path.exists(path):
                return ctypes.CDLL(path, mode)
        raise StatusError(f"{folder}: no lib{stem} in this folder", NOT_FOUND)

    # RTLD_GLOBAL: op libraries need its symbols.
    library("tensorflow_framework", ctypes.RTLD_GLOBAL)
    # Its dependency, the framework library, provides the C API's symbols through this handle too.
    tensorflow = library("tensorflow_cc", ctypes.RTLD_LOCAL)
    for name, (result, arguments) in PROTOTYPES.items():
        function = getattr(tensorflow, name)
        function.restype, function.argtypes = result, arguments
    tensorflow._ZN10tensorflow21DisableXlaCompilationEv()
    return tensorflow


class Session:
    """A loaded SavedModel."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.read_only = options.read_only and forbid_writing()
        self.tensorflow = load_tensorflow(options.libraries or tensorflow_folder())
        for library in options.op_library:
            self._call("TF_LoadLibrary", os.fsencode(library))
        with skip_tensorflow_init():
            from tensorflow.core.protobuf import config_pb2, meta_graph_pb2

        config = config_pb2.ConfigProto(
            intra_op_parallelism_threads=options.intra_op_threads,
            inter_op_parallelism_threads=options.inter_op_threads,
        ).SerializeToString()
        session_options = self.tensorflow.TF_NewSessionOptions()
        self._call("TF_SetConfig", session_options, config, len(config))
        self.graph = self.tensorflow.TF_NewGraph()
        meta_graph = self.tensorflow.TF_NewBuffer()
        tags = (ctypes.c_char_p * 1)(b"serve")
        self.session = self._call(
            "TF_LoadSessionFromSavedModel",
            session_options,
            None,
            os.fsencode(options.model),
            tags,
            len(tags),
            self.graph,
            meta_graph,
        )
        content = ctypes.string_at(meta_graph.contents.data, meta_graph.contents.length)
        self.tensorflow.TF_DeleteBuffer(meta_graph)
        self.tensorflow.TF_DeleteSessionOptions(session_options)
        signatures = meta_graph_pb2.MetaGraphDef.FromString(content).signature_def
        self.signatures = {
            name: (dict(sorted(signature.inputs.items())), dict(sorted(signature.outputs.items())))
            for name, signature in sorted(signatures.items())
            if is_signature(name)
        }

    def description(self) -> dict[str, Any]:
        """Return the first line of the protocol."""
        return {
            "ready": True,
            "signatures": {
                name: {"inputs": describe_tensors(inputs), "outputs": describe_tensors(outputs)}
                for name, (inputs, outputs) in self.signatures.items()
            },
            "tensorflow_version": self.tensorflow.TF_Version().decode(),
            "python_tensorflow": "tensorflow.python" in sys.modules,
            "read_only": self.read_only,
        }

    def run(self, request: dict[str, Any]) -> dict[str, Any]:
        """Run the signature of a request and return its outputs."""
        input_infos, output_infos = self.signatures[request["signature"]]
        inputs = [(input_infos[name], value) for name, value in request["inputs"].items()]
        output_values = (ctypes.c_void_p * len(output_infos))()
        with contextlib.ExitStack() as cleanup:
            input_values = (ctypes.c_void_p * len(inputs))(
                *(self._new_tensor(info.dtype, value, cleanup) for info, value in inputs)
            )
            self._call(
                "TF_SessionRun",
                self.session,
                None,
                self._outputs([info for info, _ in inputs]),
                input_values,
                len(inputs),
                self._outputs(output_infos.values()),
                output_values,
                len(output_values),
                None,
                0,
                None,
            )
            for tensor in output_values:
                cleanup.callback(self.tensorflow.TF_DeleteTensor, tensor)
            return {
                name: self._value(tensor)
                for name, tensor in zip(output_infos, output_values, strict=True)
            }

    def close(self) -> None:
        """End the session's threads, which must not outlive the libraries' static data."""
        self._call("TF_CloseSession", self.session)
        self._call("TF_DeleteSession", self.session)
        self.tensorflow.TF_DeleteGraph(self.graph)

    def _call(self, function: str, *arguments: Any) -> Any:
        """Call a function whose last argument is a status; raise `StatusError` unless it is OK."""
        status = self.tensorflow.TF_NewStatus()
        try:
            result = getattr(self.tensorflow, function)(*arguments, status)
            code = self.tensorflow.TF_GetCode(status)
            if code:
                message = self.tensorflow.TF_Message(status).decode(errors="replace")
                raise StatusError(message, code)
            return result
        finally:
            self.tensorflow.TF_DeleteStatus(status)

    def _outputs(self, tensor_infos: Any) -> ctypes.Array[Output]:
        """Return the graph's tensors for names such as `while/exit:3`."""
        outputs = []
        for info in tensor_infos:
            name, _, index = info.name.partition(":")
            operation = self.tensorflow.TF_GraphOperationByName(self.graph, name.encode())
            if not operation:
                raise StatusError(f"the graph has no tensor {info.name!r}", INVALID_ARGUMENT)
            outputs.append(Output(operation, int(index or 0)))
        return (Output * len(outputs))(*outputs)

    def _new_tensor(
        self, data_type: int, value: dict[str, Any], cleanup: contextlib.ExitStack
    ) -> int:
        """Allocate a tensor, which `cleanup` frees."""
        if data_type not in DATA_TYPES:
            raise StatusError(
                f"inputs of data type {data_type} are not supported", INVALID_ARGUMENT
            )
        shape, data = value["shape"], value["data"]
        assert math.prod(shape) == len(data)  # or TensorFlow would read past the end
        if data_type == STRING:
            size = STRING_SIZE * len(data)
        else:
            content = struct.pack(f"={len(data)}{DATA_TYPES[data_type][1]}", *data)
            size = len(content)
        dimensions = (ctypes.c_int64 * len(shape))(*shape)
        tensor = self.tensorflow.TF_AllocateTensor(data_type, dimensions, len(shape), size)
        cleanup.callback(self.tensorflow.TF_DeleteTensor, tensor)
        start = self.tensorflow.TF_TensorData(tensor)
        if data_type != STRING:
            ctypes.memmove(start, content, size)
            return tensor
        # The tensor frees its strings with its last reference.
        for index, encoded in enumerate(data):
            element = start + STRING_SIZE * index
            text = base64.b64decode(encoded)
            self.tensorflow.TF_StringInit(element)
            self.tensorflow.TF_StringCopy(element, text, len(text))
        return tensor

    def _value(self, tensor: int) -> dict[str, Any]:
        """Convert a tensor to JSON."""
        data_type = self.tensorflow.TF_TensorType(tensor)
        if data_type not in DATA_TYPES:
            raise StatusError(
                f"outputs of data type {data_type} are not supported", INVALID_ARGUMENT
            )
        name, code = DATA_TYPES[data_type]
        rank = self.tensorflow.TF_NumDims(tensor)
        shape = [self.tensorflow.TF_Dim(tensor, axis) for axis in range(rank)]
        count = math.prod(shape)
        start = self.tensorflow.TF_TensorData(tensor)
        data: list[Any] = []
        if data_type == STRING:
            for index in range(count):
                element = start + STRING_SIZE * index
                text = ctypes.string_at(
                    self.tensorflow.TF_StringGetDataPointer(element),
                    self.tensorflow.TF_StringGetSize(element),
                )
                data.append(base64.b64encode(text).decode())
        elif count:  # the data of an empty tensor may be a null pointer
            size = self.tensorflow.TF_TensorByteSize(tensor)
            data.extend(struct.unpack(f"={count}{code}", ctypes.string_at(start, size)))
        return {"dtype": name, "shape": shape, "data": data}


def registered_ops(libraries: str | None) -> dict[str, Any]:
    """List the ops of the libraries."""
    tensorflow = load_tensorflow(libraries or tensorflow_folder())
    with skip_tensorflow_init():
        from tensorflow.core.framework import op_def_pb2
    buffer = tensorflow.TF_GetAllOpList()
    content = ctypes.string_at(buffer.contents.data, buffer.contents.length)
    tensorflow.TF_DeleteBuffer(buffer)
    return {
        "ops": [op.name for op in op_def_pb2.OpList.FromString(content).op],
        "tensorflow_version": tensorflow.TF_Version().decode(),
    }


def main() -> None:
    """Load the model given on the command line and answer requests until stdin is closed."""
    parser = argparse.ArgumentParser(description="Run a SavedModel as TF Serving does.")
    parser.add_argument("model", nargs="?", default="", help="version folder")
    parser.add_argument(
        "--list-ops", action="store_true", help="list ops instead of loading a model"
    )
    parser.add_argument(
        "--libraries", help="folder of libtensorflow_cc (default: the installed one)"
    )
    parser.add_argument(
        "--op-library", action="append", default=[], help="op library to load before the model"
    )
    parser.add_argument(
        "--read-only", action="store_true", help="forbid writing files, where the system can"
    )
    parser.add_argument("--intra-op-threads", type=int, default=0)
    parser.add_argument("--inter-op-threads", type=int, default=0)
    options = parser.parse_args()

    # Reserve stdout for responses: whatever C++ prints there goes to stderr instead.
    responses = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)

    def respond(content: dict[str, Any]) -> None:
        print(json.dumps(content), file=responses, flush=True)

    # Python prepends the folder of a script, with the modules of the enclosing package.
    folder = os.path.dirname(os.path.realpath(__file__))
    sys.path[:] = [entry for entry in sys.path if os.path.realpath(entry) != folder]
    try:
        if options.list_ops:
            respond(registered_ops(options.libraries))
            return
        session = Session(options)
        respond(session.description())
    except StatusError as error:
        respond({"error": str(error), "code": error.code})
        return
    for line in sys.stdin.buffer:
        try:
            respond({"outputs": session.run(json.loads(line))})
        except StatusError as error:
            respond({"error": str(error), "code": error.code})
    session.close()


if __name__ == "__main__":
    main()
