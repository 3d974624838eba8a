"""What is published: a wheel and an sdist, built here without the network."""

import importlib.metadata
import importlib.util
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import keras_s2s as s2s
from keras_s2s.cli import main

ROOT = Path(__file__).parents[1]
HAS_SOURCES = (ROOT / "keras_s2s").is_dir()
NAME = f"keras_s2s-{s2s.__version__}"

# What only the repository has use for, and what the build adds to an sdist.
NOT_IN_SDIST = (".ci/", ".github/", ".gitignore", ".pre-commit-config.yaml")
ADDED = re.compile(r"PKG-INFO|setup\.cfg|keras_s2s\.egg-info/.*")

# What runs, tests and editors leave in the folder that is built.
LEFT_BEHIND = (
    "build/lib/keras_s2s/of_an_earlier_build.py",
    "docs/.DS_Store",
    "export/models/en-fr/1/saved_model.pb",
    "export/serving.protoset",
    "keras_s2s/__pycache__/config.cpython-310.pyc",
    "keras_s2s/data/.DS_Store",
    "keras_s2s/cli/web/templates/.page.css.swp",
    "notebooks/.ipynb_checkpoints/copy.ipynb",
    "runs/demo/model.keras",
    "tests/__pycache__/test_config.cpython-310.pyc",
)


def backend_is_missing():
    """Whether setuptools is older than pyproject.toml wants it."""
    if importlib.util.find_spec("setuptools") is None:
        return True
    return int(importlib.metadata.version("setuptools").partition(".")[0]) < 77


needs_sources = pytest.mark.skipif(
    not HAS_SOURCES, reason="the package's sources are not beside the tests"
)
needs_backend = pytest.mark.skipif(
    backend_is_missing(), reason="needs setuptools 77 or newer: pip install 'setuptools>=77'"
)


def own_files():
    """The files of the project, by their names in it."""
    if (ROOT / ".git").exists() and shutil.which("git"):
        command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        return {name for name in done.stdout.splitlines() if (ROOT / name).is_file()}
    files = (path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file())
    names = {path.as_posix() for path in files if path.suffix != ".pyc"}
    return {name for name in names if not ADDED.fullmatch(name) and not name.startswith(".")}


def build(kind, folder, output):
    """Builds in a process of its own, which changes the folder; returns the file."""
    code = f"import sys; from setuptools import build_meta; build_meta.build_{kind}(sys.argv[1])"
    command = [sys.executable, "-c", code, str(output)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    [file] = output.iterdir()
    return file


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    """The sdist of a copy of the project in which more has been left than belongs to it."""
    folder = tmp_path_factory.mktemp("project")
    for name in own_files():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    for name in LEFT_BEHIND:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"left behind")
    return build("sdist", folder, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory):
    """The wheel, built of what the sdist holds."""
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    return build("wheel", folder / NAME, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def metadata(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return message_from_bytes(archive.read(f"{NAME}.dist-info/METADATA"))


@needs_sources
@needs_backend
class TestFiles:
    def test_the_sdist_has_all_that_the_tests_look_into(self, sdist):
        assert sdist.name == f"{NAME}.tar.gz"
        with tarfile.open(sdist) as archive:
            names = {member.name.removeprefix(f"{NAME}/") for member in archive if member.isfile()}
        names = {name for name in names if not ADDED.fullmatch(name)}
        assert names == {name for name in own_files() if not name.startswith(NOT_IN_SDIST)}

    def test_the_wheel_has_the_package_alone(self, wheel):
        assert wheel.name == f"{NAME}-py3-none-any.whl"
        with zipfile.ZipFile(wheel) as archive:
            names = set(archive.namelist())
        about = {name for name in names if name.startswith(f"{NAME}.dist-info/")}
        assert names - about == {name for name in own_files() if name.startswith("keras_s2s/")}
        assert {"keras_s2s/py.typed", "keras_s2s/data/phrasebook.tsv"} < names
        assert {name.removeprefix(f"{NAME}.dist-info/") for name in about} == {
            "METADATA",
            "RECORD",
            "WHEEL",
            "entry_points.txt",
            "licenses/LICENSE",
            "licenses/keras_s2s/data/LICENSE-phrasebook.txt",
            "top_level.txt",
        }

    def test_the_command(self, wheel):
        with zipfile.ZipFile(wheel) as archive:
            text = archive.read(f"{NAME}.dist-info/entry_points.txt").decode()
        assert text.split() == ["[console_scripts]", "keras-s2s", "=", "keras_s2s.cli.main:main"]
        assert callable(main)


@needs_sources
@needs_backend
class TestMetadata:
    def test_names_and_licenses(self, metadata):
        assert metadata["Name"] == "keras-s2s"
        assert metadata["Version"] == s2s.__version__
        assert metadata["License-Expression"] == "Apache-2.0"
        assert metadata["Description-Content-Type"] == "text/markdown"
        assert metadata.get_payload().lstrip().startswith("# keras_s2s\n")

    def test_it_says_which_pythons(self, metadata):
        assert set(metadata["Requires-Python"].split(",")) == {">=3.10", "<3.14"}
        versions = re.findall(r":: (3\.\d+)$", "\n".join(metadata.get_all("Classifier")), re.M)
        assert versions == ["3.10", "3.11", "3.12", "3.13"]

    def test_nothing_comes_from_elsewhere_than_an_index(self, metadata):
        assert not [line for line in metadata.get_all("Requires-Dist") if "@" in line]

    def test_no_keras_that_loads_weights_of_another_file(self, metadata):
        """3.12 does; what the package itself refuses is in `test_model_file.py`."""
        requirements = map(Requirement, metadata.get_all("Requires-Dist"))
        [keras] = [one.specifier for one in requirements if one.name == "keras"]
        assert not [version for version in ("3.12.0", "3.14.9") if version in keras]
        assert "3.15.0" in keras

    def test_every_extra_has_a_row_where_the_installation_is_described(self, metadata):
        page = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
        rows = re.findall(r"^\| `\[([\w-]+)\]` \|", page, re.MULTILINE)
        assert len(rows) == len(set(rows))
        assert set(rows) == set(metadata.get_all("Provides-Extra"))


def test_the_changelog_begins_with_this_version_or_what_comes_after():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert all(
        heading == "Unreleased" or re.fullmatch(r"\d+\.\d+\.\d+ — \d{4}-\d\d-\d\d", heading)
        for heading in headings
    )
    assert headings[0] == "Unreleased" or headings[0].startswith(f"{s2s.__version__} — ")


@pytest.mark.skipif(HAS_SOURCES, reason="the package's sources are beside the tests")
def test_the_package_is_the_installed_one():
    installed = Path(sysconfig.get_path("purelib"))
    assert Path(s2s.__file__).parent == installed / "keras_s2s"
