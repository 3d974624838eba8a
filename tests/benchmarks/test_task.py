"""The files that all contenders are given."""

import pytest
from small_benchmarks import lines_of, small_task

from benchmarks.task import is_task, make_task, read_references


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return small_task(tmp_path_factory.mktemp("task"))


def test_task_holds_whole_sources_out(task):
    assert is_task(task)
    parts = [lines_of(task / f"{name}.en") for name in ("train", "dev", "test")]
    assert len(parts[0]) == len(lines_of(task / "train.fr")) == 200
    assert [len(part) for part in parts[1:]] == [20, 20]
    sources = [set(part) for part in parts]
    assert not sources[0] & (sources[1] | sources[2])
    assert not sources[1] & sources[2]
    assert not any(sentence.startswith("y") for part in parts for sentence in part)


def test_task_has_all_references_of_a_test_sentence(task):
    references = read_references(task)
    assert len(references[0]) == 20
    assert all(references[0])
    # A source of the 300 comes again after 280, which is the least common multiple of 40 and 7.
    assert sum(len([line for line in column if line]) for column in references) in range(20, 41)


def test_task_vocabulary_is_by_frequency(task):
    vocabulary = lines_of(task / "vocab.en")
    assert set(vocabulary[:2]) == {"word", "x"}
    assert len(vocabulary) == len(set(vocabulary))


def test_task_needs_enough_sources(tmp_path):
    with pytest.raises(ValueError, match="1 different sources are too few to hold out 5"):
        make_task([("a", "b")], tmp_path, held_out=5)
