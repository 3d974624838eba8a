"""What is written in a SavedModel, read without TensorFlow and without running any of it."""

import os
import struct
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from keras_s2s.serving.session import Signature, TensorSpec
from keras_s2s.serving.session_worker import DATA_TYPES, Failure, protocol_buffers
from keras_s2s.utils.errors import InputError

COMPOSITE = "composite"  # in place of a data type: a sparse or ragged tensor
VARIABLE_OPS = frozenset({"VarHandleOp", "VariableV2", "Variable"})
TABLE_OPS = frozenset(
    f"{kind}{version}"
    for kind in (
        "HashTable",
        "MutableHashTable",
        "MutableHashTableOfTensors",
        "MutableDenseHashTable",
    )
    for version in ("", "V2")
)
# What gives a variable or a table its content; the first input says which.
_FILLING_OPS = frozenset(
    f"{kind}{version}"
    for kind in (
        "Assign",
        "AssignVariableOp",
        "InitializeTable",
        "InitializeTableFromTextFile",
        "LookupTableImport",
        "LookupTableInsert",
    )
    for version in ("", "V2")
)
WARMUP_FILE = Path("assets.extra", "tf_serving_warmup_requests")


class Node(NamedTuple):
    """A node of the graph.

    Attributes:
        function: name of the function it is in; empty for the graph itself.
        proto: its `NodeDef`.
    """

    function: str
    proto: Any

    @property
    def where(self) -> str:
        """Its name, with that of the function."""
        return f"{self.function}/{self.proto.name}" if self.function else self.proto.name


class Resource(NamedTuple):
    """A variable or a table, which two nodes with the same name and container share."""

    op: str
    container: str
    name: str


class WarmUp(NamedTuple):
    """The warm-up requests, and whether the file is whole."""

    requests: int
    whole: bool


class SavedModel:
    """The graph of a SavedModel and what lies around it in its folder.

    When it has several graphs, this is the one that a server takes, or else the first.

    Args:
        folder: the one with `saved_model.pb` in it.

    Attributes:
        folder: a `pathlib.Path`.
        tags: those of each graph.
        meta_graph: the `MetaGraphDef`.
        signatures: a `Signature` by name.
        signature_protos: a `SignatureDef` by name.
        functions: a `FunctionDef` by name.
        asset_nodes: the nodes that get the places of assets.

    Raises:
        InputError: there is no such file, or it is damaged.

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
        chosen = self.tags.index(["serve"]) if ["serve"] in self.tags else 0
        self.meta_graph = graphs[chosen]
        # The init op is written down among the signatures too, as others for the restoring.
        self.signature_protos = {
            name: signature
            for name, signature in sorted(self.meta_graph.signature_def.items())
            if not name.startswith("__saved_model")
        }
        self.signatures = {
            name: Signature(_specs(signature.inputs), _specs(signature.outputs))
            for name, signature in self.signature_protos.items()
        }
        graph = self.meta_graph.graph_def
        self.functions = {function.signature.name: function for function in graph.library.function}
        self.asset_nodes = {
            _node_name(asset.tensor_info.name) for asset in self.meta_graph.asset_file_def
        }
        self._nodes = {node.name: node for node in graph.node}

    def nodes(self) -> Iterator[Node]:
        """All nodes, in the graph and in its functions."""
        for node in self._nodes.values():
            yield Node("", node)
        for name, function in self.functions.items():
            for node in function.node_def:
                yield Node(name, node)

    def ops(self) -> Counter[str]:
        """How often each op occurs. Calls of a function by its name are none."""
        names = (node.proto.op for node in self.nodes())
        return Counter(name for name in names if name not in self.functions)

    def nodes_behind(self, tensors: Iterable[str]) -> Iterator[Node]:
        """The nodes that a session may run to compute some tensors, in called functions too."""
        waiting = [
            Node("", self._nodes[name]) for name in map(_node_name, tensors) if name in self._nodes
        ]
        seen = {node.where for node in waiting}
        while waiting:
            node = waiting.pop()
            yield node
            inputs = map(_node_name, node.proto.input) if not node.function else ()
            found = [Node("", self._nodes[name]) for name in inputs if name in self._nodes]
            for called in self._called(node.proto):
                # Of a function all is taken, whatever part of its results is used.
                if called not in seen:
                    seen.add(called)
                    found += [Node(called, inner) for inner in self.functions[called].node_def]
            for other in found:
                if other.where not in seen:
                    seen.add(other.where)
                    waiting.append(other)

    def _called(self, node: Any) -> Iterator[str]:
        """The functions that a node calls."""
        names = [node.op]
        for value in node.attr.values():
            names += [value.func.name, *(function.name for function in value.list.func)]
        return (name for name in names if name in self.functions)

    def used(self, ops: frozenset[str]) -> dict[Resource, Node]:
        """The variables or tables that the signatures need, each with a node that makes it."""
        outputs = (
            tensor
            for signature in self.signature_protos.values()
            for info in signature.outputs.values()
            for tensor in _tensors(info)
        )
        return _resources(self.nodes_behind(outputs), ops)

    def restored(self, ops: frozenset[str]) -> dict[Resource, Node]:
        """Those that a server fills from the files in `variables/`."""
        return _resources(self.nodes_behind([self.meta_graph.saver_def.restore_op_name]), ops)

    def filled(self, ops: frozenset[str]) -> dict[Resource, Node]:
        """Those that get their content while a server loads the model, or where they are used."""
        filled = self.restored(ops) | _resources(self.nodes_behind(self._init_ops()), ops)
        for node in self.nodes():
            if node.function and node.proto.op in _FILLING_OPS:
                target = _node_name(node.proto.input[0])
                body = self.functions[node.function].node_def
                own = (Node(node.function, inner) for inner in body if inner.name == target)
                filled |= _resources(own, ops)
        return filled

    def _init_ops(self) -> list[str]:
        """The names under which TensorFlow 2, and 1 before it, keep the op run after loading."""
        graph = self.meta_graph
        names = [
            info.name for info in graph.signature_def["__saved_model_init_op"].outputs.values()
        ]
        for key in ("saved_model_main_op", "legacy_init_op"):
            names += graph.collection_def[key].node_list.value
        return names

    def saver_nodes(self) -> set[str]:
        """Where the nodes are that save or restore variables."""
        saver = self.meta_graph.saver_def
        own = self.nodes_behind([saver.save_tensor_name, saver.restore_op_name])
        return {node.where for node in own}

    def assets(self) -> dict[str, Path]:
        """The files that the graph reads while it is loaded, by the name written down."""
        names = sorted({asset.filename for asset in self.meta_graph.asset_file_def})
        return {name: self.folder / "assets" / name for name in names}

    def files(self) -> list[Path]:
        """All files in the folder and those in it."""
        return sorted(
            Path(parent) / name for parent, _, names in os.walk(self.folder) for name in names
        )

    def warmup(self) -> WarmUp | None:
        """The requests that a server will run before it answers any; None without such a file."""
        file = self.folder / WARMUP_FILE
        if not file.is_file():
            return None
        count, position, size = 0, 0, file.stat().st_size
        with file.open("rb") as records:
            # A record is its length, a checksum of that, itself and a checksum of it.
            while len(header := records.read(12)) == 12:
                position += 16 + struct.unpack("<Q", header[:8])[0]
                if position > size:
                    break
                records.seek(position)
                count += 1
        return WarmUp(count, whole=position == size)


def elements(node: Node) -> int:
    """The number of elements of a variable; 0 when the graph does not know."""
    shape, count = node.proto.attr["shape"].shape, 1
    for dimension in shape.dim:
        count *= max(dimension.size, 0)
    return 0 if shape.unknown_rank else count


def check_version_folder(folder: Path) -> None:
    """Makes sure that a folder is the one of a version.

    Raises:
        InputError: it is not; the message names the one that may be meant.
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
    """The content of `saved_model.pb`."""
    check_version_folder(folder)
    file = folder / "saved_model.pb"
    try:
        with protocol_buffers():
            from google.protobuf.message import DecodeError
            from tensorflow.core.protobuf import saved_model_pb2
    except Failure as failure:
        raise InputError(str(failure)) from failure
    try:
        saved = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    except DecodeError as error:
        raise InputError(f"{file}: is damaged or no SavedModel; export it again") from error
    if not saved.meta_graphs:
        raise InputError(f"{file}: holds no graph; it is damaged or cut off; export it again")
    return saved


def _node_name(tensor: str) -> str:
    """The node of a tensor, as in `while/exit:3`, or of a control input, as in `^init`."""
    return tensor.removeprefix("^").partition(":")[0]


def _tensors(info: Any) -> list[str]:
    """The tensors behind one entry of a signature."""
    sparse = info.coo_sparse
    names = [sparse.values_tensor_name, sparse.indices_tensor_name, sparse.dense_shape_tensor_name]
    return [info.name, *names, *(part.name for part in info.composite_tensor.components)]


def _resources(nodes: Iterable[Node], ops: frozenset[str]) -> dict[Resource, Node]:
    found: dict[Resource, Node] = {}
    for node in nodes:
        if node.proto.op in ops:
            attributes = node.proto.attr
            name = attributes["shared_name"].s.decode(errors="replace") or node.where
            container = attributes["container"].s.decode(errors="replace")
            found.setdefault(Resource(node.proto.op, container, name), node)
    return found


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
