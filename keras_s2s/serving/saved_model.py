"""Read a SavedModel without TensorFlow and without running any of it."""

import os
import struct
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from keras_s2s.serving.session import Signature, TensorSpec
from keras_s2s.serving.session_worker import (
    DATA_TYPES,
    StatusError,
    is_signature,
    skip_tensorflow_init,
)
from keras_s2s.serving.signatures import WARMUP_FILE
from keras_s2s.utils.errors import InputError

COMPOSITE = "composite"  # dtype of sparse and ragged tensors
VARIABLE_OPS = frozenset({"VarHandleOp", "VariableV2", "Variable"})


def _with_versions(*names: str) -> frozenset[str]:
    return frozenset(f"{name}{version}" for name in names for version in ("", "V2"))


TABLE_OPS = _with_versions(
    "HashTable", "MutableHashTable", "MutableHashTableOfTensors", "MutableDenseHashTable"
)
# Ops that initialize the variable or table of their first input.
_INITIALIZING_OPS = _with_versions(
    "Assign",
    "AssignVariableOp",
    "InitializeTable",
    "InitializeTableFromTextFile",
    "LookupTableImport",
    "LookupTableInsert",
)


class Node(NamedTuple):
    """A node of the graph.

    Attributes:
        function: name of the enclosing function; empty for the graph itself.
        proto: its `NodeDef`.
    """

    function: str
    proto: Any

    @property
    def path(self) -> str:
        """Its name, prefixed with that of the function."""
        return f"{self.function}/{self.proto.name}" if self.function else self.proto.name


class Resource(NamedTuple):
    """A variable or table, shared by nodes with the same name and container."""

    op: str
    container: str
    name: str


class WarmupRequests(NamedTuple):
    """The number of warm-up requests, and whether the file is complete."""

    num_requests: int
    is_complete: bool


class SavedModel:
    """The graph and the files of a SavedModel.

    Of several graphs, the one that a server loads, or else the first.

    Args:
        folder: the version folder, with `saved_model.pb` in it.

    Attributes:
        folder: a `pathlib.Path`.
        tags: the tags of each graph.
        meta_graph: the `MetaGraphDef`.
        signatures: a `Signature` by name.
        signature_protos: a `SignatureDef` by name.
        functions: a `FunctionDef` by name.
        graph_nodes: a `NodeDef` of the graph itself by name.
        asset_nodes: names of the nodes that hold the paths of assets.

    Raises:
        InputError: the file is missing or damaged.

    Example:

    ```python
    model = SavedModel("export/models/en-fr/1")
    model.signatures["serving_default"].inputs  # {"text": TensorSpec("string", (-1,))}
    model.ops()["While"]  # 2
    ```
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        graphs = _read(self.folder).meta_graphs
        self.tags = [sorted(graph.meta_info_def.tags) for graph in graphs]
        index = self.tags.index(["serve"]) if ["serve"] in self.tags else 0
        self.meta_graph = graphs[index]
        self.signature_protos = {
            name: signature
            for name, signature in sorted(self.meta_graph.signature_def.items())
            if is_signature(name)
        }
        self.signatures = {
            name: Signature(_specs(signature.inputs), _specs(signature.outputs))
            for name, signature in self.signature_protos.items()
        }
        graph = self.meta_graph.graph_def
        self.functions = {function.signature.name: function for function in graph.library.function}
        self.asset_nodes = {
            node_name(asset.tensor_info.name) for asset in self.meta_graph.asset_file_def
        }
        self.graph_nodes = {node.name: node for node in graph.node}

    def nodes(self) -> Iterator[Node]:
        """Yield all nodes, in the graph and in its functions."""
        for node in self.graph_nodes.values():
            yield Node("", node)
        for name, function in self.functions.items():
            for node in function.node_def:
                yield Node(name, node)

    def ops(self) -> Counter[str]:
        """Count the occurrences of each op, without calls of functions by name."""
        names = (node.proto.op for node in self.nodes())
        return Counter(name for name in names if name not in self.functions)

    def ancestors(self, tensors: Iterable[str], functions: Iterable[str] = ()) -> Iterator[Node]:
        """Yield all nodes needed to compute some tensors, including those of called functions.

        Args:
            tensors: names in the graph; others are ignored.
            functions: names of functions, all nodes of which count.
        """
        names = dict.fromkeys(name for name in map(node_name, tensors) if name in self.graph_nodes)
        seen_nodes, seen_functions = set(names), set(functions)
        pending = [Node("", self.graph_nodes[name]) for name in names]
        pending += [
            Node(function, inner)
            for function in seen_functions
            for inner in self.functions[function].node_def
        ]
        while pending:
            node = pending.pop()
            yield node
            if not node.function:
                for name in map(node_name, node.proto.input):
                    if name in self.graph_nodes and name not in seen_nodes:
                        seen_nodes.add(name)
                        pending.append(Node("", self.graph_nodes[name]))
            for function in self.called_functions(node.proto):
                # All of a function counts, whichever of its results are used.
                if function not in seen_functions:
                    seen_functions.add(function)
                    pending += [
                        Node(function, inner) for inner in self.functions[function].node_def
                    ]

    def called_functions(self, node: Any) -> Iterator[str]:
        """Yield the functions that a `NodeDef` calls, by its op or its attributes."""
        names = [node.op]
        for value in node.attr.values():
            names += [value.func.name, *(function.name for function in value.list.func)]
        return (name for name in names if name in self.functions)

    def used_resources(self, ops: frozenset[str]) -> dict[Resource, Node]:
        """Return the variables or tables that signatures use, each with a node that creates it."""
        outputs = (
            tensor
            for signature in self.signature_protos.values()
            for info in signature.outputs.values()
            for tensor in tensor_names(info)
        )
        return _resources(self.ancestors(outputs), ops)

    def restored_resources(self, ops: frozenset[str]) -> dict[Resource, Node]:
        """Return those that a server restores from the files in `variables/`."""
        return _resources(self.ancestors([self.meta_graph.saver_def.restore_op_name]), ops)

    def initialized_resources(self, ops: frozenset[str]) -> dict[Resource, Node]:
        """Return those initialized when a server loads the model, or where they are used."""
        resources = self.restored_resources(ops)
        resources |= _resources(self.ancestors(self.init_ops()), ops)
        for node in self.nodes():
            if node.function and node.proto.op in _INITIALIZING_OPS:
                if not node.proto.input:
                    continue  # damaged; loading reports it
                target = node_name(node.proto.input[0])
                body = self.functions[node.function].node_def
                nodes = (Node(node.function, inner) for inner in body if inner.name == target)
                resources |= _resources(nodes, ops)
        return resources

    def init_ops(self) -> list[str]:
        """Return the ops run after loading, under the keys of TensorFlow 2 and 1."""
        graph = self.meta_graph
        names = [
            info.name for info in graph.signature_def["__saved_model_init_op"].outputs.values()
        ]
        for key in ("saved_model_main_op", "legacy_init_op"):
            names += graph.collection_def[key].node_list.value
        return names

    def saver_nodes(self) -> set[str]:
        """Return the paths of the nodes that save or restore variables."""
        saver = self.meta_graph.saver_def
        nodes = self.ancestors([saver.save_tensor_name, saver.restore_op_name])
        return {node.path for node in nodes}

    def assets(self) -> dict[str, Path]:
        """Return the files that the graph reads when it is loaded, by recorded name."""
        names = sorted({asset.filename for asset in self.meta_graph.asset_file_def})
        return {name: self.folder / "assets" / name for name in names}

    def files(self) -> list[Path]:
        """Return all files in the folder, recursively."""
        return sorted(
            Path(parent) / name for parent, _, names in os.walk(self.folder) for name in names
        )

    def warmup_requests(self) -> WarmupRequests | None:
        """Count the warm-up requests; None without a file of them."""
        file = self.folder / WARMUP_FILE
        if not file.is_file():
            return None
        count, position, size = 0, 0, file.stat().st_size
        with file.open("rb") as records:
            # TFRecord: length (8 bytes), its checksum (4), the data, its checksum (4).
            while len(header := records.read(12)) == 12:
                position += 16 + struct.unpack("<Q", header[:8])[0]
                if position > size:
                    break
                records.seek(position)
                count += 1
        return WarmupRequests(count, is_complete=position == size)


def num_elements(node: Node) -> int:
    """Return the number of elements of a variable; 0 if its shape is unknown."""
    shape, count = node.proto.attr["shape"].shape, 1
    for dimension in shape.dim:
        count *= max(dimension.size, 0)
    return 0 if shape.unknown_rank else count


def check_version_folder(folder: Path) -> None:
    """Check that a folder is a version folder.

    Raises:
        InputError: it is not; the message suggests the version folder that may be meant.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give the version folder of an export")
    if not (folder / "saved_model.pb").is_file():
        names = (path.parent.name for path in folder.glob("*/saved_model.pb"))
        versions = sorted(names, key=lambda name: (len(name), name))
        hint = (
            f"one of its versions: {folder / versions[-1]}" if versions else "an exported version"
        )
        raise InputError(f"{folder}: no saved_model.pb in this folder; give {hint}")


def _read(folder: Path) -> Any:
    """Parse `saved_model.pb`."""
    check_version_folder(folder)
    file = folder / "saved_model.pb"
    try:
        with skip_tensorflow_init():
            from google.protobuf.message import DecodeError
            from tensorflow.core.protobuf import saved_model_pb2
    except StatusError as error:
        raise InputError(str(error)) from error
    try:
        saved = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    except DecodeError as error:
        raise InputError(f"{file}: is damaged or no SavedModel; export it again") from error
    if not saved.meta_graphs:
        raise InputError(f"{file}: holds no graph; it is damaged or cut off; export it again")
    return saved


def node_name(tensor: str) -> str:
    """Return the node of a tensor such as `while/exit:3` or a control input such as `^init`."""
    return tensor.removeprefix("^").partition(":")[0]


def tensor_names(info: Any) -> list[str]:
    """Return the tensors of one entry of a signature."""
    sparse = info.coo_sparse
    names = [sparse.values_tensor_name, sparse.indices_tensor_name, sparse.dense_shape_tensor_name]
    return [info.name, *names, *(part.name for part in info.composite_tensor.components)]


def _resources(nodes: Iterable[Node], ops: frozenset[str]) -> dict[Resource, Node]:
    resources: dict[Resource, Node] = {}
    for node in nodes:
        if node.proto.op in ops:
            attributes = node.proto.attr
            name = attributes["shared_name"].s.decode(errors="replace") or node.path
            container = attributes["container"].s.decode(errors="replace")
            resources.setdefault(Resource(node.proto.op, container, name), node)
    return resources


def _specs(infos: Any) -> dict[str, TensorSpec]:
    return {name: _spec(info) for name, info in sorted(infos.items())}


def _spec(info: Any) -> TensorSpec:
    shape = info.tensor_shape
    sizes = None if shape.unknown_rank else tuple(dimension.size for dimension in shape.dim)
    if info.WhichOneof("encoding") not in ("name", None):
        return TensorSpec(COMPOSITE, None)
    if info.dtype in DATA_TYPES:
        return TensorSpec(DATA_TYPES[info.dtype][0], sizes)
    types = info.DESCRIPTOR.fields_by_name["dtype"].enum_type.values_by_number
    name = types[info.dtype].name if info.dtype in types else f"type {info.dtype}"
    return TensorSpec(name.removeprefix("DT_").lower(), sizes)
