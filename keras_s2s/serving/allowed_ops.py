"""Decide whether a SavedModel may run: only ops of a list, which neither write nor read files.

A SavedModel is a program. Ops such as `WriteFile`, `PrintV2` or `SaveV2` write any file, and
loading alone may run them. Nothing here runs the model or needs TensorFlow's libraries.
"""

import os
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from keras_s2s.serving.graph_checks import TEXT_OPS, join_truncated, make_check
from keras_s2s.serving.inspection import Check
from keras_s2s.serving.saved_model import Node, SavedModel, node_name, tensor_names
from keras_s2s.utils.errors import InputError, printable

# Pure ops, variables and tables: mathematics, arrays, neural networks, text, lists and arrays of
# tensors, control flow, random numbers, variables and tables, ragged and sparse tensors; no
# files, devices, networks, Python, processes, queues and data sets.
_CORE_OPS = """
    Abs AccumulateNV2 Acos Acosh Add AddN AddV2 All Angle Any ApproximateEqual ArgMax ArgMin
    Asin Asinh Atan Atan2 Atanh BandedTriangularSolve BatchMatMul BatchMatMulV2 BatchMatMulV3
    Betainc Bincount BitwiseAnd BitwiseOr BitwiseXor Bucketize Cast Ceil Cholesky CholeskyGrad
    ClipByValue Complex ComplexAbs Conj Cos Cosh Cross Cumprod Cumsum CumulativeLogsumexp Dawsn
    DenseBincount Digamma Div DivNoNan Eig Einsum Equal Erf Erfc Erfinv EuclideanNorm Exp Expint
    Expm1 Floor FloorDiv FloorMod FresnelCos FresnelSin Greater GreaterEqual Igamma IgammaGradA
    Igammac Imag Inv InvGrad Invert IsFinite IsInf IsNan LeftShift Less LessEqual Lgamma
    LinSpace Log Log1p LogMatrixDeterminant LogicalAnd LogicalNot LogicalOr Lu MatMul
    MatrixDeterminant MatrixExponential MatrixInverse MatrixLogarithm MatrixSolve MatrixSolveLs
    MatrixSquareRoot MatrixTriangularSolve Max Maximum Mean Min Minimum Mod Mul MulNoNan Ndtri
    Neg NextAfter NotEqual Polygamma PopulationCount Pow Prod Qr RaggedBincount Range Real
    RealDiv Reciprocal ReciprocalGrad RightShift Rint Round Rsqrt RsqrtGrad SegmentMax
    SegmentMaxV2 SegmentMean SegmentMin SegmentMinV2 SegmentProd SegmentProdV2 SegmentSum
    SegmentSumV2 Select SelectV2 SelfAdjointEig SelfAdjointEigV2 Sigmoid SigmoidGrad Sign Sin
    Sinh SparseBincount SparseSegmentMean SparseSegmentMeanGrad SparseSegmentMeanGradV2
    SparseSegmentMeanWithNumSegments SparseSegmentSqrtN SparseSegmentSqrtNGrad
    SparseSegmentSqrtNGradV2 SparseSegmentSqrtNWithNumSegments SparseSegmentSum
    SparseSegmentSumGrad SparseSegmentSumGradV2 SparseSegmentSumWithNumSegments Spence Sqrt
    SqrtGrad Square SquaredDifference Sub Sum Svd Tan Tanh TanhGrad TridiagonalMatMul
    TridiagonalSolve TruncateDiv TruncateMod UnsortedSegmentMax UnsortedSegmentMin
    UnsortedSegmentProd UnsortedSegmentSum Xdivy Xlog1py Xlogy Zeta
    BatchToSpace BatchToSpaceND Bitcast BroadcastArgs BroadcastGradientArgs BroadcastTo
    CheckNumerics Concat ConcatOffset ConcatV2 ConjugateTranspose Const DenseToDenseSetOperation
    DenseToSparseSetOperation Dequantize Diag DiagPart EditDistance Empty EnsureShape ExpandDims
    Fill Fingerprint Gather GatherNd GatherV2 GuaranteeConst Identity IdentityN
    InvertPermutation ListDiff LowerBound MatrixBandPart MatrixDiag MatrixDiagPart
    MatrixDiagPartV2 MatrixDiagPartV3 MatrixDiagV2 MatrixDiagV3 MatrixSetDiag MatrixSetDiagV2
    MatrixSetDiagV3 MirrorPad MirrorPadGrad OneHot OnesLike Pack Pad PadV2 Placeholder
    PlaceholderV2 PlaceholderWithDefault PreventGradient Rank Reshape Reverse ReverseSequence
    ReverseV2 Roll ScatterNd ScatterNdNonAliasingAdd SetSize Shape ShapeN Size Slice
    SpaceToBatch SpaceToBatchND SparseToSparseSetOperation Split SplitV Squeeze StopGradient
    StridedSlice StridedSliceGrad TensorScatterAdd TensorScatterMax TensorScatterMin
    TensorScatterSub TensorScatterUpdate TensorStridedSliceUpdate Tile TileGrad Transpose Unique
    UniqueV2 UniqueWithCounts UniqueWithCountsV2 Unpack UnravelIndex UpperBound Where ZerosLike
    BiasAdd BiasAddGrad BiasAddV1 BlockLSTM BlockLSTMGrad BlockLSTMGradV2 BlockLSTMV2 Elu
    EluGrad GRUBlockCell GRUBlockCellGrad InTopK InTopKV2 L2Loss LSTMBlockCell LSTMBlockCellGrad
    LeakyRelu LeakyReluGrad LogSoftmax NthElement Relu Relu6 Relu6Grad ReluGrad Selu SeluGrad
    Softmax SoftmaxCrossEntropyWithLogits Softplus SoftplusGrad Softsign SoftsignGrad
    SparseSoftmaxCrossEntropyWithLogits TopK TopKV2
    AsString DecodeBase64 EncodeBase64 ReduceJoin RegexFullMatch RegexReplace
    StaticRegexFullMatch StaticRegexReplace StringFormat StringJoin StringLength StringLower
    StringNGrams StringSplit StringSplitV2 StringStrip StringToHashBucket StringToHashBucketFast
    StringToHashBucketStrong StringUpper Substr UnicodeDecode UnicodeDecodeWithOffsets
    UnicodeEncode UnicodeScript UnicodeTranscode UnsortedSegmentJoin
    DynamicPartition DynamicStitch EmptyTensorList ParallelDynamicStitch TensorArrayCloseV3
    TensorArrayConcatV3 TensorArrayGatherV3 TensorArrayGradV3 TensorArrayGradWithShape
    TensorArrayReadV3 TensorArrayScatterV3 TensorArraySizeV3 TensorArraySplitV3 TensorArrayV3
    TensorArrayWriteV3 TensorListConcat TensorListConcatLists TensorListConcatV2
    TensorListElementShape TensorListFromTensor TensorListGather TensorListGetItem
    TensorListLength TensorListPopBack TensorListPushBack TensorListPushBackBatch
    TensorListReserve TensorListResize TensorListScatter TensorListScatterIntoExistingList
    TensorListScatterV2 TensorListSetItem TensorListSplit TensorListStack
    Assert Case ControlTrigger DeviceIndex Enter Exit FakeParam For If LoopCond Merge
    NextIteration NoOp PartitionedCall StatefulPartitionedCall StatelessCase StatelessIf
    StatelessWhile Switch ToBool While
    Multinomial NonDeterministicInts ParameterizedTruncatedNormal RandomGamma RandomGammaGrad
    RandomPoisson RandomPoissonV2 RandomShuffle RandomStandardNormal RandomUniform
    RandomUniformInt RngReadAndSkip RngSkip StatefulStandardNormalV2 StatefulTruncatedNormal
    StatefulUniform StatefulUniformFullInt StatefulUniformInt StatelessMultinomial
    StatelessParameterizedTruncatedNormal StatelessRandomBinomial StatelessRandomGammaV2
    StatelessRandomGetAlg StatelessRandomGetKeyCounter StatelessRandomGetKeyCounterAlg
    StatelessRandomNormal StatelessRandomNormalV2 StatelessRandomPoisson StatelessRandomUniform
    StatelessRandomUniformFullInt StatelessRandomUniformFullIntV2 StatelessRandomUniformInt
    StatelessRandomUniformIntV2 StatelessRandomUniformV2 StatelessShuffle
    StatelessTruncatedNormal StatelessTruncatedNormalV2 TruncatedNormal
    Assign AssignAdd AssignAddVariableOp AssignSub AssignSubVariableOp AssignVariableOp
    DisableCopyOnRead HashTable HashTableV2 InitializeTableFromTextFileV2 InitializeTableV2
    LookupTableExportV2 LookupTableFindV2 LookupTableImportV2 LookupTableInsertV2
    LookupTableRemoveV2 LookupTableSizeV2 MutableDenseHashTableV2 MutableHashTableOfTensorsV2
    MutableHashTableV2 ReadVariableOp ResourceGather ResourceGatherNd ResourceScatterAdd
    ResourceScatterDiv ResourceScatterMax ResourceScatterMin ResourceScatterMul
    ResourceScatterSub ResourceScatterUpdate VarHandleOp VarIsInitializedOp Variable
    VariableShape VariableV2
    RaggedCross RaggedFillEmptyRows RaggedFillEmptyRowsGrad RaggedGather RaggedRange
    RaggedTensorFromVariant RaggedTensorToSparse RaggedTensorToTensor RaggedTensorToVariant
    RaggedTensorToVariantGradient SparseAdd SparseAddGrad SparseConcat SparseCross
    SparseCrossHashed SparseCrossV2 SparseDenseCwiseAdd SparseDenseCwiseDiv SparseDenseCwiseMul
    SparseFillEmptyRows SparseFillEmptyRowsGrad SparseReduceMax SparseReduceMaxSparse
    SparseReduceSum SparseReduceSumSparse SparseReorder SparseReshape SparseSlice
    SparseSliceGrad SparseSoftmax SparseSparseMaximum SparseSparseMinimum SparseSplit
    SparseTensorDenseAdd SparseTensorDenseMatMul SparseToDense
"""
# Ops that TensorFlow's own saver writes into every SavedModel.
_SAVE_OPS = frozenset({"SaveV2", "MergeV2Checkpoints", "ShardedFilename"})
_RESTORE_OP = "RestoreV2"
ALLOWED_OPS = frozenset(_CORE_OPS.split()).union(*TEXT_OPS.values())

# The input that names a file, by op. A variable of strings holds the name of an asset.
_FILE_INPUTS = {
    "InitializeTableFromTextFile": 1,
    "InitializeTableFromTextFileV2": 1,
    "AssignVariableOp": 1,
    _RESTORE_OP: 0,
}
_DT_STRING = 7
_CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
# Names of functions differ from these, unless they are to be taken for an op.
_OP_NAME = re.compile(r"_?[A-Z]|.*>")


def require_safe(folder: str | os.PathLike[str]) -> SavedModel:
    """Read a SavedModel and raise an `InputError` unless it may run without being trusted.

    Args:
        folder: the version folder, with `saved_model.pb` in it.

    Raises:
        InputError: there is no SavedModel, it is damaged, or `unsafe_parts` finds something.
    """
    model = SavedModel(folder)
    if problems := unsafe_parts(model):
        raise InputError(
            f"{model.folder}: not run, since a SavedModel is a program and this one holds "
            f"{join_truncated(problems, 3)}; if you trust its origin, run it with --trust "
            "(trust=True in Python)"
        )
    return model


def check_safety(problems: list[str], trust: bool) -> Check:
    """Return the check that a model may run, given its `unsafe_parts`."""
    if trust and problems:
        return Check("safety", "not applicable", f"trusted; holds {join_truncated(problems, 3)}")
    return make_check(
        "safety",
        problems,
        ": could read or write files when it runs",
        "only ops that neither read nor write files, apart from the model's own",
    )


def unsafe_parts(model: SavedModel) -> list[str]:
    """Return what a SavedModel holds that no export of this package needs and might do harm.

    Args:
        model: any SavedModel.

    Returns:
        Descriptions, in order, without duplicates; empty if the model may run.

    Example:

    ```python
    unsafe_parts(SavedModel("downloaded/1"))  # ["op WriteFile in node save/write"]
    ```
    """
    problems = (
        *_ambiguities(model),
        *_forbidden_ops(model),
        *_reached_savers(model),
        *_foreign_files(model),
    )
    return list(dict.fromkeys(printable(problem) for problem in problems))


def _ambiguities(model: SavedModel) -> Iterator[str]:
    """Yield what could make a runtime read another graph than the one that was checked."""
    if len(model.tags) > 1:
        yield f"{len(model.tags)} graphs"
    # WORKAROUND(tensorflow<=2.21): loaded in place of saved_model.pb.
    if (model.folder / "saved_model.cpb").exists():
        yield "saved_model.cpb beside saved_model.pb"
    graph = model.meta_graph.graph_def
    for kind, names in (
        ("node", [node.name for node in graph.node]),
        ("function", [function.signature.name for function in graph.library.function]),
    ):
        if len(names) > len(set(names)):
            yield f"two {kind}s of the same name"


def _forbidden_ops(model: SavedModel) -> Iterator[str]:
    for node in model.nodes():
        names = []
        if node.proto.op not in model.functions or _OP_NAME.match(node.proto.op):
            names.append(node.proto.op)
        for value in node.proto.attr.values():
            if value.placeholder:
                yield f"an attribute {value.placeholder} without a value in node {node.path}"
            functions = (value.func.name, *(function.name for function in value.list.func))
            names += [name for name in functions if name and name not in model.functions]
        for name in names:
            if name not in ALLOWED_OPS and name not in _SAVE_OPS and name != _RESTORE_OP:
                yield f"op {name}"


def _reached_savers(model: SavedModel) -> Iterator[str]:
    """Yield ops of the saver that run elsewhere than in saving or restoring the variables."""
    meta = model.meta_graph
    tensors = [
        tensor
        for signature in meta.signature_def.values()
        for info in signature.outputs.values()
        for tensor in tensor_names(info)
    ]
    tensors += model.init_ops()
    functions = _loaded_functions(model)
    for node in model.ancestors(tensors, functions):
        if node.proto.op in _SAVE_OPS or node.proto.op == _RESTORE_OP:
            yield f"op {node.proto.op} outside of the saver"
    for node in model.ancestors([meta.saver_def.restore_op_name]):
        if node.proto.op in _SAVE_OPS:
            yield f"op {node.proto.op} where variables are restored"


def _loaded_functions(model: SavedModel) -> set[str]:
    """Return the functions that a loader calls by name, whatever the nodes of the graph call."""
    library = model.meta_graph.graph_def.library
    objects = model.meta_graph.object_graph_def
    names = set(objects.concrete_functions)
    for node in objects.nodes:
        names.add(node.bare_concrete_function.concrete_function_name)
        names.update(node.function.concrete_functions)
    names.update(gradient.gradient_func for gradient in library.gradient)
    names.update(gradient.gradient_func for gradient in library.registered_gradients)
    # TensorFlow may replace a call by another function that implements the same interface.
    names.update(name for name, proto in model.functions.items() if "api_implements" in proto.attr)
    return names & model.functions.keys()


class _FileInput(NamedTuple):
    """An input that must be the name of a file of the SavedModel."""

    node: Node
    position: int
    restores: bool


def _foreign_files(model: SavedModel) -> Iterator[str]:
    """Yield names of files that are no assets, nor those of the variables."""
    for name in model.assets():
        if os.path.isabs(name) or ".." in Path(name).parts:
            yield f"the asset name {name}"
    for signature in model.signature_protos.values():
        for info in signature.inputs.values():
            if _is_file_name(model, node_name(info.name)):
                yield f"the file name {info.name} as the input of a signature"
    loaded = _loaded_functions(model)
    pending = [
        _FileInput(node, _FILE_INPUTS[node.proto.op], node.proto.op == _RESTORE_OP)
        for node in model.nodes()
        if node.proto.op in _FILE_INPUTS
        and (node.proto.op != "AssignVariableOp" or node.proto.attr["dtype"].type == _DT_STRING)
    ]
    callers = defaultdict(list)
    for node in model.nodes() if pending else ():
        for function in set(model.called_functions(node.proto)):
            callers[function].append(node)
    arguments: set[tuple[str, int, bool]] = set()
    while pending:
        node, index, restores = pending.pop()
        argument = _origin(model, node, index, restores)
        if argument is None:
            yield f"a file name that is no asset, read by {node.proto.op} in node {node.path}"
        elif argument >= 0 and (key := (node.function, argument, restores)) not in arguments:
            arguments.add(key)
            calls = callers[node.function]
            pending += [_FileInput(call, argument, restores) for call in calls]
            if not all(call.proto.op in (*_CALLS, node.function) for call in calls) or (
                node.function in loaded and not _is_bound_to_asset(model, node.function, argument)
            ):
                yield f"a file name that is no asset, given to function {node.function}"


def _origin(model: SavedModel, node: Node, index: int, restores: bool) -> int | None:
    """Find where a file name comes from.

    Returns:
        -1 for a file of the SavedModel, the index of an argument of the enclosing function, None
        for all else.
    """
    arguments: list[str] = []
    nodes = model.graph_nodes
    if node.function:
        function = model.functions[node.function]
        arguments = [argument.name for argument in function.signature.input_arg]
        nodes = {inner.name: inner for inner in function.node_def}
    proto = node.proto
    for _ in range(len(nodes) + 1):
        inputs = [name for name in proto.input if not name.startswith("^")]
        if index >= len(inputs):
            return None
        tensor, index = inputs[index], 0
        if tensor in arguments:
            return arguments.index(tensor)
        name = node_name(tensor)
        if not node.function and _is_file_name(model, name, restores):
            return -1
        if name not in nodes:
            return None
        proto = nodes[name]
        if proto.op == "ReadVariableOp" and not node.function and not restores:
            variable = nodes.get(node_name(proto.input[0])) if proto.input else None
            is_variable = variable is not None and variable.op == "VarHandleOp"
            return -1 if is_variable and proto.attr["dtype"].type == _DT_STRING else None
        if proto.op != "Identity":
            return None
    return None  # a cycle


def _is_file_name(model: SavedModel, name: str, restores: bool | None = None) -> bool:
    """Return whether a loader feeds the name of a file into a node of the graph."""
    if restores is not False and name == node_name(model.meta_graph.saver_def.filename_tensor_name):
        return True
    is_asset = name in model.asset_nodes and name in model.graph_nodes
    return not restores and is_asset and model.graph_nodes[name].op == "Placeholder"


def _is_bound_to_asset(model: SavedModel, function: str, argument: int) -> bool:
    """Return whether Python's loader binds an asset to an argument of a function."""
    objects = model.meta_graph.object_graph_def
    bound = objects.concrete_functions[function].bound_inputs
    index = argument - len(model.functions[function].signature.input_arg) + len(bound)
    if not 0 <= index < len(bound) or not 0 <= bound[index] < len(objects.nodes):
        return False
    return objects.nodes[bound[index]].HasField("asset")
