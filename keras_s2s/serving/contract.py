"""The serving contract as code: what an export promises, and what a stock TF Serving demands."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keras_s2s.serving.graph_checks import check_folder, check_graph, minimum_server, verdict
from keras_s2s.serving.inspection import Check, Inspection, shown
from keras_s2s.serving.runtime_check import check_running
from keras_s2s.serving.saved_model import COMPOSITE, VARIABLE_OPS, SavedModel, elements
from keras_s2s.serving.session import SessionError, TensorSpec, registered_ops
from keras_s2s.utils.errors import ExportError, InputError
from keras_s2s.utils.files import sha256_of

# Inputs and outputs of each signature. A letter stands for any size, the same in one signature.
SIGNATURES: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "serving_default": (
        {"text": "string [-1]"},
        {"translation": "string [-1]", "score": "float32 [-1]", "num_tokens": "int32 [-1]"},
    ),
    "score": (
        {"text": "string [-1]", "reference": "string [-1]"},
        {"score": "float32 [-1]", "num_tokens": "int32 [-1]"},
    ),
    "beam": (
        {"text": "string [-1]"},
        {"translations": "string [-1, n]", "scores": "float32 [-1, n]"},
    ),
    "explain": (
        {"text": "string [-1]"},
        {
            "source_tokens": "string [-1, S]",
            "target_tokens": "string [-1, T]",
            "attention": "float32 [-1, T, S]",
        },
    ),
}
REQUIRED_SIGNATURES = ("serving_default", "score")
METHODS = tuple(f"tensorflow/serving/{name}" for name in ("predict", "classify", "regress"))

PROOF_FILE = Path("assets.extra", "proof.json")


def require_contract(folder: str | os.PathLike[str]) -> None:
    """Raises an `ExportError` about the first demand of the contract that an export breaks."""
    for check in inspect_export(folder).checks:
        if check.verdict == "failed":
            raise ExportError(f"the export breaks the contract: {check.name} - {check.reason}")


def inspect_export(
    folder: str | os.PathLike[str], libraries: str | os.PathLike[str] | None = None
) -> Inspection:
    """Reads a SavedModel and holds it to the serving contract.

    It may be anybody's. It is read without TensorFlow, and loaded in a process of its own as TF
    Serving loads it. What has the signatures of the contract is asked for a few answers too.

    Args:
        folder: the one with `saved_model.pb` in it.
        libraries: folder of the `tensorflow` package whose C++ libraries are to be used, to hold
            it to an older TensorFlow; the installed one when None.

    Returns:
        An `Inspection`, whose `passed` says whether it keeps the contract.

    Raises:
        InputError: there is no SavedModel, or it is damaged, or TensorFlow does not work here.

    Example:

    ```python
    inspection = inspect_export("export/models/en-fr/1")
    assert inspection.passed, inspection.report()
    ```
    """
    model = SavedModel(folder)
    try:
        core = registered_ops(None if libraries is None else os.fspath(libraries))
    except SessionError as error:
        raise InputError(
            f"TensorFlow's libraries do not work here ({error}); install tensorflow again"
        ) from error
    proof = _read_proof(model.folder)
    strangers = [
        name
        for name in REQUIRED_SIGNATURES
        if name not in model.signatures or _differences(model, name)
    ]
    checks = [
        _check_tag(model),
        *_check_signatures(model),
        _check_rows(model),
        _check_outputs(model),
        *check_graph(model, core),
        *check_folder(model),
        _check_proof(model, proof),
        *check_running(model, proof, strangers, libraries),
    ]
    meta, graph = model.meta_graph.meta_info_def, model.meta_graph.graph_def
    used, restored = model.used(VARIABLE_OPS), model.restored(VARIABLE_OPS)
    unused = {resource: node for resource, node in restored.items() if resource not in used}
    sizes = {path.relative_to(model.folder): path.stat().st_size for path in model.files()}
    warmup = model.warmup()
    return Inspection(
        folder=str(model.folder),
        signatures=model.signatures,
        ops=dict(sorted(model.ops().items())),
        assets={name: sizes.get(Path("assets", name)) for name in model.assets()},
        sizes={
            "total": sum(sizes.values()),
            "graph": sizes[Path("saved_model.pb")],
            "variables": sum(size for path, size in sizes.items() if path.parts[0] == "variables"),
            "assets": sum(size for path, size in sizes.items() if path.parts[0] == "assets"),
        },
        versions={
            "tensorflow": meta.tensorflow_version,
            "producer": graph.versions.producer,
            "min_consumer": graph.versions.min_consumer,
            "checked_with": core.tensorflow_version,
            "minimum_server": minimum_server(model),
        },
        model={
            "variables": len(used),
            "parameters": sum(map(elements, used.values())),
            "unused_variables": len(unused),
            "unused_parameters": sum(map(elements, unused.values())),
            "proof": proof,
        },
        warmup_requests=None if warmup is None else warmup.requests,
        checks=checks,
    )


def _check_tag(model: SavedModel) -> Check:
    wrong = [] if ["serve"] in model.tags else [", ".join(tags) or "(none)" for tags in model.tags]
    return verdict(
        "tag",
        [f"tagged {tags}" for tags in wrong],
        ": a server loads none but the graph tagged serve",
        "a server finds the graph by its tag, serve",
    )


def _check_signatures(model: SavedModel) -> Iterator[Check]:
    for name in SIGNATURES:
        title = f"signature {name}"
        if name in model.signatures:
            yield verdict(
                title,
                _differences(model, name),
                ": clients of the contract get an error, or what they cannot read",
                "a server takes and gives what clients count on",
                limit=9,
            )
        elif name in REQUIRED_SIGNATURES:
            yield Check(title, "failed", "missing; a server answers requests for it with an error")
        else:
            yield Check(title, "not applicable", "this model does not offer it")
    yield verdict(
        "other signatures",
        [name for name in model.signatures if name not in SIGNATURES],
        ": a server offers it, and no client of the contract knows it",
        "a server offers none",
    )


def _differences(model: SavedModel, name: str) -> list[str]:
    """How a signature differs from that of the contract."""
    if (method := model.signature_protos[name].method_name) not in METHODS:
        return [f"its method is {method!r} and not {METHODS[0]!r}"]
    found = []
    sizes: dict[str, str] = {}
    sides = zip(("input", "output"), SIGNATURES[name], model.signatures[name], strict=True)
    for side, wanted, given in sides:
        for key in sorted(wanted.keys() | given.keys()):
            if key not in given:
                found.append(f"no {side} {key}")
            elif key not in wanted:
                found.append(f"{side} {key} besides")
            elif not _fits(shown(given[key]), wanted[key], sizes):
                found.append(f"{side} {key} is {shown(given[key])} and not {wanted[key]}")
    return found


def _fits(given: str, wanted: str, sizes: dict[str, str]) -> bool:
    """Whether a specification is the one that is wanted, whose letters stand for any size."""
    own, others = (re.findall(r"[-\w]+", spec) for spec in (given, wanted))
    return len(own) == len(others) and all(
        sizes.setdefault(other, part) == part if other in ("n", "S", "T") else other == part
        for part, other in zip(own, others, strict=True)
    )


def _check_rows(model: SavedModel) -> Check:
    if not model.signatures:
        return Check("rows", "not applicable", "there is no signature")
    return verdict(
        "rows",
        [
            f"{side} {key} of {name} is {shown(spec)}"
            for side, name, key, spec in _tensors(model)
            if spec.dtype != COMPOSITE and (not spec.shape or spec.shape[0] != -1)
        ],
        ": rows in REST want the batch, of any size, in dimension 0",
        "a server takes and gives rows in REST: dimension 0 is the batch everywhere",
    )


def _check_outputs(model: SavedModel) -> Check:
    if not model.signatures:
        return Check("outputs", "not applicable", "there is no signature")
    found = []
    for side, name, key, spec in _tensors(model):
        if side == "output":
            if spec.dtype in (COMPOSITE, "resource", "variant"):
                found.append(f"{key} of {name} is sparse, ragged or no tensor at all")
            elif spec.dtype == "string" and key.endswith("_bytes"):
                found.append(f"{key} of {name} is base64 and no text in REST, for its name")
    return verdict(
        "outputs",
        found,
        ": a server cannot give it as clients want it",
        "a server can give each of them, and text as text",
    )


def _tensors(model: SavedModel) -> Iterator[tuple[str, str, str, TensorSpec]]:
    """Side, signature, name and specification of all inputs and outputs."""
    for name, signature in model.signatures.items():
        for side, specs in zip(("input", "output"), signature, strict=True):
            for key, spec in specs.items():
                yield side, name, key, spec


def _read_proof(folder: Path) -> dict[str, Any] | None:
    """The record that `keras-s2s export` leaves; empty when it is damaged, None without one."""
    if not (folder / PROOF_FILE).is_file():
        return None
    try:
        record = json.loads((folder / PROOF_FILE).read_bytes())
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def _check_proof(model: SavedModel, proof: dict[str, Any] | None) -> Check:
    if proof is None:
        return Check("proof", "not applicable", "no record; nobody knows how a server will answer")
    hashes = proof.get("sha256")
    if not isinstance(hashes, dict):
        return Check("proof", "failed", f"{PROOF_FILE} is damaged: what was proven is unknown")
    return verdict(
        "proof",
        [name for name, known in sorted(hashes.items()) if _hash(model.folder / name) != known],
        ": changed since the proof; a server runs something else",
        "a server gets the files that were proven",
    )


def _hash(file: Path) -> str:
    return sha256_of(file) if file.is_file() else "missing"
