"""The result of inspecting a SavedModel, as JSON and as a report."""

import dataclasses
import json
import textwrap
from typing import Any, Literal, NamedTuple, get_args

from keras_s2s.serving.session import Signature, TensorSpec
from keras_s2s.utils.errors import printable

Verdict = Literal["passed", "failed", "not applicable"]
_WIDTH = 100


class Check(NamedTuple):
    """The result of one check of the serving contract.

    Attributes:
        name: name of the check.
        verdict: `passed`, `failed` or `not applicable`.
        reason: one line, usually about what a server would do.
    """

    name: str
    verdict: Verdict
    reason: str


@dataclasses.dataclass(frozen=True)
class Inspection:
    """The result of `inspect_export`.

    Attributes:
        folder: the version folder.
        signatures: a `Signature` by name.
        ops: number of occurrences of each op, in the graph and its functions.
        assets: size in bytes by name; None for a missing file.
        sizes: bytes of everything (`total`), `graph`, `variables` and `assets`.
        versions: versions of the writer and of the runtime it was checked with;
            `minimum_server` is the first TF Serving with all ops, None for core ops alone.
        model: number of variables and of their elements (`parameters`), likewise of those that a
            server restores and never uses (`unused_…`), and the verification record (`proof`).
        warmup_requests: number of warm-up requests; None without the file.
        checks: one `Check` per demand of the serving contract.
    """

    folder: str
    signatures: dict[str, Signature]
    ops: dict[str, int]
    assets: dict[str, int | None]
    sizes: dict[str, int]
    versions: dict[str, Any]
    model: dict[str, Any]
    warmup_requests: int | None
    checks: list[Check]

    @property
    def passed(self) -> bool:
        """Return whether no check failed."""
        return all(check.verdict != "failed" for check in self.checks)

    def as_dict(self) -> dict[str, Any]:
        """Return the inspection as a JSON-serializable dict."""
        content = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        content["signatures"] = {
            name: {
                side: {key: spec._asdict() for key, spec in specs.items()}
                for side, specs in signature._asdict().items()
            }
            for name, signature in self.signatures.items()
        }
        content["checks"] = [check._asdict() for check in self.checks]
        return {**content, "passed": self.passed}

    def report(self) -> str:
        """Return the inspection as text for a terminal."""
        written, checked = self.versions["tensorflow"], self.versions["checked_with"]
        sizes = ", ".join(f"{name} {format_bytes(size)}" for name, size in self.sizes.items())
        minimum = self.versions["minimum_server"]
        warmup = "none" if self.warmup_requests is None else f"{self.warmup_requests} requests"
        lines = [
            self.folder,
            *self._signature_lines(),
            _titled_text(f"{len(self.ops)} ops", _format_counts(self.ops)),
            *_titled_list(
                "assets", [f"{name}  {format_bytes(size)}" for name, size in self.assets.items()]
            ),
            _titled_text("sizes", sizes),
            _titled_text(
                "versions",
                f"written by TensorFlow {written or '(unknown)'} as graph version "
                f"{self.versions['producer']}, for runtimes from version "
                f"{self.versions['min_consumer']}; checked with TensorFlow {checked}"
                + (f"; for TF Serving from {minimum}" if minimum else ""),
            ),
            _titled_text("variables", self._format_variables()),
            _titled_text("proof", _format_record(self.model["proof"])),
            _titled_text("warm-up", warmup),
            "checks",
        ]
        for check in self.checks:
            verdict = check.verdict.upper() if check.verdict == "failed" else check.verdict
            start = f"  {verdict:14}  {check.name} - "
            lines += textwrap.wrap(start + check.reason, _WIDTH, subsequent_indent=" " * 18)
        verdicts = [check.verdict for check in self.checks]
        lines.append(", ".join(f"{verdicts.count(name)} {name}" for name in get_args(Verdict)))
        # Names in untrusted models may hold terminal escape sequences: escape what is unprintable.
        return printable("\n".join(lines), keep="\n")

    def _signature_lines(self) -> list[str]:
        lines = ["signatures" if self.signatures else "signatures    none"]
        for name, signature in self.signatures.items():
            lines.append(f"  {name}")
            for side, specs in (("in ", signature.inputs), ("out", signature.outputs)):
                lines += [
                    f"    {side}  {key:16}  {format_spec(spec)}" for key, spec in specs.items()
                ]
        return lines

    def _format_variables(self) -> str:
        used, unused = self.model["variables"], self.model["unused_variables"]
        text = f"{used} with {self.model['parameters']:,} parameters"
        if unused:
            text += f"; {unused} unused with {self.model['unused_parameters']:,}"
        return text


def format_spec(spec: TensorSpec) -> str:
    """Format dtype and shape of a tensor, as in `string [-1]`."""
    shape = "of any rank" if spec.shape is None else str(list(spec.shape))
    return f"{spec.dtype} {shape}"


def format_bytes(size: int | None) -> str:
    """Format a size in bytes, kB or MB; None is a missing file."""
    if size is None:
        return "MISSING"
    if size < 1000:
        return f"{size} bytes"
    return f"{size / 1e3:,.1f} kB" if size < 1e6 else f"{size / 1e6:,.1f} MB"


def _format_counts(ops: dict[str, int]) -> str:
    return ", ".join(
        name if count == 1 else f"{name}:{count}"
        for name, count in sorted(ops.items(), key=lambda item: (-item[1], item[0]))
    )


def _format_record(record: dict[str, Any] | None) -> str:
    if record is None:
        return "none"
    # Omit the answers and checksums, which are long.
    values = {name: json.dumps(value, ensure_ascii=False) for name, value in record.items()}
    short = {name: value.replace('"', "") for name, value in values.items() if len(value) < 200}
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in short.items())


def _titled_text(title: str, text: str) -> str:
    indent = " " * 14
    lines = textwrap.wrap(text, _WIDTH - len(indent)) or ["none"]
    return "\n".join([f"{title:14}{lines[0]}", *(indent + line for line in lines[1:])])


def _titled_list(title: str, items: list[str]) -> list[str]:
    first, *others = items or ["none"]
    return [f"{title:14}{first}", *(" " * 14 + item for item in others)]
