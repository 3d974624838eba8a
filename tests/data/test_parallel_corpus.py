"""Loading parallel corpora, and splitting them by source."""

import dataclasses
import gzip
import hashlib
import logging
import os
import zipfile
from pathlib import Path

import pytest

from keras_s2s.data.parallel_corpus import ParallelCorpus, load_corpus
from keras_s2s.utils.errors import InputError

PAIRS = "Go.\tVa !\nHi.\tSalut !\nRun!\tCours !\n"
SOURCES = ["Go.", "Hi.", "Run!"]
TARGETS = ["Va !", "Salut !", "Cours !"]


@pytest.fixture
def file(tmp_path):
    """Write a file and return its path."""

    def write(content: str | bytes, name: str = "pairs.tsv") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def message(corpus, **options) -> str:
    """Return the error message of `load_corpus`."""
    with pytest.raises(InputError) as caught:
        load_corpus(corpus, **options)
    text = str(caught.value)
    assert text.isprintable(), "an error is one line"
    return text


# ParallelCorpus


def test_sides_of_unequal_length():
    with pytest.raises(InputError, match="mine: 2 source sentences but 1 target"):
        ParallelCorpus(["a", "b"], ["c"], "mine")


def test_corpus_is_frozen_and_has_a_short_repr():
    corpus = ParallelCorpus(SOURCES, TARGETS, "mine")
    assert len(corpus) == 3
    assert repr(corpus) == "ParallelCorpus('mine', 3 pairs)"
    with pytest.raises(dataclasses.FrozenInstanceError):
        corpus.name = "yours"


def test_reverse():
    corpus = ParallelCorpus(SOURCES, TARGETS, "mine")
    assert corpus.reverse() == ParallelCorpus(TARGETS, SOURCES, "mine")
    assert corpus.reverse().reverse() == corpus


def test_fingerprint():
    corpora = [
        ParallelCorpus(["ab"], ["c"]),
        ParallelCorpus(["a"], ["bc"]),
        ParallelCorpus(["c"], ["ab"]),
        ParallelCorpus(["a", "b"], ["c", "d"]),
        ParallelCorpus(["b", "a"], ["d", "c"]),
        ParallelCorpus(["a1 1 b"], ["cd"]),
        ParallelCorpus([], []),
    ]
    assert len({corpus.fingerprint() for corpus in corpora}) == len(corpora)
    assert corpora[0].fingerprint() == ParallelCorpus(["ab"], ["c"], "renamed").fingerprint()
    # Pinned: run.json files have it.
    expected = hashlib.sha256(b"2 1 abc3 4 Go.Va !").hexdigest()
    assert ParallelCorpus(["ab", "Go."], ["c", "Va !"]).fingerprint() == expected


def test_references():
    corpus = ParallelCorpus(["b", "a", "b", "B"], ["1", "2", "3", "4"])
    assert corpus.references() == (["b", "a", "B"], [["1", "3"], ["2"], ["4"]])


# Splits


@pytest.fixture(scope="module")
def many():
    sources = [f"Sentence number {number % 3000} ." for number in range(4000)]
    return ParallelCorpus(sources, [str(number) for number in range(4000)], "many")


def test_split_keeps_all_pairs_and_their_order(many):
    splits = many.split(valid=0.1, test=0.2)
    found = [int(target) for part in splits for target in part.target]
    assert sorted(found) == list(range(4000))
    for part in splits:
        assert part.name == "many"
        numbers = [int(target) for target in part.target]
        assert numbers == sorted(numbers)
        assert part.source == [many.source[number] for number in numbers]
    assert 0.08 < len(set(splits.valid.source)) / 3000 < 0.12
    assert 0.17 < len(set(splits.test.source)) / 3000 < 0.23


def test_no_source_is_in_two_splits(many):
    train, valid, test = (set(part.source) for part in many.split(0.2, 0.2))
    assert train.isdisjoint(valid | test)
    assert valid.isdisjoint(test)


VARIANTS = [
    ["Go on, please!", "GO ON, PLEASE!", "Go on , please !", " go\u00a0on,  please\u202f!\t"],
    ["Stop. Why?", "stop . why ?", "ｓｔｏｐ. why？"],  # full-width forms
    ["Straße", "STRASSE", "strasse"],
    ["caf\u00e9", "cafe\u0301", "CAF\u00c9", "CAFE\u0301"],
    ["\u0390 alone", "\u0390 alone".upper(), "\u0390 ALONE"],  # decomposed by case folding
    ["㎒", "mhz", "MHz"],
]


@pytest.mark.parametrize("variants", VARIANTS)
def test_split_ignores_case_and_spacing(variants):
    corpus = ParallelCorpus(variants, variants)
    for seed in range(20):  # by chance alone, all would agree in few of them
        parts = [part for part in corpus.split(0.4, 0.4, seed=seed) if len(part)]
        assert [len(part) for part in parts] == [len(variants)]


def test_split_does_not_depend_on_size_or_order(many):
    valid = set(many.split(0.1, 0.1).valid.source)
    backwards = ParallelCorpus(many.source[::-1], many.target[::-1])
    assert set(backwards.split(0.1, 0.1).valid.source) == valid
    some = ParallelCorpus(many.source[:500], many.target[:500])
    assert set(some.split(0.1, 0.1).valid.source) == valid & set(some.source)


def test_split_is_pinned():
    # Pinned: with other splits, earlier models would be tested on their training data.
    corpus = ParallelCorpus([str(number) for number in range(40)], [""] * 40)
    splits = corpus.split(0.1, 0.2)
    assert splits.valid.source == ["17"]
    assert splits.test.source == ["4", "6", "14", "25", "34", "35", "36", "38"]
    assert corpus.split(0.1, 0.2) == splits
    assert corpus.split(0.1, 0.2, seed=1) != splits


def test_test_split_does_not_depend_on_valid(many):
    assert many.split(0, 0.1).test == many.split(0.3, 0.1).test


def test_split_without_held_out_pairs(many):
    splits = many.split(valid=0, test=0)
    assert splits.train == many
    assert len(splits.valid) == len(splits.test) == 0


@pytest.mark.parametrize(
    ("valid", "test"), [(-0.1, 0), (0, -0.1), (0.5, 0.5), (1, 0), (0, 2), (float("nan"), 0)]
)
def test_invalid_fractions(many, valid, test):
    with pytest.raises(InputError, match=f"valid={valid} and test={test}"):
        many.split(valid, test)


# Files of tab-separated pairs


@pytest.mark.parametrize("path_type", [str, Path])
def test_tab_separated_file(file, path_type):
    path = path_type(file(PAIRS))
    corpus = load_corpus(path)
    assert corpus == ParallelCorpus(SOURCES, TARGETS, str(path))
    assert load_corpus(path, reverse=True) == corpus.reverse()


@pytest.mark.parametrize(("more", "columns"), [("\textra", "3 to 4"), ("", "3")])
def test_columns_after_the_second_are_ignored_and_said_so_once(more, columns, file, caplog):
    path = file(f"Go.\tVa !\tCC-BY 2.0 (France)\n\nHi.\tSalut !\t{more}\n")
    assert load_corpus(path).target == ["Va !", "Salut !"]
    (record,) = caplog.records
    assert f"{path}: has {columns} columns; the first two are read" in record.getMessage()


def test_max_pairs(file):
    path = file("\n" + PAIRS + "no pair")
    for count in (1, 2, 3):  # later lines are not checked
        assert load_corpus(path, max_pairs=count).source == SOURCES[:count]
    assert len(load_corpus(path, max_pairs=99, skip_bad_lines=True)) == 3
    assert load_corpus(path, max_pairs=1, reverse=True).source == TARGETS[:1]


@pytest.mark.parametrize("count", [0, -1])
def test_max_pairs_is_positive(file, count):
    assert f"max_pairs is {count}; give 1 or more" in message(file(PAIRS), max_pairs=count)


def test_line_endings_byte_order_mark_and_blank_lines(file):
    content = "\ufeff" + "\n \n".join(PAIRS.splitlines())
    assert load_corpus(file(content.replace("\n", "\r\n"))).source == SOURCES
    assert load_corpus(file(content)).target == TARGETS


def test_unicode_line_separators_do_not_end_lines(file):
    sides = ["One\u2028two\x85three\x0bfour\x1cfive", "Un\u2029deux"]
    corpus = load_corpus(file("\t".join(sides) + "\n"))
    assert (corpus.source, corpus.target) == ([sides[0]], [sides[1]])


def test_only_ascii_space_at_the_ends_is_removed(file):
    corpus = load_corpus(file("  Go  on. \t Va\u202f!\u00a0 \n"))
    assert (corpus.source, corpus.target) == (["Go  on."], ["Va\u202f!\u00a0"])


BAD = (
    "Go.\tVa !\n\nno tab\n\tno source\nno target\t  \nno target either\t\tCC\n\u00a0\t\u00a0\n\t\n"
)


def test_malformed_lines_are_reported(file):
    path = file(BAD)
    text = message(path)
    assert text == (
        f"{path}: 6 of 8 lines have no tab-separated pair (line 3: 'no tab', "
        "line 4: '\\tno source', line 5: 'no target\\t  ', ...); "
        "correct them or pass --skip-bad-lines (skip_bad_lines=True)"
    )


def test_one_malformed_line(file):
    text = message(file(PAIRS + "x" * 1000))
    assert "1 of 4 lines has no tab-separated pair (line 4: 'xxx" in text
    assert "...'); correct it or pass" in text
    assert len(text) < 300


def test_skip_bad_lines(file, caplog):
    path = file(BAD.encode() + b"caf\xe9\tcaf\xe9\n")
    with caplog.at_level(logging.WARNING, logger="keras_s2s"):
        assert load_corpus(path, skip_bad_lines=True).source == ["Go."]
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: skipped 7 of 9 lines, which have no tab-separated pair in UTF-8"
    ]


def test_no_log_without_skipped_lines(file, caplog):
    load_corpus(file(PAIRS), skip_bad_lines=True)
    assert not caplog.records


def test_file_is_not_utf8(file):
    path = file(PAIRS.encode() + "Caf\u00e9.\tCaf\u00e9.\n".encode("latin-1"))
    text = message(path)
    assert f"{path}: line 4 is not UTF-8 (byte 0xe9 at position 4); convert" in text


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-16-le"])
def test_utf16(file, encoding):
    marked = PAIRS if encoding == "utf-16" else "\ufeff" + PAIRS
    text = message(file(marked.encode(encoding)), skip_bad_lines=True)
    assert "looks like UTF-16; convert it to UTF-8" in text


def test_a_nul_byte_makes_one_line_malformed(file, caplog):
    path = file(PAIRS * 9 + "No\0.\tNon.\n" + PAIRS)
    assert f"{path}: line 28 has a NUL byte at position 3; remove it or pass" in message(path)
    assert load_corpus(path, skip_bad_lines=True).source == SOURCES * 10
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: skipped 1 of 31 lines, which have no tab-separated pair in UTF-8"
    ]


def test_binary_file(file):
    assert "is binary, not text" in message(file(b"\x7fELF\0\t\0\n"), skip_bad_lines=True)


@pytest.mark.parametrize("name", ["pairs.tsv", "pairs.zip", "pairs.gz"])
def test_missing_file(tmp_path, name):
    path = tmp_path / name
    assert f"{path}: no such file" in message(path)


def test_folder(tmp_path):
    assert f"{tmp_path}: is a folder" in message(tmp_path)


def test_name_with_a_nul_character():
    assert "no such file" in message("pairs\0.tsv")


def test_name_with_a_line_feed_stays_in_one_line(file):
    assert r"two\nlines.tsv: " in message(file("no pair", "two\nlines.tsv"))


@pytest.mark.parametrize("name", ["pairs.tsv", "pairs.zip", "pairs.gz"])
def test_empty_file(file, name):
    assert f"{name}: is empty" in message(file("", name))


@pytest.mark.parametrize("content", ["\n", "\ufeff", "  \n\r\n\n"])
def test_file_without_pairs(file, content):
    assert "pairs.tsv: holds no pairs" in message(file(content))


def test_file_with_malformed_lines_only(file):
    assert "holds no pairs" in message(file("no pair\n"), skip_bad_lines=True)


@pytest.mark.skipif(not os.path.exists("/dev/fd"), reason="this system has no /dev/fd")
def test_pipe():
    reading, writing = os.pipe()
    os.write(writing, PAIRS.encode())
    os.close(writing)
    try:
        assert load_corpus(f"/dev/fd/{reading}").target == TARGETS
    finally:
        os.close(reading)


# Aligned files


def test_aligned_files(file):
    english = file("Go.\n\nHi.\nRun!", "a.en")
    french = file(gzip.compress(b"Va !\r\n\r\nSalut !\r\nCours !\r\n"), "a.fr.gz")
    corpus = load_corpus(f"{english},{french}")
    assert corpus == ParallelCorpus(SOURCES, TARGETS, f"{english},{french}")
    assert load_corpus(f"{french},{english}", max_pairs=2).source == TARGETS[:2]


def test_aligned_file_with_the_name_of_a_builtin_corpus(file, tmp_path, monkeypatch):
    file("Go.\nHi.\n", "phrasebook")
    file("Va !\nSalut !\n", "fra")
    monkeypatch.chdir(tmp_path)
    assert load_corpus("phrasebook,fra").source == ["Go.", "Hi."]


def test_aligned_text_may_hold_tabs(file):
    english, french = file("a\tb", "a.en"), file("c\td", "a.fr")
    corpus = load_corpus(f"{english},{french}")
    assert (corpus.source, corpus.target) == (["a\tb"], ["c\td"])


def test_aligned_files_of_unequal_length(file):
    english, french = file("a\nb\nc\n", "a.en"), file("a\nb", "a.fr")
    text = message(f"{english},{french}", skip_bad_lines=True)
    assert f"{english} has 3 lines but {french} has 2" in text


def test_aligned_files_with_malformed_lines(file, caplog):
    english, french = file("a\n\nc\nd\n", "a.en"), file(b"1\n2\n  \n\xe9\n", "a.fr")
    name = f"{english},{french}"
    assert f"{french}: line 4 is not UTF-8 (byte 0xe9 at position 1)" in message(name)
    assert load_corpus(name, skip_bad_lines=True).source == ["a"]
    assert "skipped 3 of 4 lines" in caplog.text
    file(b"1\n2\n  \n4\n", "a.fr")
    assert (
        f"{english} and {french}: 2 of 4 lines have no sentence on one side "
        "(line 2: '\\t2', line 3: 'c\\t  '); correct them"
    ) in message(name)


@pytest.mark.parametrize("name", ["a,b,c", "a,", ",b", ","])
def test_aligned_files_must_be_two(name):
    assert f"{name}: not the names of two files; give exactly two" in message(name)


def test_missing_aligned_file(file):
    path = file(PAIRS)
    assert "nowhere.fr: no such file" in message(f"{path},nowhere.fr")
    assert "nowhere.en: no such file" in message(f"nowhere.en,{path}")


def test_empty_aligned_file(file):
    assert "a.fr: is empty" in message(f"{file(PAIRS)},{file('', 'a.fr')}")


def test_file_with_a_comma_in_its_name(file):
    assert load_corpus(file(PAIRS, "go, went.tsv")).source == SOURCES


# Archives; more in test_compressed_files.py


def test_archives(file, tmp_path):
    packed = file(gzip.compress(PAIRS.encode()), "pairs.tsv.gz")
    assert load_corpus(packed) == ParallelCorpus(SOURCES, TARGETS, str(packed))
    path = tmp_path / "pairs.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("about.txt", "About this.\n")
        archive.writestr("pairs.txt", PAIRS)
    assert load_corpus(path, max_pairs=2).target == TARGETS[:2]
    path.write_bytes(path.read_bytes()[:-1])
    assert f"{path}: is cut off or damaged" in message(path)


# Built-in corpora; more in test_catalog.py


@pytest.fixture(scope="module")
def real():
    folder = os.environ.get("KERAS_S2S_DATA")
    if not folder or not (Path(folder) / "fra-eng.zip").exists():
        pytest.skip("the real archive, fra-eng.zip, is not in a folder named by KERAS_S2S_DATA")
    return load_corpus("fra-eng")


def test_real_archive(real):
    assert len(real) == 167_130
    assert (real.source[0], real.target[0]) == ("Go.", "Va !")
    assert len(real.references()[0]) == 116_830
    chapter = load_corpus("fra-eng", max_pairs=1001)
    assert len(chapter) == 1001
    assert (chapter.source, chapter.target) == (real.source[:1001], real.target[:1001])


def test_real_archive_is_split_without_leaks(real):
    splits = real.split()
    train, valid, test = ({source.casefold() for source in part.source} for part in splits)
    assert train.isdisjoint(valid | test)
    assert valid.isdisjoint(test)
    assert 0.045 < len(splits.valid) / len(real) < 0.055
    assert 0.045 < len(splits.test) / len(real) < 0.055


def test_invalid_types():
    with pytest.raises(InputError, match=r"^corpus is \['a.en', 'a.fr'\]; give a file"):
        load_corpus(["a.en", "a.fr"])
    with pytest.raises(InputError, match="max_pairs is '3'; give an integer"):
        load_corpus("phrasebook", max_pairs="3")
    with pytest.raises(InputError, match="source: expected a list of sentences, got one text"):
        ParallelCorpus("Go.", ["Va !"])
