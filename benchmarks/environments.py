"""Virtual environments of the peers.

    python -m benchmarks.environments [NAME ...] [--python COMMAND]

creates one for each in `.cache/benchmarks/` and installs the peer with pip; complete ones are kept.
The variables of pip (`PIP_INDEX_URL`, `PIP_FIND_LINKS`, …) select the package index, and so whether
PyTorch comes with GPU libraries.
"""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).resolve().parent.parent / ".cache" / "benchmarks"

# Written last: its presence marks an environment as complete.
INSTALLED = "installed.json"


class Environment(NamedTuple):
    """The packages of a peer.

    Attributes:
        packages: requirements for pip.
        pythons: versions of Python that have wheels, in order of preference.
    """

    packages: tuple[str, ...]
    pythons: tuple[str, ...] = ("3.11", "3.10")


ENVIRONMENTS = {
    "pytorch": Environment(("torch==2.13.0", "numpy"), ("3.11", "3.12", "3.13", "3.10")),
    # Built for NumPy 1; both need pkg_resources.
    "opennmt-py": Environment(("OpenNMT-py==3.5.1", "torch==2.2.2", "numpy<2", "setuptools<81")),
    "opennmt-tf": Environment(("OpenNMT-tf[tensorflow]==2.32.0", "numpy<2", "setuptools<81")),
    # Lacks importlib_metadata in its own requirements.
    "joeynmt": Environment(
        ("joeynmt==2.3.0", "torch==2.13.0", "importlib_metadata", "setuptools<81")
    ),
}


def interpreter(name: str, folder: Path = FOLDER) -> Path | None:
    """Return the Python of an environment, or None if it is missing or incomplete."""
    if not (folder / name / INSTALLED).exists():
        return None
    return folder / name / "bin" / "python"


def installation_error(name: str, folder: Path = FOLDER) -> str:
    """Return one line on why an environment is missing."""
    log = folder / f"{name}.log"
    if not log.exists():
        return f"not installed; python -m benchmarks.environments {name}"
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")] or lines
    return f"not installed: {errors[0]}" if errors else "not installed: pip printed nothing"


def install(name: str, python: str | None = None, folder: Path = FOLDER) -> bool:
    """Create an environment, unless it is complete.

    Args:
        name: one of `ENVIRONMENTS`.
        python: the Python command; None to search for a supported version.
        folder: the folder of the environments.

    Returns:
        Whether it is complete; `NAME.log` has the errors.
    """
    if interpreter(name, folder):
        return True
    environment = ENVIRONMENTS[name]
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f"{name}.log", "w", encoding="utf-8") as log:
        command = python or _find_python(environment.pythons)
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


def _find_python(versions: tuple[str, ...]) -> str | None:
    for version in versions:
        command = shutil.which(f"python{version}")
        if command is None and version == "{}.{}".format(*sys.version_info):
            command = sys.executable
        # Shims of version managers may not run.
        if command and not subprocess.run([command, "-c", ""], capture_output=True).returncode:
            return command
    return None


def main() -> int:
    """Install the environments of the command line, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(ENVIRONMENTS))
    parser.add_argument("--python", metavar="COMMAND", help="Python to create them with")
    options = parser.parse_args()
    unknown = set(options.names) - set(ENVIRONMENTS)
    if unknown:
        parser.error(
            f"no environment {', '.join(sorted(unknown))}; choose from {', '.join(ENVIRONMENTS)}"
        )
    missing = []
    for name in options.names or ENVIRONMENTS:
        print(f"{name} …", file=sys.stderr, flush=True)
        if not install(name, options.python):
            missing.append(name)
            print(f"{name}: {installation_error(name)} (see {FOLDER / name}.log)", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
