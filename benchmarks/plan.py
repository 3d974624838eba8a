"""What is measured: which contenders do which jobs, in which order."""

import hashlib
import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

PARTS = ("chapter", "train", "translate", "growth")

# Steps of an epoch of the task: 60,000 pairs, 64 in a batch.
STEPS_OF_EPOCH = 938


@dataclass(frozen=True)
class Contender:
    """Somebody who can do some of the jobs.

    Attributes:
        name: in tables.
        script: the file in `contenders/`, or beside it.
        environment: which of `benchmarks.environments` it runs in; None for the package's own.
        what: what it is, in a few words.
    """

    name: str
    script: str
    environment: str | None
    what: str


OURS = "this package"

CONTENDERS = {
    contender.name: contender
    for contender in (
        Contender(
            OURS,
            "this_package.py",
            None,
            "`Seq2Seq` and `fit`; batches of similar lengths; weights of the large model begin "
            "as in the preset `base`",
        ),
        Contender(
            "plain Keras",
            "plain_keras.py",
            None,
            "`keras.layers.LSTM`, stock `compile` and `fit`; batches of similar lengths",
        ),
        Contender(
            "PyTorch, padded",
            "pytorch_padded.py",
            "pytorch",
            "a textbook's loop: random batches, all padded to the longest pair",
        ),
        Contender(
            "PyTorch, packed",
            "pytorch_packed.py",
            "pytorch",
            "batches of similar lengths, packed; logits of real tokens only",
        ),
        Contender(
            "OpenNMT-py",
            "opennmt_py.py",
            "opennmt-py",
            "its own trainer; all pairs sorted by length; no input feeding",
        ),
        Contender(
            "OpenNMT-tf",
            "opennmt_tf.py",
            "opennmt-tf",
            "its own trainer; buckets of width 1; with attention it always feeds its input",
        ),
        Contender(
            "JoeyNMT",
            "joey.py",
            "joeynmt",
            "its own trainer; random batches; encoder of two directions; input feeding",
        ),
        Contender("machine", "../roofline.py", None, "matrix products and memory, by TensorFlow"),
    )
}


@dataclass(frozen=True)
class Measurement:
    """One process to be run, as often as there are rounds.

    Attributes:
        part: the part of the results that it belongs to.
        contender: a name in `CONTENDERS`.
        job: what the contender is asked for.
        settings: those that differ from the defaults.
        steps: of training; or None.
        seconds: of training; or None.
        warm_up: steps left out before.
        model: name of the model that is trained or used, or None.
        saves: whether it trains that model.
        label: tells it from others of the contender in this part.
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
        """The same for the same measurement in another run."""
        text = json.dumps(self.__dict__, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Phase:
    """Measurements that take turns.

    Attributes:
        measurements: in their order.
        rounds: how often they are gone through.
    """

    measurements: tuple[Measurement, ...]
    rounds: int


def turns(phases: Sequence[Phase]) -> Iterator[tuple[int, Measurement]]:
    """The order of the processes: A B C, A B C, …, phase by phase, each with its round from 1.

    Measured next to each other, what slows the machine down for a while slows all down.
    """
    for phase in phases:
        for number in range(1, phase.rounds + 1):
            for measurement in phase.measurements:
                yield number, measurement


def machine(part: str, seconds: float = 2.0) -> Measurement:
    """How fast the machine is while a part is measured."""
    return Measurement(part, "machine", "speed", {"attention": "luong"}, seconds=seconds)


CHAPTER_SIZES = {
    "embed_size": 32,
    "num_hiddens": 32,
    "num_layers": 2,
    "learning_rate": 0.005,
}


def chapter_phases(rounds: int, corpus: str, epochs: int = 300) -> list[Phase]:
    """The chapter's job, whole, and sentences translated by the models that come of it."""
    settings = {**CHAPTER_SIZES, "epochs": epochs, "corpus": corpus}
    names = (OURS, "plain Keras", "PyTorch, padded")
    trained = [
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
    translated = [
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
        Phase((machine("chapter"), *trained), rounds),
        Phase(tuple(translated), rounds),
    ]


# Contenders of training by attention and data type.
TRAINED = {
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

ALWAYS_FEED_THEIR_INPUT = ("OpenNMT-tf", "JoeyNMT")


def model_settings(contender: str, attention: str, dtype: str) -> dict[str, Any]:
    """The settings of one of the compared models."""
    feeding = attention != "none" and contender in ALWAYS_FEED_THEIR_INPUT
    return {"attention": attention, "dtype": dtype, "input_feeding": feeding}


def train_phase(rounds: int, seconds: float) -> Phase:
    """Steady training of the large model."""
    measurements = [
        Measurement(
            "train",
            contender,
            "train",
            model_settings(contender, attention, dtype),
            seconds=seconds,
            label=f"{attention} {dtype}",
        )
        for (attention, dtype), contenders in TRAINED.items()
        for contender in contenders
    ]
    return Phase((machine("train"), *measurements), rounds)


# Models that are trained for one epoch, and then translate; what is compared first comes first.
LEARNED = (
    (OURS, "luong", "float32"),
    ("OpenNMT-py", "luong", "float32"),
    ("PyTorch, packed", "luong", "float32"),
    ("OpenNMT-tf", "luong", "float32"),
    (OURS, "luong", "bfloat16"),
    ("JoeyNMT", "luong", "float32"),
)


def translate_phases(rounds: int, steps: int = STEPS_OF_EPOCH) -> list[Phase]:
    """One epoch of training for each of the models, once, and then greedy translation."""
    learned, translated = [], [machine("translate")]
    for contender, attention, dtype in LEARNED:
        settings = model_settings(contender, attention, dtype)
        label = f"{attention} {dtype}"
        model = f"{contender} {label}"
        warm_up = min(20, steps - 1)
        learned.append(
            Measurement("translate", contender, "train", settings, steps=steps - warm_up,
                        warm_up=warm_up, model=model, saves=True, label=label)
        )  # fmt: skip
        ways = ("python", "session") if contender == OURS else ("python",)
        for way in ways:
            translated.append(
                Measurement("translate", contender, "translate", {**settings, "through": way},
                            model=model, label=label)
            )  # fmt: skip
    return [Phase(tuple(learned), 1), Phase(tuple(translated), rounds)]


# What grows, and the settings that grow with it; the rest is the large model without attention,
# and for the corpus the chapter's.
GROWTH: dict[str, tuple[str, tuple[int, ...], dict[str, Any]]] = {
    "pairs": ("pairs in the corpus", (7_500, 15_000, 30_000, 60_000, 120_000), CHAPTER_SIZES),
    "sentence_tokens": ("tokens in a sentence", (5, 10, 20, 40, 80), {}),
    "batch_size": ("sentences in a batch", (8, 16, 32, 64, 128, 256), {}),
    "vocab_size": ("words in a vocabulary", (2_000, 4_000, 8_000, 16_000, 32_000), {}),
    "num_hiddens": ("units in a layer", (64, 128, 256, 512, 1_024), {}),
}


def growth_phase(rounds: int, seconds: float) -> Phase:
    """What this package's training costs as its work grows, one size at a time."""
    measurements = []
    for name, (_, values, others) in GROWTH.items():
        for value in values:
            settings = {**others, name: value}
            # Of the corpus, what counts is an epoch; elsewhere a step.
            steps = -(-value // 64) if name == "pairs" else None
            if name in ("batch_size", "vocab_size", "num_hiddens"):
                # Sentences of equal length, so that chance has no say in what a step costs.
                settings["sentence_tokens"] = 10
            measurements.append(
                Measurement("growth", OURS, "train", settings, steps=steps,
                            seconds=None if steps else seconds, warm_up=5, label=f"{name} {value}")
            )  # fmt: skip
    return Phase((machine("growth"), *measurements), rounds)


def full_plan(
    rounds: int, seconds: float, corpus: str, parts: Sequence[str] = PARTS
) -> list[Phase]:
    """Everything.

    Args:
        rounds: how often the contenders take turns.
        seconds: how long each trains in its turn, warm-up left out.
        corpus: of the chapter's job, as `keras-s2s train` takes it.
        parts: those wanted, of `PARTS`.
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


def without(phases: Sequence[Phase], contenders: Collection[str]) -> list[Phase]:
    """The same, and nobody of those named in it."""
    return [
        replace(
            phase,
            measurements=tuple(
                one for one in phase.measurements if one.contender not in contenders
            ),
        )
        for phase in phases
    ]


def short_plan(corpus: str) -> list[Phase]:
    """About a minute of a few steps each, to see that all works; the figures mean little."""
    settings = model_settings(OURS, "none", "float32")
    trained = [
        Measurement("train", name, "train", settings, steps=4, warm_up=2, label="none float32")
        for name in (OURS, "plain Keras", "PyTorch, padded", "PyTorch, packed")
    ]
    chapter = {**CHAPTER_SIZES, "epochs": 15, "corpus": corpus}
    return [
        Phase((machine("train", 0.2), *trained), 1),
        Phase((Measurement("chapter", OURS, "chapter", chapter, warm_up=1),), 1),
    ]
