"""Builds the site of the documentation; ends with status 1 if there is anything to complain of."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
# What the site is made of; exported models would take long to copy, and are no part of it.
SOURCES = ("docs", "export", "keras_s2s", "tools", "mkdocs.yml")
LEFT_OUT = shutil.ignore_patterns("models", "__pycache__")
# Griffe reads the docstrings, and what it finds wrong in them does not end Zensical's build.
COMPLAINTS = ("griffe: ", "mkdocstrings: ")


def main() -> int:
    """Builds `site/`; returns the exit status."""
    code = "from zensical.main import cli; cli(prog_name='zensical')"
    command = [sys.executable, "-c", code, "build", "--clean", "--strict"]
    # In a copy, since --clean, without which known warnings are not repeated, removes the whole
    # folder .cache: that of the benchmarks' environments, too.
    with tempfile.TemporaryDirectory() as folder:
        for name in SOURCES:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, Path(folder, name), ignore=LEFT_OUT)
            else:
                shutil.copy(ROOT / name, folder)
        done = subprocess.run(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        print(done.stdout, end="")
        if Path(folder, "site").is_dir():
            shutil.rmtree(ROOT / "site", ignore_errors=True)
            shutil.copytree(Path(folder, "site"), ROOT / "site")
    complaints = [line for line in done.stdout.splitlines() if line.startswith(COMPLAINTS)]
    return 1 if done.returncode or complaints else 0


if __name__ == "__main__":
    sys.exit(main())
