"""The configuration of a training run, and the presets."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from keras_s2s.data import config as data_config
from keras_s2s.data.config import MAX_LAYER_SIZE, DataConfig, check_one_origin
from keras_s2s.decoding.config import SearchConfig
from keras_s2s.utils.errors import InputError, did_you_mean
from keras_s2s.utils.fields import config_field
from keras_s2s.utils.renaming import accept_old_names
from keras_s2s.utils.scores import SCORES

SACREBLEU_TOKENIZERS = (
    *("13a", "none", "zh", "char", "intl", "ja-mecab", "ko-mecab", "flores101", "flores200"),
)


@dataclass(frozen=True)
class ModelConfig:
    """The architecture of the encoder and the decoder."""

    cell: str = config_field("lstm", "recurrent cell", choices=("lstm", "gru"))
    embed_size: int = config_field(32, "embedding dimension of both sides", 1, MAX_LAYER_SIZE)
    num_hiddens: int = config_field(32, "units of each recurrent layer", 1, MAX_LAYER_SIZE)
    num_layers: int = config_field(2, "recurrent layers of the encoder and of the decoder", 1, 256)
    encoder_num_hiddens: int | None = config_field(
        None, "units of each encoder layer (default: num_hiddens)", 1, MAX_LAYER_SIZE
    )
    encoder_num_layers: int | None = config_field(
        None, "layers of the encoder (default: num_layers)", 1, 256
    )
    bidirectional: bool = config_field(
        False, "bidirectional encoder, half of the units for each direction"
    )
    attention: str = config_field(
        "none",
        "attention score",
        choices=("none", "luong", "luong-dot", "bahdanau"),
    )
    input_feeding: bool = config_field(
        False, "feed the attentional state to the next step (Luong et al., 2015)"
    )
    copy: bool = config_field(
        False,
        "copy source tokens, unknown ones too (with attention; See et al., 2017)",
    )
    residual: bool = config_field(
        False, "residual connections around all recurrent layers but the first"
    )
    tie_embeddings: bool = config_field(False, "tie the output projection to the target embedding")
    init_scale: float | None = config_field(
        None,
        "initialize weights uniformly in [-X, X] (default: Glorot uniform, as in the chapter)",
        gt=0,
    )


@accept_old_names(
    accumulate="gradient_accumulation_steps",
    average="ema_momentum",
    clip_norm="global_clipnorm",
    schedule="lr_schedule",
)
@dataclass(frozen=True)
class TrainingConfig(SearchConfig, ModelConfig, DataConfig):
    """The configuration of a training run. The defaults are those of the chapter.

    Raises:
        InputError: a value is invalid, or two values exclude each other.
    """

    dropout: float = config_field(0.0, "dropout between recurrent layers", lt=1)
    embed_dropout: float = config_field(0.0, "dropout of the embeddings", lt=1)
    recurrent_dropout: float = config_field(
        0.0, "dropout of the recurrent state from step to step", lt=1
    )
    output_dropout: float = config_field(
        0.0, "dropout of the inputs of the output projection", lt=1
    )
    label_smoothing: float = config_field(
        0.0, "probability mass spread uniformly over the vocabulary", lt=1
    )
    batch_size: int = config_field(64, "pairs per batch", 1)
    batch_tokens: int | None = config_field(
        None, "target tokens per batch, instead of batch_size (with bucket_by_length)", 3
    )
    bucket_by_length: bool = config_field(
        False, "batch pairs of similar length, which reduces padding"
    )
    gradient_accumulation_steps: int = config_field(
        1, "batches whose gradients are averaged for one update, weighted by tokens", 1
    )
    epochs: int = config_field(300, "passes over the training pairs", 1)
    learning_rate: float = config_field(0.005, "peak learning rate of Adam", gt=0)
    lr_schedule: str = config_field(
        "constant",
        "learning rate schedule",
        choices=("constant", "cosine", "inverse-sqrt", "plateau"),
    )
    warmup_steps: int = config_field(0, "steps of linear learning rate warm-up")
    global_clipnorm: float = config_field(1.0, "clip the global gradient norm to this", gt=0)
    clip_reduction: str = config_field(
        "sequence_mean",
        "the loss whose gradient is clipped: the sum over the sentences of their means over the "
        "steps, as in the chapter, or the mean over the tokens",
        choices=("sequence_mean", "token_mean"),
    )
    ema_momentum: float = config_field(
        0.0,
        "momentum of an exponential moving average of the weights, which replaces them; "
        "0 for none, 0.999 is common",
        lt=1,
    )
    precision: str = config_field(
        "float32",
        "dtype policy; auto is mixed_bfloat16 on processors that support it",
        choices=("float32", "auto", "mixed_bfloat16", "mixed_float16"),
    )
    nonfinite: str = config_field(
        "stop", "on a non-finite gradient, stop or skip the update", choices=("stop", "skip")
    )
    sacrebleu_tokenize: str | None = config_field(
        None,
        "sacreBLEU's tokenization for BLEU, also of later scores of the run (default: zh or char "
        "for targets in a script without spaces, else 13a)",
        choices=SACREBLEU_TOKENIZERS,
    )
    sacrebleu_lowercase: bool = config_field(True, "ignore case in BLEU and chrF")
    early_stopping: str = config_field(
        "none",
        "stop when this validation metric stops improving, and keep the best epoch",
        choices=("none", "loss", *SCORES),
    )
    patience: int = config_field(
        3, "epochs without improvement before early stopping or a plateau step", 1
    )
    checkpoint_steps: int | None = config_field(
        None, "batches between checkpoints (default: every 30 seconds)", 1
    )
    keep_checkpoints: int = config_field(3, "number of latest checkpoints to keep", 1)
    training_revision: int = config_field(
        2, "1 for the updates and schedules of runs that do not record it", 1, 2
    )

    def __post_init__(self) -> None:
        DataConfig.__post_init__(self)
        kinds, attends = self.tokenizers(), self.attention != "none"
        subwords, sampled = kinds == {"sentencepiece"}, self.sentencepiece_model_type != "char"
        # Nothing in a source of characters is like an unknown word.
        replaces = kinds <= {"word", "whitespace"} or kinds == {"character"}
        buckets = self.bucket_by_length
        for is_set, option, is_met, requirement in (
            (self.subword_sampling, "subword_sampling", subwords, "tokenizer sentencepiece"),
            (self.subword_sampling, "subword_sampling", sampled, "sentencepiece_model_type bpe"),
            (self.subword_sampling, "subword_sampling", buckets, "bucket_by_length"),
            (self.input_feeding, "input_feeding", attends, "attention luong"),
            (self.copy, "copy", attends, "attention luong"),
            (self.coverage_penalty, "coverage_penalty", attends, "attention luong"),
            (self.replace_unknown, "replace_unknown", attends, "attention luong"),
            (self.replace_unknown, "replace_unknown", replaces, "tokenizer word"),
            (self.batch_tokens, "batch_tokens", buckets, "bucket_by_length"),
        ):
            if is_set and not is_met:
                raise InputError(f"{option} needs {requirement}; give that too")
        if self.ema_momentum and self.early_stopping != "none":
            raise InputError(
                "ema_momentum and early_stopping exclude each other; remove one of them"
            )
        if self.copy and self.subword_sampling:
            raise InputError("subword_sampling and copy exclude each other; remove one of them")
        if self.lr_schedule == "plateau" and self.warmup_steps:
            raise InputError("lr_schedule plateau has no warmup_steps; remove one of them")
        if self.batch_tokens is not None and self.batch_tokens < self.num_steps:
            raise InputError(
                f"batch_tokens is {self.batch_tokens}; give num_steps ({self.num_steps}) or more, "
                "so that the longest pair fits"
            )
        encoder_num_hiddens = self.encoder_num_hiddens or self.num_hiddens
        if self.attention == "luong-dot" and encoder_num_hiddens != self.num_hiddens:
            raise InputError(
                f"attention luong-dot compares {self.num_hiddens} units with the encoder's "
                f"{encoder_num_hiddens}; remove encoder_num_hiddens, or give attention luong"
            )
        if self.bidirectional and encoder_num_hiddens % 2:
            raise InputError(
                "bidirectional gives each direction half of the units; give an even num_hiddens"
            )


def check_held_out(config: TrainingConfig, valid: str | None, test: str | None) -> None:
    """Check that each split has one origin, and that there is validation where it decides.

    Args:
        config: the configuration of a run.
        valid: the file of the validation pairs, or None.
        test: the file of the test pairs, or None.

    Raises:
        InputError: a split has a file and a fraction; or early stopping or the plateau schedule has
            no validation pairs.
    """
    check_one_origin(config, valid, test)
    if valid is None and not config.valid_fraction:
        for is_set, option in (
            (config.lr_schedule == "plateau", "lr_schedule plateau"),
            (config.early_stopping != "none", "early_stopping"),
        ):
            if is_set:
                raise InputError(
                    f"{option} needs validation pairs; give a valid_fraction of 0.05, or a file of "
                    "them as valid"
                )


# Values of fields that the runs of earlier versions do not record: what those versions did.
EARLIER_VALUES: Mapping[str, Any] = {
    **data_config.EARLIER_VALUES,
    "sacrebleu_tokenize": "13a",
    "clip_reduction": "token_mean",
    "training_revision": 1,
}

# Fields that may change when a run is resumed.
RESUMABLE_FIELDS = ("epochs", "nonfinite", "checkpoint_steps", "keep_checkpoints")


def field_groups() -> "dict[str, list[dataclasses.Field[Any]]]":
    """Return the fields that users set by group: data, model, training, search."""
    fields = {field.name: field for field in dataclasses.fields(TrainingConfig)}
    del fields["training_revision"]  # for resuming, not for users
    data, model, search = (
        [fields.pop(field.name) for field in dataclasses.fields(base)]
        for base in (DataConfig, ModelConfig, SearchConfig)
    )
    return {"data": data, "model": model, "training": [*fields.values()], "search": search}


_CHAPTER = TrainingConfig()
_BASE = TrainingConfig(
    tokenizer="sentencepiece",
    word_rules="unicode",
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
    lr_schedule="cosine",
    warmup_steps=200,
    clip_reduction="token_mean",
    precision="auto",
    length_penalty=1.0,
)

_SMALL = dataclasses.replace(
    _BASE, vocab_size=4000, embed_size=128, num_hiddens=256, num_layers=1, dropout=0.2
)
_CHARACTER = dataclasses.replace(
    _SMALL, tokenizer="character", vocab_size=None, num_steps=60, valid_fraction=0.05, epochs=25
)

PRESETS: Mapping[str, TrainingConfig] = {
    "chapter": _CHAPTER,
    "small": _SMALL,
    "base": _BASE,
    "character": _CHARACTER,
}


def preset(name: str, corpus: str, **changes: Any) -> TrainingConfig:
    """Return a preset for a corpus, with some fields changed.

    On `fra-eng` the preset `chapter` reads the first 1001 pairs, exactly as the chapter does; on
    any other corpus it reads all pairs.

    Raises:
        InputError: there is no such preset, or a value is invalid.
    """
    if name not in PRESETS:
        raise InputError(
            f"no preset {name!r}; there is {', '.join(PRESETS)}{did_you_mean(name, PRESETS)}"
        )
    if name == "chapter" and corpus == "fra-eng":
        changes = {"max_pairs": 1001, **changes}
    return dataclasses.replace(PRESETS[name], **changes)
