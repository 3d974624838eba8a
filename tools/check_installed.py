"""Checks of the package where only its wheel is installed, without extras, with a run of it.

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

# Each extra with what it brings, and a command that needs it.
EXTRAS = {
    "web": ("flask", "keras_s2s web RUN --port 0"),
    "distributed": (
        "apache_beam",
        "keras_s2s translate-shards RUN --input FILE --output-dir OUTPUT",
    ),
}


def check_place() -> None:
    """The package is the installed one, with its types and version."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # what it says of the processor is of no use
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
    """A command that needs an extra says so in one line, and does nothing."""
    brings, command = EXTRAS[extra]
    assert importlib.util.find_spec(brings) is None, f"{brings} is here: nothing to check"
    places = {"RUN": run_dir, "FILE": str(folder / "en.txt"), "OUTPUT": str(folder / "output")}
    words = [places.get(word, word) for word in command.split()]
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
    """Checks all; the first thing that is not so is an AssertionError that tells it."""
    [run_dir] = sys.argv[1:]
    check_place()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "en.txt").write_text("Go.\n", encoding="utf-8")
        for extra in EXTRAS:
            check_extra(extra, os.fspath(run_dir), Path(folder))


if __name__ == "__main__":
    main()
