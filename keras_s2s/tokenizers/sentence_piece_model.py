"""SentencePiece models: training, validation, and the ops that run them in a graph."""

import functools
import importlib.util
import io
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import sentencepiece
import tensorflow as tf
from sentencepiece import sentencepiece_model_pb2

from keras_s2s.tokenizers.tokenizer import (
    BOS,
    EOS,
    PAD,
    SPECIAL_TOKENS,
    TOKENIZE_BATCH_SIZE,
    UNK,
    clean,
)
from keras_s2s.utils.errors import InputError, one_line
from keras_s2s.utils.files import sha256_of

MIN_CHARACTER_COVERAGE = 0.98  # SentencePiece's minimum
MAX_SENTENCE_BYTES = 4192  # SentencePiece's default


def train_model(texts: Sequence[str | bytes], vocab_size: int, **options: Any) -> bytes:
    """Train a model with this package's special tokens.

    Args:
        texts: sentences.
        vocab_size: maximum size of the vocabulary.
        **options: further arguments of `SentencePieceTrainer.train`.

    Raises:
        InputError: there is no text, or `vocab_size` is too small.
    """
    pad, bos, eos, unk = SPECIAL_TOKENS
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=clean_texts(texts),
            model_writer=model,
            max_sentence_length=MAX_SENTENCE_BYTES,
            vocab_size=vocab_size,
            hard_vocab_limit=False,
            pad_id=PAD,
            bos_id=BOS,
            eos_id=EOS,
            unk_id=UNK,
            pad_piece=pad,
            bos_piece=bos,
            eos_piece=eos,
            unk_piece=unk,
            unk_surface=unk,
            minloglevel=2,
            **options,
        )
    except RuntimeError as error:
        raise InputError(_training_error(str(error), vocab_size)) from error
    return _without_path(model.getvalue())


def _without_path(model: bytes) -> bytes:
    """Return a model without the name of the file that its normalization rules came from."""
    proto = sentencepiece_model_pb2.ModelProto.FromString(model)
    if not proto.normalizer_spec.normalization_rule_tsv:
        return model
    proto.normalizer_spec.ClearField("normalization_rule_tsv")
    return bytes(proto.SerializeToString(deterministic=True))


def _training_error(message: str, vocab_size: int) -> str:
    too_small = re.search(r"Vocabulary size is smaller than required_chars\. \d+ vs (\d+)", message)
    if too_small:
        return (
            f"vocab_size is {vocab_size}; give {too_small[1]} or more, one for each character and "
            "special token, or lower character_coverage"
        )
    if "sentences_.empty()" in message or "all_chars_count" in message:
        return (
            "no text to learn subwords from; give sentences, of at most "
            f"{MAX_SENTENCE_BYTES:,} bytes each"
        )
    return f"SentencePiece cannot learn from these texts: {one_line(message)}"


def clean_texts(texts: Sequence[str | bytes]) -> Iterator[bytes]:
    """Yield the texts as `SentencePieceTokenizer.tokenize` passes them to SentencePiece."""
    for start in range(0, len(texts), TOKENIZE_BATCH_SIZE):
        yield from clean(tf.constant(texts[start : start + TOKENIZE_BATCH_SIZE])).numpy().tolist()


def load_processor(model: bytes, name: str) -> sentencepiece.SentencePieceProcessor:
    """Return a processor of a serialized model.

    Raises:
        InputError: it is not a model with this package's special tokens; the message has `name`.
    """
    try:
        processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        pieces = processor.id_to_piece(list(range(processor.vocab_size())))
    # UnicodeDecodeError: a piece is not UTF-8.
    except (RuntimeError, UnicodeDecodeError) as error:
        raise InputError(f"{name}: not a SentencePiece model, or damaged; give another") from error
    # WORKAROUND(sentencepiece<=0.2.3): it accepts an empty model and fails later.
    if not model:
        raise InputError(f"{name}: not a SentencePiece model; it is empty; give another")
    ids = processor.pad_id(), processor.bos_id(), processor.eos_id(), processor.unk_id()
    if ids != (PAD, BOS, EOS, UNK) or pieces[: len(ids)] != list(SPECIAL_TOKENS):
        raise InputError(
            f"{name}: its first pieces are not the special tokens {' '.join(SPECIAL_TOKENS)}; "
            "train one with SentencePieceTokenizer.fit"
        )
    return processor


class ModelResource(tf.saved_model.experimental.TrackableResource):
    """A model as a resource of TensorFlow Text's ops.

    The ops read the model from the graph. A file of it can be tracked as an asset of a SavedModel,
    for readers of the vocabulary.
    """

    # WORKAROUND(tensorflow-text<=2.21.1): its own class gives the resource no shared name. The
    # resource then belongs to a kernel that `keras.utils.clear_session` deletes, and all functions
    # that use it fail.

    def __init__(self, model: bytes, file: Path | None = None) -> None:
        super().__init__()
        self._model = model
        if file is not None:
            self._track_trackable(tf.saved_model.Asset(os.fspath(file)), "file")
        # Create the resource outside of any function that is being traced.
        with tf.init_scope():
            _ = self.resource_handle

    def _create_resource(self) -> tf.Tensor:
        return sentencepiece_ops().sentencepiece_op(
            model=self._model, shared_name=f"sentencepiece_{sha256_of(self._model)[:16]}"
        )


@functools.cache
def sentencepiece_ops() -> Any:
    """Return TensorFlow Text's SentencePiece ops.

    Only their library is loaded, on first use: importing the package takes 0.2 s.
    """
    spec = importlib.util.find_spec("tensorflow_text")
    if spec is None or not spec.submodule_search_locations:
        raise InputError("subwords need TensorFlow Text; pip install tensorflow-text")
    folder = Path(spec.submodule_search_locations[0]) / "python" / "ops"
    return tf.load_op_library(os.fspath(folder / "_sentencepiece_tokenizer.so"))
