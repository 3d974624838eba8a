"""The parts of the benchmarks that measure nothing themselves, and that the short form runs."""

import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import measuring
import pytest
from measuring import Request, Settings, Stopwatch, in_batches, measure_translation
from pairs import EOS, UNK, Pairs, as_text, read_chapter, read_pairs

from benchmarks import environments, plan, runner
from benchmarks.claims import at_least, at_most, claims
from benchmarks.growth import fitted, growth_points
from benchmarks.plan import (
    OURS,
    Contender,
    Measurement,
    Phase,
    full_plan,
    short_plan,
    turns,
    without,
)
from benchmarks.report import markdown, rounds_of
from benchmarks.roofline import Sizes, decoded_bytes, forward_operations, training_operations
from benchmarks.runner import LeftOut, Runner, run_process, token_counts
from benchmarks.series import ratio, series, spread, tokens_per_second
from benchmarks.task import is_task, make_task, read_references

ROOT = Path(__file__).resolve().parent.parent


class Count:
    """Goes through a model's steps as its definition says and counts what products do."""

    def __init__(self):
        self.operations = 0

    def product(self, outputs, inputs):
        for _ in range(outputs):
            for _ in range(inputs):
                self.operations += 2  # a multiplication and an addition

    def layers(self, sizes):
        width = sizes.embed_size
        for _ in range(sizes.num_layers):
            self.product(4 * sizes.num_hiddens, width)
            self.product(4 * sizes.num_hiddens, sizes.num_hiddens)
            width = sizes.num_hiddens

    def pair(self, sizes, source_tokens, target_tokens):
        h = sizes.num_hiddens
        for _ in range(source_tokens):
            self.layers(sizes)
            if sizes.attention == "luong":
                self.product(h, h)  # W m
        for _ in range(target_tokens):
            self.layers(sizes)
            if sizes.attention == "luong":
                for _ in range(source_tokens):
                    self.product(1, h)  # q · W m
                self.product(h, source_tokens)  # the context
                self.product(h, 2 * h)  # the attentional layer
            self.product(sizes.target_vocab_size, h)


@pytest.mark.parametrize("attention", ["none", "luong"])
@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_operations_are_those_counted_by_hand(attention, num_layers):
    sizes = Sizes(2, 3, num_layers, 7, attention)
    count = Count()
    count.pair(sizes, 4, 5)
    assert forward_operations(sizes, 4, 5) == count.operations
    assert training_operations(sizes, 4, 5) == 3 * count.operations


def test_operations_of_many_pairs_are_the_sum():
    sizes = Sizes(2, 3, 2, 7, "luong")
    lengths = [(4, 5), (1, 2), (6, 3)]
    counts = token_counts(lengths)
    assert counts == {"pairs": 3, "source_tokens": 11, "target_tokens": 10, "products": 40}
    total = training_operations(sizes, 11, 10, counts["products"])
    assert total == sum(training_operations(sizes, *pair) for pair in lengths)


def test_weights_read_in_decoding():
    # Embedding 2, one layer of 3: 24 weights for inputs, 36 for the state; dense 3 × 5.
    sizes = Sizes(2, 3, 1, 5)
    assert decoded_bytes(sizes, 1, 4, 2) == 4 * (24 + 4 * 36 + 2 * (24 + 36 + 15))
    luong = Sizes(2, 3, 1, 5, "luong")  # 9 weights for the keys, 18 for the attentional layer
    assert decoded_bytes(luong, 1, 4, 2) == decoded_bytes(sizes, 1, 4, 2) + 4 * (9 + 2 * 18)


def test_contenders_take_turns():
    a, b, c = (Measurement("train", name, "train") for name in "abc")
    order = [
        (number, measurement.contender)
        for number, measurement in turns([Phase((a, b), 3), Phase((c,), 1)])
    ]
    expected = [(1, "a"), (1, "b"), (2, "a"), (2, "b"), (3, "a"), (3, "b"), (1, "c")]
    assert order == expected


def test_who_is_left_out_takes_no_part():
    whole = full_plan(2, 10, "fra-eng")
    left = without(whole, ["JoeyNMT"])
    names = {one.contender for phase in left for one in phase.measurements}
    assert names == plan.CONTENDERS.keys() - {"JoeyNMT"}
    assert [phase.rounds for phase in left] == [phase.rounds for phase in whole]


def test_plans_ask_for_what_there_is():
    known = {setting.name for setting in fields(Settings)}
    phases = [*full_plan(2, 10, "fra-eng"), *short_plan("fra-eng")]
    measurements = [measurement for phase in phases for measurement in phase.measurements]
    saved = {one.model for one in measurements if one.saves}
    for measurement in measurements:
        script = plan.CONTENDERS[measurement.contender].script
        text = (ROOT / "benchmarks" / "contenders" / script).read_text(encoding="utf-8")
        assert f'"{measurement.job}": ' in text
        assert measurement.settings.keys() <= known
        assert measurement.model is None or measurement.model in saved
    environment_names = {contender.environment for contender in plan.CONTENDERS.values()}
    assert environment_names - {None} == set(environments.ENVIRONMENTS)


def test_measurements_are_told_apart():
    for phases in (full_plan(2, 10, "fra-eng"), short_plan("fra-eng")):
        keys = [measurement.key for phase in phases for measurement in phase.measurements]
        assert len(keys) == len(set(keys))


def clock(*times):
    remaining = iter(times)
    return lambda: next(remaining)


def test_stopwatch_leaves_the_warm_up_out():
    stopwatch = Stopwatch(2, steps=2, seconds=None, now=clock(10.0, 11.0, 13.0, 14.0))
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
    stopwatch = Stopwatch(1, steps=None, seconds=2.5, now=clock(0.0, 1.0, 2.0, 3.0))
    assert [stopwatch.step(10) for _ in range(4)] == [False, False, False, True]
    assert stopwatch.result()["tokens"] == 30


def test_stopwatch_with_nothing_measured():
    stopwatch = Stopwatch(2, steps=2, seconds=None)
    stopwatch.step(10)
    with pytest.raises(RuntimeError, match="ended after 1 steps, within the warm-up"):
        stopwatch.result()


@pytest.mark.parametrize("arguments", [(0, 5, None), (1, None, None)])
def test_stopwatch_that_could_not_start_or_stop(arguments):
    with pytest.raises(ValueError, match="warm-up"):
        Stopwatch(*arguments)


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    folder = tmp_path_factory.mktemp("task")
    pairs = [
        (
            " ".join(["word", str(number % 40), *["x"] * (number % 7)]),
            f"le mot numéro {number} est là ?",
        )
        for number in range(300)
    ]
    # Too long for the task, and an empty side.
    pairs += [("y " * 26, "z"), ("", "z")]
    make_task(pairs, folder, num_pairs=200, held_out=20)
    return folder


def lines_of(path):
    return path.read_text(encoding="utf-8").splitlines()


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


def test_batches_of_an_epoch_have_each_pair_once(task):
    pairs = read_pairs(task)
    for by_length in (True, False):
        batches = list(pairs.batches(16, 3, by_length, endless=False))
        assert sorted(number for batch in batches for number in batch) == list(range(200))
        assert [len(batch) for batch in batches].count(16) == 12
    by_length = list(pairs.batches(16, 3, endless=False))
    for batch in by_length:
        lengths = [len(pairs.source[number]) for number in batch]
        assert max(lengths) - min(lengths) <= 1
    endless = pairs.batches(16, 3)
    assert [next(endless) for _ in range(13)] == by_length
    assert next(endless) != by_length[0]


def test_tokens_are_words_and_the_end():
    pairs = Pairs([[4], [4, 5]], [[4, 4, 4], []], ["a"], ["b"])
    assert pairs.target_tokens([0, 1]) == 5


def test_chapter_words_seen_less_than_three_times_are_unknown(tmp_path):
    (tmp_path / "chapter.en").write_text("a a b\na\n", encoding="utf-8")
    (tmp_path / "chapter.fr").write_text("c c c c c c c c c c\nd\n", encoding="utf-8")
    pairs = read_chapter(tmp_path)
    assert pairs.source_vocabulary[4:] == ["a"]
    assert pairs.source == [[4, 4, UNK], [4]]
    # <bos> and <eos> have their places among the ten.
    assert pairs.target == [[4] * 8, [UNK]]
    assert as_text([4, EOS, 4], pairs.target_vocabulary) == "c"


def test_free_batches_are_sorted_and_answers_in_order():
    sentences = ["a b c", "a", "a b", "a b c d"]
    seen = []

    def translate(batch):
        seen.append(batch)
        return [sentence.upper() for sentence in batch]

    assert in_batches(sentences, None, translate, free_size=2) == [s.upper() for s in sentences]
    assert seen == [["a", "a b"], ["a b c", "a b c d"]]
    seen.clear()
    in_batches(sentences, 3, translate)
    assert seen == [["a b c", "a", "a b"], ["a b c d"]]


def test_translation_is_measured_in_three_ways(tmp_path):
    request = Request(tmp_path, Settings(), None, None, 1, None, tmp_path / "answers")
    sentences = [f"a b {number}" for number in range(250)]
    sizes = []

    def translate(texts, batch_size):
        sizes.append((len(texts), batch_size))
        return [f"{text} !" for text in texts]

    result = measure_translation(request, sentences, translate)
    assert lines_of(tmp_path / "answers") == [f"{sentence} !" for sentence in sentences]
    assert sizes[:5] == [(250, None), (64, 32), (2, 1), (250, None), (250, 32)]
    assert sizes[5:] == [(1, 1)] * 200
    assert [result[way]["sentences"] for way in ("file", "batches", "single")] == [250, 250, 200]
    assert result["single"]["tokens"] == 200 * 5
    assert result["single"]["source_tokens"] == 200 * 3
    with pytest.raises(RuntimeError, match="1 answers to 2"):
        measure_translation(request, ["a", "b"], lambda texts, size: ["c"])


def test_a_contender_refuses_settings_that_it_does_not_know(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["it.py", "task", "train", "--settings", '{"hidden": 5}'])
    with pytest.raises(SystemExit) as ended:
        measuring.run({"train": dict})
    assert ended.value.code == 2
    assert "no settings hidden" in capsys.readouterr().err


def test_median_and_ends():
    found = spread([3.0, 1.0, 2.0])
    assert found == (2.0, 1.0, 3.0)
    assert found.shown(1) == "2.0 (1.0–3.0)"
    assert spread([0.25]).shown(0, 100) == "25"


def test_ratios_are_taken_within_a_round():
    # The machine was half as fast in the second round; the third failed for one of them.
    assert ratio({1: 30.0, 2: 15.0, 3: 90.0}, {1: 10.0, 2: 5.0}) == 3.0
    assert ratio({1: 30.0}, {2: 5.0}) is None


def test_claims_say_whether_they_are_met():
    assert at_least("a", 1.2, 1.2).met is True
    assert at_least("a", 1.19, 1.2).met is False
    assert at_most("a", 16.0, 15, " s").met is False
    nothing = at_most("a", None, 15, " s")
    assert (nothing.met, nothing.measured, nothing.wanted) == (None, "not measured", "≤ 15 s")


def test_fit_finds_the_fixed_part():
    start, slope = fitted([(x, 3 + 2 * x) for x in (1, 2, 4, 8)])
    assert (start, slope) == (pytest.approx(3), pytest.approx(2))
    assert fitted([(x, 2 * x**2) for x in (1.0, 2.0, 4.0)])[0] == 0


def record(contender, speed, round_number=1, part="train", label="none float32", **more):
    """A record of training for ten seconds."""
    error = more.pop("error", None)
    settings = {**vars(Settings(threads=2)), **more.pop("settings", {})}
    settings["dtype"] = label.split()[-1] if part == "train" else "float32"
    result = {
        "tokens": speed * 10,
        "seconds": 10.0,
        "steps": 20,
        "start_up": 5.0,
        "preparation_seconds": 1.0,
        "settings": settings,
        "versions": {"python": "3.11", "thing": "1.0"},
        **more,
    }
    return {
        "part": part,
        "contender": contender,
        "label": label,
        "job": "train",
        "settings": {},
        "key": f"{part} {contender} {label}",
        "round": round_number,
        "error": error,
        "result": None if error else result,
        "peak_memory": 10**9 if contender == OURS else 2 * 10**9,
        "wall": 15.0,
    }


def speed_record(part="train"):
    found = record("machine", 1, part=part, label="float32")
    found["job"] = "speed"
    found["result"] |= {
        "operations_per_second": {"float32": 2e11, "bfloat16": 4e11},
        "bytes_per_second": 2e10,
        "bytes_per_second_summed": 4e10,
    }
    return found


def document(records, command="bench"):
    counts = {"pairs": 10, "source_tokens": 80, "target_tokens": 100, "products": 900}
    return {
        "meta": {
            "command": command,
            "date": "2026-01-01",
            "machine": {"processor": "a chip", "cores": 2, "memory": 8e9, "system": "Linux"},
            "threads": 2,
            "task": "pairs.tsv",
            "train": {**counts, "vocab_size": 8004},
            "chapter": {**counts, "vocab_size": 200},
        },
        "records": records,
    }


@pytest.fixture
def measured():
    speeds = {1: (3000, 2000, 500), 2: (1500, 1000, 250), 3: (3300, 2000, 500)}
    records = [speed_record()]
    for number, row in speeds.items():
        for name, speed in zip((OURS, "PyTorch, packed", "PyTorch, padded"), row, strict=True):
            records.append(record(name, speed, number))
    records.append(record("OpenNMT-py", 0, error="ERROR: No matching distribution"))
    return document(records)


def test_series_have_their_rounds(measured):
    found = series(measured["records"], "train", "train")
    names = [one.contender for one in found]
    assert names == [OURS, "PyTorch, packed", "PyTorch, padded", "OpenNMT-py"]
    assert found[0].values(tokens_per_second) == {1: 3000, 2: 1500, 3: 3300}
    assert found[3].error == "ERROR: No matching distribution"


def test_page_shows_medians_ratios_and_shares(measured):
    page = markdown(measured)
    row = next(line for line in page.splitlines() if line.startswith("| PyTorch, packed | 2,000"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1:3] == ["2,000 (1,000–2,000)", "1.50"]
    sizes = Sizes(256, 512, 2, 8004)
    share = 100 * 2000 * training_operations(sizes, 80, 100) / 100 / 2e11
    assert cells[3].startswith(f"{share:.0f} (")
    assert cells[4] == "2.00"
    assert "a chip, 2 cores, 8 GB" in page
    assert "thing 1.0" in page


def test_page_tells_how_many_rounds_there_were(measured):
    assert "Medians of 3 rounds, in which" in markdown(measured)
    records = [{"part": "chapter", "round": 1}, {"part": "train", "round": 2}]
    assert rounds_of(records) == "1 round (`chapter`), 2 rounds (`train`)"


def test_page_names_who_is_left_out_and_why(measured):
    page = markdown(measured)
    assert "- train: OpenNMT-py none float32: ERROR: No matching distribution\n" in page
    assert "| OpenNMT-py | left out |" in page


def test_claims_of_what_was_measured(measured):
    found = {claim.what: claim for claim in claims(measured)}
    peer = found["Training, no attention, float32: tokens/s by the best peer's (PyTorch, packed)"]
    assert (peer.measured, peer.met) == ("1.50×", True)
    padded = found["Training, no attention, float32: tokens/s by the padded PyTorch loop's"]
    assert (padded.measured, padded.met) == ("6.00×", True)
    memory = next(claim for what, claim in found.items() if "peak memory" in what)
    assert (memory.measured, memory.met) == ("0.50×", True)
    others = [claim for what, claim in found.items() if "no attention, float32" not in what]
    assert {claim.measured for claim in others} == {"not measured"}
    assert {claim.met for claim in others} == {None}


def test_page_of_a_short_run_claims_nothing(measured):
    measured["meta"]["command"] = "bench-short"
    assert "What they should show" not in markdown(measured)


def translation(contender, milliseconds, through="python", part="translate"):
    label = "luong float32" if part == "translate" else ""
    found = record(contender, 100, part=part, label=label)
    ways = {
        way: {
            "sentences": count,
            "source_tokens": 8 * count,
            "tokens": 9 * count,
            "seconds": milliseconds * count / factor / 1000,
        }
        for way, count, factor in (("file", 1000, 4), ("batches", 1000, 2), ("single", 200, 1))
    }
    found["result"] |= ways | {"bleu": {"none": 20.0, "13a": 17.0}}
    found["result"]["single"]["median_milliseconds"] = milliseconds
    found["job"], found["settings"] = "translate", {"through": through}
    found["key"] += through
    return found


def test_translation_on_the_page():
    records = [
        speed_record("translate"),
        translation(OURS, 10.0),
        translation(OURS, 12.0, "session"),
        translation("OpenNMT-tf", 20.0),
        translation(OURS, 1.0, "session", part="chapter"),
        translation(OURS, 5.0, "loop", part="chapter"),
    ]
    results = document(records)
    page = markdown(results)
    assert "| **this package**, export | luong float32 | – | 20.0 / 17.0 | 333 |" in page
    found = {claim.what: claim for claim in claims(results)}
    of = found["One sentence through the export, by OpenNMT-tf's SavedModel"]
    assert (of.measured, of.met) == ("0.60×", True)
    small = [claim for what, claim in found.items() if "its loop in Python" in what]
    assert (small[0].measured, small[0].met) == ("5.00×", False)


@pytest.fixture
def grown():
    records = [speed_record("growth")]
    for size in (8, 16, 32):
        # 10 ms a step, and 1 ms a sentence.
        one = record(OURS, 100, part="growth", label=f"batch_size {size}")
        one["result"] |= {"steps": 10, "tokens": 90 * size, "seconds": 10 * (0.010 + 0.001 * size)}
        records.append(one)
    return document(records)


def test_growth_tells_what_is_fixed(grown):
    points = growth_points(grown)["batch_size"]
    assert [point.size for point in points] == [8, 16, 32]
    assert points[0].seconds.median == pytest.approx(0.018)
    assert points[1].operations == pytest.approx(2 * points[0].operations)
    page = markdown(grown)
    assert "10.0 ms a step are fixed, 56% of the first row" in page
    assert "| 16 | 26.0 | 1.44 / 2.00 |" in page


def test_growth_is_drawn(grown, tmp_path):
    pytest.importorskip("matplotlib")
    from benchmarks.picture import draw

    draw(grown, tmp_path / "growth.png")
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")


def script(tmp_path, text):
    path = tmp_path / "it.py"
    path.write_text(text, encoding="utf-8")
    return path


def test_process_is_measured(tmp_path):
    lines = "import time", "x = b'1' * 10**8", "time.sleep(0.5)", "print('chatter')"
    path = script(tmp_path, "\n".join([*lines, "print('{\"tokens\": 5}')"]))
    own = b"1" * 3 * 10**8  # of the process that starts it, which does not count
    found = run_process([sys.executable, str(path)], tmp_path / "log", 60)
    assert found["result"] == {"tokens": 5}
    assert 10**8 < found["peak_memory"] < len(own)
    assert 0 < found["wall"] < 60


def test_process_that_fails_says_why(tmp_path):
    path = script(tmp_path, "raise RuntimeError('no such thing')\n")
    with pytest.raises(LeftOut, match="RuntimeError: no such thing"):
        run_process([sys.executable, str(path)], tmp_path / "log", 60)


def test_process_that_does_not_end_is_ended(tmp_path):
    path = script(tmp_path, "import time\ntime.sleep(60)\n")
    with pytest.raises(LeftOut, match="not done after 0 s"):
        run_process([sys.executable, str(path)], tmp_path / "log", 0.3)


SAVES = """
import sys
from pathlib import Path
given = "--model" in sys.argv
if given:
    folder = Path(sys.argv[sys.argv.index("--model") + 1])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "weights").write_text("1")
print('{"tokens": 9, "seconds": 3, "given": %s}' % str(given).lower())
"""


@pytest.fixture
def two_contenders(tmp_path, monkeypatch):
    """One that counts how often it is run, and one that fails; the runner's arguments."""
    counts = tmp_path / "count"
    good = f"open({str(counts)!r}, 'a').write('x')\nprint('{{\"tokens\": 9, \"seconds\": 3}}')\n"
    bad = f"open({str(counts)!r}, 'a').write('y')\nraise SystemExit('out of luck')\n"
    for name, text in (("good", good), ("bad", bad)):
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
        contender = Contender(name, str(tmp_path / f"{name}.py"), None, "")
        monkeypatch.setitem(plan.CONTENDERS, name, contender)
    absent = Contender("absent", "none.py", "absent", "")
    monkeypatch.setitem(plan.CONTENDERS, "absent", absent)
    monkeypatch.setattr(environments, "FOLDER", tmp_path)
    return (tmp_path, tmp_path, tmp_path / "work", 1), counts


def test_a_contender_that_fails_is_named_and_not_tried_again(two_contenders):
    arguments, counts = two_contenders
    lines = []
    measurements = tuple(Measurement("train", name, "train") for name in ("good", "bad", "absent"))
    records = Runner(*arguments, lines.append).run([Phase(measurements, 3)])
    assert counts.read_text() == "xyxx"
    assert [record["contender"] for record in records] == ["good", "bad", "absent"] * 3
    good, bad, absent = records[:3]
    assert good["result"] == {"tokens": 9, "seconds": 3}
    assert good["error"] is None
    assert (bad["result"], bad["error"]) == (None, "out of luck")
    assert "python -m benchmarks.environments absent" in absent["error"]
    assert "3 tokens/s" in lines[0]
    assert "left out: out of luck" in lines[1]


def test_a_run_goes_on_where_it_stopped(two_contenders):
    arguments, counts = two_contenders
    measurements = tuple(Measurement("train", name, "train") for name in ("good", "bad"))
    first = Runner(*arguments, lambda line: None).run([Phase(measurements, 2)])
    assert counts.read_text() == "xyx"
    again = Runner(*arguments, lambda line: None).run([Phase(measurements, 3)])
    # What failed is tried again, once.
    assert counts.read_text() == "xyxyx"
    good = [record for record in again if record["contender"] == "good"]
    assert good[:2] == [record for record in first if record["contender"] == "good"]
    assert [record["round"] for record in good] == [1, 2, 3]


def test_parts_measured_one_after_the_other_come_together(two_contenders):
    arguments, counts = two_contenders
    parts = [Phase((Measurement(part, "good", "train"),), 1) for part in ("train", "growth")]
    Runner(*arguments, lambda line: None).run(parts[:1], parts)
    found = Runner(*arguments, lambda line: None).run(parts[1:], parts)
    assert [record["part"] for record in found] == ["train", "growth"]
    assert counts.read_text() == "xx"


def test_translation_without_its_model_says_so(two_contenders):
    arguments, _ = two_contenders
    measurement = Measurement("translate", "good", "translate", model="good luong")
    found = Runner(*arguments, lambda line: None).run([Phase((measurement,), 1)])
    assert found[0]["error"] == "there is no model: its training failed (good luong)"


def test_a_model_is_written_in_the_first_round_only(two_contenders, tmp_path, monkeypatch):
    arguments, _ = two_contenders
    (tmp_path / "saver.py").write_text(SAVES, encoding="utf-8")
    saver = Contender("saver", str(tmp_path / "saver.py"), None, "")
    monkeypatch.setitem(plan.CONTENDERS, "saver", saver)
    trains = Measurement("chapter", "saver", "chapter", model="of it", saves=True)
    reads = Measurement("chapter", "saver", "translate", model="of it")
    phases = [Phase((trains,), 2), Phase((reads,), 2)]
    found = Runner(*arguments, lambda line: None).run(phases)
    assert [record["result"]["given"] for record in found] == [True, False, True, True]


def test_half_a_model_is_removed(two_contenders, tmp_path, monkeypatch):
    arguments, _ = two_contenders
    text = f"{SAVES}\nsys.exit('out of memory')\n"
    (tmp_path / "saver.py").write_text(text, encoding="utf-8")
    saver = Contender("saver", str(tmp_path / "saver.py"), None, "")
    monkeypatch.setitem(plan.CONTENDERS, "saver", saver)
    trains = Measurement("chapter", "saver", "chapter", model="of it", saves=True)
    reads = Measurement("chapter", "saver", "translate", model="of it")
    found = Runner(*arguments, lambda line: None).run([Phase((trains, reads), 1)])
    assert [record["error"] for record in found] == [
        "out of memory",
        "there is no model: its training failed (of it)",
    ]


def test_half_an_environment_is_none(tmp_path):
    (tmp_path / "pytorch" / "bin").mkdir(parents=True)
    (tmp_path / "pytorch" / "bin" / "python").touch()
    assert environments.interpreter("pytorch", tmp_path) is None
    (tmp_path / "pytorch.log").write_text("Collecting\nERROR: no wheel\nmore\n")
    assert environments.why_missing("pytorch", tmp_path) == "not installed: ERROR: no wheel"


def test_environment_without_a_python_that_fits(tmp_path, monkeypatch):
    odd = environments.Environment(("nothing",), ("2.99",))
    monkeypatch.setitem(environments.ENVIRONMENTS, "odd", odd)
    assert environments.install("odd", folder=tmp_path) is False
    assert "no Python 2.99" in environments.why_missing("odd", tmp_path)


def test_bleu_of_a_file(task, tmp_path):
    first = [line for line in read_references(task)[0] if line]
    (tmp_path / "right.fr").write_text("".join(f"{line}\n" for line in first), encoding="utf-8")
    assert runner.bleu(tmp_path / "right.fr", task)["none"] == pytest.approx(100)


@pytest.mark.slow
def test_short_form_runs(tmp_path, phrasebook):
    tsv = tmp_path / "pairs.tsv"
    rows = zip(phrasebook.source, phrasebook.target, strict=True)
    tsv.write_text("".join(f"{a}\t{b}\n" for a, b in rows), encoding="utf-8")
    command = [sys.executable, "-m", "benchmarks.task", str(tsv), str(tmp_path / "task")]
    subprocess.run([*command, "--held-out", "50"], check=True, cwd=ROOT)
    command = [sys.executable, "-m", "benchmarks", "--short", "--corpus", str(tsv)]
    command += ["--task", str(tmp_path / "task"), "--work", str(tmp_path / "work")]
    page = subprocess.run(command, check=True, cwd=ROOT, capture_output=True, text=True).stdout
    results = json.loads((tmp_path / "work" / "results.json").read_text(encoding="utf-8"))
    ran = {(one["part"], one["contender"]) for one in results["records"] if one["result"]}
    assert {("chapter", OURS), ("train", OURS), ("train", "plain Keras")} <= ran
    assert (tmp_path / "work" / "RESULTS.md").read_text(encoding="utf-8").strip() == page.strip()
    loss = next(one for one in results["records"] if one["part"] == "chapter")["result"]["loss"]
    assert 0 < loss < 6
