"""Run a SavedModel in the C++ runtime that TF Serving uses, in a process without Python TensorFlow.

`tf.saved_model.load` says little about a server: it finds variables through the object graph and
has the ops that Python packages registered, and XLA. TF Serving loads a TF1-style session in C++,
where the same model may fail ("Could not find variable", "Op type not registered").
`SavedModelSession` takes the server's path; see `session_worker.py`.
"""

import base64
import contextlib
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

INVALID_ARGUMENT, FAILED_PRECONDITION = 3, 9  # TF_Code
WORKER_COMMAND = (sys.executable, os.fspath(Path(__file__).with_name("session_worker.py")))


class SessionError(RuntimeError):
    """A SavedModel cannot be loaded or run as TF Serving does it.

    Attributes:
        code: TensorFlow's status code (3 is invalid argument, 5 is not found, …); None if the
            worker process died or timed out.
    """

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class TensorSpec(NamedTuple):
    """Data type and shape of an input or output.

    Attributes:
        dtype: `"string"` or NumPy's name of the data type.
        shape: -1 is any size; None is any rank.
    """

    dtype: str
    shape: tuple[int, ...] | None


class Signature(NamedTuple):
    """The inputs and outputs of a signature, by name."""

    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]


class SavedModelSession:
    """A SavedModel loaded by TensorFlow's C++ runtime in a fresh process, as TF Serving loads it.

    A context manager; not thread-safe. Whatever ops the model has are run: for a model of unknown
    origin, look at `inspect_export` first.

    Args:
        path: the version folder, with `saved_model.pb` in it.
        libraries: folder of the `tensorflow` package whose C++ libraries to use, for example of
            an older TensorFlow; by default the installed one.
        op_libraries: op libraries to load before the model; see `op_libraries`.
        timeout: seconds to wait for the model to load and for each answer; then the process is
            killed.
        intra_op_threads: threads per op; 0 means one per core.
        inter_op_threads: ops run in parallel; 0 means one per core.
        read_only: forbid the process to change files and to open TCP connections, where the system
            offers it (Linux with Landlock).

    Attributes:
        signatures: a `Signature` by name.
        read_only: whether the process is forbidden to change files.
        tensorflow_version: version of the C++ libraries.

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
    read_only: bool

    def __init__(
        self,
        path: str | os.PathLike[str],
        libraries: str | os.PathLike[str] | None = None,
        op_libraries: Iterable[str | os.PathLike[str]] = (),
        timeout: float = 120.0,
        *,
        intra_op_threads: int = 0,
        inter_op_threads: int = 0,
        read_only: bool = False,
    ) -> None:
        self.path = Path(path)
        self.timeout = timeout
        options = [f"--op-library={os.fspath(library)}" for library in op_libraries]
        options += [f"--intra-op-threads={intra_op_threads}"]
        options += [f"--inter-op-threads={inter_op_threads}"]
        if libraries is not None:
            options += [f"--libraries={os.fspath(libraries)}"]
        if read_only:
            options += ["--read-only"]
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the process)
        self._log_start = 0
        self._process = subprocess.Popen(
            [*WORKER_COMMAND, *options, "--", os.fspath(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=worker_environment(),
        )
        try:
            loaded = self._request()
        except BaseException:
            self.close()
            raise
        # Start-up messages do not explain a later crash.
        self._log_start = os.fstat(self._log.fileno()).st_size
        self.tensorflow_version = loaded["tensorflow_version"]
        self.read_only = loaded["read_only"]
        self.signatures = {
            name: Signature(_specs(signature["inputs"]), _specs(signature["outputs"]))
            for name, signature in loaded["signatures"].items()
        }

    def run(self, signature: str = "serving_default", **inputs: Any) -> dict[str, np.ndarray]:
        """Run a signature.

        Args:
            signature: name of the signature.
            **inputs: an array or nested lists for each input. Strings are bytes, or str, which is
                encoded in UTF-8.

        Returns:
            The outputs by name. Strings are object arrays of bytes.

        Raises:
            SessionError: TensorFlow returned an error status (the session stays usable), or the
                process died or timed out (it does not).
        """
        if signature not in self.signatures:
            raise SessionError(
                f"{self.path}: no signature {signature!r}, only {sorted(self.signatures)}",
                FAILED_PRECONDITION,
            )
        specs = self.signatures[signature].inputs
        if inputs.keys() != specs.keys():
            raise SessionError(
                f"{self.path}: signature {signature!r} takes {sorted(specs)}, got {sorted(inputs)}",
                INVALID_ARGUMENT,
            )
        encoded = {}
        for name, value in inputs.items():
            try:
                encoded[name] = _encode(value, specs[name].dtype)
            except (TypeError, ValueError) as error:
                message = f"{self.path}: input {name!r} of {signature!r}: {error}"
                raise SessionError(message, INVALID_ARGUMENT) from error
        response = self._request({"signature": signature, "inputs": encoded})
        return {name: _decode(value) for name, value in response["outputs"].items()}

    def close(self) -> None:
        """End the process."""
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

    def _request(self, request: dict[str, Any] | None = None) -> dict[str, Any]:
        """Send a request, if any, and wait for the next response."""
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
            # A late response would be taken for that of the next call.
            self._process.kill()
            raise
        finally:
            timer.cancel()
        if not line.endswith(b"\n"):
            raise SessionError(f"{self.path}: {self._failure_reason(time.monotonic() - started)}")
        response = json.loads(line)
        if "error" in response:
            message = " ".join(response["error"].split())  # no `one_line`: needs TensorFlow
            raise SessionError(f"{self.path}: {message}", response["code"])
        return response

    def _failure_reason(self, seconds: float) -> str:
        """Return why the process ended `seconds` after a request, with the end of its log."""
        status = self._process.wait()
        if seconds >= self.timeout:
            cause = f"no answer within {self.timeout:g} s"
        elif status < 0:
            cause = f"the worker process died of {signal.Signals(-status).name}"
        else:
            cause = f"the worker process exited with status {status}"
        end = os.fstat(self._log.fileno()).st_size
        self._log.seek(max(self._log_start, end - 10_000))
        lines = [line.strip() for line in self._log.read().decode(errors="replace").splitlines()]
        # A C++ stack trace, lines of "@ address function", follows the error message; what is
        # logged while the libraries load precedes it.
        noise = ("@ ", "I0000 ", "WARNING: All log messages before absl", "To enable the following")
        messages = [line for line in lines if line and not line.startswith(noise)]
        return "; ".join([cause, *messages[-5:]])


def worker_environment() -> dict[str, str]:
    """Return the environment of a worker process."""
    return {
        "TF_CPP_MIN_LOG_LEVEL": "2",
        **os.environ,
        "LC_ALL": "C.UTF-8",  # as in the container: some string ops depend on the locale
        "CUDA_VISIBLE_DEVICES": "",
    }


def _specs(description: dict[str, Any]) -> dict[str, TensorSpec]:
    return {
        name: TensorSpec(spec["dtype"], None if spec["shape"] is None else tuple(spec["shape"]))
        for name, spec in description.items()
    }


def _encode(value: Any, dtype: str) -> dict[str, Any]:
    """Encode a value for the worker; raise ValueError or TypeError if it does not fit `dtype`."""
    if dtype == "string":
        # dtype=object: a bytes array would strip trailing NULs.
        array = np.asarray(value, dtype=object)
        data = [base64.b64encode(_as_bytes(element)).decode() for element in array.flat]
        return {"shape": array.shape, "data": data}
    array = np.asarray(value)
    expected = np.dtype(dtype)
    # As in a server, integers are neither rounded nor wrapped. The dtype of an empty list is
    # arbitrary.
    kinds = {"b": "b", "i": "iu", "u": "iu", "f": "iuf"}[expected.kind]
    if array.size and array.dtype.kind not in kinds:
        raise ValueError(f"values of {array.dtype} cannot be taken as {dtype}")
    converted = array.astype(expected)
    if expected.kind in "iu" and not np.array_equal(array, converted):
        raise ValueError(f"values outside the range of {dtype}")
    return {"shape": array.shape, "data": converted.ravel().tolist()}


def _as_bytes(element: Any) -> bytes:
    if isinstance(element, str):
        return element.encode()
    if isinstance(element, bytes):
        return element
    raise TypeError(f"expected a string, got {element!r:.80}")


def _decode(value: dict[str, Any]) -> np.ndarray:
    if value["dtype"] == "string":
        strings = [base64.b64decode(element) for element in value["data"]]
        return np.array(strings, dtype=object).reshape(value["shape"])
    return np.array(value["data"], dtype=value["dtype"]).reshape(value["shape"])
