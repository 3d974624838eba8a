"""The ops of TensorFlow's C++ libraries, and those of TensorFlow Text, which a server links."""

import functools
import importlib.util
import json
import subprocess
from pathlib import Path
from typing import NamedTuple

from keras_s2s.serving.session import WORKER_COMMAND, SessionError, worker_environment


class RegisteredOps(NamedTuple):
    """The ops of TensorFlow's C++ libraries, and their version."""

    names: frozenset[str]
    tensorflow_version: str


@functools.cache
def registered_ops(libraries: str | None = None) -> RegisteredOps:
    """List the ops of TensorFlow's C++ libraries, without those that Python packages register.

    Args:
        libraries: as for `SavedModelSession`.

    Raises:
        SessionError: the libraries cannot be loaded.

    Example:

    >>> "While" in registered_ops().names
    True
    """
    options = ["--list-ops", *([] if libraries is None else [f"--libraries={libraries}"])]
    process = subprocess.run(
        [*WORKER_COMMAND, *options], env=worker_environment(), capture_output=True, check=False
    )
    if not process.stdout.endswith(b"\n"):
        raise SessionError(f"the worker process exited with status {process.returncode}")
    response = json.loads(process.stdout)
    if "error" in response:
        raise SessionError(response["error"], response["code"])
    return RegisteredOps(frozenset(response["ops"]), response["tensorflow_version"])


def tensorflow_text_libraries() -> list[Path]:
    """Find the op libraries of the installed TensorFlow Text, without importing it.

    Stock `tensorflow_model_server` links these ops; a `SavedModelSession` has to load them.

    Returns:
        Paths for the `op_libraries` of `SavedModelSession`.

    Raises:
        SessionError: TensorFlow Text is not installed.

    Example:

    ```python
    with SavedModelSession(path, op_libraries=tensorflow_text_libraries()) as session:
        session.run(text=["Go ."])
    ```
    """
    spec = importlib.util.find_spec("tensorflow_text")
    if spec is None or not spec.submodule_search_locations:
        raise SessionError("TensorFlow Text is not installed: pip install tensorflow-text")
    folder = Path(spec.submodule_search_locations[0])
    return sorted((folder / "python" / "ops").glob("_*.so"))
