"""What is known of a SavedModel, and how it is shown."""

import dataclasses
import json
import textwrap
from typing import Any, Literal, NamedTuple

from keras_s2s.serving.session import Signature, TensorSpec
from keras_s2s.utils.errors import printable

Verdict = Literal["passed", "failed", "not applicable"]
_WIDTH = 100


class Check(NamedTuple):
    """One demand of the serving contract.

    Attributes:
        name: what it is about.
        verdict: `passed`, `failed` or `not applicable`.
        reason: one line that says what a server would do.
    """

    name: str
    verdict: Verdict
    reason: str


@dataclasses.dataclass(frozen=True)
class Inspection:
    """What `inspect_export` finds.

    Attributes:
        folder: the version's folder.
        signatures: a `Signature` by name.
        ops: how often each op occurs, in the graph and its functions.
        assets: size in bytes by name; None for one that is missing.
        sizes: bytes of everything (`total`), `graph`, `variables` and `assets`.
        versions: of what wrote it and of what it was checked with; `minimum_server` is that of
            the first TF Serving with all its ops, None where core ops are all there is.
        model: number of variables and of their elements (`parameters`), and the same of those
            that a server restores and never uses; the proof record of `keras-s2s export`.
        warmup_requests: how many a server runs while it loads the model; None without the file.
        checks: the demands of the serving contract.
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
        """Whether no check failed."""
        return all(check.verdict != "failed" for check in self.checks)

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON takes it."""
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
        """All of it for a person to read."""
        written, checked = self.versions["tensorflow"], self.versions["checked_with"]
        sizes = ", ".join(f"{name} {shown_bytes(size)}" for name, size in self.sizes.items())
        minimum = self.versions["minimum_server"]
        warmup = "none" if self.warmup_requests is None else f"{self.warmup_requests} requests"
        lines = [
            self.folder,
            *self._signature_lines(),
            _line(f"{len(self.ops)} ops", _counted(self.ops)),
            *_titled("assets", [f"{n}  {shown_bytes(size)}" for n, size in self.assets.items()]),
            _line("sizes", sizes),
            _line(
                "versions",
                f"written by TensorFlow {written or '(unknown)'} as graph version "
                f"{self.versions['producer']}, for runtimes from version "
                f"{self.versions['min_consumer']} on; checked with TensorFlow {checked}"
                + (f"; for TF Serving from {minimum} on" if minimum else ""),
            ),
            _line("variables", self._variables()),
            _line("proof", _proof(self.model["proof"])),
            _line("warm-up", warmup),
            "checks",
        ]
        for check in self.checks:
            shown = check.verdict.upper() if check.verdict == "failed" else check.verdict
            start = f"  {shown:14}  {check.name} - "
            lines += textwrap.wrap(start + check.reason, _WIDTH, subsequent_indent=" " * 18)
        verdicts = [check.verdict for check in self.checks]
        kinds: tuple[Verdict, ...] = ("passed", "failed", "not applicable")
        lines.append(", ".join(f"{verdicts.count(kind)} {kind}" for kind in kinds))
        return printable("\n".join(lines), keep="\n")

    def _signature_lines(self) -> list[str]:
        lines = ["signatures" if self.signatures else "signatures    none"]
        for name, signature in self.signatures.items():
            lines.append(f"  {name}")
            for side, specs in (("in ", signature.inputs), ("out", signature.outputs)):
                lines += [f"    {side}  {key:16}  {shown(spec)}" for key, spec in specs.items()]
        return lines

    def _variables(self) -> str:
        used, unused = self.model["variables"], self.model["unused_variables"]
        text = f"{used} with {self.model['parameters']:,} parameters"
        if unused:
            text += f"; {unused} more with {self.model['unused_parameters']:,} are never used"
        return text


def shown(spec: TensorSpec) -> str:
    """The type and shape of a tensor, as in `string [-1]`."""
    shape = "of any rank" if spec.shape is None else str(list(spec.shape))
    return f"{spec.dtype} {shape}"


def shown_bytes(size: int | None) -> str:
    """A size for a person to read."""
    if size is None:
        return "MISSING"
    if size < 1000:
        return f"{size} bytes"
    return f"{size / 1e3:,.1f} kB" if size < 1e6 else f"{size / 1e6:,.1f} MB"


def _counted(ops: dict[str, int]) -> str:
    return ", ".join(
        name if count == 1 else f"{name}:{count}"
        for name, count in sorted(ops.items(), key=lambda item: (-item[1], item[0]))
    )


def _proof(record: dict[str, Any] | None) -> str:
    if record is None:
        return "none"
    # Not the answers and hashes, which are long.
    values = {name: json.dumps(value, ensure_ascii=False) for name, value in record.items()}
    short = {name: value.replace('"', "") for name, value in values.items() if len(value) < 200}
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in short.items())


def _line(title: str, text: str) -> str:
    indent = " " * 14
    lines = textwrap.wrap(text, _WIDTH - len(indent)) or ["none"]
    return "\n".join([f"{title:14}{lines[0]}", *(indent + line for line in lines[1:])])


def _titled(title: str, items: list[str]) -> list[str]:
    first, *others = items or ["none"]
    return [f"{title:14}{first}", *(" " * 14 + item for item in others)]
