"""The tokenizer of sources with features."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_s2s as s2s
from keras_s2s.data.config import PreparationConfig
from keras_s2s.data.vocabulary import make_tokenizers
from keras_s2s.serving.session import SavedModelSession
from keras_s2s.tokenizers.columns_tokenizer import ColumnsTokenizer
from keras_s2s.tokenizers.source_columns import text_columns
from keras_s2s.tokenizers.tokenizer import UNK
from keras_s2s.utils.errors import InputError

TEXTS = ["walk far\tV;PST", "run\tV;PRS", "run far\tV;PST;far"]
COLUMNS = ["source", "features"]
# Complete, without features, with unknown ones, with more tabs, without text, empty, invalid.
QUERIES = ["run\tV;PST", "run", "run\tV;XYZ", "run\tV;PST\tPRS", "\tV;PST", "", b"run\tV;\xff\x00"]


@pytest.fixture(scope="module")
def tokenizer():
    words = s2s.WordTokenizer.fit(text_columns(TEXTS, COLUMNS))
    return ColumnsTokenizer.fit(words, TEXTS, COLUMNS)


@pytest.fixture(scope="module")
def translator(tokenizer):
    target = s2s.WordTokenizer.fit(["walked ran runs far"])
    sizes = {"embed_size": 6, "num_hiddens": 8, "num_layers": 1}
    model = s2s.Seq2Seq(
        s2s.Seq2SeqEncoder(len(tokenizer), **sizes),
        s2s.Seq2SeqDecoder(len(target), **sizes, attention="luong"),
    )
    rng = np.random.default_rng(5)
    model.set_weights([rng.normal(0, 0.9, weight.shape) for weight in model.get_weights()])
    return s2s.Translator(model, tokenizer, target, num_steps=6, beam_size=2)


def tokens(tokenizer, text):
    return [token.decode() for token in tokenizer.tokens_of(tokenizer.tokenize([text])[0]).numpy()]


def test_vocabulary(tokenizer):
    # A feature and a word with the same name are two tokens.
    assert tokenizer.vocabulary[4:] == [
        *("far", "run", "walk", "[]", "[V]", "[PST]", "[PRS]", "[far]")
    ]
    assert len(tokenizer) == 12


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Walk FAR\tV;PST", ["[V]", "[PST]", "walk", "far"]),
        ("run\tfar", ["[far]", "run"]),
        ("run\t V PST ;", ["[V]", "[PST]", "run"]),
        ("run", ["run"]),
        ("run\t", ["run"]),
        ("run\tv;PST", ["<unk>", "[PST]", "run"]),
        ("run\tV\tPST", ["[V]", "[PST]", "run"]),
        ("\tV;PST", []),
        ("", []),
    ],
)
def test_tokenize(tokenizer, text, expected):
    assert tokens(tokenizer, text) == expected


def test_several_columns():
    texts = ["V\twalk\tfast\tV"]
    columns = ["features", "source", "source", "features"]
    words = s2s.WordTokenizer.fit(text_columns(texts, columns))
    tokenizer = ColumnsTokenizer.fit(words, texts, columns)
    assert tokens(tokenizer, texts[0]) == ["[1:V]", "[4:V]", "walk", "[]", "fast"]
    ids, valid_length = tokenizer.encode_source(tf.constant(texts), 7)
    assert tokenizer.detokenize(ids, valid_length).numpy().tolist() == [b"V\twalk\tfast\tV"]
    assert tokenizer.source_tokens(tf.constant(["X\tgo\tfast\t"]), 5).numpy().tolist() == [
        [b"[1:X]", b"go", b"[]", b"fast", b""]
    ]


def test_detokenize_gives_the_columns_back(tokenizer):
    ids, valid_length = tokenizer.encode_source(tf.constant(TEXTS), 8)
    assert tokenizer.detokenize(ids, valid_length).numpy().tolist() == [
        text.encode() for text in TEXTS
    ]


def test_split_text_agrees_with_tokenize(tokenizer):
    texts = tf.constant([*TEXTS, "far\tfar;XYZ", "[V] gone", "", "\tV"])
    tokens = tokenizer.split_text(texts)
    assert tokenizer.ids_of(tokens.values).numpy().tolist() == (
        tokenizer.tokenize(texts).values.numpy().tolist()
    )
    assert tokens[3].numpy().tolist() == [b"\t[far]", b"\t[XYZ]", b"far"]
    assert tokens[4].numpy().tolist() == [b"[v]", b"gone"]


def test_sources_to_verify_an_export_with(tokenizer):
    assert tokenizer.as_sources(["run"] * 4) == [
        *("run\tV", "run\tPST;V", "run\tPRS;PST", "run\tfar;PST")
    ]
    assert tokenizer.tokenizer.as_sources(["run"]) == ["run"]


def test_tokens_of_any_id(tokenizer):
    assert tokenizer.tokens_of(tf.constant([[-1, 3, 99]])).numpy().tolist() == [[b"<unk>"] * 3]


def test_another_separator():
    words = s2s.WordTokenizer.fit(["run"])
    tokenizer = ColumnsTokenizer.fit(words, ["run\tV|a;b"], COLUMNS, separator="|")
    assert tokens(tokenizer, "run\ta;b|V") == ["[a;b]", "[V]", "run"]


@pytest.mark.parametrize("columns", [["features"], ["source", "target"], []])
def test_invalid_columns(columns):
    with pytest.raises(InputError, match="columns is"):
        ColumnsTokenizer(s2s.WordTokenizer.fit(["run"]), columns)


@pytest.mark.parametrize("separator", ["", "\t"])
def test_invalid_separator(separator):
    with pytest.raises(InputError, match="separator is"):
        ColumnsTokenizer(s2s.WordTokenizer.fit(["run"]), COLUMNS, separator=separator)


def test_fitted_for_a_corpus_of_columns():
    corpus = s2s.ParallelCorpus(TEXTS, ["walked", "runs", "ran"], "verbs", ("source", "features"))
    source, target = make_tokenizers(PreparationConfig(min_freq=1), corpus)
    assert source.vocabulary[4:7] == ["far", "run", "walk"]
    assert target.vocabulary[4:] == ["ran", "runs", "walked"]
    data = s2s.make_dataset(corpus, source, target, batch_size=3, num_steps=6)
    (ids, valid_length), _ = next(iter(data))
    assert valid_length.numpy().tolist() == [4, 3, 5]
    assert UNK not in ids.numpy()


def test_a_joint_vocabulary_of_subwords_survives_saving(tmp_path):
    corpus = s2s.ParallelCorpus(TEXTS, ["walked", "runs", "ran"], "verbs", ("source", "features"))
    config = PreparationConfig(
        tokenizer="sentencepiece", vocab_size=40, joint_vocabulary=True, num_steps=20
    )
    source, target = make_tokenizers(config, corpus)
    assert source.tokenizer.vocabulary == target.vocabulary
    sizes = {"embed_size": 2, "num_hiddens": 2, "num_layers": 1}
    model = s2s.Seq2Seq(
        s2s.Seq2SeqEncoder(len(source), **sizes), s2s.Seq2SeqDecoder(len(target), **sizes)
    )
    s2s.Translator(model, source, target).save(tmp_path / "m.keras")
    loaded = s2s.Translator.load(tmp_path / "m.keras").source_tokenizer
    assert loaded.vocabulary == source.vocabulary
    sampled = loaded.sample(TEXTS, seed=1).to_list()
    first = len(target)
    assert [[i for i in row if i > first] for row in sampled] == [
        [i for i in row if i > first] for row in source.tokenize(tf.constant(TEXTS)).to_list()
    ]


def test_the_file_and_the_export_answer_alike(translator, tmp_path):
    expected = translator.translate(QUERIES)
    assert expected[4:6] == ["", ""]
    assert len({*expected[:3]}) > 1
    translator.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert loaded.source_tokenizer.vocabulary == translator.source_tokenizer.vocabulary
    assert loaded.source_tokenizer.columns == ("source", "features")
    assert loaded.translate(QUERIES) == expected
    version = loaded.export(tmp_path / "verbs", sentences=QUERIES)
    assert {file.name for file in (version / "assets").iterdir()} == {
        *("source_vocabulary.txt", "source_features.txt", "target_vocabulary.txt")
    }
    texts = [text if isinstance(text, bytes) else text.encode() for text in QUERIES]
    with SavedModelSession(version) as session:
        answers = session.run("serving_default", text=texts)["translation"]
        attention = session.run("explain", text=texts[:1])
    assert [answer.decode() for answer in answers] == expected
    assert attention["source_tokens"][0].tolist()[:4] == [b"[V]", b"[PST]", b"run", b""]


def test_damaged_features(translator, tmp_path):
    for content in (b"[V]\n", b"[]\n[V]\n[V]\n", b"[]\nV\n", b"\xff"):
        (tmp_path / "features.txt").write_bytes(content)
        with pytest.raises(InputError, match=r"features\.txt"):
            translator.source_tokenizer.load_assets(str(tmp_path))
