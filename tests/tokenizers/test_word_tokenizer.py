"""The word tokenizer: equal to the chapter's, for any bytes, in any locale, in graphs and files."""

import collections
import json
import zipfile

import keras
import pytest
import tensorflow as tf
from holder import Holder

import keras_s2s as s2s
from keras_s2s.tokenizers import vocabulary_tokenizer as module
from keras_s2s.tokenizers.tokenizer import SPECIAL_TOKENS
from keras_s2s.tokenizers.word_tokenizer import split_words

SPECIALS = "\n".join(SPECIAL_TOKENS).encode()


def words(*texts):
    return [[word.decode() for word in row] for row in split_words(tf.constant(texts)).to_list()]


def chapter_lines(lines):
    """Tokenize both sides of each line with the chapter's code."""
    text = "\n".join(lines).replace("\u202f", " ").replace("\xa0", " ")
    lower = text.lower()
    assert len(lower) == len(text), "the chapter looks up a position of one in the other"
    spaced = "".join(
        " " + char if char in ",!." and index > 0 and text[index - 1] != " " else char
        for index, char in enumerate(lower)
    )
    return [[side.split(" ") for side in line.split("\t")] for line in spaced.split("\n")]


def test_a_byte_order_mark_is_no_character():
    assert words("\ufeffGo .", "Go\ufeff .") == [["go", "."], ["go\ufeff", "."]]


@pytest.fixture(scope="module")
def tokenizer():
    return s2s.WordTokenizer.fit(["go . go . go , i won !", "été"])


# Words


@pytest.mark.parametrize(("step", "empty"), [(10, 1), pytest.param(1, 17, marks=pytest.mark.slow)])
def test_words_equal_the_chapters_on_real_lines(fra_eng, step, empty):
    assert len(fra_eng) == 167_130
    lines = fra_eng[::step]
    expected = chapter_lines(lines)
    sides_with_empty_tokens = 0
    for start in range(0, len(lines), 8192):
        chunk = lines[start : start + 8192]
        for side in (0, 1):
            reference = [line[side] for line in expected[start : start + 8192]]
            sides_with_empty_tokens += sum("" in row for row in reference)
            result = words(*(line.split("\t")[side] for line in chunk))
            assert result == [[word for word in row if word] for row in reference]
    # The only difference, which is intended: two spaces do not enclose an empty word.
    assert sides_with_empty_tokens == empty


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Go.", ["go", "."]),
        ("Wait...", ["wait", ".", ".", "."]),
        ("a,b !c", ["a", ",b", "!c"]),
        ("Really?", ["really?"]),
        ("Vraiment\u202f? Oui\u00a0!", ["vraiment", "?", "oui", "!"]),
        ("ÉTÉ ŒUVRE ΣΑΣ", ["été", "œuvre", "σας"]),
        ("thin\u2009space is none", ["thin\u2009space", "is", "none"]),
        ("🙂. שלום", ["🙂", ".", "שלום"]),
        ("", []),
        ("   ", []),
        ("\t a\r\n\x0b\x01b\x7fc\x1f", ["a", "b", "c"]),
        ("a\x00b", ["a", "b"]),
        (b"caf\xe9!", ["caf\ufffd", "!"]),
        (b"\xff\xfe", ["\ufffd\ufffd"]),
        (b"cut \xe2\x80", ["cut", "\ufffd"]),
        # Overlong and surrogate codes are invalid; the number of replacement characters is open.
        (b"a \xc0\x80", ["a", "\ufffd\ufffd"]),
    ],
)
def test_words_of_a_text(text, expected):
    assert words(text) == [expected]


def test_any_bytes_become_valid_utf8():
    everything = [bytes([first, second]) for first in range(256) for second in range(256)]
    for row in split_words(tf.constant(everything)).to_list():
        for word in row:
            assert word.decode("utf-8")


@pytest.mark.parametrize("locale", ["tr_TR.UTF-8", "lt_LT.UTF-8"])
def test_words_do_not_depend_on_the_locale(locale, fresh_python):
    # Turkish has its own lower-casing of I and İ, Lithuanian of the others.
    text = "I TITLE İstanbul I\u0307 J\u0301 Ì Í Ĩ Į\u0300"
    code = (
        "import json, sys, tensorflow as tf\n"
        "from keras_s2s.tokenizers.word_tokenizer import split_words\n"
        "result = split_words(tf.constant([json.loads(sys.argv[1])]))\n"
        "print(json.dumps([word.decode() for word in result.to_list()[0]]))\n"
        "print(tf.strings.lower('I Ì', encoding='utf-8') == 'i ì')"
    )
    words_there, plain = fresh_python(code, json.dumps(text), LC_ALL=locale).splitlines()
    assert "False" in plain, "the locale was not taken on, so this test proves nothing"
    assert json.loads(words_there) == words(text)[0] == text.lower().split()


# Vocabularies


def test_vocabulary_on_the_chapters_pairs(chapter_pairs, fra_eng):
    chapter = chapter_lines(fra_eng[:1001])
    for side, texts, size in ((0, chapter_pairs.source, 180), (1, chapter_pairs.target, 162)):
        tokenizer = s2s.WordTokenizer.fit(texts, min_freq=3)
        counts = collections.Counter(word for line in chapter for word in line[side] if word)
        frequent = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        assert tokenizer.vocabulary == [
            *SPECIAL_TOKENS,
            *(word for word, count in frequent if count >= 3),
        ]
        assert len(tokenizer) == size


def test_ties_are_in_code_point_order():
    # In UTF-16 order the emoji would precede the ligature.
    fitted = s2s.WordTokenizer.fit(["twice twice 🙂 ﬀ é z a"])
    assert fitted.vocabulary[4:] == ["twice", "a", "z", "é", "ﬀ", "🙂"]


def test_fit_takes_iterables_in_batches(monkeypatch):
    texts = ["b a", "b", "", "a b c"]
    whole = s2s.WordTokenizer.fit(texts)
    monkeypatch.setattr(module, "TOKENIZE_BATCH_SIZE", 2)
    assert s2s.WordTokenizer.fit(iter(texts)).vocabulary == whole.vocabulary
    assert whole.vocabulary[4:] == ["b", "a", "c"]
    assert s2s.WordTokenizer.fit([]).vocabulary == list(SPECIAL_TOKENS)


def test_limits_of_the_vocabulary():
    texts = ["a a a b b c"]
    assert s2s.WordTokenizer.fit(texts, min_freq=2).vocabulary[4:] == ["a", "b"]
    assert s2s.WordTokenizer.fit(texts, max_tokens=5).vocabulary[4:] == ["a"]
    assert s2s.WordTokenizer.fit(texts, max_tokens=4).vocabulary[4:] == []
    with pytest.raises(s2s.InputError, match="min_freq is 0; give 1 or more"):
        s2s.WordTokenizer.fit(texts, min_freq=0)
    with pytest.raises(s2s.InputError, match="max_tokens is 3; give 4 or more"):
        s2s.WordTokenizer.fit(texts, max_tokens=3)


def test_special_tokens_in_texts_are_not_learned():
    assert s2s.WordTokenizer.fit(["<eos> a <pad> <UNK>"]).vocabulary[4:] == ["a"]


# Ids


def test_ids_of_words(tokenizer):
    assert tokenizer.vocabulary[4:] == ["go", ".", "!", ",", "i", "won", "été"]
    ids = tokenizer.tokenize(tf.constant(["Go, unheard!", "", "ÉTÉ"]))
    assert ids.dtype == tf.int32
    assert ids.to_list() == [[4, 7, 3, 6], [], [10]]
    assert tokenizer(tf.constant(["Go"])).to_list() == [[4]]


@pytest.mark.parametrize("typed", [*SPECIAL_TOKENS, "<EOS>", "<Pad>"])
def test_text_of_a_special_token_is_unknown(tokenizer, typed):
    assert tokenizer.tokenize(tf.constant([f"go {typed} go"])).to_list() == [[4, 3, 4]]


def test_encode_source_truncates_and_pads(tokenizer):
    ids, valid_length = tokenizer.encode_source(tf.constant(["i", "", "go , i won !"]), 3)
    assert (ids.dtype, valid_length.dtype) == (tf.int32, tf.int32)
    assert ids.numpy().tolist() == [[8, 0, 0], [0, 0, 0], [4, 7, 8]]
    assert valid_length.numpy().tolist() == [1, 0, 3]


def test_encode_target_adds_bos_and_eos_and_truncates(tokenizer):
    texts = tf.constant(["i", "", "go .", "go , i won !"])
    ids, valid_length = tokenizer.encode_target(texts, 4)
    assert (ids.dtype, valid_length.dtype) == (tf.int32, tf.int32)
    assert ids.numpy().tolist() == [[1, 8, 2, 0], [1, 2, 0, 0], [1, 4, 5, 2], [1, 4, 7, 2]]
    assert valid_length.numpy().tolist() == [3, 2, 4, 4]
    assert tokenizer.encode_target(texts, 2)[0].numpy().tolist() == [[1, 2]] * 4


def test_detokenize_inverts_tokenize(tokenizer):
    texts = ["go .", "i won , i won !", "", "été"]
    ids, valid_length = tokenizer.encode_target(tf.constant(texts), 9)
    result = tokenizer.detokenize(ids, valid_length)
    assert [text.decode() for text in result.numpy()] == texts


def test_detokenize_ignores_special_tokens_and_padding(tokenizer):
    ids = tf.constant([[1, 4, 3, 2, 5, 0], [999, -1, 9, 9, 9, 9]])
    result = tokenizer.detokenize(ids, tf.constant([6, 3])).numpy().tolist()
    assert result == [b"go <unk> .", b"<unk> <unk> won"]


def test_tokens_of_ids(tokenizer):
    ids = tf.constant([[0, 1, 2], [3, 4, 10], [11, -1, 5]])
    assert tokenizer.tokens_of(ids).numpy().tolist() == [
        [b"<pad>", b"<bos>", b"<eos>"],
        [b"<unk>", b"go", "été".encode()],
        [b"<unk>", b"<unk>", b"."],
    ]
    assert tokenizer.tokens_of(ids[:, :0]).shape == (3, 0)


def test_empty_batch(tokenizer):
    none = tf.constant([], tf.string)
    assert tokenizer.tokenize(none).to_list() == []
    for encode in (tokenizer.encode_source, tokenizer.encode_target):
        ids, valid_length = encode(none, 5)
        assert (ids.shape, valid_length.shape) == ((0, 5), (0,))
        assert tokenizer.detokenize(ids, valid_length).shape == (0,)


def test_in_graphs(tokenizer):
    texts = ["Go.", "", "i won !"]
    eager = tokenizer.encode_target(tf.constant(texts), 5)
    data = tf.data.Dataset.from_tensor_slices(texts).batch(3)
    mapped = next(iter(data.map(lambda text: tokenizer.encode_target(text, 5))))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def round_trip(text):
        return tokenizer.detokenize(*tokenizer.encode_source(text, 5))

    for result, expected in zip(mapped, eager, strict=True):
        assert result.numpy().tolist() == expected.numpy().tolist()
    assert round_trip(tf.constant(texts)).numpy().tolist() == [b"go .", b"", b"i won !"]


# Files


@pytest.fixture
def odd():
    """A vocabulary that is difficult for line-based readers."""
    return s2s.WordTokenizer([*SPECIAL_TOKENS, "b\u2028c", "d\x85", "\ufeff", "e\tf", "🙂", "\\n"])


def test_vocabulary_file_format(tmp_path, tokenizer):
    tokenizer.save(tmp_path / "words.txt")
    expected = "".join(f"{token}\n" for token in tokenizer.vocabulary).encode()
    assert (tmp_path / "words.txt").read_bytes() == expected
    # An editor may have removed the last line end.
    (tmp_path / "words.txt").write_bytes(expected.removesuffix(b"\n"))
    assert s2s.WordTokenizer.load(tmp_path / "words.txt").vocabulary == tokenizer.vocabulary


def test_save_and_load(tmp_path, odd):
    odd.save(tmp_path / "new folder" / "words.txt")
    assert (
        s2s.WordTokenizer.load(tmp_path / "new folder" / "words.txt").vocabulary == odd.vocabulary
    )


def test_as_asset(tmp_path, odd):
    copy = odd.as_asset(tmp_path / "words.txt")
    assert copy.vocabulary == odd.vocabulary
    texts = tf.constant(["b\u2028c d\u0085 \ufeff e\tf 🙂 \\n unheard <eos>"])
    assert copy.tokenize(texts).to_list() == odd.tokenize(texts).to_list()
    every_id = tf.range(-1, len(odd) + 1)[None]
    length = tf.fill([1], tf.size(every_id))
    assert copy.detokenize(every_id, length) == odd.detokenize(every_id, length)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (SPECIALS + b"\na\nb\xff\n", "line 6 is not UTF-8; convert the file"),
        (b"", "the first 4 entries must be <pad> <bos> <eos> <unk>"),
        (b"a\nb\n", "the first 4 entries must be <pad> <bos> <eos> <unk>"),
        (b"<pad>\n<eos>\n<bos>\n<unk>\n", "the first 4 entries must be"),
        (SPECIALS + b"\na\nb\na\n", "entry 7: 'a' is a duplicate of entry 5; remove one"),
        (SPECIALS + b"\n<eos>\n", "entry 5: '<eos>' is a duplicate of entry 3; remove one"),
        (SPECIALS + b"\na\n\nb\n", "entry 6: '' is not a token; remove it"),
        (SPECIALS + b"\na\n\n", "entry 6: '' is not a token; remove it"),
        (SPECIALS + b"\na b\n", "entry 5: 'a b' is not a token; remove it"),
        (SPECIALS + b"\na\r\n", r"entry 5: 'a\r' is not a token; remove it"),
    ],
)
def test_invalid_vocabulary_files(tmp_path, content, message):
    path = tmp_path / "words.txt"
    path.write_bytes(content)
    with pytest.raises(s2s.InputError) as caught:
        s2s.WordTokenizer.load(path)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)
    assert str(caught.value).isprintable(), "an error is one line"


def test_missing_vocabulary_file(tmp_path):
    with pytest.raises(s2s.InputError, match=r"none\.txt: cannot read the vocabulary \(No such"):
        s2s.WordTokenizer.load(tmp_path / "none.txt")
    with pytest.raises(s2s.InputError, match=r"cannot read the vocabulary \(Is a directory\)"):
        s2s.WordTokenizer.load(tmp_path)


def test_invalid_vocabularies():
    with pytest.raises(s2s.InputError, match=r"^vocabulary: the first 4 entries must be"):
        s2s.WordTokenizer(["a"])
    with pytest.raises(s2s.InputError, match=r"^vocabulary, entry 6: 'a' is a duplicate"):
        s2s.WordTokenizer([*SPECIAL_TOKENS, "a", "a"])


def test_keras_file_has_the_vocabulary_as_an_asset(tmp_path, odd):
    Holder(odd).save(tmp_path / "holder.keras")
    with zipfile.ZipFile(tmp_path / "holder.keras") as archive:
        [asset] = [name for name in archive.namelist() if name.endswith("vocabulary.txt")]
        assert archive.read(asset).decode() == "".join(f"{token}\n" for token in odd.vocabulary)
    loaded = keras.saving.load_model(tmp_path / "holder.keras").tokenizer
    assert loaded.vocabulary == odd.vocabulary
    text = tf.constant(["🙂 unheard"])
    assert loaded.tokenize(text).to_list() == odd.tokenize(text).to_list()


def test_tokenizer_without_vocabulary_is_true():
    empty = s2s.WordTokenizer()
    assert len(empty) == 0
    assert empty, "Keras drops objects that are false while it loads"


def test_one_text_instead_of_a_list():
    # Its letters would become words.
    with pytest.raises(s2s.InputError, match="texts: expected a list of sentences, got one"):
        s2s.WordTokenizer.fit("Go.")
    with pytest.raises(s2s.InputError, match="texts: number 1 is 3; give each as str or bytes"):
        s2s.WordTokenizer.fit([3])
    with pytest.raises(s2s.InputError, match="max_tokens is '9'; give an integer"):
        s2s.WordTokenizer.fit(["Go."], max_tokens="9")
