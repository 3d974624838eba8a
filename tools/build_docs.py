"""Builds the site of the documentation; ends with status 1 if there is anything to complain of."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Griffe reads the docstrings, and what it finds wrong in them does not end Zensical's build.
COMPLAINTS = ("griffe: ", "mkdocstrings: ")


def main() -> int:
    """Builds `site/`; returns the exit status."""
    code = "from zensical.main import cli; cli(prog_name='zensical')"
    command = [sys.executable, "-c", code, "build", "--clean", "--strict"]
    done = subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    print(done.stdout, end="")
    complaints = [line for line in done.stdout.splitlines() if line.startswith(COMPLAINTS)]
    return 1 if done.returncode or complaints else 0


if __name__ == "__main__":
    sys.exit(main())
