"""Presets, and the values that a training run can be given."""

import dataclasses
import json

import pytest

from keras_s2s.errors import InputError
from keras_s2s.options import value_type
from keras_s2s.recipes import PRESETS, Recipe, check_seed, preset


def test_the_chapter():
    assert PRESETS["chapter"] == Recipe()
    assert dataclasses.asdict(Recipe()) == {
        "embed_size": 32,
        "num_hiddens": 32,
        "num_layers": 2,
        "dropout": 0.0,
        "min_freq": 3,
        "max_tokens": None,
        "num_steps": 10,
        "drop_long": False,
        "max_pairs": None,
        "valid_fraction": 0.0,
        "test_fraction": 0.0,
        "split_seed": 0,
        "batch_size": 64,
        "epochs": 300,
        "learning_rate": 0.005,
        "clip_norm": 1.0,
    }


def test_the_chapter_reads_1001_pairs_of_its_own_corpus():
    assert preset("chapter", "fra-eng").max_pairs == 1001
    assert preset("chapter", "fra-eng", max_pairs=5).max_pairs == 5
    assert preset("chapter", "pairs.tsv").max_pairs is None
    changed = preset("chapter", "pairs.tsv", epochs=7, dropout=0.5)
    assert changed == dataclasses.replace(Recipe(), epochs=7, dropout=0.5)


def test_unknown_presets():
    with pytest.raises(InputError, match=r"no preset 'Chapter'; .* did you mean chapter\?"):
        preset("Chapter", "fra-eng")
    with pytest.raises(InputError, match=r"no preset 'xyz'; there is chapter$"):
        preset("xyz", "fra-eng")


@pytest.mark.parametrize("item", dataclasses.fields(Recipe), ids=lambda item: item.name)
def test_every_value_is_checked(item):
    def refused(value):
        with pytest.raises(InputError, match=f"^{item.name} is .*; give "):
            Recipe(**{item.name: value})

    kind, limits = value_type(item), item.metadata["limits"]
    for value in ("3", [3], float("nan"), float("inf"), 10**400):
        refused(value)
    if kind is bool:
        Recipe(**{item.name: True})
        refused(1)
        return
    refused(True)
    refused(-1)
    refused(kind(limits["at_most"] + 1))
    if kind is int:
        refused(3.0)
        Recipe(**{item.name: limits["at_least"]})
        refused(limits["at_least"] - 1)
    else:
        Recipe(**{item.name: 0.5})
    for border in {"above", "below"} & limits.keys():
        refused(kind(limits[border]))
    if item.default is not None:
        refused(None)


def test_a_whole_number_will_do_for_any_number():
    assert Recipe(clip_norm=2).clip_norm == 2


def test_fractions_leave_something_to_train_on():
    Recipe(valid_fraction=0.5, test_fraction=0.4)
    with pytest.raises(InputError, match="leave nothing to train on"):
        Recipe(valid_fraction=0.5, test_fraction=0.5)


def test_a_recipe_survives_its_record():
    recipe = Recipe(max_tokens=50, dropout=0.1, drop_long=True)
    assert Recipe(**json.loads(json.dumps(dataclasses.asdict(recipe)))) == recipe


def test_seeds():
    assert [check_seed(seed) for seed in (0, 2**32 - 1)] == [0, 2**32 - 1]
    for seed in (-1, 2**32, 1.0, "1", None):
        with pytest.raises(InputError, match="give a whole number from 0 to 4294967295"):
            check_seed(seed)
