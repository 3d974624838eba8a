"""SavedModels that could read or write files are not run."""

import contextlib
import shutil

import pytest
import tensorflow as tf
from small_saved_models import answer, change, save
from tensorflow.core.protobuf import saved_model_pb2

import keras_s2s as s2s
from keras_s2s.cli.main import main
from keras_s2s.serving.allowed_ops import ALLOWED_OPS, unsafe_parts
from keras_s2s.serving.contract import inspect_export, require_contract
from keras_s2s.serving.graph_checks import TEXT_OPS
from keras_s2s.serving.op_libraries import registered_ops
from keras_s2s.serving.saved_model import SavedModel
from keras_s2s.serving.session import SavedModelSession

# The op, and what writes `file`.
WRITERS = {
    "WriteFile": lambda file: tf.io.write_file(file, "written"),
    "PrintV2": lambda file: tf.print("written", output_stream=f"file://{file}"),
    "SaveV2": lambda file: tf.raw_ops.SaveV2(
        prefix=file, tensor_names=["x"], shape_and_slices=[""], tensors=[tf.constant(1)]
    ),
}


def writing(write, file):
    """Return the smallest `serving_default`, which also writes a file."""

    def answers(text):
        with tf.control_dependencies([write(str(file)) or tf.no_op()]):
            return {name: tf.identity(output) for name, output in answer(text).items()}

    return answers


@pytest.fixture(scope="module")
def echo(tmp_path_factory):
    """The smallest model that follows the contract. Not to be changed."""
    return save(tmp_path_factory.mktemp("echo") / "1")


@pytest.fixture(scope="module")
def writer(tmp_path_factory):
    """A model that follows the contract and writes `written` when it runs. Not to be changed."""
    folder = tmp_path_factory.mktemp("writer")
    return save(folder / "1", writing(WRITERS["WriteFile"], folder / "written"))


def node_of(graph, op):
    return next(node for node in graph.node if node.op == op)


def test_exports_are_allowed(exports, attending_export):
    for folder in (exports / "1", attending_export):
        model = SavedModel(folder)
        assert not unsafe_parts(model)
        # Apart from the saver's.
        assert model.ops().keys() - ALLOWED_OPS == {
            "SaveV2", "MergeV2Checkpoints", "ShardedFilename", "RestoreV2"
        }  # fmt: skip


VARIANTS = {
    "gru": ({"cell": "gru", "bidirectional": True}, {"cell": "gru"}),
    "bahdanau": ({}, {"attention": "bahdanau", "input_feeding": True}),
    "luong": ({"residual": True}, {"attention": "luong", "tie_embeddings": True, "residual": True}),
    "bridges": (
        {"num_hiddens": 12, "num_layers": 3},
        {"attention": "luong-dot", "num_hiddens": 12, "encoder_num_layers": 3},
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("subwords", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_exports_of_all_variants_are_allowed(variant, subwords, dtype, tmp_path, monkeypatch):
    """`export` warns of one that is not, which is an error here."""
    monkeypatch.setattr("keras_s2s.translation.export.NUM_SAMPLES", 5)
    texts = [f"some word {number} again" for number in range(50)]
    tokenizer = s2s.WordTokenizer.fit(texts)
    if subwords:
        tokenizer = s2s.SentencePieceTokenizer.fit(texts, vocab_size=40)
    sizes = {"embed_size": 6, "num_hiddens": 8, "num_layers": 2, "dtype": dtype}
    encoder, decoder = ({**sizes, **options} for options in VARIANTS[variant])
    model = s2s.Seq2Seq(
        s2s.Seq2SeqEncoder(len(tokenizer), **encoder), s2s.Seq2SeqDecoder(len(tokenizer), **decoder)
    )
    options = {"replace_unknown": True} if variant == "luong" and not subwords else {}
    translator = s2s.Translator(model, tokenizer, tokenizer, num_steps=6, beam_size=3, **options)
    folder = translator.export(tmp_path / "m", sentences=["some word", "again"])
    assert not unsafe_parts(SavedModel(folder))


def test_an_export_that_is_not_allowed_warns(writer):
    warning = pytest.warns(UserWarning, match="only: trusted; holds op WriteFile")
    with warning, contextlib.suppress(s2s.ExportError):  # writing is refused
        require_contract(writer)


def test_allowed_ops_exist_and_use_no_files():
    core = registered_ops().names
    assert core.union(*TEXT_OPS.values()) >= ALLOWED_OPS
    words = ("File", "Save", "Restore", "Print", "Dump", "Debug", "Summary", "Dataset", "Reader")
    words += ("PyFunc", "Rpc", "Remote", "Send", "Recv", "Cache", "Iterator", "Xla", "Immutable")
    suspicious = {op for op in ALLOWED_OPS if any(word in op for word in words)}
    assert suspicious == {"InitializeTableFromTextFileV2"}, "its file has to be an asset"


@pytest.mark.parametrize("op", WRITERS)
def test_ops_that_write(op, tmp_path):
    folder = save(tmp_path / "1", writing(WRITERS[op], tmp_path / "written"))
    assert any(op in problem for problem in unsafe_parts(SavedModel(folder)))


def test_a_writing_op_in_a_nested_function(tmp_path):
    @tf.function(input_signature=[])
    def inner():
        tf.io.write_file(str(tmp_path / "written"), "written")
        return True

    def write(file):
        return tf.cond(tf.random.uniform([]) > 0, inner, lambda: False)

    folder = save(tmp_path / "1", writing(write, tmp_path / "written"))
    assert unsafe_parts(SavedModel(folder)) == ["op WriteFile"]


class Table(tf.saved_model.experimental.TrackableResource):
    """A table whose initialization, which runs when the model is loaded, writes a file."""

    def __init__(self, file):
        super().__init__()
        self.file = str(file)

    def _create_resource(self):
        return tf.raw_ops.HashTableV2(key_dtype=tf.string, value_dtype=tf.int64, shared_name="t")

    def _initialize(self):
        tf.io.write_file(self.file, "written")


def test_a_writing_op_in_an_initializer(tmp_path):
    table = Table(tmp_path / "written")

    def lookup(text):
        size = tf.raw_ops.LookupTableSizeV2(table_handle=table.resource_handle)
        return {**answer(text), "score": tf.cast(tf.fill(tf.shape(text), size), tf.float32)}

    folder = save(tmp_path / "1", lookup, tracked=[table])
    assert unsafe_parts(SavedModel(folder)) == ["op WriteFile"]
    (tmp_path / "written").unlink(missing_ok=True)
    with pytest.raises(s2s.InputError, match="WriteFile"):
        s2s.ExportedTranslator(folder)
    assert inspect_export(folder).checks[-2].verdict == "not applicable"
    assert not (tmp_path / "written").exists()


def test_nothing_runs_a_writing_model(writer, tmp_path, capsys):
    written = writer.parent / "written"
    (tmp_path / "pairs.tsv").write_text("Go.\tVa !\n")
    for command in (
        ["translate", str(writer), "Go."],
        ["evaluate", str(writer), str(tmp_path / "pairs.tsv")],
        ["web", str(writer), "--port=0"],
    ):
        assert main(command) == 2
        assert "WriteFile" in capsys.readouterr().err
    assert main(["inspect", str(writer)]) == 1
    assert "WriteFile" in capsys.readouterr().out
    assert not written.exists()
    # Whoever trusts it runs it.
    assert main(["translate", "--trust", str(writer), "Go."]) == 0
    assert capsys.readouterr().out == "Go.\n"
    assert written.read_text() == "written"
    written.unlink()


def test_inspection_cannot_write(writer):
    """Even if it is trusted: where the system offers it, the process has no write access."""
    with SavedModelSession(writer, read_only=True) as session:
        if not session.read_only:
            pytest.skip("this system has no Landlock")
    inspection = inspect_export(writer, trust=True)
    checks = {check.name: check for check in inspection.checks}
    assert checks["safety"].verdict == "not applicable"
    assert checks["loading"].verdict == "passed"
    assert checks["answers"].verdict == "failed"
    assert "ermission denied" in checks["answers"].reason
    assert not (writer.parent / "written").exists()


class TestEdited:
    """Models that were changed after they were written."""

    @pytest.fixture
    def copy(self, exports, tmp_path):
        return shutil.copytree(exports / "1", tmp_path / "1")

    def problems(self, folder, edit):
        return unsafe_parts(SavedModel(change(folder, edit)))

    def test_saving_when_the_variables_are_restored(self, copy):
        def edit(meta):
            meta.saver_def.restore_op_name = meta.saver_def.save_tensor_name.partition(":")[0]

        assert any("SaveV2" in problem for problem in self.problems(copy, edit))

    def test_saving_in_a_signature(self, copy):
        def edit(meta):
            outputs = meta.signature_def["serving_default"].outputs
            outputs["translation"].name = meta.saver_def.save_tensor_name

        assert any("SaveV2" in problem for problem in self.problems(copy, edit))

    def test_saving_in_a_function_that_python_loads(self, copy):
        def edit(meta):
            save_op = meta.saver_def.save_tensor_name.partition(":")[0]
            node = next(node for node in meta.graph_def.node if node.name == save_op)
            name = node.attr["f"].func.name
            meta.object_graph_def.concrete_functions[name].bound_inputs.extend([])
            meta.object_graph_def.concrete_functions[name].SetInParent()

        assert any("SaveV2" in problem for problem in self.problems(copy, edit))

    def test_restoring_from_another_file(self, copy):
        def edit(meta):
            restore = next(
                node for node in meta.graph_def.node if node.name == meta.saver_def.restore_op_name
            )
            constant = meta.graph_def.node.add(name="elsewhere", op="Const")
            constant.attr["value"].tensor.string_val.append(b"/etc/model")
            restore.input[0] = "elsewhere"

        assert any("no asset" in problem for problem in self.problems(copy, edit))

    def test_a_vocabulary_that_is_no_asset(self, copy):
        def edit(meta):
            constant = meta.graph_def.node.add(name="elsewhere", op="Const")
            constant.attr["value"].tensor.string_val.append(b"/etc/hostname")
            for node in meta.graph_def.node:
                if "initializer" in node.attr["f"].func.name:
                    node.input[0] = "elsewhere"

        assert any("no asset" in problem for problem in self.problems(copy, edit))

    def test_a_vocabulary_that_python_binds_to_a_constant(self, copy):
        def edit(meta):
            objects = meta.object_graph_def
            constant = next(
                index for index, node in enumerate(objects.nodes) if node.HasField("constant")
            )
            for name, function in objects.concrete_functions.items():
                if "_initializer_" in name:
                    function.bound_inputs[0] = constant

        assert any("no asset" in problem for problem in self.problems(copy, edit))

    @pytest.mark.parametrize("name", ["/etc/hostname", "../../hostname"])
    def test_an_asset_outside_of_the_folder(self, copy, name):
        def edit(meta):
            meta.asset_file_def[0].filename = name

        assert self.problems(copy, edit) == [f"the asset name {name}"]

    def test_the_file_name_as_an_input(self, copy):
        def edit(meta):
            name = meta.asset_file_def[0].tensor_info.name
            meta.signature_def["serving_default"].inputs["text"].name = name

        assert any("input of a signature" in problem for problem in self.problems(copy, edit))

    def test_a_function_named_like_an_op(self, echo, tmp_path):
        def edit(meta):
            function = meta.graph_def.library.function.add()
            function.signature.name = "WriteFile"
            meta.graph_def.node.add(name="write", op="WriteFile")

        folder = shutil.copytree(echo, tmp_path / "1")
        assert self.problems(folder, edit) == ["op WriteFile"]

    def test_an_op_as_the_body_of_a_loop(self, echo, tmp_path):
        def edit(meta):
            meta.graph_def.node.add(name="loop", op="While").attr["body"].func.name = "WriteFile"

        folder = shutil.copytree(echo, tmp_path / "1")
        assert self.problems(folder, edit) == ["op WriteFile"]

    def test_another_graph_than_the_checked_one(self, echo, tmp_path):
        folder = shutil.copytree(echo, tmp_path / "1")
        shutil.copy(folder / "saved_model.pb", folder / "saved_model.cpb")
        assert unsafe_parts(SavedModel(folder)) == ["saved_model.cpb beside saved_model.pb"]
        (folder / "saved_model.cpb").unlink()
        file = folder / "saved_model.pb"
        saved = saved_model_pb2.SavedModel.FromString(file.read_bytes())
        saved.meta_graphs.add().CopyFrom(saved.meta_graphs[0])
        file.write_bytes(saved.SerializeToString())
        assert unsafe_parts(SavedModel(folder)) == ["2 graphs"]


def test_a_damaged_model_is_no_traceback(echo, tmp_path):
    """A node without inputs, where one is expected."""

    def edit(meta):
        function = meta.graph_def.library.function[0]
        function.node_def.add(name="initializes", op="InitializeTableV2")

    folder = change(shutil.copytree(echo, tmp_path / "1"), edit)
    assert not inspect_export(folder).passed
