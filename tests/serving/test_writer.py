"""Exports: their contract, and that served output equals Python output."""

import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_s2s as s2s
from keras_s2s.serving.session import SavedModelSession
from keras_s2s.serving.verification import EDGE_CASES, verify_export
from keras_s2s.serving.writer import versions, write_saved_model
from keras_s2s.utils.text import encode_texts

CLI = [sys.executable, "-m", "tensorflow.python.tools.saved_model_cli"]


@pytest.fixture(scope="module")
def export(exports):
    """The version folder of an export. Not to be changed."""
    return exports / "1"


@pytest.fixture(scope="module")
def session(export, tmp_path_factory):
    """The export as a server loads it: moved, in a fresh process, without Python TensorFlow."""
    moved = tmp_path_factory.mktemp("elsewhere") / "7"
    shutil.copytree(export, moved)
    with SavedModelSession(moved) as session:
        yield session


def test_served_output_equals_python_output(translator, session, phrasebook):
    texts = encode_texts([*EDGE_CASES, *phrasebook.source[:700]])
    expected, scores = translator.translate(texts, return_scores=True)
    assert len(set(expected)) > 100, "the model has too few distinct answers for this test"
    for start in range(0, len(texts), 37):
        batch = slice(start, start + 37)
        answer = session.run(text=texts[batch])
        assert [text.decode() for text in answer["translation"]] == expected[batch]
        np.testing.assert_allclose(answer["score"], scores[batch], rtol=1e-4, atol=1e-4)


def test_signatures_follow_the_contract(session):
    text, number = ("string", (-1,)), ("int32", (-1,))
    serving = session.signatures["serving_default"]
    assert serving.inputs == {"text": text}
    assert serving.outputs == {
        "translation": text,
        "score": ("float32", (-1,)),
        "num_tokens": number,
        "confidence": ("float32", (-1,)),
        "num_unknown": number,
    }
    score = session.signatures["score"]
    assert score.inputs == {"text": text, "reference": text}
    assert score.outputs == {"score": ("float32", (-1,)), "num_tokens": number}


def test_vocabularies_are_assets(export, translator):
    for side in ("source", "target"):
        file = export / "assets" / f"{side}_vocabulary.txt"
        tokenizer = s2s.WordTokenizer.load(file)
        assert tokenizer.vocabulary == getattr(translator, f"{side}_tokenizer").vocabulary
    graph = (export / "saved_model.pb").read_bytes()
    # The vocabulary is in the files only, not in the graph.
    assert b"aujourd'hui" in (export / "assets" / "target_vocabulary.txt").read_bytes()
    assert b"aujourd'hui" not in graph


def test_the_export_contains_no_local_path(export):
    for name in ("saved_model.pb", "assets.extra/proof.json"):
        content = (export / name).read_bytes()
        assert str(Path.home()).encode() + b"/" not in content
        assert str(Path(s2s.__file__).parent).encode() not in content
        assert b"/tmp/" not in content


def test_only_core_operations(export):
    from tensorflow.core.protobuf import saved_model_pb2

    proto = saved_model_pb2.SavedModel.FromString((export / "saved_model.pb").read_bytes())
    graph = proto.meta_graphs[0].graph_def
    nodes = [*graph.node, *(node for f in graph.library.function for node in f.node_def)]
    operations = {node.op for node in nodes}
    assert "While" in operations, "the search is one loop in the graph"
    assert not {op for op in operations if "PyFunc" in op or "Cudnn" in op or "Xla" in op}
    assert not [f for f in graph.library.function if f.attr["_XlaMustCompile"].b]
    # TensorFlow's own saver pins its ops to the CPU in every SavedModel.
    assert {node.device for node in nodes} <= {"", "/device:CPU:0", "/device:CPU:*"}


def test_saved_model_cli(export, translator):
    def run(*arguments: str) -> str:
        command = [*CLI, *arguments, "--dir", str(export)]
        result = subprocess.run(command, capture_output=True, text=True, check=True)
        return result.stdout

    shown = run("show", "--all")
    assert "signature_def['serving_default']" in shown
    assert "inputs['text']" in shown
    assert "outputs['translation']" in shown
    ran = run(
        "run", "--tag_set", "serve", "--signature_def", "serving_default",
        "--input_exprs", 'text=["Go .","I won !"]',
    )  # fmt: skip
    for answer in translator.translate(["Go .", "I won !"]):
        assert repr(answer.encode()) in ran


def test_versions_count_up_and_are_never_overwritten(tmp_path):
    def export(**options):
        text = tf.TensorSpec([None], tf.string, name="text")
        signatures = {"serving_default": (lambda text: {"translation": text}, [text])}
        return write_saved_model(folder, signatures, tracked=[], **options)

    folder = tmp_path / "en-fr"
    assert export(version=3).name == "3"
    assert export().name == "4"
    assert versions(folder) == [3, 4]
    before = (folder / "3" / "saved_model.pb").read_bytes()
    with pytest.raises(s2s.InputError, match=r"3: this version exists already"):
        export(version=3)
    with pytest.raises(s2s.InputError, match="1 or more"):
        export(version=0)
    assert (folder / "3" / "saved_model.pb").read_bytes() == before
    assert sorted(path.name for path in folder.iterdir()) == ["3", "4"]


def test_an_exported_translator_equals_the_translator(export, translator, phrasebook):
    exported = s2s.ExportedTranslator(export)
    sentences = phrasebook.source[:64]
    assert exported.translate(sentences) == translator.translate(sentences)
    expected = translator.score_pairs(sentences, phrasebook.target[:64])
    actual = exported.score_pairs(sentences, phrasebook.target[:64])
    np.testing.assert_allclose([p.score for p in actual], [p.score for p in expected], rtol=1e-4)
    assert [p.num_tokens for p in actual] == [p.num_tokens for p in expected]


def test_exported_translator_reports_invalid_folders(tmp_path):
    with pytest.raises(s2s.InputError, match=r"no saved_model\.pb in this folder"):
        s2s.ExportedTranslator(tmp_path)
    other = tf.Module()
    tf.saved_model.save(other, tmp_path / "other")
    with pytest.raises(s2s.InputError, match="no signature serving_default"):
        s2s.ExportedTranslator(tmp_path / "other")
    (tmp_path / "other").rename(tmp_path / "7")
    with pytest.raises(s2s.InputError, match=r"give one of its versions: .*/7$"):
        s2s.ExportedTranslator(tmp_path)
    with pytest.raises(s2s.InputError, match="nowhere: no such folder"):
        s2s.ExportedTranslator(tmp_path / "nowhere")


@pytest.mark.parametrize("version", [None, 1])
def test_another_process_writes_the_same_version_meanwhile(version, tmp_path):
    def complete(folder):
        (tmp_path / "1").mkdir()
        (tmp_path / "1" / "saved_model.pb").write_bytes(b"of the other")

    def write():
        text = tf.TensorSpec([None], tf.string, name="text")
        function = lambda text: {"text": text}  # noqa: E731
        return write_saved_model(
            tmp_path, {"serving_default": (function, [text])}, [], version, complete
        )

    if version is None:
        assert write() == tmp_path / "2"
        assert (tmp_path / "2" / "saved_model.pb").is_file()
    else:
        with pytest.raises(s2s.InputError, match="1: this version exists already"):
            write()
    assert (tmp_path / "1" / "saved_model.pb").read_bytes() == b"of the other"
    assert versions(tmp_path) == ([1, 2] if version is None else [1])


class TestVerification:
    """Verification rejects exports that a server would not run or would answer differently."""

    @staticmethod
    def assert_rejected(translator, folder, answer, tracked, match, score=None):
        text = tf.TensorSpec([None], tf.string, name="text")
        reference = tf.TensorSpec([None], tf.string, name="reference")
        with pytest.raises(s2s.ExportError, match=match):
            write_saved_model(
                folder / "model",
                {
                    "serving_default": (answer, [text]),
                    "score": (score or translator.score, [text, reference]),
                },
                tracked=tracked,
                complete=lambda written: verify_export(
                    written, translator, ["Go.", "I won!", "I know."]
                ),
            )
        assert list(folder.iterdir()) == []

    def test_another_translation(self, translator, tmp_path):
        def upper_case(text):
            answer = translator.answer(text)
            return {**answer, "translation": tf.strings.upper(answer["translation"])}

        self.assert_rejected(translator, tmp_path, upper_case, [translator], "translates")

    def test_another_score(self, translator, tmp_path):
        def scaled(text):
            answer = translator.answer(text)
            return {**answer, "score": answer["score"] * 0.99}

        self.assert_rejected(
            translator, tmp_path, scaled, [translator], "score of signature serving_default"
        )

    def test_a_translation_that_depends_on_the_batch(self, translator, tmp_path):
        def copies_the_first(text):
            answer = translator.answer(text)
            words = answer["translation"]
            return {**answer, "translation": tf.where(tf.size(words) > 30, words[0], words)}

        self.assert_rejected(translator, tmp_path, copies_the_first, [translator], "translates")

    def test_a_compiled_function(self, translator, tmp_path):
        @tf.function(jit_compile=True)
        def compiled(score):
            return score + 0.0

        def answer(text):
            answer = translator.answer(text)
            return {**answer, "score": compiled(answer["score"])}

        self.assert_rejected(translator, tmp_path, answer, [translator], "as a server would run it")


def test_an_interrupt_leaves_no_version(translator, tmp_path, monkeypatch):
    def interrupted(folder, *_):
        assert (folder / "saved_model.pb").is_file()
        raise KeyboardInterrupt

    monkeypatch.setattr("keras_s2s.translation.export.verify_export", interrupted)
    with pytest.raises(KeyboardInterrupt):
        translator.export(tmp_path / "en-fr")
    assert list(tmp_path.iterdir()) == []


def test_a_module_that_only_python_can_load_fails_in_a_session(tmp_path):
    """The reason to verify in a session; see `serving/session.py`."""

    class Served(tf.Module):
        def __init__(self):
            super().__init__()
            self.layer = keras.layers.Embedding(4, 2)
            self.layer.build(None)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, name="ids")])
        def serve(self, ids):
            return {"vectors": self.layer(ids)}

    module = Served()
    tf.saved_model.save(module, tmp_path / "1", signatures={"serving_default": module.serve})
    loaded = tf.saved_model.load(tmp_path / "1")
    assert loaded.serve(tf.constant([1]))["vectors"].shape == (1, 2)
    from keras_s2s.serving.session import SessionError

    with pytest.raises(SessionError, match="Could not find variable"):  # noqa: SIM117
        with SavedModelSession(tmp_path / "1") as session:
            session.run(ids=np.array([1], "int32"))


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        tf.errors.ResourceExhaustedError(None, None, "a/part-0; No space left on device"),
    ],
)
def test_a_full_disk_is_an_input_error_and_leaves_nothing(translator, tmp_path, monkeypatch, error):
    def full(obj, filepath, **kwargs):
        Path(filepath).mkdir()
        (Path(filepath) / "saved_model.pb").write_bytes(b"half")
        raise error

    monkeypatch.setattr(tf.saved_model, "save", full)
    with pytest.raises(s2s.InputError, match="No space left on device"):
        translator.export(tmp_path / "en-fr")
    assert list(tmp_path.iterdir()) == []
