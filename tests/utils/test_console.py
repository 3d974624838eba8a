"""Messages, progress, and TensorFlow's chatter."""

import io
import os
import subprocess
import sys

import pytest

from keras_s2s.utils.console import log, progress_bar, spinner

LOADING = """
import os, sys, warnings
sys.argv = ["keras-s2s"]
from keras_s2s.utils.console import _without_loading_logs, import_tensorflow
"""


def stderr_of(code, **environment):
    """What a process that runs the code writes to stderr, even where it closes that."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("TF_")}
    done = subprocess.run(
        [sys.executable, "-c", LOADING + code],
        env={**kept, **environment},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr


def test_tensorflow_is_quiet_and_all_else_is_heard():
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
    heard = "tensorflow\nstill here\nerrors are exceptions\n"
    assert stderr_of(code, KERAS_BACKEND="jax") == (0, heard)


def test_who_asks_for_it_gets_the_chatter():
    status, heard = stderr_of("import_tensorflow()", TF_CPP_MIN_LOG_LEVEL="0")
    assert status == 0
    assert "oneDNN" in heard or "cpu_feature_guard" in heard


def test_only_the_chatter_is_held_back():
    code = """
with _without_loading_logs():
    os.write(2, b"WARNING: All log messages before absl::InitializeLog() is called are ...\\n")
    os.write(2, b"I0000 00:00:1795408337.415539   31627 port.cc:153] oneDNN custom\\n")
    warnings.warn("a warning")
    os.write(2, b"a library that cannot be found\\n")
raise SystemExit(3)
"""
    status, heard = stderr_of(code)
    assert status == 3
    assert "UserWarning: a warning" in heard
    assert "a library that cannot be found\n" in heard
    assert "oneDNN" not in heard
    assert "absl" not in heard


def test_an_error_while_loading_is_heard():
    code = """
with _without_loading_logs():
    os.write(2, b"why\\n")
    raise ImportError("no such library")
"""
    status, heard = stderr_of(code)
    assert status == 1
    assert heard.startswith("why\n")
    assert heard.endswith("ImportError: no such library\n")


def test_a_crash_while_loading_is_heard():
    status, heard = stderr_of("with _without_loading_logs(): os.abort()")
    assert status < 0
    assert "Fatal Python error: Aborted" in heard


def test_closed_streams_are_no_reason_to_fail():
    assert stderr_of("os.close(2)\nwith _without_loading_logs(): pass\nos._exit(7)") == (7, "")


@pytest.mark.parametrize("terminal", [False, True])
def test_a_bar_is_for_a_terminal(terminal, monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: terminal, raising=False)
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    with progress_bar() as bar:
        assert list(bar.track(range(3), description="counting")) == [0, 1, 2]
    assert ("counting" in stream.getvalue()) == terminal
    assert terminal or not stream.getvalue()


def test_work_shows_on_a_terminal_while_it_lasts(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    with spinner("reading"):
        pass
    assert "reading" in stream.getvalue()
    with pytest.raises(KeyboardInterrupt), spinner("reading"):
        raise KeyboardInterrupt
    assert stream.getvalue().count("\x1b[?25h") == 2, "the cursor is back"


def test_say(capsys):
    log("à suivre")
    assert capsys.readouterr() == ("", "à suivre\n")
