"""SavedModels in the runtime of TF Serving."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_s2s.serving.session
from keras_s2s.serving.op_libraries import tensorflow_text_libraries
from keras_s2s.serving.session import (
    SavedModelSession,
    SessionError,
    Signature,
    TensorSpec,
)

INVALID_ARGUMENT, NOT_FOUND, FAILED_PRECONDITION, INTERNAL = 3, 5, 9, 13
WORKER = Path(keras_s2s.serving.session.__file__).with_name("session_worker.py")
TEXTS = tf.TensorSpec([None], tf.string, name="text")


def function(*specs: tf.TensorSpec, **options):
    return tf.function(input_signature=specs, **options)


class Signatures(tf.Module):
    """A signature for each feature of the session."""

    @function(TEXTS)
    def echo(self, text):
        return {"same": text, "reversed": tf.reverse(text, [0]), "size": tf.strings.length(text)}

    @function(
        tf.TensorSpec([None, 2], tf.float32, name="weights"),
        tf.TensorSpec([], tf.int64, name="step"),
        tf.TensorSpec([None], tf.bool, name="mask"),
        tf.TensorSpec(None, tf.int32, name="ids"),
    )
    def numbers(self, weights, step, mask, ids):
        return {
            "weights": weights / 3,
            "step": step + 1,
            "mask": tf.logical_not(mask),
            "ids": ids,
            "small": tf.cast(ids, tf.uint8),
            "half": tf.cast(weights, tf.float16),
        }

    @function(TEXTS)
    def parse(self, text):
        return {"number": tf.strings.to_number(text)}

    @function(TEXTS)
    def brain_floats(self, text):
        return {"number": tf.cast(tf.strings.to_number(text), tf.bfloat16)}

    @function(TEXTS)
    def chatter(self, text):
        tf.print(text, output_stream=sys.stdout)
        return {"text": text}

    @function(TEXTS)
    def abort(self, text):
        with tf.control_dependencies([tf.raw_ops.Abort(error_msg="on purpose")]):
            return {"text": tf.identity(text)}

    @function(tf.TensorSpec([], tf.int32, name="rounds"))
    def count(self, rounds):
        return {"rounds": tf.while_loop(lambda i: i < rounds, lambda i: (i + 1,), (0,))[0]}

    @function(tf.TensorSpec([None], tf.float32, name="x"), jit_compile=True)
    def compiled(self, x):
        return {"y": x * 2}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("signatures") / "1"
    module = Signatures()
    names = ["echo", "numbers", "parse", "brain_floats", "chatter", "abort", "count", "compiled"]
    signatures = {name: getattr(module, name) for name in names}
    tf.saved_model.save(module, path, signatures={"serving_default": module.echo, **signatures})
    return path


@pytest.fixture(scope="module")
def shared_session(model: Path) -> Iterator[SavedModelSession]:
    with SavedModelSession(model) as session:
        yield session


@pytest.fixture
def fresh_session(model: Path) -> Iterator[SavedModelSession]:
    """A session for tests that break it."""
    with SavedModelSession(model) as session:
        yield session


def test_signatures_are_described(shared_session: SavedModelSession) -> None:
    assert shared_session.tensorflow_version == tf.__version__
    assert shared_session.signatures["serving_default"] == Signature(
        inputs={"text": TensorSpec("string", (-1,))},
        outputs={
            "same": TensorSpec("string", (-1,)),
            "reversed": TensorSpec("string", (-1,)),
            "size": TensorSpec("int32", (-1,)),
        },
    )
    assert shared_session.signatures["numbers"].inputs == {
        "weights": TensorSpec("float32", (-1, 2)),
        "step": TensorSpec("int64", ()),
        "mask": TensorSpec("bool", (-1,)),
        "ids": TensorSpec("int32", None),
    }
    # Without the init op, which is an entry of signature_def too.
    assert len(shared_session.signatures) == 9


@pytest.mark.parametrize("size", [0, 1, 22, 23, 24, 100, 1_000_000])
def test_strings_of_all_sizes(shared_session: SavedModelSession, size: int) -> None:
    # TF_TString stores 23 bytes and more on the heap.
    texts = [b"x" * size, b"\0" * size, bytes(range(256)) * (size // 256) + b"\xff" * (size % 256)]
    outputs = shared_session.run(text=texts)
    assert outputs["same"].tolist() == texts
    assert outputs["reversed"].tolist() == texts[::-1]
    assert outputs["size"].tolist() == [size] * 3


@pytest.mark.parametrize(
    "texts",
    [["é", "日本語\0"], ("é", "日本語\0"), np.array(["é", "日本語\0"], dtype=object)],
    ids=["list", "tuple", "array"],
)
def test_str_is_utf8(shared_session: SavedModelSession, texts) -> None:
    same = shared_session.run(text=texts)["same"]
    assert same.dtype == object
    assert same.tolist() == ["é".encode(), "日本語\0".encode()]


def test_empty_batch(shared_session: SavedModelSession) -> None:
    outputs = shared_session.run(text=[])
    assert {name: output.shape for name, output in outputs.items()} == {
        "same": (0,),
        "reversed": (0,),
        "size": (0,),
    }
    assert (outputs["same"].dtype, outputs["size"].dtype) == (object, np.int32)
    numbers = shared_session.run(
        "numbers", weights=np.zeros((0, 2)), step=0, mask=[], ids=np.zeros((3, 0), np.int64)
    )
    assert numbers["ids"].shape == (3, 0)


def test_numbers(shared_session: SavedModelSession) -> None:
    weights = np.array([[1, np.inf], [np.nan, 1e-30]], dtype=np.float32)
    outputs = shared_session.run(
        "numbers", weights=weights, step=2**53, mask=[True, False], ids=[[[1], [-2]]]
    )
    expected = {
        "weights": weights / 3,
        "step": np.array(2**53 + 1),
        "mask": np.array([False, True]),
        "ids": np.array([[[1], [-2]]], np.int32),
        "small": np.array([[[1], [254]]], np.uint8),
        "half": weights.astype(np.float16),
    }
    assert outputs.keys() == expected.keys()
    for name, value in expected.items():
        assert outputs[name].dtype == value.dtype
        np.testing.assert_array_equal(outputs[name], value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"step": 1.5}, "values of float64 cannot be taken as int64"),
        ({"step": 2**63}, "values outside the range of int64"),
        ({"ids": [2**31]}, "values outside the range of int32"),
        ({"mask": [1]}, "values of int64 cannot be taken as bool"),
        ({"weights": ["1"]}, "values of <U1 cannot be taken as float32"),
        ({"weights": [[1.0, 2.0], [3.0]]}, "inhomogeneous"),
    ],
)
def test_inputs_are_not_cast_lossily(
    shared_session: SavedModelSession, change: dict, message: str
) -> None:
    inputs = {"weights": [[1.0, 2.0]], "step": 1, "mask": [True], "ids": [1]}
    with pytest.raises(SessionError, match=message) as caught:
        shared_session.run("numbers", **inputs | change)
    assert caught.value.code == INVALID_ARGUMENT


def test_wrong_calls(shared_session: SavedModelSession) -> None:
    with pytest.raises(SessionError, match="no signature 'beam'") as caught:
        shared_session.run("beam", text=["a"])
    assert caught.value.code == FAILED_PRECONDITION
    with pytest.raises(SessionError, match=r"takes \['text'\], got \['texts'\]"):
        shared_session.run(texts=["a"])
    with pytest.raises(SessionError, match="expected a string, got 1"):
        shared_session.run(text=["a", 1])


def test_a_failed_call_keeps_the_session(shared_session: SavedModelSession) -> None:
    for _ in range(2):
        with pytest.raises(SessionError, match="could not correctly convert string: abc") as caught:
            shared_session.run("parse", text=["abc"])
        assert caught.value.code == INVALID_ARGUMENT
        assert "\n" not in str(caught.value)
        assert shared_session.run("parse", text=["1.5"])["number"].tolist() == [1.5]


def test_unsupported_data_type(shared_session: SavedModelSession) -> None:
    with pytest.raises(SessionError, match="outputs of data type 14 are not supported"):
        shared_session.run("brain_floats", text=["1"])


def test_output_of_ops_is_not_a_response(shared_session: SavedModelSession) -> None:
    assert shared_session.run("chatter", text=['{"outputs": {}}'])["text"].size == 1
    assert shared_session.run(text=["a"])["same"].tolist() == [b"a"]


def test_xla_is_off(shared_session: SavedModelSession, model: Path) -> None:
    assert tf.saved_model.load(model).signatures["compiled"](tf.ones(1))["y"] == 2
    with pytest.raises(SessionError, match="XLA compilation disabled") as caught:
        shared_session.run("compiled", x=[1.0])
    assert caught.value.code == INTERNAL


def test_no_memory_leak(fresh_session: SavedModelSession) -> None:
    status = Path(f"/proc/{fresh_session._process.pid}/status")
    if not status.exists():
        pytest.skip("no /proc")

    def kilobytes() -> int:
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(fields["VmRSS"].split()[0])

    def call(times: int) -> None:
        for _ in range(times):
            fresh_session.run(text=["x" * 20_000, "short"])
            with pytest.raises(SessionError):
                fresh_session.run("parse", text=["y" * 10_000])

    call(200)
    before = kilobytes()
    call(1000)
    # Leaking the strings of 1,000 calls would take 20 MB per copy, those of failed calls 10 MB.
    assert kilobytes() - before < 5_000


def test_lookup_table_and_asset_after_a_move(tmp_path: Path) -> None:
    vocabulary = tmp_path / "vocabulary.txt"
    vocabulary.write_text("go\nwon\n", encoding="utf-8")

    class Lookup(tf.Module):
        def __init__(self) -> None:
            initializer = tf.lookup.TextFileInitializer(
                str(vocabulary),
                tf.string,
                tf.lookup.TextFileIndex.WHOLE_LINE,
                tf.int64,
                tf.lookup.TextFileIndex.LINE_NUMBER,
            )
            self.table = tf.lookup.StaticHashTable(initializer, default_value=-1)

        @function(TEXTS)
        def lookup(self, text):
            return {"ids": self.table.lookup(text)}

    module = Lookup()
    tf.saved_model.save(module, tmp_path / "here", signatures=module.lookup)
    vocabulary.unlink()
    shutil.move(tmp_path / "here", tmp_path / "there")
    with SavedModelSession(tmp_path / "there") as session:
        assert session.run(text=["won", "go", "lost"])["ids"].tolist() == [1, 0, -1]


def test_variables_of_a_module_are_not_found(tmp_path: Path) -> None:
    """A `tf.Module` around a Keras model loads in Python, but not in a server."""

    class Around(tf.Module):
        def __init__(self) -> None:
            self.model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])

        @function(tf.TensorSpec([None, 2], tf.float32, name="x"))
        def predict(self, x):
            return {"y": self.model(x)}

    module = Around()
    tf.saved_model.save(module, tmp_path / "1", signatures=module.predict)
    x = tf.ones((1, 2))
    loaded = tf.saved_model.load(tmp_path / "1").signatures["serving_default"](x)
    np.testing.assert_allclose(loaded["y"], module.predict(x)["y"])
    with (
        pytest.raises(SessionError, match="Could not find variable"),
        SavedModelSession(tmp_path / "1") as session,
    ):
        session.run(x=x.numpy())


def test_ops_of_tensorflow_text(tmp_path: Path) -> None:
    tensorflow_text = pytest.importorskip("tensorflow_text")

    class Normalize(tf.Module):
        @function(TEXTS)
        def normalize(self, text):
            return {"text": tensorflow_text.normalize_utf8(text, "NFKC")}

    module = Normalize()
    tf.saved_model.save(module, tmp_path / "1", signatures=module.normalize)
    with pytest.raises(SessionError, match="Op type not registered 'NormalizeUTF8'"):
        SavedModelSession(tmp_path / "1")
    with SavedModelSession(tmp_path / "1", op_libraries=tensorflow_text_libraries()) as session:
        assert session.run(text=["ﬁ"])["text"].tolist() == [b"fi"]


def test_missing_and_damaged_models(model: Path, tmp_path: Path) -> None:
    with pytest.raises(SessionError, match=r"Could not find SavedModel \.pb") as caught:
        SavedModelSession(tmp_path / "missing")
    assert caught.value.code == NOT_FOUND
    assert str(caught.value).startswith(str(tmp_path / "missing"))

    shutil.copytree(model, tmp_path / "damaged")
    content = (model / "saved_model.pb").read_bytes()
    for damaged in (content[: len(content) // 2], b"not a protocol buffer", b""):
        (tmp_path / "damaged" / "saved_model.pb").write_bytes(damaged)
        with pytest.raises(SessionError) as caught:
            SavedModelSession(tmp_path / "damaged")
        assert caught.value.code is not None  # TensorFlow's status, not a crash


def test_libraries(model: Path, tmp_path: Path) -> None:
    with SavedModelSession(model, libraries=Path(tf.__file__).parent) as session:
        assert session.run(text=["a"])["same"].tolist() == [b"a"]
    with pytest.raises(SessionError, match="no libtensorflow_framework in this folder"):
        SavedModelSession(model, libraries=tmp_path)
    with pytest.raises(SessionError, match=r"nothing\.so") as caught:
        SavedModelSession(model, op_libraries=[tmp_path / "nothing.so"])
    assert caught.value.code == NOT_FOUND


def test_number_of_threads(model: Path) -> None:
    with SavedModelSession(model, intra_op_threads=1, inter_op_threads=1) as session:
        assert session.run("count", rounds=3)["rounds"] == 3


def test_a_crash_is_reported_with_its_log(fresh_session: SavedModelSession) -> None:
    with pytest.raises(SessionError, match=r"died of SIGABRT.*on purpose") as caught:
        fresh_session.run("abort", text=["a"])
    assert caught.value.code is None
    assert "\n" not in str(caught.value)
    with pytest.raises(SessionError, match="died of SIGABRT"):
        fresh_session.run(text=["a"])


def test_timeout(fresh_session: SavedModelSession) -> None:
    fresh_session.timeout = 0.2
    with pytest.raises(SessionError, match=r"no answer within 0\.2 s"):
        fresh_session.run("count", rounds=2**31 - 1)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timer")
def test_an_interrupted_call_leaves_no_response(fresh_session: SavedModelSession) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(KeyboardInterrupt):
            fresh_session.run("count", rounds=2**31 - 1)
    finally:
        signal.signal(signal.SIGALRM, before)
    with pytest.raises(SessionError, match="died of SIGKILL"):
        fresh_session.run(text=["a"])


def test_close(model: Path) -> None:
    session = SavedModelSession(model)
    session.close()
    session.close()
    assert session._process.returncode == 0
    with pytest.raises(SessionError, match="the session is closed"):
        session.run(text=["a"])


def test_no_python_tensorflow_on_either_side(model: Path) -> None:
    process = subprocess.run(
        [sys.executable, WORKER, model], input=b"", capture_output=True, check=True
    )
    assert json.loads(process.stdout)["python_tensorflow"] is False
    # The module alone: the package around it imports TensorFlow.
    check = (
        "import runpy, sys; runpy.run_path(sys.argv[1]); "
        "sys.exit(bool({'tensorflow', 'keras', 'tensorflow_text'} & sys.modules.keys()))"
    )
    subprocess.run([sys.executable, "-c", check, keras_s2s.serving.session.__file__], check=True)


def test_tensorflow_text_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    empty = SimpleNamespace(find_spec=lambda name: None)
    monkeypatch.setattr("keras_s2s.serving.op_libraries.importlib.util", empty)
    with pytest.raises(SessionError, match="pip install tensorflow-text"):
        tensorflow_text_libraries()
