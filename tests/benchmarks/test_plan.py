"""Who is measured, how often and in which order."""

from dataclasses import fields
from pathlib import Path

from measuring import Settings

from benchmarks import environments, plan
from benchmarks.plan import Measurement, Phase, full_plan, short_plan, turns, without

ROOT = Path(__file__).parents[2]


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
