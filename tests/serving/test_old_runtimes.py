"""Exports on the C++ libraries of older TensorFlow versions, which servers link.

`make test-old-runtimes` downloads them and sets `KERAS_S2S_OLD_RUNTIMES` to a folder with an
unpacked `tensorflow` package per version.
"""

import os
from pathlib import Path

import pytest

from keras_s2s.serving.contract import inspect_export
from keras_s2s.serving.session import SavedModelSession
from keras_s2s.serving.verification import EDGE_CASES
from keras_s2s.utils.text import encode_texts

pytestmark = pytest.mark.slow

FOLDER = os.environ.get("KERAS_S2S_OLD_RUNTIMES")
RUNTIMES = sorted(Path(FOLDER).glob("*/tensorflow")) if FOLDER else []


@pytest.fixture(params=RUNTIMES or [None], ids=lambda path: path.parent.name if path else "none")
def libraries(request):
    if request.param is None:
        pytest.skip("KERAS_S2S_OLD_RUNTIMES names no older TensorFlow; make test-old-runtimes does")
    return request.param


@pytest.fixture(scope="module")
def export(exports):
    return exports / "1"


def test_served_output_equals_python_output(libraries, export, translator, phrasebook):
    texts = encode_texts([*EDGE_CASES, *phrasebook.source[::4]])
    expected = translator.translate(texts)
    with SavedModelSession(export, libraries=libraries) as session:
        assert session.tensorflow_version == libraries.parent.name
        for start in range(0, len(texts), 29):
            batch = slice(start, start + 29)
            answers = session.run(text=texts[batch])["translation"]
            assert [text.decode() for text in answers] == expected[batch]


def test_follows_the_contract(libraries, export):
    inspection = inspect_export(export, libraries=libraries)
    assert inspection.passed, inspection.report()
