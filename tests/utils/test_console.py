"""Messages, progress, and TensorFlow's log lines."""

import io
import os
import subprocess
import sys

import pytest

from keras_s2s.utils.console import log, progress_bar, spinner, step_progress

LOADING = """
import os, sys, warnings
sys.argv = ["keras-s2s"]
from keras_s2s.utils.console import without_loading_logs, import_tensorflow
"""


def stderr_of(code, **environment):
    """Return the exit status and stderr of a process that runs the code."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("TF_")}
    done = subprocess.run(
        [sys.executable, "-c", LOADING + code],
        env={**kept, **environment},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr


def test_tensorflow_logs_nothing_and_other_output_passes():
    code = """
import_tensorflow()
import tensorflow as tf
tf.constant(1)
print(tf.keras.backend.backend(), file=sys.stderr)
os.write(2, b"still here\\n")
try:
    tf.constant([1.0]) @ tf.constant([1.0])
except tf.errors.InvalidArgumentError:
    print("errors are exceptions", file=sys.stderr)
"""
    output = "tensorflow\nstill here\nerrors are exceptions\n"
    assert stderr_of(code, KERAS_BACKEND="jax") == (0, output)


@pytest.mark.parametrize("level", ["0", "3"])
@pytest.mark.parametrize(
    "code",
    [
        "import_tensorflow()",
        "sys.argv = ['script']; del sys.modules['keras_s2s']; import keras_s2s",
    ],
    ids=["command", "library"],
)
def test_no_log_level_brings_them_back(code, level):
    code += """
assert "matplotlib" not in sys.modules, "a sixth of the import"
import gc
assert gc.isenabled()
import tensorflow as tf
if os.environ["TF_CPP_MIN_LOG_LEVEL"] == "3":
    tf.constant(1)
print("loaded", file=sys.stderr)
"""
    assert stderr_of(code, TF_CPP_MIN_LOG_LEVEL=level) == (0, "loaded\n")


def test_they_can_be_asked_for():
    status, output = stderr_of("import_tensorflow()", TF_CPP_MAX_VLOG_LEVEL="0")
    assert status == 0
    assert "cpu_feature_guard" in output


def test_only_log_lines_are_removed():
    code = """
with without_loading_logs():
    os.write(2, b"WARNING: All log messages before absl::InitializeLog() is called are ...\\n")
    os.write(2, b"I0000 00:00:1795408337.415539   31627 port.cc:153] oneDNN custom\\n")
    warnings.warn("a warning")
    os.write(2, b"a library that cannot be found\\n")
raise SystemExit(3)
"""
    status, output = stderr_of(code)
    assert status == 3
    assert "UserWarning: a warning" in output
    assert "a library that cannot be found\n" in output
    assert "oneDNN" not in output
    assert "absl" not in output


def test_an_error_while_loading_is_heard():
    code = """
with without_loading_logs():
    os.write(2, b"why\\n")
    raise ImportError("no such library")
"""
    status, output = stderr_of(code)
    assert status == 1
    assert output.startswith("why\n")
    assert output.endswith("ImportError: no such library\n")


def test_a_crash_while_loading_is_heard():
    status, output = stderr_of("with without_loading_logs(): os.abort()")
    assert status < 0
    assert "Fatal Python error: Aborted" in output


def test_closed_stderr():
    assert stderr_of("os.close(2)\nwith without_loading_logs(): pass\nos._exit(7)") == (7, "")


@pytest.fixture
def stderr(monkeypatch):
    """Return a function that replaces stderr by a stream in memory, a terminal or not."""

    def replace(terminal):
        stream = io.StringIO()
        monkeypatch.setattr(stream, "isatty", lambda: terminal, raising=False)
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setenv("TERM", "xterm")
        return stream

    return replace


@pytest.mark.parametrize("terminal", [False, True])
def test_progress_bar_shows_only_on_a_terminal(terminal, stderr):
    stream = stderr(terminal)
    with progress_bar() as bar:
        assert list(bar.track(range(3), description="counting")) == [0, 1, 2]
    assert ("counting" in stream.getvalue()) == terminal
    assert terminal or not stream.getvalue()


def test_spinner_shows_on_a_terminal(stderr):
    stream = stderr(terminal=True)
    with spinner("reading"):
        pass
    assert "reading" in stream.getvalue()
    with pytest.raises(KeyboardInterrupt), spinner("reading"):
        raise KeyboardInterrupt
    assert stream.getvalue().count("\x1b[?25h") == 2, "the cursor is back"


@pytest.mark.parametrize("terminal", [False, True])
def test_steps_on_a_terminal_are_one_line(terminal, stderr):
    stream = stderr(terminal)
    with step_progress() as progress:
        progress("writing", 0, 0)
        for done in range(7, 2001, 7):
            progress("comparing", done, 2000)
    shown = stream.getvalue()
    if terminal:
        assert "comparing: 1,995 of 2,000" in shown
        assert shown.endswith("\x1b[1A\x1b[2K"), "it is removed"
    else:
        lines = ["writing", *(f"comparing: {done} of 2,000" for done in ("504", "1,001", "1,505"))]
        assert shown.splitlines() == lines


def test_log(capsys):
    log("à suivre")
    assert capsys.readouterr() == ("", "à suivre\n")
