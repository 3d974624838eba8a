"""Presets, and the validation of configurations."""

import dataclasses
import json

import pytest

from keras_s2s.config import PRESETS, TrainingConfig, check_held_out, preset
from keras_s2s.utils.checks import check_seed
from keras_s2s.utils.errors import InputError
from keras_s2s.utils.fields import field_type

# The other fields that a field requires.
REQUIRED = {
    "joint_vocabulary": {"tokenizer": "sentencepiece"},
    "source_normalization": {"tokenizer": "character"},
    "target_normalization": {"tokenizer": "character"},
    "subword_sampling": {"tokenizer": "sentencepiece", "bucket_by_length": True},
    "input_feeding": {"attention": "luong"},
    "copy": {"attention": "luong"},
    "coverage_penalty": {"attention": "luong"},
    "replace_unknown": {"attention": "luong"},
    "batch_tokens": {"bucket_by_length": True, "num_steps": 3},
}


def test_the_chapter():
    chapter = {
        "embed_size": 32,
        "num_hiddens": 32,
        "num_layers": 2,
        "num_steps": 10,
        "batch_size": 64,
        "epochs": 300,
        "learning_rate": 0.005,
        "global_clipnorm": 1.0,
        "clip_reduction": "sequence_mean",
        "tokenizer": "word",
        "word_rules": "chapter",
        "lowercase": True,
        "cell": "lstm",
        "lr_schedule": "constant",
        "precision": "float32",
        "gradient_accumulation_steps": 1,
    }
    # These have no effect on its training.
    others = {
        *("patience", "beam_size", "length_penalty", "keep_checkpoints", "nonfinite"),
        *("sacrebleu_lowercase", "target_normalization", "vocabulary_pairs", "feature_separator"),
        "training_revision",
        "sentencepiece_model_type",
    }
    assert {TrainingConfig().min_freq_of(side) for side in ("source", "target")} == {3}
    assert PRESETS["chapter"] == TrainingConfig()
    for name, value in dataclasses.asdict(TrainingConfig()).items():
        if name in chapter:
            assert value == chapter[name], name
        elif name not in others:
            assert value in (None, False, 0, "none", ()), f"{name} is on in the chapter"


def test_the_chapter_reads_1001_pairs_of_fra_eng():
    assert preset("chapter", "fra-eng").max_pairs == 1001
    assert preset("chapter", "fra-eng", max_pairs=5).max_pairs == 5
    assert preset("chapter", "pairs.tsv").max_pairs is None
    changed = preset("chapter", "pairs.tsv", epochs=7, dropout=0.5)
    assert changed == dataclasses.replace(TrainingConfig(), epochs=7, dropout=0.5)


def test_unknown_presets():
    with pytest.raises(InputError, match=r"no preset 'Chapter'; .* did you mean chapter\?"):
        preset("Chapter", "fra-eng")
    with pytest.raises(
        InputError, match=r"no preset 'xyz'; there is chapter, small, base, character$"
    ):
        preset("xyz", "fra-eng")


@pytest.mark.parametrize("item", dataclasses.fields(TrainingConfig), ids=lambda item: item.name)
def test_every_value_is_checked(item):
    required = REQUIRED.get(item.name, {})

    def check_refused(value):
        with pytest.raises(InputError, match=f"^{item.name} is .*; give "):
            TrainingConfig(**{**required, item.name: value})

    def check_accepted(value):
        assert getattr(TrainingConfig(**{**required, item.name: value}), item.name) == value

    dtype, limits = field_type(item), item.metadata["limits"]
    if dtype is tuple:
        for value in ("<a>", 3, [3], None, ["<a>", "<a>"], ["<unk>"], ["a b"], [""]):
            with pytest.raises(InputError, match=f"^{item.name}.*; give "):
                TrainingConfig(**{item.name: value})
        assert getattr(TrainingConfig(**{item.name: ["<a>", "{b}"]}), item.name) == ("<a>", "{b}")
        return
    is_any_text = dtype is str and not item.metadata["choices"]
    for value in ("" if is_any_text else "3", [3], float("nan"), float("inf"), 10**400, -1):
        check_refused(value)
    if item.default is not None:
        check_refused(None)
    if dtype is bool:
        check_refused(1)
        check_accepted(True)
        return
    check_refused(True)
    if dtype is str:
        for value in item.metadata["choices"] or ("3", " | "):
            check_accepted(value)
        return
    check_refused(dtype(limits["le"] + 1))
    if dtype is int:
        check_refused(3.0)
        check_accepted(limits["ge"])
        check_refused(limits["ge"] - 1)
    else:
        check_accepted(0.5)
    for bound in {"gt", "lt"} & limits.keys():
        check_refused(dtype(limits[bound]))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"joint_vocabulary": True}, "joint_vocabulary needs tokenizer sentencepiece; give that"),
        ({"subword_sampling": 0.2}, "subword_sampling needs tokenizer sentencepiece"),
        (
            {"subword_sampling": 0.2, "tokenizer": "sentencepiece"},
            "subword_sampling needs bucket_by_length",
        ),
        ({"lowercase": False}, "lowercase off needs tokenizer sentencepiece"),
        (
            {
                "tokenizer": "sentencepiece",
                "joint_vocabulary": True,
                "source_normalization": "nfkc",
            },
            "joint_vocabulary normalizes both sides by target_normalization nfc",
        ),
        ({"input_feeding": True}, "input_feeding needs attention luong"),
        ({"copy": True}, "copy needs attention luong"),
        (
            {
                **{"copy": True, "attention": "luong", "tokenizer": "sentencepiece"},
                **{"subword_sampling": 0.2, "bucket_by_length": True},
            },
            "subword_sampling and copy exclude each other",
        ),
        ({"coverage_penalty": 0.2}, "coverage_penalty needs attention luong"),
        ({"replace_unknown": True}, "replace_unknown needs attention luong"),
        (
            {"replace_unknown": True, "attention": "luong", "tokenizer": "sentencepiece"},
            "replace_unknown needs tokenizer word",
        ),
        (
            {
                "replace_unknown": True,
                "attention": "luong",
                "source_tokenizer": "character",
                "target_tokenizer": "whitespace",
            },
            "replace_unknown needs tokenizer word",
        ),
        (
            {"target_tokenizer": "sentencepiece", "joint_vocabulary": True},
            "joint_vocabulary needs tokenizer sentencepiece on the source side",
        ),
        (
            {"source_tokenizer": "character", "lowercase": False},
            "lowercase off needs tokenizer sentencepiece on the target side",
        ),
        (
            {"tokenizer": "sentencepiece", "source_normalization": "nfd"},
            "source_normalization nfd needs tokenizer character",
        ),
        (
            {
                "tokenizer": "sentencepiece",
                "sentencepiece_model_type": "char",
                "subword_sampling": 0.2,
                "bucket_by_length": True,
            },
            "subword_sampling needs sentencepiece_model_type bpe",
        ),
        ({"batch_tokens": 4096}, "batch_tokens needs bucket_by_length"),
        (
            {"batch_tokens": 9, "bucket_by_length": True},
            r"batch_tokens is 9; give num_steps \(10\) or more",
        ),
        (
            {"lr_schedule": "plateau", "valid_fraction": 0.1, "warmup_steps": 5},
            "lr_schedule plateau has no warmup_steps",
        ),
        ({"bidirectional": True, "num_hiddens": 31}, "give an even num_hiddens"),
        ({"bidirectional": True, "encoder_num_hiddens": 31}, "give an even num_hiddens"),
        (
            {"attention": "luong-dot", "encoder_num_hiddens": 16},
            "luong-dot compares 32 .* encoder's 16",
        ),
    ],
)
def test_conflicting_options(given, message):
    with pytest.raises(InputError, match=message):
        TrainingConfig(**given)


@pytest.mark.parametrize(
    ("changes", "valid", "test", "message"),
    [
        ({"lr_schedule": "plateau"}, None, None, "lr_schedule plateau needs validation pairs"),
        ({"early_stopping": "bleu"}, None, "test.tsv", "early_stopping needs validation pairs"),
        ({"valid_fraction": 0.1}, "dev.tsv", None, "valid is the file dev.tsv and valid_fr.* 0.1"),
        ({"test_fraction": 0.2}, None, "test.tsv", "test is the file test.tsv and test_fr.* 0.2"),
    ],
)
def test_origins_of_held_out_pairs(changes, valid, test, message):
    with pytest.raises(InputError, match=message):
        check_held_out(TrainingConfig(**changes), valid, test)


def test_validation_settings_are_satisfied_by_a_file_or_a_fraction():
    config = TrainingConfig(early_stopping="loss", lr_schedule="plateau")
    check_held_out(config, "dev.tsv", None)
    check_held_out(dataclasses.replace(config, valid_fraction=0.1), None, "test.tsv")


def test_compatible_options():
    TrainingConfig(bidirectional=True, num_hiddens=31, encoder_num_hiddens=16)
    TrainingConfig(attention="luong-dot", encoder_num_hiddens=32)
    TrainingConfig(batch_tokens=10, bucket_by_length=True)
    TrainingConfig(replace_unknown=True, attention="luong", target_tokenizer="whitespace")
    TrainingConfig(replace_unknown=True, attention="luong", tokenizer="character")
    TrainingConfig(tokenizer="character", target_tokenizer="sentencepiece", lowercase=False)


def test_changed_presets():
    for name, recipe in PRESETS.items():
        assert preset(name, "pairs.tsv") == recipe
        assert preset(name, "pairs.tsv", epochs=3).epochs == 3
    small, base = PRESETS["small"], PRESETS["base"]
    assert small.num_hiddens < base.num_hiddens
    assert base.attention == small.attention == "luong"
    assert preset("base", "fra-eng").max_pairs is None, "only the chapter reads part of the corpus"


def test_an_integer_is_accepted_as_a_float():
    assert TrainingConfig(global_clipnorm=2).global_clipnorm == 2


def test_old_names():
    old = {"accumulate": 2, "average": 0.9, "clip_norm": 0.5, "schedule": "cosine"}
    new = {
        "gradient_accumulation_steps": 2,
        "ema_momentum": 0.9,
        "global_clipnorm": 0.5,
        "lr_schedule": "cosine",
    }
    config = TrainingConfig(**new)
    assert TrainingConfig(**old) == dataclasses.replace(TrainingConfig(), **old) == config
    assert preset("chapter", "pairs.tsv", **old) == config
    assert {name: getattr(config, name) for name in old} == old
    assert dataclasses.asdict(config).items() >= new.items()


def test_fractions_leave_something_to_train_on():
    TrainingConfig(valid_fraction=0.5, test_fraction=0.4)
    with pytest.raises(InputError, match="leave nothing to train on"):
        TrainingConfig(valid_fraction=0.5, test_fraction=0.5)


def test_json_round_trip():
    recipe = TrainingConfig(vocab_size=50, dropout=0.1, drop_long=True, symbols=("{name}",))
    assert TrainingConfig(**json.loads(json.dumps(dataclasses.asdict(recipe)))) == recipe


def test_seeds():
    assert [check_seed(seed) for seed in (0, 2**32 - 1)] == [0, 2**32 - 1]
    for seed in (-1, 2**32, 1.0, "1", None):
        with pytest.raises(InputError, match=r"^seed is .*; give "):
            check_seed(seed)
