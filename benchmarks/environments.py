"""Environments of the peers, each with its own versions of everything.

    python -m benchmarks.environments [NAME ...] [--python COMMAND]

makes a virtual environment for each in `.cache/benchmarks/` and installs the peer with pip. What
is there already stays. Where pip looks, and whether it finds PyTorch for processors alone or with
libraries for GPUs, is set as for pip anywhere (`PIP_INDEX_URL`, `PIP_FIND_LINKS`, …).
"""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).resolve().parent.parent / ".cache" / "benchmarks"

# Written last, so that half an environment does not pass for one.
INSTALLED = "installed.json"


class Environment(NamedTuple):
    """What is installed for a peer.

    Attributes:
        packages: as pip takes them.
        pythons: versions of Python there are wheels for, the best first.
    """

    packages: tuple[str, ...]
    pythons: tuple[str, ...] = ("3.11", "3.10")


ENVIRONMENTS = {
    "pytorch": Environment(("torch==2.13.0", "numpy"), ("3.11", "3.12", "3.13", "3.10")),
    # Built for NumPy 1 and, two of them, in need of pkg_resources.
    "opennmt-py": Environment(("OpenNMT-py==3.5.1", "torch==2.2.2", "numpy<2", "setuptools<81")),
    "opennmt-tf": Environment(("OpenNMT-tf[tensorflow]==2.32.0", "numpy<2", "setuptools<81")),
    # It imports importlib_metadata without saying that it needs it.
    "joeynmt": Environment(
        ("joeynmt==2.3.0", "torch==2.13.0", "importlib_metadata", "setuptools<81")
    ),
}


def interpreter(name: str, folder: Path = FOLDER) -> Path | None:
    """The Python of an environment; None where it is not, or not completely, installed."""
    if not (folder / name / INSTALLED).exists():
        return None
    return folder / name / "bin" / "python"


def why_missing(name: str, folder: Path = FOLDER) -> str:
    """In a line, why there is no environment of that name."""
    log = folder / f"{name}.log"
    if not log.exists():
        return f"not installed; python -m benchmarks.environments {name}"
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")] or lines
    return f"not installed: {errors[0]}" if errors else "not installed: pip said nothing"


def install(name: str, python: str | None = None, folder: Path = FOLDER) -> bool:
    """Makes an environment.

    Args:
        name: one of `ENVIRONMENTS`.
        python: the command of the Python to take; one that fits is looked for if None.
        folder: where environments are.

    Returns:
        Whether there is a complete one now. What went wrong stands in `NAME.log`.
    """
    if interpreter(name, folder):
        return True
    environment = ENVIRONMENTS[name]
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f"{name}.log", "w", encoding="utf-8") as log:
        command = python or _fitting_python(environment.pythons)
        if command is None:
            log.write(f"ERROR: no Python {' or '.join(environment.pythons)}; give --python\n")
            return False
        shutil.rmtree(folder / name, ignore_errors=True)
        target = folder / name / "bin" / "python"
        pip = [str(target), "-m", "pip", "--disable-pip-version-check"]
        for step in (
            [command, "-m", "venv", str(folder / name)],
            [*pip, "install", *environment.packages],
        ):
            log.flush()
            if subprocess.run(step, stdout=log, stderr=subprocess.STDOUT).returncode:
                return False
        listed = subprocess.run([*pip, "list", "--format", "json"], capture_output=True, text=True)
        versions = {row["name"]: row["version"] for row in json.loads(listed.stdout)}
        text = json.dumps(versions, indent=1)
        (folder / name / INSTALLED).write_text(text + "\n", encoding="utf-8")
    return True


def _fitting_python(versions: tuple[str, ...]) -> str | None:
    for version in versions:
        command = shutil.which(f"python{version}")
        if command is None and version == "{}.{}".format(*sys.version_info):
            command = sys.executable
        # A name on the path need not be a Python that runs: version managers leave such behind.
        if command and not subprocess.run([command, "-c", ""], capture_output=True).returncode:
            return command
    return None


def main() -> int:
    """Installs what is named on the command line, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(ENVIRONMENTS))
    parser.add_argument("--python", metavar="COMMAND", help="of the Python to make them with")
    options = parser.parse_args()
    unknown = set(options.names) - set(ENVIRONMENTS)
    if unknown:
        parser.error(f"no environment {', '.join(sorted(unknown))}; {', '.join(ENVIRONMENTS)}")
    missing = []
    for name in options.names or ENVIRONMENTS:
        print(f"{name} …", file=sys.stderr, flush=True)
        if not install(name, options.python):
            missing.append(name)
            print(f"{name}: {why_missing(name)} (see {FOLDER / name}.log)", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
