"""The documentation: what its pages say runs, and what they point to exists."""

import importlib.util
import json
import os
import pkgutil
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from pages import ROOT, anchors, blocks, check_page, headings, links, run_page

import keras_s2s as s2s
from keras_s2s.cli.main import main

PACKAGE = Path(s2s.__file__).parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
OTHERS = [
    ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "export/README.md")
]
WITH_CODE = [path for path in [*OTHERS, *PAGES] if blocks(path)]
# They train, search and export most.
SLOW = (
    *("index.md", "own-data.md", "subwords.md", "beam-search.md", "serving.md"),
    *("beyond-the-chapter.md", "tokenizers.md"),
)


def name_of(path):
    return path.relative_to(ROOT).as_posix()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """What the commands of all pages find in the folder they are given in."""
    folder = tmp_path_factory.mktemp("pages")
    corpus = s2s.load_corpus("phrasebook", max_pairs=400)
    pairs = [f"{a}\t{b}" for a, b in zip(corpus.source, corpus.target, strict=True)]
    lines = {
        "pairs.tsv": pairs,
        "train.tsv": pairs[:300],
        "dev.tsv": pairs[300:350],
        "test.tsv": pairs[350:],
        "verbs.tsv": ["walk\twalked\tV;PST", "run\truns\tV;PRS;3;SG"],
        "train.en": corpus.source,
        "train.fr": corpus.target,
        "sentences.txt": corpus.source[:20],
    }
    for name, texts in lines.items():
        (folder / name).write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    options = "--attention luong --min-freq 1 --num-layers 1 --epochs 1 --test-fraction 0.1"
    run_dir = folder / "runs" / "mine"
    arguments = ["train", str(folder / "pairs.tsv"), "--run-dir", str(run_dir), *options.split()]
    assert main(arguments) == 0
    return folder


@pytest.mark.parametrize("path", WITH_CODE, ids=name_of)
def test_the_code_of_a_page_is_understood(path):
    check_page(path)


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=pytest.mark.slow if path.name in SLOW else (), id=name_of(path))
        for path in WITH_CODE
        if any(block.reason is None and block.runs for block in blocks(path))
    ],
)
def test_the_code_of_a_page_runs(path, files, tmp_path, monkeypatch):
    shutil.copytree(files, tmp_path, dirs_exist_ok=True)
    if any("--run-dir runs/mine" in block.code for block in blocks(path)):
        shutil.rmtree(tmp_path / "runs" / "mine")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    run_page(path, tmp_path)


def sources_of_links():
    """The pages, and the text of notebooks as (file, page)."""
    yield from ((path, path.read_text(encoding="utf-8")) for path in [*OTHERS, *PAGES])
    yield ROOT / "benchmarks/README.md", (ROOT / "benchmarks/README.md").read_text("utf-8")
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        yield path, "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")


def test_links_lead_somewhere():
    broken, count = [], 0
    for path, text in sources_of_links():
        for link in links(text):
            if re.match(r"[a-z]+:", link):
                continue
            count += 1
            file, _, anchor = link.partition("#")
            target = (path.parent / file).resolve() if file else path
            if not target.exists() or (anchor and anchor not in anchors(target)):
                broken.append(f"{name_of(path)}: {link}")
    assert not broken
    assert count > 50


def test_every_page_has_a_title_and_a_place_in_the_site():
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    listed = re.findall(r"[\w/-]+\.md", json.dumps(nav))
    assert sorted(listed) == sorted(path.relative_to(DOCS).as_posix() for path in PAGES)
    for path in PAGES:
        if path.name != "server.md":  # it is made of export/README.md
            levels = [level for level, _ in headings(path.read_text(encoding="utf-8"))]
            assert levels.count(1) == 1, path


def test_extras_are_installed_one_way():
    """By the package's name, which works once it is installed, from a checkout or a wheel."""
    files = [ROOT / "README.md", *PAGES, *ROOT.glob("notebooks/*.ipynb"), *PACKAGE.rglob("*.py")]
    names = set()
    for path in files:
        for name in re.findall(r"pip install '?([\w.-]+)\[", path.read_text(encoding="utf-8")):
            names.add(name)
    assert names == {"keras-s2s"}


def test_every_public_name_is_in_the_reference():
    text = "".join(path.read_text(encoding="utf-8") for path in (DOCS / "reference").glob("*.md"))
    described = re.findall(r"^::: keras_s2s\.(\S+)$", text, re.MULTILINE)
    assert len(described) == len(set(described))
    aliases = {"CATALOGUE", "CorpusChoice", "Recipe"}
    assert set(s2s.__all__) == set(described) - {"client.TranslationClient"} | aliases


@pytest.mark.provided_by_ci
@pytest.mark.skipif(
    importlib.util.find_spec("zensical") is None or importlib.util.find_spec("griffe") is None,
    reason="the site needs `make docs`, or pip install 'keras-s2s[docs]'",
)
def test_the_site_is_built_without_a_warning(tmp_path):
    # Real files, though the builder copies them once more: Zensical writes, and empties .cache,
    # where links lead to, and this is to show without harm that .cache is left alone.
    for folder in (ROOT / "docs", ROOT / "export", PACKAGE, ROOT / "tools"):
        # Exported models, which may be large; keras_s2s/models is code.
        unwanted = shutil.ignore_patterns("models") if folder.name == "export" else None
        shutil.copytree(folder, tmp_path / folder.name, ignore=unwanted)
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    kept = tmp_path / ".cache" / "benchmarks" / "installed.json"
    kept.parent.mkdir(parents=True)
    kept.touch()
    build = [sys.executable, tmp_path / "tools" / "build_docs.py"]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert kept.exists()
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) >= len(PAGES)
    assert "no_repeat_ngram_size" in (tmp_path / "site" / "search.json").read_text("utf-8")
    for page in pages:
        # Whoever reads it is offline, or does not want others to know.
        fetched = r"<(?:script|img|iframe)[^>]* src=\"https?:|<link[^>]* href=\"https?:"
        assert not re.search(fetched, page.read_text(encoding="utf-8")), page


def test_the_citation():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == s2s.__version__
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()


def test_the_workflow_runs_what_developers_run():
    path = ROOT / ".github" / "workflows" / "ci.yml"
    if not path.exists():
        pytest.skip("an sdist has no .github")
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert workflow["permissions"] == {"contents": "read"}
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    assert [step["run"] for step in steps if "run" in step] == ["make lint", ".ci/run"]
    assert (ROOT / ".ci" / "run").exists()
    for step in steps:
        if "uses" in step:
            assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", step["uses"]), "pinned to a commit"
    versions = workflow["jobs"]["test"]["strategy"]["matrix"]["python"]
    assert versions == ["3.10", "3.11", "3.12", "3.13"]


@pytest.mark.parametrize("path", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")))
def test_a_template_of_issues(path):
    template = yaml.safe_load(path.read_text(encoding="utf-8"))
    if path.stem == "config":
        return
    assert {"name", "description", "body"} <= template.keys()
    fields = [field for field in template["body"] if field["type"] != "markdown"]
    assert len({field["id"] for field in fields}) == len(fields)
    assert all(field["attributes"]["label"] for field in fields)
    assert any(field.get("validations", {}).get("required") for field in fields)


def test_the_picture_of_the_folders_is_the_contract_of_import_linter():
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 cannot read pyproject.toml")
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    [layers] = [c["layers"] for c in contract["contracts"] if c["type"] == "layers"]
    order = [name for layer in reversed(layers) for name in layer.split(" | ")]
    folders = [name for name in order if (PACKAGE / name).is_dir()]
    page = (DOCS / "design.md").read_text("utf-8")
    picture = page.partition("```text\n")[2].partition("```")[0]
    bands = re.findall(r"^\w+ +(\w.*)$", picture, re.MULTILINE)
    assert len(bands) == 4
    drawn = [name for band in bands for name in band.split(" → ")]
    assert sorted(drawn) == sorted(set(folders) - {"utils"})
    assert [rank(name, layers) for name in drawn] == sorted(rank(name, layers) for name in drawn)
    described = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert sorted(described) == sorted(folders)
    for file in re.findall(r"`(\w+\.py)`", page):
        assert list(PACKAGE.rglob(file)), f"design.md names {file}, which is not there"


@pytest.mark.parametrize("page", ["code-walk.md", "where-to-change.md"])
def test_every_name_in_the_code_that_a_page_mentions_exists(page):
    text = (DOCS / page).read_text("utf-8")
    tops = {path.stem for path in PACKAGE.iterdir()}
    names = [
        name for name in re.findall(r"`([a-z_]+(?:\.\w+)*)`", text) if name.split(".")[0] in tops
    ]
    assert len(names) > 30
    missing = []
    for name in names:
        try:
            pkgutil.resolve_name(f"keras_s2s.{name}")
        except (AttributeError, ImportError):
            missing.append(name)
    assert not missing


def rank(name, layers):
    """The height of a folder: 0 for what nothing in the contract is below."""
    return len(layers) - next(i for i, layer in enumerate(layers) if name in layer.split(" | "))
