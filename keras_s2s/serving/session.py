"""Running a SavedModel exactly as TF Serving does, to know before deploying that it will run.

`tf.saved_model.load` proves little about a server: it finds variables through the object graph,
has every op that Python registered, and XLA. TF Serving loads a TF1-style session in C++, and
what passed there may fail here ("Could not find variable", "Op type not registered"). A
`SavedModelSession` takes the server's path, in a process of its own that has no Python
TensorFlow in it; see `session_process.py`.
"""

import base64
import contextlib
import functools
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from keras_s2s.utils.errors import one_line

INVALID_ARGUMENT, FAILED_PRECONDITION = 3, 9  # of TensorFlow's status codes
_COMMAND = (sys.executable, os.fspath(Path(__file__).with_name("session_worker.py")))


class SessionError(RuntimeError):
    """A SavedModel could not be loaded or run the way TF Serving does it.

    Attributes:
        code: the code of TensorFlow's status (3 for an invalid argument, 5 for not found, …), or
            None when the process that ran the model died or did not answer in time.
    """

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class TensorSpec(NamedTuple):
    """What a signature says of an input or an output.

    Attributes:
        dtype: name of the data type, `"string"` or as in NumPy.
        shape: -1 stands for any size; None, for any rank.
    """

    dtype: str
    shape: tuple[int, ...] | None


class Signature(NamedTuple):
    """The inputs and outputs of a signature, by name."""

    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]


class SavedModelSession:
    """A SavedModel loaded by TensorFlow's C++ in a fresh process, as TF Serving loads it.

    It is a context manager, and for one thread at a time.

    Args:
        path: folder of the SavedModel, the one with `saved_model.pb` in it.
        libraries: folder of the `tensorflow` package whose C++ libraries are to be used, to see
            whether an older TensorFlow runs the model; the installed one when None.
        op_libraries: libraries with further ops to load before the model, see
            `tensorflow_text_libraries`.
        timeout: seconds to wait for the model to load, and for each answer. The process is
            ended when they are over.
        intra_op_threads: threads that one op may use; 0 for one a core.
        inter_op_threads: ops that may run at the same time; 0 for one a core.

    Attributes:
        signatures: a `Signature` by name.
        tensorflow_version: that of the C++ libraries.

    Raises:
        SessionError: the model cannot be loaded.

    Example:

    ```python
    with SavedModelSession("export/models/en-fr/1") as session:
        session.signatures["serving_default"].inputs  # {"text": ("string", (-1,))}
        session.run(text=["Go .", "I won !"])["translation"]  # array([b'va !', …], dtype=object)
    ```
    """

    signatures: dict[str, Signature]
    tensorflow_version: str

    def __init__(
        self,
        path: str | os.PathLike[str],
        libraries: str | os.PathLike[str] | None = None,
        op_libraries: Iterable[str | os.PathLike[str]] = (),
        timeout: float = 120.0,
        *,
        intra_op_threads: int = 0,
        inter_op_threads: int = 0,
    ) -> None:
        self.path = Path(path)
        self.timeout = timeout
        options = [f"--op-library={os.fspath(library)}" for library in op_libraries]
        options += [f"--intra-op-threads={intra_op_threads}"]
        options += [f"--inter-op-threads={inter_op_threads}"]
        if libraries is not None:
            options += [f"--libraries={os.fspath(libraries)}"]
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (it lives as long as the process)
        self._log_start = 0
        self._process = subprocess.Popen(
            [*_COMMAND, *options, "--", os.fspath(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=_environment(),
        )
        try:
            loaded = self._answer()
        except BaseException:
            self.close()
            raise
        # What TensorFlow always says while it starts explains no later death.
        self._log_start = os.fstat(self._log.fileno()).st_size
        self.tensorflow_version = loaded["tensorflow_version"]
        self.signatures = {
            name: Signature(_specs(signature["inputs"]), _specs(signature["outputs"]))
            for name, signature in loaded["signatures"].items()
        }

    def run(self, signature: str = "serving_default", **inputs: Any) -> dict[str, np.ndarray]:
        """Runs a signature.

        Args:
            signature: name of the signature.
            **inputs: a value for each input of the signature: an array or nested lists. Strings
                are bytes, or str to be encoded in UTF-8.

        Returns:
            The outputs by name. Strings are arrays of objects, which are bytes.

        Raises:
            SessionError: TensorFlow answers with an error status, after which the session goes
                on; or the process died, or the time was over, after which it does not.
        """
        if signature not in self.signatures:
            raise SessionError(
                f"{self.path}: no signature {signature!r}, there is {sorted(self.signatures)}",
                FAILED_PRECONDITION,
            )
        specs = self.signatures[signature].inputs
        if inputs.keys() != specs.keys():
            raise SessionError(
                f"{self.path}: signature {signature!r} takes {sorted(specs)}, "
                f"and was given {sorted(inputs)}",
                INVALID_ARGUMENT,
            )
        encoded = {}
        for name, value in inputs.items():
            try:
                encoded[name] = _encoded(value, specs[name].dtype)
            except (TypeError, ValueError) as error:
                message = f"{self.path}: input {name!r} of {signature!r}: {error}"
                raise SessionError(message, INVALID_ARGUMENT) from error
        answer = self._answer({"signature": signature, "inputs": encoded})
        return {name: _decoded(value) for name, value in answer["outputs"].items()}

    def close(self) -> None:
        """Ends the process. The session cannot be used any more."""
        assert self._process.stdin
        assert self._process.stdout
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=10.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._log.close()

    def __enter__(self) -> "SavedModelSession":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _answer(self, request: dict[str, Any] | None = None) -> dict[str, Any]:
        """Sends a request, if any, and waits for the next answer."""
        assert self._process.stdin
        assert self._process.stdout
        if self._process.stdin.closed:
            raise SessionError(f"{self.path}: the session is closed")
        started = time.monotonic()
        timer = threading.Timer(self.timeout, self._process.kill)
        timer.start()
        try:
            if request is not None:
                self._process.stdin.write(json.dumps(request).encode() + b"\n")
                self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = b""
        except BaseException:
            # The answer to an interrupted call would be taken for that to the next one.
            self._process.kill()
            raise
        finally:
            timer.cancel()
        if not line.endswith(b"\n"):
            raise SessionError(f"{self.path}: {self._cause_of_death(time.monotonic() - started)}")
        answer = json.loads(line)
        if "error" in answer:
            raise SessionError(f"{self.path}: {one_line(answer['error'])}", answer["code"])
        return answer

    def _cause_of_death(self, seconds: float) -> str:
        """Why the process ended, `seconds` after it was asked, with its last words."""
        status = self._process.wait()
        if seconds >= self.timeout:
            cause = f"no answer within {self.timeout:g} s"
        elif status < 0:
            cause = f"the process that ran the model died of {signal.Signals(-status).name}"
        else:
            cause = f"the process that ran the model ended with status {status}"
        end = os.fstat(self._log.fileno()).st_size
        self._log.seek(max(self._log_start, end - 10_000))
        lines = [line.strip() for line in self._log.read().decode(errors="replace").splitlines()]
        # A stack trace of C++, one "@ address function" a line, comes after what is worth knowing.
        words = [line for line in lines if line and not line.startswith("@ ")]
        return "; ".join([cause, *words[-5:]])


class RegisteredOps(NamedTuple):
    """The ops of TensorFlow's C++ libraries, and the version of these."""

    names: frozenset[str]
    tensorflow_version: str


@functools.cache
def registered_ops(libraries: str | None = None) -> RegisteredOps:
    """Finds out which ops TensorFlow's C++ libraries know, without what Python packages add.

    Args:
        libraries: as for `SavedModelSession`.

    Returns:
        A `RegisteredOps`.

    Raises:
        SessionError: the libraries cannot be loaded.

    Example:

    >>> "While" in registered_ops().names
    True
    """
    options = ["--list-ops", *([] if libraries is None else [f"--libraries={libraries}"])]
    done = subprocess.run(
        [*_COMMAND, *options], env=_environment(), capture_output=True, check=False
    )
    if not done.stdout.endswith(b"\n"):
        raise SessionError(f"the process that loads TensorFlow ended with status {done.returncode}")
    answer = json.loads(done.stdout)
    if "error" in answer:
        raise SessionError(answer["error"], answer["code"])
    return RegisteredOps(frozenset(answer["ops"]), answer["tensorflow_version"])


def _environment() -> dict[str, str]:
    """The environment of the process that runs a model."""
    return {
        "TF_CPP_MIN_LOG_LEVEL": "2",
        **os.environ,
        "LC_ALL": "C.UTF-8",  # as in a container: some string ops follow the locale
        "CUDA_VISIBLE_DEVICES": "",
    }


def tensorflow_text_libraries() -> list[Path]:
    """Finds the op libraries of the installed TensorFlow Text, without importing it.

    The stock `tensorflow_model_server` has TensorFlow Text's ops built in; a
    `SavedModelSession` is given them.

    Returns:
        The paths, for the `op_libraries` of `SavedModelSession`.

    Raises:
        SessionError: TensorFlow Text is not installed.

    Example:

    ```python
    with SavedModelSession(path, op_libraries=tensorflow_text_libraries()) as session:
        session.run(text=["Go ."])
    ```
    """
    installed = importlib.util.find_spec("tensorflow_text")
    if installed is None or not installed.submodule_search_locations:
        raise SessionError("TensorFlow Text is not installed: pip install tensorflow-text")
    folder = Path(installed.submodule_search_locations[0])
    return sorted((folder / "python" / "ops").glob("_*.so"))


def _specs(described: dict[str, Any]) -> dict[str, TensorSpec]:
    return {
        name: TensorSpec(spec["dtype"], None if spec["shape"] is None else tuple(spec["shape"]))
        for name, spec in described.items()
    }


def _encoded(value: Any, dtype: str) -> dict[str, Any]:
    """A value as the process takes it; a ValueError or TypeError if it is none of `dtype`."""
    if dtype == "string":
        # Not an array of bytes, which would take off the NULs at the end of a string.
        array = np.asarray(value, dtype=object)
        data = [base64.b64encode(_as_bytes(element)).decode() for element in array.flat]
        return {"shape": array.shape, "data": data}
    array = np.asarray(value)
    wanted = np.dtype(dtype)
    # Integers are neither rounded nor wrapped to fit, as a server would refuse them too. What is
    # empty has no type of its own.
    kinds = {"b": "b", "i": "iu", "u": "iu", "f": "iuf"}[wanted.kind]
    if array.size and array.dtype.kind not in kinds:
        raise ValueError(f"values of {array.dtype} cannot be taken as {dtype}")
    converted = array.astype(wanted)
    if wanted.kind in "iu" and not np.array_equal(array, converted):
        raise ValueError(f"values outside the range of {dtype}")
    return {"shape": array.shape, "data": converted.ravel().tolist()}


def _as_bytes(element: Any) -> bytes:
    if isinstance(element, str):
        return element.encode()
    if isinstance(element, bytes):
        return element
    raise TypeError(f"a string is wanted, not {element!r:.80}")


def _decoded(value: dict[str, Any]) -> np.ndarray:
    """An output as an array."""
    if value["dtype"] == "string":
        strings = [base64.b64decode(element) for element in value["data"]]
        return np.array(strings, dtype=object).reshape(value["shape"])
    return np.array(value["data"], dtype=value["dtype"]).reshape(value["shape"])
