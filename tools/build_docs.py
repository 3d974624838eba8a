"""Build the documentation site; exit with status 1 on any warning."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = ("docs", "export", "keras_s2s", "tools", "mkdocs.yml")
# Exported models are not part of the site and would take long to copy; keras_s2s/models is code.
IGNORED = {"export": shutil.ignore_patterns("models")}
# Prefixes of griffe's warnings about docstrings, which Zensical's strict mode does not count.
WARNING_PREFIXES = ("griffe: ", "mkdocstrings: ")


def main() -> int:
    """Build `site/` and return the exit status."""
    code = "from zensical.main import cli; cli(prog_name='zensical')"
    command = [sys.executable, "-c", code, "build", "--clean", "--strict"]
    # WORKAROUND(zensical<=0.0.73): warnings are repeated only with --clean, which removes the whole
    # .cache folder, including the benchmarks' environments. So build in a copy.
    with tempfile.TemporaryDirectory() as folder:
        for name in SOURCES:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, Path(folder, name), ignore=IGNORED.get(name))
            else:
                shutil.copy(ROOT / name, folder)
        done = subprocess.run(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        print(done.stdout, end="")
        if Path(folder, "site").is_dir():
            shutil.rmtree(ROOT / "site", ignore_errors=True)
            shutil.copytree(Path(folder, "site"), ROOT / "site")
    warnings = [line for line in done.stdout.splitlines() if line.startswith(WARNING_PREFIXES)]
    return 1 if done.returncode or warnings else 0


if __name__ == "__main__":
    sys.exit(main())
