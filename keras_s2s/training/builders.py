"""From a configuration to the tokenizers, the model and the optimizer of a run."""

import dataclasses
from pathlib import Path
from typing import Any

import keras

from keras_s2s.config import TrainingConfig
from keras_s2s.layers.seq2seq_decoder import Seq2SeqDecoder
from keras_s2s.layers.seq2seq_encoder import Seq2SeqEncoder
from keras_s2s.models.seq2seq import Seq2Seq
from keras_s2s.optimizers import WarmUp


def resolve_precision(recipe: TrainingConfig) -> TrainingConfig:
    """The configuration with what it leaves to the machine decided."""
    if recipe.precision != "auto":
        return recipe
    return dataclasses.replace(recipe, precision=_fastest_precision())


def _fastest_precision() -> str:
    """Half precision takes half the time where the processor multiplies it, and more elsewhere."""
    try:
        processor = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:  # no Linux
        return "float32"
    return "mixed_bfloat16" if "avx512_bf16" in processor else "float32"


def make_model(
    recipe: TrainingConfig, source_vocab_size: int, target_vocab_size: int, precision: str
) -> Seq2Seq:
    """A model that is yet to be trained.

    Args:
        recipe: the configuration.
        source_vocab_size: tokens of the source.
        target_vocab_size: tokens of the target.
        precision: a dtype policy. Weights are the same for all of them.
    """
    both: dict[str, Any] = {
        "embed_size": recipe.embed_size,
        "dropout": recipe.dropout,
        "embed_dropout": recipe.embed_dropout,
        "recurrent_dropout": recipe.recurrent_dropout,
        "cell": recipe.cell,
        "residual": recipe.residual,
        "init_scale": recipe.init_scale,
        "dtype": precision,
    }
    encoder = Seq2SeqEncoder(
        source_vocab_size,
        num_hiddens=recipe.encoder_num_hiddens or recipe.num_hiddens,
        num_layers=recipe.encoder_num_layers or recipe.num_layers,
        bidirectional=recipe.bidirectional,
        **both,
    )
    decoder = Seq2SeqDecoder(
        target_vocab_size,
        num_hiddens=recipe.num_hiddens,
        num_layers=recipe.num_layers,
        attention=None if recipe.attention == "none" else recipe.attention,
        input_feeding=recipe.input_feeding,
        tie_embeddings=recipe.tie_embeddings,
        output_dropout=recipe.output_dropout,
        encoder_num_hiddens=encoder.num_hiddens,
        encoder_num_layers=encoder.num_layers,
        **both,
    )
    return Seq2Seq(encoder, decoder, dtype=precision)


def make_optimizer(recipe: TrainingConfig, num_batches: int) -> keras.optimizers.Optimizer:
    """Adam with the learning rate, clipping, averaging and accumulation of the configuration.

    Args:
        recipe: the configuration.
        num_batches: of an epoch.
    """
    # Keras's schedules count batches, also where the gradients of several make one step.
    batches = num_batches * recipe.epochs
    warmup = recipe.warmup_steps * recipe.gradient_accumulation_steps
    rate: Any = recipe.learning_rate
    if recipe.lr_schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(
            0.0 if warmup else recipe.learning_rate,
            decay_steps=max(1, batches - warmup),
            warmup_target=recipe.learning_rate if warmup else None,
            warmup_steps=warmup,
        )
    elif recipe.lr_schedule == "inverse-sqrt" or warmup:
        rate = WarmUp(recipe.learning_rate, warmup, recipe.lr_schedule == "inverse-sqrt")
    return keras.optimizers.Adam(
        rate,
        global_clipnorm=recipe.global_clipnorm,
        use_ema=recipe.ema_momentum > 0,
        ema_momentum=recipe.ema_momentum,
        gradient_accumulation_steps=recipe.gradient_accumulation_steps
        if recipe.gradient_accumulation_steps > 1
        else None,
    )
