"""Check the graph of a SavedModel and its folder against the serving contract."""

import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keras_s2s.serving.inspection import Check
from keras_s2s.serving.op_libraries import RegisteredOps
from keras_s2s.serving.saved_model import TABLE_OPS, VARIABLE_OPS, SavedModel

# TensorFlow Text's ops by the first server version that links them. Servers 2.12 to 2.19 link
# TensorFlow Text 2.12.1.
TEXT_OPS = {
    "2.12": frozenset(
        """
        CaseFoldUTF8 ConstrainedSequence FastBertNormalize FastWordpieceTokenizeWithOffsets
        FindSourceOffsets MaxSpanningTree NormalizeUTF8 NormalizeUTF8WithOffsetsMap PhraseTokenize
        RegexSplitWithOffsets SentenceFragments SentenceFragmentsV2 SentencepieceDetokenizeOp
        SentencepieceIdToStringOp SentencepieceOp SentencepieceStringToIdOp SentencepieceTokenizeOp
        SentencepieceTokenizeWithOffsetsOp SentencepieceVocabSizeOp SplitMergeTokenizeWithOffsets
        TFText>BoiseTagsToOffsets TFText>ByteSplitByOffsets TFText>ByteSplitWithOffsets
        TFText>FastSentencepieceDetokenize TFText>FastSentencepieceTokenize
        TFText>FastWordpieceDetokenize TFText>NgramsStringJoin TFText>OffsetsToBoiseTags
        TFText>PhraseDetokenize TFText>WhitespaceTokenizeWithOffsetsV2 TokenizerFromLogits
        UnicodeScriptTokenizeWithOffsets WhitespaceTokenizeWithOffsets WordpieceTokenizeWithOffsets
        """.split()  # noqa: SIM905 (37 lines otherwise)
    ),
    "2.20": frozenset(
        {"TFText>RoundRobinGenerateMasks", "TFText>RoundRobinTrim", "TFText>Utf8Binarize"}
    ),
}

PYTHON_OPS = frozenset({"PyFunc", "PyFuncStateless", "EagerPyFunc"})
XLA_OP = re.compile(r"_?Xla[A-Z]")
MAX_WARMUP_REQUESTS = 1000

# TensorFlow's own saver writes this device into every SavedModel; every server has it.
_SAVER_DEVICE = re.compile(r"(/job:localhost/replica:0/task:0)?/device:CPU:(0|\*)")
_FILE_NAME = re.compile(r"(/[^/\n]+){2,}/?|[A-Za-z]:[\\/].+|[a-z][a-z0-9+]*://\S+")
_FILE_IN_NAME = re.compile(r"(?:^|_)(/[^/]+/.|[A-Za-z]:[\\/])")


def check_graph(model: SavedModel, core: RegisteredOps) -> list[Check]:
    """Check what stock TF Serving can load and run.

    Args:
        model: any SavedModel.
        core: the ops of TensorFlow itself.
    """
    return [
        _check_ops(model, core),
        _check_python(model),
        _check_cudnn(model),
        _check_xla(model),
        _check_devices(model),
        _check_initialized(model, "tables", TABLE_OPS, "a lookup fails or finds nothing"),
        _check_initialized(model, "variables", VARIABLE_OPS, "'Could not find variable'"),
    ]


def check_folder(model: SavedModel) -> list[Check]:
    """Check that the folder works for stock TF Serving wherever it is copied to."""
    return [
        _check_assets(model),
        _check_self_contained(model),
        _check_traces(model),
        _check_warmup(model),
    ]


def make_check(
    name: str, problems: Sequence[str], consequence: str, success: str, limit: int = 3
) -> Check:
    """Make a check that passes if there are no problems.

    Args:
        name: name of the check.
        problems: the defects.
        consequence: appended to the list of problems to form the reason.
        success: the reason if there are none.
        limit: maximum number of problems to list.
    """
    if problems:
        return Check(name, "failed", join_truncated(problems, limit) + consequence)
    return Check(name, "passed", success)


def join_truncated(names: Sequence[str], limit: int) -> str:
    """Join the first `limit` names and count the others."""
    suffix = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + suffix


def min_server_version(model: SavedModel) -> str | None:
    """Return the first server version with all TensorFlow Text ops of a model, if it has any."""
    ops = model.ops().keys()
    versions = [version for version, names in TEXT_OPS.items() if names & ops]
    return max(versions, default=None)  # all strings have the same length


def _check_ops(model: SavedModel, core: RegisteredOps) -> Check:
    version, minimum = core.tensorflow_version, min_server_version(model)
    unknown = model.ops().keys() - core.names - frozenset().union(*TEXT_OPS.values())
    success = f"only core ops of TensorFlow {version}"
    if minimum:
        success = f"core ops and TensorFlow Text's, which servers have from version {minimum}"
    return make_check(
        "ops",
        sorted(unknown),
        f": neither in TensorFlow {version} nor in the TensorFlow Text of a stock server, which "
        "answers 'Op type not registered'",
        success,
    )


def _check_python(model: SavedModel) -> Check:
    return make_check(
        "no Python",
        sorted(PYTHON_OPS & model.ops().keys()),
        ": a server has no Python; each request fails",
        "nothing calls back into Python",
    )


def _check_cudnn(model: SavedModel) -> Check:
    return make_check(
        "no cuDNN",
        sorted(name for name in model.ops() if name.startswith("Cudnn")),
        ": a server without a GPU cannot run it; export with use_cudnn=False",
        "no op requires a GPU",
    )


def _check_xla(model: SavedModel) -> Check:
    names = sorted(name for name in model.ops() if XLA_OP.match(name))
    names += sorted(name for name, function in model.functions.items() if _must_compile(function))
    names += sorted(
        node.path
        for node in model.nodes()
        if _must_compile(node.proto) and node.proto.attr["f"].func.name not in names
    )
    return make_check(
        "no XLA",
        names,
        ": compiled with XLA, which is off in a stock server; each call fails",
        "nothing is compiled with XLA",
    )


def _must_compile(proto: Any) -> bool:
    """Return whether a function, or a call of one, requires XLA."""
    return bool(proto.attr["_XlaMustCompile"].b)


def _check_devices(model: SavedModel) -> Check:
    saver_nodes = model.saver_nodes()
    devices: Counter[str] = Counter()
    for node in model.nodes():
        device = node.proto.device
        if device and not (node.path in saver_nodes and _SAVER_DEVICE.fullmatch(device)):
            devices[device] += 1
    return make_check(
        "no devices",
        [f"{device} ({count} nodes)" for device, count in sorted(devices.items())],
        ": a server without this device may refuse the model",
        "no op is pinned to a device",
    )


def _check_initialized(model: SavedModel, name: str, ops: frozenset[str], error: str) -> Check:
    """Check that loading initializes the variables or tables that signatures use."""
    used = model.used_resources(ops)
    if not used:
        return Check(name, "not applicable", "no signature uses any")
    initialized = model.initialized_resources(ops)
    return make_check(
        name,
        sorted(resource.name for resource in used if resource not in initialized),
        f": not initialized when a server loads the model; then {error}",
        f"loading initializes all {len(used)}",
    )


def _check_assets(model: SavedModel) -> Check:
    assets = model.assets()
    if not assets:
        return Check("assets", "not applicable", "the graph reads no file")
    problems = []
    for name, path in assets.items():
        if os.path.isabs(name) or ".." in Path(name).parts:
            problems.append(f"{name} is not in assets/")
        elif not path.is_file():
            problems.append(f"{name} is missing")
    return make_check(
        "assets", problems, ": a server cannot load the model", "all files are in assets/"
    )


def _check_self_contained(model: SavedModel) -> Check:
    """Check that nothing refers to files outside the version folder."""
    problems = []
    root = model.folder.resolve()
    for path in sorted(model.folder.rglob("*")):
        if path.is_symlink() and (
            os.path.isabs(os.readlink(path)) or root not in path.resolve().parents
        ):
            problems.append(f"{path.relative_to(model.folder)} links to {os.readlink(path)}")
    for node in model.nodes():
        # A server replaces the recorded paths of assets when it loads the model.
        if node.proto.op != "Const" or node.path in model.asset_nodes:
            continue
        texts = [
            text.decode(errors="replace") for text in node.proto.attr["value"].tensor.string_val
        ]
        if len(texts) == 1 and _FILE_NAME.fullmatch(texts[0]):
            problems.append(f"constant {node.path} is the file name {texts[0]}")
    return make_check(
        "self-contained",
        problems,
        ": does not exist on a server",
        "the folder can be copied to any server",
    )


def _check_traces(model: SavedModel) -> Check:
    """Check for local paths: TensorFlow names a table after the file it was made from."""
    names = sorted(
        node.proto.attr["shared_name"].s.decode(errors="replace")
        for node in model.nodes()
        if node.proto.op in TABLE_OPS and not node.function
    )
    return make_check(
        "traces",
        [f"table {name}" for name in names if _FILE_IN_NAME.search(name)],
        ": a server runs it, but the name discloses a path of the exporting machine",
        "no name discloses a path of the exporting machine",
    )


def _check_warmup(model: SavedModel) -> Check:
    warmup = model.warmup_requests()
    if warmup is None:
        return Check("warm-up", "not applicable", "no warm-up requests; the first request is slow")
    problems = []
    if not warmup.is_complete:
        problems.append(f"the file is cut off after {warmup.num_requests} requests")
    if warmup.num_requests > MAX_WARMUP_REQUESTS:
        problems.append(f"{warmup.num_requests} requests are more than {MAX_WARMUP_REQUESTS}")
    return make_check(
        "warm-up",
        problems,
        ": a server does not load the version",
        f"a server runs {warmup.num_requests} requests when it loads the model",
    )
