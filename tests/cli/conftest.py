"""Fixtures of the command-line and web tests."""

import pytest

from keras_s2s.serving.session import SavedModelSession


@pytest.fixture(scope="package")
def sessions(exported_run, attending_export):
    """Warm sessions of two exports: 1 without attention, 2 with."""
    with SavedModelSession(exported_run) as first, SavedModelSession(attending_export) as second:
        for session in (first, second):
            for signature in {"serving_default", "beam", "explain"} & {*session.signatures}:
                session.run(signature, text=[b"Go."])  # warm-up
        yield {1: first, 2: second}
