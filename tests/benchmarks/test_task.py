"""The files of the task."""

import pytest
from small_benchmarks import read_lines, small_task

from benchmarks.task import is_task, make_task, read_references


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return small_task(tmp_path_factory.mktemp("task"))


def test_splits_have_no_source_in_common(task):
    assert is_task(task)
    splits = [read_lines(task / f"{name}.en") for name in ("train", "dev", "test")]
    assert len(splits[0]) == len(read_lines(task / "train.fr")) == 200
    assert [len(split) for split in splits[1:]] == [20, 20]
    sources = [set(split) for split in splits]
    assert not sources[0] & (sources[1] | sources[2])
    assert not sources[1] & sources[2]
    assert not any(sentence.startswith("y") for split in splits for sentence in split)


def test_references(task):
    references = read_references(task)
    assert len(references[0]) == 20
    assert all(references[0])
    # Sources repeat after 280 = lcm(40, 7) of the 300 pairs.
    assert sum(len([line for line in column if line]) for column in references) in range(20, 41)


def test_vocabulary_is_sorted_by_frequency(task):
    vocabulary = read_lines(task / "vocab.en")
    assert set(vocabulary[:2]) == {"word", "x"}
    assert len(vocabulary) == len(set(vocabulary))


def test_too_few_sources(tmp_path):
    with pytest.raises(ValueError, match="1 distinct sources are too few"):
        make_task([("a", "b")], tmp_path, held_out=5)
