"""The plan of the measurements."""

from dataclasses import fields
from pathlib import Path

from measuring import Settings

from benchmarks import environments, plan
from benchmarks.plan import Measurement, Phase, exclude, full_plan, interleave, short_plan

ROOT = Path(__file__).parents[2]


def test_interleave():
    a, b, c = (Measurement("train", name, "train") for name in "abc")
    order = [
        (round_index, measurement.contender)
        for round_index, measurement in interleave([Phase((a, b), 3), Phase((c,), 1)])
    ]
    expected = [(1, "a"), (1, "b"), (2, "a"), (2, "b"), (3, "a"), (3, "b"), (1, "c")]
    assert order == expected


def test_exclude():
    phases = full_plan(2, 10, "fra-eng")
    remaining = exclude(phases, ["JoeyNMT"])
    names = {item.contender for phase in remaining for item in phase.measurements}
    assert names == plan.CONTENDERS.keys() - {"JoeyNMT"}
    assert [phase.rounds for phase in remaining] == [phase.rounds for phase in phases]


def test_plans_are_consistent():
    names = {setting.name for setting in fields(Settings)}
    phases = [*full_plan(2, 10, "fra-eng"), *short_plan("fra-eng")]
    measurements = [measurement for phase in phases for measurement in phase.measurements]
    saved = {item.model for item in measurements if item.saves}
    for measurement in measurements:
        script = plan.CONTENDERS[measurement.contender].script
        text = (ROOT / "benchmarks" / "contenders" / script).read_text(encoding="utf-8")
        assert f'"{measurement.job}": ' in text
        assert measurement.settings.keys() <= names
        assert measurement.model is None or measurement.model in saved
    environment_names = {contender.environment for contender in plan.CONTENDERS.values()}
    assert environment_names - {None} == set(environments.ENVIRONMENTS)


def test_keys_are_unique():
    for phases in (full_plan(2, 10, "fra-eng"), short_plan("fra-eng")):
        keys = [measurement.key for phase in phases for measurement in phase.measurements]
        assert len(keys) == len(set(keys))
