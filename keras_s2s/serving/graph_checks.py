"""Demands of the serving contract on the graph of a SavedModel and on its folder."""

import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keras_s2s.serving.inspection import Check
from keras_s2s.serving.saved_model import TABLE_OPS, VARIABLE_OPS, SavedModel
from keras_s2s.serving.session import RegisteredOps

# TensorFlow Text's ops by the first server that has them. Servers 2.12 to 2.19 link its 2.12.1.
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

# What TensorFlow's own saver writes into every SavedModel; every server has it.
_SAVER_DEVICE = re.compile(r"(/job:localhost/replica:0/task:0)?/device:CPU:(0|\*)")
_FILE_NAME = re.compile(r"(/[^/\n]+){2,}/?|[A-Za-z]:[\\/].+|[a-z][a-z0-9+]*://\S+")
_FILE_IN_NAME = re.compile(r"(?:^|_)(/[^/]+/.|[A-Za-z]:[\\/])")


def check_graph(model: SavedModel, core: RegisteredOps) -> list[Check]:
    """Holds the graph to what a stock TF Serving can load and run.

    Args:
        model: any SavedModel.
        core: the ops that TensorFlow itself has.

    Returns:
        A `Check` for each demand.
    """
    return [
        _check_ops(model, core),
        _check_python(model),
        _check_cudnn(model),
        _check_xla(model),
        _check_devices(model),
        _check_filled(model, "tables", TABLE_OPS, "a lookup fails, or finds nothing"),
        _check_filled(model, "variables", VARIABLE_OPS, "'Could not find variable'"),
    ]


def check_folder(model: SavedModel) -> list[Check]:
    """Holds the folder to what a stock TF Serving finds there, wherever it is copied to."""
    return [
        _check_assets(model),
        _check_self_contained(model),
        _check_traces(model),
        _check_warmup(model),
    ]


def verdict(name: str, found: Sequence[str], consequence: str, fine: str, limit: int = 3) -> Check:
    """A check that passes when nothing was found.

    Args:
        name: of the check.
        found: what is wrong.
        consequence: how a sentence that begins with what was found goes on.
        fine: the reason when nothing was.
        limit: how much of what was found is told.
    """
    if found:
        return Check(name, "failed", listed(found, limit) + consequence)
    return Check(name, "passed", fine)


def listed(names: Sequence[str], limit: int) -> str:
    """The first few of many names."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def minimum_server(model: SavedModel) -> str | None:
    """The version of the first server with all TensorFlow Text ops of a model, if it has any."""
    ops = model.ops().keys()
    versions = [version for version, names in TEXT_OPS.items() if names & ops]
    return max(versions, default=None)  # the strings are of one length


def _check_ops(model: SavedModel, core: RegisteredOps) -> Check:
    version, minimum = core.tensorflow_version, minimum_server(model)
    unknown = model.ops().keys() - core.names - frozenset().union(*TEXT_OPS.values())
    fine = f"core ops alone, as of TensorFlow {version}"
    if minimum:
        fine = f"core ops and TensorFlow Text's, which a server has from version {minimum} on"
    return verdict(
        "ops",
        sorted(unknown),
        f": neither in TensorFlow {version} nor in the TensorFlow Text of a stock server, which "
        "answers 'Op type not registered'",
        fine,
    )


def _check_python(model: SavedModel) -> Check:
    return verdict(
        "no Python",
        sorted(PYTHON_OPS & model.ops().keys()),
        ": a server has no Python to call; each request fails",
        "nothing calls back into Python",
    )


def _check_cudnn(model: SavedModel) -> Check:
    return verdict(
        "no cuDNN",
        sorted(name for name in model.ops() if name.startswith("Cudnn")),
        ": a server without a GPU cannot run it; export with use_cudnn=False",
        "no op is for GPUs only",
    )


def _check_xla(model: SavedModel) -> Check:
    found = sorted(name for name in model.ops() if XLA_OP.match(name))
    found += sorted(name for name, function in model.functions.items() if _compiled(function))
    found += sorted(
        node.where
        for node in model.nodes()
        if _compiled(node.proto) and node.proto.attr["f"].func.name not in found
    )
    return verdict(
        "no XLA",
        found,
        ": compiled, and a stock server has XLA off; each call fails",
        "nothing is compiled with XLA",
    )


def _compiled(proto: Any) -> bool:
    """Whether a function, or a call of one, is to be compiled."""
    return bool(proto.attr["_XlaMustCompile"].b)


def _check_devices(model: SavedModel) -> Check:
    own = model.saver_nodes()
    found: Counter[str] = Counter()
    for node in model.nodes():
        device = node.proto.device
        if device and not (node.where in own and _SAVER_DEVICE.fullmatch(device)):
            found[device] += 1
    return verdict(
        "no devices",
        [f"{device} ({count} nodes)" for device, count in sorted(found.items())],
        ": a server with other devices may refuse, and does not use them for it",
        "a server places every op as it likes",
    )


def _check_filled(model: SavedModel, name: str, ops: frozenset[str], error: str) -> Check:
    """The variables or tables that signatures use must get their content while a server loads."""
    used = model.used(ops)
    if not used:
        return Check(name, "not applicable", "no signature uses any")
    filled = model.filled(ops)
    return verdict(
        name,
        sorted(resource.name for resource in used if resource not in filled),
        f": not filled while a server loads; then {error}",
        f"a server fills all {len(used)} while it loads",
    )


def _check_assets(model: SavedModel) -> Check:
    assets = model.assets()
    if not assets:
        return Check("assets", "not applicable", "the graph reads no file")
    wrong = []
    for name, path in assets.items():
        if os.path.isabs(name) or ".." in Path(name).parts:
            wrong.append(f"{name} is not in assets/")
        elif not path.is_file():
            wrong.append(f"{name} is missing")
    return verdict(
        "assets",
        wrong,
        ": a server cannot load the model",
        "a server finds them in assets/, wherever the folder is",
    )


def _check_self_contained(model: SavedModel) -> Check:
    """Nothing may lead out of the version folder, which is copied from machine to machine."""
    found = []
    home = model.folder.resolve()
    for path in sorted(model.folder.rglob("*")):
        if path.is_symlink() and (
            os.path.isabs(os.readlink(path)) or home not in path.resolve().parents
        ):
            found.append(f"{path.relative_to(model.folder)} links to {os.readlink(path)}")
    for node in model.nodes():
        # A server puts the place of an asset where the graph has that of long ago.
        if node.proto.op != "Const" or node.where in model.asset_nodes:
            continue
        texts = [
            text.decode(errors="replace") for text in node.proto.attr["value"].tensor.string_val
        ]
        if len(texts) == 1 and _FILE_NAME.fullmatch(texts[0]):
            found.append(f"constant {node.where} is the file name {texts[0]}")
    return verdict(
        "self-contained",
        found,
        ": there is no such place on a server",
        "the folder may be copied to any server",
    )


def _check_traces(model: SavedModel) -> Check:
    """TensorFlow names a table after the place of the file that it was made from."""
    names = sorted(
        node.proto.attr["shared_name"].s.decode(errors="replace")
        for node in model.nodes()
        if node.proto.op in TABLE_OPS and not node.function
    )
    return verdict(
        "traces",
        [f"table {name}" for name in names if _FILE_IN_NAME.search(name)],
        ": a server runs it, but whoever gets it reads where it was made",
        "nothing tells of the machine that made it",
    )


def _check_warmup(model: SavedModel) -> Check:
    warmup = model.warmup()
    if warmup is None:
        return Check(
            "warm-up", "not applicable", "no requests; the first that a server gets is slow"
        )
    wrong = []
    if not warmup.whole:
        wrong.append(f"the file is cut off after {warmup.requests} requests")
    if warmup.requests > MAX_WARMUP_REQUESTS:
        wrong.append(f"{warmup.requests} requests are more than {MAX_WARMUP_REQUESTS}")
    return verdict(
        "warm-up",
        wrong,
        ": a server gives the version up",
        f"a server runs {warmup.requests} requests while it loads",
    )
