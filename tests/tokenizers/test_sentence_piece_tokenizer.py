"""The subword tokenizer: equal to SentencePiece, in Python, in files and in exports."""

import hashlib
import json
import random
import re
import subprocess
import sys
import unicodedata
import zipfile
from pathlib import Path

import keras
import pytest
import sentencepiece
import tensorflow as tf
from holder import Holder

import keras_s2s as s2s
from keras_s2s.serving.contract import inspect_export
from keras_s2s.serving.op_libraries import tensorflow_text_libraries
from keras_s2s.serving.session import SavedModelSession
from keras_s2s.tokenizers import sentence_piece_model
from keras_s2s.tokenizers.tokenizer import SPECIAL_TOKENS, UNK

MODEL_TYPES = ("unigram", "bpe")
FITS = {
    "unigram": {"vocab_size": 500},
    "bpe": {"vocab_size": 500, "model_type": "bpe"},
    "unigram bytes": {"vocab_size": 600, "byte_fallback": True},
    "bpe bytes": {"vocab_size": 600, "model_type": "bpe", "byte_fallback": True},
    "cased": {"vocab_size": 500, "lowercase": False},
    "as it is": {"vocab_size": 500, "lowercase": False, "normalization": "none"},
    "composed": {"vocab_size": 500, "normalization": "nfc"},
}
ODD = [
    "",
    "   ",
    "a  b   ",
    "ALL CAPITALS, ÉTÉ ŒUVRE ß ẞ ΣΑΣ İ ı",
    "no-break\u202f!\u00a0spaces\u3000and\u2009thin\u200bones",
    "e\u0301 ﬁn ½ … ² № ª Ǆ ﷺ",
    "▁go ▁ ▁▁",
    "a\ufeff \u00ad b \u2028 c \x85",
    "🙂🙃 漢字 שלום",
    "<eos> <pad><bos>a<unk> <0x41> <s>",
    "x\ufffdy",
    "word " * 2000,
    "long" * 2000,
]


@pytest.fixture(scope="module")
def texts(phrasebook):
    return phrasebook.source + phrasebook.target


@pytest.fixture(scope="module")
def fitted(texts):
    return {
        name: s2s.SentencePieceTokenizer.fit(texts, **options) for name, options in FITS.items()
    }


@pytest.fixture(params=FITS)
def tokenizer(fitted, request):
    return fitted[request.param]


@pytest.fixture
def plain(tokenizer, tmp_path):
    """The same model in plain SentencePiece."""
    tokenizer.save(tmp_path / "subwords.model")
    return sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "subwords.model"))


def texts_of(tokenizer, rows):
    """Return the texts of rows of ids."""
    ids, valid_length = tokenizer.pad(tf.ragged.constant(rows, dtype=tf.int32), max(map(len, rows)))
    return [text.decode("utf-8") for text in tokenizer.detokenize(ids, valid_length).numpy()]


class TestTokenize:
    def test_equals_sentencepiece(self, tokenizer, plain, texts):
        texts = [*ODD, *texts]
        ids = tokenizer.tokenize(tf.constant(texts))
        assert ids.dtype == tf.int32
        assert ids.to_list() == plain.encode(texts)
        assert tokenizer.vocabulary == [plain.id_to_piece(number) for number in range(len(plain))]

    @pytest.mark.parametrize("model_type", MODEL_TYPES)
    @pytest.mark.parametrize("side", [0, 1])
    def test_equals_sentencepiece_on_real_lines(self, fra_eng, model_type, side, tmp_path):
        texts = [line.split("\t")[side] for line in fra_eng[::40]]
        tokenizer = s2s.SentencePieceTokenizer.fit(texts[::2], 1500, model_type)
        assert len(tokenizer) == 1500
        tokenizer.save(tmp_path / "subwords.model")
        plain = sentencepiece.SentencePieceProcessor(str(tmp_path / "subwords.model"))
        rows = plain.encode(texts)
        assert tokenizer.tokenize(tf.constant(texts)).to_list() == rows
        assert texts_of(tokenizer, rows) == plain.decode(rows)

    @pytest.mark.parametrize(
        ("raw", "cleaned"),
        [
            (b"a\x00b\tc\r\nd\x7fe", "a b c d e"),
            (b"caf\xe9!", "caf !"),
            (b"\xff\xfe", ""),
            (b"cut \xe2\x80", "cut"),
            (b"a \xed\xa0\x80 b", "a b"),
        ],
    )
    def test_invalid_utf8_and_control_characters(self, fitted, raw, cleaned):
        tokenizer = fitted["unigram"]
        ids = tokenizer.tokenize(tf.constant([raw, cleaned])).to_list()
        assert ids[0] == ids[1]

    @pytest.mark.parametrize("typed", [*SPECIAL_TOKENS, "a<eos>b", "<EOS>", "<0x41>"])
    def test_text_of_a_special_token_is_its_characters(self, tokenizer, typed):
        ids = tokenizer.tokenize(tf.constant([f"go {typed} go"])).to_list()[0]
        assert min(ids) >= UNK
        tokens = [tokenizer.vocabulary[number] for number in ids]
        assert not {"<pad>", "<bos>", "<eos>", "<0x41>", typed} & (set(tokens) - {"<unk>"})

    def test_special_tokens_are_not_learned(self):
        texts = ["ab<eos>cd ef<eos>gh", "mn<pad>op qr<eos>st", "aa<unk>bb cc<bos>dd"] * 50
        for model_type in MODEL_TYPES:
            tokenizer = s2s.SentencePieceTokenizer.fit(texts, 200, model_type)
            assert tokenizer.vocabulary[:4] == list(SPECIAL_TOKENS)
            assert not [token for token in tokenizer.vocabulary[4:] if "eos>" in token]

    def test_encode_target(self, fitted):
        tokenizer = fitted["unigram"]
        [[first, *others]] = tokenizer.tokenize(tf.constant(["Go on!"])).to_list()
        ids, valid_length = tokenizer.encode_target(tf.constant(["Go on!", ""]), 4)
        assert (ids.dtype, valid_length.dtype) == (tf.int32, tf.int32)
        assert ids.numpy().tolist() == [[1, first, others[0], 2], [1, 2, 0, 0]]
        assert valid_length.numpy().tolist() == [4, 2]

    def test_in_graphs(self, fitted):
        tokenizer, texts = fitted["bpe"], ["Go.", "", "I won!"]
        eager = tokenizer.encode_target(tf.constant(texts), 9)
        data = tf.data.Dataset.from_tensor_slices(texts).batch(3)
        mapped = next(iter(data.map(lambda text: tokenizer.encode_target(text, 9))))
        for result, expected in zip(mapped, eager, strict=True):
            assert result.numpy().tolist() == expected.numpy().tolist()

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def round_trip(text):
            return tokenizer.detokenize(*tokenizer.encode_source(text, 9))

        assert round_trip(tf.constant(texts)).numpy().tolist() == [b"go.", b"", b"i won!"]

    def test_empty_batch(self, fitted):
        tokenizer = fitted["unigram"]
        none = tf.constant([], tf.string)
        assert tokenizer.tokenize(none).to_list() == []
        ids, valid_length = tokenizer.encode_source(none, 5)
        assert (ids.shape, valid_length.shape) == ((0, 5), (0,))
        assert tokenizer.detokenize(ids, valid_length).shape == (0,)
        assert tokenizer.detokenize(ids[:, :0], valid_length).shape == (0,)

    def test_after_clear_session(self, texts):
        # TensorFlow Text's own class fails here.
        tokenizer = s2s.SentencePieceTokenizer.fit(texts, vocab_size=300)
        before = tokenizer.tokenize(tf.constant(["Go on!"])).to_list()
        keras.utils.clear_session()
        assert tokenizer.tokenize(tf.constant(["Go on!"])).to_list() == before


class TestDetokenize:
    def test_restores_normalized_text(self, fitted, texts):
        def expected(text, lower=True, rule="NFKC"):
            text = unicodedata.normalize(rule, text)
            return " ".join((text.lower() if lower else text).split())

        for name, result in {
            "unigram": [expected(text) for text in texts],
            "bpe bytes": [expected(text) for text in texts],
            "cased": [expected(text, lower=False) for text in texts],
        }.items():
            rows = fitted[name].tokenize(tf.constant(texts)).to_list()
            assert texts_of(fitted[name], rows) == result
        untouched = ["Oui…  ½\u00a0ﬁn  ", "ÉTÉ"]
        rows = fitted["as it is"].tokenize(tf.constant(untouched)).to_list()
        alphabet = set("".join(fitted["as it is"].vocabulary[4:]))
        spaced = [" ".join(filter(None, text.split(" "))) for text in untouched]
        # Consecutive unknown characters are one piece.
        assert texts_of(fitted["as it is"], rows) == [
            re.sub("\0+", "<unk>", "".join(c if c in {*alphabet, " "} else "\0" for c in text))
            for text in spaced
        ]

    def test_unknown_characters(self, fitted):
        text = tf.constant(["go 漢字, 🙂!"])
        for name, expected in {
            "unigram": "go <unk>, <unk>!",
            "bpe": "go <unk>, <unk>!",
            "unigram bytes": "go 漢字, 🙂!",
            "bpe bytes": "go 漢字, 🙂!",
        }.items():
            rows = fitted[name].tokenize(text).to_list()
            assert texts_of(fitted[name], rows) == [expected]

    def test_any_ids_give_one_line_of_utf8(self, tokenizer, plain):
        choice = random.Random(0)
        ids = [[choice.randrange(len(tokenizer)) for _ in range(30)] for _ in range(300)]
        # Mostly byte pieces, for models that have them.
        ids += [[choice.randrange(4, 260) for _ in range(30)] for _ in range(300)]
        result = texts_of(tokenizer, ids)
        assert len(set(result)) == len(ids)
        assert not any(re.search(r"[\x00-\x1f\x7f]|^ | $", text) for text in result)
        texts = plain.decode([[number for number in row if number > 2] for row in ids])
        assert result == [re.sub(r"[\x00-\x1f\x7f]", " ", text).strip(" ") for text in texts]

    def test_ignores_special_tokens_and_padding(self, fitted):
        tokenizer = fitted["unigram"]
        [[go]] = tokenizer.tokenize(tf.constant(["go"])).to_list()
        ids = tf.constant([[1, go, 3, 2, go, 0], [9999, -1, go, go, go, go]])
        result = tokenizer.detokenize(ids, tf.constant([6, 3])).numpy().tolist()
        assert result == [b"go<unk> go", b"<unk><unk> go"]


def test_tokens_of_ids(tokenizer):
    ids = tf.constant([[0, 1, 2], [3, len(tokenizer) - 1, len(tokenizer)], [5, -1, 4]])
    last, fourth, fifth = (tokenizer.vocabulary[number] for number in (-1, 4, 5))
    expected = [["<pad>", "<bos>", "<eos>"], ["<unk>", last, "<unk>"], [fifth, "<unk>", fourth]]
    tokens = tokenizer.tokens_of(ids)
    assert [[token.decode() for token in row] for row in tokens.numpy().tolist()] == expected
    assert tokenizer.tokens_of(tf.zeros([0, 3], tf.int64)).shape == (0, 3)
    traced = tf.function(tokenizer.tokens_of).get_concrete_function(tf.TensorSpec([None, 3]))
    assert traced.output_shapes.as_list() == [None, 3]


class TestFit:
    def test_vocab_size_is_an_upper_bound(self):
        texts = ["Go.", "Go!", "I won!", "I know.", "You won."] * 3
        for model_type in MODEL_TYPES:
            sizes = [
                len(s2s.SentencePieceTokenizer.fit(texts, size, model_type))
                for size in (15, 17, 8000)
            ]
            assert sizes[:2] == [15, 17] or sizes[:2] == [15, sizes[2]]
            assert 15 < sizes[2] < 50

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"vocab_size": 4}, "vocab_size is 4; give 5 or more, since the special tokens count"),
            ({"vocab_size": 8}, "vocab_size is 8; give 10 or more, one for each character and"),
            ({"vocab_size": 100, "byte_fallback": True}, "give 266 or more"),
            ({"model_type": "word"}, "model_type is 'word'; give one of unigram, bpe, char"),
            ({"normalization": "nfd"}, "normalization is 'nfd'; give one of nfkc, nfc, none"),
            ({"character_coverage": 0.5}, "character_coverage is 0.5; give 0.98 to 1"),
            ({"max_sentences": 0}, "max_sentences is 0; give 1 or more"),
        ],
    )
    def test_invalid_options(self, options, message):
        with pytest.raises(s2s.InputError, match=re.escape(message)) as caught:
            s2s.SentencePieceTokenizer.fit(["Go on.", "I go."], **options)
        assert str(caught.value).isprintable(), "an error is one line"

    @pytest.mark.parametrize("texts", [[], [""], [" \t"], ["\u200b"], ["\u3000▁"], ["a" * 5000]])
    @pytest.mark.parametrize("model_type", MODEL_TYPES)
    def test_nothing_to_learn_from(self, texts, model_type):
        with pytest.raises(s2s.InputError, match="no text to learn subwords from; give sentences"):
            s2s.SentencePieceTokenizer.fit(iter(texts), model_type=model_type)

    def test_max_sentences(self):
        texts = [chr(ord("a") + number) * 3 for number in range(26)]
        learned = [
            s2s.SentencePieceTokenizer.fit(texts, max_sentences=5, seed=seed).vocabulary
            for seed in (0, 0, 1)
        ]
        letters = [set("".join(vocabulary[4:])) - {"▁"} for vocabulary in learned]
        assert [len(drawn) for drawn in letters] == [5, 5, 5]
        assert learned[0] == learned[1]
        assert letters[0] != letters[2]

    def test_prints_nothing(self, capfd):
        s2s.SentencePieceTokenizer.fit(["Go on.", "I go."], vocab_size=20)
        assert capfd.readouterr() == ("", "")

    @pytest.mark.parametrize("model_type", [*MODEL_TYPES, "char"])
    def test_symbols_are_never_split_nor_changed(self, model_type):
        texts = ["Go on.", "I go.", "{Name} goes <2fr>"] * 5
        tokenizer = s2s.SentencePieceTokenizer.fit(
            texts, 40, model_type, symbols=["{Name}", "<2fr>", "<2fr>>", "…!"]
        )
        assert tokenizer.vocabulary[4:8] == ["{Name}", "<2fr>", "<2fr>>", "…!"]
        typed = ["<2fr>go{Name}on.", "<2fr>> go …!"]
        ids = tokenizer.tokenize(tf.constant(typed))
        tokens = [[tokenizer.vocabulary[number] for number in row] for row in ids.to_list()]
        assert set(tokens[0]) >= {"<2fr>", "{Name}"}
        assert set(tokens[1]) >= {"<2fr>>", "…!"}
        assert texts_of(tokenizer, ids.to_list()) == typed
        for seed in range(20):
            sampled = tokenizer.sample(typed, seed, alpha=0.2).to_list()
            assert texts_of(tokenizer, sampled) == typed
            assert {4, 5} <= set(sampled[0])
            assert {6, 7} <= set(sampled[1])
        with pytest.raises(s2s.InputError, match="'a b' is no symbol"):
            s2s.SentencePieceTokenizer.fit(texts, 40, model_type, symbols=["a b"])

    def test_characters(self):
        tokenizer = s2s.SentencePieceTokenizer.fit(["Go on.", "I go."], 40, "char")
        ids = tokenizer.tokenize(tf.constant(["go on x"])).to_list()[0]
        assert [tokenizer.vocabulary[number] for number in ids] == [*"▁go▁on▁", "<unk>"]
        assert texts_of(tokenizer, [ids]) == ["go on <unk>"]


class TestSample:
    @pytest.mark.parametrize("name", ["unigram", "bpe", "unigram bytes"])
    def test_other_segmentations_of_the_same_text(self, fitted, texts, name):
        tokenizer, texts = fitted[name], ["", *texts[::5]]
        best = tokenizer.tokenize(tf.constant(texts)).to_list()
        drawn = tokenizer.sample(texts, seed=1)
        assert drawn.dtype == tf.int32
        rows = drawn.to_list()
        assert texts_of(tokenizer, rows) == texts_of(tokenizer, best)
        different = sum(one != other for one, other in zip(best, rows, strict=True))
        assert different > len(texts) / 4
        assert sum(map(len, rows)) > sum(map(len, best))
        ids, valid_length = tokenizer.frame(drawn, 6)
        assert ids.shape == (len(texts), 6)
        assert valid_length[0] == 2

    def test_seed(self, fitted, texts):
        tokenizer = fitted["unigram"]

        def draw(seed):
            return tokenizer.sample(texts[:200], seed).to_list()

        one, other, again = draw(1), draw(2), draw(1)
        assert one == again
        assert one != other

    def test_alpha(self, fitted, texts):
        texts = texts[:300]

        def count(name, alpha):
            return len(fitted[name].sample(texts, 0, alpha).flat_values)

        best = {name: len(fitted[name].tokenize(tf.constant(texts)).flat_values) for name in FITS}
        assert count("bpe", 0) == best["bpe"] < count("bpe", 0.1) < count("bpe", 1)
        # Without any merge, characters remain.
        assert count("bpe", 1) == sum(len(text) + 1 for text in map(str.strip, texts))
        assert best["unigram"] < count("unigram", 1) < count("unigram", 0.2) < count("unigram", 0)
        for alpha in (-0.1, 1.1, float("nan")):
            with pytest.raises(s2s.InputError, match="give 0 to 1"):
                count("unigram", alpha)

    def test_no_texts(self, fitted):
        assert fitted["unigram"].sample([], seed=0).to_list() == []


class TestFiles:
    def test_save_and_load(self, tokenizer, plain, tmp_path):
        tokenizer.save(tmp_path / "new folder" / "subwords.model")
        loaded = s2s.SentencePieceTokenizer.load(tmp_path / "new folder" / "subwords.model")
        assert loaded.vocabulary == tokenizer.vocabulary
        assert loaded.tokenize(tf.constant(ODD)).to_list() == plain.encode(ODD)

    def test_invalid_files(self, fitted, tmp_path):
        path = tmp_path / "subwords.model"
        fitted["unigram"].save(path)
        whole = path.read_bytes()
        others = tmp_path / "others"
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(["go on", "I go"]),
            model_prefix=str(others),
            vocab_size=12,
            hard_vocab_limit=False,
            minloglevel=2,
        )
        for content, message in {
            b"": "not a SentencePiece model; it is empty",
            b"hello": "not a SentencePiece model, or damaged",
            whole[: len(whole) // 2]: "not a SentencePiece model, or damaged",
            whole.replace("▁".encode(), b"\xff\xff\xff"): "not a SentencePiece model, or damaged",
            others.with_suffix(".model").read_bytes(): "its first pieces are not the special",
        }.items():
            path.write_bytes(content)
            with pytest.raises(s2s.InputError, match=f"^{re.escape(str(path))}: {message}"):
                s2s.SentencePieceTokenizer.load(path)
            with pytest.raises(s2s.InputError, match=f"^model: {message}"):
                s2s.SentencePieceTokenizer(content)
        with pytest.raises(s2s.InputError, match=r"none: cannot read the model \(No such file"):
            s2s.SentencePieceTokenizer.load(tmp_path / "none")

    def test_keras_file_has_the_model_as_an_asset(self, fitted, tmp_path):
        tokenizer = fitted["bpe bytes"]
        Holder(tokenizer).save(tmp_path / "holder.keras")
        with zipfile.ZipFile(tmp_path / "holder.keras") as archive:
            [asset] = [name for name in archive.namelist() if name.endswith(".model")]
            assert sentencepiece.SentencePieceProcessor(model_proto=archive.read(asset))
            config = archive.read("config.json")
        assert len(config) < 2000
        loaded = keras.saving.load_model(tmp_path / "holder.keras").tokenizer
        assert loaded.vocabulary == tokenizer.vocabulary
        ids = tokenizer.tokenize(tf.constant(ODD)).to_list()
        assert loaded.tokenize(tf.constant(ODD)).to_list() == ids

    def test_tokenizer_without_model_is_true(self):
        empty = s2s.SentencePieceTokenizer()
        assert len(empty) == 0
        assert empty, "Keras drops objects that are false while it loads"

    def test_tensorflow_text_is_not_installed(self, monkeypatch):
        monkeypatch.setattr(sentence_piece_model.importlib.util, "find_spec", lambda name: None)
        with pytest.raises(s2s.InputError, match="pip install tensorflow-text"):
            sentence_piece_model.sentencepiece_ops.__wrapped__()


def new_translator(source, target):
    """A small untrained model."""
    keras.utils.set_random_seed(0)
    sizes = {"embed_size": 24, "num_hiddens": 24, "num_layers": 1}
    model = s2s.Seq2Seq(
        s2s.Seq2SeqEncoder(len(source), **sizes), s2s.Seq2SeqDecoder(len(target), **sizes)
    )
    return s2s.Translator(model, source, target, num_steps=12)


@pytest.fixture(scope="module")
def joint(phrasebook, fitted):
    """A translator with a joint vocabulary and diverse outputs."""
    tokenizer = fitted["unigram bytes"]
    translator = new_translator(tokenizer, tokenizer)
    data = s2s.make_dataset(phrasebook, tokenizer, tokenizer, num_steps=12, shuffle=True, seed=0)
    translator.model.compile(
        keras.optimizers.Adam(0.01, global_clipnorm=1.0),
        steps_per_execution=int(data.cardinality()),
    )
    translator.model.fit(data, epochs=15, verbose=0)
    return translator


@pytest.fixture(scope="module")
def export(joint, tmp_path_factory):
    """Its export, verified with random sentences of its subwords. Read only."""
    return joint.export(tmp_path_factory.mktemp("models") / "en-fr")


class TestExport:
    def test_vocabularies_are_files(self, export, joint):
        assert sorted(file.name for file in (export / "assets").iterdir()) == [
            "source_vocabulary.model",
            "target_vocabulary.model",
        ]
        for file in (export / "assets").iterdir():
            processor = sentencepiece.SentencePieceProcessor(model_file=str(file))
            vocabulary = [processor.id_to_piece(number) for number in range(len(processor))]
            assert vocabulary == joint.source_tokenizer.vocabulary

    def test_verification_sentences_are_words(self, export):
        record = json.loads((export / "assets.extra" / "proof.json").read_text(encoding="utf-8"))
        assert len(record["answers"]) == 50
        assert not any("▁" in answer["text"] for answer in record["answers"])

    def test_contract(self, export):
        inspection = inspect_export(export)
        assert inspection.passed, inspection.report()
        assert inspection.versions["minimum_server"] == "2.12"
        assert sorted(inspection.assets) == ["source_vocabulary.model", "target_vocabulary.model"]
        unproven = {check.name for check in inspection.checks if check.verdict != "passed"}
        assert unproven <= {"signature beam", "signature explain", "tables", "warm-up"}

    def test_no_path_of_this_machine(self, export):
        graph = (export / "saved_model.pb").read_bytes()
        assert b"sentencepiece_" in graph
        for place in (Path.home(), Path(s2s.__file__).parent, Path(tf.__file__).parent):
            assert str(place).encode() + b"/" not in graph
        assert b"/tmp/" not in graph

    def test_served_output_equals_python_output(self, export, joint, phrasebook):
        texts = ["", "  ", b"\xff\xfe", "\0", "<eos>", *phrasebook.source[::7]]
        expected = joint.translate(texts)
        assert expected[:4] == [""] * 4
        assert len(set(expected)) > 20, "a model that always says the same proves nothing"
        with SavedModelSession(export, op_libraries=tensorflow_text_libraries()) as session:
            result = session.run(text=texts)["translation"]
            assert session.run(text=[])["translation"].shape == (0,)
        assert [text.decode() for text in result] == expected

    def test_saved_model_cli(self, export, joint):
        tool = [sys.executable, "-m", "tensorflow.python.tools.saved_model_cli"]
        command = [*tool, "show", "--all", "--dir", str(export)]
        shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert "outputs['translation']" in shown
        assert "Concrete Functions: N/A" in shown
        guide = Path(__file__).parents[2] / "export" / "README.md"
        [command] = re.findall(
            r"^python -c 'import tensorflow_text.*\\\n(?:.*\\\n)*.*$",
            guide.read_text(encoding="utf-8"),
            re.MULTILINE,
        )
        command = command.replace("python", sys.executable, 1)
        command = command.replace("export/models/en-fr/1", str(export))
        done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
        assert repr(joint.translate(["Go."])[0].encode()) in done.stdout

    @pytest.mark.slow
    @pytest.mark.parametrize("subword_side", ["source", "target"])
    def test_words_on_one_side(self, phrasebook, fitted, tmp_path, subword_side):
        sides = {
            side: s2s.WordTokenizer.fit(getattr(phrasebook, side), min_freq=2)
            for side in ("source", "target")
        }
        sides[subword_side] = fitted["bpe"]
        translator = new_translator(sides["source"], sides["target"])
        version = translator.export(tmp_path / "en-fr", sentences=phrasebook.source[:50])
        assert {file.name for file in (version / "assets").iterdir()} == {
            f"{side}_vocabulary{tokenizer.file_suffix}" for side, tokenizer in sides.items()
        }
        exported = s2s.ExportedTranslator(version)
        sentences = ["", *phrasebook.source[:100]]
        assert exported.translate(sentences) == translator.translate(sentences)


def test_saved_translator_with_a_joint_vocabulary(joint, phrasebook, tmp_path):
    joint.save(tmp_path / "en-fr.keras")
    loaded = s2s.Translator.load(tmp_path / "en-fr.keras")
    for tokenizer in (loaded.source_tokenizer, loaded.target_tokenizer):
        assert tokenizer.vocabulary == joint.source_tokenizer.vocabulary
    sentences = phrasebook.source[::10]
    assert loaded.translate(sentences) == joint.translate(sentences)


def test_fresh_process(export, joint, fitted, texts, fresh_python, tmp_path):
    """In this process all ops are loaded already and the hash seed is fixed."""
    (tmp_path / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
    code = """
import hashlib, json, sys
import keras_s2s as s2s
loaded = [name for name in sys.modules if name.startswith("tensorflow_text")]
answers = s2s.ExportedTranslator(sys.argv[1]).translate(["Go.", "I won!", ""])
texts = json.load(open(sys.argv[2], encoding="utf-8"))
result = {"loaded": loaded, "answers": answers}
for name, options in json.loads(sys.argv[3]).items():
    tokenizer = s2s.SentencePieceTokenizer.fit(texts, **options)
    tokenizer.save(sys.argv[4])
    digest = hashlib.sha256(open(sys.argv[4], "rb").read()).hexdigest()
    result[name] = [digest, tokenizer.sample(texts[:50], seed=7).to_list()]
print(json.dumps(result))
"""
    names = ("unigram", "bpe")
    options = json.dumps({name: FITS[name] for name in names})
    model = tmp_path / "subwords.model"
    result = json.loads(fresh_python(code, export, tmp_path / "texts.json", options, model))
    assert result["loaded"] == [], "importing it takes 0.2 s, and words do not need it"
    assert result["answers"] == joint.translate(["Go.", "I won!", ""])
    for name in names:
        fitted[name].save(model)
        digest = hashlib.sha256(model.read_bytes()).hexdigest()
        assert result[name] == [digest, fitted[name].sample(texts[:50], seed=7).to_list()]


def test_inspect(command, export):
    outcome = command("inspect", export)
    assert outcome.status == 0
    assert "SentencepieceTokenizeOp" in outcome.out
    assert "source_vocabulary.model" in outcome.out
    assert "for TF Serving from 2.12" in " ".join(outcome.out.split())
