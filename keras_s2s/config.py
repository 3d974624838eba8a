"""What a training run can be told, and the presets."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from keras_s2s.data.config import MAX_LAYER_SIZE, DataConfig
from keras_s2s.decoding.config import SearchConfig
from keras_s2s.utils.errors import InputError, did_you_mean
from keras_s2s.utils.fields import config_field, validate_fields
from keras_s2s.utils.renaming import accept_old_names


@accept_old_names()
@dataclass(frozen=True)
class TrainingConfig(SearchConfig, DataConfig):
    """The configuration of a training run. The defaults are the chapter's.

    Raises:
        InputError: a value makes no sense, or two do not go together.
    """

    # The model
    cell: str = config_field("lstm", "recurrent cells", choices=("lstm", "gru"))
    embed_size: int = config_field(32, "width of both embeddings", 1, MAX_LAYER_SIZE)
    num_hiddens: int = config_field(32, "width of each recurrent layer", 1, MAX_LAYER_SIZE)
    num_layers: int = config_field(2, "recurrent layers in the encoder, and in the decoder", 1, 256)
    encoder_num_hiddens: int | None = config_field(
        None, "width in the encoder, where it is another", 1, MAX_LAYER_SIZE
    )
    encoder_num_layers: int | None = config_field(
        None, "layers in the encoder, where it has another number", 1, 256
    )
    bidirectional: bool = config_field(False, "half of the encoder's units read backwards")
    attention: str = config_field(
        "none", "attention's score", choices=("none", "luong", "luong-dot", "bahdanau")
    )
    input_feeding: bool = config_field(False, "give what attention found to the next step")
    residual: bool = config_field(
        False, "layers from the second on add their inputs to their outputs"
    )
    tie_embeddings: bool = config_field(False, "the dense layer has the target embedding's weights")
    init_scale: float | None = config_field(
        None, "weights begin within this distance of 0; left out, as the chapter's", gt=0
    )

    # The training
    dropout: float = config_field(0.0, "share of values dropped between layers in training", lt=1)
    embed_dropout: float = config_field(0.0, "the same of the embeddings", lt=1)
    recurrent_dropout: float = config_field(0.0, "the same from step to step", lt=1)
    output_dropout: float = config_field(0.0, "the same of what goes into the dense layer", lt=1)
    label_smoothing: float = config_field(
        0.0, "probability spread over all of the vocabulary", lt=1
    )
    batch_size: int = config_field(64, "pairs in a batch", 1)
    batch_tokens: int | None = config_field(
        None, "target tokens in a batch, instead (with bucket_by_length)", 3
    )
    bucket_by_length: bool = config_field(
        False, "batches of pairs of similar lengths, with less padding"
    )
    accumulate: int = config_field(1, "batches whose gradients make one step", 1)
    epochs: int = config_field(300, "times to go through the training pairs", 1)
    learning_rate: float = config_field(0.005, "learning rate of Adam, the highest one", gt=0)
    schedule: str = config_field(
        "constant",
        "how the learning rate falls",
        choices=("constant", "cosine", "inverse-sqrt", "plateau"),
    )
    warmup_steps: int = config_field(0, "steps in which the learning rate rises from zero")
    clip_norm: float = config_field(1.0, "largest norm of all gradients together", gt=0)
    average: float = config_field(
        0.0, "momentum of a moving average of the weights, used in place of them; 0.999", lt=1
    )
    precision: str = config_field(
        "float32",
        "type of the matrix products; auto is mixed_bfloat16 on processors that have it",
        choices=("float32", "auto", "mixed_bfloat16", "mixed_float16"),
    )
    nonfinite: str = config_field(
        "stop", "what to do with a step whose gradient is no number", choices=("stop", "skip")
    )
    early_stopping: str = config_field(
        "none", "stop when validation gets no better", choices=("none", "loss", "bleu")
    )
    patience: int = config_field(
        3, "epochs without a better one before it stops, or the plateau ends", 1
    )
    checkpoint_steps: int | None = config_field(
        None, "batches after which all is saved that --resume needs; left out, every half minute", 1
    )
    keep_checkpoints: int = config_field(3, "of what is saved so, the last that are kept", 1)

    def __post_init__(self) -> None:
        validate_fields(self)
        if self.valid_fraction + self.test_fraction >= 1:
            raise InputError(
                f"valid_fraction {self.valid_fraction} and test_fraction {self.test_fraction} "
                "leave nothing to train on; give fractions that add up to less than 1"
            )
        words, attends = self.tokenizer == "word", self.attention != "none"
        for wrong, what, advice in (
            (self.joint_vocabulary and words, "joint_vocabulary", "tokenizer sentencepiece"),
            (self.subword_sampling and words, "subword_sampling", "tokenizer sentencepiece"),
            (
                self.subword_sampling and not self.bucket_by_length,
                "subword_sampling",
                "bucket_by_length",
            ),
            (not self.lowercase and words, "lowercase off", "tokenizer sentencepiece"),
            (self.input_feeding and not attends, "input_feeding", "attention luong"),
            (self.coverage_penalty > 0 and not attends, "coverage_penalty", "attention luong"),
            (self.replace_unknown and not attends, "replace_unknown", "attention luong"),
            (self.replace_unknown and not words, "replace_unknown", "tokenizer word"),
            (
                self.batch_tokens is not None and not self.bucket_by_length,
                "batch_tokens",
                "bucket_by_length",
            ),
            (
                self.schedule == "plateau" and not self.valid_fraction,
                "schedule plateau",
                "a valid_fraction of 0.05",
            ),
            (
                self.early_stopping != "none" and not self.valid_fraction,
                "early_stopping",
                "a valid_fraction of 0.05",
            ),
        ):
            if wrong:
                raise InputError(f"{what} needs {advice}; give that too")
        if self.average and self.early_stopping != "none":
            raise InputError("average and early_stopping do not go together; leave one of them out")
        if self.schedule == "plateau" and self.warmup_steps:
            raise InputError("schedule plateau has no warmup_steps; leave one of them out")
        if self.batch_tokens is not None and self.batch_tokens < self.num_steps:
            raise InputError(
                f"batch_tokens is {self.batch_tokens}; give num_steps ({self.num_steps}) or more, "
                "so that the longest pair fits"
            )
        encoder_num_hiddens = self.encoder_num_hiddens or self.num_hiddens
        if self.attention == "luong-dot" and encoder_num_hiddens != self.num_hiddens:
            raise InputError(
                f"attention luong-dot compares {self.num_hiddens} values with the encoder's "
                f"{encoder_num_hiddens}; leave encoder_num_hiddens out, or take luong"
            )
        if self.bidirectional and encoder_num_hiddens % 2:
            raise InputError(
                "bidirectional gives each direction half of the units; give an even num_hiddens"
            )


# What of a run may be given anew when it goes on.
RESUMABLE_FIELDS = ("epochs", "nonfinite", "checkpoint_steps", "keep_checkpoints")


_CHAPTER = TrainingConfig()
_BASE = TrainingConfig(
    tokenizer="sentencepiece",
    vocab_size=6000,
    num_steps=40,
    drop_long=True,
    valid_fraction=0.02,
    test_fraction=0.02,
    embed_size=256,
    num_hiddens=512,
    bidirectional=True,
    attention="luong",
    tie_embeddings=True,
    dropout=0.3,
    embed_dropout=0.2,
    output_dropout=0.3,
    label_smoothing=0.1,
    init_scale=0.15,
    bucket_by_length=True,
    epochs=12,
    learning_rate=0.002,
    schedule="cosine",
    warmup_steps=200,
    precision="auto",
    length_penalty=1.0,
)

PRESETS: Mapping[str, TrainingConfig] = {
    "chapter": _CHAPTER,
    "small": dataclasses.replace(
        _BASE, vocab_size=4000, embed_size=128, num_hiddens=256, num_layers=1, dropout=0.2
    ),
    "base": _BASE,
}


def preset(name: str, corpus: str, **changes: Any) -> TrainingConfig:
    """A preset for a corpus, with some fields changed.

    On `fra-eng` the preset `chapter` is the chapter's job to the letter, which reads lines 0 to
    1000: 1001 pairs. On any other corpus it takes all pairs.

    Raises:
        InputError: no such preset, or a value that makes no sense.
    """
    if name not in PRESETS:
        raise InputError(
            f"no preset {name!r}; there is {', '.join(PRESETS)}{did_you_mean(name, PRESETS)}"
        )
    if name == "chapter" and corpus == "fra-eng":
        changes = {"max_pairs": 1001, **changes}
    return dataclasses.replace(PRESETS[name], **changes)
