"""The model and the optimizer of a configuration."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from keras_s2s.config import TrainingConfig
from keras_s2s.layers.seq2seq_decoder import Seq2SeqDecoder
from keras_s2s.layers.seq2seq_encoder import Seq2SeqEncoder
from keras_s2s.models.seq2seq import Seq2Seq
from keras_s2s.optimizers import WarmUp


def resolve_precision(config: TrainingConfig) -> TrainingConfig:
    """Replace the precision `auto` by the fastest one of this machine.

    That is bfloat16 if the CPU has instructions for it; emulated, it is slower than float32.
    """
    if config.precision != "auto":
        return config
    try:
        cpu_info = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux
        cpu_info = ""
    precision = "mixed_bfloat16" if "avx512_bf16" in cpu_info else "float32"
    return dataclasses.replace(config, precision=precision)


def make_model(
    config: TrainingConfig,
    source_vocab_size: int,
    target_vocab_size: int,
    precision: str,
    copy: bool | Sequence[int] = False,
) -> Seq2Seq:
    """Make an untrained model; its weights are float32 in every precision (dtype policy).

    Args:
        config: the architecture.
        source_vocab_size: size of the source vocabulary.
        target_vocab_size: size of the target vocabulary.
        precision: the dtype policy.
        copy: see `Seq2SeqDecoder`.
    """
    shared: dict[str, Any] = {
        "embed_size": config.embed_size,
        "dropout": config.dropout,
        "embed_dropout": config.embed_dropout,
        "recurrent_dropout": config.recurrent_dropout,
        "cell": config.cell,
        "residual": config.residual,
        "init_scale": config.init_scale,
        "dtype": precision,
    }
    encoder = Seq2SeqEncoder(
        source_vocab_size,
        num_hiddens=config.encoder_num_hiddens or config.num_hiddens,
        num_layers=config.encoder_num_layers or config.num_layers,
        bidirectional=config.bidirectional,
        **shared,
    )
    decoder = Seq2SeqDecoder(
        target_vocab_size,
        num_hiddens=config.num_hiddens,
        num_layers=config.num_layers,
        attention=None if config.attention == "none" else config.attention,
        input_feeding=config.input_feeding,
        tie_embeddings=config.tie_embeddings,
        output_dropout=config.output_dropout,
        encoder_num_hiddens=encoder.num_hiddens,
        encoder_num_layers=encoder.num_layers,
        copy=copy,
        **shared,
    )
    return Seq2Seq(encoder, decoder, dtype=precision)


def make_optimizer(config: TrainingConfig, num_batches: int) -> keras.optimizers.Optimizer:
    """Make Adam with the schedule, clipping, averaging and accumulation of a configuration."""
    accumulation_steps = config.gradient_accumulation_steps
    return keras.optimizers.Adam(
        _learning_rate(config, num_batches),
        global_clipnorm=config.global_clipnorm,
        use_ema=config.ema_momentum > 0,
        ema_momentum=config.ema_momentum,
        gradient_accumulation_steps=accumulation_steps if accumulation_steps > 1 else None,
    )


def _learning_rate(config: TrainingConfig, num_batches: int) -> Any:
    # Keras's schedules count batches, not steps, with gradient accumulation.
    total_batches = num_batches * config.epochs
    warmup = config.warmup_steps * config.gradient_accumulation_steps
    is_first_revision = config.training_revision == 1
    peak = config.learning_rate
    if config.lr_schedule == "cosine":
        if not is_first_revision:
            # As in `WarmUp`: a learning rate of 0 would waste the first step.
            warmup -= 1
        if warmup <= 0:
            return keras.optimizers.schedules.CosineDecay(peak, max(1, total_batches))
        return keras.optimizers.schedules.CosineDecay(
            0.0 if is_first_revision else peak / (warmup + 1),
            decay_steps=max(1, total_batches - warmup),
            warmup_target=peak,
            warmup_steps=warmup,
        )
    if config.lr_schedule == "inverse-sqrt":
        # Without a warm-up the peak is held for an epoch; it would be a tenth after 100 steps.
        hold_steps = 0 if warmup or is_first_revision else num_batches
        return WarmUp(peak, warmup, decay=True, hold_steps=hold_steps)
    return WarmUp(peak, warmup) if warmup else peak
