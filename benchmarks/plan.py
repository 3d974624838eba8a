"""The plan: which contenders run which jobs, in which order."""

import hashlib
import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

PARTS = ("chapter", "train", "translate", "growth")

# 60,000 pairs in batches of 64.
STEPS_PER_EPOCH = 938


@dataclass(frozen=True)
class Contender:
    """An implementation that supports some of the jobs.

    Attributes:
        name: name in tables.
        script: path relative to `contenders/`.
        environment: name in `benchmarks.environments`; None for that of the package.
        description: for tables.
    """

    name: str
    script: str
    environment: str | None
    description: str


OURS = "this package"

CONTENDERS = {
    contender.name: contender
    for contender in (
        Contender(
            OURS,
            "this_package.py",
            None,
            "`Seq2Seq` and `fit`; length buckets; the large model is initialized as in the preset "
            "`base`",
        ),
        Contender(
            "plain Keras",
            "plain_keras.py",
            None,
            "`keras.layers.LSTM`, stock `compile` and `fit`; length buckets",
        ),
        Contender(
            "PyTorch, padded",
            "pytorch_padded.py",
            "pytorch",
            "textbook loop: random batches, all padded to the longest pair",
        ),
        Contender(
            "PyTorch, packed",
            "pytorch_packed.py",
            "pytorch",
            "length buckets, packed sequences, logits of valid tokens only",
        ),
        Contender(
            "OpenNMT-py",
            "opennmt_py.py",
            "opennmt-py",
            "built-in trainer; all pairs sorted by length; no input feeding",
        ),
        Contender(
            "OpenNMT-tf",
            "opennmt_tf.py",
            "opennmt-tf",
            "built-in trainer; length buckets of width 1; input feeding with attention",
        ),
        Contender(
            "JoeyNMT",
            "joey.py",
            "joeynmt",
            "built-in trainer; random batches; bidirectional encoder; input feeding",
        ),
        Contender(
            "machine", "../roofline.py", None, "matrix products and memory bandwidth, by TensorFlow"
        ),
    )
}


@dataclass(frozen=True)
class Measurement:
    """A process to run once per round.

    Attributes:
        part: one of `PARTS`, section of the results.
        contender: a name in `CONTENDERS`.
        job: the job of the contender.
        settings: settings that differ from the defaults.
        steps: number of training steps to measure, or None.
        seconds: duration of training to measure, or None.
        warm_up: number of steps before the measurement.
        model: name of the model to save or load, or None.
        saves: whether the model is saved, not loaded.
        label: distinguishes measurements of the contender in this part.
    """

    part: str
    contender: str
    job: str
    settings: dict[str, Any] = field(default_factory=dict)
    steps: int | None = None
    seconds: float | None = None
    warm_up: int = 20
    model: str | None = None
    saves: bool = False
    label: str = ""

    @property
    def key(self) -> str:
        """Identifier that is equal in other runs of the same measurement."""
        text = json.dumps(self.__dict__, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Phase:
    """Measurements that are interleaved.

    Attributes:
        measurements: in order.
        rounds: number of repetitions.
    """

    measurements: tuple[Measurement, ...]
    rounds: int


def interleave(phases: Sequence[Phase]) -> Iterator[tuple[int, Measurement]]:
    """Yield the round, from 1, and the measurement of each process: A B C, A B C, … by phase.

    Interleaving exposes all contenders to the same temporary slowdowns of the machine.
    """
    for phase in phases:
        for round_index in range(1, phase.rounds + 1):
            for measurement in phase.measurements:
                yield round_index, measurement


def machine_measurement(part: str, seconds: float = 2.0) -> Measurement:
    """Return the measurement of the machine's speed during a part."""
    return Measurement(part, "machine", "speed", {"attention": "luong"}, seconds=seconds)


CHAPTER_SIZES = {
    "embed_size": 32,
    "num_hiddens": 32,
    "num_layers": 2,
    "learning_rate": 0.005,
}


def chapter_phases(rounds: int, corpus: str, epochs: int = 300) -> list[Phase]:
    """Return the phases of the chapter job, and of translating with its models."""
    settings = {**CHAPTER_SIZES, "epochs": epochs, "corpus": corpus}
    names = (OURS, "plain Keras", "PyTorch, padded")
    training = [
        Measurement(
            "chapter",
            name,
            "chapter",
            settings,
            warm_up=1,
            model=None if name == "plain Keras" else f"chapter {name}",
            saves=name != "plain Keras",
        )
        for name in names
    ]
    translation = [
        Measurement("chapter", name, "translate", {**settings, "through": through},
                    model=f"chapter {name}", label=label)
        for name, through, label in (
            (OURS, "python", "`Translator`"),
            (OURS, "session", "export"),
            (OURS, "loop", "its layers in the chapter's loop"),
            ("PyTorch, padded", "python", ""),
        )
    ]  # fmt: skip
    return [
        Phase((machine_measurement("chapter"), *training), rounds),
        Phase(tuple(translation), rounds),
    ]


# Contenders of training by attention and data type.
TRAINING_CONTENDERS = {
    ("none", "float32"): (
        OURS, "plain Keras", "PyTorch, padded", "PyTorch, packed", "OpenNMT-py", "OpenNMT-tf",
    ),
    ("luong", "float32"): (
        OURS, "plain Keras", "PyTorch, padded", "PyTorch, packed", "OpenNMT-py", "OpenNMT-tf",
        "JoeyNMT",
    ),
    ("none", "bfloat16"): (OURS, "plain Keras", "PyTorch, packed"),
    ("luong", "bfloat16"): (OURS, "plain Keras", "PyTorch, packed"),
}  # fmt: skip

INPUT_FEEDING_CONTENDERS = ("OpenNMT-tf", "JoeyNMT")


def model_settings(contender: str, attention: str, dtype: str) -> dict[str, Any]:
    """Return the settings of a model."""
    input_feeding = attention != "none" and contender in INPUT_FEEDING_CONTENDERS
    return {"attention": attention, "dtype": dtype, "input_feeding": input_feeding}


def train_phase(rounds: int, seconds: float) -> Phase:
    """Return the phase of training the large model."""
    measurements = [
        Measurement(
            "train",
            contender,
            "train",
            model_settings(contender, attention, dtype),
            seconds=seconds,
            label=f"{attention} {dtype}",
        )
        for (attention, dtype), contenders in TRAINING_CONTENDERS.items()
        for contender in contenders
    ]
    return Phase((machine_measurement("train"), *measurements), rounds)


# Models that are trained for one epoch and then translate; the main comparison comes first.
TRANSLATION_MODELS = (
    (OURS, "luong", "float32"),
    ("OpenNMT-py", "luong", "float32"),
    ("PyTorch, packed", "luong", "float32"),
    ("OpenNMT-tf", "luong", "float32"),
    (OURS, "luong", "bfloat16"),
    ("JoeyNMT", "luong", "float32"),
)


def translate_phases(rounds: int, steps: int = STEPS_PER_EPOCH) -> list[Phase]:
    """Return the phases of training each model for one epoch, and of greedy translation."""
    training, translation = [], [machine_measurement("translate")]
    for contender, attention, dtype in TRANSLATION_MODELS:
        settings = model_settings(contender, attention, dtype)
        label = f"{attention} {dtype}"
        model = f"{contender} {label}"
        warm_up = min(20, steps - 1)
        training.append(
            Measurement("translate", contender, "train", settings, steps=steps - warm_up,
                        warm_up=warm_up, model=model, saves=True, label=label)
        )  # fmt: skip
        for through in ("python", "session") if contender == OURS else ("python",):
            translation.append(
                Measurement("translate", contender, "translate", {**settings, "through": through},
                            model=model, label=label)
            )  # fmt: skip
    return [Phase(tuple(training), 1), Phase(tuple(translation), rounds)]


# Varied setting: title, values, and other settings. The base is the large model without attention,
# for the corpus size the model of the chapter.
GROWTH: dict[str, tuple[str, tuple[int, ...], dict[str, Any]]] = {
    "pairs": ("pairs in the corpus", (7_500, 15_000, 30_000, 60_000, 120_000), CHAPTER_SIZES),
    "sentence_tokens": ("tokens in a sentence", (5, 10, 20, 40, 80), {}),
    "batch_size": ("sentences in a batch", (8, 16, 32, 64, 128, 256), {}),
    "vocab_size": ("words in a vocabulary", (2_000, 4_000, 8_000, 16_000, 32_000), {}),
    "num_hiddens": ("units in a layer", (64, 128, 256, 512, 1_024), {}),
}


def growth_phase(rounds: int, seconds: float) -> Phase:
    """Return the phase that measures the training cost of this package by size."""
    measurements = []
    for name, (_, values, others) in GROWTH.items():
        for value in values:
            settings = {**others, name: value}
            # An epoch for the size of the corpus, else a fixed time.
            steps = -(-value // 64) if name == "pairs" else None
            if name in ("batch_size", "vocab_size", "num_hiddens"):
                # Sentences of equal length, so that steps have equal cost.
                settings["sentence_tokens"] = 10
            measurements.append(
                Measurement("growth", OURS, "train", settings, steps=steps,
                            seconds=None if steps else seconds, warm_up=5, label=f"{name} {value}")
            )  # fmt: skip
    return Phase((machine_measurement("growth"), *measurements), rounds)


def full_plan(
    rounds: int, seconds: float, corpus: str, parts: Sequence[str] = PARTS
) -> list[Phase]:
    """Return the full plan.

    Args:
        rounds: number of rounds.
        seconds: duration of training per measurement, without warm-up.
        corpus: corpus of the chapter job, as for `keras-s2s train`.
        parts: the requested parts.
    """
    phases: list[Phase] = []
    if "chapter" in parts:
        phases += chapter_phases(rounds, corpus)
    if "train" in parts:
        phases.append(train_phase(rounds, seconds))
    if "translate" in parts:
        phases += translate_phases(rounds)
    if "growth" in parts:
        phases.append(growth_phase(rounds, seconds / 4))
    return phases


def exclude(phases: Sequence[Phase], contenders: Collection[str]) -> list[Phase]:
    """Return the phases without some contenders."""
    return [
        replace(
            phase,
            measurements=tuple(
                measurement
                for measurement in phase.measurements
                if measurement.contender not in contenders
            ),
        )
        for phase in phases
    ]


def short_plan(corpus: str) -> list[Phase]:
    """Return a smoke test of a minute, with few steps each; its figures are not meaningful."""
    settings = model_settings(OURS, "none", "float32")
    training = [
        Measurement("train", name, "train", settings, steps=4, warm_up=2, label="none float32")
        for name in (OURS, "plain Keras", "PyTorch, padded", "PyTorch, packed")
    ]
    chapter = {**CHAPTER_SIZES, "epochs": 15, "corpus": corpus}
    return [
        Phase((machine_measurement("train", 0.2), *training), 1),
        Phase((Measurement("chapter", OURS, "chapter", chapter, warm_up=1),), 1),
    ]
