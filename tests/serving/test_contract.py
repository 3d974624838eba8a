"""`keras-s2s inspect` on valid exports, broken ones, and other SavedModels."""

import json
import re
import shutil
import struct
from pathlib import Path

import keras
import pytest
import tensorflow as tf
from small_saved_models import REFERENCE, TEXT, answer, change, save

import keras_s2s as s2s
from keras_s2s.serving.contract import inspect_export
from keras_s2s.serving.graph_checks import TEXT_OPS, check_folder
from keras_s2s.serving.op_libraries import registered_ops
from keras_s2s.serving.saved_model import TABLE_OPS, VARIABLE_OPS, SavedModel
from keras_s2s.serving.session import SessionError, TensorSpec
from keras_s2s.serving.writer import write_saved_model
from keras_s2s.utils.files import sha256_of

OPTIONAL = {"signature beam", "signature explain", "warm-up"}


def failures(folder):
    """Return the reasons of the failed checks, by name."""
    checks = inspect_export(folder, trust=True).checks
    return {check.name: check.reason for check in checks if check.verdict == "failed"}


@pytest.fixture(scope="module")
def export(exports):
    """A real export. Not to be changed."""
    return exports / "1"


@pytest.fixture(scope="module")
def inspection(export):
    return inspect_export(export)


@pytest.fixture(scope="module")
def echo(tmp_path_factory):
    """The smallest model that follows the contract. Not to be changed."""
    return save(tmp_path_factory.mktemp("echo") / "1")


@pytest.fixture
def copy(export, tmp_path):
    """A real export to be changed."""
    return shutil.copytree(export, tmp_path / "7")


class TestExport:
    def test_it_follows_the_contract(self, inspection):
        assert inspection.passed, inspection.report()
        not_passed = {c.name for c in inspection.checks if c.verdict != "passed"}
        assert not_passed <= OPTIONAL

    def test_inspection(self, inspection, export, translator):
        serving = inspection.signatures["serving_default"]
        assert serving.inputs == {"text": TensorSpec("string", (-1,))}
        assert serving.outputs["score"] == TensorSpec("float32", (-1,))
        assert inspection.ops["While"] >= 1
        vocabularies = (export / "assets").iterdir()
        assert inspection.assets == {file.name: file.stat().st_size for file in vocabularies}
        sizes = inspection.sizes
        assert sizes["total"] == sum(f.stat().st_size for f in export.rglob("*") if f.is_file())
        assert sizes["graph"] == (export / "saved_model.pb").stat().st_size
        assert sizes["assets"] == sum(inspection.assets.values())
        weights = translator.model.trainable_variables
        assert inspection.model["variables"] == len(weights)
        assert inspection.model["parameters"] == sum(w.numpy().size for w in weights)
        assert sizes["variables"] > 4 * inspection.model["parameters"]
        record = json.loads((export / "assets.extra" / "proof.json").read_text(encoding="utf-8"))
        assert inspection.model["proof"] == record
        versions = inspection.versions
        assert versions["tensorflow"] == versions["checked_with"] == tf.__version__
        assert versions["minimum_server"] is None
        assert versions["min_consumer"] < versions["producer"]

    def test_report(self, inspection, export):
        report = inspection.report()
        assert report.startswith(f"{export}\nsignatures\n")
        for excerpt in (
            "    out  translation       string [-1]\n",
            "target_vocabulary.txt  ",
            f"written by TensorFlow {tf.__version__}",
            f"{inspection.model['variables']} with {inspection.model['parameters']:,} parameters",
            "batch sizes [1, 33]",
            "  passed          ops - ",
            "  not applicable  signature explain - ",
            " 0 failed, ",
        ):
            assert excerpt in report
        assert all(len(line) <= 100 for line in report.splitlines()[1:])

    def test_it_is_read_without_tensorflow(self, fresh_python, export):
        code = """
import sys
sys.argv = ["keras-s2s", "inspect", sys.argv[1], "--json"]
from keras_s2s.cli import main
status = main(sys.argv[1:])
assert status == 0
assert not {"keras", "tensorflow", "tensorflow.python"} & sys.modules.keys()
import tensorflow as tf  # the stub is gone
assert tf.function(lambda x: x + 1)(1) == 2
"""
        lines = fresh_python(code, export).splitlines()
        assert len(lines) == 1
        assert json.loads(lines[0])["passed"]


class TestCommand:
    def test_report(self, command, export, inspection):
        assert command("inspect", export) == (0, f"{inspection.report()}\n", "")

    def test_json(self, command, export, inspection):
        outcome = command("inspect", export, "--json")
        assert (outcome.status, outcome.err) == (0, "")
        result = json.loads(outcome.out)
        assert result == json.loads(json.dumps(inspection.as_dict()))
        assert result["passed"]
        assert result["signatures"]["score"]["inputs"]["text"] == {"dtype": "string", "shape": [-1]}
        assert {check["verdict"] for check in result["checks"]} == {"passed", "not applicable"}

    def test_failed_checks_set_the_exit_status(self, command, tmp_path):
        tf.saved_model.save(tf.Module(), tmp_path / "1")
        outcome = command("inspect", tmp_path / "1")
        assert (outcome.status, outcome.err) == (1, "")
        assert "FAILED          signature serving_default - missing" in outcome.out
        outcome = command("inspect", tmp_path / "1", "--json")
        assert (outcome.status, json.loads(outcome.out)["passed"]) == (1, False)

    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            (None, "no saved_model.pb in this folder"),
            (b"", "saved_model.pb: holds no graph"),
            (b"not a protocol buffer", "saved_model.pb: is damaged"),
            (b"half", "saved_model.pb: is damaged"),
        ],
    )
    def test_bad_input(self, content, expected, command, echo, tmp_path):
        if content is not None:
            whole = (echo / "saved_model.pb").read_bytes()
            content = whole[: len(whole) // 2] if content == b"half" else content
            (tmp_path / "saved_model.pb").write_bytes(content)
        outcome = command("inspect", tmp_path)
        assert (outcome.status, outcome.out) == (2, "")
        assert str(tmp_path) in outcome.err
        assert expected in outcome.err
        assert outcome.err.count("\n") == 1

    def test_a_folder_of_versions(self, command, exports):
        assert f"one of its versions: {exports}/2" in command("inspect", exports).err
        assert "no such folder" in command("inspect", exports / "3").err


class TestBrokenExports:
    """Exports that pass in Python and fail or answer differently in a server."""

    def test_an_untracked_table(self, tmp_path):
        def lookup(text):
            table = tf.raw_ops.HashTableV2(
                key_dtype=tf.string, value_dtype=tf.int64, shared_name="vocabulary"
            )
            ids = tf.raw_ops.LookupTableFindV2(
                table_handle=table, keys=text, default_value=tf.constant(0, tf.int64)
            )
            return {**answer(text), "num_tokens": tf.ensure_shape(tf.cast(ids, tf.int32), [None])}

        failed = failures(save(tmp_path / "1", lookup))
        assert failed.keys() == {"tables", "answers"}
        assert "vocabulary: not initialized" in failed["tables"]
        assert "a request fails: Table not initialized" in failed["answers"]

    def test_a_keras_model_in_a_bare_module(self, tmp_path):
        layer = keras.layers.Embedding(40, 1)
        layer.build(None)

        def embed(text):
            return {**answer(text), "score": layer(tf.strings.length(text) % 40)[:, 0]}

        folder = save(tmp_path / "1", embed, tracked=[layer])
        loaded = tf.saved_model.load(folder)
        assert loaded.serving_default(tf.constant(["a"]))["score"].shape == 1
        failed = failures(folder)
        assert failed.keys() == {"variables", "answers"}
        assert "embeddings: not initialized" in failed["variables"]
        assert "Could not find variable" in failed["answers"]

    @pytest.mark.parametrize("nested", [False, True])
    def test_a_compiled_function(self, nested, tmp_path):
        @tf.function(jit_compile=True)
        def compiled(number):
            return number + 0.0

        inner = tf.function(compiled) if nested else compiled

        def add(text):
            result = answer(text)
            return {**result, "score": inner(result["score"])}

        failed = failures(save(tmp_path / "1", add))
        assert failed.keys() == {"no XLA", "answers"}
        assert "compiled" in failed["no XLA"]
        assert "XLA compilation disabled" in failed["answers"]

    def test_a_translation_that_depends_on_the_batch(self, translator, tmp_path):
        def copies_the_first(text):
            result = translator.answer(text)
            words = result["translation"]
            return {**result, "translation": tf.where(tf.size(words) > 30, words[0], words)}

        signatures = {
            "serving_default": (copies_the_first, [TEXT]),
            "score": (translator.score, [TEXT, REFERENCE]),
        }
        failed = failures(write_saved_model(tmp_path / "en-fr", signatures, [translator]))
        assert "answers" in failed
        assert "another answer alone than in a batch" in failed["answers"]


def python(text):
    same = tf.ensure_shape(tf.numpy_function(lambda t: t, [text], tf.string), [None])
    return {**answer(text), "translation": same}


def cudnn(text):
    size = tf.raw_ops.CudnnRNNParamsSize(
        num_layers=1, num_units=2, input_size=2, T=tf.float32, S=tf.int32
    )
    length = tf.strings.length(text)
    return {**answer(text), "num_tokens": tf.ensure_shape(length + size, [None])}


def on_a_gpu(text):
    with tf.device("/GPU:0"):
        return {**answer(text), "score": tf.zeros_like(tf.strings.length(text), tf.float32)}


def a_file(text):
    content = tf.io.read_file("/no/such/file")
    return {**answer(text), "translation": text + content}


def raw_bytes(text):
    return {**answer(text), "translation": text}


def never_empty(text):
    return {**answer(text), "translation": answer(text)["translation"] + "!"}


def first_row_only(text):
    return {name: tf.ensure_shape(value[:1], [None]) for name, value in answer(text).items()}


@pytest.mark.parametrize(
    ("function", "check", "reason"),
    [
        (python, "no Python", "PyFunc: "),
        (cudnn, "no cuDNN", "CudnnRNNParamsSize: "),
        (on_a_gpu, "no devices", r"/device:GPU:0 \(\d nodes\): "),
        (a_file, "self-contained", r"constant .* is the file name /no/such/file: "),
        (raw_bytes, "answers", "not UTF-8"),
        (never_empty, "answers", "^b'' gets a translation although it is empty"),
        (first_row_only, "answers", r"a request fails: 40 texts get \[1, 1, 1\] answers"),
    ],
)
def test_unsupported_models(function, check, reason, tmp_path):
    failed = failures(save(tmp_path / "1", function))
    assert failed.keys() <= {check, "answers", *(["no devices"] if function is python else [])}
    assert re.search(reason, failed[check])


class TestSignatures:
    def test_optional_signatures(self, tmp_path):
        def beam(text):
            both = tf.stack([text, text], axis=1)
            return {"translations": both, "scores": tf.cast(tf.strings.length(both), tf.float32)}

        def explain(text):
            tokens = tf.strings.bytes_split(text).to_tensor()
            both = tf.concat([tokens, tokens], axis=1)
            attention = tf.zeros([tf.shape(both)[0], tf.shape(both)[1], tf.shape(tokens)[1]])
            return {"source_tokens": tokens, "target_tokens": both, "attention": attention}

        assert failures(save(tmp_path / "1", beam=beam, explain=explain)) == {}

        def other_sizes(text):
            return {**beam(text), "scores": tf.zeros([tf.shape(text)[0], 3])}

        failed = failures(save(tmp_path / "2", beam=other_sizes, extra=answer))
        assert failed.keys() == {"signature beam", "other signatures"}
        assert failed["signature beam"].startswith(
            "output translations is string [-1, 2], expected string [-1, n]: "
        )
        assert failed["other signatures"].startswith("extra: ")

    def test_wrong_names_types_and_shapes(self, tmp_path):
        def wrong(text):
            result = answer(text)
            return {
                "translation_bytes": result["translation"],
                "score": tf.cast(result["score"], tf.float64),
                "num_tokens": tf.reduce_sum(result["num_tokens"]),
            }

        inspection = inspect_export(save(tmp_path / "1", wrong, score=None))
        reasons = {check.name: check.reason for check in inspection.checks}
        serving = reasons["signature serving_default"]
        assert "output num_tokens is int32 [], expected int32 [-1]" in serving
        assert "output score is float64 [-1], expected float32 [-1]" in serving
        assert "no output translation, unexpected output translation_bytes" in serving
        assert reasons["signature score"].startswith("missing")
        assert reasons["rows"].startswith("output num_tokens of serving_default is int32 []: ")
        assert "translation_bytes of serving_default is base64" in reasons["outputs"]
        assert "signature serving_default, score" in reasons["answers"]

    @pytest.mark.parametrize("ragged", [False, True])
    def test_composite_tensors(self, ragged, tmp_path):
        def words(text):
            words = tf.strings.split(text)
            return {**answer(text), "words": words if ragged else words.to_sparse()}

        failed = failures(save(tmp_path / "1", words))
        assert failed.keys() == {"signature serving_default", "outputs"}
        assert "words of serving_default is sparse, ragged" in failed["outputs"]

    def test_no_method_or_tag(self, echo, tmp_path):
        def edit(graph):
            graph.signature_def["score"].method_name = ""
            graph.meta_info_def.tags[:] = ["train"]

        failed = failures(change(shutil.copytree(echo, tmp_path / "1"), edit))
        assert failed.keys() == {"tag", "signature score", "loading"}
        assert failed["tag"].startswith("tagged train: ")
        assert (
            "its method is '', expected 'tensorflow/serving/predict'" in failed["signature score"]
        )
        assert "Could not find meta graph" in failed["loading"]


class TestOps:
    def test_the_registry_excludes_python_packages(self):
        core = registered_ops()
        assert core.tensorflow_version == tf.__version__
        assert {"While", "BlockLSTM", "InitializeTableFromTextFileV2"} <= core.names
        assert not core.names & frozenset().union(*TEXT_OPS.values())

    def test_bad_libraries(self, echo, tmp_path):
        with pytest.raises(SessionError, match="no libtensorflow_framework"):
            registered_ops(str(tmp_path))
        with pytest.raises(s2s.InputError, match="libraries do not work here"):
            inspect_export(echo, libraries=tmp_path)

    def test_an_unknown_op(self, echo, tmp_path):
        def edit(graph):
            graph.graph_def.node.add(name="strange", op="MyOwnOp")

        failed = failures(change(shutil.copytree(echo, tmp_path / "1"), edit))
        assert failed.keys() == {"ops", "loading"}
        assert "MyOwnOp: neither in TensorFlow" in failed["ops"]
        assert "Op type not registered 'MyOwnOp'" in failed["loading"]

    def test_tensorflow_text(self, tmp_path, monkeypatch):
        text = pytest.importorskip("tensorflow_text")

        def normalize(sentence):
            return {
                **answer(sentence),
                "translation": text.normalize_utf8(answer(sentence)["translation"]),
            }

        def trim(sentence):
            words = tf.strings.split(answer(sentence)["translation"])
            trimmed = text.RoundRobinTrimmer(10).trim([words])[0]
            return {**answer(sentence), "translation": tf.strings.reduce_join(trimmed, axis=1)}

        for version, function in (("2.12", normalize), ("2.20", trim)):
            inspection = inspect_export(save(tmp_path / version, function))
            assert inspection.passed, inspection.report()
            assert inspection.versions["minimum_server"] == version
            assert f"for TF Serving from {version}" in " ".join(inspection.report().split())

        libraries = Path(tf.__file__).parent
        for check in inspect_export(tmp_path / "2.12", libraries).checks[-2:]:
            assert check.verdict == "not applicable"
            assert check.reason.startswith("TensorFlow Text is available for the installed")

        def missing():
            raise SessionError("TensorFlow Text is not installed")

        monkeypatch.setattr("keras_s2s.serving.runtime_check.tensorflow_text_libraries", missing)
        verdicts = {c.name: c.verdict for c in inspect_export(tmp_path / "2.12").checks}
        assert verdicts["loading"] == verdicts["answers"] == "not applicable"


class TestFolder:
    def test_links(self, copy, export):
        vocabulary = copy / "assets" / "source_vocabulary.txt"
        vocabulary.rename(copy / "vocabulary.txt")
        vocabulary.symlink_to("../vocabulary.txt")
        assert failures(copy) == {}
        vocabulary.unlink()
        vocabulary.symlink_to(export / "assets" / "source_vocabulary.txt")
        failed = failures(copy)
        assert failed.keys() == {"self-contained"}
        assert "assets/source_vocabulary.txt links to /" in failed["self-contained"]

    def test_an_asset_is_missing(self, copy):
        (copy / "assets" / "source_vocabulary.txt").unlink()
        inspection = inspect_export(copy)
        assert inspection.assets["source_vocabulary.txt"] is None
        assert "source_vocabulary.txt  MISSING" in inspection.report()
        failed = {c.name: c.reason for c in inspection.checks if c.verdict == "failed"}
        assert failed.keys() == {"assets", "proof", "loading"}
        assert "source_vocabulary.txt is missing: a server cannot load" in failed["assets"]
        assert "No such file or directory" in failed["loading"]

    @pytest.mark.parametrize("name", ["/etc/hostname", "../../vocabulary.txt"])
    def test_an_asset_outside_the_folder(self, name, copy):
        def edit(graph):
            graph.asset_file_def[0].filename = name

        assert f"{name} is not in assets/" in failures(change(copy, edit))["assets"]

    def test_a_file_has_changed(self, copy):
        vocabulary = copy / "assets" / "target_vocabulary.txt"
        lines = vocabulary.read_text(encoding="utf-8").splitlines()
        lines[4:] = reversed(lines[4:])
        vocabulary.write_text("\n".join(lines) + "\n", encoding="utf-8")
        failed = failures(copy)
        assert failed.keys() == {"proof", "answers"}
        assert failed["proof"].startswith("assets/target_vocabulary.txt: changed since")
        assert "gets another answer than when the export was verified" in failed["answers"]

    def test_names_outside_of_the_folder_are_not_opened(self, copy):
        (copy.parent / "secret").write_bytes(b"secret")
        (copy / "assets.extra" / "proof.json").write_text(
            json.dumps({"sha256": {"../secret": sha256_of(b"secret"), "a\0": "", "a" * 300: ""}})
        )
        assert "../secret" in failures(copy)["proof"]

    def test_a_damaged_record(self, copy):
        for content in (b"{", b"[1]", b"[" * 100_000):
            (copy / "assets.extra" / "proof.json").write_bytes(content)
            assert failures(copy).keys() == {"proof"}

    def test_damaged_variables(self, copy):
        data = next((copy / "variables").glob("*.data-*"))
        data.write_bytes(data.read_bytes()[:1000])
        assert {"proof", "loading"} == failures(copy).keys()

    def test_warm_up(self, echo, tmp_path):
        folder = shutil.copytree(echo, tmp_path / "1")
        record = struct.pack("<QI", 5, 0) + b"12345" + bytes(4)
        file = folder / "assets.extra" / "tf_serving_warmup_requests"
        file.parent.mkdir()
        for content, count, wrong in (
            (b"", 0, None),
            (record * 3, 3, None),
            (record * 3 + record[:-1], 3, "cut off after 3 requests"),
            (record * 3 + record[:5], 3, "cut off after 3 requests"),
            (record * 1001, 1001, "1001 requests are more than 1000"),
        ):
            file.write_bytes(content)
            model = SavedModel(folder)
            assert model.warmup_requests().num_requests == count
            check = next(check for check in check_folder(model) if check.name == "warm-up")
            assert check.verdict == ("failed" if wrong else "passed")
            assert (wrong or f"a server runs {count} requests") in check.reason
        assert inspect_export(folder).warmup_requests == 1001


class TestOtherModels:
    def test_a_vocabulary_file(self, tmp_path):
        vocabulary = tmp_path / "vocabulary.txt"
        vocabulary.write_text("go\nwon\n", encoding="utf-8")
        initializer = tf.lookup.TextFileInitializer(
            str(vocabulary),
            tf.string,
            tf.lookup.TextFileIndex.WHOLE_LINE,
            tf.int64,
            tf.lookup.TextFileIndex.LINE_NUMBER,
        )
        table = tf.lookup.StaticHashTable(initializer, default_value=-1)

        def lookup(text):
            return {**answer(text), "num_tokens": tf.cast(table.lookup(text), tf.int32)}

        inspection = inspect_export(save(tmp_path / "1", lookup, tracked=[table]))
        assert inspection.assets == {"vocabulary.txt": 7}
        failed = {c.name: c.reason for c in inspection.checks if c.verdict == "failed"}
        assert failed.keys() == {"traces"}
        assert str(vocabulary) in failed["traces"]

    @pytest.mark.filterwarnings("ignore")
    @pytest.mark.parametrize(
        ("initialized", "resource"), [(True, True), (True, False), (False, True)]
    )
    def test_tensorflow_1(self, initialized, resource, tmp_path):
        v1 = tf.compat.v1
        with tf.Graph().as_default(), v1.Session() as session:
            text = v1.placeholder(tf.string, [None], name="text")
            keys, values = tf.constant(["a"]), tf.constant([1], tf.int64)
            initializer = tf.lookup.KeyValueTensorInitializer(keys, values)
            table = tf.lookup.StaticHashTable(initializer, -1)
            weights = v1.get_variable("weights", shape=[3], use_resource=resource)
            number = tf.cast(table.lookup(text), tf.float32) * weights[0]
            session.run([v1.global_variables_initializer(), v1.tables_initializer()])
            v1.saved_model.simple_save(
                session,
                str(tmp_path / "1"),
                {"text": text},
                {"number": number},
                legacy_init_op=v1.tables_initializer() if initialized else None,
            )
        failed = failures(tmp_path / "1")
        assert {"signature serving_default", "signature score"} <= failed.keys()
        assert ("tables" in failed) is not initialized
        assert failed.keys() <= {"signature serving_default", "signature score", "tables"}
        model = SavedModel(tmp_path / "1")
        assert (
            len(model.used_resources(VARIABLE_OPS))
            == len(model.initialized_resources(VARIABLE_OPS))
            == 1
        )
        assert len(model.used_resources(TABLE_OPS)) == 1

    def test_unprintable_names_are_escaped(self, echo, tmp_path):
        def edit(graph):
            graph.signature_def["\x1b[31mred\u202e"].CopyFrom(graph.signature_def["score"])

        report = inspect_export(change(shutil.copytree(echo, tmp_path / "1"), edit)).report()
        assert "\\x1b[31mred\\u202e" in report
        assert all(line.isprintable() for line in report.splitlines())
