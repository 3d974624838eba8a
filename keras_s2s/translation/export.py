"""The export of a translator as a SavedModel for TF Serving."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import tensorflow as tf

from keras_s2s.models.mixed_precision import is_half_precision, restored, to_full_precision
from keras_s2s.serving.contract import require_contract
from keras_s2s.serving.signatures import BEAM, EXPLAIN, SCORE, SERVING_DEFAULT
from keras_s2s.serving.verification import sample_sentences, verify_export
from keras_s2s.serving.warmup import write_warmup_requests
from keras_s2s.serving.writer import SignatureFn, write_saved_model
from keras_s2s.tokenizers.tokenizer import SPECIAL_TOKENS, Tokenizer
from keras_s2s.translation.tokenizer_record import vocabulary_name, write_tokenizers
from keras_s2s.utils.checks import check_number
from keras_s2s.utils.console import ProgressFn
from keras_s2s.utils.errors import InputError
from keras_s2s.utils.text import encode_texts

if TYPE_CHECKING:
    from keras_s2s.translation.translator import Translator

TEXT = tf.TensorSpec([None], tf.string, name="text")
REFERENCE = tf.TensorSpec([None], tf.string, name="reference")
NUM_SAMPLES = 600
NUM_WARMUP_SENTENCES = 64


def export(
    translator: Translator,
    folder: str | os.PathLike[str],
    version: int | None,
    sentences: Sequence[str | bytes] | None,
    progress: ProgressFn,
    min_confidence: float | None = None,
) -> Path:
    """Write a SavedModel; see `Translator.export`."""
    if min_confidence is not None:
        check_number("min_confidence", min_confidence, float, ge=0, le=1)
    tokenizers = {"source": translator.source_tokenizer, "target": translator.target_tokenizer}
    if is_half_precision(translator.model):
        model = to_full_precision(translator.model)
        translator = translator.with_parts(model, *tokenizers.values())
    if sentences is not None and not len(sentences):
        raise InputError("sentences: there is none to verify the export with; give some, or None")
    texts = encode_texts(_sample_texts(tokenizers["source"]) if sentences is None else sentences)

    def complete(version_folder: Path) -> None:
        write_tokenizers(version_folder, **tokenizers)
        name, warmup_texts = Path(folder).name, texts[:NUM_WARMUP_SENTENCES]
        write_warmup_requests(version_folder, name, warmup_texts, signatures=signatures)
        verify_export(version_folder, translator, texts, progress, min_confidence)
        progress("checking the contract with TF Serving", 0, 0)
        require_contract(version_folder)

    with tempfile.TemporaryDirectory() as assets:
        source, target = (
            tokenizer.as_asset(Path(assets, vocabulary_name(side, tokenizer)))
            for side, tokenizer in tokenizers.items()
        )
        served = translator.with_parts(restored(translator.model), source, target)
        served.min_confidence = min_confidence
        signatures: dict[str, tuple[SignatureFn, list[tf.TensorSpec]]] = {
            SERVING_DEFAULT: (served.answer, [TEXT]),
            BEAM: (served.beam, [TEXT]),
            SCORE: (served.score, [TEXT, REFERENCE]),
        }
        if translator.model.decoder.attention is not None:
            signatures[EXPLAIN] = (served.explain, [TEXT])
        return write_saved_model(
            folder,
            signatures,
            tracked=[served.source_tokenizer, served.target_tokenizer],
            version=version,
            complete=complete,
            progress=progress,
        )


def _sample_texts(tokenizer: Tokenizer) -> list[str]:
    # SentencePiece marks the start of a word with "▁".
    tokens = tokenizer.vocabulary[len(SPECIAL_TOKENS) :]
    words = [token for text in tokens if (token := text.strip("▁"))]
    separator = "" if tokenizer.replacement_unit == "character" else " "
    return tokenizer.as_sources(sample_sentences(words, NUM_SAMPLES, separator=separator))
