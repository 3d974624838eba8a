"""Pairs and batches of a task."""

import pytest
from pairs import EOS, UNK, Pairs, read_chapter, read_pairs, to_text
from small_benchmarks import small_task


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return small_task(tmp_path_factory.mktemp("task"))


def test_an_epoch_has_each_pair_once(task):
    pairs = read_pairs(task)
    for by_length in (True, False):
        batches = list(pairs.batches(16, 3, by_length, endless=False))
        assert sorted(i for batch in batches for i in batch) == list(range(200))
        assert [len(batch) for batch in batches].count(16) == 12
    by_length = list(pairs.batches(16, 3, endless=False))
    for batch in by_length:
        lengths = [len(pairs.source[i]) for i in batch]
        assert max(lengths) - min(lengths) <= 1
    endless = pairs.batches(16, 3)
    assert [next(endless) for _ in range(13)] == by_length
    assert next(endless) != by_length[0]


def test_target_tokens_include_eos():
    pairs = Pairs([[4], [4, 5]], [[4, 4, 4], []], ["a"], ["b"])
    assert pairs.target_tokens([0, 1]) == 5


def test_rare_words_of_the_chapter_are_unknown(tmp_path):
    (tmp_path / "chapter.en").write_text("a a b\na\n", encoding="utf-8")
    (tmp_path / "chapter.fr").write_text("c c c c c c c c c c\nd\n", encoding="utf-8")
    pairs = read_chapter(tmp_path)
    assert pairs.source_vocabulary[4:] == ["a"]
    assert pairs.source == [[4, 4, UNK], [4]]
    # The ten tokens include <bos> and <eos>.
    assert pairs.target == [[4] * 8, [UNK]]
    assert to_text([4, EOS, 4], pairs.target_vocabulary) == "c"
