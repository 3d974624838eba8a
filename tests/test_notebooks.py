"""The notebooks run from top to bottom, and what is stored in them is what they give."""

import os
import re
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))

# What each notebook says of its model: figures that it prints, and the least and most that each may
# be. Trained weights differ from machine to machine; this has to be true with all of them.
FIGURES = {
    "01_seq2seq_chapter": [
        (r"^loss (\S+) nats per token", 0, 0.26),
        (r"^the 1001 pairs it has seen +BLEU +(\S+)", 10, 100),
        (r"^the next 1000 pairs +BLEU +(\S+)", 0, 5),
    ],
    "02_your_own_data": [
        (r"^2000 subwords: (\S+) of", 0, 0),
        (r"^beam 1   BLEU (\S+)", 30, 60),
        (r"^beam 5   BLEU (\S+)", 33, 65),
    ],
    "03_serving": [
        (r"^ExportedTranslator +(\S+) of 1773 the same", 1773, 1773),
        (r"^SavedModelSession +(\S+) of 1773 the same", 1773, 1773),
        (r"^SavedModelSession .* scores to (\S+)", 0, 1e-4),
        (r"^difference of chrf (\S+),", 0.5, 10),
    ],
    "04_beyond_translation": [
        (r"^without attention +(\S+)%", 0, 80),
        (r"^without attention +\S+ +(\S+)%", 0, 0),
        (r"^attention +\S+ +(\S+)%", 0, 0),
        (r"^attention, words copied +(\S+)%", 85, 100),
        (r"^attention, words copied +\S+ +(\S+)%", 90, 100),
        (r"^of 936 sentences that are no commands, (\S+) refused", 900, 936),
        (r"^of 386 test commands, (\S+) are answered as the translator", 386, 386),
    ],
}

# After a third of its epochs, and what it then prints: `test_chapter.py` has them all.
SHORTER = {
    "01_seq2seq_chapter": {"epochs=300": "epochs=100", "range(1, 301)": "range(1, 101)"},
}
SHORTER_FIGURES = {
    "01_seq2seq_chapter": [
        (r"^loss (\S+) nats per token", 0.22, 0.4),
        *FIGURES["01_seq2seq_chapter"][1:],
    ],
}


def outputs(cell) -> str:
    """All text that a cell shows."""
    return "".join(
        output.get("text", "") or output.get("data", {}).get("text/plain", "")
        for output in cell.get("outputs", [])
    )


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_package_is_imported_first(path):
    """It imports TensorFlow without its start-up messages, as the cell says."""
    cells = nbformat.read(path, nbformat.NO_CONVERT).cells
    code = next(cell.source for cell in cells if cell.cell_type == "code")
    imported = re.findall(r"^(?:import|from) (\w+)", code, re.MULTILINE)
    assert next(name for name in imported if name != "os") == "keras_s2s"


def check_figures(figures, notebook):
    """Holds what a notebook shows, stored or just run, to some of `FIGURES`."""
    shown = "\n".join(map(outputs, notebook.cells))
    for pattern, least, most in figures:
        [figure] = re.findall(pattern, shown, re.MULTILINE)
        assert least <= float(figure) <= most, pattern


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count == number for number, cell in enumerate(code, start=1))
    # All but the imports show something; nothing shows warnings or a place of some machine.
    assert all(cell.outputs for cell in code[1:])
    assert not [o for cell in code for o in cell.outputs if o.get("name") == "stderr"]
    assert not re.search(r"/(tmp|home|root|work|Users)/", path.read_text(encoding="utf-8"))
    check_figures(FIGURES[path.stem], notebook)


# Two of these take two to three minutes.
LONG = ("01_seq2seq_chapter", "02_your_own_data", "03_serving")


@pytest.mark.parametrize(
    ("path", "shorter"),
    [
        *(
            pytest.param(
                path, {}, marks=[pytest.mark.slow] if path.stem in LONG else [], id=path.stem
            )
            for path in NOTEBOOKS
        ),
        *(
            pytest.param(path, SHORTER[path.stem], id=f"{path.stem}, shorter")
            for path in NOTEBOOKS
            if path.stem in SHORTER
        ),
    ],
)
def test_runs(path, shorter, tmp_path, monkeypatch, request):
    if "fra-eng" in path.read_text(encoding="utf-8"):
        request.getfixturevalue("fra_eng")  # skips where it is not
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    stored = nbformat.read(path, as_version=4)
    notebook = nbformat.read(path, as_version=4)
    for old, new in shorter.items():
        [cell] = [
            cell for cell in notebook.cells if cell.cell_type == "code" and old in cell.source
        ]
        cell.source = cell.source.replace(old, new)
    client = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    for before, after in zip(stored.cells, notebook.cells, strict=True):
        # Trained weights differ from machine to machine; what follows from the data does not.
        if before.cell_type == "code" and "vocabulary" in before.source:
            assert outputs(after) == outputs(before)
    check_figures((SHORTER_FIGURES if shorter else FIGURES)[path.stem], notebook)
