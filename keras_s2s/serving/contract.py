"""The serving contract as code: the promises of an export and the demands of stock TF Serving."""

import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keras_s2s.serving.allowed_ops import check_safety, unsafe_parts
from keras_s2s.serving.graph_checks import (
    check_folder,
    check_graph,
    make_check,
    min_server_version,
)
from keras_s2s.serving.inspection import Check, Inspection, format_spec
from keras_s2s.serving.op_libraries import registered_ops
from keras_s2s.serving.runtime_check import check_runtime
from keras_s2s.serving.saved_model import COMPOSITE, VARIABLE_OPS, SavedModel, num_elements
from keras_s2s.serving.session import SessionError, TensorSpec
from keras_s2s.serving.signatures import (
    OPTIONAL_OUTPUTS,
    REQUIRED_SIGNATURES,
    SIGNATURES,
    VERIFICATION_FILE,
    read_verification_record,
)
from keras_s2s.utils.errors import ExportError, InputError
from keras_s2s.utils.files import sha256_of

METHODS = tuple(f"tensorflow/serving/{name}" for name in ("predict", "classify", "regress"))


def require_contract(folder: str | os.PathLike[str]) -> None:
    """Raise an `ExportError` for the first check of the contract that an export fails.

    Warn of an export, of layers or tokenizers of the user's own, that is not run without being
    trusted.
    """
    for check in inspect_export(folder, trust=True).checks:
        if check.name == "safety" and check.verdict != "passed":
            warnings.warn(
                f"the export runs with --trust (trust=True) only: {check.reason}", stacklevel=2
            )
        if check.verdict == "failed":
            raise ExportError(f"the export breaks the contract: {check.name} - {check.reason}")


def inspect_export(
    folder: str | os.PathLike[str],
    libraries: str | os.PathLike[str] | None = None,
    *,
    trust: bool = False,
) -> Inspection:
    """Read any SavedModel and check it against the serving contract.

    The files are read without TensorFlow. A model of allowed ops is loaded in a separate process as
    TF Serving loads it, without write access where the system offers that; with the signatures of
    the contract it also runs a few sentences.

    Args:
        folder: the version folder, with `saved_model.pb` in it.
        libraries: folder of the `tensorflow` package whose C++ libraries to check with, for
            example of an older TensorFlow; by default the installed one.
        trust: load and run the model whatever its ops. Ops can read and write any file.

    Returns:
        An `Inspection`; its `passed` tells whether the model follows the contract.

    Raises:
        InputError: there is no SavedModel, it is damaged, or TensorFlow's libraries do not load.

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
            f"TensorFlow's libraries do not work here ({error}); reinstall tensorflow"
        ) from error
    record = read_verification_record(model.folder)
    nonconforming = [
        name
        for name in REQUIRED_SIGNATURES
        if name not in model.signatures or _differences(model, name)
    ]
    unsafe = unsafe_parts(model)
    checks = [
        _check_tag(model),
        *_check_signatures(model),
        _check_rows(model),
        _check_outputs(model),
        check_safety(unsafe, trust),
        *check_graph(model, core),
        *check_folder(model),
        _check_record(model, record),
        *check_runtime(model, record, nonconforming, [] if trust else unsafe, libraries),
    ]
    meta, graph = model.meta_graph.meta_info_def, model.meta_graph.graph_def
    used, restored = model.used_resources(VARIABLE_OPS), model.restored_resources(VARIABLE_OPS)
    unused = {resource: node for resource, node in restored.items() if resource not in used}
    sizes = {path.relative_to(model.folder): path.stat().st_size for path in model.files()}
    warmup = model.warmup_requests()
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
            "minimum_server": min_server_version(model),
        },
        model={
            "variables": len(used),
            "parameters": sum(map(num_elements, used.values())),
            "unused_variables": len(unused),
            "unused_parameters": sum(map(num_elements, unused.values())),
            "proof": record,
        },
        warmup_requests=None if warmup is None else warmup.num_requests,
        checks=checks,
    )


def _check_tag(model: SavedModel) -> Check:
    tags = [] if ["serve"] in model.tags else [", ".join(tags) or "(none)" for tags in model.tags]
    return make_check(
        "tag",
        [f"tagged {tag}" for tag in tags],
        ": a server loads only the graph tagged serve",
        "the graph is tagged serve",
    )


def _check_signatures(model: SavedModel) -> Iterator[Check]:
    for name in SIGNATURES:
        title = f"signature {name}"
        if name in model.signatures:
            yield make_check(
                title,
                _differences(model, name),
                ": clients of the contract fail or misread the answer",
                "inputs and outputs follow the contract",
                limit=9,
            )
        elif name in REQUIRED_SIGNATURES:
            yield Check(title, "failed", "missing; a server answers requests for it with an error")
        else:
            yield Check(title, "not applicable", "this model does not offer it")
    yield make_check(
        "other signatures",
        [name for name in model.signatures if name not in SIGNATURES],
        ": not part of the contract",
        "there are none",
    )


def _differences(model: SavedModel, name: str) -> list[str]:
    """Return how a signature differs from the contract."""
    if (method := model.signature_protos[name].method_name) not in METHODS:
        return [f"its method is {method!r}, expected {METHODS[0]!r}"]
    differences = []
    sizes: dict[str, str] = {}
    sides = zip(("input", "output"), SIGNATURES[name], model.signatures[name], strict=True)
    for side, required, actual in sides:
        optional = OPTIONAL_OUTPUTS[name] if side == "output" else {}
        expected = required | {key: optional[key] for key in optional if key in actual}
        for key in sorted(expected.keys() | actual.keys()):
            if key not in actual:
                differences.append(f"no {side} {key}")
            elif key not in expected:
                differences.append(f"unexpected {side} {key}")
            elif not _matches(format_spec(actual[key]), expected[key], sizes):
                spec = format_spec(actual[key])
                differences.append(f"{side} {key} is {spec}, expected {expected[key]}")
    return differences


def _matches(actual: str, expected: str, sizes: dict[str, str]) -> bool:
    """Return whether a spec matches; letters in `expected` stand for sizes, bound in `sizes`."""
    actual_parts, expected_parts = (re.findall(r"[-\w]+", spec) for spec in (actual, expected))
    return len(actual_parts) == len(expected_parts) and all(
        sizes.setdefault(symbol, part) == part if symbol in ("n", "S", "T") else symbol == part
        for part, symbol in zip(actual_parts, expected_parts, strict=True)
    )


def _check_rows(model: SavedModel) -> Check:
    if not model.signatures:
        return Check("rows", "not applicable", "there is no signature")
    return make_check(
        "rows",
        [
            f"{side} {key} of {name} is {format_spec(spec)}"
            for side, name, key, spec in _tensors(model)
            if spec.dtype != COMPOSITE and (not spec.shape or spec.shape[0] != -1)
        ],
        ": REST's row format needs the batch, of any size, in dimension 0",
        "dimension 0 is the batch everywhere, as REST's row format needs",
    )


def _check_outputs(model: SavedModel) -> Check:
    if not model.signatures:
        return Check("outputs", "not applicable", "there is no signature")
    problems = []
    for side, name, key, spec in _tensors(model):
        if side == "output":
            if spec.dtype in (COMPOSITE, "resource", "variant"):
                problems.append(f"{key} of {name} is sparse, ragged or not a tensor")
            elif spec.dtype == "string" and key.endswith("_bytes"):
                problems.append(f"{key} of {name} is base64 in REST because of its name")
    return make_check(
        "outputs",
        problems,
        ": a server cannot return it as clients expect",
        "REST and gRPC can return each of them",
    )


def _tensors(model: SavedModel) -> Iterator[tuple[str, str, str, TensorSpec]]:
    """Yield side, signature, name and spec of all inputs and outputs."""
    for name, signature in model.signatures.items():
        for side, specs in zip(("input", "output"), signature, strict=True):
            for key, spec in specs.items():
                yield side, name, key, spec


def _check_record(model: SavedModel, record: dict[str, Any] | None) -> Check:
    if record is None:
        return Check("proof", "not applicable", "no verification record; it was not verified")
    checksums = record.get("sha256")
    if not isinstance(checksums, dict):
        return Check("proof", "failed", f"{VERIFICATION_FILE} is damaged; export the model again")
    return make_check(
        "proof",
        [
            name
            for name, checksum in sorted(checksums.items())
            if not _has_checksum(model.folder, name, checksum)
        ],
        ": changed since the export was verified",
        "all files are as they were verified",
    )


def _has_checksum(folder: Path, name: str, checksum: Any) -> bool:
    """Return whether a file below a folder has a checksum; names outside of it are not opened."""
    if os.path.isabs(name) or ".." in Path(name).parts:
        return False
    try:
        return sha256_of(folder / name) == checksum
    except (OSError, ValueError):  # missing, a folder, no name of a file
        return False
