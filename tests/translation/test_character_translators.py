"""Translators of characters and phones: files, graphs of core ops, and the documented commands."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_s2s as s2s
from keras_s2s.cli.options import warn_without_effect
from keras_s2s.config import preset
from keras_s2s.evaluation.attention_map import AttentionMap
from keras_s2s.serving.graph_checks import TEXT_OPS

WORDS = ["Go {n}", "été", "한국 z", "", "e\u0301t", "x" * 200]


@pytest.fixture(scope="module")
def spelled():
    """An untrained model from decomposed characters to characters, with symbols."""
    keras.utils.set_random_seed(3)
    source = s2s.CharacterTokenizer.fit(["Go on", "été 한국"], normalization="nfd", symbols=["{n}"])
    target = s2s.CharacterTokenizer.fit(["Va là", "bon"], symbols=["{n}"])
    sizes = {"embed_size": 8, "num_hiddens": 8, "num_layers": 1}
    model = s2s.Seq2Seq(
        s2s.Seq2SeqEncoder(len(source), **sizes),
        s2s.Seq2SeqDecoder(len(target), **sizes, attention="luong"),
    )
    return s2s.Translator(model, source, target, num_steps=12, replace_unknown=True)


def test_save_and_load(spelled, tmp_path):
    spelled.save(tmp_path / "spelled.keras")
    loaded = s2s.Translator.load(tmp_path / "spelled.keras")
    for side in ("source_tokenizer", "target_tokenizer"):
        one, other = getattr(loaded, side), getattr(spelled, side)
        assert one.vocabulary == other.vocabulary
        assert one.options() == other.options()
        assert one.tokenize(tf.constant(WORDS)).to_list() == (
            other.tokenize(tf.constant(WORDS)).to_list()
        )
    assert loaded.replace_unknown
    assert loaded.source_tokenizer.options() == {"normalization": "nfd", "symbols": ["{n}"]}


def test_the_graph_is_of_core_ops(spelled):
    function = spelled._greedy_fn.get_concrete_function(tf.TensorSpec([None], tf.string))
    graph = function.graph.as_graph_def()
    nodes = [graph.node, *(part.node_def for part in graph.library.function)]
    ops = {node.op for part in nodes for node in part}
    assert "UnicodeDecode" in ops
    assert ops.isdisjoint({op for ops_of in TEXT_OPS.values() for op in ops_of})


def test_explained_tokens(spelled):
    outputs = spelled.extra_outputs([b"Go {n}", "한z".encode()])["explain"]
    first, second = (AttentionMap.from_outputs(outputs, row) for row in (0, 1))
    assert first.source_tokens == ["G", "o", "␣", "{n}"]
    assert second.source_tokens == ["\u1112", "\u1161", "\u11ab", "z"]
    assert np.allclose(np.sum(first.weights, axis=1), 1, atol=1e-5)


def test_options_without_effect_are_named(caplog):
    warn_without_effect(preset("small", "pairs.tsv"), ["word_rules", "min_freq", "vocab_size"])
    config = preset("character", "pairs.tsv", target_tokenizer="whitespace")
    warn_without_effect(config, ["min_freq", "symbols", "lowercase", "source_normalization"])
    assert [record.getMessage() for record in caplog.records] == [
        "--word-rules has no effect with sentencepiece; omit it",
        "--min-freq has no effect with sentencepiece; omit it",
        "--lowercase has no effect with character and whitespace; omit it",
    ]


@pytest.mark.slow  # trains, exports, and starts TensorFlow's tool
def test_pronunciation_on_the_command_line(command, tmp_path):
    phones = {"a": "a", "b": "b", "e": "ə", "ch": "ʃ", "oi": "w a", "l": "l", "t": "t"}
    spellings = [left + right for left in phones for right in phones]
    spellings += [word + "é" for word in spellings]
    pairs = tmp_path / "words.tsv"
    lines = (f"{word}\t{' '.join(phones.get(c, 'e') for c in word)}\n" for word in spellings)
    pairs.write_text("".join(lines), encoding="utf-8")
    run, sizes = tmp_path / "run", "--embed-size 8 --num-hiddens 16 --epochs 2 --valid-fraction 0"
    arguments = f"train {pairs} --preset character --target-tokenizer whitespace --run-dir {run}"
    assert command(*arguments.split(), *sizes.split()).status == 0
    export = f"export {run} --model-name g2p --output {tmp_path / 'models'}"
    assert command(*export.split()).status == 0
    expected = s2s.Translator.load(run / "model.keras").translate(spellings)
    tool = [sys.executable, "-m", "tensorflow.python.tools.saved_model_cli", "run"]
    options = ["--tag_set", "serve", "--signature_def", "serving_default"]
    options += ["--dir", str(tmp_path / "models/g2p/1"), "--outdir", str(tmp_path)]
    texts = ["--input_exprs", f"text={spellings!r}"]
    subprocess.run([*tool, *options, *texts], check=True, capture_output=True)
    result = np.load(tmp_path / "translation.npy", allow_pickle=True).tolist()
    assert [text.decode() for text in result] == expected
    assert len(set(expected)) > 3
