"""Timing and command line of the contenders."""

import sys

import measuring
import pytest
from measuring import Request, Settings, Stopwatch, measure_translation, translate_in_batches
from small_benchmarks import read_lines


def fake_clock(*times):
    remaining = iter(times)
    return lambda: next(remaining)


def test_stopwatch_excludes_the_warm_up():
    stopwatch = Stopwatch(2, steps=2, seconds=None, clock=fake_clock(10.0, 11.0, 13.0, 14.0))
    assert [stopwatch.step(tokens, 1.0) for tokens in (100, 100, 7, 5)] == [
        False,
        False,
        False,
        True,
    ]
    result = stopwatch.result()
    assert (result["steps"], result["tokens"], result["seconds"]) == (2, 12, 3.0)
    assert result["loss"] == pytest.approx(2 / 12)


def test_stopwatch_stops_after_its_seconds():
    stopwatch = Stopwatch(1, steps=None, seconds=2.5, clock=fake_clock(0.0, 1.0, 2.0, 3.0))
    assert [stopwatch.step(10) for _ in range(4)] == [False, False, False, True]
    assert stopwatch.result()["tokens"] == 30


def test_stopwatch_without_a_measured_step():
    stopwatch = Stopwatch(2, steps=2, seconds=None)
    stopwatch.step(10)
    with pytest.raises(RuntimeError, match="1 steps, during the warm-up"):
        stopwatch.result()


@pytest.mark.parametrize("arguments", [(0, 5, None), (1, None, None)])
def test_invalid_stopwatch(arguments):
    with pytest.raises(ValueError, match="warm-up"):
        Stopwatch(*arguments)


def test_translate_in_batches():
    sentences = ["a b c", "a", "a b", "a b c d"]
    batches = []

    def translate(batch):
        batches.append(batch)
        return [sentence.upper() for sentence in batch]

    assert translate_in_batches(sentences, None, translate, default_size=2) == [
        s.upper() for s in sentences
    ]
    assert batches == [["a", "a b"], ["a b c", "a b c d"]]
    batches.clear()
    translate_in_batches(sentences, 3, translate)
    assert batches == [["a b c", "a", "a b"], ["a b c d"]]


def test_translation_is_measured_in_three_modes(tmp_path):
    request = Request(tmp_path, Settings(), None, None, 1, None, tmp_path / "translations")
    sentences = [f"a b {i}" for i in range(250)]
    sizes = []

    def translate(texts, batch_size):
        sizes.append((len(texts), batch_size))
        return [f"{text} !" for text in texts]

    result = measure_translation(request, sentences, translate)
    assert read_lines(tmp_path / "translations") == [f"{sentence} !" for sentence in sentences]
    assert sizes[:5] == [(250, None), (64, 32), (2, 1), (250, None), (250, 32)]
    assert sizes[5:] == [(1, 1)] * 200
    assert [result[mode]["sentences"] for mode in ("file", "batches", "single")] == [250, 250, 200]
    assert result["single"]["tokens"] == 200 * 5
    assert result["single"]["source_tokens"] == 200 * 3
    with pytest.raises(RuntimeError, match="1 translations of 2"):
        measure_translation(request, ["a", "b"], lambda texts, size: ["c"])


def test_unknown_settings_are_refused(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["it.py", "task", "train", "--settings", '{"hidden": 5}'])
    with pytest.raises(SystemExit) as error:
        measuring.run({"train": dict})
    assert error.value.code == 2
    assert "no settings hidden" in capsys.readouterr().err
