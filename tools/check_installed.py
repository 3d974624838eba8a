"""Check an environment with only the wheel installed, without extras, using a finished run.

python check_installed.py RUN_DIR
"""

import importlib.metadata
import importlib.util
import os
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

# Extra: a package that it installs, and a command that needs it.
EXTRAS = {
    "web": ("flask", "keras_s2s web RUN --port 0"),
    "distributed": (
        "apache_beam",
        "keras_s2s translate-shards RUN --input FILE --output-dir OUTPUT",
    ),
}


def check_location() -> None:
    """Check that the installed package is imported, with its types and version."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # no messages about CPU features
    import keras_s2s

    installed = Path(sysconfig.get_path("purelib"))
    folder = Path(keras_s2s.__file__).parent
    assert folder == installed / "keras_s2s", f"{folder} is not in {installed}"
    assert (folder / "py.typed").is_file(), "no py.typed"
    version = importlib.metadata.version("keras-s2s")
    assert keras_s2s.__version__ == version, f"{keras_s2s.__version__} is installed as {version}"
    [script] = importlib.metadata.entry_points(group="console_scripts", name="keras-s2s")
    assert callable(script.load())
    print(f"keras-s2s {version} in {folder}")


def check_extra(extra: str, run_dir: str, folder: Path) -> None:
    """Check that a command without its extra names it in one line and writes nothing."""
    package, command = EXTRAS[extra]
    assert importlib.util.find_spec(package) is None, f"{package} is installed: nothing to check"
    values = {"RUN": run_dir, "FILE": str(folder / "en.txt"), "OUTPUT": str(folder / "output")}
    words = [values.get(word, word) for word in command.split()]
    done = subprocess.run(
        [sys.executable, "-m", *words],
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )
    outcome = f"{command}: status {done.returncode}, {done.stdout!r}, {done.stderr!r}"
    assert (done.returncode, done.stdout) == (2, ""), outcome
    [line] = done.stderr.splitlines() or [""]
    assert f"pip install 'keras-s2s[{extra}]'" in line, outcome
    assert not (folder / "output").exists(), outcome
    print(f"without [{extra}]: {line}")


def main() -> None:
    """Run all checks; the first failure is an AssertionError."""
    [run_dir] = sys.argv[1:]
    check_location()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "en.txt").write_text("Go.\n", encoding="utf-8")
        for extra in EXTRAS:
            check_extra(extra, os.fspath(run_dir), Path(folder))


if __name__ == "__main__":
    main()
