"""LSTM encoder–decoder translation in Keras 3, from the chapter to TensorFlow Serving.

>>> import keras_s2s as s2s
>>> s2s.sequence_mask([[1, 2, 3]], [2]).numpy().tolist()
[[1, 2, 0]]
"""

import importlib.util
import os
import sys

__version__ = "0.1.0"


def _is_command() -> bool:
    """Return whether this process is `keras-s2s` or `python -m keras_s2s[.client]`.

    All other processes import all names, which registers the classes with Keras, so that
    `keras.saving.load_model` finds them. The command's `--help` must not import TensorFlow.
    """
    path = sys.argv[0] if sys.argv else ""
    script = os.path.splitext(os.path.basename(path))[0]
    modules = ["-m", "keras_s2s"], ["-m", "keras_s2s.client"]
    # A worker process of the command has the same argv[0], but does not run as a module.
    is_worker = path == os.path.join(os.path.dirname(__file__), "__main__.py")
    return script == "keras-s2s" or sys.orig_argv[1:3] in modules or is_worker


# Without TensorFlow, only the client of a server is available.
if not _is_command() and importlib.util.find_spec("tensorflow"):
    from keras_s2s.utils.console import import_of_keras

    with import_of_keras():
        import keras  # imports TensorFlow

    if keras.config.backend() != "tensorflow":
        raise ImportError(
            f"keras_s2s needs TensorFlow, and Keras runs on {keras.config.backend()}; "
            "set KERAS_BACKEND=tensorflow before Keras is imported"
        )
    from keras_s2s.config import PRESETS, TrainingConfig
    from keras_s2s.data.catalog import BUILTIN_CORPORA
    from keras_s2s.data.config import DataConfig
    from keras_s2s.data.dataset import make_dataset
    from keras_s2s.data.parallel_corpus import CorpusSplits, ParallelCorpus, load_corpus
    from keras_s2s.decoding.beam_search import beam_search
    from keras_s2s.decoding.config import SearchConfig
    from keras_s2s.decoding.greedy_search import SearchResult, greedy_search
    from keras_s2s.decoding.hypotheses import BeamResult
    from keras_s2s.decoding.random_sampling import sample_search
    from keras_s2s.decoding.unknown_replacement import replace_unknown
    from keras_s2s.evaluation.evaluate import compare, evaluate
    from keras_s2s.evaluation.metrics.chapter_bleu import bleu
    from keras_s2s.evaluation.metrics.error_rates import (
        exact_match,
        token_error_rate,
        word_error_rate,
    )
    from keras_s2s.layers.seq2seq_decoder import Seq2SeqDecoder
    from keras_s2s.layers.seq2seq_encoder import Seq2SeqEncoder
    from keras_s2s.losses import MaskedSoftmaxCELoss, sequence_mask
    from keras_s2s.metrics import Perplexity, TokenMean
    from keras_s2s.models.seq2seq import Seq2Seq
    from keras_s2s.optimizers import FusedAdam
    from keras_s2s.tokenizers.character_tokenizer import CharacterTokenizer, WhitespaceTokenizer
    from keras_s2s.tokenizers.columns_tokenizer import ColumnsTokenizer
    from keras_s2s.tokenizers.copied_tokens import copy_map
    from keras_s2s.tokenizers.sentence_piece_tokenizer import SentencePieceTokenizer
    from keras_s2s.tokenizers.tokenizer import Tokenizer
    from keras_s2s.tokenizers.word_tokenizer import WordTokenizer
    from keras_s2s.training.cluster import DistributionConfig
    from keras_s2s.training.train import CorpusSpec, resume, train
    from keras_s2s.translation.exported_translator import ExportedTranslator
    from keras_s2s.translation.translator import Translator
    from keras_s2s.utils.errors import ExportError, InputError

    # Earlier names.
    CATALOGUE = BUILTIN_CORPORA
    CorpusChoice = CorpusSpec
    Recipe = TrainingConfig

    __all__ = [
        "BUILTIN_CORPORA",
        "CATALOGUE",
        "PRESETS",
        "BeamResult",
        "CharacterTokenizer",
        "ColumnsTokenizer",
        "CorpusChoice",
        "CorpusSpec",
        "CorpusSplits",
        "DataConfig",
        "DistributionConfig",
        "ExportError",
        "ExportedTranslator",
        "FusedAdam",
        "InputError",
        "MaskedSoftmaxCELoss",
        "ParallelCorpus",
        "Perplexity",
        "Recipe",
        "SearchConfig",
        "SearchResult",
        "SentencePieceTokenizer",
        "Seq2Seq",
        "Seq2SeqDecoder",
        "Seq2SeqEncoder",
        "TokenMean",
        "Tokenizer",
        "TrainingConfig",
        "Translator",
        "WhitespaceTokenizer",
        "WordTokenizer",
        "beam_search",
        "bleu",
        "compare",
        "copy_map",
        "evaluate",
        "exact_match",
        "greedy_search",
        "load_corpus",
        "make_dataset",
        "replace_unknown",
        "resume",
        "sample_search",
        "sequence_mask",
        "token_error_rate",
        "train",
        "word_error_rate",
    ]
